//! Runs a strategy on synthetic problems with a known truth that other programs can run too, and
//! writes the genomes that it evaluated, for a scorer to compute the truth from.
//!
//! An instance is a JSON file: `name`, `family`, `bits` and `weight` (numbers of every allele and
//! gene), `a` and `t` (genes × alleles), `pairs` of genes with `c` (a number each) and `cm`
//! (alleles × alleles each), `switch`, `base`, `best` and `worst` (three numbers each: the box of
//! the hypervolume), `loss_noise`, `latency_noise`, and the guesses `a_prior` and `t_prior`. The
//! objectives of a genome x are
//!
//! ```text
//! loss     log10( Σ a[i,x_i] + Σ c_ij cm_ij[x_i,x_j] √(a[i,x_i] a[j,x_j]) / 2 )
//! latency  base + Σ t[i,x_i] + switch · #{i : x_i ≠ x_(i+1)}
//! size     Σ weight_i bits[x_i]
//! ```
//!
//! In the family `saturating` the loss grows with triples of lowest alleles and saturates. A run is
//! one line: {"problem", "algorithm", "seed", "seconds", "genomes"}, genomes in order.
//!
//!     cargo run --release -p bitfront-search --example bench -- --instances DIR \
//!         --strategy NAME [--no-priors] [--batch N] --budget N --seed S --out RUNS.jsonl
//!
//! `--oracle` in place of a strategy shows the ceiling: it knows the truth, has improved on what a
//! long search without noise found, and takes all of it in the order in which each genome adds
//! most to the hypervolume. No search can be expected to be as fast.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use bitfront_search::{Evaluation, Event, Genome, Law, Problem, Space, Table, build, hypervolume};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

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

#[derive(Clone)]
struct Instance {
    name: String,
    family: String,
    bits: Vec<f64>,
    weight: Vec<f64>,
    a: Vec<Vec<f64>>,
    pairs: Vec<(usize, usize)>,
    c: Vec<f64>,
    cm: Vec<Vec<Vec<f64>>>,
    t: Vec<Vec<f64>>,
    a_prior: Vec<Vec<f64>>,
    t_prior: Vec<Vec<f64>>,
    best: Vec<f64>,
    worst: Vec<f64>,
    switch: f64,
    base: f64,
    loss_noise: f64,
    latency_noise: f64,
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

impl Instance {
    fn read(path: &std::path::Path) -> Self {
        let value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let number = |key: &str| value[key].as_f64().unwrap();
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            family: value["family"].as_str().unwrap().to_owned(),
            bits: numbers(&value["bits"]),
            weight: numbers(&value["weight"]),
            a: rows(&value["a"]),
            pairs: rows(&value["pairs"])
                .iter()
                .map(|pair| (pair[0] as usize, pair[1] as usize))
                .collect(),
            c: numbers(&value["c"]),
            cm: value["cm"].as_array().unwrap().iter().map(rows).collect(),
            t: rows(&value["t"]),
            a_prior: rows(&value["a_prior"]),
            t_prior: rows(&value["t_prior"]),
            best: numbers(&value["best"]),
            worst: numbers(&value["worst"]),
            switch: number("switch"),
            base: number("base"),
            loss_noise: number("loss_noise"),
            latency_noise: number("latency_noise"),
        }
    }

    fn truth(&self, genome: &Genome) -> [f64; 3] {
        let x: Vec<usize> = genome.0.iter().map(|&allele| usize::from(allele)).collect();
        let a = |gene: usize| self.a[gene][x[gene]];
        let mut loss: f64 = (0..x.len()).map(a).sum();
        for (pair, &(p, q)) in self.pairs.iter().enumerate() {
            loss += self.c[pair] * self.cm[pair][x[p]][x[q]] * (a(p) * a(q)).sqrt() * 0.5;
        }
        loss = loss.max(1e-6);
        if self.family == "saturating" {
            let last = x.len() - 1;
            let low = |gene: usize| x[gene.min(last)] == 0;
            let triples = (0..x.len())
                .step_by(5)
                .filter(|&k| low(k) && low(k + 3) && low(k + 7))
                .count();
            loss *= 1.0 + 0.15 * triples as f64;
            loss /= 1.0 + loss / 200.0;
        }
        let switches = x.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let times: f64 = (0..x.len()).map(|gene| self.t[gene][x[gene]]).sum();
        let latency = self.base + times + self.switch * switches as f64;
        let size = (0..x.len())
            .map(|gene| self.weight[gene] * self.bits[x[gene]])
            .sum();
        [loss, latency, size]
    }

    fn problem(&self, no_priors: bool) -> Problem {
        let of_bits = |formula: &dyn Fn(f64, f64) -> f64| {
            Table::new(self.weight.iter().map(|&weight| {
                self.bits
                    .iter()
                    .map(|&bits| formula(weight, bits))
                    .collect()
            }))
        };
        let (loss, time) = if no_priors {
            (
                of_bits(&|weight, bits| weight.sqrt() * 4.0_f64.powf(2.0 - bits)),
                of_bits(&|weight, bits| weight * bits),
            )
        } else {
            (
                Table::new(self.a_prior.clone()),
                Table::new(self.t_prior.clone()),
            )
        };
        let size = of_bits(&|weight, bits| weight * bits);
        let space = Space::new(self.weight.iter().map(|_| self.bits.len())).unwrap();
        let laws = vec![
            Law::LogSum(loss),
            Law::Time(time),
            Law::Exact {
                constant: 0.0,
                table: size,
            },
        ];
        let ln10 = 10.0_f64.ln();
        Problem::new(space, laws)
            .unwrap()
            .with_worst(vec![
                Some(self.worst[0] * ln10),
                Some(self.worst[1]),
                Some(self.worst[2]),
            ])
            .unwrap()
    }
}

fn unit(generator: &mut ChaCha8Rng) -> f64 {
    ((generator.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

fn normal(generator: &mut ChaCha8Rng) -> f64 {
    (-2.0 * unit(generator).ln()).sqrt() * (std::f64::consts::TAU * unit(generator)).cos()
}

fn main() {
    let options = options();
    let mut paths: Vec<_> = fs::read_dir(&options.instances)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut out = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&options.out)
        .unwrap();
    for path in paths {
        let instance = Instance::read(&path);
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
