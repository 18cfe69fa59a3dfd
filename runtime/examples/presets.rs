//! Prints llama.cpp's presets, expressed as plans and scored here, beside llama.cpp's own figures.
//!
//! ```text
//! cargo run --release -p bitfront-runtime --example presets -- 400
//! ```
//!
//! The argument is the number of evaluation windows: 80 or 400, those that
//! `tests/golden/llama_cpp_presets.json` has figures for. Two columns are computed here: what
//! candle's kernels give on this processor, and the same weights with activations rounded as
//! llama.cpp's kernels round them. Where the two differ, the kernels are the reason.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use bitfront_model::{ImatrixSource, Plan, Precision, Preset, TaskPurpose};
use bitfront_runtime::Runtime as _;
use bitfront_runtime::candle::{Arithmetic, CandleRuntime};
use serde_json::Value;

fn main() {
    let windows = std::env::args()
        .nth(1)
        .map_or(80, |text| text.parse().unwrap());
    let golden = support::golden_model("../llama_cpp_presets.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    let subject = support::subject(
        &support::demo_model(),
        &support::Windows {
            context: 256,
            evaluation: windows,
            calibration: 60,
        },
        ImatrixSource::Calibration,
    );
    let directory = tempfile::tempdir().unwrap();
    let mut runtime = support::runtime(directory.path());
    runtime
        .open(&subject, &mut |line| eprintln!("{line}"))
        .unwrap();

    println!(
        "{} on {windows} windows of 256 tokens",
        runtime.identity().numerics_class
    );
    println!(
        "{:8} {:>9} | {:>21} {:>8} | {:>10} {:>6} | {:>10} {:>6} {:>6}",
        "plan", "bytes", "KLD", "same top", "llama.cpp's", "ratio", "rounded so", "ratio", "same"
    );
    let spec = runtime.spec().unwrap().clone();
    for preset in Preset::ALL {
        let figures = &golden["presets"][preset.name()];
        let plan = preset.plan(&spec).unwrap();
        row(&mut runtime, preset.name(), &plan, figures, windows);
    }
    for precision in Precision::ALL {
        let figures = &golden["uniform"][precision.name()];
        let plan = Plan::uniform(&spec, precision).unwrap();
        row(&mut runtime, precision.name(), &plan, figures, windows);
    }
}

fn row(runtime: &mut CandleRuntime, name: &str, plan: &Plan, figures: &Value, windows: u32) {
    let bytes = plan.size_bytes(runtime.spec().unwrap());
    let here = runtime
        .quality(plan, TaskPurpose::Search, None)
        .unwrap()
        .value;
    let rounded = runtime.score(plan, Arithmetic::LlamaCpp).unwrap().value;
    let figures = &figures[format!("chunks_{windows}")];
    let theirs = figures["mean_kld"].as_f64().unwrap_or(f64::NAN);
    println!(
        "{name:8} {bytes:>9} | {:.6} ± {:.6} {:>7.2}% | {theirs:.6} {:>8.2} | {:.6} {:>8.2} {:>6.2}%",
        here.kld,
        here.kld_standard_error,
        100.0 * here.same_top_rate,
        here.kld / theirs,
        rounded.kld,
        rounded.kld / theirs,
        100.0 * rounded.same_top_rate,
    );
}
