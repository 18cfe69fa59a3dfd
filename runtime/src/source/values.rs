//! Stored bytes as `f32` values.

use bitfront_model::Precision;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Shape};
use half::{bf16, f16};

/// The values of `rows × columns` weights stored in a precision.
///
/// `bytes` must be as long as the precision says, and aligned to two bytes where it is quantized.
pub(crate) fn to_f32(
    bytes: &[u8],
    precision: Precision,
    rows: usize,
    columns: usize,
) -> Result<Vec<f32>, String> {
    Ok(match precision {
        Precision::F32 => words::<4>(bytes).map(f32::from_le_bytes).collect(),
        Precision::F16 => words::<2>(bytes)
            .map(|word| f16::from_le_bytes(word).to_f32())
            .collect(),
        Precision::Bf16 => words::<2>(bytes)
            .map(|word| bf16::from_le_bytes(word).to_f32())
            .collect(),
        _ => {
            return dequantize(bytes, ggml_type(precision), rows, columns)
                .map_err(|error| error.to_string());
        }
    })
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

fn dequantize(
    bytes: &[u8],
    ggml_type: GgmlDType,
    rows: usize,
    columns: usize,
) -> candle_core::Result<Vec<f32>> {
    let storage = QStorage::from_data(bytes.into(), &Device::Cpu, ggml_type)?;
    let tensor = QTensor::new(storage, Shape::from((rows, columns)))?;
    tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()
}

/// candle's name for a precision.
fn ggml_type(precision: Precision) -> GgmlDType {
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

/// The first element that is not finite; for a quantized tensor the first one of a block whose
/// scale is not. Finite scales give finite values: the largest is 65504 × 63 × 127.
pub(crate) fn first_not_finite(bytes: &[u8], precision: Precision) -> Option<u64> {
    const F16: u16 = 0x7c00;
    const BF16: u16 = 0x7f80;
    let all_ones = |word: [u8; 2], exponent: u16| u16::from_le_bytes(word) & exponent == exponent;
    let position = match precision {
        Precision::F32 => words::<4>(bytes).position(|word| !f32::from_le_bytes(word).is_finite()),
        Precision::F16 => words::<2>(bytes).position(|word| all_ones(word, F16)),
        Precision::Bf16 => words::<2>(bytes).position(|word| all_ones(word, BF16)),
        _ => {
            let scales = scale_offsets(precision);
            let block = bytes
                .chunks_exact(precision.block_bytes() as usize)
                .position(|block| {
                    scales
                        .iter()
                        .any(|&at| all_ones([block[at], block[at + 1]], F16))
                })?;
            return Some(block as u64 * precision.block_size());
        }
    };
    position.map(|element| element as u64)
}

/// Where a block holds its `f16` scales and minimums, after the structures of ggml's
/// `ggml-common.h`.
fn scale_offsets(precision: Precision) -> &'static [usize] {
    match precision {
        Precision::F32 | Precision::F16 | Precision::Bf16 => &[],
        Precision::Q8_0 | Precision::Q5_0 | Precision::Q4_0 => &[0],
        Precision::Q5_1 | Precision::Q4_1 | Precision::Q5K | Precision::Q4K => &[0, 2],
        Precision::Q6K => &[208],
        Precision::Q3K => &[108],
        Precision::Q2K => &[80, 82],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use candle_core::Tensor;

    #[test]
    fn every_precision_reads_back_what_candle_wrote() {
        let values = (0..512)
            .map(|index| ((index * 37 % 101) as f32 - 50.0) / 25.0)
            .collect::<Vec<_>>();
        let tensor = Tensor::from_vec(values, (2, 256), &Device::Cpu).unwrap();
        for precision in Precision::ALL {
            let quantized = QTensor::quantize(&tensor, ggml_type(precision)).unwrap();
            let expected = quantized.dequantize(&Device::Cpu).unwrap();
            let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let bytes = quantized.data().unwrap();
            assert_eq!(
                Some(bytes.len() as u64),
                precision.bytes(2, 256),
                "{precision}"
            );
            assert_eq!(
                to_f32(&bytes, precision, 2, 256).unwrap(),
                expected,
                "{precision}"
            );
            assert_eq!(first_not_finite(&bytes, precision), None, "{precision}");
        }
    }

    #[test]
    fn a_scale_that_is_not_finite_gives_values_that_are_not_and_is_found() {
        let tensor = Tensor::ones((2, 256), candle_core::DType::F32, &Device::Cpu).unwrap();
        for precision in Precision::ALL
            .into_iter()
            .filter(|precision| !precision.is_float())
        {
            for &offset in scale_offsets(precision) {
                let quantized = QTensor::quantize(&tensor, ggml_type(precision)).unwrap();
                let mut bytes = quantized.data().unwrap().into_owned();
                let block = precision.block_bytes() as usize;
                let last = bytes.len() / block - 1;
                let at = last * block + offset;
                bytes[at..at + 2].copy_from_slice(&f16::INFINITY.to_le_bytes());
                let expected = last as u64 * precision.block_size();
                assert_eq!(
                    first_not_finite(&bytes, precision),
                    Some(expected),
                    "{precision}"
                );
                let values = to_f32(&bytes, precision, 2, 256).unwrap();
                assert!(
                    values.iter().any(|value| !value.is_finite()),
                    "{precision} {offset}"
                );
            }
        }
    }
}
