use bitfront_model::{Evidence, Figure, Interval, Latency, Placing, Plan, Precision, Quality};

use super::*;
use crate::fixtures;

const OBJECTIVES: [Objective; 3] = [Objective::Kld, Objective::Decode, Objective::Size];

fn figure<T>(value: T) -> Option<Figure<T>> {
    Some(Figure {
        measurement: 1,
        value,
        evidence: Evidence {
            executed: Vec::new(),
            imatrix_digest: None,
            environment: Default::default(),
            cold: None,
            energy: None,
            duration_ns: 1,
        },
        device: "one".to_owned(),
        measured_at_ms: 0,
    })
}

/// A point of so many bytes; its divergence over eight windows that differ far more among
/// themselves than `noise`, and its decode time known to ±1 %.
fn point(candidate: i64, size_bytes: u64, kld: f64, noise: f64, decode_ns: f64) -> FrontPoint {
    let windows = (0..8).map(|window| {
        let hard = 0.01 * f64::from(window);
        // Of a period that has nothing in common with the other points', and a mean of zero.
        let sign = if (window + candidate as i32) % 2 == 0 {
            noise
        } else {
            -noise
        };
        kld + hard + sign
    });
    let windows: Vec<f64> = windows.collect();
    let latencies = fixtures::request().workloads.into_iter().map(|workload| {
        let median_ns = decode_ns * if workload.is_decode() { 1.0 } else { 20.0 };
        Latency {
            workload,
            samples_ns: vec![median_ns as u64; 6],
            median_ns,
            interval: Interval {
                low: median_ns * 0.99,
                high: median_ns * 1.01,
                confidence: 0.96,
            },
            warm_up_ns: 1,
            percentiles: Vec::new(),
            paired: None,
        }
    });
    let spec = fixtures::spec();
    FrontPoint {
        search: 1,
        candidate,
        baseline: None,
        plan: Plan::uniform(&spec, Precision::Q4K).unwrap(),
        size_bytes,
        bits_per_weight: 4.5,
        on_front: false,
        is_knee: false,
        within_limits: true,
        executed_as_planned: true,
        quality: figure(Quality {
            kld: windows.iter().sum::<f64>() / 8.0,
            kld_standard_error: 0.01,
            kld_windows: windows,
            perplexity: 10.0,
            reference_perplexity: 10.0,
            same_top_rate: 0.9,
            same_top_windows: Vec::new(),
            positions: 512,
            stopped: None,
            rescored: Vec::new(),
        }),
        latency: figure(latencies.collect()),
        first_latency: None,
        infeasible: None,
        placing: Placing::default(),
        was_on_front: false,
        confirmation: None,
        unconfirmed: None,
        believed: Vec::new(),
    }
}

fn published(mut points: Vec<FrontPoint>) -> Vec<FrontPoint> {
    let eligible: Vec<_> = (0..points.len()).collect();
    publish(&mut points, &eligible, &OBJECTIVES);
    points
}

#[test]
fn plans_that_cannot_be_told_apart_are_one_class_with_the_smallest_in_front() {
    let points = published(vec![
        point(1, 1000, 0.050_0, 0.001, 100.0),
        // A little better by every mean, and not beyond the noise in any.
        point(2, 1010, 0.049_9, 0.001, 99.9),
        // Better beyond the noise.
        point(3, 1020, 0.040_0, 0.001, 100.0),
    ]);
    let shown: Vec<_> = points.iter().map(|point| point.on_front).collect();
    assert_eq!(shown, [true, false, true]);
    assert_eq!(points[0].placing.class, [2]);
    assert_eq!(points[1].placing.class_of, Some(1));
    let against = points[1].placing.against.as_ref().unwrap();
    assert_eq!(against.candidate, 1);
    assert_eq!(against.differences.size_bytes, 10);
    assert!(points[2].placing.class.is_empty());
    let gain = points[2].placing.gain.as_ref().unwrap();
    assert_eq!(gain.candidate, 1, "the next smaller one that is shown");
    assert_eq!(gain.differences.kld.ordering(), Ordering::Less);
    assert_eq!(
        (&points[0].placing.gain, &points[1].placing.gain),
        (&None, &None)
    );
    assert_eq!(points[2].placing.class_of, None);
}

#[test]
fn a_beaten_point_names_what_beats_it_and_a_shown_one_the_preset_that_it_beats() {
    let mut preset = point(2, 1030, 0.060, 0.001, 100.0);
    preset.baseline = Some("uniform q4_k, Q4_K_M".to_owned());
    let points = published(vec![
        point(1, 1000, 0.050, 0.001, 100.0),
        preset,
        point(3, 1001, 0.070, 0.001, 100.0),
        point(4, 1002, 0.050, 0.001, 120.0),
    ]);
    let shown: Vec<_> = points.iter().map(|point| point.on_front).collect();
    assert_eq!(shown, [true, false, false, false]);
    let best = &points[0].placing;
    assert_eq!((best.beats, best.class.len()), (3, 0));
    let against = best.against.as_ref().unwrap();
    assert_eq!(
        against.candidate, 2,
        "the preset, although others are nearer"
    );
    assert!((against.differences.kld.mean + 0.010).abs() < 1e-9);
    assert_eq!(against.differences.kld.ordering(), Ordering::Less);
    for beaten in &points[1..] {
        let against = beaten.placing.against.as_ref().unwrap();
        assert_eq!((against.candidate, beaten.placing.class_of), (1, None));
        assert_eq!(beaten.placing.beats, 0);
    }
    let slower = points[3].placing.against.as_ref().unwrap().differences;
    assert_eq!(slower.kld.ordering(), Ordering::Equal);
    assert_eq!(slower.decode.unwrap().ordering(), Ordering::Greater);
}

#[test]
fn what_may_not_enter_has_no_place() {
    let mut points = vec![
        point(1, 1000, 0.050, 0.001, 100.0),
        point(2, 10, 0.001, 0.001, 10.0),
        point(3, 1001, 0.060, 0.001, 100.0),
    ];
    points[1].executed_as_planned = false;
    publish(&mut points, &[0, 2], &OBJECTIVES);
    assert_eq!(points[1].placing, Placing::default());
    assert!(points[0].on_front && !points[1].on_front && !points[2].on_front);
    publish(&mut points, &[], &OBJECTIVES);
}

#[test]
fn without_size_among_the_objectives_the_smaller_of_two_alike_is_shown() {
    let mut points = vec![
        point(1, 1010, 0.050, 0.001, 100.0),
        point(2, 1000, 0.050, 0.001, 100.0),
    ];
    publish(&mut points, &[0, 1], &[Objective::Kld, Objective::Decode]);
    assert_eq!(points[1].placing.class, [1]);
    assert_eq!(points[0].placing.class_of, Some(2));
}
