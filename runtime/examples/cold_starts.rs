//! How much memory plans take, each in a process of its own.
//!
//! `cargo run --release -p bitfront-runtime --example cold_starts` starts eight uniform plans of
//! the demo model and prints a table in order of their sizes.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use bitfront_model::{ImatrixSource, Plan, Precision};
use bitfront_runtime::cold::{self, Program};
use bitfront_runtime::{CandleRuntime, CandleSettings, Runtime as _};

/// What the example is started with to answer about one plan.
const ANSWER: &str = "answer";

const PRECISIONS: [Precision; 8] = [
    Precision::Q2K,
    Precision::Q3K,
    Precision::Q4_0,
    Precision::Q4K,
    Precision::Q5_0,
    Precision::Q6K,
    Precision::Q8_0,
    Precision::F16,
];

fn main() {
    if std::env::args().nth(1).as_deref() == Some(ANSWER) {
        let question = std::io::read_to_string(std::io::stdin()).unwrap();
        return print!("{}", cold::answer(&question));
    }
    let cache = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let settings = CandleSettings {
        cold_program: Some(Program::new(this, &[ANSWER])),
        ..CandleSettings::new(cache.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    let subject = support::demo(ImatrixSource::None);
    runtime.open(&subject, &mut |_| {}).unwrap();
    let workloads = ["prefill@64".parse().unwrap()];
    println!("| plan | weights | before | peak | peak − before | load | first token |");
    println!("|---|---|---|---|---|---|---|");
    for precision in PRECISIONS {
        let plan = Plan::uniform(runtime.spec().unwrap(), precision).unwrap();
        let start = runtime.cold_start(&plan, &workloads).unwrap();
        let cold = start.measured().unwrap_or_else(|| panic!("{start:?}"));
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let (before, peak) = (
            cold.memory_before_bytes.unwrap_or(0),
            cold.peak_memory_bytes.unwrap_or(0),
        );
        println!(
            "| `{precision}` | {:.2} MB | {:.1} MB | {:.1} MB | {:.1} MB | {:.1} ms | {:.1} ms |",
            megabytes(cold.weight_bytes),
            megabytes(before),
            megabytes(peak),
            megabytes(peak.saturating_sub(before)),
            cold.load_ns as f64 / 1e6,
            cold.first_token_ns as f64 / 1e6,
        );
    }
}
