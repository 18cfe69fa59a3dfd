//! A synthetic mixed-precision problem that several devices have in common, for tests and examples.
//!
//! A plan's loss and size are the same everywhere; its time is each device's own. Genes have the
//! shapes of a block of seven matrices, alleles are 2, 3, 4, 6 and 8 bits. For a genome x
//!
//! ```text
//! loss     ln( Σ a[i,x_i] + Σ c_ij √(a[i,x_i] a[j,x_j]) / 2 )
//! time     base + Σ t[i,x_i] + switch · #{i : x_i ≠ x_(i+1)}
//! size     Σ weight_i bits[x_i]
//! ```
//!
//! with pairs of neighbours and as many random ones as half of the genes, which no sum expresses,
//! and guesses of `a` and `t` that are right in shape. A time is weight times bits times what the
//! device's kernel of that precision and kind of matrix takes.

use std::collections::BTreeSet;

use bitfront_search::{Genome, Law, Problem, Space, Table, hypervolume};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const BITS: [f64; 5] = [2.0, 3.0, 4.0, 6.0, 8.0];

/// What a kernel takes a bit, by precision, on the average device.
const KERNELS: [f64; 5] = [1.25, 1.35, 1.0, 1.15, 1.0];

/// Weights of the matrices of a block.
const SHAPES: [f64; 7] = [1.0, 0.25, 0.25, 1.0, 3.5, 3.5, 3.5];

/// What every plan takes, and what a change of the precision between neighbours takes.
const BASE: f64 = 0.5;
const SWITCH: f64 = 0.03;

/// Deviation of a measured loss from the truth, as a logarithm; it is the same whenever one plan is
/// measured in one numerics class.
const LOSS_NOISE: f64 = 0.01;

/// Deviation of a measured time, and how many are late by how much.
const TIME_NOISE: f64 = 0.02;
const SPIKES: (f64, f64) = (0.02, 1.3);

/// One instance of the problem.
pub(crate) struct Fleet {
    space: Space,
    weight: Vec<f64>,
    loss: Vec<Vec<f64>>,
    loss_guess: Vec<Vec<f64>>,
    /// Two genes, and how much of their geometric mean they add or take.
    pairs: Vec<(usize, usize, f64)>,
    pub(crate) devices: Vec<Device>,
    seed: u64,
}

/// What is a device's own.
pub(crate) struct Device {
    time: Vec<Vec<f64>>,
    time_guess: Vec<Vec<f64>>,
    /// The box in which its front counts.
    best: [f64; 3],
    worst: [f64; 3],
}

/// How much the times of two devices have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinship {
    /// One has the other's kernels, each a little slower or faster.
    Alike,
    /// Each has fast and slow kernels of its own.
    Unlike,
}

/// Random numbers of an instance.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of that number.
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in 0..1, 0 excluded.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn factor(&mut self, deviation: f64) -> f64 {
        (deviation * self.normal()).exp()
    }
}

impl Fleet {
    /// The instance of that number.
    pub(crate) fn new(genes: usize, devices: usize, kinship: Kinship, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let weight: Vec<f64> = (0..genes).map(|gene| SHAPES[gene % 7]).collect();
        let table = |dice: &mut Dice, part: &mut dyn FnMut(&mut Dice, usize, usize) -> f64| {
            let mut of_gene = |gene| {
                (0..BITS.len())
                    .map(|allele| part(dice, gene, allele))
                    .collect()
            };
            (0..genes).map(&mut of_gene).collect::<Vec<Vec<f64>>>()
        };
        let sensitivity: Vec<f64> = (0..genes)
            .map(|gene| {
                let depth = 2.0 * gene as f64 / (genes - 1) as f64 - 1.0;
                // The first and the last layers hurt most.
                let ends = 3.0 * (-8.0 * (depth + 1.0)).exp() + 1.5 * (-8.0 * (1.0 - depth)).exp();
                dice.factor(1.0) * (1.0 + ends) * weight[gene].sqrt()
            })
            .collect();
        let loss = table(&mut dice, &mut |dice, gene, allele| {
            sensitivity[gene] * 4.0_f64.powf(2.0 - BITS[allele]) * dice.factor(0.15)
        });
        let off: Vec<f64> = (0..genes).map(|_| dice.factor(0.5)).collect();
        let loss_guess = table(&mut dice, &mut |dice, gene, allele| {
            loss[gene][allele] * off[gene] * dice.factor(0.2)
        });
        let neighbours = (1..genes).map(|gene| (gene - 1, gene));
        let others: Vec<(usize, usize)> = (0..genes / 2)
            .map(|_| {
                let first = (dice.unit() * genes as f64) as usize % genes;
                let away = 1 + (dice.unit() * (genes - 1) as f64) as usize % (genes - 1);
                (first, (first + away) % genes)
            })
            .collect();
        let pairs = neighbours
            .chain(others)
            .map(|(left, right)| {
                let coupling = 0.5 * (0.25 + 0.5 * dice.normal());
                (left, right, coupling.clamp(-0.6, 1.5))
            })
            .collect();
        let kernels = |dice: &mut Dice, deviation| -> Vec<[f64; 5]> {
            (0..7)
                .map(|_| std::array::from_fn(|_| dice.factor(deviation)))
                .collect()
        };
        let (common, own) = match kinship {
            Kinship::Alike => (0.3, 0.1),
            Kinship::Unlike => (0.0, 0.4),
        };
        let shared = kernels(&mut dice, common);
        let devices = (0..devices)
            .map(|_| {
                let own = kernels(&mut dice, own);
                let time = table(&mut dice, &mut |dice, gene, allele| {
                    let kernel = KERNELS[allele] * shared[gene % 7][allele] * own[gene % 7][allele];
                    weight[gene] * BITS[allele] * kernel * 0.02 * dice.factor(0.05) + 0.01
                });
                let time_guess = table(&mut dice, &mut |dice, gene, allele| {
                    time[gene][allele] * dice.factor(0.1)
                });
                Device {
                    time,
                    time_guess,
                    best: [0.0; 3],
                    worst: [0.0; 3],
                }
            })
            .collect();
        let mut fleet = Self {
            space: Space::new(vec![BITS.len(); genes]).unwrap(),
            weight,
            loss,
            loss_guess,
            pairs,
            devices,
            seed,
        };
        for device in 0..fleet.devices.len() {
            let points: Vec<[f64; 3]> = fleet
                .uniform()
                .iter()
                .map(|genome| fleet.truth(genome, device))
                .collect();
            let of = |axis: usize, better: fn(f64, f64) -> f64| {
                points
                    .iter()
                    .map(|point| point[axis])
                    .reduce(better)
                    .unwrap()
            };
            let ten = 10.0_f64.ln();
            // What loses more than 3 bits everywhere is of no interest.
            fleet.devices[device].worst = [
                points[1][0] + 0.1 * ten,
                1.05 * of(1, f64::max),
                1.05 * of(2, f64::max),
            ];
            fleet.devices[device].best = [
                of(0, f64::min) - 0.05 * ten,
                0.95 * of(1, f64::min),
                of(2, f64::min),
            ];
        }
        fleet
    }

    /// The same precision everywhere: what every search begins with.
    pub(crate) fn uniform(&self) -> Vec<Genome> {
        let alleles = 0..BITS.len() as u8;
        alleles
            .map(|allele| Genome(vec![allele; self.weight.len()]))
            .collect()
    }

    /// The true figures of a plan on a device.
    pub(crate) fn truth(&self, genome: &Genome, device: usize) -> [f64; 3] {
        let of = |table: &[Vec<f64>], gene: usize| table[gene][usize::from(genome.0[gene])];
        let sum = |table: &[Vec<f64>]| (0..genome.0.len()).map(|gene| of(table, gene)).sum::<f64>();
        let mut loss = sum(&self.loss);
        for &(left, right, coupling) in &self.pairs {
            loss += coupling * (of(&self.loss, left) * of(&self.loss, right)).sqrt() / 2.0;
        }
        let switches = genome
            .0
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .count();
        let time = BASE + sum(&self.devices[device].time) + SWITCH * switches as f64;
        let weighed = self.weight.iter().zip(&genome.0);
        let size = weighed
            .map(|(weight, &allele)| weight * BITS[usize::from(allele)])
            .sum();
        [loss.max(1e-6).ln(), time, size]
    }

    /// The loss as it is measured in a numerics class: the same whenever it is.
    pub(crate) fn measured_loss(&self, genome: &Genome, class: u64) -> f64 {
        let mut name = self.seed ^ class.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for &allele in &genome.0 {
            name = (name ^ u64::from(allele))
                .wrapping_mul(0x100_0000_01b3)
                .rotate_left(23);
        }
        self.truth(genome, 0)[0] + LOSS_NOISE * Dice::new(name).normal()
    }

    /// The figures as they are measured: loss, time, size.
    pub(crate) fn measured(
        &self,
        genome: &Genome,
        device: usize,
        class: u64,
        dice: &mut Dice,
    ) -> [f64; 3] {
        let [_, time, size] = self.truth(genome, device);
        let late = if dice.unit() < SPIKES.0 {
            SPIKES.1
        } else {
            1.0
        };
        let time = time * dice.factor(TIME_NOISE) * late;
        [self.measured_loss(genome, class), time, size]
    }

    /// The problem as the search of a device sees it.
    pub(crate) fn problem(&self, device: usize) -> Problem {
        let Device {
            time_guess, worst, ..
        } = &self.devices[device];
        let of_gene = |weight: &f64| BITS.map(|bits| weight * bits).to_vec();
        let laws = vec![
            Law::LogSum(Table::new(self.loss_guess.clone())),
            Law::Time(Table::new(time_guess.clone())),
            Law::Exact {
                constant: 0.0,
                table: Table::new(self.weight.iter().map(of_gene)),
            },
        ];
        let problem = Problem::new(self.space.clone(), laws).unwrap();
        problem.with_worst(worst.map(Some).to_vec()).unwrap()
    }

    /// A plan's place in the box of a device.
    pub(crate) fn place(&self, genome: &Genome, device: usize) -> [f64; 3] {
        let Device { best, worst, .. } = &self.devices[device];
        let truth = self.truth(genome, device);
        std::array::from_fn(|axis| (truth[axis] - best[axis]) / (worst[axis] - best[axis]))
    }

    /// The true hypervolume of the front of plans on a device.
    pub(crate) fn hypervolume<'a>(
        &self,
        genomes: impl IntoIterator<Item = &'a Genome>,
        device: usize,
    ) -> f64 {
        let distinct: BTreeSet<&Genome> = genomes.into_iter().collect();
        let points: Vec<[f64; 3]> = distinct
            .into_iter()
            .map(|genome| self.place(genome, device))
            .collect();
        hypervolume(&points, &[1.0; 3]).unwrap()
    }
}
