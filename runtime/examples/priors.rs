//! How well a guess orders what layers lose, for every way to guess that costs less than measuring
//! it: the demo model's layers, each alone in every usual precision, all others as in the source.
//!
//!     cargo run --release -p bitfront-runtime --example priors -- [WINDOWS]
//!
//! The truth is the mean divergence over all windows, 16 where nobody says. Printed are, for every
//! way, Kendall's rank correlation with it over all swaps, the mean of that within each precision,
//! and the root mean square of the logarithm of their ratio after one common scale.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "../tests/dequantized/mod.rs"]
mod dequantized;
#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use bitfront_model::{ImatrixSource, Precision, SensitivityQuestion, SwapResult};
use bitfront_runtime::Runtime as _;
use bitfront_runtime::candle::CandleRuntime;
use bitfront_runtime::stats::median;
use dequantized::dequantize;

const PRECISIONS: [Precision; 6] = [
    Precision::Q8_0,
    Precision::Q6K,
    Precision::Q5K,
    Precision::Q4K,
    Precision::Q3K,
    Precision::Q2K,
];

/// The precision of the one swap that others are guessed from.
const BASE: Precision = Precision::Q4K;

/// One layer in one precision: what can be known of it, and what it loses.
struct Known {
    layer: usize,
    precision: Precision,
    weights: f64,
    errors: Errors,
    /// Divergence in each window, in the order of scoring.
    klds: Vec<f64>,
}

/// Sums over the weights of a layer.
struct Errors {
    /// Squares of the rounding errors.
    squared: f64,
    /// The same, each weighted with the mean square of what its column is multiplied with.
    weighted: f64,
    /// Squares of the weights, weighted alike.
    whole: f64,
}

impl Known {
    /// Mean divergence over the first windows; what is lost in the rounding of floats counts as
    /// next to nothing.
    fn kld(&self, windows: usize) -> f64 {
        let klds = &self.klds[..windows.min(self.klds.len())];
        (klds.iter().sum::<f64>() / klds.len() as f64).max(1e-12)
    }
}

fn main() {
    let windows = std::env::args().nth(1);
    let windows: u32 = windows.map_or(16, |windows| windows.parse().unwrap());
    let known = measure(windows);
    let truth: Vec<_> = known.iter().map(|one| one.kld(usize::MAX)).collect();
    println!(
        "{} swaps over {windows} windows\n\n{:<44}{:>8}{:>8}{:>8}",
        known.len(),
        "way",
        "tau",
        "within",
        "rms ln"
    );
    for (way, guesses) in ways(&known) {
        let (all, within) = (tau(&guesses, &truth), tau_within(&known, &guesses, &truth));
        let spread = spread(&guesses, &truth);
        println!("{way:<44}{all:>8.3}{within:>8.3}{spread:>8.2}");
    }
}

/// Scores every swap, and compares every tensor with what it was quantized to.
fn measure(windows: u32) -> Vec<Known> {
    let cut = support::Windows {
        context: 256,
        evaluation: windows,
        calibration: 60,
    };
    let subject = support::subject(&support::demo_model(), &cut, ImatrixSource::Calibration);
    let directory = tempfile::tempdir().unwrap();
    let mut runtime = support::opened(directory.path(), &subject);
    let spec = runtime.spec().unwrap().clone();
    let question = SensitivityQuestion {
        windows,
        ..SensitivityQuestion::new(&subject, &spec, &PRECISIONS, &Precision::ALL)
    };
    let swaps = runtime.sensitivity(&question, &mut |line| eprintln!("{line}"));
    let swaps = swaps.unwrap().into_iter().map(|swap| {
        let SwapResult::Scored { kld_windows } = swap.result else {
            panic!("{swap:?} cannot be scored");
        };
        Known {
            layer: swap.layer,
            precision: swap.precision,
            weights: spec.layers[swap.layer].parameters() as f64,
            errors: errors(&mut runtime, swap.layer, swap.precision),
            klds: kld_windows,
        }
    });
    swaps.collect()
}

fn errors(runtime: &mut CandleRuntime, layer: usize, precision: Precision) -> Errors {
    let bytes = runtime.tensor_bytes(layer, precision).unwrap();
    let opened = runtime.opened().unwrap();
    let exact = opened.source().layer(layer).unwrap();
    let name = opened.source().spec().layers[layer].tensor_name();
    let importance = opened.imatrix().and_then(|it| it.entries.get(&name));
    let rounded = dequantize(precision, &bytes, (exact.rows, exact.columns));
    let mut errors = Errors {
        squared: 0.0,
        weighted: 0.0,
        whole: 0.0,
    };
    for (index, (exact_value, rounded)) in exact.values.iter().zip(&rounded).enumerate() {
        // Of a layer that the imatrix does not know, as an embedding, every column counts alike.
        let weight = importance.map_or(1.0, |entry| {
            f64::from(entry.mean_squares[index % exact.columns])
        });
        let squared = f64::from(exact_value - rounded).powi(2);
        errors.squared += squared;
        errors.weighted += weight * squared;
        errors.whole += weight * f64::from(*exact_value).powi(2);
    }
    errors
}

/// Every way to guess, with its guess of every swap.
fn ways(known: &[Known]) -> Vec<(String, Vec<f64>)> {
    let each = |guess: &dyn Fn(&Known) -> f64| known.iter().map(guess).collect::<Vec<_>>();
    let mut ways = vec![
        (
            "bits and shape".to_owned(),
            each(&|one| one.weights.sqrt() * one.precision.rounding_error()),
        ),
        (
            "squared error of the weights".to_owned(),
            each(&|one| one.errors.squared),
        ),
        (
            "the same, weighted with the imatrix".to_owned(),
            each(&|one| one.errors.weighted),
        ),
        (
            "the same, relative to the output".to_owned(),
            each(&|one| one.errors.weighted / one.errors.whole),
        ),
        (
            format!("one swap a layer ({BASE}, 2 windows) × error"),
            each(&|one| {
                let is_base = |it: &&Known| it.layer == one.layer && it.precision == BASE;
                let base = known.iter().find(is_base).unwrap();
                base.kld(2) * one.errors.weighted / base.errors.weighted
            }),
        ),
    ];
    for windows in [1, 2, 4] {
        let plural = if windows == 1 { "" } else { "s" };
        let name = format!("every swap on {windows} window{plural}");
        ways.push((name, each(&|one| one.kld(windows))));
    }
    ways
}

/// Kendall's rank correlation, tau-b, which counts ties in neither list against it (M. Kendall, The
/// treatment of ties in ranking problems, Biometrika 33, 1945). Quadratic in the length.
fn tau(left: &[f64], right: &[f64]) -> f64 {
    let (mut agreeing, mut left_pairs, mut right_pairs) = (0.0, 0.0, 0.0);
    for first in 0..left.len() {
        for second in 0..first {
            let order = |values: &[f64]| match values[first].total_cmp(&values[second]) {
                std::cmp::Ordering::Less => -1.0,
                std::cmp::Ordering::Equal => 0.0,
                std::cmp::Ordering::Greater => 1.0,
            };
            let (of_left, of_right): (f64, f64) = (order(left), order(right));
            agreeing += of_left * of_right;
            left_pairs += of_left.abs();
            right_pairs += of_right.abs();
        }
    }
    agreeing / f64::sqrt(left_pairs * right_pairs)
}

/// The mean of it over the precisions.
fn tau_within(known: &[Known], guesses: &[f64], truth: &[f64]) -> f64 {
    let of = |precision| {
        let pairs = known.iter().zip(guesses.iter().zip(truth));
        let pairs = pairs.filter(|(one, _)| one.precision == precision);
        let (guesses, truth): (Vec<_>, Vec<_>) = pairs.map(|(_, pair)| pair).unzip();
        tau(&guesses, &truth)
    };
    PRECISIONS.into_iter().map(of).sum::<f64>() / PRECISIONS.len() as f64
}

/// Root mean square of the logarithm of the ratio, after the scale that makes its median 1.
fn spread(guesses: &[f64], truth: &[f64]) -> f64 {
    let pairs = guesses.iter().zip(truth);
    let logarithms: Vec<_> = pairs.map(|(guess, truth)| (guess / truth).ln()).collect();
    let middle = median(&logarithms).unwrap();
    let squares = logarithms.iter().map(|value| (value - middle).powi(2));
    (squares.sum::<f64>() / logarithms.len() as f64).sqrt()
}
