//! What is believed of genomes, and how surely.

use std::collections::BTreeSet;

use thiserror::Error;

use super::evolution::Member;
use super::exchange::{Wanted, Worth};
use super::model::{Model, Priors};
use super::peel::first_front;
use super::pool::pool;
use crate::archive::Candidate;
use crate::generator::Generator;
use crate::problem::Problem;
use crate::space::{Genome, GenomeError};

/// Genomes of the pool, and of the measured ones as many, that a local search begins with.
const STARTS: usize = 6;

/// The model after all that was told, for reports and for answers without a measurement.
///
/// The figures of a genome are those of the problem: its objectives and then its limited figures.
#[derive(Debug)]
pub struct Belief<'a> {
    problem: &'a Problem,
    priors: &'a Priors,
    seed: u64,
    measured: Vec<&'a Candidate>,
    infeasible: BTreeSet<&'a Genome>,
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
    /// By how much it is expected to break the limits, summed over them; zero where it keeps them.
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
    /// There is no such figure.
    #[error("there is no figure {figure}; figures are numbered from 0, and there are {figures}")]
    Figure {
        /// What was asked for.
        figure: usize,
        /// How many figures there are.
        figures: usize,
    },
    /// Every genome that was looked at is known to be infeasible.
    #[error("every plan near the limits is known to be infeasible")]
    Infeasible,
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
    /// Of a model that has learned from the measured. What is `infeasible` has taught it nothing,
    /// and is no answer.
    pub(super) fn new(
        problem: &'a Problem,
        priors: &'a Priors,
        seed: u64,
        measured: Vec<&'a Candidate>,
        infeasible: BTreeSet<&'a Genome>,
        model: Model,
    ) -> Self {
        Self {
            problem,
            priors,
            seed,
            measured,
            infeasible,
            model,
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
    /// more than one genome for a point. Where nothing keeps the limits, the nearest to it alone;
    /// violations are relative to a limit or, for an objective, to what the front spans.
    ///
    /// Costs what NSGA-II on the model costs: nothing is measured.
    pub fn solve(&self, most: &[Option<f64>]) -> Result<Vec<Solved>, BeliefError> {
        self.check(most)?;
        let pool = self.pool(most);
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

    /// The genome, measured or not, of which the least of one figure is expected where no figure
    /// exceeds `most`, as in [`solve`](Self::solve), and the problem's own limits; never one that
    /// is known to be infeasible. Where nothing keeps them, the nearest to it that was found; a
    /// violation is the share by which the sum of a figure exceeds that of its limit.
    ///
    /// The best of the pool of `solve` and of what was measured, improved by single changes and by
    /// exchanges until none is left, and by what may be better near the best of them: of sums over
    /// 44 genes the least that there is. Costs `solve` and, for the m alleles of all genes, O(m²)
    /// an exchange, up to a count of steps that spaces of thousands of genes come to; these are
    /// left to evolution for the most part.
    pub fn best(&self, figure: usize, most: &[Option<f64>]) -> Result<Solved, BeliefError> {
        self.check(most)?;
        let figures = most.len();
        if figure >= figures {
            return Err(BeliefError::Figure { figure, figures });
        }
        let limits: Vec<Option<f64>> = self.own().zip(most).map(tighter).collect();
        let mut wanted = Wanted::new(
            self.problem.space(),
            &self.model,
            figure,
            &limits,
            &self.infeasible,
        );
        let pool = self.pool(most);
        let measured = self.measured.iter().map(|candidate| &candidate.genome);
        let mut starts = foremost(&wanted, pool.iter().map(|member| &member.genome));
        starts.extend(foremost(&wanted, measured));
        let (genome, worth) = wanted.best(starts);
        if worth.excess.is_infinite() {
            return Err(BeliefError::Infeasible);
        }
        let genomes = [genome];
        let mut believed = self.model.believed(self.priors, &genomes);
        let [genome] = genomes;
        Ok(Solved {
            genome,
            figures: believed.pop().unwrap_or_default(),
            violation: worth.excess,
        })
    }

    fn check(&self, most: &[Option<f64>]) -> Result<(), BeliefError> {
        let figures = self.problem.objectives().len() + self.problem.limited().len();
        let is_finite = |most: &Option<f64>| most.is_none_or(f64::is_finite);
        if most.len() != figures || !most.iter().all(is_finite) {
            return Err(BeliefError::Most {
                most: most.to_vec(),
                figures,
            });
        }
        Ok(())
    }

    fn pool(&self, most: &[Option<f64>]) -> Vec<Member> {
        let mut generator = Generator::new(self.seed, u64::MAX);
        let (problem, model) = (self.problem, &self.model);
        pool(problem, model, &self.measured, most, &mut generator).1
    }

    /// The problem's own limits: the greatest value of an objective that is worth something, and
    /// those of the limited figures.
    fn own(&self) -> impl Iterator<Item = Option<f64>> {
        let worst = self.problem.worst().iter();
        let limited = self.problem.limited().iter();
        let of_objectives = worst.map(|worst| worst.map(f64::next_down));
        of_objectives.chain(limited.map(|limited| Some(limited.limit)))
    }
}

fn tighter((own, most): (Option<f64>, &Option<f64>)) -> Option<f64> {
    match (own, *most) {
        (Some(own), Some(most)) => Some(own.min(most)),
        (own, most) => own.or(most),
    }
}

/// Those of the genomes that are worth most, and no genome twice.
fn foremost<'a>(wanted: &Wanted<'_>, genomes: impl Iterator<Item = &'a Genome>) -> Vec<Genome> {
    let mut ranked: Vec<(Worth, &Genome)> = genomes
        .map(|genome| (wanted.worth(genome), genome))
        .collect();
    ranked.sort_by(|left, right| left.0.order(&right.0).then_with(|| left.1.cmp(right.1)));
    ranked.dedup_by(|left, right| left.1 == right.1);
    let foremost = ranked.into_iter().take(STARTS);
    foremost.map(|(_, genome)| genome.clone()).collect()
}
