use bitfront_model::{AnchorTime, Digest, Paired};
use fastrand::Rng;

use super::*;
use crate::query::confirmation::tests::{confirmed, figure};

pub(in crate::query) const DECODE: Workload = Workload::Decode {
    context: 64,
    tokens: 16,
    batch: 1,
};

const NORMAL_95: f64 = 1.96;

/// What one timing knows of its own noise, as a share.
pub(in crate::query) const OWN: f64 = 0.004;

/// A timing beside the anchor that found this ratio.
pub(in crate::query) fn timing(ratio: f64, anchor: &str) -> Latency {
    let interval = |middle: f64| Interval {
        low: middle * (-NORMAL_95 * OWN).exp(),
        high: middle * (NORMAL_95 * OWN).exp(),
        confidence: 0.95,
    };
    let median_ns = 1e6 * ratio;
    Latency {
        workload: DECODE,
        samples_ns: vec![median_ns as u64; 6],
        median_ns,
        interval: interval(median_ns),
        warm_up_ns: 1,
        percentiles: Vec::new(),
        paired: Some(Paired {
            anchor: Digest::of(anchor),
            ratio,
            ratio_interval: interval(ratio),
            samples_per_block: 1,
            anchor_samples_ns: vec![1_000_000; 6],
            anchor_samples_per_block: 1,
            discarded_blocks: 0,
            waited_ns: 0,
            reference: AnchorTime {
                workload: DECODE,
                median_ns: 1e6,
                interval: interval(1e6),
            },
            noisy: false,
        }),
    }
}

/// A plan that was timed twice.
pub(in crate::query) fn twice(candidate: i64, searched: Latency, fresh: Latency) -> FrontPoint {
    let mut point = confirmed(candidate, 0.01, 0.01);
    point.latency = Some(figure(vec![fresh]));
    point.confirmation.as_mut().unwrap().searched_latency = Some(figure(vec![searched]));
    point
}

pub(in crate::query) fn normal(random: &mut Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

/// Plans that truly take twice the anchor's time, on a device whose timings lie apart by `between`.
fn device(between: f64, plans: i64) -> Vec<FrontPoint> {
    let mut random = Rng::with_seed(9);
    let mut found = || {
        let apart = between * normal(&mut random) + OWN * normal(&mut random);
        timing(2.0 * apart.exp(), "anchor")
    };
    (0..plans)
        .map(|plan| twice(plan, found(), found()))
        .collect()
}

fn known(points: &[FrontPoint]) -> Option<f64> {
    let confirmation = points[0].confirmation.as_ref().unwrap();
    let known = confirmation.repeatability.iter();
    let known: Vec<_> = known.map(|it| (it.workload, it.deviation)).collect();
    assert!(known.iter().all(|it| it.0 == DECODE) && known.len() < 2);
    known.first().map(|it| it.1)
}

fn ratio_interval(point: &FrontPoint) -> Interval {
    let latency = &point.latency.as_ref().unwrap().value[0];
    latency.paired.as_ref().unwrap().ratio_interval
}

/// The share of plans whose published interval holds the true ratio.
fn holding(points: &[FrontPoint]) -> f64 {
    let hold = points.iter().filter(|point| {
        let interval = ratio_interval(point);
        interval.low <= 2.0 && 2.0 <= interval.high
    });
    hold.count() as f64 / points.len() as f64
}

fn marked(points: &[FrontPoint]) -> Vec<i64> {
    let differ = |point: &&FrontPoint| point.confirmation.as_ref().unwrap().differs;
    let marked = points.iter().filter(differ);
    marked.map(|point| point.candidate).collect()
}

#[test]
fn intervals_hold_the_truth_where_timings_lie_apart() {
    let mut points = device(0.015, 400);
    assert!(holding(&points) < 0.5, "{}", holding(&points));
    widen(&mut points, &[DECODE]);
    let deviation = known(&points).unwrap();
    assert!((0.95..1.25).contains(&(deviation / 0.015)), "{deviation}");
    let held = holding(&points);
    assert!((0.94..0.985).contains(&held), "{held}");
    let (ratio, absolute) = (
        ratio_interval(&points[7]),
        points[7].latency.as_ref().unwrap().value[0].interval,
    );
    assert!((absolute.low / ratio.low / 1e6 - 1.0).abs() < 1e-9);
    // Intervals of 95 % that do not overlap are rarer than one in twenty.
    assert!(marked(&points).len() < 20, "{:?}", marked(&points));
}

/// Of many devices with few plans each, whose timings lie apart by no more than what each knows of
/// its own noise, which a plain estimate takes for nothing on every other device.
#[test]
fn of_few_plans_intervals_are_rather_too_wide() {
    for plans in [8, 20, 44] {
        let mut random = Rng::with_seed(plans);
        let mut held = 0.0;
        for _ in 0..200 {
            let mut found = || {
                let apart = OWN * normal(&mut random) + OWN * normal(&mut random);
                timing(2.0 * apart.exp(), "anchor")
            };
            let points = (0..plans).map(|plan| twice(plan as i64, found(), found()));
            let mut points: Vec<_> = points.collect();
            widen(&mut points, &[DECODE]);
            held += holding(&points) / 200.0;
        }
        assert!(held >= 0.95, "{plans} plans: {held}");
    }
}

#[test]
fn the_upper_limit_of_a_median_is_an_order_statistic() {
    let values = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
    // Of eight values all but one, or all, are below the median with 9 of 256.
    assert_eq!(upper_median(values(8)), Some(7.0));
    assert_eq!(upper_median(values(5)), Some(5.0));
    assert_eq!(upper_median(values(4)), None);
}

#[test]
fn what_all_plans_changed_by_together_counts() {
    let second = |plan| twice(plan, timing(2.0, "anchor"), timing(2.0 * 1.1, "anchor"));
    let mut points: Vec<_> = (0..20).map(second).collect();
    widen(&mut points, &[DECODE]);
    assert!(known(&points).unwrap() > 0.05);
    assert!(marked(&points).is_empty());
}

#[test]
fn a_device_that_repeats_itself_keeps_its_intervals() {
    let mut points = device(0.0, 400);
    let before = ratio_interval(&points[3]);
    widen(&mut points, &[DECODE]);
    let deviation = known(&points).unwrap();
    assert!(deviation < 0.6 * OWN, "{deviation}");
    let after = ratio_interval(&points[3]);
    assert!(after.low <= before.low && before.high <= after.high);
    assert!((after.high / after.low).ln() < 1.2 * (before.high / before.low).ln());
}

#[test]
fn a_plan_that_something_happened_to_is_marked_and_widens_no_other() {
    let mut points = device(0.002, 40);
    points[11] = twice(11, timing(2.0, "anchor"), timing(2.6, "anchor"));
    widen(&mut points, &[DECODE]);
    // Of forty pairs of intervals of 95 %, one that does not overlap is no surprise.
    let marked = marked(&points);
    assert!(marked.contains(&11) && marked.len() <= 2, "{marked:?}");
    assert!(known(&points).unwrap() < 0.005);
}

#[test]
fn of_few_plans_and_of_other_anchors_nothing_is_concluded() {
    let mut few = device(0.015, 5);
    few[2] = twice(2, timing(2.0, "anchor"), timing(2.6, "anchor"));
    let before: Vec<_> = few.iter().map(ratio_interval).collect();
    widen(&mut few, &[DECODE]);
    let after: Vec<_> = few.iter().map(ratio_interval).collect();
    assert_eq!(known(&few), None);
    assert_eq!(before, after);
    assert!(marked(&few).contains(&2));

    let other = |plan| twice(plan, timing(2.0, "one"), timing(2.1, "another"));
    let mut others: Vec<_> = (0..10).map(other).collect();
    widen(&mut others, &[DECODE]);
    assert_eq!(known(&others), None);
    widen(&mut [], &[DECODE]);
}
