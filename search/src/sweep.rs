//! The dimension sweep over points in three dimensions: a plane rises through them, and under it a
//! staircase holds those that no other dominates in the first two.
//!
//! Source: Beume, Fonseca, López-Ibáñez, Paquete and Vahrenhold, "On the complexity of computing
//! the hypervolume indicator", 2009. Their balanced tree is here a set of ranks: where every point
//! stands along the first axis is known beforehand, so the neighbours of a step are the nearest
//! members of a set of small integers.

/// Points, prepared for sweeps: O(n log n) once, and O(n log n) with a small factor for every
/// sweep, since nothing is sorted again.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// By their third coordinate, ascending, each with the place that it was given at.
    points: Vec<([f64; 3], usize)>,
    /// How many points stand before each along the first axis, in the order of `points`.
    ranks: Vec<usize>,
}

impl Sweep {
    /// The points must be finite.
    pub(crate) fn new(points: &[[f64; 3]]) -> Self {
        let by = |axis: usize| -> Vec<usize> {
            let keys = points.iter().map(|point| ascending(point[axis]));
            let mut order: Vec<(u64, usize)> = keys.zip(0..).collect();
            order.sort_unstable();
            order.into_iter().map(|(_, place)| place).collect()
        };
        let mut rank_of = vec![0; points.len()];
        for (rank, place) in by(0).into_iter().enumerate() {
            rank_of[place] = rank;
        }
        let by_height = by(2);
        Self {
            ranks: by_height.iter().map(|&place| rank_of[place]).collect(),
            points: by_height
                .into_iter()
                .map(|place| (points[place], place))
                .collect(),
        }
    }

    /// The volume below `reference` that the points dominate.
    pub(crate) fn volume(&self, reference: [f64; 3]) -> f64 {
        self.within([f64::NEG_INFINITY; 3], reference, usize::MAX)
    }

    /// The volume between `corner` and `reference` that none of the points dominates, the one that
    /// was given at place `except` left out: by how much the hypervolume grows by `corner`. Zero
    /// where the corner is not below the reference.
    pub(crate) fn growth(&self, corner: [f64; 3], reference: [f64; 3], except: usize) -> f64 {
        let sides = || corner.iter().zip(reference);
        if sides().any(|(from, to)| *from >= to) {
            return 0.0;
        }
        let volume: f64 = sides().map(|(from, to)| to - from).product();
        volume - self.within(corner, reference, except)
    }

    /// The volume between `corner` and `reference` that the points dominate. Drawn to the corner
    /// the points stay in their orders, so that the one of all serves every corner.
    fn within(&self, corner: [f64; 3], reference: [f64; 3], except: usize) -> f64 {
        let [x_limit, y_limit, z_limit] = reference;
        let mut staircase = Staircase::new(self.points.len(), x_limit, y_limit);
        let (mut volume, mut area, mut height) = (0.0, 0.0, z_limit);
        for (&(point, place), &rank) in self.points.iter().zip(&self.ranks) {
            let [x, y, z] = std::array::from_fn(|axis| point[axis].max(corner[axis]));
            if place == except || x >= x_limit || y >= y_limit || z >= z_limit {
                continue;
            }
            volume += area * (z - height);
            height = z;
            area += staircase.add(rank, x, y);
        }
        volume + area * (z_limit - height)
    }
}

/// A number whose order among others is that of the float among theirs.
fn ascending(value: f64) -> u64 {
    // Adding zero makes the two zeros one.
    let bits = (value + 0.0).to_bits();
    bits ^ if bits >> 63 == 1 { u64::MAX } else { 1 << 63 }
}

/// The two-dimensional points that nothing dominates, by their ranks along the first axis.
struct Staircase {
    steps: Vec<(f64, f64)>,
    present: Ranks,
    x_limit: f64,
    y_limit: f64,
}

impl Staircase {
    fn new(ranks: usize, x_limit: f64, y_limit: f64) -> Self {
        Self {
            steps: vec![(0.0, 0.0); ranks],
            present: Ranks::new(ranks),
            x_limit,
            y_limit,
        }
    }

    /// Adds a point below both limits and returns the area that it newly dominates.
    fn add(&mut self, rank: usize, x: f64, y: f64) -> f64 {
        let mut ceiling = match self.present.before(rank) {
            None => self.y_limit,
            Some(left) if self.steps[left].1 <= y => return 0.0,
            Some(left) => self.steps[left].1,
        };
        // The new area is a row of rectangles, one under each step that the point now covers.
        let (mut area, mut edge) = (0.0, x);
        let mut next = self.present.after(rank);
        while let Some(step) = next {
            let (step_x, step_y) = self.steps[step];
            if step_y < y {
                break;
            }
            area += (step_x - edge) * (ceiling - y);
            (edge, ceiling) = (step_x, step_y);
            self.present.remove(step);
            next = self.present.after(step);
        }
        let end = next.map_or(self.x_limit, |step| self.steps[step].0);
        area += (end - edge) * (ceiling - y);
        self.steps[rank] = (x, y);
        self.present.insert(rank);
        area
    }
}

/// A set of integers below a bound that knows the neighbours of any: words of 64 bits, above them
/// words that say which of those are not empty, and so on. O(log64 of the bound) for everything.
struct Ranks(Vec<Vec<u64>>);

impl Ranks {
    fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = bound.div_ceil(64).max(1);
        loop {
            levels.push(vec![0; words]);
            if words == 1 {
                return Self(levels);
            }
            words = words.div_ceil(64);
        }
    }

    fn insert(&mut self, mut place: usize) {
        for level in &mut self.0 {
            level[place / 64] |= 1 << (place % 64);
            place /= 64;
        }
    }

    fn remove(&mut self, mut place: usize) {
        for level in &mut self.0 {
            level[place / 64] &= !(1 << (place % 64));
            if level[place / 64] != 0 {
                return;
            }
            place /= 64;
        }
    }

    /// The greatest member below `place`.
    fn before(&self, mut place: usize) -> Option<usize> {
        for (height, level) in self.0.iter().enumerate() {
            let word = level[place / 64] & ((1 << (place % 64)) - 1);
            place /= 64;
            if word != 0 {
                let last = |word: u64| 63 - word.leading_zeros() as usize;
                let lower = self.0[..height].iter().rev();
                let start = place * 64 + last(word);
                return Some(lower.fold(start, |place, level| place * 64 + last(level[place])));
            }
        }
        None
    }

    /// The least member above `place`.
    fn after(&self, mut place: usize) -> Option<usize> {
        for (height, level) in self.0.iter().enumerate() {
            let word = level[place / 64] & (u64::MAX << (place % 64) << 1);
            place /= 64;
            if word != 0 {
                let first = |word: u64| word.trailing_zeros() as usize;
                let lower = self.0[..height].iter().rev();
                let start = place * 64 + first(word);
                return Some(lower.fold(start, |place, level| place * 64 + first(level[place])));
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::generator::Generator;

    #[test]
    fn a_set_of_ranks_knows_its_neighbours() {
        for bound in [1, 63, 64, 65, 5_000] {
            let mut generator = Generator::new(6, bound as u64);
            let (mut ranks, mut expected) = (Ranks::new(bound), BTreeSet::new());
            for _ in 0..2_000 {
                let place = generator.below(bound);
                if generator.chance(1, 2) {
                    ranks.insert(place);
                    expected.insert(place);
                } else {
                    ranks.remove(place);
                    expected.remove(&place);
                }
                let asked = generator.below(bound);
                let before = expected.range(..asked).next_back().copied();
                assert_eq!(ranks.before(asked), before, "{bound}: before {asked}");
                let after = expected.range(asked + 1..).next().copied();
                assert_eq!(ranks.after(asked), after, "{bound}: after {asked}");
            }
        }
    }

    #[test]
    fn keys_are_in_the_order_of_their_floats() {
        let values = [f64::MIN, -1.0, -1e-300, 0.0, 1e-300, 1.0, f64::MAX];
        assert!(values.is_sorted_by_key(|value| ascending(*value)));
        assert_eq!(ascending(-0.0), ascending(0.0));
    }
}
