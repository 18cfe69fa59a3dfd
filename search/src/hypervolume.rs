//! The hypervolume of a set of points: how much of the space between them and a reference point
//! they dominate. Exact for two and three objectives.
//!
//! Source: the dimension sweep of Fonseca, Paquete and López-Ibáñez, "An improved dimension-sweep
//! algorithm for the hypervolume indicator", 2006, in the three-dimensional form of Beume, Fonseca,
//! López-Ibáñez, Paquete and Vahrenhold, "On the complexity of computing the hypervolume
//! indicator", 2009. The staircase here is a sorted vector in place of their balanced tree: its
//! insertions move memory, which at the sizes of a front costs less than a tree's pointers.

use thiserror::Error;

/// Points whose hypervolume cannot be computed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HypervolumeError {
    /// Only two and three objectives have an exact sweep here.
    #[error("the hypervolume is exact for 2 and 3 objectives; the reference point has {found}")]
    Dimension {
        /// Length of the reference point.
        found: usize,
    },
    /// A point and the reference point have different numbers of objectives.
    #[error("point {point} has {found} objectives, the reference point has {expected}")]
    PointDimension {
        /// Position of the point.
        point: usize,
        /// Length of the reference point.
        expected: usize,
        /// Length of the point.
        found: usize,
    },
    /// A coordinate of a point is NaN or infinite.
    #[error("objective {objective} of point {point} is {value}; it must be finite")]
    PointNotFinite {
        /// Position of the point.
        point: usize,
        /// Position of the objective.
        objective: usize,
        /// What it is.
        value: f64,
    },
    /// A coordinate of the reference point is NaN or infinite.
    #[error("objective {objective} of the reference point is {value}; it must be finite")]
    ReferenceNotFinite {
        /// Position of the objective.
        objective: usize,
        /// What it is.
        value: f64,
    },
}

/// The hypervolume of `points` below `reference`, all objectives minimised, in the product of the
/// objectives' units.
///
/// A point counts only where it is better than the reference in every objective; dominated points
/// and repeats change nothing. Time is O(n log n) for two objectives and O(n²) at worst, in memory
/// moves, for three.
pub fn hypervolume<Point: AsRef<[f64]>>(
    points: &[Point],
    reference: &[f64],
) -> Result<f64, HypervolumeError> {
    check(points, reference)?;
    let inside = points.iter().map(AsRef::as_ref).filter(|point| {
        point
            .iter()
            .zip(reference)
            .all(|(value, limit)| value < limit)
    });
    match *reference {
        [x_limit, y_limit] => {
            let mut staircase = Staircase::new(x_limit, y_limit);
            Ok(inside.map(|point| staircase.add(point[0], point[1])).sum())
        }
        [x_limit, y_limit, z_limit] => {
            let mut by_height: Vec<&[f64]> = inside.collect();
            by_height.sort_by(|left, right| left[2].total_cmp(&right[2]));
            Ok(sweep(&by_height, Staircase::new(x_limit, y_limit), z_limit))
        }
        _ => Err(HypervolumeError::Dimension {
            found: reference.len(),
        }),
    }
}

fn check<Point: AsRef<[f64]>>(points: &[Point], reference: &[f64]) -> Result<(), HypervolumeError> {
    let not_finite = |values: &[f64]| values.iter().position(|value| !value.is_finite());
    if let Some(objective) = not_finite(reference) {
        return Err(HypervolumeError::ReferenceNotFinite {
            objective,
            value: reference[objective],
        });
    }
    for (position, point) in points.iter().enumerate() {
        let point = point.as_ref();
        if point.len() != reference.len() {
            return Err(HypervolumeError::PointDimension {
                point: position,
                expected: reference.len(),
                found: point.len(),
            });
        }
        if let Some(objective) = not_finite(point) {
            return Err(HypervolumeError::PointNotFinite {
                point: position,
                objective,
                value: point[objective],
            });
        }
    }
    Ok(())
}

/// Lifts a plane through the points in the order of their third objective; the volume grows by
/// the area dominated so far times the height risen.
fn sweep(by_height: &[&[f64]], mut staircase: Staircase, z_limit: f64) -> f64 {
    let (mut volume, mut area) = (0.0, 0.0);
    for (position, point) in by_height.iter().enumerate() {
        area += staircase.add(point[0], point[1]);
        let next = by_height.get(position + 1).map_or(z_limit, |next| next[2]);
        volume += area * (next - point[2]);
    }
    volume
}

/// The two-dimensional points that nothing dominates, x ascending and y descending.
struct Staircase {
    steps: Vec<(f64, f64)>,
    x_limit: f64,
    y_limit: f64,
}

impl Staircase {
    fn new(x_limit: f64, y_limit: f64) -> Self {
        Self {
            steps: Vec::new(),
            x_limit,
            y_limit,
        }
    }

    /// Adds a point below both limits and returns the area that it newly dominates.
    fn add(&mut self, x: f64, y: f64) -> f64 {
        let first_right = self.steps.partition_point(|step| step.0 <= x);
        let mut ceiling = match first_right.checked_sub(1) {
            None => self.y_limit,
            Some(left) if self.steps[left].1 <= y => return 0.0,
            Some(left) => self.steps[left].1,
        };
        let is_covered = |step: &&(f64, f64)| step.1 >= y;
        let covered = self.steps[first_right..]
            .iter()
            .take_while(is_covered)
            .count();
        let after_covered = first_right + covered;
        // The new area is a row of rectangles, one under each step that the point now covers.
        let (mut area, mut edge) = (0.0, x);
        for &(step_x, step_y) in &self.steps[first_right..after_covered] {
            area += (step_x - edge) * (ceiling - y);
            (edge, ceiling) = (step_x, step_y);
        }
        let end = self
            .steps
            .get(after_covered)
            .map_or(self.x_limit, |step| step.0);
        area += (end - edge) * (ceiling - y);
        // A step straight above the point, at the same x, is covered as well.
        let above = self.steps[..first_right].partition_point(|step| step.0 < x);
        self.steps.splice(above..after_covered, [(x, y)]);
        area
    }
}
