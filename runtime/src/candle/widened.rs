//! Products of quantized matrices as one float product of the same rounded numbers.
//!
//! A quantized kernel rounds the activations to 8-bit blocks, multiplies integers exactly and adds
//! the scaled sums of the blocks in `f32`. Rounding the activations in the same way, turning both
//! sides into `f32` and multiplying those gives the same result but for the order of additions.
//! Where candle's kernel for a type is scalar code this is ten to thirty times faster for many
//! rows, which is what scoring has where nothing is multiplied in tiles; timing never goes through
//! here.

use candle_core::backend::BackendStorage;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, Device, Layout};
use half::f16;

use crate::RuntimeError;

use super::parallel::for_costly_rows;

/// How the kernel of a type rounds the activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// ggml's `q8_0`: blocks of 32 with an `f16` scale.
    Blocks32,
    /// ggml's `q8_1`: as above, and the sum of each block, in `f16`, for the weights' minimum.
    Blocks32WithSums,
    /// ggml's `q8_k`: blocks of 256 with an `f32` scale.
    Blocks256,
}

impl Rounding {
    /// What llama.cpp's kernel of a type uses; none for types that have no blocks.
    pub(crate) fn of_llama_cpp(dtype: GgmlDType) -> Option<Self> {
        match dtype {
            GgmlDType::Q8_0 | GgmlDType::Q5_0 | GgmlDType::Q4_0 => Some(Self::Blocks32),
            GgmlDType::Q5_1 | GgmlDType::Q4_1 => Some(Self::Blocks32WithSums),
            GgmlDType::Q6K | GgmlDType::Q5K | GgmlDType::Q4K | GgmlDType::Q3K | GgmlDType::Q2K => {
                Some(Self::Blocks256)
            }
            _ => None,
        }
    }

    /// The same for the types whose kernels are slow in candle, and none for all others.
    ///
    /// candle's `q8_0` is missing here for another reason too: where the processor has VNNI, its
    /// packed kernels round activations to blocks of 256.
    pub(crate) fn of_slow_kernel(dtype: GgmlDType) -> Option<Self> {
        match dtype {
            GgmlDType::Q4_0
            | GgmlDType::Q4_1
            | GgmlDType::Q5_0
            | GgmlDType::Q5_1
            | GgmlDType::Q5K
            | GgmlDType::Q3K
            | GgmlDType::Q2K => Self::of_llama_cpp(dtype),
            _ => None,
        }
    }

    /// Values that a row of `columns` becomes: sums follow the row.
    fn width(self, columns: usize) -> usize {
        match self {
            Self::Blocks32WithSums => columns + columns / 32,
            Self::Blocks32 | Self::Blocks256 => columns,
        }
    }
}

/// `input · weightsᵀ` for activations that were rounded with [`round`], in `f32`.
pub(crate) fn multiply(
    weights: &QTensor,
    rounded: &CpuStorage,
    rows: usize,
    rounding: Rounding,
) -> Result<CpuStorage, RuntimeError> {
    let (outputs, columns) = weights.shape().dims2()?;
    let widened = match rounding {
        Rounding::Blocks32WithSums => widen_with_minima(weights, columns)?,
        Rounding::Blocks32 | Rounding::Blocks256 => widen(weights)?,
    };
    product(rounded, widened, (rows, outputs, rounding.width(columns)))
}

/// `input · weightsᵀ` for activations that were not rounded, in `f32`.
pub(crate) fn multiply_exactly(
    weights: &QTensor,
    input: &CpuStorage,
    rows: usize,
) -> Result<CpuStorage, RuntimeError> {
    let (outputs, columns) = weights.shape().dims2()?;
    product(input, widen(weights)?, (rows, outputs, columns))
}

fn widen(weights: &QTensor) -> Result<Vec<f32>, RuntimeError> {
    Ok(weights.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()?)
}

/// `left · rightᵀ` of `rows × width` and `outputs × width` values.
fn product(
    left: &CpuStorage,
    right: Vec<f32>,
    (rows, outputs, width): (usize, usize, usize),
) -> Result<CpuStorage, RuntimeError> {
    let transposed = Layout::contiguous((outputs, width)).transpose(0, 1)?;
    Ok(left.matmul(
        &CpuStorage::F32(right),
        (1, rows, outputs, width),
        &Layout::contiguous((rows, width)),
        &transposed,
    )?)
}

/// Rounds every row of `columns` values to blocks and back to `f32`.
pub(crate) fn round(input: &[f32], columns: usize, rounding: Rounding) -> CpuStorage {
    let width = rounding.width(columns);
    let mut output = vec![0.0; input.len() / columns * width];
    for_costly_rows(&mut output, width, input.len() * 4, |row, output| {
        let input = &input[row * columns..][..columns];
        let (values, sums) = output.split_at_mut(columns);
        match rounding {
            Rounding::Blocks256 => {
                for (input, output) in input.chunks(256).zip(values.chunks_mut(256)) {
                    round_by_signed_largest(input, output);
                }
            }
            Rounding::Blocks32 | Rounding::Blocks32WithSums => {
                let blocks = input.chunks(32).zip(values.chunks_mut(32));
                for (block, (input, output)) in blocks.enumerate() {
                    let (scale, sum) = round_by_largest(input, output);
                    if let Some(slot) = sums.get_mut(block) {
                        *slot = (f16::from_f32(sum) * scale).to_f32();
                    }
                }
            }
        }
    });
    CpuStorage::F32(output)
}

/// As candle's `BlockQ8_0` and `BlockQ8_1`; returns the scale and the sum of the integers.
fn round_by_largest(input: &[f32], output: &mut [f32]) -> (f16, f32) {
    let largest = input
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let stored = f16::from_f32(scale);
    let mut sum = 0.0;
    for (output, input) in output.iter_mut().zip(input) {
        let integer = round_half_away(input * inverse);
        sum += integer;
        *output = integer * stored.to_f32();
    }
    (stored, sum)
}

/// `f32::round` for numbers of moderate size, in a form that the compiler can turn into vector
/// instructions.
#[inline(always)]
fn round_half_away(value: f32) -> f32 {
    let whole = value as i32 as f32;
    let rest = value - whole;
    let up = if rest >= 0.5 { 1.0 } else { 0.0 };
    let down = if rest <= -0.5 { 1.0 } else { 0.0 };
    whole + up - down
}

/// As candle's `BlockQ8K`: the value of largest magnitude becomes −127.
fn round_by_signed_largest(input: &[f32], output: &mut [f32]) {
    let largest = input.iter().fold(0.0f32, |largest: f32, &value| {
        if value.abs() > largest.abs() {
            value
        } else {
            largest
        }
    });
    if largest == 0.0 {
        output.fill(0.0);
        return;
    }
    let inverse = -127.0 / largest;
    let scale = 1.0 / inverse;
    for (output, input) in output.iter_mut().zip(input) {
        *output = round_half_away(input * inverse).clamp(-128.0, 127.0) * scale;
    }
}

/// `q4_1` and `q5_1` in `f32`: the scaled integers of a row, then the minimum of each block.
fn widen_with_minima(weights: &QTensor, columns: usize) -> Result<Vec<f32>, RuntimeError> {
    let has_fifth_bit = weights.dtype() == GgmlDType::Q5_1;
    let bytes = weights.data()?;
    let block_bytes = weights.dtype().type_size();
    let blocks = columns / 32;
    let width = Rounding::Blocks32WithSums.width(columns);
    let mut output = vec![0.0; bytes.len() / (block_bytes * blocks) * width];
    for_costly_rows(&mut output, width, bytes.len() * 2, |row, output| {
        let (values, minima) = output.split_at_mut(columns);
        let bytes = &bytes[row * blocks * block_bytes..][..blocks * block_bytes];
        let blocks = bytes.chunks(block_bytes).zip(values.chunks_mut(32));
        for ((block, values), minimum) in blocks.zip(minima) {
            let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
            let scale = half(0);
            *minimum = half(2);
            let fifth_bits = match has_fifth_bit {
                true => u32::from_le_bytes([block[4], block[5], block[6], block[7]]),
                false => 0,
            };
            let nibbles = &block[block_bytes - 16..];
            for (index, value) in values.iter_mut().enumerate() {
                let byte = nibbles[index % 16];
                let low = if index < 16 { byte & 15 } else { byte >> 4 };
                let high = ((fifth_bits >> index) & 1) << 4;
                *value = (u32::from(low) | high) as f32 * scale;
            }
        }
    });
    Ok(output)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{CustomOp1, Tensor};

    use super::*;

    /// The named bound: largest difference over largest value. The kernel and the float product
    /// add the same numbers in another order.
    const BOUND: f32 = 5e-6;

    #[test]
    fn rounding_is_that_of_the_library() {
        for step in -51_200..=51_200 {
            let value = step as f32 / 400.0;
            assert_eq!(round_half_away(value), value.round(), "{value}");
        }
        let below_half = 0.499_999_97;
        assert_eq!(round_half_away(below_half), 0.0);
    }

    #[test]
    fn the_float_product_is_that_of_the_kernel() {
        let (rows, columns, outputs) = (5, 512, 48);
        let wave = |length: usize, step: f32| {
            (0..length)
                .map(|i| (i as f32 * step).sin() * (1.0 + (i % 7) as f32))
                .collect::<Vec<_>>()
        };
        let input = wave(rows * columns, 0.731);
        let weights = Tensor::from_vec(
            wave(outputs * columns, 0.377),
            (outputs, columns),
            &Device::Cpu,
        );
        let weights = weights.unwrap();
        let mut failures = Vec::new();
        for dtype in [
            GgmlDType::Q4_0,
            GgmlDType::Q4_1,
            GgmlDType::Q5_0,
            GgmlDType::Q5_1,
            GgmlDType::Q2K,
            GgmlDType::Q3K,
            GgmlDType::Q4K,
            GgmlDType::Q5K,
            GgmlDType::Q6K,
        ] {
            let weights = QTensor::quantize(&weights, dtype).unwrap();
            let rounding = Rounding::of_llama_cpp(dtype).unwrap();
            let rounded = round(&input, columns, rounding);
            let widened = multiply(&weights, &rounded, rows, rounding).unwrap();
            let layout = Layout::contiguous((rows, columns));
            let storage = CpuStorage::F32(input.clone());
            let kernel = weights.cpu_fwd(&storage, &layout).unwrap().0;
            let (widened, kernel) = (values(widened), values(kernel));
            let largest = kernel.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let difference = widened
                .iter()
                .zip(&kernel)
                .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            if difference > BOUND * largest {
                failures.push(format!("{dtype:?}: {}", difference / largest));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    fn values(storage: CpuStorage) -> Vec<f32> {
        match storage {
            CpuStorage::F32(values) => values,
            other => panic!("{:?}", other.dtype()),
        }
    }
}
