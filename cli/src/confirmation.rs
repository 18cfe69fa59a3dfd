//! How much a front's figures changed when they were measured afresh.

use bitfront_model::{DataSpec, Figure, Front, FrontPoint, Latency};

use crate::figures::percent;

/// What will be confirmed, said before any work starts.
pub(crate) fn announcement(data: &DataSpec) -> String {
    let scored = data.evaluation_windows;
    match data.held_back {
        Some(held_back) if held_back.windows == scored => format!(
            "the front is confirmed at the end, after the budget: quality on {scored} windows \
             that the search never scores"
        ),
        Some(held_back) => format!(
            "the front is confirmed at the end, after the budget: quality on {} windows only, \
             the text has no more beside the {scored} that are scored; score fewer or give a \
             longer text",
            held_back.windows
        ),
        None => format!(
            "the front's times are confirmed at the end, its quality is not: the text has no \
             windows left beside the {scored} that are scored; score fewer or give a longer text"
        ),
    }
}

/// The relative change of the divergence: fresh by the search's own, less one.
pub(crate) fn kld_change(point: &FrontPoint) -> Option<f64> {
    change(point.kld()?, searched_kld(point)?)
}

/// The relative change of the time of a decode step.
pub(crate) fn decode_change(point: &FrontPoint) -> Option<f64> {
    change(point.decode_ns()?, searched_ns(point, true)?)
}

/// The divergence that the search itself measured.
pub(crate) fn searched_kld(point: &FrontPoint) -> Option<f64> {
    let confirmation = point.confirmation.as_ref()?;
    Some(confirmation.searched_quality.as_ref()?.value.kld)
}

/// The median time that the search itself measured, of decode or prefill.
pub(crate) fn searched_ns(point: &FrontPoint, decode: bool) -> Option<f64> {
    let confirmation = point.confirmation.as_ref()?;
    median_ns(confirmation.searched_latency.as_ref()?, decode)
}

/// The median time of a timing, of decode or prefill.
pub(crate) fn median_ns(timing: &Figure<Vec<Latency>>, decode: bool) -> Option<f64> {
    let mut latencies = timing.value.iter();
    let of_workload = latencies.find(|latency| latency.workload.is_decode() == decode);
    of_workload.map(|latency| latency.median_ns)
}

/// The timing that the search goes by, whether or not a fresh one is published.
pub(crate) fn searched_latency(point: &FrontPoint) -> Option<&Figure<Vec<Latency>>> {
    match &point.confirmation {
        Some(confirmation) => confirmation.searched_latency.as_ref(),
        None => point.latency.as_ref(),
    }
}

fn change(fresh: f64, searched: f64) -> Option<f64> {
    (searched > 0.0).then(|| fresh / searched - 1.0)
}

/// One line about what confirming changed; none where nothing is confirmed.
///
/// Quality is confirmed on other windows, which may be harder or easier for every plan. What the
/// baselines off the front changed by, which nobody chose by their figures, tells how much of a
/// change that is.
pub(crate) fn conclusion(front: &Front) -> Option<String> {
    let of_front: Vec<_> = front
        .points
        .iter()
        .filter(|point| point.was_on_front && point.confirmation.is_some())
        .collect();
    let (first, _) = of_front.split_first()?;
    let has_quality = searched_kld(first).is_some();
    let held_back = front.status.request.subject.data.held_back;
    let how = match held_back.filter(|_| has_quality) {
        Some(held_back) => format!("confirmed on {} held-back windows", held_back.windows),
        None => "times confirmed, quality not (no windows were left)".to_owned(),
    };
    let mut changes = Vec::new();
    if let Some(change) = median(of_front.iter().filter_map(|point| kld_change(point))) {
        changes.push(format!("KLD {}", signed(change)));
    }
    if let Some(change) = median(of_front.iter().filter_map(|point| decode_change(point))) {
        changes.push(format!("decode {}", signed(change)));
    }
    let others = front
        .points
        .iter()
        .filter(|point| point.baseline.is_some() && !point.was_on_front);
    let others = median(others.filter_map(kld_change)).map_or_else(String::new, |change| {
        format!(" (baselines off the front: KLD {})", signed(change))
    });
    // What cannot be told apart from a smaller point of the front has not left it.
    let has_left = |point: &&&FrontPoint| !point.on_front && point.placing.class_of.is_none();
    let left = of_front.iter().filter(has_left).count();
    let differing = of_front.iter().filter(|point| differs(point)).count();
    let unconfirmed = front
        .points
        .iter()
        .filter(|point| is_unconfirmed(point))
        .count();
    let mut line = format!(
        "{how}: {} in the median of {} points{others}; {left} left the front",
        changes.join(", "),
        of_front.len()
    );
    if differing > 0 {
        line += &format!("; {differing} (!) differ beyond both intervals");
    }
    if let Some(repeats) = decode_repeatability(first) {
        let share = percent(repeats);
        line += &format!("; timed again, a decode is off by {share} (one standard deviation)");
    }
    if unconfirmed > 0 {
        line += &format!("; {unconfirmed} (?) not confirmed");
    }
    Some(line)
}

/// The standard deviation of one timing of the decode beyond its own interval, as a share.
pub(crate) fn decode_repeatability(point: &FrontPoint) -> Option<f64> {
    let mut known = point.confirmation.as_ref()?.repeatability.iter();
    let decode = known.find(|it| it.workload.is_decode());
    decode.map(|it| it.deviation)
}

/// Points of this front have fresh figures, so it counts which have none.
pub(crate) fn any(front: &Front) -> bool {
    front.points.iter().any(|it| it.confirmation.is_some())
}

/// Its fresh figures and the search's own differ beyond the intervals of both.
pub(crate) fn differs(point: &FrontPoint) -> bool {
    let confirmation = point.confirmation.as_ref();
    confirmation.is_some_and(|confirmation| confirmation.differs)
}

/// The search had it on its front and it has no fresh figures.
pub(crate) fn is_unconfirmed(point: &FrontPoint) -> bool {
    point.was_on_front && point.confirmation.is_none()
}

fn signed(change: f64) -> String {
    format!("{:+.1} %", change * 100.0)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values[low] + values[high]) / 2.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_change_is_the_median_of_what_was_chosen() {
        let mut front = testing::front();
        assert_eq!(conclusion(&front), None);
        testing::confirm(&mut front);
        insta::assert_snapshot!(conclusion(&front).unwrap());
    }

    #[test]
    fn a_text_without_windows_left_is_said_before_any_work() {
        let mut data = testing::front().status.request.subject.data;
        assert!(announcement(&data).contains("quality on 16 windows that"));
        data.held_back.as_mut().unwrap().windows = 3;
        assert!(announcement(&data).contains("on 3 windows only"));
        data.held_back = None;
        assert!(announcement(&data).contains("its quality is not"));
    }

    #[test]
    fn a_median_is_between_the_middle_two() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
    }
}
