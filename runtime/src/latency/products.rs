//! How long single matrix products take: a probe of the device.
//!
//! Weights and activations are drawn, since how long a product takes does not depend on them; the
//! matrices and kernels are those that plans execute with. The precisions of a shape take turns
//! with each other and with an anchor among them, as plans do ([`paired`]).

use std::hint::black_box;

use bitfront_model::{
    Interval, Precision, ProbeQuestion, Product, ProductResult, ProductTime, Shape,
};

use super::LatencySettings;
use super::paired::{self, Series, nanoseconds, turn_ns};
use super::stopwatch::Stopwatch;
use crate::RuntimeError;
use crate::ggml_quantize;
use crate::stats::{median, median_interval};

/// Rows of weights that are drawn and quantized; the others repeat them.
const DRAWN_ROWS: usize = 8;

/// Inputs that are taken in turn.
const INPUTS: usize = 4;

/// What the others are timed beside, where the shape can be held in it: `q8_0`, which every
/// processor has good kernels for.
const ANCHOR: Precision = Precision::Q8_0;

/// What multiplies single matrices, with the kernels that plans execute with.
pub(crate) trait Multiplies {
    /// Weights in the memory that it computes in.
    type Matrix;
    /// Activations there.
    type Input;
    /// What a multiplication leaves there.
    type Product;

    /// Weights of `rows × columns` from the bytes of a ggml tensor.
    fn matrix(
        &self,
        precision: Precision,
        bytes: Vec<u8>,
        shape: (usize, usize),
    ) -> Result<Self::Matrix, RuntimeError>;

    /// The precision of the weights, asked of their storage.
    fn executed(matrix: &Self::Matrix) -> Precision;

    /// Rows of `columns` values.
    fn input(&self, values: Vec<f32>, columns: usize) -> Result<Self::Input, RuntimeError>;

    /// Multiplies, and returns when the product is there.
    fn multiply(
        &self,
        matrix: &Self::Matrix,
        input: &Self::Input,
    ) -> Result<Self::Product, RuntimeError>;

    /// As [`Engine::works_alone`](crate::candle::Engine::works_alone).
    fn works_alone(&self) -> bool;
}

/// Times the products of a question, one shape after the other, so that the matrices of one shape
/// are in memory at a time.
///
/// # Errors
///
/// The device's clock stands still. What cannot be held or multiplied is an answer.
pub(crate) fn time<M: Multiplies>(
    multiplier: &M,
    question: &ProbeQuestion,
    settings: &LatencySettings,
) -> Result<Vec<Product>, RuntimeError> {
    let mut products = Vec::new();
    for &shape in &question.shapes {
        let asked = question.products().filter(|(other, _)| *other == shape);
        let held: Vec<_> = asked
            .map(|(_, precision)| (precision, matrix(multiplier, shape, precision)))
            .collect();
        let ready: Vec<_> = held
            .iter()
            .filter_map(|(_, matrix)| matrix.as_ref().ok())
            .collect();
        let few_rows = time_shape(multiplier, &ready, (shape, question.few_rows), settings)?;
        let many_rows = time_shape(multiplier, &ready, (shape, question.many_rows), settings)?;
        let mut times = few_rows.into_iter().zip(many_rows);
        for (precision, matrix) in held {
            let result = match matrix {
                Err(error) => ProductResult::Infeasible {
                    reason: error.to_string(),
                },
                Ok(_) => {
                    let (few_rows, many_rows) = times.next().ok_or_else(no_blocks)?;
                    ProductResult::Timed {
                        few_rows,
                        many_rows,
                    }
                }
            };
            products.push(Product {
                shape,
                precision,
                result,
            });
        }
    }
    Ok(products)
}

/// A matrix that was multiplied once: an error is a fact about the precision.
fn matrix<M: Multiplies>(
    multiplier: &M,
    shape: Shape,
    precision: Precision,
) -> Result<M::Matrix, RuntimeError> {
    let (rows, columns) = (shape.rows as usize, shape.columns as usize);
    let drawn = draw(DRAWN_ROWS.min(rows) * columns, 0);
    let bytes = ggml_quantize::quantize(precision, &drawn, columns, None).map_err(|error| {
        RuntimeError::Infeasible {
            reason: error.to_string(),
        }
    })?;
    let needed = precision
        .bytes(shape.rows, shape.columns)
        .unwrap_or_default();
    let repeated = bytes.iter().copied().cycle().take(needed as usize);
    let matrix = multiplier.matrix(precision, repeated.collect(), (rows, columns))?;
    let executed = M::executed(&matrix);
    if executed != precision {
        return Err(RuntimeError::Infeasible {
            reason: format!("it is executed in {executed} instead"),
        });
    }
    let input = multiplier.input(draw(columns, 1), columns)?;
    multiplier.multiply(&matrix, &input)?;
    Ok(matrix)
}

/// The times of all matrices of a shape with some rows of activations.
fn time_shape<M: Multiplies>(
    multiplier: &M,
    matrices: &[&M::Matrix],
    (shape, rows): (Shape, u32),
    settings: &LatencySettings,
) -> Result<Vec<ProductTime>, RuntimeError> {
    let Some(&first) = matrices.first() else {
        return Ok(Vec::new());
    };
    let is_anchor = |matrix: &&&M::Matrix| M::executed(matrix) == ANCHOR;
    let anchor = matrices.iter().find(is_anchor).copied().unwrap_or(first);
    let columns = shape.columns as usize;
    let inputs: Vec<_> = (0..INPUTS)
        .map(|seed| multiplier.input(draw(rows as usize * columns, 2 + seed as u64), columns))
        .collect::<Result<_, _>>()?;
    let settings = LatencySettings {
        seed: settings.seed ^ shape.rows ^ shape.columns << 24 ^ u64::from(rows) << 48,
        ..settings.clone()
    };
    let watch = Stopwatch::new(multiplier.works_alone());
    let series = paired::time(matrices.len(), &settings, &mut |member, taken| {
        let matrix = match member {
            0 => anchor,
            _ => matrices[member - 1],
        };
        let input = &inputs[taken % INPUTS];
        let (product, taken) = watch.time(|| multiplier.multiply(matrix, black_box(input)));
        black_box(product?);
        Ok(taken)
    })?;
    series
        .iter()
        .map(|series| product_time(series, settings.confidence).ok_or_else(no_blocks))
        .collect()
}

/// The figures of one product, with intervals as those of plans: each factor's is made for half of
/// the doubt.
fn product_time(series: &Series, confidence: f64) -> Option<ProductTime> {
    let half = 1.0 - (1.0 - confidence) / 2.0;
    let anchors: Vec<_> = series
        .blocks
        .iter()
        .map(|block| turn_ns(&block.anchor))
        .collect();
    let reference = median_interval(&anchors, half)?;
    let (ratio, ratio_interval) = series.ratio(confidence)?;
    let (_, factor) = series.ratio(half)?;
    let doubt = (1.0 - reference.confidence) + (1.0 - factor.confidence);
    Some(ProductTime {
        median_ns: median(&anchors)? * ratio,
        interval: Interval {
            low: reference.low * factor.low,
            high: reference.high * factor.high,
            confidence: (1.0 - doubt).max(0.0),
        },
        ratio,
        ratio_interval,
        samples_ns: series
            .blocks
            .iter()
            .flat_map(|block| block.candidate.iter().copied())
            .collect(),
        warm_up_ns: nanoseconds(series.warm_up),
        noisy: series.noisy,
    })
}

fn no_blocks() -> RuntimeError {
    RuntimeError::Engine("a product was timed without any block".to_owned())
}

/// Values around nought, as those of layers.
fn draw(count: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    // The sum of a few even draws is bell-shaped.
    let mut bell = || (0..4).map(|_| random.f32() - 0.5).sum();
    (0..count).map(|_| bell()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::candle::Processor;

    fn question(shapes: &[(u64, u64)]) -> ProbeQuestion {
        ProbeQuestion {
            shapes: shapes
                .iter()
                .map(|&(rows, columns)| Shape { rows, columns })
                .collect(),
            precisions: Precision::ALL.to_vec(),
            few_rows: 1,
            many_rows: 16,
        }
    }

    fn probe(question: &ProbeQuestion) -> Vec<Product> {
        let settings = LatencySettings::default().for_probe();
        time(&Processor, question, &settings).unwrap()
    }

    #[test]
    fn every_product_that_fits_is_timed_with_its_samples() {
        // Rows of 64 weights hold no super-block, rows of 7 no block at all.
        let question = question(&[(64, 256), (64, 64), (5, 7)]);
        let begun = Instant::now();
        let products = probe(&question);
        let asked: Vec<_> = question.products().collect();
        assert_eq!(asked.len(), 13 + 8 + 3);
        let answered: Vec<_> = products.iter().map(|it| (it.shape, it.precision)).collect();
        assert_eq!(answered, asked);
        let probe = bitfront_model::Probe {
            products,
            environment: Default::default(),
            duration_ns: 0,
        };
        assert_eq!(probe.problem(&question), None);
        for product in &probe.products {
            let (one, many) = product.times().unwrap();
            for time in [one, many] {
                assert!(time.ratio_interval.low <= time.ratio, "{product:?}");
                assert!(time.interval.low <= time.median_ns, "{product:?}");
                assert!(time.samples_ns.len() >= 6 && time.warm_up_ns > 0);
            }
        }
        // 52 products in an unoptimised build; the limits keep them from taking a minute.
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_product_of_more_rows_takes_longer() {
        let small = probe(&question(&[(32, 256)]));
        let large = probe(&question(&[(1024, 256)]));
        for (small, large) in small.iter().zip(&large) {
            let (small_one, small_many) = small.times().unwrap();
            let (large_one, large_many) = large.times().unwrap();
            assert!(
                small_one.median_ns < large_one.median_ns,
                "{}",
                small.precision
            );
            assert!(
                small_many.median_ns < large_many.median_ns,
                "{}",
                small.precision
            );
            assert!(
                small_one.median_ns < small_many.median_ns,
                "{}",
                small.precision
            );
        }
    }
}
