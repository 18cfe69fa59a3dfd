//! What is read out of a coordinator's answers, beyond what they say themselves.

use std::time::{Duration, SystemTime};

use bitfront_model::{Front, FrontPoint, Latency, Limits, ModelSpec};

use crate::args::By;

/// What is read out of one measured candidate.
pub(crate) trait PointView {
    /// The decode figure.
    fn decode(&self) -> Option<&Latency>;
    /// The prefill figure.
    fn prefill(&self) -> Option<&Latency>;
    /// What it is called on screens: the baseline's name, or the candidate's number.
    fn name(&self) -> String;
    /// True where it was measured whole, executed as asked for, and keeps the limits.
    fn keeps(&self, limits: &Limits) -> bool;
}

impl PointView for FrontPoint {
    fn decode(&self) -> Option<&Latency> {
        latency_of(self, true)
    }

    fn prefill(&self) -> Option<&Latency> {
        latency_of(self, false)
    }

    fn name(&self) -> String {
        match (self.preset(), &self.baseline) {
            (Some(preset), _) => preset.to_owned(),
            (None, Some(baseline)) => baseline.clone(),
            (None, None) => format!("#{}", self.candidate),
        }
    }

    fn keeps(&self, limits: &Limits) -> bool {
        let (Some(kld), Some(mismatch), Some(decode)) =
            (self.kld(), self.mismatch(), self.decode())
        else {
            return false;
        };
        let fast = |most: Duration| decode.median_ns <= most.as_nanos() as f64;
        self.infeasible.is_none()
            && self.executed_as_planned
            && limits.max_kld.is_none_or(|most| kld <= most)
            && limits
                .max_size_bytes
                .is_none_or(|most| self.size_bytes <= most)
            && limits.max_decode.is_none_or(fast)
            && limits.max_mismatch().is_none_or(|most| mismatch <= most)
    }
}

fn latency_of(point: &FrontPoint, decode: bool) -> Option<&Latency> {
    let latencies = &point.latency.as_ref()?.value;
    latencies
        .iter()
        .find(|latency| latency.workload.is_decode() == decode)
}

/// What counts among the plans within limits where nobody said: with a bound on the loss, how small
/// a plan is; without one, how little it loses, since the smallest plan is then simply the worst.
pub(crate) fn usual_order(limits: &Limits) -> By {
    match (limits.max_kld, limits.min_same_top) {
        (None, None) => By::Kld,
        _ => By::Size,
    }
}

/// What is read out of everything that was measured in one search.
pub(crate) trait FrontView {
    /// The points that nothing dominates, from small to large.
    fn on_front(&self) -> Vec<&FrontPoint>;
    /// Where more of one thing starts to cost much of another.
    fn knee(&self) -> Option<&FrontPoint>;
    /// The best of the measured plans within limits, confirmed ones before all others, whose
    /// figures are too kind; among equals the smaller one.
    fn best_within(&self, limits: &Limits, by: By) -> Option<&FrontPoint>;
    /// The model that was searched.
    fn spec(&self) -> &ModelSpec;
}

impl FrontView for Front {
    fn on_front(&self) -> Vec<&FrontPoint> {
        let mut points: Vec<_> = self.points.iter().filter(|point| point.on_front).collect();
        points.sort_by_key(|point| (point.size_bytes, point.candidate));
        points
    }

    fn knee(&self) -> Option<&FrontPoint> {
        self.points.iter().find(|point| point.is_knee)
    }

    fn best_within(&self, limits: &Limits, by: By) -> Option<&FrontPoint> {
        let figure = |point: &FrontPoint| match by {
            By::Decode => point.decode_ns(),
            By::Prefill => point.prefill_ns(),
            By::Size => Some(point.size_bytes as f64),
            By::Kld => point.kld(),
        };
        self.points
            .iter()
            .filter(|point| point.keeps(limits))
            .filter_map(|point| Some((point, figure(point)?)))
            .min_by(|(one, first), (other, second)| {
                one.confirmation
                    .is_none()
                    .cmp(&other.confirmation.is_none())
                    .then(first.total_cmp(second))
                    .then(one.size_bytes.cmp(&other.size_bytes))
                    .then(one.candidate.cmp(&other.candidate))
            })
            .map(|(point, _)| point)
    }

    fn spec(&self) -> &ModelSpec {
        &self.status.request.spec
    }
}

/// The moment that a number of milliseconds since the Unix epoch means.
pub(crate) fn time(milliseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.max(0).unsigned_abs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bound_on_the_loss_the_plan_that_loses_least_is_best() {
        let front = crate::testing::front();
        let mut sizes: Vec<_> = front.points.iter().map(|point| point.size_bytes).collect();
        sizes.sort_unstable();
        let mut limits = Limits {
            max_size_bytes: Some(sizes[sizes.len() / 2]),
            ..Limits::default()
        };
        let best = front.best_within(&limits, usual_order(&limits)).unwrap();
        let within = || front.points.iter().filter(|point| point.keeps(&limits));
        let least = within().map(|point| point.kld().unwrap());
        assert_eq!(best.kld(), least.reduce(f64::min));
        assert!(within().any(|point| point.size_bytes < best.size_bytes));
        limits.max_kld = Some(1.0);
        assert_eq!(usual_order(&limits), By::Size);
        let accurate = Limits {
            min_same_top: Some(0.9),
            ..Limits::default()
        };
        assert_eq!(usual_order(&accurate), By::Size);
    }

    #[test]
    fn the_best_plan_keeps_the_limits_and_is_least_in_what_counts() {
        let mut front = crate::testing::front();
        let limits = Limits {
            max_kld: Some(0.01),
            ..Limits::default()
        };
        let best = front.best_within(&limits, By::Size).unwrap();
        assert!(best.kld().unwrap() <= 0.01);
        let smaller: Vec<_> = front
            .points
            .iter()
            .filter(|point| point.size_bytes < best.size_bytes && point.kld().unwrap() <= 0.01)
            .map(|point| point.name())
            .collect();
        assert_eq!(smaller, Vec::<String>::new());

        let candidate = best.candidate;
        for point in &mut front.points {
            point.executed_as_planned = point.candidate != candidate;
        }
        let next = front.best_within(&limits, By::Size).unwrap();
        assert_ne!(next.candidate, candidate);

        let impossible = Limits {
            max_kld: Some(1e-12),
            ..Limits::default()
        };
        assert!(front.best_within(&impossible, By::Kld).is_none());
    }
}
