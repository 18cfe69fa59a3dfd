use bitfront_model::{Assignment, LeaseToken, Measurement, Plan, Precision, TaskKind, TaskPurpose};

use super::*;
use crate::fixtures;

/// A timing for a search, beside an anchor of that precision whose turns took these times.
fn timing(search: i64, anchor: Precision, anchor_samples_ns: &[u64]) -> DeviceMeasurement {
    let request = fixtures::request();
    let plan = |precision| Plan::uniform(&request.spec, precision).unwrap();
    let assignment = Assignment {
        token: LeaseToken { task: 1, epoch: 1 },
        search,
        candidate: 1,
        kind: TaskKind::Latency,
        purpose: TaskPurpose::Search,
        subject: request.subject.clone(),
        plan: plan(Precision::Q4K),
        workloads: request.workloads.clone(),
        anchor: Some(bitfront_model::Anchor {
            plan: plan(anchor),
            times: Vec::new(),
        }),
        rival: None,
        lease_time: std::time::Duration::from_secs(30),
    };
    let mut measurement: Measurement = fixtures::measurement(&request.spec, &assignment);
    if let Outcome::Latency { workloads } = &mut measurement.outcome {
        for latency in workloads {
            let paired = latency.paired.as_mut().unwrap();
            paired.anchor_samples_ns = anchor_samples_ns.to_vec();
        }
    }
    DeviceMeasurement {
        device: 1,
        search,
        measurement,
    }
}

/// A timing for search 1 beside the usual anchor, whose turns took about that long.
fn around(time_ns: u64) -> DeviceMeasurement {
    timing(1, Precision::Q8_0, &[time_ns - 500, time_ns, time_ns + 500])
}

#[test]
fn the_noise_is_the_spread_of_the_anchors_time() {
    let even = [
        1_000_000, 1_000_001, 1_000_002, 1_000_003, 1_000_004, 1_000_005,
    ];
    let even = noise(&even.map(around)).unwrap();
    assert!(even.deviation < 1e-5, "{}", even.deviation);
    assert_eq!(even.timings, 6);
    assert!(even.workload.is_decode());
    let anchor = Plan::uniform(&fixtures::spec(), Precision::Q8_0).unwrap();
    assert_eq!(even.anchor, anchor.digest());
    // Quantiles of a normal distribution with a deviation of 2 %.
    let drawn: Vec<_> = (0..40)
        .map(|at| {
            let share = (f64::from(at) + 0.5) / 40.0;
            let normal = statrs::distribution::Normal::standard();
            let normal = statrs::distribution::ContinuousCDF::inverse_cdf(&normal, share);
            around((1e6 * (0.02 * normal).exp()) as u64)
        })
        .collect();
    let found = noise(&drawn).unwrap();
    assert_eq!(found.timings, 40);
    assert!(
        (found.deviation - 0.02).abs() < 0.002,
        "{}",
        found.deviation
    );
}

#[test]
fn outliers_other_anchors_other_searches_and_companions_do_not_count() {
    let quiet = [
        1_000_000, 1_010_000, 990_000, 1_005_000, 995_000, 1_002_000, 998_000,
    ];
    let alone = noise(&quiet.map(around)).unwrap();
    let mut mixed: Vec<_> = quiet.map(around).to_vec();
    let companion = mixed[6].clone();
    mixed.push(companion);
    mixed.insert(3, timing(2, Precision::Q8_0, &[5_000_000; 3]));
    mixed.insert(4, timing(1, Precision::Q2K, &[7_000_000; 3]));
    assert_eq!(noise(&mixed), Some(alone));
    mixed.push(around(90_000_000));
    let with_outlier = noise(&mixed).unwrap();
    assert!(with_outlier.deviation < 2.0 * alone.deviation);
}

#[test]
fn few_timings_say_nothing() {
    let few: Vec<_> = (0..5).map(|at| around(1_000_000 + at)).collect();
    assert_eq!(noise(&few), None);
    assert_eq!(noise(&[]), None);
    // The search that was timed last counts, also where it says nothing yet.
    let mut other = vec![timing(2, Precision::Q8_0, &[1_000_000; 3])];
    other.extend((0..20).map(|at| around(1_000_000 + at)));
    assert_eq!(noise(&other), None);
}
