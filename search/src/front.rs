//! What a front holds, and where it bends.

use std::cmp::Ordering;

use crate::dominance::{Fitness, non_dominated_sort};
use crate::event::Evaluation;

/// The positions of the points that no other point dominates, ascending; all objectives
/// minimised and equal in number. Equal points stand beside each other, and a point with a
/// coordinate that is not finite is never among them.
pub fn non_dominated<Point: AsRef<[f64]>>(points: &[Point]) -> Vec<usize> {
    let finite: Vec<usize> = (0..points.len())
        .filter(|&position| {
            points[position]
                .as_ref()
                .iter()
                .all(|value| value.is_finite())
        })
        .collect();
    let fitnesses: Vec<Fitness> = finite
        .iter()
        .map(|&position| Fitness::of(&Evaluation::unlimited(points[position].as_ref().to_vec())))
        .collect();
    let first = non_dominated_sort(&fitnesses).into_iter().next();
    first
        .unwrap_or_default()
        .into_iter()
        .map(|place| finite[place])
        .collect()
}

/// The position of the knee: the non-dominated point that lies furthest towards the ideal from
/// the line (two objectives) or plane (three) through the ends of the front. The first one where
/// several are equally far; none without a finite point.
///
/// Source: Das, "On characterizing the 'knee' of the Pareto curve based on normal-boundary
/// intersection", 1999. Each objective is first normalised to the front's own range; the ends then
/// lie on the axes at 1, and the distance of a point is (1 − Σ normalised objectives) / √m, so the
/// knee has the smallest sum. With three objectives the plane through the axes at 1 stands in for
/// the one through the points that are best in each objective, which is no plane when one point is
/// best in two of them, as the smallest plan often is in size and in latency.
///
/// The knee depends on the scale of the objectives: one that spans orders of magnitude should be
/// given as its logarithm.
pub fn knee<Point: AsRef<[f64]>>(points: &[Point]) -> Option<usize> {
    let front = non_dominated(points);
    let dimension = points[*front.first()?].as_ref().len();
    let mut sums = vec![0.0; front.len()];
    for objective in 0..dimension {
        let values = || {
            front
                .iter()
                .map(|&member| points[member].as_ref()[objective])
        };
        let least = values().fold(f64::INFINITY, f64::min);
        let range = values().fold(f64::NEG_INFINITY, f64::max) - least;
        if range > 0.0 {
            for (sum, value) in sums.iter_mut().zip(values()) {
                *sum += (value - least) / range;
            }
        }
    }
    let nearest =
        |left: &usize, right: &usize| -> Ordering { sums[*left].total_cmp(&sums[*right]) };
    (0..front.len()).min_by(nearest).map(|place| front[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_nothing_dominates() {
        let points = [
            [1.0, 4.0],
            [3.0, 3.0],
            [2.0, 2.0],
            [f64::NAN, 0.0],
            [2.0, 2.0],
            [4.0, f64::NEG_INFINITY],
            [2.0, 3.0],
            [4.0, 1.0],
        ];
        assert_eq!(non_dominated(&points), [0, 2, 4, 7]);
        assert!(non_dominated::<[f64; 2]>(&[]).is_empty());
    }

    #[test]
    fn the_knee_of_known_fronts() {
        let rows = [
            ("empty", vec![], None),
            ("nothing finite", vec![vec![f64::NAN, 1.0]], None),
            ("a single point", vec![vec![3.0, 4.0]], Some(0)),
            (
                "a bend in the middle",
                vec![
                    vec![0.0, 10.0],
                    vec![1.0, 6.0],
                    vec![2.0, 2.0],
                    vec![9.0, 0.0],
                ],
                Some(2),
            ),
            (
                "scales do not matter",
                vec![
                    vec![0.0, 1e10],
                    vec![1e-6, 6e9],
                    vec![2e-6, 2e9],
                    vec![9e-6, 0.0],
                ],
                Some(2),
            ),
            (
                "dominated points do not move the ends",
                vec![
                    vec![0.0, 10.0],
                    vec![2.0, 2.0],
                    vec![9.0, 0.0],
                    vec![900.0, 5.0],
                ],
                Some(1),
            ),
            (
                "three objectives, one point best in two",
                vec![
                    vec![0.0, 9.0, 9.0],
                    vec![2.0, 3.0, 2.0],
                    vec![9.0, 0.0, 0.0],
                ],
                Some(1),
            ),
            (
                "an objective without range",
                vec![
                    vec![0.0, 5.0, 10.0],
                    vec![2.0, 5.0, 2.0],
                    vec![9.0, 5.0, 0.0],
                ],
                Some(1),
            ),
        ];
        let failures: Vec<_> = rows
            .iter()
            .filter_map(|(name, points, expected)| {
                let found = knee(points);
                (found != *expected).then_some((name, expected, found))
            })
            .collect();
        assert!(failures.is_empty(), "(row, expected, found): {failures:#?}");
    }
}
