//! A positive sum of terms, learned from its values at a few genomes.
//!
//! Every term is its guess times the exponential of its effects, so no term is ever negative and
//! an error of the guess is a factor, as the errors of sensitivity proxies are. The effects have
//! independent normal priors around zero; the values have log-normal noise, which also stands for
//! what the sum leaves out. The fit is the mode of the posterior, by Gauss-Newton steps: each is a
//! Gaussian process regression of the linearised model, solved in the space of the measurements
//! (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1). The
//! share of the noise is the one with the greatest marginal likelihood (section 5.4), and gross
//! errors of single values are discounted as a Student-t noise does it (Lange, Little and Taylor,
//! "Robust statistical modeling using the t distribution", 1989).
//!
//! Time is O(n² e + n³) for n values and e effects; memory O(n² + n e).

use faer::linalg::solvers::{DenseSolveCore, Llt, Solve};
use faer::{Accum, Mat, Par, Side};

use super::design::Design;
use crate::space::Genome;

/// Gauss-Newton steps: one from the guesses, two that also settle weights and noise, and a last
/// one with both fixed.
const STEPS: usize = 4;

/// Noise variances, as shares of the prior's, among which the likeliest is taken.
const NOISES: [f64; 7] = [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1];

/// The noise before the first look at the likelihood.
const FIRST_NOISE: f64 = 1e-2;

/// Degrees of freedom of the noise: few, so that single values may be far off.
const FREEDOM: f64 = 4.0;

/// The farthest that one step may move a term, as the logarithm of a factor.
const LONGEST_STEP: f64 = 1.5;

/// A value of the sum at a genome.
#[derive(Debug, Clone)]
pub(super) struct Value<'a> {
    pub(super) genome: &'a Genome,
    /// The natural logarithm of the sum.
    pub(super) logarithm: f64,
}

/// What was learned.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    /// Every term of the design, in the unit of the values.
    pub(super) terms: Vec<f64>,
}

/// Fits the terms to the values, starting at the guesses. Guesses must be positive; their common
/// scale does not matter.
pub(super) fn fit(design: &Design, guesses: &[f64], values: &[Value<'_>]) -> Fit {
    let rows: Vec<Vec<usize>> = values
        .iter()
        .map(|value| design.active(value.genome))
        .collect();
    let scale = scale(guesses, &rows, values);
    let start: Vec<f64> = guesses.iter().map(|guess| guess.ln() + scale).collect();
    let mut effects = vec![0.0; start.len()];
    let mut weights = vec![1.0; values.len()];
    let mut noise = FIRST_NOISE;
    for step in 0..STEPS {
        if values.is_empty() {
            break;
        }
        let linear = Linear::new(design, &rows, values, &start, &effects);
        if step == 1 || step == 2 {
            weights = linear.weights(noise, &weights).unwrap_or(weights);
            noise = linear.likeliest_noise(&weights);
        }
        let Some(solution) = linear.solve(noise, &weights) else {
            break;
        };
        let reached = linear.effects(design, &solution);
        for (effect, reached) in effects.iter_mut().zip(reached) {
            *effect += (reached - *effect).clamp(-LONGEST_STEP, LONGEST_STEP);
        }
    }
    let terms = start
        .iter()
        .zip(&effects)
        .map(|(start, effect)| (start + effect).exp())
        .collect();
    Fit { terms }
}

/// The logarithm of the factor that brings the guessed sums to the values: the median, so that a
/// few values far off do not move it.
fn scale(guesses: &[f64], rows: &[Vec<usize>], values: &[Value<'_>]) -> f64 {
    let ratios = rows.iter().zip(values).map(|(row, value)| {
        let guessed: f64 = row.iter().map(|&term| guesses[term]).sum();
        value.logarithm - guessed.ln()
    });
    median(ratios.collect()).unwrap_or(0.0)
}

/// The upper median; none of nothing.
pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    let middle = numbers.len() / 2;
    numbers.sort_by(f64::total_cmp);
    numbers.get(middle).copied()
}

/// The model linearised around the current terms, in the logarithm of the sum.
struct Linear {
    /// Values × effects: by how much a standard deviation of an effect moves a value.
    features: Mat<f64>,
    /// The product of the features with themselves: the covariance of the values, lower half.
    covariance: Mat<f64>,
    /// What the effects have to explain.
    targets: Vec<f64>,
}

impl Linear {
    fn new(
        design: &Design,
        rows: &[Vec<usize>],
        values: &[Value<'_>],
        start: &[f64],
        effects: &[f64],
    ) -> Self {
        let terms: Vec<f64> = start
            .iter()
            .zip(effects)
            .map(|(start, effect)| (start + effect).exp())
            .collect();
        let deviations = design.deviations();
        let mut features = Mat::zeros(rows.len(), deviations.len());
        let mut targets = Vec::new();
        for (place, (row, value)) in rows.iter().zip(values).enumerate() {
            let sum: f64 = row.iter().map(|&term| terms[term]).sum();
            let residual = value.logarithm - sum.ln();
            let mut explained = 0.0;
            for &term in row {
                let share = terms[term] / sum;
                explained += share * effects[term];
                for &effect in design.effects(term) {
                    features[(place, effect)] += share * deviations[effect];
                }
            }
            targets.push(residual + explained);
        }
        let mut covariance = Mat::zeros(rows.len(), rows.len());
        faer::linalg::matmul::triangular::matmul(
            covariance.as_mut(),
            faer::linalg::matmul::triangular::BlockStructure::TriangularLower,
            Accum::Replace,
            features.as_ref(),
            faer::linalg::matmul::triangular::BlockStructure::Rectangular,
            features.transpose(),
            faer::linalg::matmul::triangular::BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
        Self {
            features,
            covariance,
            targets,
        }
    }

    /// How far each value can be trusted: the weight that a Student-t noise gives it, by what the
    /// other values predict for it. Its own residual would not do, since a fit with few values
    /// follows each of them.
    fn weights(&self, noise: f64, weights: &[f64]) -> Option<Vec<f64>> {
        let factor = self.factor(noise, weights)?;
        let solution = factor.solve(&self.targets());
        let inverse = factor.inverse();
        // The error of a value left out, in its standard deviations (Rasmussen and Williams,
        // equation 5.12), up to a scale that all have in common.
        let left_out: Vec<f64> = (0..self.targets.len())
            .map(|row| solution[(row, 0)] / inverse[(row, row)].sqrt())
            .collect();
        let sizes = left_out.iter().map(|error| error.abs()).collect();
        // The median of a normal distribution's absolute values is 0.6745 standard deviations.
        let deviation = (median(sizes)? / 0.6745).max(f64::MIN_POSITIVE);
        let weight = |error: f64| (FREEDOM + 1.0) / (FREEDOM + (error / deviation).powi(2));
        Some(left_out.into_iter().map(weight).collect())
    }

    fn targets(&self) -> Mat<f64> {
        Mat::from_fn(self.targets.len(), 1, |row, _| self.targets[row])
    }

    fn factor(&self, noise: f64, weights: &[f64]) -> Option<Llt<f64>> {
        let mut matrix = self.covariance.clone();
        for (place, weight) in weights.iter().enumerate() {
            matrix[(place, place)] += noise / weight;
        }
        matrix.llt(Side::Lower).ok()
    }

    fn solve(&self, noise: f64, weights: &[f64]) -> Option<Vec<f64>> {
        let solution = self.factor(noise, weights)?.solve(&self.targets());
        Some(
            (0..self.targets.len())
                .map(|row| solution[(row, 0)])
                .collect(),
        )
    }

    /// The noise under which the targets are the likeliest, each with the prior's scale that
    /// suits it best.
    fn likeliest_noise(&self, weights: &[f64]) -> f64 {
        let count = self.targets.len() as f64;
        let targets = self.targets();
        let likelihood = |noise: f64| -> Option<f64> {
            let factor = self.factor(noise, weights)?;
            let solution = factor.solve(&targets);
            let fit: f64 = (0..self.targets.len())
                .map(|row| solution[(row, 0)] * self.targets[row])
                .sum();
            let diagonal = factor.L().diagonal().column_vector();
            let determinant: f64 = diagonal.iter().map(|entry| 2.0 * entry.ln()).sum();
            Some(-0.5 * (count * (fit / count).ln() + determinant))
        };
        NOISES
            .into_iter()
            .filter_map(|noise| Some((noise, likelihood(noise)?)))
            .max_by(|left, right| left.1.total_cmp(&right.1))
            .map_or(FIRST_NOISE, |(noise, _)| noise)
    }

    /// The effect on every term, as the logarithm of a factor, that a solution stands for.
    fn effects(&self, design: &Design, solution: &[f64]) -> Vec<f64> {
        let deviations = design.deviations();
        let of_effect: Vec<f64> = (0..deviations.len())
            .map(|effect| {
                let column = self.features.col(effect);
                let sum: f64 = column
                    .iter()
                    .zip(solution)
                    .map(|(left, right)| left * right)
                    .sum();
                deviations[effect] * sum
            })
            .collect();
        (0..design.terms())
            .map(|term| {
                design
                    .effects(term)
                    .iter()
                    .map(|&effect| of_effect[effect])
                    .sum()
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::design::Deviations;
    use super::*;
    use crate::generator::Generator;
    use crate::space::Space;

    const DEVIATIONS: Deviations = Deviations {
        gene: 0.5,
        allele: 0.25,
        level: 0.5,
        family: 0.5,
        family_level: 0.25,
    };

    /// Eight genes of four alleles, each a quarter of the one before, under wrong guesses.
    struct Truth {
        design: Design,
        guesses: Vec<f64>,
        terms: Vec<f64>,
        genomes: Vec<Genome>,
    }

    impl Truth {
        fn new(count: usize) -> Self {
            let space = Space::new([4; 8]).unwrap();
            let design = Design::new(&space, DEVIATIONS, false);
            let mut generator = Generator::new(11, 0);
            let guesses: Vec<f64> = (0..32).map(|term| 0.25_f64.powi(term % 4)).collect();
            let mut of_gene = 1.0;
            let terms = (0..32)
                .map(|term| {
                    if term % 4 == 0 {
                        of_gene = 0.5 + 1.5 * generator.unit();
                    }
                    100.0 * of_gene * guesses[term as usize] * (0.8 + 0.4 * generator.unit())
                })
                .collect();
            let mut genome = || Genome((0..8).map(|_| generator.below(4) as u8).collect());
            let genomes = (0..count).map(|_| genome()).collect();
            Self {
                design,
                guesses,
                terms,
                genomes,
            }
        }

        fn logarithm(&self, terms: &[f64], genome: &Genome) -> f64 {
            let active = self.design.active(genome);
            active.iter().map(|&term| terms[term]).sum::<f64>().ln()
        }

        /// Fits to the first genomes and returns the mean relative error on the others.
        fn error(&self, learned: usize, disturb: impl Fn(usize, f64) -> f64) -> f64 {
            let value = |(place, genome)| Value {
                genome,
                logarithm: disturb(place, self.logarithm(&self.terms, genome)),
            };
            let values: Vec<_> = self.genomes[..learned]
                .iter()
                .enumerate()
                .map(value)
                .collect();
            let fit = fit(&self.design, &self.guesses, &values);
            let error =
                |genome| self.logarithm(&fit.terms, genome) - self.logarithm(&self.terms, genome);
            let others = &self.genomes[learned..];
            let errors = others.iter().map(|genome| error(genome).abs());
            errors.sum::<f64>() / others.len() as f64
        }
    }

    #[test]
    fn without_values_the_guesses_stand() {
        let truth = Truth::new(0);
        let fit = fit(&truth.design, &truth.guesses, &[]);
        for (term, guess) in fit.terms.iter().zip(&truth.guesses) {
            assert!((term / guess - 1.0).abs() < 1e-12, "{term} for {guess}");
        }
    }

    #[test]
    fn a_sum_is_learned_from_a_few_values() {
        let truth = Truth::new(160);
        let errors = [1, 10, 60].map(|learned| truth.error(learned, |_, value| value));
        assert!(errors[0] > errors[1] && errors[1] > errors[2], "{errors:?}");
        assert!(errors[2] < 0.01, "{errors:?}");
    }

    #[test]
    fn a_gross_error_of_a_value_does_little() {
        let truth = Truth::new(160);
        let spike = |place, value| if place % 20 == 7 { value + 1.0 } else { value };
        let error = truth.error(60, spike);
        assert!(error < 0.05, "{error}");
    }
}
