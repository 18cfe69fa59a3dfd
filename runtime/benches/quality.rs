//! Tokens per second of scoring: one plan, and children of one parent with and without the hidden
//! states that they share with earlier plans.
//!
//! ```text
//! cargo bench -p bitfront-runtime --bench quality -- [WINDOWS] [CHILDREN]
//! ```
//!
//! Every child is scored in all ways one after another, the ways in rotating order, so that a
//! machine that drifts slows all of them down. A ratio is that of the same child's times; shown are
//! the median and the quartiles of the ratios, and the ratio of the sums, which is what a search
//! saves.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use std::path::Path;
use std::time::Instant;

use bitfront_model::{ImatrixSource, ModelSpec, Plan, Precision, Preset, Subject, TaskPurpose};
use bitfront_runtime::candle::{CandleRuntime, order_for_reuse};
use bitfront_runtime::{CandleSettings, Runtime as _};

const CONTEXT: u32 = 256;
const SEED: u64 = 17;

/// The precisions that children choose from.
const ALLELES: [Precision; 5] = [
    Precision::Q8_0,
    Precision::Q6K,
    Precision::Q5K,
    Precision::Q4K,
    Precision::Q3K,
];

/// One way of scoring the children: a runtime of its own, and what it took.
struct Way {
    name: &'static str,
    runtime: CandleRuntime,
    order: Vec<usize>,
    /// Seconds of each turn: the child in place `turn` of the order.
    seconds: Vec<f64>,
}

fn main() {
    let numbers = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let numbers = numbers.collect::<Vec<_>>();
    let windows = numbers.first().copied().unwrap_or(80);
    let children = numbers.get(1).copied().unwrap_or(100) as usize;
    let directory = tempfile::tempdir().unwrap();
    let subject = support::subject(
        &support::demo_model(),
        &support::Windows {
            context: CONTEXT,
            evaluation: windows,
            calibration: 60,
        },
        ImatrixSource::Calibration,
    );
    let mut whole = runtime(directory.path(), &subject, 0);
    let spec = whole.spec().unwrap().clone();
    let parent = Preset::Q4KM.plan(&spec).unwrap();
    let tokens = f64::from(windows * CONTEXT);
    println!(
        "{}, {} threads, {windows} windows of {CONTEXT} tokens, {children} children",
        whole.identity().numerics_class,
        whole.identity().threads
    );

    let plans = mutated(&spec, &parent, children);
    for plan in &plans {
        // Quantizing is another cost, paid once for each tensor.
        whole.assemble(plan).unwrap();
    }
    one_plan(&mut whole, &parent, tokens);

    let born = (0..plans.len()).collect::<Vec<_>>();
    let ways = [
        ("whole", 0, born.clone()),
        ("reuse", 4 << 30, born.clone()),
        ("reuse in order", 4 << 30, order_for_reuse(&plans)),
        ("little room", 256 << 20, born),
        ("little in order", 256 << 20, order_for_reuse(&plans)),
    ];
    let mut ways = ways.map(|(name, budget, order)| {
        let mut runtime = runtime(directory.path(), &subject, budget);
        for plan in &plans {
            runtime.assemble(plan).unwrap();
        }
        runtime.quality(&parent, TaskPurpose::Search).unwrap();
        Way {
            name,
            runtime,
            order,
            seconds: Vec::new(),
        }
    });
    for turn in 0..plans.len() {
        for offset in 0..ways.len() {
            let way = (turn + offset) % ways.len();
            let way = &mut ways[way];
            let plan = &plans[way.order[turn]];
            way.seconds.push(timed(&mut way.runtime, plan));
        }
    }
    table(&ways, tokens);
}

fn runtime(directory: &Path, subject: &Subject, prefix_budget_bytes: u64) -> CandleRuntime {
    let settings = CandleSettings {
        prefix_budget_bytes,
        ..CandleSettings::new(directory.to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    runtime.open(subject, &mut |_| {}).unwrap();
    runtime
}

/// Children that hold one or two random layers in another precision than their parent.
fn mutated(spec: &ModelSpec, parent: &Plan, children: usize) -> Vec<Plan> {
    let mut state = SEED;
    let mut below = |bound: usize| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    };
    let mut child = || {
        let mut precisions = parent.precisions().to_vec();
        for _ in 0..=below(2) {
            let layer = below(precisions.len());
            let others = ALLELES.iter().filter(|&&other| other != precisions[layer]);
            let others = others.copied().collect::<Vec<_>>();
            precisions[layer] = others[below(others.len())];
        }
        Plan::new(spec, precisions).unwrap()
    };
    (0..children).map(|_| child()).collect()
}

fn timed(runtime: &mut CandleRuntime, plan: &Plan) -> f64 {
    let start = Instant::now();
    runtime.quality(plan, TaskPurpose::Search).unwrap();
    start.elapsed().as_secs_f64()
}

fn one_plan(runtime: &mut CandleRuntime, plan: &Plan, tokens: f64) {
    runtime.quality(plan, TaskPurpose::Search).unwrap();
    let mut seconds = (0..5).map(|_| timed(runtime, plan)).collect::<Vec<_>>();
    seconds.sort_by(f64::total_cmp);
    println!(
        "one plan (Q4_K_M), computed whole: {:.0} tokens/s, median of 5 from {:.0} to {:.0}\n",
        tokens / seconds[2],
        tokens / seconds[4],
        tokens / seconds[0]
    );
}

fn table(ways: &[Way], tokens: f64) {
    println!(
        "{:16} {:>9} {:>6} {:>12} | {:>22} {:>8}",
        "children", "tokens/s", "hits", "computed", "times the whole's: med", "of sums"
    );
    let whole = &ways[0];
    let by_child = |way: &Way| {
        let mut seconds = vec![0.0; way.order.len()];
        for (&child, &took) in way.order.iter().zip(&way.seconds) {
            seconds[child] = took;
        }
        seconds
    };
    let reference = by_child(whole);
    for way in ways {
        let counts = way.runtime.prefix_counts();
        let seconds = by_child(way);
        let mut ratios = reference.iter().zip(&seconds).map(|(a, b)| a / b);
        let mut ratios = ratios.by_ref().collect::<Vec<_>>();
        ratios.sort_by(f64::total_cmp);
        let quantile = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
        let (total, sum) = (reference.iter().sum::<f64>(), seconds.iter().sum::<f64>());
        // The parent is in the counts, and was computed whole.
        let parts = counts.parts * way.order.len() as u64 / (way.order.len() as u64 + 1);
        let computed = 1.0 - counts.reused_parts as f64 / parts as f64;
        let tokens = tokens * way.order.len() as f64;
        println!(
            "{:16} {:>9.0} {:>6} {:>11.1}% | {:>6.2} [{:.2}, {:.2}] {:>12.2}",
            way.name,
            tokens / sum,
            counts.hits,
            100.0 * computed,
            quantile(0.5),
            quantile(0.25),
            quantile(0.75),
            total / sum
        );
    }
}
