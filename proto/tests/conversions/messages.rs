//! A message of every kind, with as many of its fields as can be told at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bitfront_model::*;

pub(super) fn spec() -> ModelSpec {
    let layer = |name: &str, kind, block| Layer {
        name: name.to_owned(),
        kind,
        block,
        rows: 64,
        columns: 256,
        source: Precision::Bf16,
        tied: kind == LayerKind::TokenEmbedding,
    };
    ModelSpec {
        name: "tiny".to_owned(),
        architecture: Architecture::Qwen3,
        blocks: 1,
        hidden_size: 256,
        intermediate_size: 64,
        attention_heads: 4,
        key_value_heads: 2,
        head_size: 64,
        context_length: 512,
        vocabulary_size: 64,
        layers: vec![
            layer("token_embd", LayerKind::TokenEmbedding, None),
            layer("blk.0.attn_q", LayerKind::AttentionQuery, Some(0)),
        ],
        fixed_bytes: 12,
        digest: Digest::of("tiny"),
    }
}

pub(super) fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

pub(super) fn file(path: &str, place: Place) -> ManifestFile {
    ManifestFile {
        path: path.to_owned(),
        place,
        blob: Blob {
            digest: Digest::of(path),
            size_bytes: u64::MAX,
        },
        url: Some(format!("s3://bucket{path}").parse().unwrap()),
    }
}

pub(super) fn request() -> SearchRequest {
    SearchRequest {
        subject: Subject {
            model: ModelSource {
                path: "/models/tiny".to_owned(),
                tokenizer_path: Some("/models/tokenizer.json".to_owned()),
                digest: Digest::of("tiny"),
            },
            data: DataSpec {
                evaluation_path: "/texts/evaluation.txt".to_owned(),
                calibration_path: None,
                context: 128,
                evaluation_windows: 4,
                calibration_windows: 2,
                evaluation_digest: Digest::of("evaluation"),
                calibration_digest: Digest::of("calibration"),
                held_back: Some(HeldBack {
                    windows: 4,
                    digest: Digest::of("held back"),
                }),
            },
            imatrix: ImatrixSource::File {
                path: "/imatrix.gguf".to_owned(),
                digest: Digest::of("imatrix"),
            },
            manifest: Manifest {
                files: vec![
                    file("/models/tiny", Place::Inside(name("config.json"))),
                    file("/models/tokenizer.json", Place::Itself),
                    file(
                        "/models/tokenizer.json",
                        Place::Beside(name("tokenizer_config.json")),
                    ),
                ],
            },
        },
        spec: spec(),
        device: Some("one".to_owned()),
        objectives: vec![Objective::Kld, Objective::Prefill],
        limits: Limits {
            max_kld: Some(0.1 + 0.2),
            min_same_top: Some(0.95),
            max_size_bytes: Some(u64::MAX),
            max_decode: Some(Duration::from_nanos(1_234_567_891)),
        },
        budget: Budget {
            evaluations: None,
            time: Some(Duration::from_millis(1500)),
        },
        precisions: Precision::ALL.to_vec(),
        grouping: Grouping::Block,
        strategy: StrategyName::Random,
        workloads: vec![
            Workload::Prefill {
                tokens: 64,
                batch: 1,
            },
            Workload::Decode {
                context: 64,
                tokens: 16,
                batch: 1,
            },
        ],
        seed: u64::MAX,
        staged: true,
        retimings: true,
        early_stop: EarlyStop {
            stalled: Some(StallRule {
                evaluations: 50,
                least_growth: 0.01,
            }),
            within_limits: true,
        },
        start_from: Some(7),
        prior: Prior::Swaps,
        shares: true,
        joint: Some(Joint {
            key: "key".to_owned(),
            selectors: vec!["arch=x86_64,cores=4".parse().unwrap()],
            max_decode: Some(Duration::from_millis(8)),
            profile: Some(Digest::of("a profile")),
        }),
    }
}

pub(super) fn condition() -> Condition {
    Condition {
        busy_cores: Some(0.25),
        stolen_cores: Some(0.5),
        cores: vec![CoreCondition {
            core: 3,
            frequency_mhz: Some(2600.5),
            throttles: Some(7),
        }],
        heat: Some(Heat {
            sensor: "x86_pkg_temp".to_owned(),
            celsius: 61.5,
            trip_celsius: Some(95.0),
        }),
        on_battery: Some(false),
    }
}

pub(super) fn evidence() -> Evidence {
    Evidence {
        executed: vec![Precision::F16, Precision::Q4K],
        imatrix_digest: Some(Digest::of("imatrix")),
        environment: Environment {
            host: "host".to_owned(),
            agent_version: "1".to_owned(),
            load_average: Some(0.25),
            frequency_mhz: None,
            peak_resident_bytes: Some(123),
            pinned_cores: vec![3, 2],
            not_pinned: Some("nobody wanted it".to_owned()),
            before: Some(condition()),
            after: Some(Condition::default()),
            marks: Mark::ALL.to_vec(),
        },
        cold: Some(ColdStart::Measured(Cold {
            load_ns: 1,
            prompt_tokens: 5,
            batch: 7,
            first_token_ns: 2,
            memory_before_bytes: Some(6),
            peak_memory_bytes: Some(3),
            weight_bytes: 4,
        })),
        energy: Some(Energy::Measured {
            source: "rapl:package-0".to_owned(),
            joules_per_token: 0.5,
            idle_watts: 9.0,
            joules: 12.0,
            duration_ns: 5,
            tokens: 6,
        }),
        duration_ns: 77,
    }
}

pub(super) fn quality() -> Quality {
    Quality {
        kld: 0.1,
        kld_standard_error: 0.01,
        kld_windows: vec![0.05, 0.15],
        perplexity: 11.0,
        reference_perplexity: 10.0,
        same_top_rate: 0.75,
        same_top_windows: vec![0.5, 1.0],
        positions: 128,
        stopped: Some(Stopped {
            windows: 9,
            behind: 4,
        }),
        rescored: vec![
            Rescored {
                window: 0,
                kld: 0.25,
            },
            Rescored {
                window: 5,
                kld: 0.5,
            },
        ],
    }
}

pub(super) fn interval() -> Interval {
    Interval {
        low: 1.0,
        high: 3.0,
        confidence: 0.95,
    }
}

pub(super) fn anchor_time(workload: Workload) -> AnchorTime {
    AnchorTime {
        workload,
        median_ns: 4.0,
        interval: interval(),
    }
}

pub(super) fn latencies() -> Vec<Latency> {
    let latency = |workload| Latency {
        workload,
        samples_ns: vec![1, 2, 3],
        median_ns: 2.0,
        interval: interval(),
        warm_up_ns: 9,
        percentiles: vec![Percentile {
            percent: 99,
            value_ns: 3.0,
            interval: interval(),
        }],
        paired: Some(Paired {
            anchor: plan().digest(),
            ratio: 0.5,
            ratio_interval: interval(),
            samples_per_block: 3,
            anchor_samples_ns: vec![4, 4],
            anchor_samples_per_block: 2,
            discarded_blocks: 1,
            waited_ns: 77,
            reference: anchor_time(workload),
            noisy: true,
        }),
    };
    request().workloads.into_iter().map(latency).collect()
}

pub(super) fn profile() -> HardwareProfile {
    HardwareProfile {
        cpu_model: "Some CPU".to_owned(),
        cpu_architecture: "aarch64".to_owned(),
        isa_features: vec!["neon".to_owned()],
        cores: 8,
        gpu: Some("Some GPU".to_owned()),
        driver: None,
        runtime: "candle".to_owned(),
        runtime_version: "0.11".to_owned(),
        threads: 4,
        governor: Some("performance".to_owned()),
        placement: Some("2 cores".to_owned()),
        switches: BTreeMap::from([("SWITCH".to_owned(), "1".to_owned())]),
    }
}

pub(super) fn registration() -> Registration {
    Registration {
        device: "one".to_owned(),
        hardware_profile: profile(),
        numerics_class: NumericsClass("candle/cpu".to_owned()),
        precisions: Precision::ALL.to_vec(),
        agent_version: "1".to_owned(),
        can_probe: true,
        can_score_swaps: true,
    }
}

pub(super) fn plan() -> Plan {
    Plan::new(&spec(), vec![Precision::Q8_0, Precision::Q4K]).unwrap()
}

pub(super) fn point() -> FrontPoint {
    FrontPoint {
        search: 3,
        candidate: 5,
        baseline: Some("Q4_K_M".to_owned()),
        plan: plan(),
        size_bytes: 1000,
        bits_per_weight: 6.5,
        on_front: true,
        is_knee: true,
        within_limits: true,
        executed_as_planned: false,
        quality: Some(Figure {
            measurement: 8,
            value: quality(),
            evidence: evidence(),
            device: "one".to_owned(),
            measured_at_ms: 99,
        }),
        latency: Some(Figure {
            measurement: 9,
            value: latencies(),
            evidence: evidence(),
            device: "two".to_owned(),
            measured_at_ms: 100,
        }),
        first_latency: Some(Figure {
            measurement: 5,
            value: latencies(),
            evidence: evidence(),
            device: "five".to_owned(),
            measured_at_ms: 96,
        }),
        infeasible: None,
        placing: placing(),
        was_on_front: true,
        confirmation: Some(Confirmation {
            searched_quality: Some(Figure {
                measurement: 6,
                value: quality(),
                evidence: evidence(),
                device: "three".to_owned(),
                measured_at_ms: 97,
            }),
            searched_latency: Some(Figure {
                measurement: 7,
                value: latencies(),
                evidence: evidence(),
                device: "four".to_owned(),
                measured_at_ms: 98,
            }),
            differs: true,
            repeatability: vec![Repeatability {
                workload: Workload::Decode {
                    context: 64,
                    tokens: 16,
                    batch: 1,
                },
                deviation: 0.012,
            }],
            rescoring: Some(Rescoring {
                windows: 2,
                ratio: 1.5,
                interval: Some(interval()),
                deviates: true,
            }),
        }),
        unconfirmed: Some("nobody managed".to_owned()),
        believed: vec![Believed {
            figure: Objective::Decode,
            value: 2e6,
            deviation: 1e4,
            scatter: 2e4,
            measured: Some(2.1e6),
        }],
    }
}

pub(super) fn differences() -> Differences {
    let interval = |low, high| Interval {
        low,
        high,
        confidence: 0.95,
    };
    Differences {
        size_bytes: -7,
        size_ratio: 0.993,
        kld: Difference {
            mean: -0.25,
            standard_error: 0.125,
            interval: interval(-0.5, 0.0),
            windows: 16,
        },
        decode: Some(Ratio {
            value: 1.5,
            interval: interval(1.25, 1.75),
        }),
        prefill: None,
    }
}

pub(super) fn placing() -> Placing {
    Placing {
        class: vec![6, 7],
        class_of: None,
        beats: 3,
        gain: Some(Against {
            candidate: 9,
            differences: differences(),
        }),
        against: Some(Against {
            candidate: 8,
            differences: differences(),
        }),
    }
}

pub(super) fn drift() -> Drift {
    let ratio = Ratio {
        value: 1.06,
        interval: interval(),
    };
    let overall = |figure: &str, verdict, ratio| Overall {
        figure: figure.parse().unwrap(),
        plans: 9,
        ratio,
        worse: 8,
        better: 1,
        verdict,
        reason: String::new(),
    };
    Drift {
        before: 3,
        after: 4,
        hardware_before: "a board".to_owned(),
        hardware_after: "a warmer board".to_owned(),
        profile: vec![ProfileChange {
            field: "driver".to_owned(),
            before: "535".to_owned(),
            after: "550".to_owned(),
        }],
        points: vec![Moved {
            before: 17,
            after: 71,
            baseline: Some("Q4_K_M".to_owned()),
            size_bytes: 1_234,
            changes: vec![Change {
                figure: "decode@64x16".parse().unwrap(),
                before: 1e6,
                before_interval: interval(),
                after: 1.06e6,
                after_interval: interval(),
                ratio,
                verdict: Verdict::Worse,
            }],
        }],
        overall: vec![
            overall("kld", Verdict::Unknown, None),
            overall("decode@64x16", Verdict::Worse, Some(ratio)),
        ],
        infeasible: vec![NowInfeasible {
            before: 18,
            after: 72,
            reason: "no memory".to_owned(),
        }],
        entered: vec![73],
        left: vec![19, 20],
        missing: 1,
        hypervolumes: Some(Hypervolumes {
            before: 0.5,
            after: 0.25,
        }),
    }
}

pub(super) fn status() -> SearchStatus {
    SearchStatus {
        search: 3,
        request: request(),
        state: SearchState::Running,
        reason: "because".to_owned(),
        created_at_ms: 1,
        ended_at_ms: Some(2),
        active: Duration::from_millis(12_345),
        candidates: 4,
        evaluated: 3,
        infeasible: 1,
        front_size: 2,
        hypervolume: Some(0.5),
        reference_point: vec![1.0, 2.0],
        trust: vec![Check {
            candidates: 16,
            ranks: vec![
                Rank {
                    figure: Objective::Kld,
                    correlation: Some(0.75),
                },
                Rank {
                    figure: Objective::Size,
                    correlation: None,
                },
            ],
            is_distrusted: true,
        }],
        shared: SharedPlans {
            plans: 120,
            searches: vec![1, 2],
        },
        outlook: Some(Outlook {
            evaluations: 64,
            expected: Some(Expected {
                grew: 0.25,
                grows: 0.125,
            }),
        }),
        hardware_profile: Some(profile().digest()),
        hardware_summary: profile().summary(),
        numerics_class: Some(NumericsClass("candle/cpu".to_owned())),
    }
}
