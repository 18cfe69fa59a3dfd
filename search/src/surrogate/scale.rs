//! The box in which objectives are compared: from the best that was seen to the worst that is of
//! interest, each axis from 0 to 1.

use crate::problem::Problem;

/// Ideal and reference point of the objectives, and the limits of the other figures.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    ideal: Vec<f64>,
    range: Vec<f64>,
    limits: Vec<f64>,
}

/// How far beyond the front the box reaches where no worst value of interest was given, as a share
/// of the front's own range: the ends of the front then count for something.
const MARGIN: f64 = 0.1;

impl Scale {
    /// The box around the objectives of `points`, each every figure of a genome as it is told. An
    /// objective with a worst value of interest reaches to there.
    pub(super) fn new(problem: &Problem, points: &[Vec<f64>]) -> Self {
        let (mut ideal, mut range) = (Vec::new(), Vec::new());
        for (axis, worst) in problem.worst().iter().enumerate() {
            let values = || points.iter().map(|point| point[axis]);
            let best = values().fold(f64::INFINITY, f64::min);
            let worst = worst.unwrap_or_else(|| {
                let worst = values().fold(f64::NEG_INFINITY, f64::max);
                worst + MARGIN * (worst - best)
            });
            ideal.push(best);
            // An objective that is the same everywhere decides nothing, and one whose best is
            // beyond the worst of interest still has to be made small.
            range.push(if worst == best {
                1.0
            } else {
                (worst - best).abs()
            });
            if worst < best {
                ideal[axis] = worst - range[axis];
            }
        }
        Self {
            ideal,
            range,
            limits: problem
                .limited()
                .iter()
                .map(|limited| limited.limit)
                .collect(),
        }
    }

    /// The objectives in the box: 0 is the best that was seen, 1 the worst that is of interest.
    pub(super) fn normalised(&self, figures: &[f64]) -> Vec<f64> {
        let axes = figures.iter().zip(&self.ideal).zip(&self.range);
        axes.map(|((value, ideal), range)| (value - ideal) / range)
            .collect()
    }

    /// By how much a point in the box lies beyond it, and its other figures beyond their limits.
    pub(super) fn violation(&self, point: &[f64], figures: &[f64]) -> f64 {
        let beyond: f64 = point.iter().map(|value| (value - 1.0).max(0.0)).sum();
        let limited = figures[point.len()..].iter().zip(&self.limits);
        let over = limited.map(|(value, limit)| (value - limit).max(0.0) / limit.abs().max(1e-300));
        beyond + over.sum::<f64>()
    }
}
