use bitfront_model::{AnchorTime, Digest, Paired as Beside, Stopped, Workload};
use serde::Deserialize;

use super::*;

fn quality(windows: &[f64]) -> Quality {
    let kld = windows.iter().sum::<f64>() / windows.len() as f64;
    Quality {
        kld,
        kld_standard_error: kld / 10.0,
        kld_windows: windows.to_vec(),
        perplexity: 10.0,
        reference_perplexity: 10.0,
        same_top_rate: 0.9,
        same_top_windows: Vec::new(),
        positions: 1024,
        stopped: None,
        rescored: Vec::new(),
    }
}

fn latency(low: f64, median_ns: f64, high: f64, confidence: f64) -> Latency {
    Latency {
        workload: Workload::Prefill {
            tokens: 64,
            batch: 1,
        },
        samples_ns: vec![1, 2, 3],
        median_ns,
        interval: Interval {
            low,
            high,
            confidence,
        },
        warm_up_ns: 0,
        percentiles: Vec::new(),
        paired: None,
    }
}

#[derive(Deserialize)]
struct Row {
    name: String,
    first: Vec<f64>,
    second: Vec<f64>,
    mean: f64,
    standard_error: f64,
    low: f64,
    high: f64,
}

#[test]
fn paired_differences_are_those_of_scipy() {
    let rows: Vec<Row> =
        serde_json::from_str(include_str!("../../../tests/golden/paired.json")).unwrap();
    assert_eq!(rows.len(), 4);
    let paired = Paired::default();
    let mut failures = Vec::new();
    for row in rows {
        let found = paired.kld(&quality(&row.first), &quality(&row.second));
        let figures = [
            ("mean", found.mean, row.mean),
            ("standard error", found.standard_error, row.standard_error),
            ("low", found.interval.low, row.low),
            ("high", found.interval.high, row.high),
        ];
        for (what, found, expected) in figures {
            if (found - expected).abs() > 1e-9 * row.standard_error {
                failures.push(format!("{}: {what} {found} {expected}", row.name));
            }
        }
        if found.windows != row.first.len() as u64 {
            failures.push(format!("{}: {} windows", row.name, found.windows));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_plan_that_was_given_up_is_compared_over_the_windows_that_it_was_scored_on() {
    let windows: Vec<_> = (0..16).map(f64::from).collect();
    let whole = quality(&windows);
    let order = stages::order(16);
    let scored: Vec<_> = order[..8].iter().map(|&w| windows[w] + 1.0).collect();
    let stopped = Quality {
        stopped: Some(Stopped {
            windows: 16,
            behind: 1,
        }),
        ..quality(&scored)
    };
    let paired = Paired::default();
    for (found, mean) in [
        (paired.kld(&stopped, &whole), 1.0),
        (paired.kld(&whole, &stopped), -1.0),
        (paired.kld(&stopped, &stopped), 0.0),
    ] {
        assert_eq!((found.mean, found.standard_error), (mean, 0.0));
        assert_eq!(found.windows, 8);
    }
    // Of another text nothing is known to be the same window.
    assert_eq!(paired.kld(&stopped, &quality(&windows[..8])).windows, 0);
}

/// t for five degrees of freedom is 2.570582, as in every table.
#[test]
fn a_difference_by_hand() {
    let first = quality(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let second = quality(&[1.0, 1.0, 3.0, 3.0, 5.0, 5.0]);
    let found = Paired::default().kld(&first, &second);
    // The pairs differ by 1, 2, 1, 2, 1, 2.
    assert_eq!(found.mean, 1.5);
    let error = (6.0 * 0.25 / 5.0 / 6.0f64).sqrt();
    assert!((found.standard_error - error).abs() < 1e-15);
    assert!((found.interval.high - (1.5 + 2.570_582 * error)).abs() < 1e-6);
    assert_eq!(found.ordering(), Ordering::Greater);
    let turned = Paired::default().kld(&second, &first);
    assert_eq!(turned.interval.low, -found.interval.high);
    assert_eq!(turned.ordering(), Ordering::Less);
}

#[test]
fn what_all_windows_share_does_not_blur_a_difference() {
    let hard: Vec<f64> = (0..20).map(|window| 0.01 * f64::from(window)).collect();
    let worse: Vec<f64> = hard
        .iter()
        .enumerate()
        .map(|(window, kld)| kld + 0.001 + 0.0001 * (window % 3) as f64)
        .collect();
    let paired = Paired::default();
    let found = paired.kld(&quality(&hard), &quality(&worse));
    assert_eq!(found.ordering(), Ordering::Less);
    let alone = quality(&hard).kld_standard_error;
    assert!(found.standard_error < alone / 100.0);
    let same = paired.kld(&quality(&hard), &quality(&hard));
    assert_eq!((same.mean, same.ordering()), (0.0, Ordering::Equal));
}

#[test]
fn too_few_windows_leave_the_errors_of_both_and_little_freedom() {
    let (first, second) = (quality(&[3.0, 3.0]), quality(&[4.0, 4.0]));
    let found = Paired::default().kld(&first, &second);
    assert_eq!((found.mean, found.windows), (-1.0, 0));
    assert!((found.standard_error - 0.5).abs() < 1e-15);
    // t for one degree of freedom.
    assert!((found.interval.high - (-1.0 + 12.706_205 * 0.5)).abs() < 1e-5);
    assert_eq!(found.ordering(), Ordering::Equal);
    let odd = Paired::default().kld(&quality(&[1.0; 7]), &quality(&[1.0; 8]));
    assert_eq!(odd.windows, 0);
}

#[test]
fn a_ratio_reaches_as_far_as_both_intervals_let_it() {
    let found = ratio(
        &latency(90.0, 100.0, 110.0, 0.95),
        &latency(180.0, 200.0, 220.0, 0.95),
    );
    assert_eq!(found.value, 0.5);
    assert_eq!(found.interval.low, 90.0 / 220.0);
    assert_eq!(found.interval.high, 110.0 / 180.0);
    assert!((found.interval.confidence - 0.9).abs() < 1e-12);
    assert_eq!(found.ordering(), Ordering::Less);
    let touching = ratio(
        &latency(90.0, 100.0, 110.0, 0.95),
        &latency(110.0, 120.0, 130.0, 0.95),
    );
    assert_eq!(touching.ordering(), Ordering::Equal);
    let slower = ratio(
        &latency(111.0, 120.0, 130.0, 0.97),
        &latency(90.0, 100.0, 110.0, 0.96),
    );
    assert_eq!(slower.ordering(), Ordering::Greater);
}

#[test]
fn times_beside_one_anchor_are_compared_without_its_error() {
    let beside = |anchor: &str, ratio: f64| {
        let around = |value: f64| Interval {
            low: value * 0.99,
            high: value * 1.01,
            confidence: 0.95,
        };
        let alone = latency(80.0 * ratio, 100.0 * ratio, 120.0 * ratio, 0.95);
        Latency {
            paired: Some(Beside {
                anchor: Digest::of(anchor),
                ratio,
                ratio_interval: around(ratio),
                samples_per_block: 1,
                anchor_samples_ns: vec![100; 3],
                anchor_samples_per_block: 1,
                discarded_blocks: 0,
                waited_ns: 0,
                reference: AnchorTime {
                    workload: alone.workload,
                    median_ns: 100.0,
                    interval: around(100.0),
                },
                noisy: false,
            }),
            ..alone
        }
    };
    let found = ratio(&beside("one", 1.0), &beside("one", 1.1));
    assert_eq!(found.ordering(), Ordering::Less);
    assert!((found.value - 1.0 / 1.1).abs() < 1e-15);
    // Beside different anchors only the times themselves can be held together.
    let found = ratio(&beside("one", 1.0), &beside("other", 1.1));
    assert_eq!(found.ordering(), Ordering::Equal);
}

#[test]
fn an_interval_of_too_few_samples_separates_nothing() {
    let found = ratio(
        &latency(100.0, 100.0, 100.0, 0.0),
        &latency(200.0, 200.0, 200.0, 0.95),
    );
    assert_eq!(found.value, 0.5);
    assert_eq!(found.interval.confidence, 0.0);
    assert_eq!(found.ordering(), Ordering::Equal);
}
