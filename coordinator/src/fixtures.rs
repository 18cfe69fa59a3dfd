//! A small model, a request over it, a device, and measurements that a device could have made.

use std::collections::BTreeMap;
use std::time::Duration;

use bitfront_model::*;

/// A Llama with two blocks of 256 and 512 columns, so that every precision fits.
pub fn spec() -> ModelSpec {
    spec_with_columns(256)
}

/// The same model with another width of the residual stream.
pub fn spec_with_columns(hidden: u64) -> ModelSpec {
    let mut layers = vec![layer(
        "token_embd",
        LayerKind::TokenEmbedding,
        None,
        320,
        hidden,
    )];
    for block in 0..2 {
        for kind in LayerKind::ALL {
            let (rows, columns) = match kind {
                LayerKind::TokenEmbedding | LayerKind::Output => continue,
                LayerKind::FeedForwardGate | LayerKind::FeedForwardUp => (512, hidden),
                LayerKind::FeedForwardDown => (hidden, 512),
                _ => (hidden, hidden),
            };
            let name = format!("blk.{block}.{kind}");
            layers.push(layer(&name, kind, Some(block), rows, columns));
        }
    }
    layers.push(layer("output", LayerKind::Output, None, 320, hidden));
    ModelSpec {
        name: "tiny".to_owned(),
        architecture: Architecture::Llama,
        blocks: 2,
        hidden_size: hidden,
        intermediate_size: 512,
        attention_heads: 4,
        key_value_heads: 4,
        head_size: hidden / 4,
        context_length: 256,
        vocabulary_size: 320,
        layers,
        fixed_bytes: 4096,
        digest: Digest::of(format!("tiny {hidden}")),
    }
}

fn layer(name: &str, kind: LayerKind, block: Option<u32>, rows: u64, columns: u64) -> Layer {
    Layer {
        name: name.to_owned(),
        kind,
        block,
        rows,
        columns,
        source: Precision::F16,
        tied: false,
    }
}

/// A request that passes intake.
pub fn request() -> SearchRequest {
    let spec = spec();
    SearchRequest {
        subject: Subject {
            model: ModelSource {
                path: "/models/tiny".to_owned(),
                tokenizer_path: None,
                digest: spec.digest,
            },
            data: DataSpec {
                evaluation_path: "/texts/evaluation.txt".to_owned(),
                calibration_path: None,
                context: 128,
                evaluation_windows: 8,
                calibration_windows: 2,
                evaluation_digest: Digest::of("evaluation"),
                calibration_digest: Digest::of("calibration"),
                held_back: Some(HeldBack {
                    windows: 4,
                    digest: Digest::of("held back"),
                }),
            },
            imatrix: ImatrixSource::Calibration,
            manifest: Manifest::default(),
        },
        spec,
        device: None,
        objectives: vec![Objective::Kld, Objective::Decode, Objective::Size],
        limits: Limits::default(),
        budget: Budget {
            evaluations: Some(20),
            time: None,
        },
        precisions: vec![
            Precision::Q8_0,
            Precision::Q6K,
            Precision::Q4K,
            Precision::Q3K,
            Precision::Q2K,
        ],
        grouping: Grouping::Tensor,
        strategy: StrategyName::Nsga2,
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
        seed: 7,
        staged: true,
        retimings: true,
        early_stop: EarlyStop::default(),
        start_from: None,
        prior: Prior::Swaps,
        shares: false,
        joint: None,
    }
}

/// A device that executes everything.
pub fn registration(name: &str) -> Registration {
    Registration {
        device: name.to_owned(),
        hardware_profile: HardwareProfile {
            cpu_model: "Scripted 9000".to_owned(),
            cpu_architecture: "x86_64".to_owned(),
            isa_features: vec!["avx2".to_owned()],
            cores: 2,
            gpu: None,
            driver: None,
            runtime: "scripted".to_owned(),
            runtime_version: "1".to_owned(),
            threads: 2,
            governor: None,
            placement: None,
            switches: BTreeMap::new(),
        },
        numerics_class: NumericsClass("scripted/1/cpu/avx2".to_owned()),
        precisions: Precision::ALL.to_vec(),
        agent_version: "test".to_owned(),
        can_probe: false,
        can_score_swaps: false,
    }
}

/// What a scripted device measures: more bits are slower and lose less, and the first layers
/// matter most. A function of the plan and the purpose alone: what is confirmed comes out a little
/// worse.
pub fn measurement(spec: &ModelSpec, assignment: &Assignment) -> Measurement {
    let plan = &assignment.plan;
    let worse = match assignment.purpose {
        TaskPurpose::Search | TaskPurpose::Retime => 1.0,
        TaskPurpose::Confirm => 1.05,
    };
    let outcome = match assignment.kind {
        TaskKind::Quality => {
            let searched = plan.precisions().iter().enumerate();
            let searched: f64 = searched
                .map(|(layer, precision)| {
                    (-1.3 * precision.bits_per_weight()).exp() / (1.0 + layer as f64)
                })
                .sum();
            let kld = worse * searched;
            let rescored = match assignment.purpose {
                TaskPurpose::Search | TaskPurpose::Retime => Vec::new(),
                TaskPurpose::Confirm => [0, 4, 2, 6]
                    .map(|window| Rescored {
                        window,
                        kld: searched * 0.9,
                    })
                    .to_vec(),
            };
            let mut quality = Quality {
                kld,
                kld_standard_error: kld / 10.0,
                kld_windows: [kld * 0.9, kld * 1.1].repeat(4),
                perplexity: 10.0 * kld.exp(),
                reference_perplexity: 10.0,
                same_top_rate: 0.9,
                same_top_windows: vec![0.9; 8],
                positions: 256,
                stopped: None,
                rescored,
            };
            if let Some(rival) = &assignment.rival
                && kld * 0.9 > rival.kld_windows[0]
            {
                quality.kld_windows.truncate(4);
                quality.same_top_windows.truncate(4);
                quality.stopped = Some(Stopped {
                    windows: 8,
                    behind: rival.candidate,
                });
            }
            Outcome::Quality(quality)
        }
        TaskKind::Latency => {
            let bytes = plan.size_bytes(spec) as f64;
            let workloads = assignment.workloads.iter();
            Outcome::Latency {
                workloads: workloads
                    .map(|&workload| {
                        let factor = if workload.is_decode() { 1.0 } else { 20.0 };
                        let median_ns = (bytes * factor + 1000.0) * worse;
                        Latency {
                            workload,
                            samples_ns: vec![median_ns as u64; 3],
                            median_ns,
                            interval: Interval {
                                low: median_ns * 0.99,
                                high: median_ns * 1.01,
                                confidence: 0.95,
                            },
                            warm_up_ns: 1_000_000,
                            percentiles: Vec::new(),
                            paired: assignment
                                .anchor
                                .as_ref()
                                .map(|anchor| paired(spec, anchor, workload, median_ns)),
                        }
                    })
                    .collect(),
            }
        }
    };
    Measurement {
        outcome,
        evidence: evidence(plan),
    }
}

/// A timing beside an anchor whose time follows from its plan as that of any other.
fn paired(spec: &ModelSpec, anchor: &Anchor, workload: Workload, median_ns: f64) -> Paired {
    let factor = if workload.is_decode() { 1.0 } else { 20.0 };
    let anchor_ns = anchor.plan.size_bytes(spec) as f64 * factor + 1000.0;
    let exactly = |value| Interval {
        low: value,
        high: value,
        confidence: 0.95,
    };
    Paired {
        anchor: anchor.plan.digest(),
        ratio: median_ns / anchor_ns,
        ratio_interval: exactly(median_ns / anchor_ns),
        samples_per_block: 1,
        anchor_samples_ns: vec![anchor_ns as u64; 3],
        anchor_samples_per_block: 1,
        discarded_blocks: 0,
        waited_ns: 0,
        reference: anchor.time(workload).unwrap_or(AnchorTime {
            workload,
            median_ns: anchor_ns,
            interval: exactly(anchor_ns),
        }),
        noisy: false,
    }
}

/// A measurement of a plan that cannot be executed.
pub fn infeasible(reason: &str) -> Measurement {
    Measurement {
        outcome: Outcome::Infeasible {
            reason: reason.to_owned(),
        },
        evidence: Evidence {
            executed: Vec::new(),
            ..evidence_of(Vec::new())
        },
    }
}

fn evidence(plan: &Plan) -> Evidence {
    evidence_of(plan.precisions().to_vec())
}

fn evidence_of(executed: Vec<Precision>) -> Evidence {
    Evidence {
        executed,
        imatrix_digest: Some(Digest::of("imatrix")),
        environment: Environment {
            host: "test".to_owned(),
            agent_version: "test".to_owned(),
            load_average: Some(0.5),
            frequency_mhz: None,
            peak_resident_bytes: Some(1 << 20),
            ..Environment::default()
        },
        cold: None,
        energy: None,
        duration_ns: 5_000_000,
    }
}

/// A report about a hand-out, under a key of its own for every attempt to measure.
pub fn report(spec: &ModelSpec, assignment: &Assignment) -> Report {
    let token = assignment.token;
    Report {
        token,
        idempotency_key: format!("{}:{}", token.task, token.epoch),
        plan_digest: assignment.plan.digest(),
        measurement: measurement(spec, assignment),
    }
}

/// A budget of evaluations.
pub fn evaluations(count: u64) -> Budget {
    Budget {
        evaluations: Some(count),
        time: None,
    }
}

/// A budget of time.
pub fn time(time: Duration) -> Budget {
    Budget {
        evaluations: None,
        time: Some(time),
    }
}

/// What a probe of [`spec`] asks.
pub fn probe_question() -> ProbeQuestion {
    let request = request();
    ProbeQuestion::new(&request.spec, &Precision::ALL, &request.workloads)
}

/// A time of a product that is known exactly.
pub fn product_time(median_ns: f64) -> ProductTime {
    let interval = |value: f64| Interval {
        low: value * 0.99,
        high: value * 1.01,
        confidence: 0.95,
    };
    ProductTime {
        median_ns,
        interval: interval(median_ns),
        ratio: median_ns / 1000.0,
        ratio_interval: interval(median_ns / 1000.0),
        samples_ns: vec![median_ns as u64; 6],
        warm_up_ns: 1,
        noisy: false,
    }
}

/// A probe of a device on which `q5_0` is slow, and every other precision takes what its bytes do.
pub fn probe(question: &ProbeQuestion) -> Probe {
    let product = |(shape, precision): (Shape, Precision)| {
        let bytes = precision.bytes(shape.rows, shape.columns).unwrap_or(0) as f64;
        let slower = match precision {
            Precision::Q5_0 => 10.0,
            _ => 1.0,
        };
        Product {
            shape,
            precision,
            result: ProductResult::Timed {
                few_rows: product_time(1000.0 + bytes * slower),
                many_rows: product_time(2000.0 + 10.0 * bytes * slower),
            },
        }
    };
    Probe {
        products: question.products().map(product).collect(),
        environment: Environment::default(),
        duration_ns: 1,
    }
}

/// What a sensitivity of [`request`] asks.
pub fn sensitivity_question() -> SensitivityQuestion {
    let request = request();
    SensitivityQuestion::new(
        &request.subject,
        &request.spec,
        &request.precisions,
        &Precision::ALL,
    )
}

/// What the layers of a scripted device lose alone: the last ones most, which neither their shapes
/// nor what is measured of plans tells.
pub fn sensitivity(question: &SensitivityQuestion) -> Sensitivity {
    let swaps = question.swaps().map(|(layer, precision)| {
        let kld = (-1.3 * precision.bits_per_weight()).exp() * (1.0 + layer as f64);
        Swap {
            layer,
            precision,
            result: SwapResult::Scored {
                kld_windows: vec![kld; question.windows as usize],
            },
        }
    });
    Sensitivity {
        swaps: swaps.collect(),
        environment: Environment::default(),
        duration_ns: 1,
    }
}

/// What a scripted device answers to any question, under a key of its own for every attempt.
pub fn answer(assignment: &QuestionAssignment) -> AnswerReport {
    let token = assignment.token;
    AnswerReport {
        token,
        idempotency_key: format!("question {}:{}", token.task, token.epoch),
        question_digest: assignment.question.digest(),
        answer: match &assignment.question {
            Question::Probe(question) => Answer::Probe(probe(question)),
            Question::Sensitivity(question) => Answer::Sensitivity(sensitivity(question)),
        },
    }
}
