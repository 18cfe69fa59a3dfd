//! Single products on an accelerator, as a probe times them.

use bitfront_model::Precision;
use candle_core::{Device, Tensor};

use crate::RuntimeError;
use crate::latency::products::Multiplies;

use super::DeviceMatrix;

/// candle's kernels for an accelerator.
pub(super) struct OnDevice<'a>(pub(super) &'a Device);

impl Multiplies for OnDevice<'_> {
    type Matrix = DeviceMatrix;
    type Input = Tensor;
    type Product = Tensor;

    fn matrix(
        &self,
        precision: Precision,
        bytes: Vec<u8>,
        shape: (usize, usize),
    ) -> Result<DeviceMatrix, RuntimeError> {
        DeviceMatrix::from_bytes(self.0, precision, bytes, shape)
    }

    fn executed(matrix: &DeviceMatrix) -> Precision {
        matrix.executed()
    }

    fn input(&self, values: Vec<f32>, columns: usize) -> Result<Tensor, RuntimeError> {
        let rows = values.len() / columns.max(1);
        Ok(Tensor::from_vec(values, (rows, columns), self.0)?)
    }

    fn multiply(&self, matrix: &DeviceMatrix, input: &Tensor) -> Result<Tensor, RuntimeError> {
        let product = matrix.multiply(input)?;
        self.0.synchronize()?;
        Ok(product)
    }

    fn works_alone(&self) -> bool {
        false
    }
}
