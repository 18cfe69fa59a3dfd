//! Devices that get other divergences than the search has for the same windows.

use std::collections::BTreeMap;

use bitfront_model::{Figure, Front, FrontPoint, Quality, Rescoring};

use crate::confirmation::median;
use crate::figures::{count, three_digits};

/// What the device that confirmed a point made of windows that the search had scored.
pub(crate) fn rescoring(point: &FrontPoint) -> Option<&Rescoring> {
    point.confirmation.as_ref()?.rescoring.as_ref()
}

/// One of the devices that scored a point computes something else than their class says.
pub(crate) fn deviates(point: &FrontPoint) -> bool {
    rescoring(point).is_some_and(|rescoring| rescoring.deviates)
}

/// Who disagrees about a point, and by how much; none where nobody does.
pub(crate) fn told(point: &FrontPoint) -> Option<String> {
    let rescoring = rescoring(point).filter(|rescoring| rescoring.deviates)?;
    let (searched, confirmed) = scored_by(point)?;
    Some(format!(
        "on the same windows {confirmed} gets {} times what {searched} got (≠)",
        three_digits(rescoring.ratio)
    ))
}

/// One line for every pair of devices that disagree, each with its end: who they are, by how much,
/// and what to do; empty where all agree.
pub(crate) fn legend(front: &Front) -> String {
    let mut pairs: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for point in front.points.iter().filter(|point| deviates(point)) {
        if let (Some(pair), Some(rescoring)) = (scored_by(point), rescoring(point)) {
            pairs.entry(pair).or_default().push(rescoring.ratio);
        }
    }
    let class = front.status.numerics_class.as_ref();
    let class = class.map_or_else(String::new, |class| format!(" ({class})"));
    let line = |((searched, confirmed), ratios): ((String, String), Vec<f64>)| {
        let points = count(ratios.len() as u64, "point");
        let times = three_digits(median(ratios.into_iter()).unwrap_or(f64::NAN));
        let (found, todo) = match searched == confirmed {
            true => (
                format!(
                    "{confirmed} gets {times} times its own earlier divergences for the same \
                     windows ({points}): its arithmetic does not repeat"
                ),
                "check its memory and clocks",
            ),
            false => (
                format!(
                    "{confirmed} gets {times} times the divergences of {searched} for the same \
                     windows ({points}), more than devices of one numerics class{class} can \
                     differ by: one of the two computes something else"
                ),
                "give both one version of bitfront and check their memory and clocks",
            ),
        };
        format!(
            "≠ {found}; {todo}, then search again over a new database, since this one hands its \
             qualities on\n"
        )
    };
    pairs.into_iter().map(line).collect()
}

/// The device that scored a point for the search and the one that confirmed it.
fn scored_by(point: &FrontPoint) -> Option<(String, String)> {
    let searched = point.confirmation.as_ref()?.searched_quality.as_ref()?;
    let confirmed = point.quality.as_ref()?;
    Some((named(searched, confirmed), named(confirmed, searched)))
}

/// The device that scored one figure, with what tells it from that of another.
fn named(figure: &Figure<Quality>, other: &Figure<Quality>) -> String {
    let (ours, theirs) = (&figure.evidence.environment, &other.evidence.environment);
    let mut more = Vec::new();
    if ours.host != theirs.host {
        more.push(format!("host {}", ours.host));
    }
    if ours.agent_version != theirs.agent_version {
        more.push(format!("bitfront {}", ours.agent_version));
    }
    match more.is_empty() {
        true => format!("`{}`", figure.device),
        false => format!("`{}` ({})", figure.device, more.join(", ")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn who_disagrees_is_named_with_what_to_do() {
        let mut front = testing::front();
        testing::confirm(&mut front);
        assert_eq!(legend(&front), "");
        let confirmed = front.points.iter_mut();
        let mut confirmed = confirmed.filter(|point| point.confirmation.is_some());
        for (device, ratio) in [
            ("laptop", 0.8),
            ("other", 1.5),
            ("other", 1.25),
            ("other", 1.0),
        ] {
            let point = confirmed.next().unwrap();
            testing::rescore(point, device, ratio);
            if ratio == 1.5 {
                let evidence = &mut point.quality.as_mut().unwrap().evidence;
                evidence.environment.host = "there".to_owned();
                evidence.environment.agent_version = "0.2.0".to_owned();
            }
        }
        let told: Vec<_> = front.points.iter().filter_map(told).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        insta::assert_snapshot!(legend(&front) + &told.join("\n"));
    }
}
