//! By how much a point would extend a front.

use super::evolution::Member;
use crate::sweep::Sweep;

/// The reference point: what is worth nothing.
const REFERENCE: [f64; 3] = [1.0; 3];

/// The non-dominated points below the reference point.
#[derive(Debug, Default)]
pub(super) struct Front {
    points: Vec<[f64; 3]>,
    /// Derived from the points; none after one was added.
    sweep: Option<Sweep>,
}

impl Front {
    /// Extends the front by a point, where it does. O(n).
    pub(super) fn add(&mut self, point: [f64; 3]) {
        let is_worse = |value: &f64| *value >= 1.0;
        let covers =
            |left: &[f64; 3], right: &[f64; 3]| left.iter().zip(right).all(|(l, r)| l <= r);
        if point.iter().any(is_worse) || self.points.iter().any(|member| covers(member, &point)) {
            return;
        }
        self.points.retain(|member| !covers(&point, member));
        self.points.push(point);
        self.sweep = None;
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The growth for a member of the pool; one that is expected to break a limit extends nothing.
    pub(super) fn improvement(&mut self, member: &Member) -> f64 {
        if member.violation > 0.0 {
            0.0
        } else {
            self.growth(member.point)
        }
    }

    /// The volume that the point dominates and the front does not: the box from the point to the
    /// reference, less what the front covers of it. O(n log n).
    fn growth(&mut self, point: [f64; 3]) -> f64 {
        let points = &self.points;
        let sweep = self.sweep.get_or_insert_with(|| Sweep::new(points));
        sweep.growth(point, REFERENCE, usize::MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::generator::Generator;
    use crate::hypervolume::hypervolume;

    fn points(count: usize, objectives: usize, generator: &mut Generator) -> Vec<[f64; 3]> {
        // Some lie beyond the reference point.
        let mut value = |axis: usize| {
            if axis < objectives {
                1.2 * generator.unit()
            } else {
                0.0
            }
        };
        (0..count)
            .map(|_| std::array::from_fn(&mut value))
            .collect()
    }

    #[test]
    fn an_improvement_is_the_growth_of_the_hypervolume() {
        for objectives in [2, 3] {
            let mut generator = Generator::new(9, objectives as u64);
            for count in [0, 1, 5, 40] {
                let mut all = points(count, objectives, &mut generator);
                let mut front = Front::default();
                for point in &all {
                    front.add(*point);
                }
                for point in points(20, objectives, &mut generator) {
                    let before = hypervolume(&all, &REFERENCE).unwrap();
                    all.push(point);
                    let growth = hypervolume(&all, &REFERENCE).unwrap() - before;
                    let found = front.growth(point);
                    assert!((found - growth).abs() < 1e-12, "{found} for {growth}");
                    front.add(point);
                }
            }
        }
    }
}
