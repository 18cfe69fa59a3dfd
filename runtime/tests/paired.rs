//! Intervals of paired timing hold the truth as often as they say, on a device whose truth is
//! known.

#![allow(clippy::unwrap_used)]

#[path = "simulated_device/mod.rs"]
#[allow(unreachable_pub)]
mod simulated_device;

use bitfront_runtime::latency::LatencySettings;
use bitfront_runtime::latency::paired::time;
use simulated_device::{Noise, SimulatedDevice};

/// An anchor of two milliseconds and a candidate that is faster by a quarter.
const TIMES_NS: [f64; 2] = [2e6, 1.5e6];

#[test]
fn intervals_hold_the_true_ratio_as_often_as_they_say() {
    const RUNS: u64 = 3000;
    let truth = TIMES_NS[1] / TIMES_NS[0];
    let mut failures = Vec::new();
    for noise in Noise::ALL {
        let covered = (0..RUNS)
            .filter(|&seed| {
                let mut device = SimulatedDevice::new(noise, &TIMES_NS, seed);
                let settings = LatencySettings {
                    seed,
                    ..LatencySettings::default()
                };
                let series = time(1, &settings, &mut |member, _| {
                    Ok(device.sample(member).into())
                });
                let (_, interval) = series.unwrap()[0].ratio(0.95).unwrap();
                (interval.low..=interval.high).contains(&truth)
            })
            .count();
        let coverage = covered as f64 / RUNS as f64;
        if (coverage - 0.95).abs() > 0.015 {
            failures.push(format!("{noise:?}: {coverage:.4}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
