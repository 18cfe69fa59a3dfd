//! A made-up search for tests: a small model, the baselines, and some candidates.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bitfront_model::{
    Architecture, Baseline, Budget, Change, Confirmation, DataSpec, Device, DeviceState, Digest,
    Drift, EarlyStop, Environment, Evidence, Figure, Front, FrontPoint, Grouping, HardwareProfile,
    HeldBack, Hypervolumes, ImatrixSource, Interval, Latency, Layer, LayerKind, Limits, Manifest,
    ModelSource, ModelSpec, Moved, NowInfeasible, NumericsClass, Objective, Overall, Placing, Plan,
    Precision, Prior, ProfileChange, Quality, Ratio, Registration, Rescoring, SearchRequest,
    SearchState, SearchStatus, SharedPlans, StrategyName, Subject, Verdict, Workload,
};

use crate::request::usual_precisions;

/// A model of six blocks.
pub(crate) fn spec() -> ModelSpec {
    let layer = |name: String, kind, block, rows, columns| Layer {
        name,
        kind,
        block,
        rows,
        columns,
        source: Precision::Bf16,
        tied: false,
    };
    let mut layers = vec![layer(
        "token_embd".into(),
        LayerKind::TokenEmbedding,
        None,
        2048,
        256,
    )];
    for block in 0..6 {
        for (kind, rows, columns) in [
            (LayerKind::AttentionQuery, 256, 256),
            (LayerKind::AttentionKey, 128, 256),
            (LayerKind::AttentionValue, 128, 256),
            (LayerKind::AttentionOutput, 256, 256),
            (LayerKind::FeedForwardGate, 768, 256),
            (LayerKind::FeedForwardUp, 768, 256),
            (LayerKind::FeedForwardDown, 256, 768),
        ] {
            let name = format!("blk.{block}.{kind}");
            layers.push(layer(name, kind, Some(block), rows, columns));
        }
    }
    layers.push(layer("output".into(), LayerKind::Output, None, 2048, 256));
    ModelSpec {
        name: "rustdoc-llama".into(),
        architecture: Architecture::Llama,
        blocks: 6,
        hidden_size: 256,
        intermediate_size: 768,
        attention_heads: 4,
        key_value_heads: 2,
        head_size: 64,
        context_length: 256,
        vocabulary_size: 2048,
        layers,
        fixed_bytes: 13 * 256 * 4,
        digest: Digest::of("weights"),
    }
}

/// A request for that model.
pub(crate) fn request() -> SearchRequest {
    let spec = spec();
    SearchRequest {
        subject: Subject {
            model: ModelSource {
                path: "/models/rustdoc-llama".into(),
                tokenizer_path: None,
                digest: spec.digest,
            },
            data: DataSpec {
                evaluation_path: "/data/evaluation.txt".into(),
                calibration_path: Some("/data/calibration.txt".into()),
                context: 256,
                evaluation_windows: 16,
                calibration_windows: 32,
                evaluation_digest: Digest::of("evaluation"),
                calibration_digest: Digest::of("calibration"),
                held_back: Some(HeldBack {
                    windows: 16,
                    digest: Digest::of("held back"),
                }),
            },
            imatrix: ImatrixSource::Calibration,
            manifest: Manifest::default(),
        },
        device: None,
        objectives: vec![Objective::Kld, Objective::Decode, Objective::Size],
        limits: Limits::default(),
        budget: Budget {
            evaluations: None,
            time: Some(Duration::from_secs(90)),
        },
        precisions: usual_precisions(&spec),
        grouping: Grouping::Tensor,
        strategy: StrategyName::Nsga2,
        workloads: vec![
            Workload::Prefill {
                tokens: 128,
                batch: 1,
            },
            Workload::Decode {
                context: 64,
                tokens: 16,
                batch: 1,
            },
        ],
        seed: 0,
        staged: true,
        retimings: true,
        early_stop: EarlyStop::default(),
        start_from: None,
        prior: Prior::Swaps,
        shares: true,
        joint: None,
        spec,
    }
}

/// The hardware that it was measured on.
pub(crate) fn hardware() -> HardwareProfile {
    HardwareProfile {
        cpu_model: "Example CPU".into(),
        cpu_architecture: "x86_64".into(),
        isa_features: vec!["avx2".into(), "fma".into()],
        cores: 2,
        gpu: None,
        driver: None,
        runtime: "candle".into(),
        runtime_version: "0.11.0".into(),
        threads: 2,
        governor: None,
        placement: None,
        switches: Default::default(),
    }
}

/// A device of that many cores, which serves.
pub(crate) fn device(name: &str, cores: u32) -> Device {
    let mut hardware_profile = hardware();
    hardware_profile.cores = cores;
    Device {
        device_id: 1,
        registration: Registration {
            device: name.to_owned(),
            hardware_profile,
            numerics_class: NumericsClass("candle".to_owned()),
            precisions: Precision::ALL.to_vec(),
            agent_version: "test".to_owned(),
            can_probe: true,
            can_score_swaps: true,
        },
        first_seen_ms: 0,
        last_seen_ms: 0,
        measurements: 0,
        state: DeviceState::Present,
        agent: None,
        coordinator: None,
        held: Vec::new(),
        noise: None,
    }
}

/// Noon of a day, in milliseconds since the Unix epoch.
pub(crate) const NOON_MS: i64 = 1_777_896_000_000;

fn evidence(plan: &Plan) -> Evidence {
    Evidence {
        executed: plan.precisions().to_vec(),
        imatrix_digest: Some(Digest::of("imatrix")),
        environment: Environment {
            host: "host".into(),
            agent_version: "0.1.0".into(),
            ..Environment::default()
        },
        cold: None,
        energy: None,
        duration_ns: 700_000_000,
    }
}

/// A point whose figures follow from its plan: each layer adds to divergence by its bits.
fn point(spec: &ModelSpec, candidate: i64, baseline: Option<String>, plan: Plan) -> FrontPoint {
    let size_bytes = plan.size_bytes(spec);
    let divergence: f64 = spec
        .layers
        .iter()
        .zip(plan.precisions())
        .map(|(layer, precision)| {
            let weight = match layer.kind {
                LayerKind::FeedForwardDown | LayerKind::AttentionValue => 3.0,
                LayerKind::TokenEmbedding => 0.3,
                _ => 1.0,
            };
            weight * (-precision.bits_per_weight()).exp2() / spec.layers.len() as f64
        })
        .sum();
    let kld = 0.3 * divergence;
    let quality = Quality {
        kld,
        kld_standard_error: kld * 0.02,
        kld_windows: vec![kld; 16],
        perplexity: 7.63 * (1.0 + kld),
        reference_perplexity: 7.63,
        same_top_rate: 1.0 - kld.sqrt() * 0.55,
        same_top_windows: Vec::new(),
        positions: 2048,
        stopped: None,
        rescored: Vec::new(),
    };
    let latency = |workload, median_ns: f64| Latency {
        workload,
        samples_ns: vec![median_ns as u64; 15],
        median_ns,
        interval: Interval {
            low: median_ns * 0.98,
            high: median_ns * 1.03,
            confidence: 0.95,
        },
        warm_up_ns: 50_000_000,
        percentiles: Vec::new(),
        paired: None,
    };
    let decode_ns = 900_000.0 + size_bytes as f64 * 0.21 + (candidate % 7) as f64 * 9_000.0;
    let latencies = vec![
        latency(
            Workload::Prefill {
                tokens: 128,
                batch: 1,
            },
            decode_ns * 21.0,
        ),
        latency(
            Workload::Decode {
                context: 64,
                tokens: 16,
                batch: 1,
            },
            decode_ns,
        ),
    ];
    FrontPoint {
        search: 1,
        candidate,
        baseline,
        size_bytes,
        bits_per_weight: plan.bits_per_weight(spec),
        on_front: false,
        is_knee: false,
        within_limits: true,
        executed_as_planned: true,
        quality: Some(Figure {
            measurement: candidate * 2,
            value: quality,
            evidence: evidence(&plan),
            measured_at_ms: NOON_MS,
            device: "laptop".into(),
        }),
        latency: Some(Figure {
            measurement: candidate * 2 + 1,
            value: latencies,
            evidence: evidence(&plan),
            measured_at_ms: NOON_MS,
            device: "laptop".into(),
        }),
        first_latency: None,
        infeasible: None,
        placing: Placing::default(),
        was_on_front: false,
        confirmation: None,
        unconfirmed: None,
        believed: Vec::new(),
        plan,
    }
}

/// Baselines, and candidates whose precisions are drawn from a fixed sequence.
pub(crate) fn front() -> Front {
    let request = request();
    let spec = &request.spec;
    let alphabet = &request.precisions;
    let mut points: Vec<FrontPoint> = Vec::new();
    for (baseline, plan) in Baseline::all(spec, alphabet) {
        let twin = points.iter_mut().find(|point| point.plan == plan);
        if let Some(names) = twin.and_then(|point| point.baseline.as_mut()) {
            *names = format!("{names}, {baseline}");
        } else {
            let number = points.len() as i64 + 1;
            points.push(point(spec, number, Some(baseline.to_string()), plan));
        }
    }
    let mut state = 1u64;
    for number in 0..60 {
        let level = number % 6;
        let precisions = spec
            .layers
            .iter()
            .map(|layer| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let careful = usize::from(layer.kind == LayerKind::FeedForwardDown);
                let drawn = level + ((state >> 33) % 3) as usize;
                alphabet[drawn.saturating_sub(1 + careful).min(alphabet.len() - 1)]
            })
            .collect();
        let plan = Plan::new(spec, precisions).unwrap();
        points.push(point(spec, points.len() as i64 + 1, None, plan));
    }
    mark(&mut points);
    Front {
        status: SearchStatus {
            search: 1,
            state: SearchState::Done,
            reason: "the time budget is used up".into(),
            created_at_ms: NOON_MS,
            ended_at_ms: Some(NOON_MS + 91_000),
            active: Duration::from_secs(90),
            candidates: points.len() as u64,
            evaluated: points.len() as u64,
            infeasible: 0,
            front_size: points.iter().filter(|point| point.on_front).count() as u64,
            hypervolume: Some(0.8125),
            reference_point: vec![0.1, 3e6, 7e6],
            outlook: None,
            trust: Vec::new(),
            shared: SharedPlans::default(),
            hardware_profile: Some(hardware().digest()),
            hardware_summary: hardware().summary(),
            numerics_class: Some(NumericsClass("candle/0.11.0/cpu/avx2".into())),
            request,
        },
        points,
        hardware_profile: Some(hardware()),
        stale: None,
    }
}

fn mark(points: &mut [FrontPoint]) {
    let figures: Vec<_> = points
        .iter()
        .map(|point| (point.kld().unwrap(), point.size_bytes))
        .collect();
    for (index, point) in points.iter_mut().enumerate() {
        let (kld, size) = figures[index];
        point.on_front = !figures.iter().any(|&(other_kld, other_size)| {
            other_kld <= kld && other_size <= size && (other_kld, other_size) != (kld, size)
        });
    }
    let front = points.iter_mut().filter(|point| point.on_front);
    let mut front: Vec<_> = front.collect();
    front.sort_by_key(|point| point.size_bytes);
    let middle = front.len() / 2;
    front[middle].is_knee = true;
}

/// Replaces the figures of the front and the baselines by fresh ones that are 2 % worse; of the
/// front the last point is not confirmed, and the first one differs and leaves it.
pub(crate) fn confirm(front: &mut Front) {
    for point in &mut front.points {
        point.was_on_front = point.on_front;
    }
    let on_front = |point: &FrontPoint| point.on_front && point.baseline.is_none();
    let last = front.points.iter().rposition(on_front);
    let first = front.points.iter().position(on_front);
    for (position, point) in front.points.iter_mut().enumerate() {
        let was_found = point.was_on_front || point.baseline.is_some();
        if Some(position) == last || !was_found {
            point.on_front &= Some(position) != last;
            continue;
        }
        point.confirmation = Some(Confirmation {
            searched_quality: point.quality.clone(),
            searched_latency: point.latency.clone(),
            differs: Some(position) == first,
            rescoring: None,
            repeatability: Vec::new(),
        });
        point.on_front &= Some(position) != first;
        if let Some(figure) = &mut point.quality {
            figure.value.kld *= 1.02;
        }
        for latency in point
            .latency
            .iter_mut()
            .flat_map(|figure| &mut figure.value)
        {
            latency.median_ns *= 1.002;
        }
    }
}

/// Lets `device` have confirmed a point whose quality was measured by another one, and get `ratio`
/// times its divergences for the same windows.
pub(crate) fn rescore(point: &mut FrontPoint, device: &str, ratio: f64) {
    point.quality.as_mut().unwrap().device = device.to_owned();
    point.confirmation.as_mut().unwrap().rescoring = Some(Rescoring {
        windows: 4,
        ratio,
        interval: Some(Interval {
            low: ratio * 0.9,
            high: ratio * 1.1,
            confidence: 0.95,
        }),
        deviates: ratio != 1.0,
    });
}

/// A later search that found one workload slower over all plans and another one in some, and a plan
/// that cannot be executed any more.
pub(crate) fn drift() -> Drift {
    let front = front();
    let ratio = |value: f64, half: f64, confidence| Ratio {
        value,
        interval: Interval {
            low: value - half,
            high: value + half,
            confidence,
        },
    };
    let overall = |figure: &str, ratio, (worse, better), verdict| Overall {
        figure: figure.parse().unwrap(),
        plans: 24,
        ratio: Some(ratio),
        worse,
        better,
        verdict,
        reason: String::new(),
    };
    let change = |figure: &str, before: f64, changed: f64, verdict| {
        let around = |value: f64| ratio(value, value / 100.0, 0.95).interval;
        Change {
            figure: figure.parse().unwrap(),
            before,
            before_interval: around(before),
            after: before * changed,
            after_interval: around(before * changed),
            ratio: ratio(changed, 0.02, 0.9),
            verdict,
        }
    };
    let moved = |point: &FrontPoint, slower: f64, verdict| Moved {
        before: point.candidate,
        after: point.candidate + 100,
        baseline: point.baseline.clone(),
        size_bytes: point.size_bytes,
        changes: vec![
            change("kld", point.kld().unwrap(), 1.0, Verdict::Unchanged),
            change(
                "prefill@128",
                point.prefill_ns().unwrap(),
                1.002,
                Verdict::Unchanged,
            ),
            change("decode@64x16", point.decode_ns().unwrap(), slower, verdict),
        ],
    };
    let mut points = vec![
        moved(&front.points[1], 1.004, Verdict::Unchanged),
        moved(&front.points[4], 1.061, Verdict::Worse),
    ];
    points[1].changes.remove(0);
    points.sort_by_key(|point| point.size_bytes);
    let summary = hardware().summary();
    Drift {
        before: 1,
        after: 2,
        hardware_before: summary.clone(),
        hardware_after: summary,
        profile: vec![ProfileChange {
            field: "governor".into(),
            before: "performance".into(),
            after: "powersave".into(),
        }],
        points,
        overall: vec![
            overall("kld", ratio(1.0, 0.0, 0.98), (0, 0), Verdict::Unchanged),
            overall(
                "decode@64x16",
                ratio(1.061, 0.008, 0.98),
                (21, 0),
                Verdict::Worse,
            ),
            overall(
                "prefill@128",
                ratio(1.002, 0.008, 0.98),
                (4, 1),
                Verdict::Worse,
            ),
        ],
        infeasible: vec![NowInfeasible {
            before: 7,
            after: 107,
            reason: "not enough memory".into(),
        }],
        entered: vec![131, 140],
        left: vec![30],
        missing: 1,
        hypervolumes: Some(Hypervolumes {
            before: 0.8125,
            after: 0.79,
        }),
    }
}
