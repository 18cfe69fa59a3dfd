//! Why a point is on the front or not, in words.

use std::cmp::Ordering;

use bitfront_model::{Difference, Differences, Front, FrontPoint, Objective, Ratio};

use crate::beliefs;
use crate::deviations;
use crate::figures::{percent, three_digits};
use crate::view::{FrontView as _, PointView as _};

/// Why a candidate is on the front, or why not, and by how much; whether the devices that scored it
/// disagree, and which figures the search's model did not expect, before and after it was timed
/// again.
pub(crate) fn why(front: &Front, point: &FrontPoint) -> String {
    let told = [
        Some(place(front, point)),
        deviations::told(point),
        beliefs::timed_twice(point),
        beliefs::surprises(point),
    ];
    let told: Vec<_> = told.into_iter().flatten().collect();
    told.join("; ")
}

fn place(front: &Front, point: &FrontPoint) -> String {
    let placing = &point.placing;
    if point.on_front {
        return shown(front, point);
    }
    let Some(against) = &placing.against else {
        return unranked(front, point);
    };
    let other = name_of(front, against.candidate);
    let objectives = &front.status.request.objectives;
    match placing.class_of {
        Some(_) => format!(
            "cannot be told apart from {other}, which is shown; has {}",
            size(&against.differences)
        ),
        None => format!(
            "beaten by {other}: {}",
            in_words(&against.differences, objectives)
        ),
    }
}

fn shown(front: &Front, point: &FrontPoint) -> String {
    let placing = &point.placing;
    let objectives = &front.status.request.objectives;
    let mut reasons = Vec::new();
    if !placing.class.is_empty() {
        let names: Vec<_> = placing
            .class
            .iter()
            .map(|&candidate| name_of(front, candidate))
            .collect();
        reasons.push(format!(
            "smallest of {} that cannot be told apart: {}",
            names.len() + 1,
            some(&names)
        ));
    }
    let ends: Vec<_> = objectives
        .iter()
        .filter(|&&objective| is_least(front, point, objective))
        .map(|objective| match objective {
            Objective::Kld => "loses least",
            Objective::Decode => "decodes fastest",
            Objective::Prefill => "reads prompts fastest",
            Objective::Size => "is smallest",
            Objective::Mismatch => "agrees most often",
        })
        .collect();
    if !ends.is_empty() {
        reasons.push(format!("of the front it {}", ends.join(" and ")));
    }
    if let Some(gain) = &placing.gain {
        reasons.push(format!(
            "against the next smaller one, {}: {}",
            name_of(front, gain.candidate),
            in_words(&gain.differences, objectives)
        ));
    }
    if let Some(against) = &placing.against {
        let more = match placing.beats.saturating_sub(1) {
            0 => String::new(),
            more => format!(", and beats {more} more"),
        };
        reasons.push(format!(
            "beats {}: {}{more}",
            name_of(front, against.candidate),
            in_words(&against.differences, objectives)
        ));
    }
    if reasons.is_empty() {
        reasons.push(unmatched(objectives));
    }
    reasons.join("; ")
}

/// What no other shown point does, of the objectives: each is worse in something.
fn unmatched(objectives: &[Objective]) -> String {
    let as_good = |objective: &Objective| match objective {
        Objective::Kld => "as precise",
        Objective::Decode => "as fast",
        Objective::Prefill => "as fast on prompts",
        Objective::Size => "as small",
        Objective::Mismatch => "as often of one mind",
    };
    let mut words: Vec<_> = objectives.iter().map(as_good).collect();
    let last = words.pop().unwrap_or_default();
    format!("nothing else shown is {} and {last}", words.join(", "))
}

/// The least of the shown points by the means; of points alike, all are.
fn is_least(front: &Front, point: &FrontPoint, objective: Objective) -> bool {
    let Some(figure) = figure(point, objective) else {
        return false;
    };
    let shown = front.on_front().into_iter();
    shown
        .filter_map(|other| self::figure(other, objective))
        .all(|other| figure <= other)
}

fn figure(point: &FrontPoint, objective: Objective) -> Option<f64> {
    match objective {
        Objective::Kld => point.kld(),
        Objective::Decode => point.decode_ns(),
        Objective::Prefill => point.prefill_ns(),
        Objective::Size => Some(point.size_bytes as f64),
        Objective::Mismatch => point.mismatch(),
    }
}

fn unranked(front: &Front, point: &FrontPoint) -> String {
    if let Some(reason) = &point.infeasible {
        return format!("cannot be executed: {reason}");
    }
    if !point.executed_as_planned {
        return "a layer executed in another precision than was asked for".to_owned();
    }
    let quality = point.quality.as_ref().map(|figure| &figure.value);
    if let Some((quality, stopped)) = quality.and_then(|it| Some((it, it.stopped?))) {
        return format!(
            "given up after {} of {} windows: beyond their noise it would not have come out better \
             than {}, which is no larger and no slower",
            quality.kld_windows.len(),
            stopped.windows,
            name_of(front, stopped.behind)
        );
    }
    "not measured whole yet".to_owned()
}

/// The number of a candidate, and its name where it has one: `#7 Q4_K_M`.
pub(crate) fn numbered(point: &FrontPoint) -> String {
    match &point.baseline {
        Some(_) => format!("#{} {}", point.candidate, point.name()),
        None => point.name(),
    }
}

fn name_of(front: &Front, candidate: i64) -> String {
    let mut points = front.points.iter();
    points
        .find(|point| point.candidate == candidate)
        .map_or_else(|| format!("#{candidate}"), numbered)
}

/// The first few of many names.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 6;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

/// The first plan against the second in the objectives: `0.0012 ± 0.0002 less KLD, decode not told
/// apart, 3.1 % fewer bytes`.
fn in_words(differences: &Differences, objectives: &[Objective]) -> String {
    let words: Vec<_> = objectives
        .iter()
        .filter_map(|objective| match objective {
            Objective::Kld => Some(kld(&differences.kld)),
            Objective::Decode => Some(time("decode", differences.decode.as_ref())),
            Objective::Prefill => Some(time("prefill", differences.prefill.as_ref())),
            Objective::Size => Some(size(differences)),
            // It bears limits, and plans are not told apart by it.
            Objective::Mismatch => None,
        })
        .collect();
    words.join(", ")
}

/// A difference of divergences in words: `0.0012 ± 0.0002 less KLD`.
pub(crate) fn kld(difference: &Difference) -> String {
    let amount = amount(difference.mean.abs(), difference.standard_error);
    match difference.ordering() {
        Ordering::Less => format!("{amount} less KLD"),
        Ordering::Greater => format!("{amount} more KLD"),
        Ordering::Equal => "KLD not told apart".to_owned(),
    }
}

/// A figure with its standard error, in as many digits as the error makes sense of.
pub(crate) fn amount(value: f64, error: f64) -> String {
    if !(error.is_finite() && error > 0.0) {
        return three_digits(value);
    }
    let decimals = (-error.log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$} ± {error:.decimals$}")
}

/// A ratio of times in words: `decode 4.2 % shorter`.
pub(crate) fn time(what: &str, ratio: Option<&Ratio>) -> String {
    let Some(ratio) = ratio else {
        return format!("{what} not compared");
    };
    match ratio.ordering() {
        Ordering::Less => format!("{what} {} shorter", percent(1.0 - ratio.value)),
        Ordering::Greater => format!("{what} {} longer", percent(ratio.value - 1.0)),
        Ordering::Equal => format!("{what} not told apart"),
    }
}

/// A difference in size in words: `3.1 % fewer bytes`.
pub(crate) fn size(differences: &Differences) -> String {
    match differences.size_bytes {
        0 => "the same size".to_owned(),
        ..0 => format!("{} fewer bytes", share(1.0 - differences.size_ratio)),
        _ => format!("{} more bytes", share(differences.size_ratio - 1.0)),
    }
}

fn share(share: f64) -> String {
    if share < 0.0005 {
        return "under 0.1 %".to_owned();
    }
    percent(share)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bitfront_model::{Against, Interval, Placing};

    fn differences(size_bytes: i64, kld: f64, decode: f64) -> Differences {
        let around = |value: f64, half: f64, confidence| Interval {
            low: value - half,
            high: value + half,
            confidence,
        };
        Differences {
            size_bytes,
            size_ratio: 1.0 + size_bytes as f64 / 1e6,
            kld: Difference {
                mean: kld,
                standard_error: 0.0002,
                interval: around(kld, 0.0004, 0.95),
                windows: 16,
            },
            decode: Some(Ratio {
                value: decode,
                interval: around(decode, 0.02, 0.9),
            }),
            prefill: None,
        }
    }

    fn placed(on_front: bool, placing: Placing) -> String {
        let mut front = crate::testing::front();
        let position = front.points.len() / 2;
        front.points[position].on_front = on_front;
        front.points[position].placing = placing;
        why(&front, &front.points[position])
    }

    #[test]
    fn every_place_is_explained_with_what_it_was_compared_with() {
        let front = crate::testing::front();
        let preset = |point: &&FrontPoint| point.preset() == Some("Q4_K_M");
        let candidate = front.points.iter().find(preset).unwrap().candidate;
        let against = |size_bytes, kld, decode| {
            Some(Against {
                candidate,
                differences: differences(size_bytes, kld, decode),
            })
        };
        let rows = [
            placed(
                true,
                Placing {
                    class: vec![12, 40],
                    beats: 5,
                    gain: against(62_000, -0.0012, 1.001),
                    against: against(-31_000, -0.0012, 1.001),
                    ..Placing::default()
                },
            ),
            placed(true, Placing::default()),
            placed(
                false,
                Placing {
                    class_of: Some(candidate),
                    against: against(31_000, 0.0, 1.0),
                    ..Placing::default()
                },
            ),
            placed(
                false,
                Placing {
                    against: against(0, 0.0012, 1.07),
                    ..Placing::default()
                },
            ),
            placed(false, Placing::default()),
        ];
        insta::assert_snapshot!(rows.join("\n"));
    }

    #[test]
    fn long_classes_are_cut_and_small_shares_are_said() {
        let names: Vec<_> = (0..9).map(|number| format!("#{number}")).collect();
        assert_eq!(some(&names), "#0, #1, #2, #3, #4, #5 and 3 more");
        assert_eq!(some(&names[..6]), "#0, #1, #2, #3, #4, #5");
        assert_eq!(share(0.0001), "under 0.1 %");
        assert_eq!(share(0.031), "3.1 %");
    }
}
