//! Single products on the processor, as a probe times them.

use bitfront_model::Precision;

use crate::RuntimeError;
use crate::latency::products::Multiplies;

use super::{Activations, Arithmetic, Matrix, threads};

/// candle's kernels for the processor.
pub(crate) struct Processor;

impl Multiplies for Processor {
    type Matrix = Matrix;
    type Input = Activations;
    type Product = Vec<f32>;

    fn matrix(
        &self,
        precision: Precision,
        bytes: Vec<u8>,
        (rows, columns): (usize, usize),
    ) -> Result<Matrix, RuntimeError> {
        Matrix::from_bytes(precision, bytes, rows, columns)
    }

    fn executed(matrix: &Matrix) -> Precision {
        matrix.executed()
    }

    fn input(&self, values: Vec<f32>, columns: usize) -> Result<Activations, RuntimeError> {
        Ok(Activations::new(values, columns))
    }

    fn multiply(&self, matrix: &Matrix, input: &Activations) -> Result<Vec<f32>, RuntimeError> {
        matrix.multiply(input, Arithmetic::Kernels)
    }

    fn works_alone(&self) -> bool {
        threads() == 1
    }
}
