//! How evenly a device times.
//!
//! Every timing has its anchor beside it, which is the same plan all through a search. So the
//! anchor's own time, timing after timing, shows how much the time of one plan changes on the
//! device, without a measurement made for that.

use bitfront_model::{Latency, Outcome, TimingNoise};

use super::repeatability::{MEDIAN_OF_NORMAL, median};
use super::turns;
use crate::store::DeviceMeasurement;

/// The latest measurements of a device that are looked at, of whatever kind.
pub(super) const MOST_LATEST: u32 = 64;

/// Fewest timings whose spread says anything.
const LEAST: usize = 6;

/// The noise of a device's latest timings: those of the search that it timed for last, beside the
/// anchor of then, under the workload that is decode. The newest measurement comes first.
///
/// The spread is that of a normal variable with the same median of absolute deviations, so that a
/// few timings that something happened to do not stand for all. None of few timings.
pub(super) fn noise(latest: &[DeviceMeasurement]) -> Option<TimingNoise> {
    let mut newest = None;
    let mut timings = Vec::new();
    for (search, latency) in latest.iter().filter_map(decode) {
        let Some(paired) = &latency.paired else {
            continue;
        };
        let beside = (search, latency.workload, paired.anchor);
        if *newest.get_or_insert(beside) != beside {
            continue;
        }
        timings.push(paired);
    }
    let (_, workload, anchor) = newest?;
    let leases = turns::leases(timings);
    if leases.len() < LEAST {
        return None;
    }
    let times = leases.iter().map(|(samples, _)| {
        let samples = samples.iter().map(|&sample| sample as f64);
        median(samples.collect()).ln()
    });
    let times: Vec<_> = times.collect();
    let middle = median(times.clone());
    let apart = times.iter().map(|time| (time - middle).abs());
    Some(TimingNoise {
        deviation: median(apart.collect()) / MEDIAN_OF_NORMAL,
        timings: times.len() as u64,
        anchor,
        workload,
    })
}

/// The decode of a timing, with the search that it was taken for.
fn decode(measured: &DeviceMeasurement) -> Option<(i64, &Latency)> {
    match &measured.measurement.outcome {
        Outcome::Latency { workloads } => {
            let latency = workloads.iter().find(|it| it.workload.is_decode())?;
            Some((measured.search, latency))
        }
        Outcome::Quality(_) | Outcome::Infeasible { .. } => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
