//! What is believed of the precisions' rounding errors against what our quantizers make.

#![allow(clippy::unwrap_used)]

mod dequantized;

use bitfront_model::Precision;
use bitfront_runtime::ggml_quantize::quantize;
use dequantized::dequantize;

const ROWS: usize = 64;
const COLUMNS: usize = 1024;

#[test]
fn rounding_errors_are_those_of_the_quantizers() {
    let weights = normal(ROWS * COLUMNS);
    let mut failures = Vec::new();
    for precision in Precision::ALL {
        let bytes = quantize(precision, &weights, COLUMNS, None).unwrap();
        let rounded = dequantize(precision, &bytes, (ROWS, COLUMNS));
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
