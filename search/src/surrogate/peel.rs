//! Fronts, one after the other, in two and three objectives.

/// Parts the points at `places` into those that none of them dominates and the rest, each in the
/// order of `places`. O(n log n), and moves of memory in the staircase of a front.
///
/// The places must be ordered by their points, axis by axis: then only an earlier point can
/// dominate a later one, and does so where it is no worse in the last two axes (Kung, Luccio and
/// Preparata, "On finding the maxima of a set of vectors", 1975).
pub(super) fn peel(points: &[[f64; 3]], places: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (mut front, mut rest) = (Vec::new(), Vec::new());
    // What the front covers in the last two axes: the first ascending, the second descending.
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for &place in places {
        let [_, y, z] = points[place];
        let after = steps.partition_point(|step| step.0 <= y);
        let is_covered = after > 0 && steps[after - 1].1 <= z;
        // Its equal does not dominate it, and would have been the last to join the front.
        let is_equal = || {
            front
                .last()
                .is_some_and(|&last| points[last] == points[place])
        };
        if is_covered && !is_equal() {
            rest.push(place);
            continue;
        }
        front.push(place);
        if !is_covered {
            let first = steps[..after].partition_point(|step| step.0 < y);
            let covered = steps[after..].iter().take_while(|step| step.1 >= z);
            let last = after + covered.count();
            steps.splice(first..last, [(y, z)]);
        }
    }
    (front, rest)
}

/// The places of the points that no other dominates, ordered by their points.
pub(super) fn first_front(points: &[[f64; 3]]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..points.len()).collect();
    places.sort_by(|&left, &right| {
        let axes = points[left].iter().zip(&points[right]);
        let mut orders = axes.map(|(left, right)| left.total_cmp(right));
        orders
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    peel(points, &places).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::non_dominated;
    use crate::generator::Generator;

    #[test]
    fn the_first_front_is_what_nothing_dominates() {
        for (axes, values) in [(2, 6), (3, 6), (3, 1_000)] {
            let mut generator = Generator::new(4, values as u64);
            for count in [0, 1, 2, 30, 300] {
                let mut coordinate = |axis| {
                    if axis < axes {
                        generator.below(values) as f64
                    } else {
                        0.0
                    }
                };
                let points: Vec<[f64; 3]> = (0..count)
                    .map(|_| std::array::from_fn(&mut coordinate))
                    .collect();
                let mut found = first_front(&points);
                found.sort_unstable();
                assert_eq!(found, non_dominated(&points), "{axes} axes, {count} points");
            }
        }
    }
}
