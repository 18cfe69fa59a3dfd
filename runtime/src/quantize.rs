//! One layer in one precision, as the bytes of a ggml tensor.
//!
//! The block types are those of [`crate::ggml_quantize`], which rounds as llama.cpp does: candle's
//! own quantizers follow an older version of it, and have no imatrix for the 32-wide types.

use bitfront_model::{Layer, Precision};

use crate::RuntimeError;
use crate::ggml_quantize::{self, QuantizeError};
use crate::source::Weights;

/// True where an imatrix changes how a precision is rounded.
///
/// Floats have nothing to choose, and llama.cpp's `q8_0` ignores it.
pub fn uses_importance(precision: Precision) -> bool {
    !precision.is_float() && precision != Precision::Q8_0
}

/// The ggml tensor that holds `weights` in `precision`, little-endian.
///
/// `importance` has one mean of squared activations per column; without it the rounding is that
/// of llama.cpp without an imatrix. Rows are independent of each other and spread over all cores.
///
/// # Errors
///
/// [`RuntimeError::Infeasible`] where the precision cannot hold these weights: that is a fact about
/// the plan, and true on every device. [`RuntimeError::Quantize`] where the numbers are not sound.
pub fn quantize(
    layer: &Layer,
    precision: Precision,
    weights: &Weights,
    importance: Option<&[f32]>,
) -> Result<Vec<u8>, RuntimeError> {
    let importance = importance.filter(|_| uses_importance(precision));
    ggml_quantize::quantize(precision, &weights.values, weights.columns, importance).map_err(
        |error| match error {
            QuantizeError::ScaleOverflow { .. } | QuantizeError::PartialBlock { .. } => {
                RuntimeError::Infeasible {
                    reason: format!(
                        "layer `{}` cannot be held in {precision}: {error}",
                        layer.name
                    ),
                }
            }
            _ => RuntimeError::Quantize {
                layer: layer.name.clone(),
                error,
            },
        },
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::LayerKind;

    use super::*;

    const ROWS: usize = 600;
    const COLUMNS: usize = 256;

    fn attempt(
        precision: Precision,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<Vec<u8>, RuntimeError> {
        let layer = Layer {
            name: "blk.0.ffn_up".to_owned(),
            kind: LayerKind::FeedForwardUp,
            block: Some(0),
            rows: ROWS as u64,
            columns: COLUMNS as u64,
            source: Precision::F32,
            tied: false,
        };
        let mut weights = Weights {
            rows: ROWS,
            columns: COLUMNS,
            values: vec![0.5; ROWS * COLUMNS],
        };
        change(&mut weights.values);
        quantize(&layer, precision, &weights, None)
    }

    #[test]
    fn what_a_precision_cannot_hold_is_the_plans_fault_and_is_placed() {
        let mut failures = Vec::new();
        for precision in Precision::ALL {
            if matches!(precision, Precision::F32 | Precision::Bf16) {
                continue;
            }
            match attempt(precision, |values| values[500 * COLUMNS + 32] = 1e9) {
                Err(RuntimeError::Infeasible { reason })
                    if reason.contains("blk.0.ffn_up") && reason.contains("row 500") => {}
                Err(error) => failures.push(format!("{precision}: {error}")),
                Ok(_) => failures.push(format!("{precision} held it")),
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn weights_that_are_not_sound_are_no_plans_fault() {
        let error = attempt(Precision::Q4K, |values| {
            values[599 * COLUMNS + 3] = f32::NAN
        })
        .unwrap_err();
        assert!(matches!(error, RuntimeError::Quantize { .. }));
        assert!(error.to_string().contains("row 599, column 3"), "{error}");
    }
}
