//! The figures of one plan in two searches.
//!
//! Like is held against like: figures that both measured afresh to confirm them, which nobody chose
//! by; where one of the two did not, those that the searches steered by, of baselines alone. Of
//! whatever else is on a front the search's own figure is why it is there, so it flatters, and the
//! next measurement looks worse on a device that never changed.

use bitfront_model::{
    Change, Figure, FrontPoint, Interval, Latency, Moved, Quality, Ratio, Verdict, Watched,
    Workload,
};

use super::by_plan;
use super::scale::Scale;
use crate::query::repeatability::errors;
use crate::query::rescoring;
use crate::student::{CONFIDENCE, quantile};

/// The least change of a time that counts, as a share: what is published is timed as exactly.
pub(super) const LEAST_SLOWDOWN: f64 = 0.01;

/// What one search knows of the device it ran on: for every workload the scale of its times, or how
/// many timings there are where those are too few.
pub(super) struct Night(Vec<(Workload, Result<Scale, u64>)>);

impl Night {
    pub(super) fn of(points: &[FrontPoint], workloads: &[Workload]) -> Self {
        let scale = |&workload: &Workload| (workload, Scale::of(points, workload));
        Self(workloads.iter().map(scale).collect())
    }

    /// The scale of a workload, or how many timings there are.
    pub(super) fn scale(&self, workload: Workload) -> Result<Scale, u64> {
        let found = self.0.iter().find(|(of, _)| *of == workload);
        found.map_or(Err(0), |(_, scale)| *scale)
    }
}

/// Every timing of a point that was accepted.
pub(super) fn timings(point: &FrontPoint) -> impl Iterator<Item = &Figure<Vec<Latency>>> {
    let confirmation = point.confirmation.as_ref();
    let searched = confirmation.and_then(|it| it.searched_latency.as_ref());
    [
        point.latency.as_ref(),
        point.first_latency.as_ref(),
        searched,
    ]
    .into_iter()
    .flatten()
}

/// The plans that both searches measured alike, with what became of their figures.
pub(super) fn moved(
    (before, then): (&[FrontPoint], &Night),
    (after, now): (&[FrontPoint], &Night),
    same_held_back: bool,
) -> Vec<Moved> {
    let later = by_plan(after);
    let moved = before.iter().filter_map(|point| {
        let later = later.get(&point.plan.digest())?;
        if !is_measured(point) || !is_measured(later) {
            return None;
        }
        let mut changes = Vec::new();
        changes.extend(quality(point, later, same_held_back).and_then(divergence));
        let (earlier, fresh) = latencies(point, later)?;
        for one in earlier {
            let Some(other) = fresh.iter().find(|it| it.workload == one.workload) else {
                continue;
            };
            let scales = (then.scale(one.workload), now.scale(one.workload));
            if let (Ok(then), Ok(now)) = scales {
                changes.extend(time((one, then), (other, now)));
            }
        }
        (!changes.is_empty()).then(|| Moved {
            before: point.candidate,
            after: later.candidate,
            baseline: point.baseline.clone(),
            size_bytes: point.size_bytes,
            changes,
        })
    });
    moved.collect()
}

/// Its figures are the plan's.
fn is_measured(point: &FrontPoint) -> bool {
    point.infeasible.is_none() && point.executed_as_planned
}

/// The timings of a plan that can be held against each other.
fn latencies<'a>(
    before: &'a FrontPoint,
    after: &'a FrontPoint,
) -> Option<(&'a [Latency], &'a [Latency])> {
    let own = |point: &'a FrontPoint| match &point.confirmation {
        Some(confirmation) => confirmation.searched_latency.as_ref(),
        None => point.latency.as_ref(),
    };
    let (before, after) = if before.confirmation.is_some() && after.confirmation.is_some() {
        (before.latency.as_ref()?, after.latency.as_ref()?)
    } else if before.baseline.is_some() {
        (own(before)?, own(after)?)
    } else {
        return None;
    };
    Some((&before.value, &after.value))
}

/// The qualities of a plan that can be held against each other: of the same windows, and the later
/// one measured since. A quality that was taken over from another search says nothing new.
fn quality<'a>(
    before: &'a FrontPoint,
    after: &'a FrontPoint,
    same_held_back: bool,
) -> Option<(&'a Quality, &'a Quality)> {
    let searched = |point: &'a FrontPoint| {
        let confirmation = point.confirmation.as_ref();
        confirmation.and_then(|it| it.searched_quality.as_ref())
    };
    let (before, after) = match (searched(before), searched(after)) {
        (Some(_), Some(_)) if same_held_back => (before.quality.as_ref()?, after.quality.as_ref()?),
        (earlier, later) if before.baseline.is_some() => (
            earlier.or(before.quality.as_ref())?,
            later.or(after.quality.as_ref())?,
        ),
        _ => return None,
    };
    let is_whole = before.value.stopped.is_none() && after.value.stopped.is_none();
    let is_fresh =
        after.measurement != before.measurement && after.measured_at_ms > before.measured_at_ms;
    (is_whole && is_fresh).then_some((&before.value, &after.value))
}

/// What became of a divergence: window by window, by the rule for devices that score the same
/// windows.
fn divergence((before, after): (&Quality, &Quality)) -> Option<Change> {
    if before.kld_windows.len() != after.kld_windows.len() {
        return None;
    }
    let windows = after.kld_windows.iter().zip(&before.kld_windows);
    let windows = windows.map(|(&after, &before)| (after, before));
    let found = rescoring::of_windows(windows)?;
    let interval = |quality: &Quality| {
        let windows = quality.kld_windows.len() as u64;
        let half = quantile(windows.saturating_sub(1)) * quality.kld_standard_error;
        Interval {
            low: quality.kld - half,
            high: quality.kld + half,
            confidence: CONFIDENCE,
        }
    };
    Some(Change {
        figure: Watched::Kld,
        before: before.kld,
        before_interval: interval(before),
        after: after.kld,
        after_interval: interval(after),
        ratio: Ratio {
            value: found.ratio,
            interval: found.interval?,
        },
        verdict: match (found.deviates, found.ratio > 1.0) {
            (false, _) => Verdict::Unchanged,
            (true, true) => Verdict::Worse,
            (true, false) => Verdict::Better,
        },
    })
}

/// What became of a time, each on the scale of its search; none of one that was timed alone, or
/// whose interval promises too little.
fn time(before: (&Latency, Scale), after: (&Latency, Scale)) -> Option<Change> {
    let figure = Watched::Time(before.0.workload);
    let ((before, before_interval), (after, after_interval)) = (timed(before)?, timed(after)?);
    let ratio = Ratio {
        value: after / before,
        interval: Interval {
            low: after_interval.low / before_interval.high,
            high: after_interval.high / before_interval.low,
            confidence: before_interval.confidence + after_interval.confidence - 1.0,
        },
    };
    Some(Change {
        figure,
        before,
        before_interval,
        after,
        after_interval,
        ratio,
        verdict: verdict(&ratio, LEAST_SLOWDOWN),
    })
}

/// What a ratio says whose interval says something, and which is at least that far from one.
pub(super) fn verdict(ratio: &Ratio, least: f64) -> Verdict {
    let is_little = ratio.value.ln().abs() < least.ln_1p();
    match ratio.ordering() {
        std::cmp::Ordering::Less if !is_little => Verdict::Better,
        std::cmp::Ordering::Greater if !is_little => Verdict::Worse,
        _ => Verdict::Unchanged,
    }
}

/// A time of a night, with where it lies on another one: independent errors add up in their
/// squares.
fn timed((latency, scale): (&Latency, Scale)) -> Option<(f64, Interval)> {
    let paired = latency.paired.as_ref()?;
    let within = paired.ratio_interval;
    let of_scale = errors(within)? * scale.deviation;
    let time = paired.ratio * scale.ns;
    let interval = Interval {
        low: time * (-(paired.ratio / within.low).ln().hypot(of_scale)).exp(),
        high: time * (within.high / paired.ratio).ln().hypot(of_scale).exp(),
        confidence: within.confidence,
    };
    Some((time, interval))
}
