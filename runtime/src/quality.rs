//! How far a plan's predictions are from the unquantized model's.

use bitfront_model::{DataSpec, Quality, Stopped};

use crate::RuntimeError;
use crate::candle::elementwise::largest;
use crate::candle::exponential::exp;
use crate::candle::parallel::for_costly_rows;
use crate::candle::vectors::widest_vectors;
use crate::race::Expected;
use crate::reference::Reference;
use crate::stats::mean_and_standard_error;

/// Below this log-probability a token does not count for the divergence, as in llama.cpp: its
/// share is under 1e-7 even where the plan is off by many nats.
const LEAST_LOG_PROBABILITY: f32 = -16.0;

/// Figures of one scored position, side by side so that threads can write them as a row.
const FIGURES: usize = 4;
const KLD: usize = 0;
const NEGATIVE_LOG_LIKELIHOOD: usize = 1;
const REFERENCE_NEGATIVE_LOG_LIKELIHOOD: usize = 2;
const SAME_TOP: usize = 3;

/// Collects the scores of a plan, window after window.
pub struct Scorer<'a> {
    reference: &'a Reference,
    /// The places in the text of the windows that were scored, in the order of scoring.
    windows: Vec<usize>,
    /// `windows × positions × FIGURES`, in the same order.
    figures: Vec<f32>,
}

impl<'a> Scorer<'a> {
    /// Nothing scored yet.
    pub fn new(reference: &'a Reference) -> Self {
        Self {
            reference,
            windows: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Scores windows, named by their places in the text: `logits` are `windows · positions ×
    /// vocabulary`, `targets` the token that follows each position.
    ///
    /// Values that are not finite are an error that says where they are.
    pub fn add(
        &mut self,
        windows: &[usize],
        logits: &[f32],
        targets: &[u32],
    ) -> Result<(), RuntimeError> {
        let shape = self.reference.shape();
        let positions = windows.len() * shape.positions;
        if targets.len() != positions || logits.len() != positions * shape.vocabulary {
            return Err(RuntimeError::Engine(format!(
                "{} logits came back for {positions} positions of a vocabulary of {}, followed by \
                 {} tokens",
                logits.len(),
                shape.vocabulary,
                targets.len()
            )));
        }
        let mut figures = vec![0.0; positions * FIGURES];
        for_costly_rows(&mut figures, FIGURES, logits.len() * 4, |row, figures| {
            let (window, position) = (windows[row / shape.positions], row % shape.positions);
            let logits = &logits[row * shape.vocabulary..][..shape.vocabulary];
            let reference = self.reference.log_probabilities(window, position);
            figures.copy_from_slice(&score(logits, reference, targets[row] as usize));
        });
        let broken = figures
            .chunks_exact(FIGURES)
            .position(|figures| !figures.iter().all(|figure| figure.is_finite()));
        if let Some(row) = broken {
            return Err(RuntimeError::NotFinite {
                window: windows[row / shape.positions],
                position: row % shape.positions,
            });
        }
        self.windows.extend(windows);
        self.figures.extend(figures);
        Ok(())
    }

    /// The mean divergence of every window so far, in the order of scoring.
    pub(crate) fn kld_windows(&self) -> Vec<f64> {
        self.window_means(KLD)
    }

    fn window_means(&self, figure: usize) -> Vec<f64> {
        self.figures
            .chunks(self.reference.shape().positions * FIGURES)
            .map(|window| {
                let figures = window.chunks_exact(FIGURES).map(|f| f64::from(f[figure]));
                mean_and_standard_error(figures).0
            })
            .collect()
    }

    /// The quality over everything that was scored, its windows in the order of the text: two
    /// windows at least, since the error of the divergence is taken over windows.
    pub fn finish(mut self) -> Result<Quality, RuntimeError> {
        self.order_by_place();
        let kld_windows = self.kld_windows();
        // Positions of one window read the same context, so that they are no independent samples.
        let (_, error) = mean_and_standard_error(kld_windows.iter().copied());
        let kld_standard_error = error.ok_or_else(|| {
            RuntimeError::Engine(format!(
                "the error of a divergence is taken over windows, and {} cannot give one: score \
                 at least {}",
                kld_windows.len(),
                DataSpec::LEAST_EVALUATION_WINDOWS
            ))
        })?;
        Ok(self.quality((self.mean(KLD), kld_standard_error), kld_windows, None))
    }

    /// The quality of a plan that was given up: what is expected of it over the whole text.
    pub(crate) fn stop(self, expected: Expected) -> Quality {
        let kld = (expected.kld, expected.standard_error);
        self.quality(kld, self.kld_windows(), Some(expected.stopped))
    }

    fn quality(
        &self,
        (kld, kld_standard_error): (f64, f64),
        kld_windows: Vec<f64>,
        stopped: Option<Stopped>,
    ) -> Quality {
        Quality {
            kld,
            kld_standard_error,
            kld_windows,
            perplexity: self.mean(NEGATIVE_LOG_LIKELIHOOD).exp(),
            reference_perplexity: self.mean(REFERENCE_NEGATIVE_LOG_LIKELIHOOD).exp(),
            same_top_rate: self.mean(SAME_TOP),
            same_top_windows: self.window_means(SAME_TOP),
            positions: (self.figures.len() / FIGURES) as u64,
            stopped,
            rescored: Vec::new(),
        }
    }

    fn mean(&self, figure: usize) -> f64 {
        let column = self.figures.chunks_exact(FIGURES);
        mean_and_standard_error(column.map(|figures| f64::from(figures[figure]))).0
    }

    fn order_by_place(&mut self) {
        let length = self.reference.shape().positions * FIGURES;
        let mut order = (0..self.windows.len()).collect::<Vec<_>>();
        order.sort_unstable_by_key(|&index| self.windows[index]);
        let ordered = order
            .iter()
            .flat_map(|&index| &self.figures[index * length..][..length]);
        self.figures = ordered.copied().collect();
        self.windows = order.iter().map(|&index| self.windows[index]).collect();
    }
}

widest_vectors! {
    /// The figures of one position from the plan's logits, the reference's log-probabilities and
    /// the token that follows.
    fn score(logits: &[f32], reference: &[[u8; 4]], target: usize) -> [f32; FIGURES] = figures
}

#[inline(always)]
fn figures(logits: &[f32], reference: &[[u8; 4]], target: usize) -> [f32; FIGURES] {
    let (found_top, largest) = top(logits, |logit| logit);
    let (reference_top, _) = top(reference, f32::from_le_bytes);
    let total = sum_in_lanes(logits, logits, |logit, _| exp(logit - largest));
    let shift = f64::from(largest) + total.ln();
    let single = shift as f32;
    let divergence = sum_in_lanes(logits, reference, |logit, bytes| {
        let expected = f32::from_le_bytes(bytes);
        let term = exp(expected) * (expected - (logit - single));
        if expected > LEAST_LOG_PROBABILITY {
            term
        } else {
            0.0
        }
    });
    let expected = reference
        .get(target)
        .map_or(f32::NAN, |&bytes| f32::from_le_bytes(bytes));
    let found = logits
        .get(target)
        .map_or(f64::NAN, |&logit| f64::from(logit));
    [
        divergence as f32,
        (shift - found) as f32,
        -expected,
        f32::from(found_top == reference_top),
    ]
}

/// The first largest value with its position.
#[inline(always)]
fn top<A: Copy>(items: &[A], value: impl Fn(A) -> f32) -> (usize, f32) {
    let largest = largest(items, &value);
    let mut values = items.iter().map(|&item| value(item));
    let first = values.position(|value| value == largest);
    (first.unwrap_or(0), largest)
}

/// The sum of `term` over pairs of values: the terms in `f32`, their sum in `f64`, in lanes so that
/// the compiler may use vector instructions.
#[inline(always)]
fn sum_in_lanes<A: Copy, B: Copy>(left: &[A], right: &[B], term: impl Fn(A, B) -> f32) -> f64 {
    const LANES: usize = 8;
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    let mut lanes = [0.0f64; LANES];
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f64::from(term(left[lane], right[lane]));
        }
    }
    let rest = left_rest.iter().zip(right_rest);
    let rest = rest.map(|(&left, &right)| f64::from(term(left, right)));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::Digest;

    use super::*;
    use crate::candle::vectors::tests::in_every_form;
    use crate::reference::ReferenceShape;

    const SHAPE: ReferenceShape = ReferenceShape {
        windows: 2,
        positions: 3,
        vocabulary: 50,
    };

    fn logits(window: usize) -> Vec<f32> {
        (0..SHAPE.positions * SHAPE.vocabulary)
            .map(|index| ((index * 7 + window * 13) as f32 * 0.37).sin() * 5.0)
            .collect()
    }

    fn reference(directory: &tempfile::TempDir) -> Reference {
        let path = directory.path().join("a.reference");
        let key = Digest::of("key");
        Reference::open_or_make(path, key, SHAPE, &mut |_| {}, |window| Ok(logits(window))).unwrap()
    }

    #[test]
    fn the_reference_itself_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let reference = reference(&directory);
        let mut scorer = Scorer::new(&reference);
        for window in 0..2 {
            scorer.add(&[window], &logits(window), &[1, 2, 3]).unwrap();
        }
        let quality = scorer.finish().unwrap();
        assert!(quality.kld.abs() < 1e-6, "{}", quality.kld);
        assert_eq!(quality.same_top_rate, 1.0);
        assert_eq!((quality.positions, quality.kld_windows.len()), (6, 2));
        let difference = quality.perplexity - quality.reference_perplexity;
        assert!(difference.abs() < 1e-4 * quality.perplexity);
    }

    #[test]
    fn a_known_divergence_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let reference = reference(&directory);
        let mut scorer = Scorer::new(&reference);
        // A uniform prediction: the divergence is log n minus the reference's entropy.
        let flat = vec![3.0; SHAPE.positions * SHAPE.vocabulary];
        for window in 0..2 {
            scorer.add(&[window], &flat, &[0, 0, 0]).unwrap();
        }
        let found = scorer.finish().unwrap();
        let expected = [logits(0), logits(1)]
            .concat()
            .chunks(SHAPE.vocabulary)
            .map(|row| {
                let weights = row.iter().map(|&logit| f64::from(logit).exp());
                let total = weights.clone().sum::<f64>();
                let probabilities = weights.map(|weight| weight / total);
                let entropy = probabilities.map(|p| -p * p.ln()).sum::<f64>();
                (SHAPE.vocabulary as f64).ln() - entropy
            })
            .sum::<f64>()
            / (SHAPE.windows * SHAPE.positions) as f64;
        assert!(
            (found.kld - expected).abs() < 1e-5,
            "{} {expected}",
            found.kld
        );
        assert!((found.perplexity - SHAPE.vocabulary as f64).abs() < 1e-3);
    }

    #[test]
    fn wider_vectors_change_no_bit() {
        let logits = (0..1003).map(|i| (i as f32 * 0.37).sin() * 9.0);
        let logits = logits.collect::<Vec<_>>();
        let reference = (0..1003).map(|i| (((i as f32 * 0.11).cos() - 1.0) * 9.0).to_le_bytes());
        let reference = reference.collect::<Vec<_>>();
        let bits = |figures: [f32; FIGURES]| figures.map(f32::to_bits);
        let forms = in_every_form(|| bits(score(&logits, &reference, 7)));
        assert!(forms.windows(2).all(|pair| pair[0] == pair[1]));
    }

    /// Positions of one window move together here: over positions the error would be far smaller.
    #[test]
    fn the_error_is_that_of_the_windows() {
        let directory = tempfile::tempdir().unwrap();
        let reference = reference(&directory);
        let mut scorer = Scorer::new(&reference);
        scorer.add(&[0], &logits(0), &[1, 2, 3]).unwrap();
        let flat = vec![3.0; SHAPE.positions * SHAPE.vocabulary];
        scorer.add(&[1], &flat, &[1, 2, 3]).unwrap();
        let found = scorer.finish().unwrap();
        let half = (found.kld_windows[1] - found.kld_windows[0]).abs() / 2.0;
        assert!((found.kld_standard_error - half).abs() < 1e-12);
        assert!(half > 0.1, "{half}");
    }

    #[test]
    fn one_window_has_no_error_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let reference = reference(&directory);
        let mut scorer = Scorer::new(&reference);
        scorer.add(&[0], &logits(0), &[1, 2, 3]).unwrap();
        let error = scorer.finish().unwrap_err().to_string();
        assert!(error.contains("score at least 2"), "{error}");
    }

    #[test]
    fn values_that_are_not_finite_are_refused_with_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let reference = reference(&directory);
        for broken in [f32::NAN, f32::INFINITY] {
            let mut logits = logits(1);
            logits[SHAPE.vocabulary + 4] = broken;
            let error = Scorer::new(&reference)
                .add(&[1], &logits, &[0, 0, 0])
                .unwrap_err();
            assert!(matches!(error, RuntimeError::NotFinite { .. }), "{error}");
            assert!(
                error.to_string().contains("position 1 of window 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_reference_that_is_not_finite_is_refused_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.reference");
        let made = Reference::open_or_make(path, Digest::of("key"), SHAPE, &mut |_| {}, |window| {
            let mut logits = logits(window);
            logits[7] = if window == 1 { f32::NAN } else { 0.0 };
            Ok(logits)
        });
        let error = made.err().unwrap();
        assert!(
            matches!(error, RuntimeError::ReferenceNotFinite { window: 1, .. }),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
