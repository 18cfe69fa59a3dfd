//! How the front grew with every evaluation, and what more of them would bring.

use crate::dominance::dominates;
use crate::hypervolume::{HypervolumeError, hypervolume};

/// Evaluations below which the growth says nothing about what follows: four octaves above two.
pub const LEAST_EVALUATIONS: usize = 32;

/// Steps of growth in the last two octaves below which the growth of each is mostly chance.
const LEAST_STEPS: usize = 4;

/// The hypervolume of a front after every evaluation, under one fixed reference point.
#[derive(Debug, Clone)]
pub struct Growth {
    reference: Vec<f64>,
    front: Vec<Vec<f64>>,
    curve: Vec<f64>,
}

impl Growth {
    /// The front of what was known before the first evaluation that counts. Fails where the
    /// hypervolume of these points cannot be computed.
    pub fn new(reference: Vec<f64>, known: &[Vec<f64>]) -> Result<Self, HypervolumeError> {
        let mut growth = Self {
            curve: vec![hypervolume(known, &reference)?],
            reference,
            front: Vec::new(),
        };
        for point in known {
            growth.join(point);
        }
        Ok(growth)
    }

    /// One more evaluation; none where it gave no point that may enter a front. A point that the
    /// hypervolume cannot be computed with counts as none. Time is that of the hypervolume for a
    /// point that enters the front, and linear in the front for any other.
    pub fn add(&mut self, point: Option<&[f64]>) {
        let latest = self.hypervolume();
        let grown = match point {
            Some(point) if self.is_usable(point) && self.join(point) => {
                hypervolume(&self.front, &self.reference).unwrap_or(latest)
            }
            _ => latest,
        };
        // A sum over another staircase may round below the sum before it.
        self.curve.push(grown.max(latest));
    }

    /// The hypervolume before the first evaluation and after each; never falls.
    pub fn curve(&self) -> &[f64] {
        &self.curve
    }

    fn hypervolume(&self) -> f64 {
        self.curve.last().copied().unwrap_or_default()
    }

    fn is_usable(&self, point: &[f64]) -> bool {
        point.len() == self.reference.len() && point.iter().all(|value| value.is_finite())
    }

    /// Puts a point into the front; false where it changes nothing.
    fn join(&mut self, point: &[f64]) -> bool {
        let is_inside = point.iter().zip(&self.reference).all(|(at, end)| at < end);
        let is_new = |known: &Vec<f64>| known != point && !dominates(known, point);
        if !is_inside || !self.front.iter().all(is_new) {
            return false;
        }
        self.front.retain(|known| !dominates(point, known));
        self.front.push(point.to_vec());
        true
    }
}

/// What as many evaluations again would bring, as shares of the hypervolume now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// What the latter half of the evaluations brought.
    pub grew: f64,
    /// What as many evaluations again are expected to bring.
    pub expected: f64,
}

/// What as many evaluations again would bring, by a curve of [`Growth`]; none where there are fewer
/// than [`LEAST_EVALUATIONS`], or where the front grew in too few steps to tell.
///
/// The method is Aitken's extrapolation over octaves: with `g` the growth from a half to the whole
/// of the evaluations and `f` that from a quarter to a half, the next doubling is expected to bring
/// `g · min(g / f, 1)`. It is exact where the distance to the best front falls with a power of the
/// number of evaluations (`H − c·n^−a`: octaves then grow by a geometric series), and where the
/// hypervolume grows with the logarithm of that number (`a = 0`). Growth that ends faster, such as
/// `H − c·e^(−n/τ)` where `n` is beyond `τ`, brings less than is expected here; growth that does
/// not slow down yet, at most twice as much. Growth comes in steps of chance besides: where one
/// evaluation in three grows the front, the estimate at two hundred is within a factor of two of
/// the truth seven times in ten.
pub fn outlook(curve: &[f64]) -> Option<Outlook> {
    let evaluations = curve.len().checked_sub(1)?;
    if evaluations < LEAST_EVALUATIONS {
        return None;
    }
    let [quarter, half, whole] =
        [evaluations / 4, evaluations / 2, evaluations].map(|at| curve[at]);
    if whole <= 0.0 {
        return None;
    }
    let late = curve[evaluations / 4..].windows(2);
    let steps = late.filter(|pair| pair[1] > pair[0]).count();
    if (1..LEAST_STEPS).contains(&steps) {
        return None;
    }
    let (before, latest) = (half - quarter, whole - half);
    let slowing = if before > 0.0 {
        (latest / before).min(1.0)
    } else {
        1.0
    };
    Some(Outlook {
        grew: latest / whole,
        expected: latest * slowing / whole,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_the_hypervolume_of_everything_so_far() {
        let points = [
            vec![3.0, 1.0],
            vec![1.0, 3.0],
            vec![2.0, 2.0],
            vec![2.0, 2.0],
            vec![5.0, 0.5],
            vec![1.0, 1.0],
        ];
        let reference = vec![4.0, 4.0];
        let mut growth = Growth::new(reference.clone(), &points[..1]).unwrap();
        for point in &points[1..] {
            growth.add(Some(point));
        }
        let whole = |count: usize| hypervolume(&points[..count], &reference).unwrap();
        let expected: Vec<_> = (1..=points.len()).map(whole).collect();
        assert_eq!(growth.curve(), expected);
        growth.add(None);
        growth.add(Some(&[f64::NAN, 0.0]));
        growth.add(Some(&[f64::NEG_INFINITY, 0.0]));
        growth.add(Some(&[0.0]));
        assert_eq!(growth.curve()[6..], [9.0; 4]);
        assert!(Growth::new(vec![1.0; 4], &[]).is_err());
    }

    #[test]
    fn too_little_to_go_by_is_no_outlook() {
        let curve: Vec<_> = (0..=32).map(|n| (f64::from(n) + 1.0).sqrt()).collect();
        assert!(outlook(&curve).is_some());
        assert_eq!(outlook(&curve[..32]), None, "31 evaluations");
        assert_eq!(outlook(&[]), None);
        assert_eq!(outlook(&[0.0; 65]), None, "nothing below the reference");
        let mut one_step = vec![1.0; 65];
        one_step[60..].fill(1.1);
        assert_eq!(outlook(&one_step), None, "one step");
    }
}
