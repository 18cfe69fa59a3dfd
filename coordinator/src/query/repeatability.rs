//! How far apart two timings of one plan lie on a device, beyond what either knows of itself.
//!
//! The interval of a timing comes from its own blocks, a second or two. Where in memory matrices
//! came to lie, what a neighbour in the same package does to the caches: such things stay for that
//! long and change afterwards, so that another timing of the same plan may lie outside. The points
//! that are confirmed were timed twice, which shows how much that is (the repeatability of ISO
//! 5725-1: the same device, model and workload, another time).

use bitfront_model::{FrontPoint, Interval, Latency, Repeatability, Workload};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

use super::confirmation::apart;

/// Fewest plans that were timed twice whose spread says anything: of fewer the largest change, which
/// may be that of a plan that something happened to, would decide.
const LEAST: usize = 8;

/// How sure it is that the repeatability is no larger than what is found.
const SURE: f64 = 0.95;

/// The median of the absolute value of a standard normal variable: from a median to a standard
/// deviation.
pub(super) const MEDIAN_OF_NORMAL: f64 = 0.674_489_75;

/// Widens the intervals of the published times, and of those that they replaced, by what two
/// timings of one plan are apart beyond their own intervals, and marks the points whose two times
/// are apart even so.
pub(super) fn widen(points: &mut [FrontPoint], workloads: &[Workload]) {
    for &workload in workloads {
        let changes: Vec<_> = points
            .iter()
            .filter_map(|point| Change::of(point, workload))
            .collect();
        let deviation = deviation(&changes);
        for point in &mut *points {
            let Some((fresh, searched)) = both(point, workload) else {
                continue;
            };
            for latency in [&mut *fresh, &mut *searched] {
                if let Some(deviation) = deviation.filter(|&it| it > 0.0) {
                    add(latency, deviation);
                }
            }
            let apart = apart(
                (fresh.interval.low, fresh.interval.high),
                (searched.interval.low, searched.interval.high),
            );
            if let Some(confirmation) = &mut point.confirmation {
                confirmation.differs |= apart;
                let known = deviation.map(|deviation| Repeatability {
                    workload,
                    deviation,
                });
                confirmation.repeatability.extend(known);
            }
        }
    }
}

/// Two timings of one plan under one workload, on a logarithmic scale.
struct Change {
    /// The second ratio to the anchor over the first.
    change: f64,
    /// What the intervals of both let expect of its square.
    expected: f64,
}

impl Change {
    /// None where a plan was not timed twice beside the same anchor.
    fn of(point: &FrontPoint, workload: Workload) -> Option<Self> {
        let searched = point.confirmation.as_ref()?.searched_latency.as_ref()?;
        let fresh = of_workload(&point.latency.as_ref()?.value, workload)?;
        let searched = of_workload(&searched.value, workload)?;
        let (fresh, searched) = (fresh.paired.as_ref()?, searched.paired.as_ref()?);
        if fresh.anchor != searched.anchor {
            return None;
        }
        Some(Self {
            change: (fresh.ratio / searched.ratio).ln(),
            expected: variance(fresh.ratio_interval)? + variance(searched.ratio_interval)?,
        })
    }
}

/// The variance of the logarithm that an interval stands for; none of one that promises little.
fn variance(interval: Interval) -> Option<f64> {
    let half = (interval.high / interval.low).ln() / 2.0;
    let deviation = half / errors(interval)?;
    Some(deviation * deviation)
}

/// Standard deviations on either side of the middle that hold as much as an interval promises, of
/// one that promises more than a coin.
pub(super) fn errors(interval: Interval) -> Option<f64> {
    let normal = Normal::standard();
    (interval.confidence > 0.5 && interval.confidence < 1.0)
        .then(|| normal.inverse_cdf(0.5 + interval.confidence / 2.0))
}

/// The standard deviation of one timing that its own interval does not have, as a share of the
/// time: what is left of the variance of the changes once that of both timings is taken off, for
/// one of the two. None of few plans.
///
/// The variance is that of a normal variable with the same median of absolute values, so that a few
/// plans that something happened to are marked and do not widen all others. That median is only
/// known from so many plans, and the intervals of a search are wide beside what is looked for: it is
/// the upper limit of the median that counts, so that what could not be seen is in the intervals and
/// not taken for nothing. What all plans changed by together counts: another day may do the same.
fn deviation(changes: &[Change]) -> Option<f64> {
    if changes.len() < LEAST {
        return None;
    }
    let spread = upper_median(changes.iter().map(|it| it.change.abs()).collect())?;
    let found = (spread / MEDIAN_OF_NORMAL) * (spread / MEDIAN_OF_NORMAL);
    let expected = median(changes.iter().map(|it| it.expected).collect());
    Some(((found - expected).max(0.0) / 2.0).sqrt())
}

/// The smallest of the values that the median of what they are drawn from exceeds with no more than
/// the doubt that is left, by order statistics. None of too few.
fn upper_median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let below = Binomial::new(0.5, values.len() as u64).ok()?;
    let place = (0..values.len()).find(|&place| below.cdf(place as u64) >= SURE)?;
    values.get(place).copied()
}

/// The upper median.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn of_workload(latencies: &[Latency], workload: Workload) -> Option<&Latency> {
    latencies.iter().find(|it| it.workload == workload)
}

/// The published time of a point and the one that it replaced.
fn both(point: &mut FrontPoint, workload: Workload) -> Option<(&mut Latency, &mut Latency)> {
    let fresh = &mut point.latency.as_mut()?.value;
    let searched = &mut point
        .confirmation
        .as_mut()?
        .searched_latency
        .as_mut()?
        .value;
    let of_workload = |it: &&mut Latency| it.workload == workload;
    Some((
        fresh.iter_mut().find(of_workload)?,
        searched.iter_mut().find(of_workload)?,
    ))
}

/// Adds a standard deviation of the time to the intervals of a timing: independent errors add up in
/// their squares.
fn add(latency: &mut Latency, deviation: f64) {
    let wider = |middle: f64, interval: &mut Interval| {
        let Some(errors) = errors(*interval) else {
            return;
        };
        let more = errors * deviation;
        interval.low = middle * (-(middle / interval.low).ln().hypot(more)).exp();
        interval.high = middle * (interval.high / middle).ln().hypot(more).exp();
    };
    wider(latency.median_ns, &mut latency.interval);
    if let Some(paired) = &mut latency.paired {
        wider(paired.ratio, &mut paired.ratio_interval);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests;
