//! By how much a point would extend a front.

use super::evolution::Member;
use crate::front::non_dominated;
use crate::hypervolume::hypervolume;

/// The non-dominated points below the reference point (1, …, 1).
#[derive(Debug)]
pub(super) struct Front(Vec<Vec<f64>>);

impl Front {
    pub(super) fn new(mut points: Vec<Vec<f64>>) -> Self {
        points.retain(|point| point.iter().all(|value| *value < 1.0));
        let front = non_dominated(&points);
        Self(
            front
                .into_iter()
                .map(|place| points[place].clone())
                .collect(),
        )
    }

    /// Extends the front by a point, where it does.
    pub(super) fn add(&mut self, point: Vec<f64>) {
        let is_worse = |value: &f64| *value >= 1.0;
        let covers = |left: &[f64], right: &[f64]| left.iter().zip(right).all(|(l, r)| l <= r);
        if point.iter().any(is_worse) || self.0.iter().any(|member| covers(member, &point)) {
            return;
        }
        self.0.retain(|member| !covers(&point, member));
        self.0.push(point);
    }

    /// The volume that the point dominates and the front does not: the box from the point to the
    /// reference, less what the front covers of it. A member that is expected to break a limit
    /// extends nothing. O(n log n).
    pub(super) fn improvement(&self, member: &Member) -> f64 {
        let point = &member.point;
        if member.fitness.violation() > 0.0 || point.iter().any(|value| *value >= 1.0) {
            return 0.0;
        }
        let volume: f64 = point.iter().map(|value| 1.0 - value).product();
        let clipped: Vec<Vec<f64>> = self
            .0
            .iter()
            .map(|member| {
                member
                    .iter()
                    .zip(point)
                    .map(|(left, right)| left.max(*right))
                    .collect()
            })
            .collect();
        let reference = vec![1.0; point.len()];
        volume - hypervolume(&clipped, &reference).unwrap_or(volume)
    }
}
