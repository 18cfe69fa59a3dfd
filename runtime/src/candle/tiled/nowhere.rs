//! Stands for products in tiles on processors that they are not written for.

use candle_core::quantized::QTensor;

use crate::RuntimeError;

/// There is no matrix that is multiplied here.
pub(super) enum Tiled {}

/// There are no activations for it.
pub(super) enum Rounded {}

impl Tiled {
    pub(super) fn of(_: &QTensor) -> Option<Self> {
        None
    }

    pub(super) fn round(&self, _: &[f32], _: usize) -> Rounded {
        match *self {}
    }

    pub(super) fn multiply(&self, _: &Rounded) -> Result<Vec<f32>, RuntimeError> {
        match *self {}
    }
}
