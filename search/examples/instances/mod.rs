//! Synthetic problems with a known truth that other programs can run too.
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
//! In the family `saturating` the loss grows with triples of lowest alleles and saturates.

use std::fs;
use std::path::Path;

use bitfront_search::{Genome, Law, Problem, Space, Table};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde_json::Value;

/// One problem.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) bits: Vec<f64>,
    pub(crate) weight: Vec<f64>,
    pub(crate) a: Vec<Vec<f64>>,
    pub(crate) pairs: Vec<(usize, usize)>,
    pub(crate) c: Vec<f64>,
    pub(crate) cm: Vec<Vec<Vec<f64>>>,
    pub(crate) t: Vec<Vec<f64>>,
    pub(crate) a_prior: Vec<Vec<f64>>,
    pub(crate) t_prior: Vec<Vec<f64>>,
    pub(crate) best: Vec<f64>,
    pub(crate) worst: Vec<f64>,
    pub(crate) switch: f64,
    pub(crate) base: f64,
    pub(crate) loss_noise: f64,
    pub(crate) latency_noise: f64,
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
    /// The instance that a file holds.
    pub(crate) fn read(path: &Path) -> Self {
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

    /// The true objectives: the loss itself, latency, size.
    pub(crate) fn truth(&self, genome: &Genome) -> [f64; 3] {
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

    /// The problem as a strategy sees it, with the instance's guesses or with those of bits and
    /// shapes.
    pub(crate) fn problem(&self, no_priors: bool) -> Problem {
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

/// The instances of a folder, by name.
pub(crate) fn all(folder: &Path) -> Vec<Instance> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Instance::read(path)).collect()
}

/// Uniform in 0..1, 0 excluded.
pub(crate) fn unit(generator: &mut ChaCha8Rng) -> f64 {
    ((generator.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Standard normal (Box and Muller, 1958).
pub(crate) fn normal(generator: &mut ChaCha8Rng) -> f64 {
    (-2.0 * unit(generator).ln()).sqrt() * (std::f64::consts::TAU * unit(generator)).cos()
}
