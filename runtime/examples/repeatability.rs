//! How well timings repeat: ten plans of the demo model, timed in five separate processes, in
//! bitfront's paired blocks and in the usual way (the median of 20 runs of each plan alone, after
//! 5 that do not count), on the machine as it is and under a load that this program makes.
//!
//!     CANDLE_NUM_THREADS=1 cargo run --release -p bitfront-runtime --example repeatability
//!
//! Each process is held to the first core (`taskset`), as an agent holds its measuring threads. The
//! load is one loop that never rests and one that copies 64 MiB now and then. Printed are, for each
//! plan, its ratio to the anchor and the spread of that ratio over the five processes: (largest −
//! smallest) / median.
//!
//! With a file of plans, lines of a name and the precision of every layer with commas between,
//! those are timed in place of the ten; `scripts/time-front-again` writes one of a search's front.
//! With `beside PRECISION`, the anchor is that uniform plan in place of the one that a search has.
//! With `aged`, one process opens the model six times: its times should not grow, and its ratios lie
//! apart by what the machine does meanwhile. With `anchor`, the digest of a search's anchor is
//! printed.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bitfront_model::{
    Anchor, ImatrixSource, Latency, ModelSpec, Plan, Precision, TaskPurpose, Workload,
};
use bitfront_runtime::Runtime as _;
use bitfront_runtime::candle::{Arithmetic, CandleRuntime, Positions};
use bitfront_runtime::stats::median;

const RUNS: usize = 5;
/// How often one process opens the model anew.
const ROUNDS: usize = 6;
const ALONE: usize = 20;
const WARM_UP: usize = 5;
/// Plans in one block, beside the anchor.
const TOGETHER: usize = 4;
const WORKLOADS: [Workload; 2] = [
    Workload::Decode {
        context: 64,
        tokens: 16,
        batch: 1,
    },
    Workload::Prefill {
        tokens: 64,
        batch: 1,
    },
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("once") => {
            // A thread of its own, as an agent has. On the main thread, where Linux begins the
            // stack somewhere else in each process, some of candle's kernels take 1.7 times as long
            // in one process of several.
            let measuring = std::thread::spawn(move || once(&Asked::of(&arguments[1..])));
            measuring.join().unwrap();
        }
        Some("aged") => std::thread::spawn(aged).join().unwrap(),
        Some("anchor") => println!("{}", opened(None).2.plan.digest()),
        Some("busy") => busy(),
        Some("copy") => copy(),
        _ => compare(&arguments),
    }
}

/// What to time.
#[derive(Default)]
struct Asked {
    /// Plans in place of the ten.
    file: Option<String>,
    /// The anchor in place of a search's.
    beside: Option<Precision>,
}

impl Asked {
    fn of(arguments: &[String]) -> Self {
        match arguments {
            [] => Self::default(),
            [word, precision] if word == "beside" => Self {
                beside: Some(precision.parse().unwrap()),
                ..Self::default()
            },
            [file] if file != "beside" => Self {
                file: Some(file.clone()),
                ..Self::default()
            },
            _ => panic!("`beside PRECISION`, a file of plans, or nothing"),
        }
    }
}

/// The plans of a file.
fn plans_of(file: &str, spec: &ModelSpec) -> Vec<(String, Plan)> {
    let text = std::fs::read_to_string(file).unwrap();
    let plan = |line: &str| {
        let (name, precisions) = line.split_once(' ').unwrap();
        let precisions = precisions.split(',').map(|it| it.parse().unwrap());
        let plan = Plan::new(spec, precisions.collect()).unwrap();
        (name.to_owned(), plan)
    };
    text.lines().map(plan).collect()
}

/// The plans of a file, or else ten: five uniform ones, and five mixed ones drawn with a fixed
/// seed.
fn plans(asked: &Asked, spec: &ModelSpec) -> Vec<(String, Plan)> {
    if let Some(file) = &asked.file {
        return plans_of(file, spec);
    }
    let kinds = [
        Precision::Q8_0,
        Precision::Q6K,
        Precision::Q5K,
        Precision::Q3K,
        Precision::Q2K,
    ];
    let uniform = kinds.map(|kind| (kind.to_string(), Plan::uniform(spec, kind).unwrap()));
    let mut random = fastrand::Rng::with_seed(11);
    let mixed = (1..=5).map(|number| {
        let layers = spec.layers.iter();
        let precisions = layers.map(|_| kinds[random.usize(..kinds.len())]).collect();
        (
            format!("mixed {number}"),
            Plan::new(spec, precisions).unwrap(),
        )
    });
    uniform.into_iter().chain(mixed).collect()
}

/// The demo model, opened anew, and the anchor. Quantizing is no part of what is compared, so all
/// processes share what was quantized.
fn opened(beside: Option<Precision>) -> (CandleRuntime, ModelSpec, Anchor) {
    let windows = support::Windows {
        context: 256,
        evaluation: 8,
        calibration: 1,
    };
    let subject = support::subject(&support::demo_model(), &windows, ImatrixSource::None);
    let directory = std::env::temp_dir().join("bitfront-repeatability");
    let mut runtime = support::runtime(&directory);
    runtime.open(&subject, &mut |_| {}).unwrap();
    let spec = runtime.spec().unwrap().clone();
    let plan = match beside {
        Some(precision) => Plan::uniform(&spec, precision).unwrap(),
        None => Anchor::plan_for(&spec, &runtime.precisions()).unwrap(),
    };
    let times = Vec::new();
    let anchor = Anchor { plan, times };
    (runtime, spec, anchor)
}

/// One process that opens the model anew again and again, as an agent opens what searches ask for:
/// the anchor's time, and the ratios of the first plans.
fn aged() {
    for round in 1..=ROUNDS {
        let (mut runtime, spec, anchor) = opened(None);
        let plans = plans(&Asked::default(), &spec);
        let together: Vec<_> = plans[..TOGETHER].iter().map(|(_, plan)| plan).collect();
        let purpose = TaskPurpose::Confirm;
        let timed = runtime.latency(&anchor, &together, &WORKLOADS, purpose);
        let timed = timed.unwrap().into_iter().map(|it| it.unwrap().value);
        let timed: Vec<_> = timed.map(|timing| timing.latencies).collect();
        for (index, workload) in WORKLOADS.into_iter().enumerate() {
            let paired = |of: &[Latency]| of[index].paired.clone().unwrap();
            let anchor = paired(&timed[0]).reference.median_ns / 1e3;
            print!("opened {round} times, {workload}: anchor {anchor:.1} µs");
            for ((name, _), latencies) in plans.iter().zip(&timed) {
                let (ratio, interval) = {
                    let paired = paired(latencies);
                    (paired.ratio, paired.ratio_interval)
                };
                print!(
                    ", {name} {ratio:.4} [{:.4}, {:.4}]",
                    interval.low, interval.high
                );
            }
            println!();
        }
    }
}

/// One process: a line for every workload and plan with the ratio, its interval and the ratio of
/// the usual way.
fn once(asked: &Asked) {
    let (mut runtime, spec, anchor) = opened(asked.beside);
    let plans = plans(asked, &spec);
    let mut paired = Vec::new();
    for together in plans.chunks(TOGETHER) {
        let together: Vec<_> = together.iter().map(|(_, plan)| plan).collect();
        paired.extend(
            runtime
                .latency(&anchor, &together, &WORKLOADS, TaskPurpose::Confirm)
                .unwrap(),
        );
    }
    for (index, workload) in WORKLOADS.into_iter().enumerate() {
        let anchor = alone(&mut runtime, &anchor.plan, workload);
        for ((_, plan), measured) in plans.iter().zip(&paired) {
            let latency = &measured.as_ref().unwrap().value.latencies[index];
            let paired = latency.paired.as_ref().unwrap();
            let interval = paired.ratio_interval;
            println!(
                "{} {} {} {} {}",
                paired.ratio,
                interval.low,
                interval.high,
                u8::from(paired.noisy),
                alone(&mut runtime, plan, workload) / anchor
            );
        }
    }
}

/// The median of some runs of one plan alone.
fn alone(runtime: &mut CandleRuntime, plan: &Plan, workload: Workload) -> f64 {
    let (context, tokens) = (workload.context() as usize, workload.tokens() as usize);
    let matrices = runtime.assemble(plan).unwrap().matrices;
    let opened = runtime.opened().unwrap();
    let text = opened.windows().evaluation.concat();
    let decoder = opened.decoder();
    let mut cache = decoder.cache(1, context + tokens);
    let read = |tokens: &[u32], cache: &mut _| {
        black_box(
            decoder
                .forward(
                    &matrices,
                    tokens,
                    cache,
                    Positions::Last,
                    Arithmetic::Kernels,
                )
                .unwrap(),
        );
    };
    if context > 0 {
        read(&text[..context], &mut cache);
    }
    let step = if workload.is_decode() { 1 } else { tokens };
    let mut samples = Vec::new();
    for _ in 0..WARM_UP + ALONE {
        cache.truncate(context);
        let start = Instant::now();
        for chunk in text[context..context + tokens].chunks(step) {
            read(chunk, &mut cache);
        }
        samples.push(start.elapsed().as_secs_f64());
    }
    median(&samples[WARM_UP..]).unwrap()
}

/// What one process said of one plan under one workload.
#[derive(Clone, Copy)]
struct Row {
    ratio: f64,
    low: f64,
    high: f64,
    noisy: bool,
    alone: f64,
}

fn compare(arguments: &[String]) {
    let this = std::env::current_exe().unwrap();
    let child = |task: &str| -> Child {
        let mut command = Command::new(&this);
        if task == "once" {
            command = Command::new("taskset");
            command.args(["-c", "0"]).arg(&this);
        }
        let arguments = arguments.iter().filter(|_| task == "once");
        command
            .arg(task)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let names = names(&Asked::of(arguments));
    // The first process quantizes; its figures do not count.
    child("once").wait_with_output().unwrap();
    for loaded in [false, true] {
        let mut load = Vec::new();
        if loaded {
            load = vec![child("busy"), child("copy")];
        }
        let runs: Vec<Vec<Row>> = (0..RUNS)
            .map(|_| {
                let output = child("once").wait_with_output().unwrap();
                assert!(output.status.success(), "a process failed");
                rows(&String::from_utf8(output.stdout).unwrap())
            })
            .collect();
        for mut child in load {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        print(&names, if loaded { "loaded" } else { "as it is" }, &runs);
    }
}

fn rows(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let numbers: Vec<f64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
        Row {
            ratio: numbers[0],
            low: numbers[1],
            high: numbers[2],
            noisy: numbers[3] > 0.0,
            alone: numbers[4],
        }
    };
    text.lines().map(row).collect()
}

fn print(names: &[String], machine: &str, runs: &[Vec<Row>]) {
    for (index, workload) in WORKLOADS.into_iter().enumerate() {
        println!("\n{workload}, machine {machine}");
        println!(
            "{:<8} | {:>7} {:>7} {:>9} {:>5} | {:>7} {:>7}",
            "plan", "ratio", "spread", "halfwidth", "noisy", "alone", "spread"
        );
        let of = |plan: usize| -> Vec<Row> {
            let row = index * names.len() + plan;
            runs.iter().map(|run| run[row]).collect()
        };
        let (mut widest, mut widest_alone) = (0f64, 0f64);
        for (plan, name) in names.iter().enumerate() {
            let rows = of(plan);
            let ratios: Vec<_> = rows.iter().map(|row| row.ratio).collect();
            let alone: Vec<_> = rows.iter().map(|row| row.alone).collect();
            let halves: Vec<_> = rows
                .iter()
                .map(|row| (row.high - row.low) / 2.0 / row.ratio)
                .collect();
            widest = widest.max(spread(&ratios));
            widest_alone = widest_alone.max(spread(&alone));
            println!(
                "{name:<8} | {:>7.4} {:>6.2}% {:>8.2}% {:>5} | {:>7.4} {:>6.2}%",
                median(&ratios).unwrap(),
                100.0 * spread(&ratios),
                100.0 * median(&halves).unwrap(),
                rows.iter().filter(|row| row.noisy).count(),
                median(&alone).unwrap(),
                100.0 * spread(&alone),
            );
        }
        let (compared, swapped) = swaps(names, of);
        println!(
            "widest spread {:.2} %, of the usual way {:.2} %; of {compared} pairs whose intervals \
             are apart in two runs, {swapped} have swapped their order",
            100.0 * widest,
            100.0 * widest_alone
        );
    }
}

/// Pairs of plans whose intervals do not overlap in two runs, and how many of them stand in
/// opposite orders there.
fn swaps(names: &[String], of: impl Fn(usize) -> Vec<Row>) -> (usize, usize) {
    let (mut compared, mut swapped) = (0, 0);
    for left in 0..names.len() {
        for right in left + 1..names.len() {
            let pairs = of(left).into_iter().zip(of(right));
            let orders: Vec<_> = pairs
                .filter(|(left, right)| left.high < right.low || right.high < left.low)
                .map(|(left, right)| left.ratio < right.ratio)
                .collect();
            for (place, order) in orders.iter().enumerate() {
                for other in &orders[place + 1..] {
                    compared += 1;
                    swapped += usize::from(order != other);
                }
            }
        }
    }
    (compared, swapped)
}

fn spread(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (high - low) / median(values).unwrap()
}

fn names(asked: &Asked) -> Vec<String> {
    let spec = bitfront_runtime::source::open(&support::demo_model())
        .unwrap()
        .spec()
        .clone();
    plans(asked, &spec)
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

/// A loop on one core that never rests.
fn busy() {
    let mut value = 1u64;
    loop {
        value = black_box(
            value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1),
        );
    }
}

/// Bursts of memory traffic: 64 MiB are copied for 30 ms, then there is rest for 120 ms.
fn copy() {
    let from = vec![1u8; 64 << 20];
    let mut to = vec![0u8; 64 << 20];
    loop {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(30) {
            to.copy_from_slice(black_box(&from));
            black_box(&to);
        }
        std::thread::sleep(Duration::from_millis(120));
    }
}
