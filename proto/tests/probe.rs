//! Probes arrive as they were sent; what is malformed is named by its path.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bitfront_model::*;
use bitfront_proto::v1;
use prost::Message;

fn sent<W: Message + Default>(wire: W) -> W {
    W::decode(wire.encode_to_vec().as_slice()).unwrap()
}

fn shape() -> Shape {
    Shape {
        rows: 8,
        columns: 256,
    }
}

fn question() -> ProbeQuestion {
    ProbeQuestion {
        shapes: vec![shape()],
        precisions: vec![Precision::Q8_0, Precision::Q4K],
        few_rows: 4,
        many_rows: 128,
    }
}

fn time(median_ns: f64) -> ProductTime {
    let interval = |middle: f64| Interval {
        low: middle * 0.9,
        high: middle * 1.1,
        confidence: 0.95,
    };
    ProductTime {
        median_ns,
        interval: interval(median_ns),
        ratio: 1.5,
        ratio_interval: interval(1.5),
        samples_ns: vec![100, 120],
        warm_up_ns: 5,
        noisy: true,
    }
}

fn probe() -> Probe {
    Probe {
        products: vec![
            Product {
                shape: shape(),
                precision: Precision::Q8_0,
                result: ProductResult::Timed {
                    few_rows: time(110.0),
                    many_rows: time(900.0),
                },
            },
            Product {
                shape: shape(),
                precision: Precision::Q4K,
                result: ProductResult::Infeasible {
                    reason: "no kernel".to_owned(),
                },
            },
        ],
        environment: Environment {
            host: "host".to_owned(),
            ..Environment::default()
        },
        duration_ns: 77,
    }
}

fn device() -> ProbedDevice {
    let standings = [
        QuestionStanding::Pending,
        QuestionStanding::Done(Box::new(probe())),
        QuestionStanding::Failed {
            reason: "gone".to_owned(),
        },
    ];
    ProbedDevice {
        device: Device {
            device_id: 4,
            registration: Registration {
                device: "one".to_owned(),
                hardware_profile: HardwareProfile {
                    cpu_model: "cpu".to_owned(),
                    cpu_architecture: "x86_64".to_owned(),
                    isa_features: Vec::new(),
                    cores: 1,
                    placement: None,
                    gpu: None,
                    driver: None,
                    runtime: "candle".to_owned(),
                    runtime_version: "1".to_owned(),
                    threads: 1,
                    governor: None,
                    switches: [].into(),
                },
                numerics_class: NumericsClass("candle/cpu".to_owned()),
                precisions: Precision::ALL.to_vec(),
                agent_version: "1".to_owned(),
                can_probe: true,
                can_score_swaps: false,
            },
            first_seen_ms: 1,
            last_seen_ms: 2,
            measurements: 3,
            state: DeviceState::Present,
            agent: None,
            coordinator: None,
            held: Vec::new(),
            noise: None,
        },
        probes: standings
            .into_iter()
            .map(|standing| DeviceProbe {
                probe: 3,
                question: question(),
                standing,
                excluded: vec![Exclusion {
                    shape: shape(),
                    precision: Precision::Q4_0,
                    by: vec![Precision::Q4K],
                    reason: "slower".to_owned(),
                }],
            })
            .collect(),
    }
}

fn report() -> AnswerReport {
    AnswerReport {
        token: LeaseToken { task: 4, epoch: 2 },
        idempotency_key: "key".to_owned(),
        question_digest: question().digest(),
        answer: Answer::Probe(probe()),
    }
}

#[test]
fn probes_arrive_as_they_were_sent() {
    let assignment = QuestionAssignment {
        token: LeaseToken { task: 4, epoch: 2 },
        question: Question::Probe(question()),
        lease_time: Duration::from_secs(30),
    };
    let wire = sent(v1::QuestionAssignment::from(&assignment));
    assert_eq!(QuestionAssignment::try_from(wire), Ok(assignment));
    let wire = sent(v1::ReportAnswerRequest::from(&report()));
    assert_eq!(AnswerReport::try_from(wire), Ok(report()));
    let wire = sent(v1::DeviceResponse::from(&device()));
    assert_eq!(ProbedDevice::try_from(wire), Ok(device()));
}

#[test]
fn a_malformed_probe_is_named_by_its_path() {
    let refused = |change: fn(&mut v1::ReportAnswerRequest)| {
        let mut wire = v1::ReportAnswerRequest::from(&report());
        change(&mut wire);
        AnswerReport::try_from(wire).unwrap_err().to_string()
    };
    fn products(wire: &mut v1::ReportAnswerRequest) -> &mut Vec<v1::Product> {
        match &mut wire.answer {
            Some(v1::report_answer_request::Answer::Probe(probe)) => &mut probe.products,
            other => panic!("{other:?} is no probe"),
        }
    }
    let message = refused(|wire| {
        let products = products(wire);
        let Some(v1::product::Result::Timed(timed)) = &mut products[0].result else {
            panic!("it is timed");
        };
        timed.few_rows.as_mut().unwrap().median_ns = f64::NAN;
    });
    assert!(
        message.contains("probe.products[0].few_rows.median_ns"),
        "{message}"
    );
    let message = refused(|wire| products(wire)[1].result = None);
    assert!(message.contains("products[1].result"), "{message}");
    let message = refused(|wire| wire.idempotency_key.clear());
    assert!(message.contains("idempotency_key"), "{message}");
}
