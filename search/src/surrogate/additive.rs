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
//! A sample of the values settles where the model is linearised and what the noise is, since both
//! take many factorisations; the last steps take in all values. The factorisation of the last one
//! also says how sure the fit is of any sum.
//!
//! Time is O(n² e + n³) for n values and e effects; memory O(n² + n e).

use faer::linalg::solvers::{DenseSolveCore, Llt, Solve};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, Par, Side};

use super::design::Design;
use crate::space::Genome;

/// Gauss-Newton steps on the sample: one from the guesses, and two that also settle weights and
/// noise.
const STEPS: usize = 3;

/// Noise variances, as shares of the prior's, among which the likeliest is taken. The great ones
/// are for guesses that were measured: what is left to learn of them is less than the noise.
const NOISES: [f64; 9] = [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0, 10.0];

/// The noise before the first look at the likelihood, and the middle of what is expected of it.
const FIRST_NOISE: f64 = 1e-2;

/// By what factor, as a logarithm, the noise may well lie off that: a few values say little of it,
/// and would have all that they show pass for noise.
const NOISE_DEVIATION: f64 = 1.5;

/// Degrees of freedom of the noise: few, so that single values may be far off.
const FREEDOM: f64 = 4.0;

/// The farthest that one step may move a term, as the logarithm of a factor.
const LONGEST_STEP: f64 = 1.5;

/// How many values it takes to say as much of the prior's scale as was assumed of it.
const SCALE_VALUES: f64 = 4.0;

/// Genomes whose deviations are computed at once.
const AT_ONCE: usize = 256;

/// How thorough a fit is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// The most values that settle weights and noise.
    sample: usize,
    /// Steps over all values.
    steps: usize,
}

impl Effort {
    /// Enough to propose by: what is proposed is measured.
    pub(super) const QUICK: Self = Self {
        sample: 192,
        steps: 1,
    };

    /// Enough to report: the noise by all values, and a fit that has come to rest, as its
    /// deviations take for granted.
    pub(super) const THOROUGH: Self = Self {
        sample: usize::MAX,
        steps: 2,
    };
}

/// A value of the sum at a genome.
#[derive(Debug, Clone)]
pub(super) struct Value<'a> {
    pub(super) genome: &'a Genome,
    /// The natural logarithm of the sum.
    pub(super) logarithm: f64,
}

/// What was learned.
#[derive(Debug)]
pub(super) struct Fit {
    /// Every term of the design, in the unit of the values.
    pub(super) terms: Vec<f64>,
    pub(super) posterior: Posterior,
}

/// How sure a fit is.
#[derive(Debug)]
pub(super) struct Posterior {
    /// The terms around which the model was linearised last.
    terms: Vec<f64>,
    /// By what factor the variances of the prior suit the values.
    scale: f64,
    /// The variance of the noise as a share of the prior's.
    noise: f64,
    /// The features and the factor of the last step; none where there was no value to learn from.
    last: Option<(Mat<f64>, Llt<f64>)>,
}

/// Fits the terms to the values, starting at the guesses. Guesses must be positive; their common
/// scale does not matter.
pub(super) fn fit(design: &Design, guesses: &[f64], values: &[Value<'_>], effort: Effort) -> Fit {
    let rows: Vec<Row> = values
        .iter()
        .map(|value| Row {
            terms: design.active(value.genome),
            logarithm: value.logarithm,
        })
        .collect();
    let scale = scale(guesses, &rows);
    let start: Vec<f64> = guesses.iter().map(|guess| guess.ln() + scale).collect();
    let mut effects = vec![0.0; start.len()];
    let (sample, others) = spread(&rows, effort.sample);
    let mut weights = vec![1.0; sample.len()];
    let mut noise = FIRST_NOISE;
    for step in 0..STEPS {
        if values.is_empty() {
            break;
        }
        let linear = Linear::new(design, &sample, &start, &effects);
        if step > 0 {
            weights = linear.weights(noise, &weights).unwrap_or(weights);
            noise = linear.likeliest_noise(&weights);
        }
        let Some(factor) = linear.factor(noise, &weights) else {
            break;
        };
        linear.step(design, &linear.solve(&factor), &mut effects);
    }
    // The others had no part in the fit so far, so their errors are of values left out.
    let sampled = terms(&start, &effects);
    let errors = others.iter().map(|row| row.error(&sampled)).collect();
    weights.extend(trust(errors));
    let all: Vec<&Row> = sample.into_iter().chain(others).collect();
    let mut posterior = Posterior {
        terms: sampled,
        scale: 1.0,
        noise,
        last: None,
    };
    for _ in 0..effort.steps {
        if all.is_empty() {
            break;
        }
        let linear = Linear::new(design, &all, &start, &effects);
        posterior.terms = terms(&start, &effects);
        if let Some(factor) = linear.factor(noise, &weights) {
            let solution = linear.solve(&factor);
            linear.step(design, &solution, &mut effects);
            let explained = linear.explained(&solution);
            posterior.scale =
                (SCALE_VALUES + explained) / (SCALE_VALUES + linear.targets.len() as f64);
            posterior.last = Some((linear.features, factor));
        }
    }
    Fit {
        terms: terms(&start, &effects),
        posterior,
    }
}

/// The terms that a value is the sum of, and its logarithm.
struct Row {
    terms: Vec<usize>,
    logarithm: f64,
}

impl Row {
    fn sum(&self, terms: &[f64]) -> f64 {
        self.terms.iter().map(|&term| terms[term]).sum()
    }

    /// How far the value lies above the sum of these terms.
    fn error(&self, terms: &[f64]) -> f64 {
        self.logarithm - self.sum(terms).ln()
    }
}

/// At most `most` rows at equal distances, and the others; each in order.
fn spread(rows: &[Row], most: usize) -> (Vec<&Row>, Vec<&Row>) {
    let count = rows.len();
    let mut parts = (Vec::new(), Vec::new());
    for (place, row) in rows.iter().enumerate() {
        let is_sampled = count <= most || (place + 1) * most / count > place * most / count;
        if is_sampled {
            parts.0.push(row);
        } else {
            parts.1.push(row);
        }
    }
    parts
}

fn terms(start: &[f64], effects: &[f64]) -> Vec<f64> {
    let pairs = start.iter().zip(effects);
    pairs
        .map(|(start, effect)| (start + effect).exp())
        .collect()
}

/// The logarithm of the factor that brings the guessed sums to the values: the median, so that a
/// few values far off do not move it.
fn scale(guesses: &[f64], rows: &[Row]) -> f64 {
    median(rows.iter().map(|row| row.error(guesses)).collect()).unwrap_or(0.0)
}

/// The upper median; none of nothing.
pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    let middle = numbers.len() / 2;
    numbers.sort_by(f64::total_cmp);
    numbers.get(middle).copied()
}

/// The weight that a Student-t noise gives values with these errors, whose scale is their own.
fn trust(errors: Vec<f64>) -> Vec<f64> {
    let sizes = errors.iter().map(|error| error.abs()).collect();
    // The median of a normal distribution's absolute values is 0.6745 standard deviations.
    let deviation = (median(sizes).unwrap_or(0.0) / 0.6745).max(f64::MIN_POSITIVE);
    let weight = |error: f64| (FREEDOM + 1.0) / (FREEDOM + (error / deviation).powi(2));
    errors.into_iter().map(weight).collect()
}

/// The model linearised around the current terms, in the logarithm of the sum.
struct Linear {
    /// Effects × values: by how much a standard deviation of an effect moves a value.
    features: Mat<f64>,
    /// The product of the features with themselves: the covariance of the values, lower half.
    covariance: Mat<f64>,
    /// What the effects have to explain.
    targets: Vec<f64>,
}

/// Writes by how much a standard deviation of each effect moves the sum of these terms, and
/// returns what the effects of the terms explain of it.
fn feature(
    design: &Design,
    terms: &[f64],
    active: &[usize],
    effects: &[f64],
    column: &mut [f64],
) -> f64 {
    let deviations = design.deviations();
    let sum: f64 = active.iter().map(|&term| terms[term]).sum();
    let mut explained = 0.0;
    for &term in active {
        let share = terms[term] / sum;
        explained += share * effects[term];
        for &effect in design.effects(term) {
            column[effect] += share * deviations[effect];
        }
    }
    explained
}

impl Linear {
    fn new(design: &Design, rows: &[&Row], start: &[f64], effects: &[f64]) -> Self {
        let terms = terms(start, effects);
        let mut features = Mat::zeros(design.deviations().len(), rows.len());
        let mut targets = Vec::with_capacity(rows.len());
        for (place, row) in rows.iter().enumerate() {
            let column = features.col_as_slice_mut(place);
            let explained = feature(design, &terms, &row.terms, effects, column);
            targets.push(row.error(&terms) + explained);
        }
        let mut covariance = Mat::zeros(rows.len(), rows.len());
        faer::linalg::matmul::triangular::matmul(
            covariance.as_mut(),
            faer::linalg::matmul::triangular::BlockStructure::TriangularLower,
            Accum::Replace,
            features.transpose(),
            faer::linalg::matmul::triangular::BlockStructure::Rectangular,
            features.as_ref(),
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
        let solution = self.solve(&factor);
        let inverse = factor.inverse();
        // The error of a value left out, in its standard deviations (Rasmussen and Williams,
        // equation 5.12), up to a scale that all have in common.
        let pairs = solution.iter().enumerate();
        let left_out = pairs.map(|(row, solution)| solution / inverse[(row, row)].sqrt());
        Some(trust(left_out.collect()))
    }

    fn factor(&self, noise: f64, weights: &[f64]) -> Option<Llt<f64>> {
        let mut matrix = self.covariance.clone();
        for (place, weight) in weights.iter().enumerate() {
            matrix[(place, place)] += noise / weight;
        }
        matrix.llt(Side::Lower).ok()
    }

    fn solve(&self, factor: &Llt<f64>) -> Vec<f64> {
        let count = self.targets.len();
        let solution = factor.solve(Mat::from_fn(count, 1, |row, _| self.targets[row]));
        (0..count).map(|row| solution[(row, 0)]).collect()
    }

    /// The square of the targets' distance from zero, in their standard deviations.
    fn explained(&self, solution: &[f64]) -> f64 {
        let pairs = solution.iter().zip(&self.targets);
        pairs.map(|(left, right)| left * right).sum()
    }

    /// The likeliest noise, each with the prior's scale that suits it best.
    fn likeliest_noise(&self, weights: &[f64]) -> f64 {
        let count = self.targets.len() as f64;
        let likelihood = |noise: f64| -> Option<f64> {
            let factor = self.factor(noise, weights)?;
            let explained = self.explained(&self.solve(&factor));
            let diagonal = factor.L().diagonal().column_vector();
            let determinant: f64 = diagonal.iter().map(|entry| 2.0 * entry.ln()).sum();
            let expected = ((noise / FIRST_NOISE).ln() / NOISE_DEVIATION).powi(2);
            Some(-0.5 * (count * (explained / count).ln() + determinant + expected))
        };
        NOISES
            .into_iter()
            .filter_map(|noise| Some((noise, likelihood(noise)?)))
            .max_by(|left, right| left.1.total_cmp(&right.1))
            .map_or(FIRST_NOISE, |(noise, _)| noise)
    }

    /// Moves the effects on the terms, each the logarithm of a factor, to what a solution stands
    /// for.
    fn step(&self, design: &Design, solution: &[f64], effects: &mut [f64]) {
        let count = solution.len();
        let solution = Mat::from_fn(count, 1, |row, _| solution[row]);
        let product = &self.features * &solution;
        let deviations = design.deviations();
        for (term, effect) in effects.iter_mut().enumerate() {
            let of_term = design.effects(term).iter();
            let reached: f64 = of_term
                .map(|&effect| deviations[effect] * product[(effect, 0)])
                .sum();
            *effect += (reached - *effect).clamp(-LONGEST_STEP, LONGEST_STEP);
        }
    }
}

impl Posterior {
    /// The standard deviation of the logarithm of the sum at each genome; of the sum itself and
    /// not of a measurement of it. O(g (n e + n²)) for g genomes.
    pub(super) fn deviations(&self, design: &Design, genomes: &[Genome]) -> Vec<f64> {
        let mut found = Vec::with_capacity(genomes.len());
        for genomes in genomes.chunks(AT_ONCE) {
            let mut features = Mat::zeros(design.deviations().len(), genomes.len());
            let nothing = vec![0.0; design.terms()];
            for (place, genome) in genomes.iter().enumerate() {
                let column = features.col_as_slice_mut(place);
                feature(
                    design,
                    &self.terms,
                    &design.active(genome),
                    &nothing,
                    column,
                );
            }
            let square = |column: &[f64]| column.iter().map(|value| value * value).sum::<f64>();
            // What of a genome's variance the values explain (algorithm 2.1, lines 5 and 6).
            let explained = self.last.as_ref().map(|(learned, factor)| {
                let mut covariances = learned.transpose() * &features;
                solve_lower_triangular_in_place(factor.L(), covariances.as_mut(), Par::Seq);
                covariances
            });
            for place in 0..genomes.len() {
                let explained = explained
                    .as_ref()
                    .map_or(0.0, |matrix| square(matrix.col_as_slice(place)));
                let variance = square(features.col_as_slice(place)) - explained;
                found.push((self.scale * variance.max(0.0)).sqrt());
            }
        }
        found
    }

    /// The standard deviation of what a measurement of a sum has beside it, as a logarithm: noise,
    /// and what the sum leaves out.
    pub(super) fn scatter(&self) -> f64 {
        (self.scale * self.noise).sqrt()
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
            let fit = fit(&self.design, &self.guesses, &values, Effort::QUICK);
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
        let fit = fit(&truth.design, &truth.guesses, &[], Effort::QUICK);
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
