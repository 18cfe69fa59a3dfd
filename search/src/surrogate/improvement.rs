//! By how much a point would extend a front.

use super::evolution::Member;
use crate::hypervolume::hypervolume;

/// The non-dominated points below the reference point (1, …, 1).
#[derive(Debug, Default)]
pub(super) struct Front(Vec<Vec<f64>>);

impl Front {
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

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The growth for a member of the pool; one that is expected to break a limit extends nothing.
    pub(super) fn improvement(&self, member: &Member) -> f64 {
        if member.fitness.violation() > 0.0 {
            0.0
        } else {
            self.growth(&member.point)
        }
    }

    /// The volume that the point dominates and the front does not: the box from the point to the
    /// reference, less what the front covers of it. O(n log n).
    fn growth(&self, point: &[f64]) -> f64 {
        if point.iter().any(|value| *value >= 1.0) {
            return 0.0;
        }
        let volume: f64 = point.iter().map(|value| 1.0 - value).product();
        let clip = |member: &Vec<f64>| -> Vec<f64> {
            let axes = member.iter().zip(point);
            axes.map(|(left, right)| left.max(*right)).collect()
        };
        let clipped: Vec<Vec<f64>> = self.0.iter().map(clip).collect();
        let reference = vec![1.0; point.len()];
        volume - hypervolume(&clipped, &reference).unwrap_or(volume)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::generator::Generator;

    fn points(count: usize, objectives: usize, generator: &mut Generator) -> Vec<Vec<f64>> {
        // Some lie beyond the reference point.
        let value = |generator: &mut Generator| 1.2 * generator.unit();
        (0..count)
            .map(|_| (0..objectives).map(|_| value(generator)).collect())
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
                    front.add(point.clone());
                }
                let reference = vec![1.0; objectives];
                for point in points(20, objectives, &mut generator) {
                    let before = hypervolume(&all, &reference).unwrap();
                    all.push(point.clone());
                    let growth = hypervolume(&all, &reference).unwrap() - before;
                    let found = front.growth(&point);
                    assert!((found - growth).abs() < 1e-12, "{found} for {growth}");
                    front.add(point);
                }
            }
        }
    }
}
