//! What a search must beat: figures of single layers, from which a plan can be added up, and the
//! true figures of plans. `scripts/gain-beside-additive` solves and compares.
//!
//! ```text
//! CANDLE_NUM_THREADS=1 cargo run --release -p bitfront-runtime --example additive -- tables WINDOWS
//! CANDLE_NUM_THREADS=1 cargo run --release -p bitfront-runtime --example additive -- \
//!     measure WINDOWS FILE
//! ```
//!
//! The tables are of the demo model, as one JSON object: for every layer and precision its bytes,
//! what it loses alone over so many windows, and how long its product takes in isolation for one
//! row of activations and for 128, in nanoseconds; and how long a token's step of the whole anchor
//! takes. FILE has a line for each plan, a name and the precision of every layer with commas
//! between; printed are, for each, the name, its bytes, its mean divergence with the standard
//! error, and the ratio to the anchor (here `q4_k` everywhere) of decode and of prefill, each with the ends of its
//! interval. All plans are timed in one process, beside each other.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use bitfront_model::{
    Anchor, ImatrixSource, ModelSpec, Plan, Precision, ProbeQuestion, SensitivityQuestion, Shape,
    TaskPurpose, Workload,
};
use bitfront_runtime::Runtime as _;
use bitfront_runtime::candle::CandleRuntime;
use serde_json::json;

const PRECISIONS: [Precision; 6] = [
    Precision::Q8_0,
    Precision::Q6K,
    Precision::Q5K,
    Precision::Q4K,
    Precision::Q3K,
    Precision::Q2K,
];
const WORKLOADS: [Workload; 2] = [
    Workload::Decode {
        context: 64,
        tokens: 16,
        batch: 1,
    },
    Workload::Prefill {
        tokens: 128,
        batch: 1,
    },
];

/// Plans that take turns with each other.
const TOGETHER: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A thread of its own, as an agent has.
    let measuring = std::thread::spawn(move || {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        match words[..] {
            ["tables", windows] => tables(windows.parse().unwrap()),
            ["measure", windows, file] => true_figures(windows.parse().unwrap(), file),
            _ => panic!("the arguments are `tables WINDOWS` or `measure WINDOWS FILE`"),
        }
    });
    measuring.join().unwrap();
}

fn opened(folder: &std::path::Path, windows: u32) -> (CandleRuntime, bitfront_model::Subject) {
    let cut = support::Windows {
        context: 256,
        evaluation: windows,
        calibration: 32,
    };
    let subject = support::subject(&support::demo_model(), &cut, ImatrixSource::Calibration);
    (support::opened(folder, &subject), subject)
}

fn tables(windows: u32) {
    let directory = tempfile::tempdir().unwrap();
    let (mut runtime, subject) = opened(directory.path(), windows);
    let spec = runtime.spec().unwrap().clone();
    let probe = ProbeQuestion::new(&spec, &PRECISIONS, &WORKLOADS);
    let products = runtime.probe(&probe).unwrap();
    let question = SensitivityQuestion {
        windows,
        ..SensitivityQuestion::new(&subject, &spec, &PRECISIONS, &Precision::ALL)
    };
    let swaps = runtime.sensitivity(&question, &mut |line| eprintln!("{line}"));
    let layers: Vec<_> = swaps
        .unwrap()
        .iter()
        .map(|swap| {
            let layer = &spec.layers[swap.layer];
            // An embedding is looked up: it has no product.
            let product = Shape::of(layer).and_then(|shape| {
                let is_ours = |it: &&bitfront_model::Product| {
                    it.shape == shape && it.precision == swap.precision
                };
                products.iter().find(is_ours)?.times()
            });
            let (few, many) =
                product.map_or((0.0, 0.0), |(few, many)| (few.median_ns, many.median_ns));
            json!({
                "layer": swap.layer, "name": layer.name, "precision": swap.precision.name(),
                "bytes": swap.precision.bytes(layer.rows, layer.columns),
                "kld": swap.kld(), "decode_ns": few, "prefill_ns": many,
            })
        })
        .collect();
    let anchor = anchor(&spec);
    let timed = runtime.latency(&anchor, &[&anchor.plan], &WORKLOADS, TaskPurpose::Confirm);
    let timed = timed.unwrap().pop().unwrap().unwrap();
    let table = json!({
        "fixed_bytes": spec.fixed_bytes, "swaps": layers,
        "anchor_decode_ns": timed.value.latencies[0].median_ns,
    });
    println!("{table}");
}

fn anchor(spec: &ModelSpec) -> Anchor {
    Anchor {
        plan: Plan::uniform(spec, Precision::Q4K).unwrap(),
        times: Vec::new(),
    }
}

fn true_figures(windows: u32, file: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (mut runtime, _) = opened(directory.path(), windows);
    let spec = runtime.spec().unwrap().clone();
    let text = std::fs::read_to_string(file).unwrap();
    let plans: Vec<(&str, Plan)> = text
        .lines()
        .map(|line| {
            let (name, precisions) = line.split_once(' ').unwrap();
            let precisions = precisions.split(',').map(|it| it.parse().unwrap());
            (name, Plan::new(&spec, precisions.collect()).unwrap())
        })
        .collect();
    let anchor = anchor(&spec);
    for together in plans.chunks(TOGETHER) {
        let timed: Vec<&Plan> = together.iter().map(|(_, plan)| plan).collect();
        let times = runtime.latency(&anchor, &timed, &WORKLOADS, TaskPurpose::Confirm);
        for ((name, plan), timed) in together.iter().zip(times.unwrap()) {
            let quality = runtime
                .quality(plan, TaskPurpose::Search, None)
                .unwrap()
                .value;
            print!(
                "{name} {} {:e} {:e}",
                plan.size_bytes(&spec),
                quality.kld,
                quality.kld_standard_error
            );
            for latency in timed.unwrap().value.latencies {
                let paired = latency.paired.unwrap();
                let interval = paired.ratio_interval;
                print!(" {} {} {}", paired.ratio, interval.low, interval.high);
            }
            println!();
        }
    }
}
