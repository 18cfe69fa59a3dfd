//! Which measured times the model contradicts: something happened to the device meanwhile, or the
//! model is wrong. Another timing tells which.
//!
//! A time is doubted where its logarithm lies far from what is believed of it: by how sure the
//! model is of the sum and by how far the other times lie from theirs together, and by so much that
//! another timing would tell the two apart. How far the others lie is told by their median, which
//! no outlier moves.

use super::additive::{Effort, median};
use super::model::{Model, Priors, told};
use crate::archive::Candidate;

/// Deviations beyond which a time is doubted.
const FAR: f64 = 4.0;

/// The least distance that is worth another timing, as the logarithm of a ratio: a timing of a
/// search is itself no more exact than about that.
const LEAST: f64 = 0.03;

/// Measured candidates below which nothing is doubted: a fit to so few follows each of them.
const FEWEST: usize = 24;

/// The median of the absolute value of a standard normal variable: from a median to a standard
/// deviation.
const MEDIAN_OF_NORMAL: f64 = 0.674_489_75;

/// The candidates whose times are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Those of every run of 16 that is evaluated as a whole: a fit for each of them is too many
    /// while a search goes on.
    WholeRuns,
    /// All that are evaluated. The last ones of a search, which lie nearest to its front, make no
    /// whole run.
    Evaluated,
}

/// A candidate with a time that the model contradicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubt {
    /// The candidate.
    pub candidate: u64,
    /// The figure that lies farthest from what is believed of it, by its position among the
    /// objectives and, after them, the limited figures.
    pub figure: usize,
    /// How far, in standard deviations of a measurement of it; above 4.
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
        // The logarithm of measured through believed, the deviation of the sum and the scatter.
        let distances: Vec<Option<[f64; 3]>> = learned
            .iter()
            .zip(&believed)
            .map(|(candidate, believed)| {
                let believed = believed[figure];
                let distance = (told(candidate, figure)? / believed.value).ln();
                let share = |deviation: f64| deviation / believed.value;
                let known = [distance, share(believed.deviation), share(believed.scatter)];
                distance.is_finite().then_some(known)
            })
            .collect();
        let sizes = distances.iter().flatten().map(|it| it[0].abs()).collect();
        let usual = median(sizes).unwrap_or(0.0) / MEDIAN_OF_NORMAL;
        let doubted = learned.iter().zip(distances).zip(&mut farthest);
        for ((candidate, distance), farthest) in doubted {
            let Some([distance, deviation, scatter]) = distance else {
                continue;
            };
            // Of few values the model takes one gross error for noise of all, and both its
            // deviations grow with it; the other times' distances tell by how much.
            let share = (usual / scatter).min(1.0);
            let deviations = distance.abs() / (share * deviation).hypot(usual);
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
