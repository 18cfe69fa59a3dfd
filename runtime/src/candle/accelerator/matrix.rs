//! One weight matrix in an accelerator's memory, and how candle multiplies it there.

use std::borrow::Cow;

use bitfront_model::Precision;
use candle_core::quantized::{QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use crate::RuntimeError;
use crate::candle::matrix::{check_bytes, dtype, precision};
use crate::tensor_store::Stored;

/// Values that candle adds to the end of a quantized tensor, for kernels that read whole tiles
/// (`MATRIX_ROW_PADDING` in its `quantized/cuda.rs`).
const PADDED_VALUES: u64 = 512;

/// A weight matrix, `rows × columns`, as one plan holds it on an accelerator.
///
/// Block types go through `QTensor`'s own operator, whose kernels round activations to 8-bit blocks.
/// Floats are multiplied in the type that they are stored in, activations and products rounded to
/// it. Where the device has no product in `bf16` (candle's processor backend), the weights are
/// widened for each product.
pub struct DeviceMatrix {
    rows: usize,
    columns: usize,
    values: Values,
}

enum Values {
    Floats(Tensor),
    Blocks(QTensor),
}

impl DeviceMatrix {
    /// Moves the bytes of a ggml tensor to `device`; their number must be what the shape needs.
    pub fn from_bytes(
        device: &Device,
        precision: Precision,
        bytes: Vec<u8>,
        (rows, columns): (usize, usize),
    ) -> Result<Self, RuntimeError> {
        check_bytes(precision, &bytes, rows, columns)?;
        let floats =
            |dtype: DType| Tensor::from_raw_buffer(&bytes, dtype, &[rows, columns], device);
        let values = match precision {
            Precision::F32 => Values::Floats(floats(DType::F32)?),
            Precision::F16 => Values::Floats(floats(DType::F16)?),
            Precision::Bf16 => Values::Floats(floats(DType::BF16)?),
            block => {
                let storage = QStorage::from_data(Cow::Borrowed(&bytes), device, dtype(block))?;
                Values::Blocks(QTensor::new(storage, (rows, columns))?)
            }
        };
        Ok(Self {
            rows,
            columns,
            values,
        })
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The precision of the weights that the multiplication reads, asked of the storage itself.
    pub fn executed(&self) -> Precision {
        match &self.values {
            Values::Floats(tensor) => match tensor.dtype() {
                DType::F16 => Precision::F16,
                DType::BF16 => Precision::Bf16,
                _ => Precision::F32,
            },
            Values::Blocks(tensor) => precision(tensor.dtype()),
        }
    }

    /// The rows of `tokens`, a vector of `u32`, in `f32`: `tokens × columns`.
    pub(super) fn lookup(&self, tokens: &Tensor) -> Result<Tensor, RuntimeError> {
        Ok(match &self.values {
            Values::Floats(tensor) => tensor.index_select(tokens, 0)?.to_dtype(DType::F32)?,
            Values::Blocks(tensor) => tensor.embedding(tokens)?,
        })
    }

    /// `input · selfᵀ` in `f32` for `input` of `n × columns` in `f32`: `n × rows`.
    pub(super) fn multiply(&self, input: &Tensor) -> Result<Tensor, RuntimeError> {
        match &self.values {
            Values::Floats(weights) => {
                let multiplied = match weights.dtype() {
                    DType::BF16 if !input.device().supports_bf16() => DType::F32,
                    own => own,
                };
                let weights = weights.to_dtype(multiplied)?.t()?;
                let product = input.to_dtype(multiplied)?.matmul(&weights)?;
                Ok(product.to_dtype(DType::F32)?)
            }
            Values::Blocks(tensor) => Ok(input.apply_op1_no_bwd(tensor)?),
        }
    }
}

impl Stored for DeviceMatrix {
    fn resident_bytes(&self) -> u64 {
        Self::bytes_of(self.executed(), self.rows as u64, self.columns as u64)
    }

    fn bytes_of(precision: Precision, rows: u64, columns: u64) -> u64 {
        let padding = match precision.is_float() {
            true => Some(0),
            false => precision.bytes(1, PADDED_VALUES),
        };
        let stored = precision.bytes(rows, columns);
        stored.unwrap_or_default() + padding.unwrap_or_default()
    }
}
