//! One layer in one precision, as the bytes of a ggml tensor.
//!
//! The block types are those of [`crate::ggml_quantize`], which rounds as llama.cpp does: candle's
//! own quantizers follow an older version of it, and have no imatrix for the 32-wide types.

use bitfront_model::{Layer, Precision};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::RuntimeError;
use crate::ggml_quantize;
use crate::source::Weights;

/// Weights in one unit of parallel work: enough to outweigh handing it out.
const UNIT_WEIGHTS: usize = 64 * 1024;

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
pub fn quantize(
    layer: &Layer,
    precision: Precision,
    weights: &Weights,
    importance: Option<&[f32]>,
) -> Result<Vec<u8>, RuntimeError> {
    match precision {
        Precision::F32 => Ok(convert(&weights.values, |value| value.to_le_bytes())),
        Precision::Bf16 => Ok(convert(&weights.values, |value| {
            bf16::from_f32(value).to_le_bytes()
        })),
        Precision::F16 => {
            let largest = weights.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            if f16::from_f32(largest).is_infinite() {
                return Err(RuntimeError::Infeasible {
                    reason: format!(
                        "layer `{}` cannot be held in f16: it has a weight of {largest}",
                        layer.name
                    ),
                });
            }
            Ok(convert(&weights.values, |value| {
                f16::from_f32(value).to_le_bytes()
            }))
        }
        block => {
            let importance = importance.filter(|_| uses_importance(block));
            let columns = weights.columns.max(1);
            let unit = (UNIT_WEIGHTS / columns).max(1) * columns;
            let parts = weights
                .values
                .par_chunks(unit)
                .map(|values| ggml_quantize::quantize(block, values, columns, importance))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| RuntimeError::Quantize {
                    layer: layer.name.clone(),
                    error,
                })?;
            Ok(parts.concat())
        }
    }
}

fn convert<const BYTES: usize>(
    values: &[f32],
    bytes: impl Fn(f32) -> [u8; BYTES] + Sync,
) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}
