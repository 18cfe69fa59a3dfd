//! The hypervolume of a set of points: how much of the space between them and a reference point
//! they dominate, and how much of it each alone. Exact for two and three objectives.
//!
//! Source: the dimension sweep of Fonseca, Paquete and López-Ibáñez, "An improved dimension-sweep
//! algorithm for the hypervolume indicator", 2006, in the three-dimensional form of Beume et al.,
//! 2009; it stands in `sweep`.

use thiserror::Error;

use crate::sweep::Sweep;

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
/// and repeats change nothing. Time is O(n log n), memory O(n).
pub fn hypervolume<Point: AsRef<[f64]>>(
    points: &[Point],
    reference: &[f64],
) -> Result<f64, HypervolumeError> {
    let (points, reference) = in_space(points, reference)?;
    Ok(Sweep::new(&points).volume(reference))
}

/// What of the hypervolume each of `points` alone dominates, in their order: by how much the
/// hypervolume falls when that point is taken away. Zero for a point that is dominated, that has
/// its equal among the others, or that is not better than the reference in every objective; all
/// to the rounding of the volume between the point and the reference.
///
/// Time is O(n² log n) with the small factor of a search in 64-bit words, memory O(n).
pub fn contributions<Point: AsRef<[f64]>>(
    points: &[Point],
    reference: &[f64],
) -> Result<Vec<f64>, HypervolumeError> {
    let (points, reference) = in_space(points, reference)?;
    let sweep = Sweep::new(&points);
    let of_point = |(place, point): (usize, &[f64; 3])| sweep.growth(*point, reference, place);
    Ok(points.iter().enumerate().map(of_point).collect())
}

/// An order of `points` in which each adds most to the hypervolume of `known` and of those before it,
/// and of equals the first one comes first; positions in `points`.
///
/// What a point adds only falls as others join (the hypervolume is submodular), so that it is computed
/// again for the one alone that is said to add most, as in Minoux's accelerated greedy algorithm
/// (1978). Time is O(n² log n) for n points in all, and O(n³ log n) where every point must be looked at
/// again in every turn.
pub fn by_growth<Point: AsRef<[f64]>>(
    known: &[Point],
    points: &[Point],
    reference: &[f64],
) -> Result<Vec<usize>, HypervolumeError> {
    struct Left {
        place: usize,
        /// What it adds at the most.
        most: f64,
        /// How many had joined when that was computed.
        joined: usize,
    }
    check(points, reference)?;
    let mut chosen: Vec<&[f64]> = known.iter().map(AsRef::as_ref).collect();
    let mut volume = hypervolume(&chosen, reference)?;
    let left = (0..points.len()).map(|place| Left {
        place,
        most: f64::INFINITY,
        joined: 0,
    });
    let mut left: Vec<_> = left.collect();
    let mut order = Vec::new();
    // Of equals the last one that is compared is taken, hence from behind.
    while let Some(best) = (0..left.len())
        .rev()
        .max_by(|&one, &other| left[one].most.total_cmp(&left[other].most))
    {
        let joined = order.len() + 1;
        chosen.push(points[left[best].place].as_ref());
        if left[best].joined == joined {
            volume += left[best].most;
            order.push(left.remove(best).place);
        } else {
            left[best].most = hypervolume(&chosen, reference)? - volume;
            left[best].joined = joined;
            chosen.pop();
        }
    }
    Ok(order)
}

/// Points and reference in three dimensions, of which two objectives leave the last one empty.
fn in_space<Point: AsRef<[f64]>>(
    points: &[Point],
    reference: &[f64],
) -> Result<(Vec<[f64; 3]>, [f64; 3]), HypervolumeError> {
    check(points, reference)?;
    let of_two = |point: &Point| {
        let point = point.as_ref();
        [point[0], point[1], 0.0]
    };
    let of_three = |point: &Point| {
        let point = point.as_ref();
        [point[0], point[1], point[2]]
    };
    match *reference {
        [x, y] => Ok((points.iter().map(of_two).collect(), [x, y, 1.0])),
        [x, y, z] => Ok((points.iter().map(of_three).collect(), [x, y, z])),
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
