//! What is searched, and what a measurement of it says.

use bitfront_search::{Genome, Problem};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::instances::{Instance, normal, unit};
use crate::measured::{Figure, Measured};

/// Windows of the text.
pub(crate) const WINDOWS: usize = 16;

/// Deviation of a plan's divergence on a window, relative to what all windows and other plans on
/// the same window let expect.
pub(crate) const WINDOW_DEVIATION: f64 = 0.07;

/// What is searched: the loss is always the first figure, as its logarithm.
pub(crate) enum World {
    Instance(Box<Instance>),
    Table {
        table: Measured,
        profile: usize,
        figures: &'static [Figure],
    },
}

/// A plan as it is measured.
pub(crate) struct Plan {
    pub(crate) told: Vec<f64>,
    /// The loss on every window, in the order of scoring.
    pub(crate) losses: Vec<f64>,
}

impl Plan {
    /// The loss of the first windows, as it is told.
    pub(crate) fn first(&self, windows: usize) -> f64 {
        (self.losses[..windows].iter().sum::<f64>() / windows as f64).ln()
    }
}

impl World {
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Instance(instance) => instance.problem(false),
            Self::Table {
                table,
                profile,
                figures,
            } => table.problem(*profile, figures, true),
        }
    }

    pub(crate) fn uniform(&self) -> Vec<Genome> {
        match self {
            Self::Instance(instance) => {
                let alleles = 0..instance.bits.len() as u8;
                let uniform = |allele| Genome(vec![allele; instance.weight.len()]);
                alleles.map(uniform).collect()
            }
            Self::Table { table, .. } => table.uniform(),
        }
    }

    /// The figures without noise, as they are told.
    pub(crate) fn truth(&self, genome: &Genome) -> Vec<f64> {
        match self {
            Self::Instance(instance) => {
                let [loss, latency, size] = instance.truth(genome);
                vec![loss.ln(), latency, size]
            }
            Self::Table {
                table,
                profile,
                figures,
            } => {
                let told = |&figure: &Figure| table.told(genome, *profile, figure);
                figures.iter().map(told).collect()
            }
        }
    }

    /// What is worth nothing, and the far end of the box in which an instance counts.
    pub(crate) fn reference(&self) -> Vec<f64> {
        match self {
            Self::Instance(instance) => {
                let [loss, latency, size] = instance.worst[..] else {
                    panic!("{} has the worst {:?}", instance.name, instance.worst);
                };
                vec![loss * 10.0_f64.ln(), latency, size]
            }
            Self::Table {
                table,
                profile,
                figures,
            } => table.reference(*profile, figures),
        }
    }

    /// The plan of a genome, the same whenever it is measured under one seed.
    pub(crate) fn measure(&self, genome: &Genome, seed: u64) -> Plan {
        let mut name = seed ^ 0x6e6f_6973_6500;
        for &allele in &genome.0 {
            name = (name ^ u64::from(allele))
                .wrapping_mul(0x100_0000_01b3)
                .rotate_left(23);
        }
        let mut noise = ChaCha8Rng::seed_from_u64(name);
        let mut told = self.truth(genome);
        if let Self::Instance(instance) = self {
            told[0] += instance.loss_noise * normal(&mut noise);
            let late = if unit(&mut noise) < 0.02 { 1.3 } else { 1.0 };
            told[1] *= (instance.latency_noise * normal(&mut noise)).exp() * late;
        }
        let deviations: Vec<f64> = (0..WINDOWS)
            .map(|_| WINDOW_DEVIATION * normal(&mut noise))
            .collect();
        let mean = deviations.iter().sum::<f64>() / WINDOWS as f64;
        let losses = deviations
            .iter()
            .map(|deviation| told[0].exp() * (1.0 + deviation - mean));
        Plan {
            losses: losses.collect(),
            told,
        }
    }
}
