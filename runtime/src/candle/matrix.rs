//! One weight matrix in one precision, and how candle multiplies it.

use std::borrow::Cow;
use std::cell::OnceCell;

use bitfront_model::Precision;
use candle_core::backend::BackendStorage;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Tensor};
use half::{bf16, f16};

use crate::RuntimeError;
use crate::tensor_store::Stored;

use super::tiled::{Rounded, Tiled};
use super::widened::{self, Rounding};

/// Which code multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// candle's kernels: what is timed.
    Kernels,
    /// What is scored. K-quants and `q8_0` are multiplied in tiles where the processor has the
    /// instructions; elsewhere by candle's kernels, except the scalar ones, whose products are
    /// computed from the same rounded numbers in floating point. Equal to [`Arithmetic::Kernels`]
    /// but for the order of additions.
    Scoring,
    /// Activations rounded as llama.cpp's kernels do, products in floating point. candle's packed
    /// `q8_0` kernels round them more coarsely; this shows by how much, and is never measured as
    /// candle.
    LlamaCpp,
    /// Weights turned back into `f32`, activations as they are: what a plan loses by its weights
    /// alone. No kernel computes this, and nothing that is kept was scored by it
    /// (`examples/dequantized.rs` shows what it would see).
    Dequantized,
}

/// Activations: `rows × columns` values that matrices are multiplied with.
pub(crate) struct Activations {
    storage: CpuStorage,
    layout: Layout,
    rows: usize,
    columns: usize,
    /// Rounded forms by [`Rounding`], made when the first matrix asks: several share an input.
    rounded: [OnceCell<CpuStorage>; 3],
    /// The form that is multiplied in tiles, made likewise.
    blocks: OnceCell<Rounded>,
}

impl Activations {
    pub(crate) fn new(values: Vec<f32>, columns: usize) -> Self {
        let rows = values.len() / columns.max(1);
        Self {
            storage: CpuStorage::F32(values),
            layout: Layout::contiguous((rows, columns)),
            rows,
            columns,
            rounded: Default::default(),
            blocks: OnceCell::new(),
        }
    }

    fn rounded(&self, rounding: Rounding) -> &CpuStorage {
        self.rounded[rounding as usize]
            .get_or_init(|| widened::round(self.values(), self.columns, rounding))
    }

    pub(crate) fn values(&self) -> &[f32] {
        match &self.storage {
            CpuStorage::F32(values) => values,
            _ => &[],
        }
    }
}

/// A weight matrix, `rows × columns`, as one plan holds it.
///
/// Block types go through `QTensor`'s own operator where they are timed; what is scored says
/// [`Arithmetic::Scoring`]. Floats are multiplied by candle's gemm, as its
/// linear layers do, in the type that they are stored in: candle's `QMatMul` would turn `f16` and
/// `bf16` into `f32` when it is built, and the plan would not be what was measured; `QTensor`'s
/// operator would multiply them as they are, but in scalar code that is 30 to 100 times slower
/// than gemm.
///
/// With `f16`, activations and products are rounded to `f16` as well. With `bf16`, candle has no
/// kernel of its own: the weights are widened for each product, and the product is in `f32`.
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Values,
}

enum Values {
    Floats(CpuStorage),
    Blocks(QTensor),
}

impl Matrix {
    /// A matrix in `f32` from values row after row.
    pub(crate) fn from_f32(values: Vec<f32>, rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            values: Values::Floats(CpuStorage::F32(values)),
        }
    }

    /// A matrix from the bytes of a ggml tensor; their number must be what the shape needs.
    pub(crate) fn from_bytes(
        precision: Precision,
        bytes: Vec<u8>,
        rows: usize,
        columns: usize,
    ) -> Result<Self, RuntimeError> {
        check_bytes(precision, &bytes, rows, columns)?;
        let pairs = || bytes.as_chunks::<2>().0.iter().copied();
        let values = match precision {
            Precision::F32 => {
                let quads = bytes.as_chunks::<4>().0.iter().copied();
                Values::Floats(CpuStorage::F32(quads.map(f32::from_le_bytes).collect()))
            }
            Precision::F16 => {
                Values::Floats(CpuStorage::F16(pairs().map(f16::from_le_bytes).collect()))
            }
            Precision::Bf16 => {
                Values::Floats(CpuStorage::BF16(pairs().map(bf16::from_le_bytes).collect()))
            }
            block => {
                let storage = QStorage::from_data(Cow::Owned(bytes), &Device::Cpu, dtype(block))?;
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

    /// Input features.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The precision of the weights that the multiplication reads, asked of the storage itself.
    pub fn executed(&self) -> Precision {
        match &self.values {
            Values::Floats(storage) => match storage.dtype() {
                DType::F16 => Precision::F16,
                DType::BF16 => Precision::Bf16,
                _ => Precision::F32,
            },
            Values::Blocks(tensor) => precision(tensor.dtype()),
        }
    }

    /// The bytes of the ggml tensor, little-endian.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RuntimeError> {
        match &self.values {
            Values::Floats(CpuStorage::F32(values)) => Ok(bytes(values, |v| v.to_le_bytes())),
            Values::Floats(CpuStorage::F16(values)) => Ok(bytes(values, |v| v.to_le_bytes())),
            Values::Floats(CpuStorage::BF16(values)) => Ok(bytes(values, |v| v.to_le_bytes())),
            Values::Floats(other) => Err(foreign(other)),
            Values::Blocks(tensor) => Ok(tensor.data()?.into_owned()),
        }
    }

    /// The rows of `tokens` in `f32`: `tokens.len() × columns` values.
    pub(crate) fn lookup(&self, tokens: &[u32]) -> Result<Vec<f32>, RuntimeError> {
        let ranges = tokens.iter().map(|&token| {
            let start = token as usize * self.columns;
            start..start + self.columns
        });
        match &self.values {
            Values::Floats(CpuStorage::F32(values)) => {
                Ok(ranges.flat_map(|range| &values[range]).copied().collect())
            }
            Values::Floats(CpuStorage::F16(values)) => {
                let values = ranges.flat_map(|range| &values[range]);
                Ok(values.map(|value| value.to_f32()).collect())
            }
            Values::Floats(CpuStorage::BF16(values)) => {
                let values = ranges.flat_map(|range| &values[range]);
                Ok(values.map(|value| value.to_f32()).collect())
            }
            Values::Floats(other) => Err(foreign(other)),
            Values::Blocks(tensor) => {
                let tokens = Tensor::new(tokens, &Device::Cpu)?;
                Ok(tensor.embedding(&tokens)?.flatten_all()?.to_vec1()?)
            }
        }
    }

    /// Bytes of its weights as they are stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let stored = self.executed().bytes(self.rows as u64, self.columns as u64);
        stored.unwrap_or_default()
    }

    /// `input · selfᵀ`: `input.rows × rows` values.
    pub(crate) fn multiply(
        &self,
        input: &Activations,
        arithmetic: Arithmetic,
    ) -> Result<Vec<f32>, RuntimeError> {
        let output = match &self.values {
            Values::Floats(weights) => self.multiply_floats(input, weights)?,
            Values::Blocks(tensor) => {
                let rows = input.rows;
                let kernel = || Ok(tensor.cpu_fwd(&input.storage, &input.layout)?.0);
                let widened =
                    |rounding| widened::multiply(tensor, input.rounded(rounding), rows, rounding);
                match arithmetic {
                    Arithmetic::Kernels => kernel()?,
                    Arithmetic::Scoring => match Tiled::of(tensor) {
                        Some(tiled) => {
                            let round = || tiled.round(input.values(), input.columns);
                            CpuStorage::F32(tiled.multiply(input.blocks.get_or_init(round))?)
                        }
                        None => {
                            Rounding::of_slow_kernel(tensor.dtype()).map_or_else(kernel, widened)?
                        }
                    },
                    Arithmetic::LlamaCpp => {
                        Rounding::of_llama_cpp(tensor.dtype()).map_or_else(kernel, widened)?
                    }
                    Arithmetic::Dequantized => {
                        widened::multiply_exactly(tensor, &input.storage, rows)?
                    }
                }
            }
        };
        match output {
            CpuStorage::F32(values) => Ok(values),
            other => Err(RuntimeError::Engine(format!(
                "a product of f32 activations came back as {:?}",
                other.dtype()
            ))),
        }
    }

    fn multiply_floats(
        &self,
        input: &Activations,
        weights: &CpuStorage,
    ) -> Result<CpuStorage, RuntimeError> {
        let sizes = (1, input.rows, self.rows, self.columns);
        let shape = Layout::contiguous((self.rows, self.columns));
        let transposed = shape.transpose(0, 1)?;
        let product = |left: &CpuStorage, right: &CpuStorage| {
            left.matmul(right, sizes, &input.layout, &transposed)
        };
        Ok(match weights.dtype() {
            DType::F16 => {
                let narrow = input.storage.to_dtype(&input.layout, DType::F16)?;
                let output = Layout::contiguous((input.rows, self.rows));
                product(&narrow, weights)?.to_dtype(&output, DType::F32)?
            }
            DType::BF16 => product(&input.storage, &weights.to_dtype(&shape, DType::F32)?)?,
            _ => product(&input.storage, weights)?,
        })
    }
}

/// Refuses bytes that are not as many as a ggml tensor of this shape has.
pub(super) fn check_bytes(
    precision: Precision,
    bytes: &[u8],
    rows: usize,
    columns: usize,
) -> Result<(), RuntimeError> {
    let expected = precision.bytes(rows as u64, columns as u64);
    if expected == Some(bytes.len() as u64) {
        return Ok(());
    }
    Err(RuntimeError::Infeasible {
        reason: format!(
            "{rows} × {columns} weights in {precision} take {} bytes, not {}",
            expected.map_or("no number of".to_owned(), |bytes| bytes.to_string()),
            bytes.len()
        ),
    })
}

impl Stored for Matrix {
    /// With the copies that candle's packed kernels make at the first multiplication (an upper
    /// bound: which copies are made depends on the processor). What scoring makes of a matrix is
    /// let go with each product.
    fn resident_bytes(&self) -> u64 {
        Self::bytes_of(self.executed(), self.rows as u64, self.columns as u64)
    }

    fn bytes_of(precision: Precision, rows: u64, columns: u64) -> u64 {
        let weights = rows.saturating_mul(columns);
        let stored = precision.bytes(rows, columns).unwrap_or_default();
        let packed = match precision {
            // Scales as f32, and once more as bytes for the matrix extensions.
            Precision::Q4K => weights * 3 / 4 + weights * 5 / 4,
            Precision::Q6K => weights * 5 / 4,
            Precision::Q8_0 | Precision::Q5K | Precision::Q4_0 => stored,
            _ => 0,
        };
        stored + packed
    }
}

fn bytes<T: Copy, const BYTES: usize>(values: &[T], convert: impl Fn(T) -> [u8; BYTES]) -> Vec<u8> {
    values.iter().flat_map(|&value| convert(value)).collect()
}

/// A storage type that no constructor makes.
fn foreign(storage: &CpuStorage) -> RuntimeError {
    RuntimeError::Engine(format!("a matrix is stored as {:?}", storage.dtype()))
}

/// Several products of one row of activations at once, where candle has a fused kernel for these
/// matrices: the row is quantized once and the threads meet once.
///
/// None where it has not: the matrices differ in precision, are floats, or the processor lacks
/// the instructions.
pub(crate) fn multiply_fused(
    matrices: &[&Matrix],
    input: &Activations,
) -> Result<Option<Vec<Vec<f32>>>, RuntimeError> {
    if input.rows != 1 {
        return Ok(None);
    }
    let tensors = matrices
        .iter()
        .map(|matrix| match &matrix.values {
            Values::Blocks(tensor) => Some(tensor),
            Values::Floats(_) => None,
        })
        .collect::<Option<Vec<_>>>();
    let Some(tensors) = tensors else {
        return Ok(None);
    };
    let input = Tensor::from_slice(input.values(), (1, input.columns), &Device::Cpu)?;
    let Some(outputs) = QTensor::gemv_fused_shared_lhs(&tensors, &input)? else {
        return Ok(None);
    };
    let outputs = outputs
        .iter()
        .map(|output| output.flatten_all()?.to_vec1())
        .collect::<Result<_, _>>()?;
    Ok(Some(outputs))
}

/// candle's word for a precision.
pub(crate) fn dtype(precision: Precision) -> GgmlDType {
    match precision {
        Precision::F32 => GgmlDType::F32,
        Precision::F16 => GgmlDType::F16,
        Precision::Bf16 => GgmlDType::BF16,
        Precision::Q8_0 => GgmlDType::Q8_0,
        Precision::Q6K => GgmlDType::Q6K,
        Precision::Q5_1 => GgmlDType::Q5_1,
        Precision::Q5_0 => GgmlDType::Q5_0,
        Precision::Q5K => GgmlDType::Q5K,
        Precision::Q4_1 => GgmlDType::Q4_1,
        Precision::Q4_0 => GgmlDType::Q4_0,
        Precision::Q4K => GgmlDType::Q4K,
        Precision::Q3K => GgmlDType::Q3K,
        Precision::Q2K => GgmlDType::Q2K,
    }
}

/// Our word for one of candle's types; activations alone are ever held in `q8_1` and `q8_k`, and
/// the constructor makes neither.
pub(super) fn precision(dtype: GgmlDType) -> Precision {
    match dtype {
        GgmlDType::F32 => Precision::F32,
        GgmlDType::F16 => Precision::F16,
        GgmlDType::BF16 => Precision::Bf16,
        GgmlDType::Q8_0 | GgmlDType::Q8_1 | GgmlDType::Q8K => Precision::Q8_0,
        GgmlDType::Q6K => Precision::Q6K,
        GgmlDType::Q5_1 => Precision::Q5_1,
        GgmlDType::Q5_0 => Precision::Q5_0,
        GgmlDType::Q5K => Precision::Q5K,
        GgmlDType::Q4_1 => Precision::Q4_1,
        GgmlDType::Q4_0 => Precision::Q4_0,
        GgmlDType::Q4K => Precision::Q4K,
        GgmlDType::Q3K => Precision::Q3K,
        GgmlDType::Q2K => Precision::Q2K,
    }
}
