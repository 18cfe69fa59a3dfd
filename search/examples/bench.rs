//! Runs a strategy on synthetic problems with a known truth that other programs can run too, and
//! writes the genomes that it evaluated, for a scorer to compute the truth from.
//!
//! `instances` says what an instance is. A run is one line: {"problem", "algorithm", "seed",
//! "seconds", "genomes"}, genomes in order.
//!
//!     cargo run --release -p bitfront-search --example bench -- --instances DIR \
//!         --strategy NAME [--no-priors] [--batch N] --budget N --seed S --out RUNS.jsonl
//!
//! `--oracle` in place of a strategy shows the ceiling: it knows the truth, has improved on what a
//! long search without noise found, and takes all of it in the order in which each genome adds
//! most to the hypervolume. No search can be expected to be as fast.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod instances;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use bitfront_search::{Evaluation, Event, Genome, build, hypervolume};
use instances::{Instance, normal, unit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

struct Options {
    instances: PathBuf,
    strategy: String,
    oracle: bool,
    no_priors: bool,
    batch: usize,
    budget: usize,
    seed: u64,
    out: PathBuf,
    label: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instances: PathBuf::new(),
            strategy: "surrogate".to_owned(),
            oracle: false,
            no_priors: false,
            batch: 1,
            budget: 500,
            seed: 0,
            out: PathBuf::from("runs.jsonl"),
            label: None,
        }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .unwrap_or_else(|| panic!("{word} needs a value"))
        };
        match word.as_str() {
            "--instances" => options.instances = value().into(),
            "--strategy" => options.strategy = value(),
            "--oracle" => options.oracle = true,
            "--no-priors" => options.no_priors = true,
            "--batch" => options.batch = value().parse().unwrap(),
            "--budget" => options.budget = value().parse().unwrap(),
            "--seed" => options.seed = value().parse().unwrap(),
            "--out" => options.out = value().into(),
            "--label" => options.label = Some(value()),
            _ => panic!("unknown option {word}"),
        }
    }
    options
}

fn main() {
    let options = options();
    let mut out = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&options.out)
        .unwrap();
    for instance in instances::all(&options.instances) {
        let start = Instant::now();
        let genomes = if options.oracle {
            oracle(&instance, options.budget, options.seed)
        } else {
            run(&instance, &options)
        };
        let seconds = start.elapsed().as_secs_f64();
        let label =
            options
                .label
                .clone()
                .unwrap_or_else(|| match (options.oracle, options.no_priors) {
                    (true, _) => "oracle".to_owned(),
                    (false, true) => format!("{}-noprior", options.strategy),
                    (false, false) => options.strategy.clone(),
                });
        let genomes: Vec<&Vec<u8>> = genomes.iter().map(|genome| &genome.0).collect();
        let line = serde_json::json!({
            "problem": instance.name, "algorithm": label, "seed": options.seed,
            "seconds": (seconds * 100.0).round() / 100.0, "genomes": genomes,
        });
        writeln!(out, "{line}").unwrap();
        println!("{} {label} {} {seconds:.1} s", instance.name, genomes.len());
    }
}

fn run(instance: &Instance, options: &Options) -> Vec<Genome> {
    let mut strategy = build(
        &options.strategy,
        instance.problem(options.no_priors),
        options.seed,
    )
    .unwrap();
    let mut noise = ChaCha8Rng::seed_from_u64(options.seed ^ 0x6e6f_6973_6500);
    let mut genomes: Vec<Genome> = (0..instance.bits.len())
        .map(|allele| Genome(vec![allele as u8; instance.weight.len()]))
        .collect();
    let uniform = genomes.len();
    let mut told = 0;
    let mut asked = 0;
    let mut tell_asked = |strategy: &mut Box<dyn bitfront_search::Strategy>, genomes: &[Genome]| {
        while asked < genomes.len() {
            strategy
                .tell(&Event::Asked {
                    candidate: asked as u64,
                    genome: genomes[asked].clone(),
                })
                .unwrap();
            asked += 1;
        }
    };
    tell_asked(&mut strategy, &genomes);
    loop {
        while told < genomes.len() {
            let [loss, latency, size] = instance.truth(&genomes[told]);
            let loss = loss.ln() + instance.loss_noise * normal(&mut noise);
            let spike = if unit(&mut noise) < 0.02 { 1.3 } else { 1.0 };
            let latency = latency * (instance.latency_noise * normal(&mut noise)).exp() * spike;
            let evaluation = Evaluation::unlimited(vec![loss, latency, size]);
            strategy
                .tell(&Event::Told {
                    candidate: told as u64,
                    evaluation,
                })
                .unwrap();
            told += 1;
        }
        if genomes.len() >= options.budget {
            return genomes;
        }
        for _ in 0..options.batch.min(options.budget - genomes.len()) {
            let Some(genome) = strategy.ask((genomes.len() - uniform) as u64) else {
                return genomes;
            };
            genomes.push(genome);
            tell_asked(&mut strategy, &genomes);
        }
    }
}

/// Evaluations of the search that the oracle improves on.
const ORACLE_SEARCH: usize = 1_500;

/// Weightings of the objectives that the oracle improves its genomes for.
const WEIGHTINGS: usize = 3_000;

/// The uniform genomes, then the oracle's in its order.
fn oracle(instance: &Instance, budget: usize, seed: u64) -> Vec<Genome> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed ^ 0x6f72_6163_6c65);
    let known = Instance {
        a_prior: instance.a.clone(),
        t_prior: instance.t.clone(),
        loss_noise: 0.0,
        latency_noise: 0.0,
        ..instance.clone()
    };
    let options = Options {
        budget: ORACLE_SEARCH,
        seed,
        ..Options::default()
    };
    let found = run(&known, &options);
    let mut order = found[..instance.bits.len()].to_vec();
    let point = |genome: &Genome| -> [f64; 3] {
        let [loss, latency, size] = instance.truth(genome);
        let figures = [loss.log10(), latency, size];
        std::array::from_fn(|axis| {
            (figures[axis] - instance.best[axis]) / (instance.worst[axis] - instance.best[axis])
        })
    };
    let mut pool: Vec<(Genome, [f64; 3])> = (0..WEIGHTINGS)
        .map(|_| {
            let weights: [f64; 3] = std::array::from_fn(|_| -unit(&mut generator).ln());
            let start = &found[generator.next_u64() as usize % found.len()];
            descend(start.clone(), instance.bits.len(), |genome| {
                let point = point(genome);
                let beyond: f64 = point.iter().map(|value| (value - 1.0).max(0.0)).sum();
                let terms = || {
                    weights
                        .iter()
                        .zip(point)
                        .map(|(weight, value)| weight * value)
                };
                // The greatest term also finds what no weighted sum does: genomes in the hollows
                // of the front (Chebyshev scalarisation, augmented as by Steuer and Choo, 1983).
                terms().fold(0.0, f64::max) + 0.05 * terms().sum::<f64>() + 10.0 * beyond
            })
        })
        .chain(found.iter().cloned())
        .map(|genome| {
            let point = point(&genome);
            (genome, point)
        })
        .collect();
    pool.sort_by(|left, right| left.0.cmp(&right.0));
    pool.dedup_by(|left, right| left.0 == right.0);
    let mut front: Vec<[f64; 3]> = order.iter().map(point).collect();
    // What a point adds can only fall as others are taken, so the first whose last known worth is
    // still right is the best: no other need be looked at.
    let mut worth = vec![f64::INFINITY; pool.len()];
    while order.len() < budget {
        let before = hypervolume(&front, &[1.0; 3]).unwrap();
        let mut is_known = vec![false; pool.len()];
        loop {
            let best = (0..pool.len()).max_by(|&left, &right| worth[left].total_cmp(&worth[right]));
            let Some(best) = best.filter(|&best| worth[best] > 0.0) else {
                return order;
            };
            if is_known[best] {
                order.push(pool[best].0.clone());
                front.push(pool[best].1);
                worth[best] = 0.0;
                break;
            }
            front.push(pool[best].1);
            worth[best] = (hypervolume(&front, &[1.0; 3]).unwrap() - before).max(0.0);
            is_known[best] = true;
            front.pop();
        }
    }
    order
}

/// Gives gene after gene the allele of the least value until none changes.
fn descend(mut genome: Genome, alleles: usize, value: impl Fn(&Genome) -> f64) -> Genome {
    let mut least = value(&genome);
    loop {
        let before = least;
        for gene in 0..genome.0.len() {
            let mut best = genome.0[gene];
            for allele in 0..alleles as u8 {
                genome.0[gene] = allele;
                let found = value(&genome);
                if found < least {
                    (least, best) = (found, allele);
                }
            }
            genome.0[gene] = best;
        }
        if least >= before {
            return genome;
        }
    }
}
