//! What is believed of the precisions' rounding errors against what our quantizers make.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use bitfront_model::Precision;
use bitfront_runtime::ggml_quantize::quantize;
use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::{bf16, f16};

const ROWS: usize = 64;
const COLUMNS: usize = 1024;

#[test]
fn rounding_errors_are_those_of_the_quantizers() {
    let weights = normal(ROWS * COLUMNS);
    let mut failures = Vec::new();
    for precision in Precision::ALL {
        let rounded = round(precision, &weights);
        let errors = weights.iter().zip(&rounded);
        let errors: f64 = errors
            .map(|(exact, rounded)| f64::from(exact - rounded).powi(2))
            .sum();
        let squares: f64 = weights
            .iter()
            .map(|weight| f64::from(*weight).powi(2))
            .sum();
        let (found, believed) = (errors / squares, precision.rounding_error());
        // An f32 holds its own values; what is believed of it is the error of reading it.
        let holds = precision == Precision::F32 && found == 0.0;
        if !holds && (found / believed - 1.0).abs() > 0.03 {
            failures.push(format!("{precision}: {found:.3e}, not {believed:.3e}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Normal draws by the method of Box and Muller.
fn normal(count: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut draw = || {
        let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * random.f64()).cos()) as f32
    };
    (0..count).map(|_| draw()).collect()
}

/// The weights as they are read back.
fn round(precision: Precision, weights: &[f32]) -> Vec<f32> {
    let dtype = match precision {
        Precision::F32 => return weights.to_vec(),
        Precision::F16 => {
            return weights
                .iter()
                .map(|&it| f16::from_f32(it).to_f32())
                .collect();
        }
        Precision::Bf16 => {
            return weights
                .iter()
                .map(|&it| bf16::from_f32(it).to_f32())
                .collect();
        }
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
    };
    let bytes = quantize(precision, weights, COLUMNS, None).unwrap();
    let storage = QStorage::from_data(Cow::Owned(bytes), &Device::Cpu, dtype).unwrap();
    let tensor = QTensor::new(storage, (ROWS, COLUMNS)).unwrap();
    let read = tensor.dequantize(&Device::Cpu).unwrap();
    read.flatten_all().unwrap().to_vec1().unwrap()
}
