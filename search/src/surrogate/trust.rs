//! Whether the model is right: what it predicted of candidates before they were told, against what
//! came back.
//!
//! The rank correlation is Kendall's (1938), over the pairs that measurements tell apart. Proposals
//! lie near a front and may hardly differ in a figure; the order of two that differ by less than
//! noise says nothing of a model, so such pairs do not count. Where a model explains nothing it
//! takes everything for noise, so what it takes for noise does not count beyond a share of what
//! the figure spans.

use super::additive::Effort;
use super::model::{Model, Priors, told};
use crate::archive::Candidate;

/// Candidates that are held against one prediction: a rank correlation of fewer is mostly chance.
pub(super) const CHECKED: usize = 16;

/// A model whose predictions rank worse than this is not to be followed.
const LEAST: f64 = 0.5;

/// Pairs below which a correlation says nothing.
const FEWEST_PAIRS: usize = 10;

/// Two measurements differ where they are as many deviations of the noise apart.
const DEVIATIONS: f64 = 2.0;

/// The most of a figure's span that may pass for noise.
const MOST_NOISE: f64 = 0.25;

/// What the predictions of one run of candidates were worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Candidates before the run, all evaluated: those that the model had learned from.
    pub candidates: usize,
    /// For every figure, the objectives first, Kendall's rank correlation between prediction and
    /// measurement, from -1 to 1; none where a figure is known exactly or too few pairs of the run
    /// differ beyond the noise.
    pub correlations: Vec<Option<f64>>,
    /// Whether some figure was below 0.5 in this run and in the one before it. Half of the
    /// proposals then come from plain evolution, until a run is above.
    pub is_distrusted: bool,
}

impl Check {
    /// Whether the same figure of both runs ranks too badly.
    pub(super) fn is_distrusted(before: &[Option<f64>], now: &[Option<f64>]) -> bool {
        let is_low = |correlation: &Option<f64>| correlation.is_some_and(|found| found < LEAST);
        let pairs = before.iter().zip(now);
        pairs
            .into_iter()
            .any(|(before, now)| is_low(before) && is_low(now))
    }
}

/// The correlation of every figure over `run`, by a model that has learned from `learned`, both
/// measured.
pub(super) fn correlations(
    priors: &Priors,
    learned: &[&Candidate],
    run: &[&Candidate],
) -> Vec<Option<f64>> {
    let model = Model::fit(priors, learned, Effort::QUICK);
    let predictions: Vec<Vec<f64>> = run
        .iter()
        .map(|candidate| model.predict(&candidate.genome))
        .collect();
    let of_figure = |figure: usize| {
        let value = |candidate: &&Candidate| told(candidate, figure).filter(|v| v.is_finite());
        let mut known: Vec<f64> = learned.iter().filter_map(value).collect();
        known.sort_by(f64::total_cmp);
        let middle = *known.get(known.len() / 2)?;
        let span = known[known.len() * 9 / 10] - known[known.len() / 10];
        let noise = DEVIATIONS * model.scatter(figure, middle)?;
        let pairs: Vec<(f64, f64)> = run
            .iter()
            .zip(&predictions)
            .filter_map(|(candidate, prediction)| Some((prediction[figure], value(candidate)?)))
            .collect();
        kendall(&pairs, noise.min(MOST_NOISE * span))
    };
    (0..model.predictors.len()).map(of_figure).collect()
}

/// Kendall's rank correlation between the two numbers of each pair, over those whose second
/// numbers differ by more than `noise`; none where these are too few. O(n²).
fn kendall(pairs: &[(f64, f64)], noise: f64) -> Option<f64> {
    let (mut balance, mut count) = (0.0, 0);
    for (place, left) in pairs.iter().enumerate() {
        for right in &pairs[..place] {
            let difference = left.1 - right.1;
            if difference.abs() > noise {
                count += 1;
                let predicted = (left.0 - right.0) * difference;
                balance +=
                    f64::from(u8::from(predicted > 0.0)) - f64::from(u8::from(predicted < 0.0));
            }
        }
    }
    (count >= FEWEST_PAIRS).then(|| balance / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_counts_what_differs_beyond_the_noise() {
        let numbered = |value: fn(f64) -> f64| -> Vec<(f64, f64)> {
            (0..8)
                .map(|place| (f64::from(place), value(f64::from(place))))
                .collect()
        };
        assert_eq!(kendall(&numbered(|place| place), 0.0), Some(1.0));
        assert_eq!(kendall(&numbered(|place| -place), 0.0), Some(-1.0));
        // Neighbours are the wrong way round, and differ by less than what is noise.
        let swapped = numbered(|place| {
            if place % 2.0 == 0.0 {
                place + 1.0
            } else {
                place - 1.0
            }
        });
        assert_eq!(kendall(&swapped, 1.5), Some(1.0));
        assert_eq!(kendall(&swapped, 0.0), Some(20.0 / 28.0));
        assert_eq!(kendall(&swapped, 10.0), None, "nothing differs");
    }

    #[test]
    fn one_low_figure_twice_is_distrusted_and_two_once_are_not() {
        let (low, high) = (Some(0.2), Some(0.8));
        let cases = [
            ([low, high], [low, high], true),
            ([low, high], [high, low], false),
            ([low, None], [None, None], false),
            ([high, None], [low, None], false),
            ([None, low], [high, low], true),
        ];
        for (before, now, expected) in cases {
            assert_eq!(
                Check::is_distrusted(&before, &now),
                expected,
                "{before:?} {now:?}"
            );
        }
    }
}
