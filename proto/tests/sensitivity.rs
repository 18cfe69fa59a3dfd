//! Sensitivities arrive as they were sent; what is malformed is named by its path.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bitfront_model::*;
use bitfront_proto::v1;
use bitfront_proto::v1::report_answer_request::Answer as WireAnswer;
use bitfront_proto::v1::swap::Result as WireResult;
use prost::Message;

fn sent<W: Message + Default>(wire: W) -> W {
    W::decode(wire.encode_to_vec().as_slice()).unwrap()
}

fn spec() -> ModelSpec {
    let layer = |name: &str, kind| Layer {
        name: name.to_owned(),
        kind,
        block: None,
        rows: 64,
        columns: 256,
        source: Precision::Bf16,
        tied: false,
    };
    ModelSpec {
        name: "tiny".to_owned(),
        architecture: Architecture::Qwen3,
        blocks: 0,
        hidden_size: 256,
        intermediate_size: 64,
        attention_heads: 4,
        key_value_heads: 2,
        head_size: 64,
        context_length: 512,
        vocabulary_size: 64,
        layers: vec![
            layer("token_embd", LayerKind::TokenEmbedding),
            layer("output", LayerKind::Output),
        ],
        fixed_bytes: 12,
        digest: Digest::of("tiny"),
    }
}

fn question() -> SensitivityQuestion {
    SensitivityQuestion {
        subject: Subject {
            model: ModelSource {
                path: "/models/tiny".to_owned(),
                tokenizer_path: None,
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
                held_back: None,
            },
            imatrix: ImatrixSource::Calibration,
            manifest: Manifest::default(),
        },
        spec: spec(),
        precisions: vec![Precision::Q8_0, Precision::Q4K],
        windows: 2,
    }
}

fn sensitivity() -> Sensitivity {
    let question = question();
    let swaps = question.swaps().map(|(layer, precision)| Swap {
        layer,
        precision,
        result: match precision {
            Precision::Q8_0 => SwapResult::Scored {
                kld_windows: vec![0.1 + 0.2, -1e-9],
            },
            _ => SwapResult::Infeasible {
                reason: "not finite".to_owned(),
            },
        },
    });
    Sensitivity {
        swaps: swaps.collect(),
        environment: Environment {
            host: "host".to_owned(),
            ..Environment::default()
        },
        duration_ns: 7,
    }
}

fn report() -> AnswerReport {
    AnswerReport {
        token: LeaseToken { task: 4, epoch: 2 },
        idempotency_key: "key".to_owned(),
        question_digest: question().digest(),
        answer: Answer::Sensitivity(sensitivity()),
    }
}

#[test]
fn sensitivities_arrive_as_they_were_sent() {
    let assignment = QuestionAssignment {
        token: LeaseToken { task: 4, epoch: 2 },
        question: Question::Sensitivity(Box::new(question())),
        lease_time: Duration::from_secs(30),
    };
    let wire = sent(v1::QuestionAssignment::from(&assignment));
    assert_eq!(QuestionAssignment::try_from(wire), Ok(assignment));
    let wire = sent(v1::ReportAnswerRequest::from(&report()));
    assert_eq!(AnswerReport::try_from(wire), Ok(report()));
    let shown = SearchSensitivity {
        search: 3,
        question: question(),
        sensitivity: sensitivity(),
    };
    let wire = sent(v1::SensitivityResponse::from(&shown));
    assert_eq!(SearchSensitivity::try_from(wire), Ok(shown));
}

#[test]
fn a_malformed_sensitivity_is_named_by_its_path() {
    fn swaps(wire: &mut v1::ReportAnswerRequest) -> &mut Vec<v1::Swap> {
        match &mut wire.answer {
            Some(WireAnswer::Sensitivity(sensitivity)) => &mut sensitivity.swaps,
            other => panic!("{other:?} is no sensitivity"),
        }
    }
    let refused = |change: fn(&mut v1::ReportAnswerRequest), expected: &str| {
        let mut wire = v1::ReportAnswerRequest::from(&report());
        change(&mut wire);
        let message = AnswerReport::try_from(wire).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    refused(
        |wire| {
            let Some(WireResult::Scored(scored)) = &mut swaps(wire)[0].result else {
                panic!("it is scored");
            };
            scored.kld_windows[1] = f64::INFINITY;
        },
        "sensitivity.swaps[0].kld_windows[1]",
    );
    refused(
        |wire| swaps(wire)[1].result = None,
        "sensitivity.swaps[1].result: is missing",
    );
    refused(
        |wire| swaps(wire)[0].precision = "q9".to_owned(),
        "sensitivity.swaps[0].precision",
    );
    refused(|wire| wire.answer = None, "answer: is missing");
    let mut wire = v1::SensitivityQuestion::from(&question());
    wire.windows = 0;
    let error = SensitivityQuestion::try_from(wire).unwrap_err().to_string();
    assert!(error.contains("windows: is 0"), "{error}");
}
