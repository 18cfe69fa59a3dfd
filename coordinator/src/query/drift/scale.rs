//! How long the anchor took all through a search, by every timing that it stood beside.
//!
//! A search puts its times on the scale of its first timing, which is one moment. Held against
//! another search that moment would be the whole difference, and many plans would say no more than
//! one. So the ratios of a search are multiplied with the middle of all its moments.

use bitfront_model::{FrontPoint, Workload};

use super::figures::timings;
use crate::query::repeatability::{MEDIAN_OF_NORMAL, median};
use crate::query::turns;

/// Fewest timings whose spread says anything.
pub(super) const LEAST_TIMINGS: u64 = 6;

/// Plans of one lease, which stand beside the same turns of the anchor.
const TOGETHER: usize = 4;

/// The anchor's time all through a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    /// Its median over the timings, in nanoseconds of a pass or step.
    pub(super) ns: f64,
    /// How far this scale lies from that of another night on which nothing moved: a standard
    /// deviation, as a share.
    ///
    /// Two searches alone do not show how much nights differ. They are taken to do so as much as
    /// timings of one night do; the error of the median comes on top.
    pub(super) deviation: f64,
}

impl Scale {
    /// Of a workload; the number of timings where they are too few.
    pub(super) fn of(points: &[FrontPoint], workload: Workload) -> Result<Self, u64> {
        let of_workload = points
            .iter()
            .flat_map(timings)
            .flat_map(|it| &it.value)
            .filter(|latency| latency.workload == workload)
            .filter_map(|latency| latency.paired.as_ref());
        let mut times = Vec::new();
        for (samples, plans) in turns::leases(of_workload) {
            let samples = samples.iter().map(|&sample| sample as f64);
            let time = median(samples.collect()).ln();
            // What was timed together counts once, also on a device whose clock never varies.
            times.extend(std::iter::repeat_n(time, plans.div_ceil(TOGETHER)));
        }
        let timings = times.len() as u64;
        if timings < LEAST_TIMINGS {
            return Err(timings);
        }
        let middle = median(times.clone());
        let apart = times.iter().map(|time| (time - middle).abs()).collect();
        let spread = median(apart) / MEDIAN_OF_NORMAL;
        // The variance of the median of normal variables is that of their mean times π/2.
        let error = std::f64::consts::FRAC_PI_2 / timings as f64;
        Ok(Self {
            ns: middle.exp() / f64::from(workload.steps()),
            deviation: spread * (1.0 + error).sqrt(),
        })
    }
}
