//! How two plans differ beyond the noise of their measurements: the statistics alone.

use std::cell::Cell;
use std::cmp::Ordering;

use bitfront_model::{
    Difference, Differences, FrontPoint, Interval, Latency, Objective, Quality, Ratio, stages,
};

use crate::student::{CONFIDENCE, mean_and_error, quantile};

/// Fewest windows whose spread says anything: with as many samples the order statistics of a
/// median reach 95 % too, and below it the factor of Student's t grows beyond all use (12.7 for
/// two windows).
const LEAST_WINDOWS: usize = 6;

/// Compares plans two at a time. It keeps the last quantile of Student's t, which costs more than
/// all the rest of a comparison and is the same for all plans of a search.
#[derive(Default)]
pub(super) struct Paired {
    /// Degrees of freedom, and their quantile.
    quantile: Cell<Option<(u64, f64)>>,
}

impl Paired {
    /// The first plan against the second in every figure; none where one of the divergences is
    /// missing. Times are compared where both were taken under one workload; whether they were
    /// taken on the same hardware is for the caller to know.
    pub(super) fn differences(
        &self,
        first: &FrontPoint,
        second: &FrontPoint,
    ) -> Option<Differences> {
        let kld = self.kld(
            &first.quality.as_ref()?.value,
            &second.quality.as_ref()?.value,
        );
        Some(Differences {
            size_bytes: first.size_bytes.cast_signed() - second.size_bytes.cast_signed(),
            size_ratio: first.size_bytes as f64 / second.size_bytes as f64,
            kld,
            decode: times(first, second, true),
            prefill: times(first, second, false),
        })
    }

    /// Which of two points is better in one figure beyond the noise; neither where one of the two
    /// has no such figure.
    pub(super) fn ordering(
        &self,
        first: &FrontPoint,
        second: &FrontPoint,
        objective: Objective,
    ) -> Ordering {
        let ratio = |decode| {
            let ratio = times(first, second, decode);
            ratio.map_or(Ordering::Equal, |ratio| ratio.ordering())
        };
        match objective {
            Objective::Kld => match (&first.quality, &second.quality) {
                (Some(first), Some(second)) => self.kld(&first.value, &second.value).ordering(),
                _ => Ordering::Equal,
            },
            Objective::Decode => ratio(true),
            Objective::Prefill => ratio(false),
            Objective::Size => first.size_bytes.cmp(&second.size_bytes),
            // It bears limits and is made small by no search; over the same positions the
            // divergence tells plans apart far better.
            Objective::Mismatch => Ordering::Equal,
        }
    }

    /// True where no measured figure tells two points apart.
    pub(super) fn alike(&self, first: &FrontPoint, second: &FrontPoint) -> bool {
        [Objective::Kld, Objective::Decode, Objective::Prefill]
            .into_iter()
            .all(|figure| self.ordering(first, second, figure).is_eq())
    }

    /// The difference of two mean divergences over the same windows.
    ///
    /// Most of what makes a window hard is the same for every plan, so it cancels where the
    /// difference is taken window by window: the interval is that of Student's t for the mean of
    /// paired differences (NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.1.1, "Analysis of
    /// paired observations"). Where scoring stopped early it is taken over the windows that both
    /// were scored on. With fewer than six of them the errors of both means are added instead, as
    /// if the two had nothing in common, with the degrees of freedom of the one that has fewer
    /// windows.
    pub(super) fn kld(&self, first: &Quality, second: &Quality) -> Difference {
        let pairs = pairs(first, second);
        let (mean, standard_error, freedom, windows) = if pairs.len() >= LEAST_WINDOWS {
            let (mean, error) = mean_and_error(&pairs);
            (mean, error, pairs.len() as u64 - 1, pairs.len() as u64)
        } else {
            let error = first.kld_standard_error.hypot(second.kld_standard_error);
            let fewest = first.kld_windows.len().min(second.kld_windows.len()) as u64;
            (first.kld - second.kld, error, fewest.saturating_sub(1), 0)
        };
        let half = self.quantile(freedom) * standard_error;
        Difference {
            mean,
            standard_error,
            interval: Interval {
                low: mean - half,
                high: mean + half,
                confidence: CONFIDENCE,
            },
            windows,
        }
    }

    /// The two-sided quantile of Student's t.
    fn quantile(&self, freedom: u64) -> f64 {
        match self.quantile.get() {
            Some((known, quantile)) if known == freedom => quantile,
            _ => {
                let quantile = quantile(freedom);
                self.quantile.set(Some((freedom, quantile)));
                quantile
            }
        }
    }
}

/// The first plan's divergence less the second's in every window that both were scored on; nothing
/// where they were scored on texts of different length.
fn pairs(first: &Quality, second: &Quality) -> Vec<f64> {
    let whole = |quality: &Quality| match quality.stopped {
        Some(stopped) => stopped.windows,
        None => quality.kld_windows.len() as u64,
    };
    if whole(first) != whole(second) {
        return Vec::new();
    }
    let difference = |(ours, theirs): (&f64, &f64)| ours - theirs;
    if first.stopped.is_none() && second.stopped.is_none() {
        let both = first.kld_windows.iter().zip(&second.kld_windows);
        return both.map(difference).collect();
    }
    let order = stages::order(usize::try_from(whole(first)).unwrap_or(0));
    let as_scored = |quality: &Quality| -> Vec<f64> {
        match quality.stopped {
            Some(_) => quality.kld_windows.clone(),
            None => order
                .iter()
                .map(|&place| quality.kld_windows[place])
                .collect(),
        }
    };
    let (first, second) = (as_scored(first), as_scored(second));
    first.iter().zip(&second).map(difference).collect()
}

fn times(first: &FrontPoint, second: &FrontPoint, decode: bool) -> Option<Ratio> {
    let (first, second) = (time(first, decode)?, time(second, decode)?);
    (first.workload == second.workload).then(|| ratio(first, second))
}

fn time(point: &FrontPoint, decode: bool) -> Option<&Latency> {
    let latencies = &point.latency.as_ref()?.value;
    latencies
        .iter()
        .find(|latency| latency.workload.is_decode() == decode)
}

/// The ratio of two times: of their ratios to the anchor where both were timed beside the same one,
/// since the anchor's own error is in both and goes out; else of the times themselves.
///
/// Conservatively, the ends of the intervals that are furthest apart. It fails only where one of
/// the two does, so its confidence is what both leave together (Bonferroni).
pub(super) fn ratio(first: &Latency, second: &Latency) -> Ratio {
    let ((ours, our_interval), (theirs, their_interval)) = match (&first.paired, &second.paired) {
        (Some(first), Some(second)) if first.anchor == second.anchor => (
            (first.ratio, first.ratio_interval),
            (second.ratio, second.ratio_interval),
        ),
        _ => (
            (first.median_ns, first.interval),
            (second.median_ns, second.interval),
        ),
    };
    Ratio {
        value: ours / theirs,
        interval: Interval {
            low: our_interval.low / their_interval.high,
            high: our_interval.high / their_interval.low,
            confidence: (our_interval.confidence + their_interval.confidence - 1.0).max(0.0),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
