//! The box in which objectives are compared: from the best that was seen to the worst that is of
//! interest, each axis from 0 to 1.

use crate::problem::{Limited, Problem};

/// Ideal and reference point of the objectives, and the limits of the other figures.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    ideal: Vec<f64>,
    range: Vec<f64>,
    limits: Vec<Limit>,
}

/// The greatest that a figure may be, and the unit in which going beyond it counts.
#[derive(Debug, Clone)]
struct Limit {
    figure: usize,
    most: f64,
    unit: f64,
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
        let objectives = ideal.len();
        let limit = |(place, limited): (usize, &Limited)| Limit {
            figure: objectives + place,
            most: limited.limit,
            unit: limited.limit.abs().max(1e-300),
        };
        Self {
            limits: problem.limited().iter().enumerate().map(limit).collect(),
            ideal,
            range,
        }
    }

    /// The same box with further limits on its figures, as they are told.
    pub(super) fn with_most(mut self, most: &[Option<f64>]) -> Self {
        for (figure, most) in most.iter().enumerate() {
            if let Some(most) = *most {
                let range = self.range.get(figure).copied();
                self.limits.push(Limit {
                    figure,
                    most,
                    unit: range.unwrap_or_else(|| most.abs().max(1e-300)),
                });
            }
        }
        self
    }

    /// The objectives in the box: 0 is the best that was seen, 1 the worst that is of interest;
    /// the third of two objectives is 0 everywhere.
    pub(super) fn normalised(&self, figures: &[f64]) -> [f64; 3] {
        let mut point = [0.0; 3];
        let axes = figures.iter().zip(&self.ideal).zip(&self.range);
        for (coordinate, ((value, ideal), range)) in point.iter_mut().zip(axes) {
            *coordinate = (value - ideal) / range;
        }
        point
    }

    /// By how much a point in the box lies beyond it, and its figures beyond their limits.
    pub(super) fn violation(&self, point: &[f64; 3], figures: &[f64]) -> f64 {
        let beyond: f64 = point.iter().map(|value| (value - 1.0).max(0.0)).sum();
        let over = |limit: &Limit| (figures[limit.figure] - limit.most).max(0.0) / limit.unit;
        beyond + self.limits.iter().map(over).sum::<f64>()
    }
}
