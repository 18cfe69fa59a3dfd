//! Stored bytes as `f32` values.

use bitfront_model::Precision;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Shape};
use half::{bf16, f16};

use crate::candle::dtype;

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
            return dequantize(bytes, dtype(precision), rows, columns)
                .map_err(|error| error.to_string());
        }
    })
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

fn dequantize(
    bytes: &[u8],
    dtype: GgmlDType,
    rows: usize,
    columns: usize,
) -> candle_core::Result<Vec<f32>> {
    let storage = QStorage::from_data(bytes.into(), &Device::Cpu, dtype)?;
    let tensor = QTensor::new(storage, Shape::from((rows, columns)))?;
    tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ggml_quantize::{first_unsound_block, scale_offsets};
    use candle_core::Tensor;

    #[test]
    fn every_precision_reads_back_what_candle_wrote() {
        let values = (0..512)
            .map(|index| ((index * 37 % 101) as f32 - 50.0) / 25.0)
            .collect::<Vec<_>>();
        let tensor = Tensor::from_vec(values, (2, 256), &Device::Cpu).unwrap();
        for precision in Precision::ALL {
            let quantized = QTensor::quantize(&tensor, dtype(precision)).unwrap();
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
            assert_eq!(first_unsound_block(precision, &bytes), None, "{precision}");
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
                let quantized = QTensor::quantize(&tensor, dtype(precision)).unwrap();
                let mut bytes = quantized.data().unwrap().into_owned();
                let block = precision.block_bytes() as usize;
                let last = bytes.len() / block - 1;
                let at = last * block + offset;
                bytes[at..at + 2].copy_from_slice(&f16::INFINITY.to_le_bytes());
                assert_eq!(
                    first_unsound_block(precision, &bytes),
                    Some(last),
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
