//! What paired timing finds on a simulated device whose true times are known, for every kind of
//! noise: how often its interval holds the true ratio, what it spends, and what a fixed number of
//! samples of each plan alone makes of the same device.
//!
//!     cargo run --release -p bitfront-runtime --example coverage

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/simulated_device/mod.rs"]
#[allow(unreachable_pub)]
mod simulated_device;

use bitfront_runtime::latency::LatencySettings;
use bitfront_runtime::latency::paired::time;
use bitfront_runtime::stats::{median, median_interval};
use simulated_device::{Noise, SimulatedDevice};

/// An anchor of two milliseconds and a candidate that is faster by a quarter.
const TIMES_NS: [f64; 2] = [2e6, 1.5e6];
const RUNS: u64 = 10_000;
/// Samples of the fixed design, as `trtexec`'s and `benchmark_model`'s defaults come to.
const FIXED: usize = 50;

fn main() {
    println!(
        "{RUNS} runs for each kind of noise; the interval's confidence is 95 %, its half-width to \
         reach 1 %\n"
    );
    println!(
        "{:<12} | {:>8} {:>9} {:>9} {:>8} {:>8} {:>7} | {:>8} {:>9} {:>9}",
        "",
        "coverage",
        "halfwidth",
        "95% error",
        "samples",
        "at most",
        "noisy",
        "coverage",
        "halfwidth",
        "95% error"
    );
    for noise in Noise::ALL {
        let (mut paired, mut alone) = (Tally::default(), Tally::default());
        for seed in 0..RUNS {
            run_paired(noise, seed, &mut paired);
            run_alone(noise, seed, &mut alone);
        }
        println!(
            "{:<12} | {} {:>8.0} {:>8} {:>6.1}% | {}",
            format!("{noise:?}"),
            paired.figures(),
            paired.samples as f64 / RUNS as f64,
            paired.most_samples,
            100.0 * paired.noisy as f64 / RUNS as f64,
            alone.figures(),
        );
    }
    println!(
        "\nleft: bitfront's paired blocks, samples of candidate and anchor together; right: the \
         ratio of two medians of {FIXED} samples, each plan timed alone, {} samples together",
        2 * FIXED
    );
}

#[derive(Default)]
struct Tally {
    covered: u64,
    half_widths: Vec<f64>,
    errors: Vec<f64>,
    samples: usize,
    most_samples: usize,
    noisy: u64,
}

impl Tally {
    fn add(&mut self, ratio: f64, low: f64, high: f64) {
        let truth = TIMES_NS[1] / TIMES_NS[0];
        self.covered += u64::from((low..=high).contains(&truth));
        self.half_widths.push((high - low) / 2.0 / ratio);
        self.errors.push((ratio / truth - 1.0).abs());
    }

    /// Coverage, median half-width, and the error that 95 % of the runs stay under.
    fn figures(&mut self) -> String {
        self.errors.sort_by(f64::total_cmp);
        format!(
            "{:>7.1}% {:>8.2}% {:>8.2}%",
            100.0 * self.covered as f64 / RUNS as f64,
            100.0 * median(&self.half_widths).unwrap(),
            100.0 * self.errors[self.errors.len() * 95 / 100]
        )
    }
}

fn run_paired(noise: Noise, seed: u64, tally: &mut Tally) {
    let mut device = SimulatedDevice::new(noise, &TIMES_NS, seed);
    let settings = LatencySettings {
        seed,
        ..LatencySettings::default()
    };
    let mut samples = 0;
    let series = time(1, &settings, &mut |member, _| {
        samples += 1;
        Ok(device.sample(member).into())
    })
    .unwrap();
    let (ratio, interval) = series[0].ratio(0.95).unwrap();
    tally.add(ratio, interval.low, interval.high);
    tally.samples += samples;
    tally.most_samples = tally.most_samples.max(samples);
    tally.noisy += u64::from(series[0].noisy);
}

/// Each plan alone, a minute apart, and the ratio of the medians with the widest interval that
/// both intervals allow.
fn run_alone(noise: Noise, seed: u64, tally: &mut Tally) {
    let [anchor, candidate] = [0, 1].map(|member| {
        let seed = 2 * seed + member as u64 + RUNS;
        let mut device = SimulatedDevice::new(noise, &TIMES_NS, seed);
        let samples: Vec<_> = (0..FIXED)
            .map(|_| device.sample(member).as_nanos() as f64)
            .collect();
        let interval = median_interval(&samples, 0.975).unwrap();
        (median(&samples).unwrap(), interval)
    });
    tally.add(
        candidate.0 / anchor.0,
        candidate.1.low / anchor.1.high,
        candidate.1.high / anchor.1.low,
    );
}
