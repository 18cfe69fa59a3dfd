//! What early stages with dequantized weights would save, and by how much their divergences are
//! off: each plan is scored with its own kernels and with dequantized weights.
//!
//! ```text
//! cargo run --release --example dequantized -- [WINDOWS] [CHILDREN]
//! ```
//!
//! First uniform plans and llama.cpp's presets, then children of the Q4_K_M plan with one or two
//! layers in another precision, beside their parent: a race compares ratios, so what matters there
//! is whether both lose the same share.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use std::time::Instant;

use bitfront_model::{ImatrixSource, Plan, Precision, Preset, Quality};
use bitfront_runtime::CandleSettings;
use bitfront_runtime::Runtime as _;
use bitfront_runtime::candle::{Arithmetic, CandleRuntime};

const CONTEXT: u32 = 256;
const SEED: u64 = 17;

fn main() {
    let numbers = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let numbers = numbers.collect::<Vec<_>>();
    let windows = numbers.first().copied().unwrap_or(40);
    let children = numbers.get(1).copied().unwrap_or(40);
    let subject = support::subject(
        &support::demo_model(),
        &support::Windows {
            context: CONTEXT,
            evaluation: windows,
            calibration: 60,
        },
        ImatrixSource::Calibration,
    );
    let directory = tempfile::tempdir().unwrap();
    let settings = CandleSettings {
        prefix_budget_bytes: 0,
        ..CandleSettings::new(directory.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    runtime.open(&subject, &mut |_| {}).unwrap();
    let spec = runtime.spec().unwrap().clone();
    println!(
        "{}, {} threads, {windows} windows of {CONTEXT} tokens",
        runtime.identity().numerics_class,
        runtime.identity().threads
    );
    println!(
        "{:8} {:>21} {:>12} {:>7} | {:>17} {:>12} {:>6}",
        "plan",
        "KLD, its kernels",
        "dequantized",
        "ratio",
        "tokens/s, kernels",
        "dequantized",
        "times"
    );
    let tokens = f64::from(windows * CONTEXT);
    let presets = Preset::ALL.map(|preset| (preset.name(), preset.plan(&spec).unwrap()));
    let uniform = Precision::ALL.map(|one| (one.name(), Plan::uniform(&spec, one).unwrap()));
    for (name, plan) in presets.into_iter().chain(uniform) {
        row(&mut runtime, name, &plan, tokens);
    }
    family(&mut runtime, children);
}

/// A plan both ways: its quality and the seconds that scoring took.
fn both(runtime: &mut CandleRuntime, plan: &Plan) -> [(Quality, f64); 2] {
    runtime.assemble(plan).unwrap();
    [Arithmetic::Scoring, Arithmetic::Dequantized].map(|arithmetic| {
        let mut taken = (0..3).map(|_| {
            let start = Instant::now();
            let scored = runtime.score(plan, arithmetic).unwrap().value;
            (scored, start.elapsed().as_secs_f64())
        });
        let first = taken.next().unwrap();
        taken.fold(first, |best, one| if one.1 < best.1 { one } else { best })
    })
}

fn row(runtime: &mut CandleRuntime, name: &str, plan: &Plan, tokens: f64) {
    let [(kernels, slow), (dequantized, fast)] = both(runtime, plan);
    println!(
        "{name:8} {:.6} ± {:.6} {:>12.6} {:>7.3} | {:>17.0} {:>12.0} {:>6.2}",
        kernels.kld,
        kernels.kld_standard_error,
        dequantized.kld,
        dequantized.kld / kernels.kld,
        tokens / slow,
        tokens / fast,
        slow / fast
    );
}

/// Children of one parent: how both ways see the ratio of a child's divergence to its parent's.
fn family(runtime: &mut CandleRuntime, children: u32) {
    let spec = runtime.spec().unwrap().clone();
    let parent = Preset::Q4KM.plan(&spec).unwrap();
    let of_parent = both(runtime, &parent).map(|(quality, _)| quality.kld);
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut off = Vec::new();
    let mut orders = 0;
    for _ in 0..children {
        let mut precisions = parent.precisions().to_vec();
        for _ in 0..random.usize(1..=2) {
            let layer = random.usize(0..precisions.len());
            precisions[layer] = random
                .choice([
                    Precision::Q8_0,
                    Precision::Q6K,
                    Precision::Q5K,
                    Precision::Q4K,
                    Precision::Q3K,
                ])
                .unwrap();
        }
        let child = Plan::new(&spec, precisions).unwrap();
        let [kernels, dequantized] = both(runtime, &child).map(|(quality, _)| quality.kld);
        let ratios = [kernels / of_parent[0], dequantized / of_parent[1]];
        orders += u32::from((ratios[0] < 1.0) != (ratios[1] < 1.0));
        off.push(ratios[1] / ratios[0] - 1.0);
    }
    off.sort_by(f64::total_cmp);
    let quantile = |share: f64| 100.0 * off[((off.len() - 1) as f64 * share).round() as usize];
    println!(
        "\n{children} children of Q4_K_M beside it: the ratio to the parent is off by {:+.2} % in \
         the median, [{:+.2}, {:+.2}] % in nine of ten; {orders} stand on the other side of the parent",
        quantile(0.5),
        quantile(0.05),
        quantile(0.95)
    );
}
