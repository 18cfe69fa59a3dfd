//! Which candidate is better: constraint-dominance, non-dominated sorting and crowding.
//!
//! Source: Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic
//! algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6(2), 2002. Only additions,
//! subtractions, divisions and comparisons of floats occur, which IEEE 754 rounds in the same way
//! on every machine.

use std::cmp::Ordering;

use crate::event::Evaluation;

/// What an evaluation is worth in comparisons: finite objectives and a violation, or nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitness {
    /// Finite and without negative zeros; empty when infeasible.
    objectives: Vec<f64>,
    /// Zero or more; infinite when infeasible.
    violation: f64,
}

impl Fitness {
    /// The worth of an evaluation. One that is infeasible, or that has an objective or a violation
    /// that is not finite, is worth less than every other and the same as its like.
    pub fn of(evaluation: &Evaluation) -> Self {
        match evaluation {
            Evaluation::Measured {
                objectives,
                violation,
                ..
            } if violation.is_finite() && objectives.iter().all(|value| value.is_finite()) => {
                Self {
                    // Adding zero turns a negative zero into a positive one, so that the order
                    // of `total_cmp` and that of `<` agree from here on.
                    objectives: objectives.iter().map(|value| value + 0.0).collect(),
                    violation: violation.max(0.0) + 0.0,
                }
            }
            Evaluation::Measured { .. } | Evaluation::Infeasible => Self {
                objectives: Vec::new(),
                violation: f64::INFINITY,
            },
        }
    }

    /// All to be minimised; empty when infeasible.
    pub fn objectives(&self) -> &[f64] {
        &self.objectives
    }

    /// Zero when every limit is kept; infinite when infeasible.
    pub fn violation(&self) -> f64 {
        self.violation
    }

    /// Deb's constraint-dominance: the smaller violation wins; between equal violations, the
    /// objectives decide.
    pub fn dominates(&self, other: &Self) -> bool {
        match self.violation.total_cmp(&other.violation) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => dominates(&self.objectives, &other.objectives),
        }
    }

    /// An order in which nothing comes before what dominates it.
    fn lexicographic(&self, other: &Self) -> Ordering {
        self.violation.total_cmp(&other.violation).then_with(|| {
            self.objectives
                .iter()
                .zip(&other.objectives)
                .map(|(left, right)| left.total_cmp(right))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }
}

/// Pareto dominance, all minimised: nowhere worse and somewhere better. Both have one length.
pub fn dominates(left: &[f64], right: &[f64]) -> bool {
    let pairs = || left.iter().zip(right);
    pairs().all(|(left, right)| left <= right) && pairs().any(|(left, right)| left < right)
}

/// The positions of `fitnesses` in fronts: nothing dominates the members of the first, only
/// members of the first dominate those of the second, and so on. Within a front positions ascend.
///
/// Efficient non-dominated sort with sequential search (Zhang, Tian, Cheng and Jin, 2015): in
/// lexicographic order a candidate can only be dominated by those before it, so each goes to the
/// first front that holds no dominator of it. The fronts are those of Deb's procedure.
pub fn non_dominated_sort(fitnesses: &[Fitness]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..fitnesses.len()).collect();
    order.sort_by(|&left, &right| fitnesses[left].lexicographic(&fitnesses[right]));
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    for position in order {
        let is_dominated = |front: &Vec<usize>| {
            // The latest members are the closest, and the likeliest to dominate.
            front
                .iter()
                .rev()
                .any(|&member| fitnesses[member].dominates(&fitnesses[position]))
        };
        match fronts.iter().position(|front| !is_dominated(front)) {
            Some(rank) => fronts[rank].push(position),
            None => fronts.push(vec![position]),
        }
    }
    for front in &mut fronts {
        front.sort_unstable();
    }
    fronts
}

/// The crowding distance of each member of a front, in the front's order: the sum over the
/// objectives of the gap between a member's two neighbours, as a share of the front's range.
///
/// The members with the least and the greatest value of an objective get infinity, the earlier
/// one where several are equal. An objective in which all are equal adds nothing, and members
/// without objectives (infeasible ones) get zero.
pub fn crowding_distances(fitnesses: &[Fitness], front: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0; front.len()];
    let objectives = front
        .first()
        .map_or(0, |&member| fitnesses[member].objectives.len());
    for objective in 0..objectives {
        let value = |place: usize| fitnesses[front[place]].objectives[objective];
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|&left, &right| value(left).total_cmp(&value(right)));
        let (first, last) = (order[0], order[order.len() - 1]);
        let range = value(last) - value(first);
        distances[first] = f64::INFINITY;
        distances[last] = f64::INFINITY;
        if range > 0.0 {
            for neighbours in order.windows(3) {
                distances[neighbours[1]] += (value(neighbours[2]) - value(neighbours[0])) / range;
            }
        }
    }
    distances
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measured(objectives: &[f64], violation: f64) -> Fitness {
        Fitness::of(&Evaluation::Measured {
            objectives: objectives.to_vec(),
            limited: Vec::new(),
            violation,
        })
    }

    #[test]
    fn constraint_dominance_follows_deb() {
        let infeasible = Fitness::of(&Evaluation::Infeasible);
        let rows = [
            (
                "better in one",
                measured(&[1.0, 2.0], 0.0),
                measured(&[1.0, 3.0], 0.0),
                true,
            ),
            (
                "equal",
                measured(&[1.0, 2.0], 0.0),
                measured(&[1.0, 2.0], 0.0),
                false,
            ),
            (
                "a trade",
                measured(&[1.0, 2.0], 0.0),
                measured(&[2.0, 1.0], 0.0),
                false,
            ),
            (
                "feasible beats better but violating",
                measured(&[9.0, 9.0], 0.0),
                measured(&[1.0, 1.0], 0.1),
                true,
            ),
            (
                "smaller violation",
                measured(&[9.0, 9.0], 0.1),
                measured(&[1.0, 1.0], 0.2),
                true,
            ),
            (
                "larger violation",
                measured(&[1.0, 1.0], 0.2),
                measured(&[9.0, 9.0], 0.1),
                false,
            ),
            (
                "equal violations compare objectives",
                measured(&[1.0, 1.0], 0.2),
                measured(&[2.0, 1.0], 0.2),
                true,
            ),
            (
                "violating beats infeasible",
                measured(&[9.0, 9.0], 1e300),
                infeasible.clone(),
                true,
            ),
            (
                "infeasible beats nothing",
                infeasible.clone(),
                infeasible.clone(),
                false,
            ),
            (
                "NaN is infeasible",
                measured(&[9.0, 9.0], 5.0),
                measured(&[f64::NAN, 0.0], 0.0),
                true,
            ),
            (
                "infinity is infeasible",
                infeasible.clone(),
                measured(&[f64::NEG_INFINITY, 0.0], 0.0),
                false,
            ),
            (
                "NaN violation is infeasible",
                measured(&[9.0, 9.0], 5.0),
                measured(&[0.0, 0.0], f64::NAN),
                true,
            ),
            (
                "negative zero is zero",
                measured(&[-0.0, 2.0], 0.0),
                measured(&[0.0, 2.0], -0.0),
                false,
            ),
        ];
        let failures: Vec<_> = rows
            .iter()
            .filter(|(_, left, right, expected)| left.dominates(right) != *expected)
            .collect();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn sorts_a_worked_example() {
        let fitnesses = [
            measured(&[1.0, 4.0], 0.0),
            measured(&[3.0, 3.0], 0.0),
            measured(&[2.0, 2.0], 0.0),
            measured(&[4.0, 4.0], 0.0),
            Fitness::of(&Evaluation::Infeasible),
            measured(&[0.0, 0.0], 0.5),
            measured(&[2.0, 2.0], 0.0),
            measured(&[f64::NAN, 0.0], 0.0),
        ];
        let fronts = non_dominated_sort(&fitnesses);
        assert_eq!(
            fronts,
            [vec![0, 2, 6], vec![1], vec![3], vec![5], vec![4, 7]]
        );
    }

    #[test]
    fn crowding_of_a_worked_example() {
        let fitnesses = [
            measured(&[0.0, 10.0], 0.0),
            measured(&[4.0, 1.0], 0.0),
            measured(&[1.0, 4.0], 0.0),
            measured(&[10.0, 0.0], 0.0),
        ];
        let distances = crowding_distances(&fitnesses, &[0, 1, 2, 3]);
        let expected = [f64::INFINITY, 0.9 + 0.4, 0.4 + 0.9, f64::INFINITY];
        assert_eq!(distances, expected);
        let all_equal = vec![measured(&[1.0, 1.0], 0.0); 3];
        assert_eq!(
            crowding_distances(&all_equal, &[0, 1, 2]),
            [f64::INFINITY, 0.0, f64::INFINITY]
        );
        let infeasible = vec![Fitness::of(&Evaluation::Infeasible); 2];
        assert_eq!(crowding_distances(&infeasible, &[0, 1]), [0.0, 0.0]);
        assert!(crowding_distances(&infeasible, &[]).is_empty());
    }

    /// Peels off what nothing dominates, again and again: the definition, as slow as it is plain.
    fn peel(fitnesses: &[Fitness]) -> Vec<Vec<usize>> {
        let mut left: Vec<usize> = (0..fitnesses.len()).collect();
        let mut fronts = Vec::new();
        while !left.is_empty() {
            let (front, rest): (Vec<usize>, Vec<usize>) = left.iter().partition(|&&position| {
                !left
                    .iter()
                    .any(|&other| fitnesses[other].dominates(&fitnesses[position]))
            });
            fronts.push(front);
            left = rest;
        }
        fronts
    }

    proptest! {
        #[test]
        fn sorting_agrees_with_the_definition(
            rows in prop::collection::vec((prop::collection::vec(-2_i8..4, 3), 0_u8..6), 0..40)
        ) {
            let fitnesses: Vec<Fitness> = rows
                .iter()
                .map(|(objectives, violation)| {
                    let objectives: Vec<f64> = objectives.iter().map(|&value| value.into()).collect();
                    match violation {
                        4 => Fitness::of(&Evaluation::Infeasible),
                        // Most candidates keep the limits.
                        3 => measured(&objectives, 1.0),
                        2 => measured(&objectives, 2.0),
                        _ => measured(&objectives, 0.0),
                    }
                })
                .collect();
            prop_assert_eq!(non_dominated_sort(&fitnesses), peel(&fitnesses));
        }
    }
}
