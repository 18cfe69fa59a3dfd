//! Which measured times the model contradicts: something happened to the device meanwhile, or the
//! model is wrong. Another timing tells which.
//!
//! A time is doubted where its logarithm lies far from what is believed of it by three measures at
//! once: the model's own, which is wide where it has learned little; that of the other times, a
//! robust deviation of their distances, which is wide where the model leaves much out; and an
//! absolute one, below which another timing would not tell the two apart.

use super::additive::{Effort, median};
use super::model::{Model, Priors, told};
use crate::archive::Candidate;

/// Deviations beyond which a time is doubted.
const FAR: f64 = 3.0;

/// The least distance that is worth another timing, as the logarithm of a ratio: a timing of a
/// search is itself no more exact than about that.
const LEAST: f64 = 0.03;

/// Measured candidates below which nothing is doubted: a fit to so few follows each of them.
const FEWEST: usize = 24;

/// The median of the absolute value of a standard normal variable: from a median to a standard
/// deviation.
const MEDIAN_OF_NORMAL: f64 = 0.674_489_75;

/// A candidate with a time that the model contradicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubt {
    /// The candidate.
    pub candidate: u64,
    /// The figure that lies farthest from what is believed of it, by its position among the
    /// objectives and, after them, the limited figures.
    pub figure: usize,
    /// How far, in standard deviations of a measurement of it; above 3.
    pub deviations: f64,
}

/// The candidates among those learned from that are doubted and were not retold, in their order.
///
/// A quick fit and O(n² e + n³) for the deviations of n candidates and e effects.
pub(super) fn doubts(priors: &Priors, learned: &[&Candidate]) -> Vec<Doubt> {
    if learned.len() < FEWEST {
        return Vec::new();
    }
    let model = Model::fit(priors, learned, Effort::QUICK);
    let genomes: Vec<_> = learned.iter().map(|it| it.genome.clone()).collect();
    let believed = model.believed(priors, &genomes);
    let mut farthest: Vec<Option<Doubt>> = vec![None; learned.len()];
    for figure in priors.timed() {
        // The logarithm of measured through believed, and a deviation of it.
        let distances: Vec<Option<(f64, f64)>> = learned
            .iter()
            .zip(&believed)
            .map(|(candidate, believed)| {
                let believed = believed[figure];
                let distance = (told(candidate, figure)? / believed.value).ln();
                let deviation = believed.deviation.hypot(believed.scatter) / believed.value;
                distance.is_finite().then_some((distance, deviation))
            })
            .collect();
        let sizes = distances.iter().flatten().map(|(it, _)| it.abs()).collect();
        let usual = median(sizes).unwrap_or(0.0) / MEDIAN_OF_NORMAL;
        let doubted = learned.iter().zip(distances).zip(&mut farthest);
        for ((candidate, distance), farthest) in doubted {
            let Some((distance, deviation)) = distance else {
                continue;
            };
            let deviations = distance.abs() / deviation.max(usual);
            let is_far = deviations > FAR && distance.abs() > LEAST;
            if is_far
                && !candidate.is_retold
                && farthest.is_none_or(|known| deviations > known.deviations)
            {
                *farthest = Some(Doubt {
                    candidate: candidate.id,
                    figure,
                    deviations,
                });
            }
        }
    }
    farthest.into_iter().flatten().collect()
}
