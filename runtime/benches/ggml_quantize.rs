//! Weights per second of our quantizers and of candle's.
//!
//! Ours share rows out to rayon's pool, candle's run on one thread and know no imatrix for the
//! types with blocks of 32.

use std::hint::black_box;

use bitfront_model::Precision;
use bitfront_runtime::ggml_quantize::quantize;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 1024;
const COLUMNS: usize = 1024;

const TYPES: [(Precision, GgmlDType); 10] = [
    (Precision::Q8_0, GgmlDType::Q8_0),
    (Precision::Q6K, GgmlDType::Q6K),
    (Precision::Q5_1, GgmlDType::Q5_1),
    (Precision::Q5_0, GgmlDType::Q5_0),
    (Precision::Q5K, GgmlDType::Q5K),
    (Precision::Q4_1, GgmlDType::Q4_1),
    (Precision::Q4_0, GgmlDType::Q4_0),
    (Precision::Q4K, GgmlDType::Q4K),
    (Precision::Q3K, GgmlDType::Q3K),
    (Precision::Q2K, GgmlDType::Q2K),
];

/// Bell-shaped numbers with a deviation near one.
fn bell(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(2_685_821_657_736_338_717) >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..count)
        .map(|_| (0..12).map(|_| uniform()).sum())
        .collect()
}

fn quantizers(criterion: &mut Criterion) {
    let weights = bell(ROWS * COLUMNS);
    let imatrix: Vec<f32> = bell(COLUMNS).iter().map(|value| value * value).collect();
    let tensor = Tensor::from_slice(&weights, (ROWS, COLUMNS), &Device::Cpu)
        .expect("the shape is that of the weights");
    for (label, importance) in [("plain", None), ("imatrix", Some(imatrix.as_slice()))] {
        let mut group = criterion.benchmark_group(format!("quantize/{label}"));
        group.throughput(Throughput::Elements((ROWS * COLUMNS) as u64));
        group.sample_size(10);
        for (precision, dtype) in TYPES {
            group.bench_function(BenchmarkId::new("bitfront", precision), |bencher| {
                bencher.iter(|| {
                    quantize(precision, black_box(&weights), COLUMNS, importance)
                        .expect("the weights are sound")
                });
            });
            let knows_imatrix = precision.block_size() == 256;
            if importance.is_some() && !knows_imatrix {
                continue;
            }
            group.bench_function(BenchmarkId::new("candle", precision), |bencher| {
                bencher.iter(|| {
                    let tensor = black_box(&tensor);
                    match importance {
                        None => QTensor::quantize(tensor, dtype),
                        Some(entries) => QTensor::quantize_imatrix(tensor, entries, dtype),
                    }
                    .expect("candle takes any weights")
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, quantizers);
criterion_main!(benches);
