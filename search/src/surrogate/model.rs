//! What the surrogate believes: for any genome, every figure.

use super::additive::{Effort, Posterior, Value, fit};
use super::belief::Believed;
use super::design::{Design, Deviations};
use crate::archive::Candidate;
use crate::event::Shared;
use crate::problem::{Law, Problem, Table};
use crate::space::{Genome, Space};

/// How far the guess of a loss is off: a sensitivity proxy has the order of the genes about right
/// and the size of each within a factor of two.
const LOSS: Deviations = Deviations {
    gene: 0.5,
    allele: 0.25,
    level: 0.5,
    family: 0.5,
    family_level: 0.25,
};

/// How far the guess of a time is off.
const TIME: Deviations = Deviations {
    gene: 0.15,
    allele: 0.15,
    level: 0.5,
    family: 0.3,
    family_level: 0.3,
};

/// A constant is guessed to be this share of a time, a change of the allele that of a gene's part.
const OVERHEAD: f64 = 0.1;

/// The least guess of a part, as a share of the greatest.
const LEAST_GUESS: f64 = 1e-9;

/// What is known of a figure before anything was measured.
#[derive(Debug)]
enum Prior {
    /// All of it.
    Exact(Predictor),
    /// A guess of every term of its design.
    Guessed {
        design: Design,
        guesses: Vec<f64>,
        is_logarithm: bool,
    },
}

/// What is known of every figure before anything was measured: of the objectives and, after them,
/// of the limited figures.
#[derive(Debug)]
pub(super) struct Priors(Vec<Prior>);

impl Priors {
    pub(super) fn new(problem: &Problem) -> Self {
        let space = problem.space();
        let limited = problem.limited().iter().map(|limited| &limited.law);
        let laws = problem.objectives().iter().chain(limited);
        let prior = |law: &Law| match law {
            Law::LogSum(table) => Prior::guessed(Design::new(space, LOSS, false), table, true),
            Law::Time(table) => Prior::guessed(Design::new(space, TIME, true), table, false),
            Law::Exact { constant, table } => Prior::Exact(Predictor {
                starts: starts(space),
                parts: table.genes().iter().flatten().copied().collect(),
                constant: *constant,
                changes: Vec::new(),
                is_logarithm: false,
            }),
        };
        Self(laws.map(prior).collect())
    }

    /// The figures that are times.
    pub(super) fn timed(&self) -> impl Iterator<Item = usize> {
        let is_time = |prior: &Prior| {
            matches!(
                prior,
                Prior::Guessed {
                    is_logarithm: false,
                    ..
                }
            )
        };
        let priors = self.0.iter().enumerate();
        priors.filter_map(move |(figure, prior)| is_time(prior).then_some(figure))
    }
}

impl Prior {
    fn guessed(design: Design, table: &Table, is_logarithm: bool) -> Self {
        let mut guesses: Vec<f64> = table.genes().iter().flatten().copied().collect();
        let greatest = guesses.iter().copied().fold(0.0, f64::max);
        // A part that is guessed to be nothing may be something all the same.
        let least = if greatest > 0.0 {
            greatest * LEAST_GUESS
        } else {
            1.0
        };
        for guess in &mut guesses {
            *guess = guess.max(least);
        }
        if design.overhead().is_some() {
            let genes = table.genes().len() as f64;
            let typical = guesses.iter().sum::<f64>() / guesses.len() as f64;
            guesses.push(OVERHEAD * typical * genes);
            guesses.resize(design.terms(), OVERHEAD * typical);
        }
        Self::Guessed {
            design,
            guesses,
            is_logarithm,
        }
    }
}

/// One figure as a sum over the genes.
#[derive(Debug, Clone)]
pub(super) struct Predictor {
    starts: Vec<usize>,
    /// What every allele of every gene adds.
    parts: Vec<f64>,
    constant: f64,
    /// What a change of the allele costs, for every pair of neighbouring genes; empty where it
    /// costs nothing.
    changes: Vec<f64>,
    is_logarithm: bool,
}

impl Predictor {
    /// The terms of a design, apart.
    fn new(design: &Design, mut terms: Vec<f64>, is_logarithm: bool) -> Self {
        let (constant, changes) = match design.overhead() {
            None => (0.0, Vec::new()),
            Some((constant, first_change)) => {
                let changes = terms.split_off(first_change);
                (terms.remove(constant), changes)
            }
        };
        Self {
            starts: design.starts().to_vec(),
            parts: terms,
            constant,
            changes,
            is_logarithm,
        }
    }

    /// What every genome has.
    pub(super) fn constant(&self) -> f64 {
        self.constant
    }

    /// What an allele of a gene adds to the sum.
    pub(super) fn part(&self, gene: usize, allele: u8) -> f64 {
        self.parts[self.starts[gene] + usize::from(allele)]
    }

    /// What the pair of a gene and the one after it costs.
    fn change(&self, gene: usize, left: u8, right: u8) -> f64 {
        match self.changes.get(gene) {
            Some(change) if left != right => *change,
            _ => 0.0,
        }
    }

    /// By how much the sum grows when one gene gets another allele.
    pub(super) fn difference(&self, genome: &Genome, gene: usize, allele: u8) -> f64 {
        let alleles = &genome.0;
        let old = alleles[gene];
        let mut difference = self.part(gene, allele) - self.part(gene, old);
        if !self.changes.is_empty() {
            if gene > 0 {
                let left = alleles[gene - 1];
                difference +=
                    self.change(gene - 1, left, allele) - self.change(gene - 1, left, old);
            }
            if let Some(&right) = alleles.get(gene + 1) {
                difference += self.change(gene, allele, right) - self.change(gene, old, right);
            }
        }
        difference
    }

    /// By how much more the sum grows when a gene and the one after it get other alleles at once
    /// than by the two differences.
    pub(super) fn coupling(&self, genome: &Genome, gene: usize, left: u8, right: u8) -> f64 {
        let [old_left, old_right] = [genome.0[gene], genome.0[gene + 1]];
        self.change(gene, left, right) + self.change(gene, old_left, old_right)
            - self.change(gene, left, old_right)
            - self.change(gene, old_left, right)
    }

    /// The sum at a genome.
    pub(super) fn sum(&self, genome: &Genome) -> f64 {
        let alleles = genome.0.iter().enumerate();
        let parts: f64 = alleles.map(|(gene, &allele)| self.part(gene, allele)).sum();
        let pairs = genome.0.windows(2).enumerate();
        let changes: f64 = if self.changes.is_empty() {
            0.0
        } else {
            pairs
                .map(|(gene, pair)| self.change(gene, pair[0], pair[1]))
                .sum()
        };
        self.constant + parts + changes
    }

    /// Whether a change of the allele between neighbouring genes costs something.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The sum that is told so.
    pub(super) fn untold(&self, told: f64) -> f64 {
        if self.is_logarithm { told.exp() } else { told }
    }

    /// A sum as the objective is told.
    pub(super) fn told(&self, sum: f64) -> f64 {
        if self.is_logarithm {
            sum.max(f64::MIN_POSITIVE).ln()
        } else {
            sum
        }
    }
}

/// All figures of a problem.
#[derive(Debug)]
pub(super) struct Model {
    /// The objectives and, after them, the limited figures.
    pub(super) predictors: Vec<Predictor>,
    /// How sure they are; none of those that are known exactly.
    posteriors: Vec<Option<Posterior>>,
}

impl Model {
    /// Learns from evaluated candidates; a figure that is not a number or has no logarithm teaches
    /// nothing.
    pub(super) fn fit(priors: &Priors, evaluated: &[&Candidate], effort: Effort) -> Self {
        Self::fit_beside(priors, evaluated, &[], effort)
    }

    /// The same with those figures of other genomes that are shared.
    pub(super) fn fit_beside(
        priors: &Priors,
        evaluated: &[&Candidate],
        shared: &[&Shared],
        effort: Effort,
    ) -> Self {
        let mut posteriors = Vec::with_capacity(priors.0.len());
        let mut predictor = |(figure, prior): (usize, &Prior)| match prior {
            Prior::Exact(predictor) => {
                posteriors.push(None);
                predictor.clone()
            }
            Prior::Guessed {
                design,
                guesses,
                is_logarithm,
            } => {
                let shared = shared
                    .iter()
                    .map(|shared| (&shared.genome, shared.figures[figure]));
                let own = evaluated
                    .iter()
                    .map(|candidate| (&candidate.genome, told(candidate, figure)));
                let values: Vec<Value<'_>> = shared
                    .chain(own)
                    .filter_map(|(genome, told)| {
                        let told = told?;
                        let logarithm = if *is_logarithm { told } else { told.ln() };
                        logarithm.is_finite().then_some(Value { genome, logarithm })
                    })
                    .collect();
                let fit = fit(design, guesses, &values, effort);
                posteriors.push(Some(fit.posterior));
                Predictor::new(design, fit.terms, *is_logarithm)
            }
        };
        Self {
            predictors: priors.0.iter().enumerate().map(&mut predictor).collect(),
            posteriors,
        }
    }

    /// The scatter of measurements of a figure around such a value, as it is told; none of one that
    /// is known exactly.
    pub(super) fn scatter(&self, figure: usize, value: f64) -> Option<f64> {
        let scatter = self.posteriors[figure].as_ref()?.scatter();
        let is_logarithm = self.predictors[figure].is_logarithm;
        Some(if is_logarithm {
            scatter
        } else {
            value.abs() * scatter
        })
    }

    /// Every figure at each genome, and how sure it is.
    pub(super) fn believed(&self, priors: &Priors, genomes: &[Genome]) -> Vec<Vec<Believed>> {
        let known = |genome: &Genome| {
            let known = |value: f64| Believed {
                value,
                deviation: 0.0,
                scatter: 0.0,
            };
            self.predict(genome).into_iter().map(known).collect()
        };
        let mut believed: Vec<Vec<Believed>> = genomes.iter().map(known).collect();
        for (figure, (prior, posterior)) in priors.0.iter().zip(&self.posteriors).enumerate() {
            let (Prior::Guessed { design, .. }, Some(posterior)) = (prior, posterior) else {
                continue;
            };
            let deviations = posterior.deviations(design, genomes);
            for (believed, deviation) in believed.iter_mut().zip(deviations) {
                let of_figure = &mut believed[figure];
                // A deviation of the logarithm is a share of the sum.
                let unit = if self.predictors[figure].is_logarithm {
                    1.0
                } else {
                    of_figure.value
                };
                of_figure.deviation = unit * deviation;
                of_figure.scatter = unit * posterior.scatter();
            }
        }
        believed
    }

    /// Every figure at a genome, as it is told.
    pub(super) fn predict(&self, genome: &Genome) -> Vec<f64> {
        let predict = |predictor: &Predictor| predictor.told(predictor.sum(genome));
        self.predictors.iter().map(predict).collect()
    }
}

/// What was told of a candidate's figure, where it was: objectives first, then limited figures.
pub(super) fn told(candidate: &Candidate, figure: usize) -> Option<f64> {
    let objectives = candidate.fitness.as_ref()?.objectives();
    objectives
        .iter()
        .chain(&candidate.limited)
        .nth(figure)
        .copied()
}

fn starts(space: &Space) -> Vec<usize> {
    let mut next = 0;
    let start = |&alleles: &u8| {
        let start = next;
        next += usize::from(alleles);
        start
    };
    space.alleles().iter().map(start).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::generator::Generator;

    #[test]
    fn a_difference_is_that_of_the_sums() {
        let space = Space::new([3; 6]).unwrap();
        let mut generator = Generator::new(5, 0);
        let predictor = Predictor {
            starts: starts(&space),
            parts: (0..18).map(|_| generator.unit()).collect(),
            constant: 0.7,
            changes: (0..5).map(|_| generator.unit()).collect(),
            is_logarithm: false,
        };
        for _ in 0..200 {
            let genome = Genome((0..6).map(|_| generator.below(3) as u8).collect());
            let (gene, allele) = (generator.below(6), generator.below(3) as u8);
            let mut changed = genome.clone();
            changed.0[gene] = allele;
            let expected = predictor.sum(&changed) - predictor.sum(&genome);
            let found = predictor.difference(&genome, gene, allele);
            assert!(
                (found - expected).abs() < 1e-12,
                "{genome:?} {gene} {allele}"
            );
            let (gene, right) = (generator.below(5), generator.below(3) as u8);
            let mut changed = genome.clone();
            changed.0[gene] = allele;
            changed.0[gene + 1] = right;
            let expected = predictor.sum(&changed) - predictor.sum(&genome);
            let found = predictor.difference(&genome, gene, allele)
                + predictor.difference(&genome, gene + 1, right)
                + predictor.coupling(&genome, gene, allele, right);
            assert!((found - expected).abs() < 1e-12, "{genome:?} {gene}");
        }
    }
}
