//! What is published of the measured points: which are shown, and why each is shown or not. The
//! search itself goes on steering by the means.

use std::cmp::Ordering;

use bitfront_model::{Against, FrontPoint, Objective};
use bitfront_search::tolerant::{Place, Tolerant};

use super::paired::Paired;

/// Marks the points that are shown and says of every eligible one why. `eligible` are the
/// positions of those that may enter a front; theirs are the places in it.
///
/// A point is better beyond the noise than another in the divergence where the interval of the
/// paired difference excludes zero, in a time where the interval of the ratio excludes one, in size
/// where it is smaller by a byte.
pub(super) fn publish(points: &mut [FrontPoint], eligible: &[usize], objectives: &[Objective]) {
    let paired = Paired::default();
    let (places, beaten) = {
        let points = &*points;
        let at = |place: usize| &points[eligible[place]];
        let tolerant = Tolerant {
            points: eligible.len(),
            measured: objectives
                .iter()
                .map(|&objective| objective != Objective::Size)
                .collect(),
            compare: |left: usize, right: usize, objective: usize| {
                paired.ordering(at(left), at(right), objectives[objective])
            },
            order: |left: usize, right: usize| order(at(left), at(right), objectives),
        };
        let places = tolerant.places();
        let beaten_by = |by: usize| {
            let others = 0..eligible.len();
            others.filter(|&other| tolerant.beats(by, other)).collect()
        };
        let beaten: Vec<Vec<usize>> = places
            .iter()
            .enumerate()
            .map(|(place, found)| match found {
                Place::Shown => beaten_by(place),
                Place::SameAs(_) | Place::BeatenBy(_) => Vec::new(),
            })
            .collect();
        (places, beaten)
    };
    let mut shown: Vec<_> = (0..places.len())
        .filter(|&place| places[place] == Place::Shown)
        .collect();
    shown.sort_by(|&left, &right| {
        let at = |place: usize| &points[eligible[place]];
        order(at(left), at(right), objectives)
    });
    for (place, &found) in places.iter().enumerate() {
        let position = eligible[place];
        let number = |other: usize| points[eligible[other]].candidate;
        let mut placing = bitfront_model::Placing::default();
        let against = match found {
            Place::Shown => {
                placing.class = members(&places, place).map(number).collect();
                placing.beats = beaten[place].len() as u64;
                let ours = &points[position];
                let telling = |&other: &usize| telling(ours, &points[eligible[other]]);
                let others = beaten[place].iter().copied();
                others.min_by(|one, other| telling(one).total_cmp(&telling(other)))
            }
            Place::SameAs(other) => {
                placing.class_of = Some(number(other));
                Some(other)
            }
            Place::BeatenBy(other) => Some(other),
        };
        let than = |other: usize| {
            let theirs = &points[eligible[other]];
            Some(Against {
                candidate: theirs.candidate,
                differences: paired.differences(&points[position], theirs)?,
            })
        };
        placing.against = against.and_then(than);
        placing.gain = before(&shown, place).and_then(than);
        points[position].on_front = found == Place::Shown;
        points[position].placing = placing;
    }
}

/// The shown point before this one, where this one is shown.
fn before(shown: &[usize], place: usize) -> Option<usize> {
    let at = shown.iter().position(|&shown| shown == place)?;
    at.checked_sub(1).map(|before| shown[before])
}

fn members(places: &[Place], shown: usize) -> impl Iterator<Item = usize> + use<'_> {
    let is_member = move |&place: &usize| places[place] == Place::SameAs(shown);
    (0..places.len()).filter(is_member)
}

/// Which of two points is shown where either could stand for both: the smaller one, then the one
/// with the better means, then the one that was asked for first.
fn order(left: &FrontPoint, right: &FrontPoint, objectives: &[Objective]) -> Ordering {
    let means = objectives.iter().map(|&objective| {
        let mean = |point| mean(point, objective).unwrap_or(f64::INFINITY);
        mean(left).total_cmp(&mean(right))
    });
    left.size_bytes
        .cmp(&right.size_bytes)
        .then(means.fold(Ordering::Equal, Ordering::then))
        .then(left.candidate.cmp(&right.candidate))
}

fn mean(point: &FrontPoint, objective: Objective) -> Option<f64> {
    match objective {
        Objective::Kld => point.kld(),
        Objective::Decode => point.decode_ns(),
        Objective::Prefill => point.prefill_ns(),
        Objective::Size => Some(point.size_bytes as f64),
        Objective::Mismatch => point.mismatch(),
    }
}

/// How much a comparison with a beaten point says, the less the more: people know the presets, then
/// the uniform plans; of each kind the nearest in size says most.
fn telling(ours: &FrontPoint, theirs: &FrontPoint) -> f64 {
    let kind = match (theirs.preset(), &theirs.baseline) {
        (Some(_), _) => 0.0,
        (None, Some(_)) => 1000.0,
        (None, None) => 2000.0,
    };
    kind + (ours.size_bytes as f64 / theirs.size_bytes as f64)
        .ln()
        .abs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
