//! Measures every plan of a small space over the demo model, so that strategies can be replayed
//! against the truth: the layers in eight genes, each in one of three precisions, 6561 plans.
//!
//! ```text
//! CANDLE_NUM_THREADS=1 RAYON_NUM_THREADS=1 \
//!     cargo run --release -p bitfront-runtime --example table -- FOLDER CORE > table.txt
//! ```
//!
//! Times are taken at each kernel level that candle has on this processor: as found, and forced to
//! 256-bit vectors. A level is a hardware profile, and a process of its own, held to one core
//! (`taskset`), since candle reads its switches once. There are several passes over all plans, each
//! in an order of its own, the levels in turn, so that what disturbs the machine for some minutes
//! is in one pass of a plan at most. In a pass a plan takes turns with an anchor and its neighbours
//! in that order, as in every timing of this crate; what counts is the median over the passes of
//! its ratio to the anchor, less what the plans that took turns with it have in common. The
//! divergence is that of the level as found, for all: a level rounds activations in another way,
//! which the last lines of the header put a figure on.
//!
//! What was measured is appended to files in FOLDER, and a run that was ended goes on from there.
//! At the end the table is printed: a header that says what was measured, and a line for every plan
//! with its genome, its bytes, its divergence and, for each level, the times of decode and prefill
//! as ratios to the anchor, each followed by its spread over the passes, 1000 · (largest −
//! smallest) / median. A table that is to be kept is packed with `gzip -9n`.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bitfront_model::{Anchor, ImatrixSource, Plan, Precision, Subject, TaskPurpose, Workload};
use bitfront_runtime::candle::CandleRuntime;
use bitfront_runtime::latency::{LatencySettings, measure};
use bitfront_runtime::stats::median;
use bitfront_runtime::{CandleSettings, Runtime as _};

/// What a gene holds: attention and feed-forward halves of pairs of blocks, in the order in which
/// they are computed, so that plans with equal beginnings share their first hidden states.
const GENES: [&str; 8] = [
    "embedding",
    "attention 0-1",
    "feed-forward 0-1",
    "attention 2-3",
    "feed-forward 2-3",
    "attention 4-5",
    "feed-forward 4-5",
    "output",
];
const ALLELES: [Precision; 3] = [Precision::Q8_0, Precision::Q4K, Precision::Q2K];
const PLANS: usize = ALLELES.len().pow(GENES.len() as u32);

/// The plan that times are ratios to.
const ANCHOR: Precision = Precision::Q4K;

const WINDOWS: support::Windows = support::Windows {
    context: 256,
    evaluation: 16,
    calibration: 60,
};
const WORKLOADS: [Workload; 2] = [
    Workload::Decode {
        context: 64,
        tokens: 4,
        batch: 1,
    },
    Workload::Prefill {
        tokens: 16,
        batch: 1,
    },
];

/// Kernel levels: a name, and the switch that forces it.
const LEVELS: [(&str, Option<&str>); 2] =
    [("as-found", None), ("avx2", Some("MISTRALRS_FORCE_AVX2"))];
const PASSES: usize = 3;

/// Of so many plans one is scored at the other levels, to compare with the level as found. It
/// shares no factor with the number of alleles, so that all of them occur in every gene.
const COMPARED: usize = 320;

/// Plans that take turns with each other.
const TOGETHER: usize = 16;

/// Six blocks of a sample or two each: a pass is short, and there are
/// several.
fn timing(seed: u64) -> LatencySettings {
    LatencySettings {
        warm_up: Duration::ZERO,
        warm_up_runs: 1,
        most_warm_up: Duration::ZERO,
        turn: Duration::from_millis(1),
        most_time: Duration::ZERO,
        inputs: 4,
        seed,
        ..LatencySettings::default()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["quality", folder, level, step] => {
            let (folder, level, step) = (PathBuf::from(folder), level.to_string(), step.parse());
            on_a_thread(move || score(&folder, &level, step.unwrap()));
        }
        ["times", folder, level, pass] => {
            let (folder, level, pass) = (PathBuf::from(folder), level.to_string(), pass.parse());
            on_a_thread(move || time(&folder, &level, pass.unwrap()));
        }
        ["print", folder] => print(Path::new(folder)),
        [folder, core] => {
            record(Path::new(folder), core);
            print(Path::new(folder));
        }
        _ => panic!("the arguments are FOLDER CORE"),
    }
}

/// A thread of its own, as an agent has: on the main thread, where Linux begins the stack somewhere
/// else in each process, some kernels take longer in one process of several.
fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work).join().unwrap();
}

/// Measures what is missing, one process after the other.
fn record(folder: &Path, core: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let child = |task: &[&str], switch: Option<&str>| {
        let mut command = Command::new("taskset");
        command
            .args(["-c", core])
            .arg(std::env::current_exe().unwrap());
        command.args(task).env_remove("MISTRALRS_FORCE_AVX2");
        command.envs(switch.map(|switch| (switch, "1")));
        assert!(command.status().unwrap().success(), "{task:?} failed");
    };
    let path = folder.to_str().unwrap();
    for pass in 0..PASSES {
        for (level, (name, switch)) in LEVELS.into_iter().enumerate() {
            child(&["times", path, name, &pass.to_string()], switch);
            // Between passes, so that these lie further apart.
            if pass == level {
                let step = if level == 0 { 1 } else { COMPARED };
                child(&["quality", path, name, &step.to_string()], switch);
            }
        }
    }
}

fn subject() -> Subject {
    let model = support::demo_model();
    support::subject(&model, &WINDOWS, ImatrixSource::Calibration)
}

fn opened(folder: &Path, subject: &Subject) -> CandleRuntime {
    let settings = CandleSettings {
        prefix_budget_bytes: 4 << 30,
        ..CandleSettings::new(folder.join("cache"))
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    runtime
        .open(subject, &mut |line| eprintln!("{line}"))
        .unwrap();
    runtime
}

/// The gene of a layer by the layer's name: `blk.3.attn_q` is in the attention of blocks 2 and 3.
fn gene(layer: &str) -> usize {
    match layer {
        "token_embd" => 0,
        "output" => GENES.len() - 1,
        in_block => {
            let (_, rest) = in_block.split_once('.').unwrap();
            let (block, name) = rest.split_once('.').unwrap();
            let block: usize = block.parse().unwrap();
            1 + block / 2 * 2 + usize::from(name.starts_with("ffn"))
        }
    }
}

/// The alleles of a plan, the first gene's first; the last gene changes fastest.
fn genome(index: usize) -> [usize; GENES.len()] {
    let mut genome = [0; GENES.len()];
    let mut rest = index;
    for allele in genome.iter_mut().rev() {
        (*allele, rest) = (rest % ALLELES.len(), rest / ALLELES.len());
    }
    genome
}

fn plan(runtime: &CandleRuntime, index: usize) -> Plan {
    let (spec, genome) = (runtime.spec().unwrap(), genome(index));
    let layers = spec.layers.iter();
    let precisions = layers.map(|layer| ALLELES[genome[gene(&layer.name)]]);
    Plan::new(spec, precisions.collect()).unwrap()
}

/// Appends lines of numbers, the first of which is a plan's index, and knows those of earlier runs.
struct Log {
    file: File,
    known: BTreeMap<usize, Vec<f64>>,
}

impl Log {
    /// A line that a run was ended in has no end and does not count; the next begins a line of its
    /// own.
    fn open(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).unwrap();
            file.flush().unwrap();
        }
        let known = text[..whole].lines().map(|line| {
            let mut words = line.split(' ');
            let index = words.next().unwrap().parse().unwrap();
            (index, words.map(|word| word.parse().unwrap()).collect())
        });
        Self {
            known: known.collect(),
            file,
        }
    }

    fn add(&mut self, index: usize, numbers: &[f64]) {
        let mut line = index.to_string();
        numbers
            .iter()
            .for_each(|number| write!(line, " {number:e}").unwrap());
        writeln!(self.file, "{line}").unwrap();
    }
}

fn quality_log(folder: &Path, level: &str) -> PathBuf {
    folder.join(format!("{level}.quality"))
}

fn times_log(folder: &Path, level: &str, pass: usize) -> PathBuf {
    folder.join(format!("{level}.times.{pass}"))
}

/// Scores one of so many plans, where it was not scored before.
fn score(folder: &Path, level: &str, step: usize) {
    let mut runtime = opened(folder, &subject());
    let mut log = Log::open(&quality_log(folder, level));
    let missing = (0..PLANS)
        .step_by(step)
        .filter(|index| !log.known.contains_key(index));
    let missing: Vec<_> = missing.collect();
    let mut progress = Progress::new(format!("{level}: quality"), missing.len());
    for index in missing {
        let plan = plan(&runtime, index);
        let measured = runtime.quality(&plan, TaskPurpose::Search, None).unwrap();
        assert_eq!(measured.executed, plan.precisions(), "executed otherwise");
        log.add(index, &[measured.value.kld]);
        progress.step(1);
    }
    describe(folder, level, &runtime);
}

/// Times the plans that were not in this pass: for every workload its ratio to the anchor, and the
/// anchor's own time, in nanoseconds for a token's step or for a whole prefill.
fn time(folder: &Path, level: &str, pass: usize) {
    let mut runtime = opened(folder, &subject());
    let mut log = Log::open(&times_log(folder, level, pass));
    let mut order: Vec<usize> = (0..PLANS).collect();
    fastrand::Rng::with_seed(pass as u64).shuffle(&mut order);
    order.retain(|index| !log.known.contains_key(index));
    let anchor = Anchor {
        plan: Plan::uniform(runtime.spec().unwrap(), ANCHOR).unwrap(),
        times: Vec::new(),
    };
    let anchored = runtime.assemble(&anchor.plan).unwrap();
    let mut progress = Progress::new(format!("{level}: times, pass {pass}"), order.len());
    for together in order.chunks(TOGETHER) {
        let plans: Vec<_> = together
            .iter()
            .map(|&index| plan(&runtime, index))
            .collect();
        let ready: Vec<_> = plans
            .iter()
            .map(|plan| runtime.assemble(plan).unwrap())
            .collect();
        let matrices: Vec<_> = ready.iter().map(|assembly| &assembly.matrices).collect();
        let opened = runtime.opened().unwrap();
        let text = opened.windows().evaluation.concat();
        let mut numbers = vec![Vec::new(); together.len()];
        for workload in WORKLOADS {
            let anchor = (&anchor, &anchored.matrices);
            let settings = timing(together[0] as u64);
            let decoder = opened.decoder();
            let times = measure(decoder, anchor, &matrices, workload, &text, &settings).unwrap();
            for (numbers, latency) in numbers.iter_mut().zip(times) {
                let paired = latency.paired.unwrap();
                numbers.extend([paired.ratio, latency.median_ns / paired.ratio]);
            }
        }
        for (&index, numbers) in together.iter().zip(numbers) {
            log.add(index, &numbers);
        }
        progress.step(together.len());
    }
    describe(folder, level, &runtime);
}

/// Says now and then how far it is, in a line for people.
struct Progress {
    what: String,
    all: usize,
    done: usize,
    begun: Instant,
    said: Instant,
}

impl Progress {
    fn new(what: String, all: usize) -> Self {
        let now = Instant::now();
        Self {
            what,
            all,
            done: 0,
            begun: now,
            said: now,
        }
    }

    fn step(&mut self, done: usize) {
        self.done += done;
        if self.done == self.all || self.said.elapsed() > Duration::from_secs(20) {
            let seconds = self.begun.elapsed().as_secs_f64();
            let each = 1e3 * seconds / self.done as f64;
            eprintln!(
                "{}: {} of {}, {each:.1} ms each",
                self.what, self.done, self.all
            );
            self.said = Instant::now();
        }
    }
}

/// Writes what a level's figures depend on, for the header.
fn describe(folder: &Path, level: &str, runtime: &CandleRuntime) {
    let identity = runtime.identity();
    let switches = identity.switches.iter();
    let switches: Vec<_> = switches
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let text = format!(
        "{}, {} thread, {}",
        identity.numerics_class,
        identity.threads,
        switches.join(" ")
    );
    std::fs::write(folder.join(format!("{level}.profile")), text).unwrap();
}

fn print(folder: &Path) {
    let subject = subject();
    let spec = bitfront_runtime::source::open(&support::demo_model()).unwrap();
    let spec = spec.spec().clone();
    let mut rows: Vec<String> = (0..PLANS)
        .map(|index| {
            let genome = genome(index);
            let layers = spec.layers.iter();
            let precisions = layers.map(|layer| ALLELES[genome[gene(&layer.name)]]);
            let plan = Plan::new(&spec, precisions.collect()).unwrap();
            let genome: String = genome.iter().map(ToString::to_string).collect();
            format!("{genome} {}", plan.size_bytes(&spec))
        })
        .collect();
    println!("# Every plan of a space over the demo model, measured.");
    println!("# model: demo/model, {}", spec.digest);
    println!(
        "# text: demo/evaluation.txt, {}, the first {} windows of {} tokens",
        subject.data.evaluation_digest, WINDOWS.evaluation, WINDOWS.context
    );
    println!(
        "# imatrix: {} windows of demo/calibration.txt",
        WINDOWS.calibration
    );
    println!("# command: table FOLDER CORE, {PASSES} passes, one core");
    println!("# machine: {}", machine());
    println!("# anchor: {ANCHOR} everywhere");
    let workloads = WORKLOADS.map(|workload| workload.to_string());
    println!("# workloads: {}", workloads.join("; "));
    println!("# alleles: {}", ALLELES.map(|it| it.to_string()).join(" "));
    for (index, name) in GENES.into_iter().enumerate() {
        let layers = spec
            .layers
            .iter()
            .filter(|layer| gene(&layer.name) == index);
        let shape = |layer: &bitfront_model::Layer| {
            format!("{}:{}x{}", layer.name, layer.rows, layer.columns)
        };
        let layers: Vec<_> = layers.map(shape).collect();
        println!("# gene: {name}: {}", layers.join(" "));
    }
    let divergences = Log::open(&quality_log(folder, LEVELS[0].0)).known;
    for (index, row) in rows.iter_mut().enumerate() {
        write!(row, " {:.4e}", divergences[&index][0]).unwrap();
    }
    for (level, _) in LEVELS {
        let profile = std::fs::read_to_string(folder.join(format!("{level}.profile"))).unwrap();
        let (anchors, noise) = add_times(folder, level, &mut rows);
        println!(
            "# profile: {level}: {profile}; anchor {:.0} and {:.0} ns; median spread {:.2} % and \
             {:.2} %",
            anchors[0],
            anchors[1],
            noise[0] / 10.0,
            noise[1] / 10.0
        );
        println!(
            "# divergence: {level}: {}",
            compared(folder, level, &divergences)
        );
    }
    println!("# columns: genome bytes kld, then for every profile decode spread prefill spread");
    rows.iter().for_each(|row| println!("{row}"));
}

/// By how much a level's divergences differ from those as found, over the plans that it scored.
fn compared(folder: &Path, level: &str, found: &BTreeMap<usize, Vec<f64>>) -> String {
    let own = Log::open(&quality_log(folder, level)).known;
    let ratios = own.iter().map(|(index, own)| own[0] / found[index][0]);
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    format!(
        "{:.3} times that in the table in the median of {} plans, {:.3} to {:.3} in 95 % of them",
        at(0.5),
        ratios.len(),
        at(0.025),
        at(0.975)
    )
}

/// Appends the times of a level; says the anchor's and the median spreads, by workload.
fn add_times(folder: &Path, level: &str, rows: &mut [String]) -> ([f64; 2], [f64; 2]) {
    let passes = (0..PASSES).map(|pass| Log::open(&times_log(folder, level, pass)).known);
    let passes: Vec<_> = passes.collect();
    let (mut anchors, mut spreads) = ([0.0; 2], [0.0; 2]);
    for workload in 0..WORKLOADS.len() {
        let settled = settled(&passes, 2 * workload);
        let of_plan = |mut ratios: [f64; PASSES]| {
            ratios.sort_by(f64::total_cmp);
            let middle = median(&ratios).unwrap();
            (middle, 1e3 * (ratios[PASSES - 1] - ratios[0]) / middle)
        };
        let settled: Vec<_> = settled.into_iter().map(of_plan).collect();
        for (row, (ratio, spread)) in rows.iter_mut().zip(&settled) {
            write!(row, " {ratio:.4} {spread:.0}").unwrap();
        }
        let of_anchor = passes.iter().flat_map(|pass| pass.values());
        let of_anchor: Vec<f64> = of_anchor.map(|numbers| numbers[2 * workload + 1]).collect();
        anchors[workload] = median(&of_anchor).unwrap();
        spreads[workload] = median(&settled.iter().map(|it| it.1).collect::<Vec<_>>()).unwrap();
    }
    (anchors, spreads)
}

/// The ratios of every plan, by pass, without what a group of plans that took turns has in common.
///
/// The ratios of a group have one anchor's time below them, taken in a few blocks, so that its
/// error is in all of them. Every pass groups the plans anew, which tells the two apart: a
/// logarithm is taken for the sum of what its plan has in all passes and of what its group has,
/// whose mean over all groups is none, by least squares (a block design; R. A. Fisher, The Design
/// of Experiments, 1935). Nothing is taken for granted of how a plan's time follows from its
/// layers.
fn settled(passes: &[BTreeMap<usize, Vec<f64>>], column: usize) -> Vec<[f64; PASSES]> {
    const ROUNDS: usize = 100;
    // A group is told by the anchor's times, to a tenth of a nanosecond.
    let key = |pass: usize, numbers: &[f64]| {
        let anchors = [1, 3].map(|at| (10.0 * numbers[at]).round() as u64);
        (pass, anchors)
    };
    let mut of_group = BTreeMap::new();
    let mut plans = vec![[0.0; PASSES]; PLANS];
    let mut groups = vec![[(0, [0; 2]); PASSES]; PLANS];
    for (pass, known) in passes.iter().enumerate() {
        for (&index, numbers) in known {
            plans[index][pass] = numbers[column].ln();
            groups[index][pass] = key(pass, numbers);
            of_group.insert(groups[index][pass], 0.0);
        }
    }
    for _ in 0..ROUNDS {
        let mut sums: BTreeMap<_, (f64, f64)> = BTreeMap::new();
        for (logarithms, groups) in plans.iter().zip(&groups) {
            let own = |pass: usize| logarithms[pass] - of_group[&groups[pass]];
            let plan = (0..PASSES).map(own).sum::<f64>() / PASSES as f64;
            for pass in 0..PASSES {
                let (sum, count) = sums.entry(groups[pass]).or_default();
                (*sum, *count) = (*sum + logarithms[pass] - plan, *count + 1.0);
            }
        }
        let means = sums
            .into_iter()
            .map(|(group, (sum, count))| (group, sum / count));
        of_group = means.collect();
        let middle = of_group.values().sum::<f64>() / of_group.len() as f64;
        of_group.values_mut().for_each(|value| *value -= middle);
    }
    let pairs = plans.iter().zip(&groups);
    let ratios = pairs.map(|(logarithms, groups)| {
        std::array::from_fn(|pass| (logarithms[pass] - of_group[&groups[pass]]).exp())
    });
    ratios.collect()
}

/// The processor by its own account.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.trim() == name);
        found
            .map_or("unknown", |(_, value)| value.trim())
            .to_owned()
    };
    let flags = field("flags");
    let flags = flags.split(' ').filter(|flag| flag.starts_with("avx"));
    format!(
        "{} family {} model {}, {}",
        field("model name"),
        field("cpu family"),
        field("model"),
        flags.collect::<Vec<_>>().join(" ")
    )
}
