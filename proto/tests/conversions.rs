//! What one end writes the other end reads; what is malformed is named by its path.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::Duration;

use bitfront_model::*;
use bitfront_proto::convert::ConvertError;
use bitfront_proto::v1;
use messages::*;
use prost::Message;

#[path = "conversions/fuzz.rs"]
mod fuzz;
#[path = "conversions/messages.rs"]
mod messages;

/// Through bytes, as on a wire.
fn sent<W: Message + Default>(wire: W) -> W {
    W::decode(wire.encode_to_vec().as_slice()).unwrap()
}

#[test]
fn a_request_from_before_there_was_a_choice_guesses_from_rounding_errors() {
    let wire = v1::SearchRequest {
        prior: String::new(),
        ..(&request()).into()
    };
    assert_eq!(
        SearchRequest::try_from(wire).unwrap().prior,
        Prior::Rounding
    );
}

#[test]
fn requests_arrive_as_they_were_sent() {
    let mut request = request();
    for imatrix in [ImatrixSource::None, ImatrixSource::Calibration] {
        let wire = sent(v1::SearchRequest::from(&request));
        assert_eq!(SearchRequest::try_from(wire), Ok(request.clone()));
        request.subject.imatrix = imatrix;
        request.limits = Limits::default();
        request.device = None;
    }
}

#[test]
fn schedules_arrive_as_they_were_sent_and_show_no_webhook() {
    let new = NewSchedule {
        name: "nightly".to_owned(),
        cron: "0 2 * * *".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        grace: Duration::from_millis(3_600_001),
        webhook: Some(Webhook("https://host/secret".to_owned())),
        request: request(),
    };
    let wire = v1::AddScheduleRequest::from(&new);
    assert!(!format!("{wire:?}").contains("secret"));
    assert_eq!(NewSchedule::try_from(sent(wire.clone())).unwrap(), new);
    let without = v1::AddScheduleRequest {
        request: None,
        ..wire
    };
    let error = NewSchedule::try_from(without).unwrap_err();
    assert_eq!(error.to_string(), "request: is missing");

    let night = Night {
        slot_ms: 1_780_000_000_000,
        state: NightState::Started,
        search: Some(12),
        search_state: Some(SearchState::Done),
        reason: "it was moved".to_owned(),
        notice: Notice {
            state: NoticeState::GivenUp,
            attempts: 25,
            ended_ms: Some(1_780_000_000_001),
            error: Some("it answers 500".to_owned()),
        },
    };
    let schedule = Schedule {
        name: new.name,
        cron: new.cron,
        time_zone: new.time_zone,
        state: ScheduleState::Paused,
        grace: new.grace,
        webhook: Some("https://host".to_owned()),
        model: "tiny".to_owned(),
        device: Some("board".to_owned()),
        budget: request().budget,
        created_ms: 1,
        next_ms: vec![2, 3],
        problem: Some("time_zone: there is no `Mars/Olympus`".to_owned()),
        last: Some(night),
    };
    let mut wire = v1::Schedule::from(&schedule);
    assert_eq!(Schedule::try_from(sent(wire.clone())).unwrap(), schedule);
    if let Some(night) = &mut wire.last {
        night.state = "late".to_owned();
    }
    let error = Schedule::try_from(wire).unwrap_err();
    assert_eq!(error.path, "last.state");
}

#[test]
fn assignments_and_reports_arrive_as_they_were_sent() {
    let assignment = Assignment {
        purpose: TaskPurpose::Confirm,
        token: LeaseToken { task: 4, epoch: 2 },
        search: 1,
        candidate: 6,
        kind: TaskKind::Latency,
        subject: request().subject,
        plan: plan(),
        workloads: request().workloads,
        anchor: Some(Anchor {
            plan: plan(),
            times: request().workloads.into_iter().map(anchor_time).collect(),
        }),
        rival: Some(Rival {
            candidate: 5,
            kld_windows: vec![0.25, 0.5],
        }),
        lease_time: Duration::from_secs(30),
    };
    let wire = sent(v1::Assignment::of(&assignment, &spec()));
    assert_eq!(Assignment::try_from(wire), Ok(assignment.clone()));
    let outcomes = [
        Outcome::Quality(quality()),
        Outcome::Latency {
            workloads: latencies(),
        },
        Outcome::Infeasible {
            reason: "no kernel".to_owned(),
        },
    ];
    for outcome in outcomes {
        let report = Report {
            token: assignment.token,
            idempotency_key: "key".to_owned(),
            plan_digest: plan().digest(),
            measurement: Measurement {
                outcome,
                evidence: evidence(),
            },
        };
        let wire = sent(v1::ReportRequest::from(&report));
        assert_eq!(Report::try_from(wire), Ok(report));
    }
    let not_measured = Energy::NotMeasured {
        reason: "no counter".to_owned(),
    };
    for energy in [None, Some(not_measured)] {
        let evidence = Evidence {
            energy,
            cold: None,
            ..evidence()
        };
        let wire = sent(v1::Evidence::from(&evidence));
        assert_eq!(Evidence::try_from(wire), Ok(evidence));
    }
    let mut wire = v1::Evidence::from(&evidence());
    wire.environment.as_mut().unwrap().marks[1] = "tired".to_owned();
    let error = Evidence::try_from(wire).unwrap_err().to_string();
    assert!(error.starts_with("environment.marks[1]: "), "{error}");
    for receipt in [
        Receipt::Recorded,
        Receipt::AlreadyReported,
        Receipt::KeptAsRepeat,
    ] {
        let wire = sent(v1::ReportResponse::from(receipt));
        assert_eq!(Receipt::try_from(wire), Ok(receipt));
    }
    assert!(Receipt::try_from(v1::ReportResponse::default()).is_err());
}

#[test]
fn answers_arrive_as_they_were_sent() {
    let front = Front {
        status: status(),
        points: vec![
            point(),
            FrontPoint {
                quality: None,
                latency: None,
                infeasible: Some("no kernel".to_owned()),
                baseline: None,
                placing: Placing {
                    class_of: Some(5),
                    ..Placing::default()
                },
                ..point()
            },
        ],
        hardware_profile: Some(profile()),
        stale: drift().stale(),
    };
    assert!(front.stale.is_some());
    let wire = sent(v1::FrontResponse::from(&front));
    assert_eq!(Front::try_from(wire), Ok(front));
    let queued = SearchStatus {
        state: SearchState::Queued,
        ended_at_ms: None,
        hypervolume: None,
        reference_point: Vec::new(),
        outlook: None,
        trust: Vec::new(),
        shared: SharedPlans::default(),
        hardware_profile: None,
        hardware_summary: String::new(),
        numerics_class: None,
        ..status()
    };
    let wire = sent(v1::SearchStatus::from(&queued));
    assert_eq!(SearchStatus::try_from(wire), Ok(queued));
    let best = Best {
        point: point(),
        hardware_profile: profile(),
        spec: spec(),
        subject: request().subject,
    };
    let wire = sent(v1::BestResponse::from(&best));
    assert_eq!(Best::try_from(wire), Ok(best));
    let prediction = Prediction {
        search: 3,
        measured: 60,
        shared: SharedPlans {
            plans: 30,
            searches: vec![2],
        },
        plan: plan(),
        candidate: Some(17),
        size_bytes: 1_234,
        bits_per_weight: 4.5,
        figures: vec![Believed {
            figure: Objective::Kld,
            value: 0.02,
            deviation: 0.05,
            scatter: 0.03,
            measured: None,
        }],
        nearest: point(),
        nearest_keeps: true,
        hardware_profile: profile(),
        spec: spec(),
        subject: request().subject,
    };
    let wire = sent(v1::PredictResponse::from(&prediction));
    assert_eq!(Prediction::try_from(wire), Ok(prediction));
    let standing = |candidate| bitfront_model::fleet::Standing {
        search: 3,
        candidate,
        kld: 0.02,
        decode_ns: 2e6,
        prefill_ns: 9e6,
        size_bytes: 1_234,
    };
    let pick = FleetPick {
        by: Objective::Decode,
        plan: plan(),
        size_bytes: 1_234,
        bits_per_weight: 4.5,
        is_predicted: true,
        compared: 17,
        regrets: vec![Regret {
            hardware_profile: profile(),
            devices: vec!["board".to_owned()],
            fleet: standing(None),
            own: standing(Some(9)),
        }],
        spec: spec(),
        subject: request().subject,
    };
    let wire = sent(v1::FleetResponse::from(&pick));
    assert_eq!(FleetPick::try_from(wire), Ok(pick));
    let comparison = Comparison {
        first: point(),
        second: point(),
        spec: spec(),
        differences: differences(),
    };
    let wire = sent(v1::CompareResponse::from(&comparison));
    assert_eq!(Comparison::try_from(wire), Ok(comparison));
    let wire = sent(v1::DiffResponse::from(&drift()));
    assert_eq!(Drift::try_from(wire), Ok(drift()));
    let device = Device {
        device_id: 4,
        registration: registration(),
        first_seen_ms: 1,
        last_seen_ms: 2,
        measurements: 3,
        state: DeviceState::Silent,
        agent: Some("agent".to_owned()),
        coordinator: Some("127.0.0.1:7311".to_owned()),
        held: vec![
            HeldTask {
                work: Work::Candidate {
                    search: 5,
                    candidate: 6,
                    kind: TaskKind::Latency,
                    purpose: TaskPurpose::Retime,
                },
                since_ms: 7,
            },
            HeldTask {
                work: Work::Question {
                    question: 8,
                    kind: QuestionKind::Sensitivity,
                },
                since_ms: 9,
            },
        ],
        noise: Some(TimingNoise {
            deviation: 0.02,
            timings: 32,
            anchor: Digest::of("anchor"),
            workload: "decode@64x16".parse().unwrap(),
        }),
    };
    let wire = sent(v1::RegisterRequest::from(&device.registration));
    assert_eq!(
        Registration::try_from(wire),
        Ok(device.registration.clone())
    );
    let wire = sent(v1::Device::from(&device));
    for (serving, state) in [(true, DeviceState::Present), (false, DeviceState::Away)] {
        // As a coordinator of an earlier version tells it.
        let earlier = v1::Device {
            state: String::new(),
            serving,
            ..wire.clone()
        };
        assert_eq!(Device::try_from(earlier).unwrap().state, state);
    }
    assert_eq!(Device::try_from(wire), Ok(device));
}

#[test]
fn a_malformed_field_is_named_by_its_path() {
    fn request_with(change: fn(&mut v1::SearchRequest)) -> ConvertError {
        let mut wire = v1::SearchRequest::from(&request());
        change(&mut wire);
        SearchRequest::try_from(wire).unwrap_err().within("request")
    }
    fn report_with(change: fn(&mut v1::ReportRequest)) -> ConvertError {
        let report = Report {
            token: LeaseToken { task: 4, epoch: 2 },
            idempotency_key: "key".to_owned(),
            plan_digest: plan().digest(),
            measurement: Measurement {
                outcome: Outcome::Latency {
                    workloads: latencies(),
                },
                evidence: evidence(),
            },
        };
        let mut wire = v1::ReportRequest::from(&report);
        change(&mut wire);
        Report::try_from(wire).unwrap_err()
    }
    fn front_with(change: fn(&mut v1::FrontPoint)) -> ConvertError {
        let front = Front {
            status: status(),
            points: vec![point(), point()],
            hardware_profile: None,
            stale: None,
        };
        let mut wire = v1::FrontResponse::from(&front);
        change(&mut wire.points[1]);
        Front::try_from(wire).unwrap_err()
    }
    fn drift_with(change: fn(&mut v1::DiffResponse)) -> ConvertError {
        let mut wire = v1::DiffResponse::from(&drift());
        change(&mut wire);
        Drift::try_from(wire).unwrap_err()
    }
    fn layer(wire: &mut v1::SearchRequest) -> &mut v1::Layer {
        &mut wire.spec.as_mut().unwrap().layers[1]
    }
    fn latency(wire: &mut v1::ReportRequest) -> &mut v1::Latency {
        match wire.measurement.as_mut().unwrap().outcome.as_mut().unwrap() {
            v1::measurement::Outcome::Latency(latencies) => &mut latencies.workloads[1],
            _ => unreachable!(),
        }
    }
    let rows = [
        (request_with(|r| r.spec = None), "request.spec: is missing"),
        (
            request_with(|r| r.budget = None),
            "request.budget: is missing",
        ),
        (
            request_with(|r| layer(r).kind = "ffn".to_owned()),
            "request.spec.layers[1].kind: unknown kind of layer `ffn`",
        ),
        (
            request_with(|r| layer(r).source = "q9".to_owned()),
            "request.spec.layers[1].source: unknown precision `q9`",
        ),
        (
            request_with(|r| layer(r).rows = u64::MAX),
            "request.spec.layers: layer `blk.0.attn_q` has the impossible shape",
        ),
        (
            request_with(|r| layer(r).name = "token_embd".to_owned()),
            "request.spec.layers: layer `token_embd` is listed twice",
        ),
        (
            request_with(|r| r.spec.as_mut().unwrap().digest = "12".to_owned()),
            "request.spec.digest: `12` is not a digest",
        ),
        (
            request_with(|r| r.objectives[1] = "beauty".to_owned()),
            "request.objectives[1]: unknown objective `beauty`",
        ),
        (
            request_with(|r| r.workloads[0] = "prefill@0".to_owned()),
            "request.workloads[0]: unknown workload `prefill@0`",
        ),
        (
            request_with(|r| r.prior = "luck".to_owned()),
            "request.prior: unknown prior `luck`",
        ),
        (
            request_with(|r| r.strategy = "luck".to_owned()),
            "request.strategy: unknown strategy `luck`",
        ),
        (
            request_with(|r| {
                let subject = r.subject.as_mut().unwrap();
                subject.imatrix = Some(v1::ImatrixSource { from: None });
            }),
            "request.subject.imatrix.from: is missing",
        ),
        (
            report_with(|r| r.idempotency_key.clear()),
            "idempotency_key: is empty",
        ),
        (report_with(|r| r.token = None), "token: is missing"),
        (
            report_with(|r| latency(r).median_ns = f64::NAN),
            "measurement.latency.workloads[1].median_ns: is NaN",
        ),
        (
            report_with(|r| latency(r).interval.as_mut().unwrap().high = f64::INFINITY),
            "measurement.latency.workloads[1].interval.high: is inf",
        ),
        (
            report_with(|r| {
                let mut quality = v1::Quality::from(&quality());
                quality.kld_windows[1] = f64::NAN;
                let outcome = v1::measurement::Outcome::Quality(quality);
                r.measurement.as_mut().unwrap().outcome = Some(outcome);
            }),
            "measurement.quality.kld_windows[1]: is NaN",
        ),
        (
            report_with(|r| {
                let mut quality = v1::Quality::from(&quality());
                quality.same_top_windows.pop();
                let outcome = v1::measurement::Outcome::Quality(quality);
                r.measurement.as_mut().unwrap().outcome = Some(outcome);
            }),
            "measurement.quality.same_top_windows: has 1 windows, and 2 were scored",
        ),
        (
            report_with(|r| {
                let mut quality = v1::Quality::from(&quality());
                quality.same_top_windows[1] = f64::NAN;
                let outcome = v1::measurement::Outcome::Quality(quality);
                r.measurement.as_mut().unwrap().outcome = Some(outcome);
            }),
            "measurement.quality.same_top_windows: has NaN, which is no share from 0 to 1",
        ),
        (
            report_with(|r| {
                let mut quality = v1::Quality::from(&quality());
                quality.same_top_rate = 1.5;
                let outcome = v1::measurement::Outcome::Quality(quality);
                r.measurement.as_mut().unwrap().outcome = Some(outcome);
            }),
            "measurement.quality.same_top_rate: has 1.5, which is no share from 0 to 1",
        ),
        (
            report_with(|r| {
                let mut quality = v1::Quality::from(&quality());
                quality.stopped.as_mut().unwrap().windows = 2;
                let outcome = v1::measurement::Outcome::Quality(quality);
                r.measurement.as_mut().unwrap().outcome = Some(outcome);
            }),
            "measurement.quality.stopped.windows: is 2, and 2 windows were scored",
        ),
        (
            report_with(|r| {
                let mut quality = v1::Quality::from(&quality());
                quality.rescored[1].kld = f64::INFINITY;
                let outcome = v1::measurement::Outcome::Quality(quality);
                r.measurement.as_mut().unwrap().outcome = Some(outcome);
            }),
            "measurement.quality.rescored[1].kld: is inf",
        ),
        (
            report_with(|r| r.measurement.as_mut().unwrap().evidence = None),
            "measurement.evidence: is missing",
        ),
        (
            report_with(|r| r.measurement.as_mut().unwrap().outcome = None),
            "measurement.outcome: is missing",
        ),
        (
            front_with(|p| {
                p.plan.as_mut().unwrap().precisions.pop();
            }),
            "points[1].plan.precisions: the plan has 1 precisions but the model has 2 layers",
        ),
        (
            front_with(|p| p.quality_evidence = None),
            "points[1].quality_evidence: is missing",
        ),
        (
            front_with(|p| {
                let against = p.placing.as_mut().unwrap().against.as_mut().unwrap();
                let differences = against.differences.as_mut().unwrap();
                differences.kld.as_mut().unwrap().mean = f64::NAN;
            }),
            "points[1].placing.against.differences.kld.mean: is NaN",
        ),
        (
            drift_with(|d| d.points[0].changes[0].figure = "beauty".to_owned()),
            "points[0].changes[0].figure: unknown workload `beauty`",
        ),
        (
            drift_with(|d| d.points[0].changes[0].ratio = None),
            "points[0].changes[0].ratio: is missing",
        ),
        (
            drift_with(|d| d.overall[1].verdict = "slow".to_owned()),
            "overall[1].verdict: unknown verdict `slow`",
        ),
        (
            drift_with(|d| d.hypervolumes.as_mut().unwrap().after = f64::NAN),
            "hypervolumes.after: is NaN",
        ),
        (
            front_with(|p| p.latencies[0].workload.clear()),
            "points[1].latencies[0].workload: unknown workload ``",
        ),
    ];
    let failures: Vec<_> = rows
        .iter()
        .filter(|(error, expected)| !error.to_string().starts_with(expected))
        .map(|(error, expected)| format!("expected `{expected}`, found `{error}`"))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
