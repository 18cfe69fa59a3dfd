//! What is believed of genomes, and how surely.

use thiserror::Error;

use super::additive::Effort;
use super::model::{Model, Priors};
use super::peel::first_front;
use super::pool::pool;
use crate::archive::Candidate;
use crate::generator::Generator;
use crate::problem::Problem;
use crate::space::{Genome, GenomeError};

/// The model after all that was told, for reports and for answers without a measurement.
///
/// The figures of a genome are those of the problem: its objectives and then its limited figures.
#[derive(Debug)]
pub struct Belief<'a> {
    problem: &'a Problem,
    priors: &'a Priors,
    seed: u64,
    measured: Vec<&'a Candidate>,
    model: Model,
}

/// What is believed of one figure of a genome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Believed {
    /// The figure, in the unit in which it is told: a logarithm for [`Law::LogSum`].
    ///
    /// [`Law::LogSum`]: crate::Law::LogSum
    pub value: f64,
    /// How far the sum over the genes may be off, as a standard deviation in the same unit; zero
    /// of a figure that is known exactly.
    pub deviation: f64,
    /// How far a single measurement lies from the sum, in the same way: noise, and what genes do
    /// to each other, which the model cannot tell apart. Where measurements repeat well, it is
    /// mostly what genes do to each other, and an interval for the truth must have it in it:
    /// `deviation.hypot(scatter)`.
    pub scatter: f64,
}

/// A genome that is expected to lie on the front.
#[derive(Debug, Clone, PartialEq)]
pub struct Solved {
    /// What to choose.
    pub genome: Genome,
    /// Its figures.
    pub figures: Vec<Believed>,
    /// By how much it is expected to break the limits, each relative to the limit or, for an
    /// objective, to what the front spans; zero where it keeps them.
    pub violation: f64,
}

/// A question that has no answer.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum BeliefError {
    /// A genome is not a member of the space.
    #[error("genome {place} lies outside the space: {source}")]
    Outside {
        /// Its position among those that were asked about.
        place: usize,
        /// Where it leaves the space.
        source: GenomeError,
    },
    /// The further limits are not one or none for every figure, or are not finite.
    #[error("the limits {most:?} do not fit {figures} figures; each needs a finite number or none")]
    Most {
        /// What was given.
        most: Vec<Option<f64>>,
        /// How many figures there are.
        figures: usize,
    },
}

impl<'a> Belief<'a> {
    /// Fits the model to those of the measured that `learned` holds.
    pub(super) fn new(
        problem: &'a Problem,
        priors: &'a Priors,
        seed: u64,
        measured: Vec<&'a Candidate>,
        learned: &[&Candidate],
    ) -> Self {
        Self {
            problem,
            priors,
            seed,
            measured,
            model: Model::fit(priors, learned, Effort::THOROUGH),
        }
    }

    /// The figures of each genome, measured or not. What was measured of a genome has its part in
    /// the model and no more: the values are smoothed.
    ///
    /// O(g (n e + n²)) for g genomes, a fit to n candidates, and e effects, which are a few more
    /// than the alleles of all genes.
    pub fn of(&self, genomes: &[Genome]) -> Result<Vec<Vec<Believed>>, BeliefError> {
        for (place, genome) in genomes.iter().enumerate() {
            let checked = self.problem.space().check(genome);
            checked.map_err(|source| BeliefError::Outside { place, source })?;
        }
        Ok(self.model.believed(self.priors, genomes))
    }

    /// The front that is expected, under `most`, the greatest that each figure may be as it is
    /// told, besides the problem's own limits. Only figures that are the same to the model make it
    /// more than one genome for a point. Where nothing keeps the limits, the nearest to it alone.
    ///
    /// Costs what NSGA-II on the model costs: nothing is measured.
    pub fn solve(&self, most: &[Option<f64>]) -> Result<Vec<Solved>, BeliefError> {
        let figures = self.problem.objectives().len() + self.problem.limited().len();
        let is_finite = |most: &Option<f64>| most.is_none_or(f64::is_finite);
        if most.len() != figures || !most.iter().all(is_finite) {
            return Err(BeliefError::Most {
                most: most.to_vec(),
                figures,
            });
        }
        let mut generator = Generator::new(self.seed, u64::MAX);
        let (_, pool) = pool(
            self.problem,
            &self.model,
            &self.measured,
            most,
            &mut generator,
        );
        let mut members: Vec<_> = pool
            .iter()
            .filter(|member| member.violation == 0.0)
            .collect();
        if members.is_empty() {
            // The pool is in the order of survival.
            members.extend(pool.first());
        }
        let points: Vec<[f64; 3]> = members.iter().map(|member| member.point).collect();
        let front = first_front(&points);
        let genomes: Vec<Genome> = front
            .iter()
            .map(|&place| members[place].genome.clone())
            .collect();
        let believed = self.model.believed(self.priors, &genomes);
        let solved = front.iter().zip(genomes).zip(believed);
        Ok(solved
            .map(|((&place, genome), figures)| Solved {
                genome,
                figures,
                violation: members[place].violation,
            })
            .collect())
    }
}
