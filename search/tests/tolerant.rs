//! What a front shows where figures are noisy.

#![allow(clippy::unwrap_used)]

use std::cmp::Ordering;

use bitfront_search::{Place, Tolerant, non_dominated};
use proptest::prelude::*;

/// Two measured objectives and an exact one, as small whole numbers so that ties are frequent.
type Point = [i32; 3];

/// How two points compare in one measured objective: by what they are and how noisy the pair is.
type Compare = fn(&Point, &Point, usize) -> Ordering;

const MEASURED: [bool; 3] = [true, true, false];

/// Beyond a fixed noise: intervals of one width, separated or not.
fn widths(left: &Point, right: &Point, objective: usize) -> Ordering {
    beyond(left, right, objective, 2)
}

/// Beyond a noise that every pair has of its own, as paired differences have: cycles happen.
fn pairs(left: &Point, right: &Point, objective: usize) -> Ordering {
    let mixed = |point: &Point| point.iter().fold(7, |mixed, value| mixed * 31 + value);
    beyond(left, right, objective, (mixed(left) + mixed(right)) % 6)
}

/// No noise.
fn exactly(left: &Point, right: &Point, objective: usize) -> Ordering {
    beyond(left, right, objective, 0)
}

fn beyond(left: &Point, right: &Point, objective: usize, noise: i32) -> Ordering {
    let difference = left[objective] - right[objective];
    if MEASURED[objective] && difference.abs() <= noise {
        return Ordering::Equal;
    }
    difference.cmp(&0)
}

const NOISES: [(&str, Compare); 3] = [("widths", widths), ("pairs", pairs), ("no noise", exactly)];

/// The smallest first, then by the figures.
fn key(point: &Point) -> [i32; 3] {
    [point[2], point[0], point[1]]
}

fn places(points: &[Point], compare: Compare) -> Vec<Place> {
    let tolerant = Tolerant {
        points: points.len(),
        measured: MEASURED.to_vec(),
        compare: |left: usize, right: usize, objective: usize| {
            compare(&points[left], &points[right], objective)
        },
        order: |left: usize, right: usize| {
            let keys = key(&points[left]).cmp(&key(&points[right]));
            keys.then(left.cmp(&right))
        },
    };
    tolerant.places()
}

/// What each place means: the point and, where it has one, the point that stands for or above it.
fn by_value(points: &[Point], places: &[Place]) -> Vec<(Point, String)> {
    let mut named: Vec<_> = points
        .iter()
        .zip(places)
        .map(|(point, place)| {
            let place = match place {
                Place::Shown => "shown".to_owned(),
                // Of points alike in everything any may be the one that is shown.
                Place::SameAs(other) if points[*other] == *point => "shown".to_owned(),
                Place::SameAs(other) => format!("same as {:?}", points[*other]),
                Place::BeatenBy(other) => format!("beaten by {:?}", points[*other]),
            };
            (*point, place)
        })
        .collect();
    named.sort();
    named
}

fn clouds() -> impl Strategy<Value = Vec<Point>> {
    prop::collection::vec([0..12, 0..12, 0..12], 0..30)
}

proptest! {
    #[test]
    fn a_point_goes_only_for_one_that_is_shown_and_not_worse(points in clouds()) {
        for (name, compare) in NOISES {
            let places = places(&points, compare);
            for (position, place) in places.iter().enumerate() {
                let (other, beaten) = match *place {
                    Place::Shown => continue,
                    Place::SameAs(other) => (other, false),
                    Place::BeatenBy(other) => (other, true),
                };
                prop_assert_eq!(places[other], Place::Shown, "{}", name);
                let against = |objective| compare(&points[other], &points[position], objective);
                prop_assert!((0..3).all(|objective| against(objective).is_le()), "{}", name);
                let better = (0..2).any(|objective| against(objective).is_lt());
                // A class lies around the point that is shown, whatever else it touches.
                prop_assert_eq!(better, beaten, "{}: {:?}", name, place);
            }
        }
    }

    #[test]
    fn what_is_better_than_each_other_in_something_is_shown(points in clouds()) {
        for (name, compare) in NOISES {
            let places = places(&points, compare);
            for (position, point) in points.iter().enumerate() {
                let stands_out = points.iter().enumerate().all(|(other, against)| {
                    other == position
                        || (0..3).any(|objective| compare(point, against, objective).is_lt())
                });
                let is_shown = places[position] == Place::Shown;
                prop_assert!(is_shown || !stands_out, "{}: {:?}", name, point);
            }
        }
    }

    #[test]
    fn the_order_of_points_does_not_matter(
        (points, shuffled) in clouds().prop_flat_map(|points| {
            (Just(points.clone()), Just(points).prop_shuffle())
        }),
    ) {
        for (name, compare) in NOISES {
            let one = by_value(&points, &places(&points, compare));
            let other = by_value(&shuffled, &places(&shuffled, compare));
            prop_assert_eq!(one, other, "{}", name);
        }
    }

    #[test]
    fn without_noise_it_is_the_plain_front(points in clouds()) {
        let values: Vec<_> = points.iter().map(|point| point.map(f64::from)).collect();
        let plain: Vec<_> = non_dominated(&values).into_iter().map(|at| points[at]).collect();
        let found: Vec<_> = points.iter().zip(places(&points, exactly)).collect();
        for (point, place) in found {
            prop_assert_eq!(plain.contains(point), match place {
                Place::Shown => true,
                Place::SameAs(other) => points[other] == *point,
                Place::BeatenBy(_) => false,
            });
        }
    }

    #[test]
    fn of_two_that_differ_in_size_alone_the_smaller_is_shown(
        point in [0..12, 0..12, 0..12],
        noise in [-2..=2, -2..=2],
        more in 1..5,
    ) {
        let [first, second, size] = point;
        let larger = [first + noise[0], second + noise[1], size + more];
        prop_assert_eq!(places(&[point, larger], widths), [Place::Shown, Place::SameAs(0)]);
        prop_assert_eq!(places(&[larger, point], widths), [Place::SameAs(1), Place::Shown]);
    }
}

/// Each step is within the noise and each point is larger than the one before, so every point but
/// the first is covered by the one before it; the ends are nothing alike.
#[test]
fn a_chain_of_small_steps_does_not_take_away_its_far_end() {
    let chain: Vec<Point> = (0..9).map(|step| [20 - step, 5, step]).collect();
    use Place::{SameAs, Shown};
    assert_eq!(
        places(&chain, widths),
        [
            Shown,
            SameAs(0),
            SameAs(0),
            Shown,
            SameAs(3),
            SameAs(3),
            Shown,
            SameAs(6),
            SameAs(6)
        ]
    );
}

/// The middle point beats the first one and is beaten by the last one, which is slower than the
/// first beyond the noise: the first one's speed must stay in sight.
#[test]
fn what_beat_a_point_and_is_itself_beaten_does_not_count() {
    let fast = [9, 1, 4];
    let middle = [6, 3, 4];
    let precise = [3, 5, 4];
    use Place::{BeatenBy, Shown};
    assert_eq!(
        places(&[fast, middle, precise], widths),
        [Shown, BeatenBy(2), Shown]
    );
}

/// Three points that beat each other in a circle, since the noise of each pair is its own. No
/// choice of them leaves out only what it covers and does not cover itself; the first one in the
/// order is shown, and with it what it does not cover.
#[test]
fn a_circle_is_cut_at_its_first_point() {
    let better = |left: usize, right: usize| (left + 1) % 3 == right;
    let compare = |left: usize, right: usize, _| {
        if better(left, right) {
            Ordering::Less
        } else if better(right, left) {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    };
    let order = |left: usize, right: usize| left.cmp(&right);
    let tolerant = Tolerant {
        points: 3,
        measured: vec![true],
        compare,
        order,
    };
    use Place::{BeatenBy, Shown};
    assert_eq!(tolerant.places(), [Shown, BeatenBy(0), Shown]);
}

/// A front of a thousand points compares each pair a few times at the most.
#[test]
fn a_thousand_points_need_few_comparisons() {
    let points: Vec<Point> = (0..1000).map(|step| [4000 - 3 * step, 5, step]).collect();
    let compared = std::cell::Cell::new(0u64);
    let tolerant = Tolerant {
        points: points.len(),
        measured: MEASURED.to_vec(),
        compare: |left: usize, right: usize, objective: usize| {
            compared.set(compared.get() + u64::from(MEASURED[objective]));
            widths(&points[left], &points[right], objective)
        },
        order: |left: usize, right: usize| key(&points[left]).cmp(&key(&points[right])),
    };
    let shown = tolerant.places();
    assert!(shown.iter().all(|place| *place == Place::Shown));
    assert!(compared.get() < 3_000_000, "{}", compared.get());
}
