use std::time::Duration;

use bitfront_model::{Blob, Digest, ManifestFile, Place, Precision, StallRule};

use super::*;
use crate::fixtures;

#[test]
fn the_fixture_passes_with_and_without_a_device() {
    let mut request = fixtures::request();
    assert_eq!(check(&request, &[]), Ok(()));
    request.device = Some("one".to_owned());
    assert_eq!(check(&request, &["one".to_owned()]), Ok(()));
}

#[test]
fn every_bad_request_is_refused_with_the_field_and_the_way_out() {
    type Change = fn(&mut SearchRequest);
    let rows: &[(&str, Change, &[&str])] = &[
        (
            "no layers",
            |r| r.spec.layers.clear(),
            &["request.spec", "no layers"],
        ),
        (
            "two of a name",
            |r| r.spec.layers[1].name = "output".to_owned(),
            &["request.spec", "`output`"],
        ),
        (
            "another model",
            |r| r.subject.model.digest = Digest::of("other"),
            &["request.subject.model.digest", "the spec describes"],
        ),
        (
            "no model",
            |r| r.subject.model.path.clear(),
            &["subject.model.path"],
        ),
        (
            "one file twice",
            |r| {
                let digest = Digest::of("bytes");
                let file = ManifestFile {
                    path: "/model".to_owned(),
                    place: Place::Itself,
                    blob: Blob {
                        digest,
                        size_bytes: 5,
                    },
                    url: None,
                };
                r.subject.manifest.files = vec![file.clone(), file];
            },
            &["subject.manifest", "twice", "`/model`"],
        ),
        (
            "no text",
            |r| r.subject.data.evaluation_path.clear(),
            &["subject.data.evaluation_path"],
        ),
        (
            "short windows",
            |r| r.subject.data.context = 8,
            &["subject.data.context", "at least 16"],
        ),
        (
            "long windows",
            |r| r.subject.data.context = 512,
            &["subject.data.context", "256 at most"],
        ),
        (
            "nothing to confirm on",
            |r| r.subject.data.held_back.as_mut().unwrap().windows = 0,
            &["held_back", "leave it out"],
        ),
        (
            "no windows",
            |r| r.subject.data.evaluation_windows = 0,
            &["evaluation_windows"],
        ),
        (
            "one window, which has no error",
            |r| r.subject.data.evaluation_windows = 1,
            &["evaluation_windows", "at least 2"],
        ),
        (
            "nothing to calibrate with",
            |r| r.subject.data.calibration_windows = 0,
            &["calibration_windows"],
        ),
        (
            "one objective",
            |r| r.objectives.truncate(1),
            &["request.objectives", "1 are given", "two or three"],
        ),
        (
            "too many objectives",
            |r| r.objectives = Objective::ALL.to_vec(),
            &["request.objectives", "5 are given"],
        ),
        (
            "an objective twice",
            |r| r.objectives[2] = Objective::Kld,
            &["request.objectives", "`kld` is named twice"],
        ),
        (
            "no decode",
            |r| r.workloads.truncate(1),
            &["request.workloads", "[prefill@64]"],
        ),
        (
            "two decodes",
            |r| r.workloads[0] = r.workloads[1],
            &["request.workloads", "exactly one prefill"],
        ),
        (
            "a prompt beyond the context",
            |r| {
                r.workloads[0] = Workload::Prefill {
                    tokens: 257,
                    batch: 1,
                }
            },
            &["request.workloads", "prefill@257", "1 to 256"],
        ),
        (
            "a decode beyond the context",
            |r| {
                r.workloads[1] = Workload::Decode {
                    context: u32::MAX,
                    tokens: u32::MAX,
                    batch: 1,
                }
            },
            &["request.workloads", "1 to 256"],
        ),
        (
            "a batch without end",
            |r| r.workloads[1] = "decode@64x16b257".parse().unwrap(),
            &[
                "request.workloads",
                "decode@64x16b257",
                "1 to 256 sequences",
            ],
        ),
        (
            "a batch of nothing",
            |r| {
                r.workloads[0] = Workload::Prefill {
                    tokens: 8,
                    batch: 0,
                }
            },
            &["request.workloads", "a batch of 0"],
        ),
        (
            "more sequences than the text has beginnings",
            |r| {
                r.subject.data.evaluation_windows = 2;
                r.workloads[0] = "prefill@250b8".parse().unwrap();
            },
            &[
                "request.workloads",
                "prefill@250b8",
                "text of 257",
                "have 256",
            ],
        ),
        (
            "no budget",
            |r| r.budget = Budget::default(),
            &["request.budget", "evaluations, a time or both"],
        ),
        (
            "no evaluations",
            |r| r.budget.evaluations = Some(0),
            &["request.budget.evaluations", "is 0"],
        ),
        (
            "evaluations without end",
            |r| r.budget.evaluations = Some(u64::MAX),
            &["request.budget.evaluations"],
        ),
        (
            "no time",
            |r| r.budget.time = Some(Duration::ZERO),
            &["request.budget.time"],
        ),
        (
            "time without end",
            |r| r.budget.time = Some(Duration::MAX),
            &["request.budget.time", "10 years"],
        ),
        (
            "a loss that is no number",
            |r| r.limits.max_kld = Some(f64::NAN),
            &["request.limits.max_kld", "NaN"],
        ),
        (
            "a negative loss",
            |r| r.limits.max_kld = Some(-0.1),
            &["request.limits.max_kld", "-0.1"],
        ),
        (
            "no size",
            |r| r.limits.max_size_bytes = Some(0),
            &["request.limits.max_size_bytes"],
        ),
        (
            "a size out of reach",
            |r| r.limits.max_size_bytes = Some(100_000),
            &[
                "request.limits.max_size_bytes",
                "100000 bytes",
                "the smallest plan",
            ],
        ),
        (
            "no latency",
            |r| r.limits.max_decode = Some(Duration::ZERO),
            &["request.limits.max_decode_ns"],
        ),
        (
            "all tokens the same",
            |r| r.limits.min_same_top = Some(1.0),
            &["request.limits.min_same_top", "is 1;"],
        ),
        (
            "no share of tokens",
            |r| r.limits.min_same_top = Some(f64::NAN),
            &["request.limits.min_same_top", "NaN"],
        ),
        (
            "the mismatch made small",
            |r| r.objectives = vec![Objective::Size, Objective::Mismatch],
            &[
                "request.objectives",
                "min_same_top",
                "`kld` tells plans apart",
            ],
        ),
        (
            "a stall over nothing",
            |r| {
                r.early_stop.stalled = Some(StallRule {
                    evaluations: 0,
                    least_growth: 0.01,
                })
            },
            &["request.early_stop.stalled.evaluations", "is 0"],
        ),
        (
            "a stall that never is one",
            |r| {
                r.early_stop.stalled = Some(StallRule {
                    evaluations: 50,
                    least_growth: f64::NAN,
                })
            },
            &["request.early_stop.stalled.least_growth", "is NaN"],
        ),
        (
            "limits that are none",
            |r| r.early_stop.within_limits = true,
            &["request.early_stop.within_limits", "no limit"],
        ),
        (
            "no precisions",
            |r| r.precisions.clear(),
            &["request.precisions", "at least one"],
        ),
        (
            "a precision twice",
            |r| r.precisions.push(Precision::Q8_0),
            &["request.precisions", "`q8_0` is named twice"],
        ),
        (
            "precisions that fit no layer",
            |r| {
                r.spec = fixtures::spec_with_columns(320);
                r.subject.model.digest = r.spec.digest;
            },
            &["request.precisions", "q8_0"],
        ),
        (
            "an unknown device",
            |r| r.device = Some("three".to_owned()),
            &["request.device", "`three`", "known are one, two"],
        ),
    ];
    let devices = ["one".to_owned(), "two".to_owned()];
    let mut failures = Vec::new();
    for (name, change, expected) in rows {
        let mut request = fixtures::request();
        change(&mut request);
        if *name == "precisions that fit no layer" {
            request
                .precisions
                .retain(|&precision| precision != Precision::Q8_0);
        }
        match check(&request, &devices) {
            Ok(()) => failures.push(format!("{name}: was taken")),
            Err(error) => {
                let message = error.to_string();
                if !expected.iter().all(|part| message.contains(part)) {
                    failures.push(format!("{name}: {message}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_smallest_plan_is_within_reach_and_one_byte_less_is_not() {
    let mut request = fixtures::request();
    let smallest = bitfront_model::Plan::uniform(&request.spec, Precision::Q2K).unwrap();
    let smallest = smallest.size_bytes(&request.spec);
    request.limits.max_size_bytes = Some(smallest);
    assert_eq!(check(&request, &[]), Ok(()));
    request.limits.max_size_bytes = Some(smallest - 1);
    let error = check(&request, &[]).unwrap_err();
    assert_eq!(
        error,
        IntakeError::MaxSize {
            limit: smallest - 1,
            smallest
        }
    );
}

#[test]
fn an_unknown_device_among_none_says_how_to_start_one() {
    let mut request = fixtures::request();
    request.device = Some("three".to_owned());
    let message = check(&request, &[]).unwrap_err().to_string();
    assert!(message.contains("bitfront agent"), "{message}");
}
