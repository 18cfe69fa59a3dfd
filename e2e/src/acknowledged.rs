//! What was acknowledged to agents, against what a coordinator says is stored.

use std::collections::{BTreeMap, BTreeSet};

use bitfront_model::{Front, FrontPoint, Latency, Outcome, Receipt};

use crate::relay::{Relay, Seen};

/// A search asked for so many plans, each once, and each has measurements of its own.
pub fn check_points(front: &Front, evaluations: u64) {
    let candidates: Vec<_> = front.points.iter().map(|point| point.candidate).collect();
    assert!(
        candidates.is_sorted_by(|one, next| one < next),
        "{candidates:?}"
    );
    assert_eq!(candidates.len() as u64, evaluations);
    let plans: BTreeSet<_> = front
        .points
        .iter()
        .map(|point| point.plan.digest())
        .collect();
    assert_eq!(
        plans.len(),
        front.points.len(),
        "a plan was asked for twice"
    );
    let measurements: Vec<_> = front
        .points
        .iter()
        .flat_map(|point| {
            let quality = point.quality.as_ref().map(|figure| figure.measurement);
            let latency = point.latency.as_ref().map(|figure| figure.measurement);
            [quality.unwrap(), latency.unwrap()]
        })
        .collect();
    let distinct: BTreeSet<_> = measurements.iter().collect();
    assert_eq!(distinct.len(), measurements.len(), "one counts twice");
}

/// What the coordinator acknowledged is what the store holds; gives back the counts in words.
pub fn check_acknowledgements(relays: &[&Relay], front: &Front, stored: u64) -> String {
    let seen = Seen::of_all(relays);
    let seen = &seen;
    let mut epochs = BTreeMap::new();
    let mut candidates = BTreeMap::new();
    for assignment in &seen.handed_out {
        let token = assignment.token;
        let before = epochs.insert(token.task, token.epoch);
        assert!(
            before.is_none_or(|before| before < token.epoch),
            "an epoch came twice or fell: {token:?} after {before:?}"
        );
        let known = candidates.insert(token.task, assignment.candidate);
        assert!(known.is_none_or(|known| known == assignment.candidate));
    }
    let points: BTreeMap<i64, &FrontPoint> = front
        .points
        .iter()
        .map(|point| (point.candidate, point))
        .collect();
    let mut recorded = BTreeSet::new();
    let (mut keys, mut once) = (BTreeSet::new(), BTreeSet::new());
    for (report, receipt) in &seen.acknowledged {
        let key = report.idempotency_key.as_str();
        keys.insert(key);
        match receipt {
            Receipt::Recorded => {
                assert!(
                    once.insert(key),
                    "one report was recorded twice: {report:?}"
                );
                assert!(recorded.insert(report.token.task), "a task ended twice");
                let point = points[&candidates[&report.token.task]];
                assert!(
                    holds(point, &report.measurement.outcome),
                    "lost: {report:?}"
                );
            }
            Receipt::KeptAsRepeat => assert!(once.insert(key), "one repeat was kept twice"),
            // The acknowledgement of the first copy may have died with its coordinator, or come
            // later than this one, from a coordinator that was paused.
            Receipt::AlreadyReported => {}
        }
    }
    let sent: BTreeSet<_> = seen
        .sent
        .iter()
        .map(|report| report.idempotency_key.as_str())
        .collect();
    let mut measured = BTreeMap::new();
    for report in &seen.sent {
        let key = measured
            .entry((report.token.task, report.token.epoch))
            .or_insert(report.idempotency_key.as_str());
        assert_eq!(
            *key, report.idempotency_key,
            "two measurements of one lease"
        );
    }
    let (least, most) = (keys.len() as u64, sent.len() as u64);
    assert!(
        (least..=most).contains(&stored),
        "{stored} measurements in the store, {least} acknowledged, {most} ever sent"
    );
    assert!(stored >= 2 * front.status.evaluated);
    format!(
        "{stored} measurements stored, {least} of them acknowledged ({} answers kept from the \
         agent), {} reports sent of {most} measurements; 0 lost, 0 doubled",
        seen.lost_answers,
        seen.sent.len()
    )
}

/// The point shows this very measurement, sample by sample.
fn holds(point: &FrontPoint, outcome: &Outcome) -> bool {
    let searched = point.confirmation.as_ref();
    match outcome {
        Outcome::Quality(quality) => point
            .quality
            .iter()
            .chain(searched.and_then(|searched| searched.searched_quality.as_ref()))
            .any(|figure| figure.value == *quality),
        Outcome::Latency { workloads } => point
            .latency
            .iter()
            .chain(searched.and_then(|searched| searched.searched_latency.as_ref()))
            .any(|figure| are_samples_of(&figure.value, workloads)),
        Outcome::Infeasible { .. } => point.infeasible.is_some(),
    }
}

/// The same timings; what is published has wider intervals than what was measured.
fn are_samples_of(published: &[Latency], measured: &[Latency]) -> bool {
    let samples = |latency: &Latency| {
        let paired = latency.paired.as_ref();
        let anchor = paired.map(|paired| (paired.ratio, paired.anchor_samples_ns.clone()));
        (
            latency.workload,
            latency.samples_ns.clone(),
            latency.median_ns,
            anchor,
        )
    };
    published
        .iter()
        .map(samples)
        .eq(measured.iter().map(samples))
}
