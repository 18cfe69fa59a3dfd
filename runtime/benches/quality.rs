//! Tokens per second of scoring: one plan, and children of one parent with and without the hidden
//! states that they share with earlier plans, and with and without stages.
//!
//! ```text
//! cargo bench -p bitfront-runtime --bench quality -- [WINDOWS] [CHILDREN] [FOLDER]
//! ```
//!
//! With a folder, the children are written there as files for `llama-quantize --tensor-type-file`,
//! so that others can score them (`scripts/bench-beside-llama-cpp`).
//!
//! The ways take turns of ten children, in rotating order: fewer, and a way would find caches and
//! memory mostly as the others left them, while an agent scores one child after another; more, and a
//! machine that drifts would slow down some ways and not others. A ratio is that of the same child's
//! times; shown are the median and the quartiles of the ratios, and the ratio of the sums, which is
//! what a search saves. Tokens of windows that need not be scored count as scored.
//!
//! In stages, a child is given up as a search does it that makes divergence and size small: its
//! rival is the best of the earlier plans that are no larger. Children come as they were born, as
//! the candidates of a search do, which are proposed one after the other; the last way has all of
//! them at once and begins with the smallest. The last column says what became of
//! the front of all children, as they are when all windows are scored: how many of its points were
//! given up, and how many of these a comparison over all windows finds better than their rival (95
//! %, Student's t over the paired differences), as a published front would.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use std::path::Path;
use std::time::Instant;

use bitfront_model::{
    ImatrixSource, ModelSpec, Plan, Precision, Preset, Quality, Rival, Subject, TaskPurpose,
};
use bitfront_runtime::candle::{CandleRuntime, order_for_reuse};
use bitfront_runtime::export::tensor_type_file;
use bitfront_runtime::{CandleSettings, Runtime as _};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

const CONTEXT: u32 = 256;
const SEED: u64 = 17;

/// Children that a way scores before the next one's turn.
const IN_A_ROW: usize = 10;

/// Bytes of hidden states that are as tight for the demo model as what an agent keeps is for a
/// large one: about those of one plan over 40 windows.
const LITTLE_ROOM: u64 = 128 << 20;

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
    staged: bool,
    /// The parent and the children, in the order of scoring.
    scored: Vec<Scored>,
    /// Seconds that the child in each place of the order took.
    seconds: Vec<f64>,
}

/// A plan that was scored.
struct Scored {
    /// None for the parent.
    child: Option<usize>,
    size_bytes: u64,
    quality: Quality,
}

fn main() {
    // cargo adds `--bench`.
    let typed = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let typed = typed.collect::<Vec<_>>();
    let number = |at: usize| typed.get(at).map(|number| number.parse::<u32>().unwrap());
    let windows = number(0).unwrap_or(80);
    let children = number(1).unwrap_or(100) as usize;
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
    quantize(&mut whole, &parent, &plans);
    one_plan(&mut whole, &parent, tokens);
    if let Some(folder) = typed.get(2) {
        for (child, plan) in plans.iter().enumerate() {
            let path = Path::new(folder).join(format!("{child}.types"));
            std::fs::write(path, tensor_type_file::text(&spec, plan)).unwrap();
        }
    }

    let born = (0..plans.len()).collect::<Vec<_>>();
    // The strongest rival of most plans is smaller and has been scored by then.
    let mut smallest_first = born.clone();
    smallest_first.sort_by_key(|&child| plans[child].size_bytes(&spec));
    let ways = [
        ("whole", 0, false, born.clone()),
        ("reuse", 4 << 30, false, born.clone()),
        ("little room", LITTLE_ROOM, false, born.clone()),
        ("and in order", LITTLE_ROOM, false, order_for_reuse(&plans)),
        ("stages", 0, true, born.clone()),
        ("stages, reuse", 4 << 30, true, born.clone()),
        ("usual room", 512 << 20, true, born),
        ("smallest first", 512 << 20, true, smallest_first),
    ];
    let mut ways = ways.map(|(name, budget, staged, order)| {
        let mut runtime = runtime(directory.path(), &subject, budget);
        for plan in &plans {
            runtime.assemble(plan).unwrap();
        }
        let quality = runtime.quality(&parent, TaskPurpose::Search, None).unwrap();
        let parent = Scored {
            child: None,
            size_bytes: parent.size_bytes(&spec),
            quality: quality.value,
        };
        Way {
            name,
            runtime,
            order,
            staged,
            scored: vec![parent],
            seconds: Vec::new(),
        }
    });
    let places = (0..plans.len()).collect::<Vec<_>>();
    for (round, places) in places.chunks(IN_A_ROW).enumerate() {
        for offset in 0..ways.len() {
            let way = (round + offset) % ways.len();
            for &place in places {
                ways[way].score(place, &plans, &spec);
            }
        }
    }
    table(&ways, tokens);
}

impl Way {
    /// Scores the child in this place of the order.
    fn score(&mut self, place: usize, plans: &[Plan], spec: &ModelSpec) {
        let child = self.order[place];
        let plan = &plans[child];
        let size_bytes = plan.size_bytes(spec);
        let rival = self.staged.then(|| self.rival(size_bytes)).flatten();
        let start = Instant::now();
        let measured = self
            .runtime
            .quality(plan, TaskPurpose::Search, rival.as_ref());
        self.seconds.push(start.elapsed().as_secs_f64());
        self.scored.push(Scored {
            child: Some(child),
            size_bytes,
            quality: measured.unwrap().value,
        });
    }

    /// Of the plans that were scored whole and are no larger, the one that loses least.
    fn rival(&self, size_bytes: u64) -> Option<Rival> {
        let whole = self.scored.iter().enumerate();
        let (index, best) = whole
            .filter(|(_, it)| it.quality.stopped.is_none() && it.size_bytes <= size_bytes)
            .min_by(|(_, left), (_, right)| left.quality.kld.total_cmp(&right.quality.kld))?;
        Some(Rival {
            candidate: index as i64,
            kld_windows: best.quality.kld_windows.clone(),
        })
    }

    /// Children that no plan dominates in divergence and size.
    fn front(&self) -> Vec<usize> {
        let dominates = |one: &Scored, other: &Scored| {
            let (ours, theirs) = (one.quality.kld, other.quality.kld);
            one.size_bytes <= other.size_bytes
                && ours <= theirs
                && (one.size_bytes < other.size_bytes || ours < theirs)
        };
        let free = |one: &&Scored| !self.scored.iter().any(|other| dominates(other, one));
        let front = self.scored.iter().filter(free);
        front.filter_map(|scored| scored.child).collect()
    }

    /// Windows that were scored, as a share of all.
    fn windows(&self) -> f64 {
        let children = &self.scored[1..];
        let scored = children.iter().map(|it| it.quality.kld_windows.len());
        let all = self.scored[0].quality.kld_windows.len() * children.len();
        scored.sum::<usize>() as f64 / all as f64
    }

    /// Whether a child that was given up comes out better than its rival over all windows, beyond
    /// the noise; `whole` is the way that scored everything.
    fn has_wronged(&self, whole: &Way, child: usize) -> bool {
        let of_child = |scored: &&Scored| scored.child == Some(child);
        let stopped = self.scored.iter().find(of_child).unwrap().quality.stopped;
        let rival = &self.scored[stopped.unwrap().behind as usize];
        let ours = &whole
            .scored
            .iter()
            .find(of_child)
            .unwrap()
            .quality
            .kld_windows;
        let pairs = ours.iter().zip(&rival.quality.kld_windows);
        let gains = pairs
            .map(|(ours, theirs)| theirs - ours)
            .collect::<Vec<_>>();
        let count = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / count;
        let squares = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>();
        let error = (squares / (count - 1.0) / count).sqrt();
        let student = StudentsT::new(0.0, 1.0, count - 1.0).unwrap();
        mean > student.inverse_cdf(0.975) * error
    }

    /// The children that were given up.
    fn given_up(&self) -> Vec<usize> {
        let stopped = self.scored.iter().filter(|it| it.quality.stopped.is_some());
        stopped.filter_map(|scored| scored.child).collect()
    }
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

/// Quantizes what the plans are made of: another cost than scoring, paid once for each tensor.
fn quantize(runtime: &mut CandleRuntime, parent: &Plan, plans: &[Plan]) {
    let start = Instant::now();
    runtime.assemble(parent).unwrap();
    let of_parent = start.elapsed().as_secs_f64();
    for plan in plans {
        runtime.assemble(plan).unwrap();
    }
    let of_each = (start.elapsed().as_secs_f64() - of_parent) / plans.len() as f64;
    println!("quantizing: {of_parent:.2} s the parent, {of_each:.3} s a child more on average");
}

fn timed(runtime: &mut CandleRuntime, plan: &Plan) -> f64 {
    let start = Instant::now();
    runtime.quality(plan, TaskPurpose::Search, None).unwrap();
    start.elapsed().as_secs_f64()
}

fn one_plan(runtime: &mut CandleRuntime, plan: &Plan, tokens: f64) {
    runtime.quality(plan, TaskPurpose::Search, None).unwrap();
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
        "{:16} {:>9} {:>8} {:>8} {:>9} | {:>22} {:>8} | {:>8} {:>8} {:>8}",
        "children",
        "tokens/s",
        "a minute",
        "windows",
        "computed",
        "times the whole's: med",
        "of sums",
        "given up",
        "of front",
        "wronged"
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
    let front = whole.front();
    for way in ways {
        let counts = way.runtime.prefix_counts();
        let seconds = by_child(way);
        let mut ratios = reference.iter().zip(&seconds).map(|(a, b)| a / b);
        let mut ratios = ratios.by_ref().collect::<Vec<_>>();
        ratios.sort_by(f64::total_cmp);
        let quantile = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
        let (total, sum) = (reference.iter().sum::<f64>(), seconds.iter().sum::<f64>());
        let computed = 1.0 - counts.reused_parts as f64 / counts.parts as f64;
        let tokens = tokens * way.order.len() as f64;
        let given_up = way.given_up();
        let of_front = front.iter().filter(|&child| given_up.contains(child));
        let of_front = of_front.copied().collect::<Vec<_>>();
        let wronged = of_front.iter().filter(|&&it| way.has_wronged(whole, it));
        println!(
            "{:16} {:>9.0} {:>8.0} {:>7.1}% {:>8.1}% | {:>8.2} [{:.2}, {:.2}] {:>10.2} | {:>8} {:>5}/{} {:>8}",
            way.name,
            tokens / sum,
            60.0 * way.order.len() as f64 / sum,
            100.0 * way.windows(),
            100.0 * computed,
            quantile(0.5),
            quantile(0.25),
            quantile(0.75),
            total / sum,
            given_up.len(),
            of_front.len(),
            front.len(),
            wronged.count()
        );
    }
}
