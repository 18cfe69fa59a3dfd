//! The hypervolume against values of other implementations, and against what must hold of any.

#![allow(clippy::unwrap_used)]

use bitfront_search::{HypervolumeError, by_growth, contributions, hypervolume, non_dominated};
use proptest::prelude::*;

const GOLDEN: [(&str, &str); 2] = [
    ("hypervolume.json", include_str!("golden/hypervolume.json")),
    (
        "hypervolume_reference.json",
        include_str!("golden/hypervolume_reference.json"),
    ),
];

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn agrees_with_other_implementations() {
    let (mut failures, mut dimensions) = (Vec::new(), Vec::new());
    for (file, text) in GOLDEN {
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in document["cases"].as_array().unwrap() {
            let points: Vec<Vec<f64>> = case["points"]
                .as_array()
                .unwrap()
                .iter()
                .map(numbers)
                .collect();
            let reference = numbers(&case["reference"]);
            dimensions.push(reference.len());
            let expected = case["hypervolume"].as_f64().unwrap();
            match hypervolume(&points, &reference) {
                Ok(found) if (found - expected).abs() <= 1e-12 * expected.abs() => {}
                found => failures.push((file, case["name"].clone(), expected, found)),
            }
        }
    }
    assert!(
        failures.is_empty(),
        "(file, case, expected, found): {failures:#?}"
    );
    for dimension in [2, 3] {
        let cases = dimensions
            .iter()
            .filter(|&&found| found == dimension)
            .count();
        assert!(
            cases >= 10,
            "only {cases} cases with {dimension} objectives"
        );
    }
}

#[test]
fn names_what_it_cannot_compute() {
    let rows = [
        (
            vec![vec![1.0]],
            vec![2.0],
            HypervolumeError::Dimension { found: 1 },
        ),
        (
            vec![],
            vec![2.0; 4],
            HypervolumeError::Dimension { found: 4 },
        ),
        (vec![], vec![], HypervolumeError::Dimension { found: 0 }),
        (
            vec![vec![1.0, 1.0], vec![1.0; 3]],
            vec![2.0, 2.0],
            HypervolumeError::PointDimension {
                point: 1,
                expected: 2,
                found: 3,
            },
        ),
        (
            vec![vec![1.0, 1.0], vec![1.0, f64::NEG_INFINITY]],
            vec![2.0, 2.0],
            HypervolumeError::PointNotFinite {
                point: 1,
                objective: 1,
                value: f64::NEG_INFINITY,
            },
        ),
        (
            vec![],
            vec![2.0, f64::INFINITY],
            HypervolumeError::ReferenceNotFinite {
                objective: 1,
                value: f64::INFINITY,
            },
        ),
    ];
    let failures: Vec<_> = rows
        .into_iter()
        .filter_map(|(points, reference, expected)| {
            let found = hypervolume(&points, &reference);
            (found != Err(expected.clone())).then_some((expected, found))
        })
        .collect();
    assert!(failures.is_empty(), "(expected, found): {failures:#?}");
    let not_a_number = hypervolume(&[[f64::NAN, 0.0]], &[1.0, 1.0]);
    assert!(matches!(
        not_a_number,
        Err(HypervolumeError::PointNotFinite { .. })
    ));
}

/// Points and a reference of integers, on which every sum is exact: equality may be demanded.
fn integer_points() -> impl Strategy<Value = (Vec<Vec<f64>>, Vec<f64>)> {
    (2_usize..=3).prop_flat_map(|dimension| {
        let point = prop::collection::vec((-2_i8..10).prop_map(f64::from), dimension);
        let points = prop::collection::vec(point, 0..25);
        (points, Just(vec![8.0; dimension]))
    })
}

/// Counts the unit cells that a point dominates: slow and plain.
fn count_cells(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let sides = -2_i8..8;
    let depth = if reference.len() == 3 {
        sides.clone()
    } else {
        0..1
    };
    let mut cells = 0_u32;
    for x in sides.clone() {
        for y in sides.clone() {
            for z in depth.clone() {
                let corner = [x, y, z].map(f64::from);
                let dominates = |point: &Vec<f64>| {
                    point
                        .iter()
                        .zip(corner)
                        .all(|(value, corner)| *value <= corner)
                };
                cells += u32::from(points.iter().any(dominates));
            }
        }
    }
    cells.into()
}

proptest! {
    #[test]
    fn equals_the_counted_cells((points, reference) in integer_points()) {
        prop_assert_eq!(hypervolume(&points, &reference).unwrap(), count_cells(&points, &reference));
    }

    #[test]
    fn a_contribution_is_what_a_deletion_takes_away((points, reference) in integer_points()) {
        let all = hypervolume(&points, &reference).unwrap();
        let found = contributions(&points, &reference).unwrap();
        let without = |deleted: usize| {
            let mut points = points.clone();
            points.remove(deleted);
            all - hypervolume(&points, &reference).unwrap()
        };
        let expected: Vec<f64> = (0..points.len()).map(without).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn points_in_order_of_growth_each_add_most(
        (points, reference) in integer_points(), known in 0_usize..3
    ) {
        let (known, points) = points.split_at(known.min(points.len()));
        let order = by_growth(known, points, &reference).unwrap();
        let mut left: Vec<usize> = (0..points.len()).collect();
        let mut chosen = known.to_vec();
        for place in order {
            let with = |place: usize| {
                let all = [chosen.as_slice(), &points[place..=place]].concat();
                hypervolume(&all, &reference).unwrap()
            };
            let most = left.iter().map(|&place| with(place)).fold(0.0, f64::max);
            let first = left.iter().copied().find(|&place| with(place) == most);
            prop_assert_eq!(Some(place), first);
            left.retain(|&other| other != place);
            chosen.push(points[place].clone());
        }
        prop_assert!(left.is_empty());
    }

    #[test]
    fn dominated_points_and_repeats_change_nothing((points, reference) in integer_points()) {
        let front: Vec<Vec<f64>> = non_dominated(&points)
            .into_iter()
            .map(|position| points[position].clone())
            .collect();
        let twice = [front.clone(), points.clone()].concat();
        let expected = hypervolume(&points, &reference).unwrap();
        prop_assert_eq!(hypervolume(&front, &reference).unwrap(), expected);
        prop_assert_eq!(hypervolume(&twice, &reference).unwrap(), expected);
    }

    #[test]
    fn the_order_of_points_and_of_objectives_does_not_matter(
        (points, reference) in integer_points().prop_flat_map(|(points, reference)| {
            (Just(points).prop_shuffle(), Just(reference))
        })
    ) {
        let mut sorted = points.clone();
        sorted.sort_by(|left, right| left.partial_cmp(right).unwrap());
        let turned: Vec<Vec<f64>> = points
            .iter()
            .map(|point| point.iter().rev().copied().collect())
            .collect();
        let expected = hypervolume(&sorted, &reference).unwrap();
        prop_assert_eq!(hypervolume(&points, &reference).unwrap(), expected);
        prop_assert_eq!(hypervolume(&turned, &reference).unwrap(), expected);
    }

    #[test]
    fn another_point_never_makes_it_smaller(
        (points, reference) in integer_points(),
        value in -2_i8..10,
    ) {
        let before = hypervolume(&points, &reference).unwrap();
        let mut more = points.clone();
        more.push(vec![value.into(); reference.len()]);
        let after = hypervolume(&more, &reference).unwrap();
        prop_assert!(after >= before);
        let is_inside = value < 8;
        let is_covered = points
            .iter()
            .any(|point| point.iter().all(|&coordinate| coordinate <= value.into()));
        prop_assert_eq!(after > before, is_inside && !is_covered);
    }
}
