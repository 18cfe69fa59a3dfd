//! Products of many rows as candle's packed kernels compute them, for more precisions and without
//! rounding the same activations again for each matrix.
//!
//! candle packs `q4_k`, `q6_k` and `q8_0` for processors with AVX-512 VNNI, and multiplies the
//! other precisions without vectors of bytes. Its packed kernels round the activations anew for
//! every matrix, in scalar code that takes as long as the products. Here all K-quants and `q8_0`
//! go through one kernel, and the matrices that share an input share its rounded form.
//!
//! What is computed is the same: for the precisions that candle packs every bit of the product is
//! that of its kernel, since integers are exact and the floats are combined in its order (tests
//! compare). For the other ones it is the same sum of the same numbers in another order. Scoring
//! goes through here; timing never does.

mod kernel;
mod rounded;
#[cfg(test)]
mod tests;
mod tiles;

use candle_core::quantized::QTensor;

use crate::RuntimeError;

use super::switches;
pub(super) use rounded::Rounded;
use tiles::{Format, Tiles};

/// Rows of a weight matrix that are multiplied together: one for each lane of a vector.
const OUTPUTS: usize = 16;

/// Columns whose activations are rounded together, and that K-quants store as one block.
const BLOCK: usize = 256;

/// Activations that share a sum: as many as the smallest group of weights with a scale.
const SUMMED: usize = 16;

/// Proves that the processor has what the functions here are compiled for.
#[derive(Clone, Copy)]
struct Wide(());

impl Wide {
    /// None as well where candle is told to do without its packed kernels for such processors: what
    /// is scored is what it computes then.
    fn of_this_process() -> Option<Self> {
        switches::packs_wide().then_some(Self(()))
    }
}

/// A matrix that is multiplied here.
pub(super) struct Tiled<'a> {
    weights: &'a QTensor,
    format: Format,
    columns: usize,
    wide: Wide,
}

impl<'a> Tiled<'a> {
    /// None where the processor or the shape is not one that candle packs for, or where the
    /// precision is neither a K-quant nor `q8_0`.
    pub(super) fn of(weights: &'a QTensor) -> Option<Self> {
        let (outputs, columns) = weights.shape().dims2().ok()?;
        let fits = columns > 0 && outputs.is_multiple_of(OUTPUTS) && columns.is_multiple_of(BLOCK);
        let format = Format::of(weights.dtype()).filter(|_| fits)?;
        Some(Self {
            weights,
            format,
            columns,
            wide: Wide::of_this_process()?,
        })
    }

    /// Rounds rows of `columns` activations for this matrix and all others.
    pub(super) fn round(&self, activations: &[f32], columns: usize) -> Rounded {
        Rounded::of(activations, columns, self.wide)
    }

    /// `input · weightsᵀ`: `rows × outputs` values.
    ///
    /// # Errors
    ///
    /// The rows of `input` are not as long as those of the matrix.
    pub(super) fn multiply(&self, input: &Rounded) -> Result<Vec<f32>, RuntimeError> {
        if input.columns() != self.columns {
            return Err(RuntimeError::Engine(format!(
                "{} activations were to be multiplied with rows of {} weights",
                input.columns(),
                self.columns
            )));
        }
        let tiles = Tiles::of(&self.weights.data()?, self.format, self.columns);
        Ok(kernel::multiply(&tiles, input, self.wide))
    }
}
