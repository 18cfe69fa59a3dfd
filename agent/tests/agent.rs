//! An agent over real TCP, with a scripted runtime and a coordinator that remembers what it heard.

#![allow(clippy::unwrap_used)]

// Shared with the whole-system tests, where these items are public; not all are used here.
#[allow(unreachable_pub, dead_code)]
mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bitfront_agent::{AgentError, Calm, Config, CoreChoice};
use bitfront_model::{
    AnswerReport, Assignment, LeaseToken, Mark, Measurement, Outcome, Plan, Precision,
    ProbeQuestion, Question, QuestionAssignment, SensitivityQuestion, TaskKind,
};
use bitfront_proto::v1;
use bitfront_runtime::RuntimeError;
use support::bench::{Agent, World, config, held_back, patience, reports, tasks_reported};
use support::fake_coordinator::FakeCoordinator;
use support::scripted::{self, Answer, ScriptedRuntime};
use tokio_util::sync::CancellationToken;
use tonic::Status;

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_measured_and_reported_with_their_evidence() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    world.queue(&coordinator, 1, TaskKind::Quality);
    world.queue(&coordinator, 2, TaskKind::Latency);
    let runtime = ScriptedRuntime::obliging().pausing(Duration::from_millis(3));
    let agent = Agent::start(&coordinator, runtime);
    coordinator
        .wait("two reports", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();

    let state = coordinator.state();
    let registration = &state.registrations[0];
    assert_eq!(registration.device, "bench");
    assert_eq!(registration.numerics_class, "scripted/1");
    assert_eq!(
        registration.hardware_profile.as_ref().unwrap().runtime,
        "scripted"
    );
    assert_eq!(registration.precisions.len(), Precision::ALL.len());

    let plan = Plan::uniform(&world.spec, Precision::Q4K).unwrap();
    let reports = reports(&state);
    for (report, task) in reports.iter().zip([1, 2]) {
        assert_eq!(report.token, LeaseToken { task, epoch: 1 });
        assert_eq!(report.plan_digest, plan.digest());
        let key = uuid::Uuid::parse_str(&report.idempotency_key).unwrap();
        assert_eq!(key.get_version_num(), 7);
        let evidence = &report.measurement.evidence;
        assert_eq!(evidence.executed, plan.precisions());
        assert!(evidence.duration_ns >= 3_000_000, "{evidence:?}");
        assert!(!evidence.environment.host.is_empty());
        assert!(!evidence.environment.agent_version.is_empty());
        let not_pinned = evidence.environment.not_pinned.as_deref();
        assert_eq!(
            not_pinned,
            Some("left to the operating system, as asked for")
        );
    }
    assert_ne!(reports[0].idempotency_key, reports[1].idempotency_key);
    match &reports[0].measurement.outcome {
        Outcome::Quality(quality) => assert_eq!(quality.kld, scripted::kld(&plan)),
        other => panic!("{other:?}"),
    }
    match &reports[1].measurement.outcome {
        Outcome::Latency { workloads } => {
            let medians: Vec<f64> = workloads.iter().map(|latency| latency.median_ns).collect();
            assert_eq!(
                medians,
                [scripted::prefill_ns(&plan), scripted::decode_ns(&plan)]
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn companions_are_measured_together_and_each_has_a_report_of_its_own() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let precisions = [Precision::Q4K, Precision::Q2K, Precision::Q6K];
    let together: Vec<_> = (1..)
        .zip(precisions)
        .map(|(task, precision)| Assignment {
            plan: Plan::uniform(&world.spec, precision).unwrap(),
            ..world.assignment(task, TaskKind::Latency)
        })
        .collect();
    coordinator.queue_together(&together, &world.spec);
    // The second plan cannot be executed, and while they are measured all leases are kept.
    let broken = together[1].plan.clone();
    let runtime = ScriptedRuntime::deciding(move |plan, _| match *plan == broken {
        true => Answer::Infeasible("no kernel".to_owned()),
        false => Answer::Figures,
    });
    let runtime = runtime.pausing(Duration::from_millis(50));
    let agent = Agent::start(&coordinator, runtime);
    coordinator
        .wait("three reports", |state| state.reports.len() == 3)
        .await;
    agent.stop().await.unwrap();

    let state = coordinator.state();
    assert_eq!(tasks_reported(&state), [1, 2, 3]);
    let keys: Vec<_> = state.reports.iter().map(|it| &it.idempotency_key).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
    for (report, assignment) in reports(&state).iter().zip(&together) {
        assert_eq!(report.plan_digest, assignment.plan.digest());
        match &report.measurement.outcome {
            Outcome::Infeasible { reason } => assert_eq!(reason, "no kernel"),
            Outcome::Latency { workloads } => {
                let expected = scripted::decode_ns(&assignment.plan);
                assert_eq!(workloads[1].median_ns, expected);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(state.heartbeats[0].held.len(), 3, "{:?}", state.heartbeats);
    assert!(state.releases.is_empty(), "{:?}", state.releases);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_of_all_companions_gives_each_of_them_back() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    std::fs::remove_file(world.path("model.gguf")).unwrap();
    let together = [1, 2].map(|task| world.assignment(task, TaskKind::Latency));
    coordinator.queue_together(&together, &world.spec);
    let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
    coordinator
        .wait("two releases", |state| state.releases.len() == 2)
        .await;
    agent.stop().await.unwrap();
    let state = coordinator.state();
    for release in &state.releases {
        assert!(release.failed && release.reason.contains("model.gguf"));
    }
    assert!(state.reports.is_empty());
}

/// A device of one core that somebody else uses at every moment, until it is dropped.
struct BusyDevice {
    root: tempfile::TempDir,
    stop: Option<mpsc::Sender<()>>,
    ticking: Option<std::thread::JoinHandle<()>>,
}

impl BusyDevice {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/loadavg"), "4.25 1.0 1.0 1/2 3\n").unwrap();
        let (stop, stopped) = mpsc::channel();
        let (new, stat) = (root.path().join("new"), root.path().join("proc/stat"));
        let mut ticks = 0;
        let mut tick = move || {
            ticks += 1;
            std::fs::write(&new, format!("cpu0 {ticks} 0 0 5 0 0 0 0 0 0\n")).unwrap();
            // Nobody reads half a file.
            std::fs::rename(&new, &stat).unwrap();
        };
        tick();
        let ticking = std::thread::spawn(move || {
            let pause = Duration::from_millis(5);
            while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                tick();
            }
        });
        Self {
            root,
            stop: Some(stop),
            ticking: Some(ticking),
        }
    }
}

impl Drop for BusyDevice {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.ticking.take().unwrap().join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_device_times_with_a_mark_or_gives_the_task_back_with_load_and_limit() {
    let device = BusyDevice::new();
    for refuse in [false, true] {
        let (world, coordinator) = (World::new(), FakeCoordinator::start());
        world.queue(&coordinator, 1, TaskKind::Latency);
        let wait = Duration::from_millis(150);
        let config = Config {
            calm: Calm { wait, refuse },
            root: device.root.path().to_owned(),
            ..config(&coordinator)
        };
        let agent = Agent::start_with(config, ScriptedRuntime::obliging());
        coordinator
            .wait("an answer", |state| {
                state.reports.len() + state.releases.len() == 1
            })
            .await;
        agent.stop().await.unwrap();
        let state = coordinator.state();
        if refuse {
            let release = &state.releases[0];
            assert!(!release.failed, "the attempt must not count");
            for told in ["others use 1.00 ", "at most 0.2 ", "load average 4.25"] {
                assert!(release.reason.contains(told), "{}", release.reason);
            }
        } else {
            let environment = reports(&state).remove(0).measurement.evidence.environment;
            assert_eq!(environment.marks, [Mark::Busy, Mark::NotPinned]);
            assert_eq!(environment.before.unwrap().busy_cores, Some(1.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_whose_answer_is_lost_is_sent_again_unchanged() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    coordinator.state().report_errors = [
        Status::unavailable("lost"),
        Status::internal("the disk is full"),
        Status::unknown("transport error"),
    ]
    .into();
    world.queue(&coordinator, 1, TaskKind::Quality);
    world.queue(&coordinator, 2, TaskKind::Quality);
    let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
    coordinator
        .wait("five reports", |state| state.reports.len() == 5)
        .await;
    agent.stop().await.unwrap();

    let state = coordinator.state();
    assert_eq!(tasks_reported(&state), [1, 1, 1, 1, 2]);
    assert!(
        state.reports[..4]
            .iter()
            .all(|report| report == &state.reports[0])
    );
    assert!(state.releases.is_empty(), "{:?}", state.releases);
}

/// A probe and a sensitivity.
fn questions(world: &World) -> [QuestionAssignment; 2] {
    let probe = ProbeQuestion::new(&world.spec, &Precision::ALL, &[]);
    let all = Precision::ALL;
    let sensitivity = SensitivityQuestion::new(&world.subject(), &world.spec, &all, &all);
    let asked = [
        Question::Probe(probe),
        Question::Sensitivity(Box::new(sensitivity)),
    ];
    let mut task = 8;
    asked.map(|question| {
        task += 1;
        QuestionAssignment {
            token: LeaseToken { task, epoch: 2 },
            question,
            lease_time: Duration::from_secs(30),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_whole_and_sent_again_unchanged_where_its_answer_is_lost() {
    for assignment in questions(&World::new()) {
        let coordinator = FakeCoordinator::start();
        coordinator.state().report_errors = [Status::unavailable("lost")].into();
        coordinator.queue_question(&assignment);
        let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
        coordinator
            .wait("two reports", |state| state.answers.len() == 2)
            .await;
        agent.stop().await.unwrap();

        let state = coordinator.state();
        assert!(state.registrations[0].can_probe && state.registrations[0].can_score_swaps);
        assert_eq!(state.answers[0], state.answers[1]);
        let report = AnswerReport::try_from(state.answers[0].clone()).unwrap();
        assert_eq!(report.token, assignment.token);
        assert_eq!(report.problem(&assignment.question), None);
        let environment = match report.answer {
            bitfront_model::Answer::Probe(probe) => probe.environment,
            bitfront_model::Answer::Sensitivity(sensitivity) => sensitivity.environment,
        };
        assert!(!environment.host.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_go_on_while_a_question_is_answered() {
    let world = World::new();
    let [_, sensitivity] = questions(&world);
    let coordinator = FakeCoordinator::start();
    coordinator.queue_question(&sensitivity);
    let slow = ScriptedRuntime::obliging().pausing(Duration::from_millis(300));
    let agent = Agent::start(&coordinator, slow);
    coordinator
        .wait("an answer", |state| state.answers.len() == 1)
        .await;
    agent.stop().await.unwrap();
    let state = coordinator.state();
    let held = state.heartbeats.iter().filter(|beat| {
        beat.held
            .iter()
            .any(|&held| LeaseToken::from(held) == sensitivity.token)
    });
    assert!(held.count() >= 3, "{:?}", state.heartbeats);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_fails_is_given_back_with_the_reason() {
    let world = World::new();
    for assignment in questions(&world) {
        let coordinator = FakeCoordinator::start();
        coordinator.queue_question(&assignment);
        world.queue(&coordinator, 1, TaskKind::Quality);
        let mut runtime = ScriptedRuntime::obliging();
        runtime.failing_questions = vec!["no memory".to_owned()];
        let agent = Agent::start(&coordinator, runtime);
        coordinator
            .wait("a report", |state| state.reports.len() == 1)
            .await;
        agent.stop().await.unwrap();

        let state = coordinator.state();
        assert_eq!(state.answers, []);
        assert_eq!(state.releases.len(), 1);
        assert!(state.releases[0].failed && state.releases[0].reason.contains("no memory"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_refused_is_dropped_and_the_task_given_back() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let refusal = Status::invalid_argument("plan_digest: is of another plan");
    coordinator.state().report_errors = [refusal].into();
    world.queue(&coordinator, 1, TaskKind::Quality);
    world.queue(&coordinator, 2, TaskKind::Quality);
    let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
    coordinator
        .wait("two reports", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();

    let state = coordinator.state();
    assert_eq!(tasks_reported(&state), [1, 2]);
    assert_eq!(state.releases.len(), 1);
    assert!(state.releases[0].reason.contains("plan_digest"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_infeasible_plan_is_a_result() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    world.queue(&coordinator, 1, TaskKind::Quality);
    let runtime = ScriptedRuntime::deciding(|_, _| Answer::Infeasible("no kernel".to_owned()));
    let agent = Agent::start(&coordinator, runtime);
    coordinator
        .wait("the report", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    let state = coordinator.state();
    let Measurement { outcome, evidence } = reports(&state).remove(0).measurement;
    let reason = "no kernel".to_owned();
    assert_eq!(outcome, Outcome::Infeasible { reason });
    assert!(evidence.executed.is_empty());
    assert!(state.releases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_here_is_given_back_with_the_reason_and_the_next_is_measured() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let mut failures = 1;
    let runtime = ScriptedRuntime::deciding(move |_, _| {
        failures -= 1;
        if failures == 0 {
            Answer::Fails("out of memory".to_owned())
        } else {
            Answer::Figures
        }
    });
    world.queue(&coordinator, 1, TaskKind::Quality);
    world.queue(&coordinator, 2, TaskKind::Quality);
    let agent = Agent::start(&coordinator, runtime);
    coordinator
        .wait("the second's report", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    let state = coordinator.state();
    assert_eq!(tasks_reported(&state), [2]);
    assert_eq!(state.releases.len(), 1);
    assert_eq!(state.releases[0].token.as_ref().unwrap().task, 1);
    assert!(state.releases[0].reason.contains("out of memory"));
    assert!(state.releases[0].failed, "the attempt must count");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_is_named_and_leaves_the_task_to_others() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    std::fs::remove_file(world.path("model.gguf")).unwrap();
    for task in 1..=3 {
        world.queue(&coordinator, task, TaskKind::Quality);
    }
    let begun = Instant::now();
    let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
    coordinator
        .wait("three releases", |state| state.releases.len() == 3)
        .await;
    let took = begun.elapsed();
    agent.stop().await.unwrap();
    // Half of 20 ms and half of 40 ms are the shortest pauses between the three.
    assert!(took >= Duration::from_millis(30), "no pause: {took:?}");
    let state = coordinator.state();
    assert!(state.reports.is_empty());
    let reason = &state.releases[0].reason;
    let path = world.path("model.gguf");
    for part in [path.to_str().unwrap(), &world.spec.digest.to_string()] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_cannot_be_read_is_given_back_with_the_field() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let mut wire = v1::Assignment::of(&world.assignment(1, TaskKind::Quality), &world.spec);
    wire.kind = "taste".to_owned();
    coordinator.state().queue.push_back(vec![wire]);
    world.queue(&coordinator, 2, TaskKind::Quality);
    let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
    coordinator
        .wait("the second's report", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    let state = coordinator.state();
    assert_eq!(tasks_reported(&state), [2]);
    assert!(
        state.releases[0].reason.contains("taste"),
        "{:?}",
        state.releases
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_go_on_while_measuring_and_end_with_it() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    world.queue(&coordinator, 1, TaskKind::Latency);
    let (runtime, go) = held_back();
    let agent = Agent::start(&coordinator, runtime);
    coordinator
        .wait("four heartbeats", |state| state.heartbeats.len() >= 4)
        .await;
    let held = coordinator.state().heartbeats[0].clone();
    assert_eq!(held.device_id, 7);
    assert_eq!(held.held, [LeaseToken { task: 1, epoch: 1 }.into()]);
    go.send(()).unwrap();
    coordinator
        .wait("the report", |state| state.reports.len() == 1)
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let count = coordinator.state().heartbeats.len();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(coordinator.state().heartbeats.len(), count);
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_measured_to_the_end_and_reported() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let token = LeaseToken { task: 1, epoch: 1 };
    coordinator.state().lost = vec![token];
    world.queue(&coordinator, 1, TaskKind::Quality);
    let (runtime, go) = held_back();
    let agent = Agent::start(&coordinator, runtime);
    coordinator
        .wait("a heartbeat", |state| !state.heartbeats.is_empty())
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        coordinator.state().heartbeats.len(),
        1,
        "a lost lease beats on"
    );
    go.send(()).unwrap();
    coordinator
        .wait("the report", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    assert_eq!(reports(&coordinator.state())[0].token, token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_comes_back_without_memory_is_served_again() {
    let (world, first) = (World::new(), FakeCoordinator::start());
    let address = first.address();
    let agent = Agent::start(&first, ScriptedRuntime::obliging());
    first
        .wait("the registration", |state| state.registrations.len() == 1)
        .await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!agent.task.is_finished(), "the agent must wait");
    let second = FakeCoordinator::start_at(address);
    world.queue(&second, 1, TaskKind::Quality);
    second
        .wait("the report", |state| state.reports.len() == 1)
        .await;
    // Registering comes first: the call that broke may have handed out a task unheard.
    {
        let state = second.state();
        assert_eq!(state.registrations.len(), 1);
        assert!(state.registrations[0].again, "no attempt may count");
        assert!(!state.registrations[0].instance.is_empty());
    }
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_outlives_the_coordinator_that_asked_for_it() {
    let (world, first) = (World::new(), FakeCoordinator::start());
    let address = first.address();
    world.queue(&first, 1, TaskKind::Quality);
    let (runtime, go) = held_back();
    let agent = Agent::start(&first, runtime);
    first
        .wait("a heartbeat", |state| !state.heartbeats.is_empty())
        .await;
    drop(first);
    go.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let second = FakeCoordinator::start_at(address);
    second
        .wait("the report", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    assert_eq!(tasks_reported(&second.state()), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_shutdown_a_task_that_is_being_measured_is_given_back_at_once() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    world.queue(&coordinator, 1, TaskKind::Quality);
    let (runtime, _go) = held_back();
    let agent = Agent::start(&coordinator, runtime);
    coordinator
        .wait("a heartbeat", |state| !state.heartbeats.is_empty())
        .await;
    let begun = Instant::now();
    agent.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    let state = coordinator.state();
    assert!(state.reports.is_empty());
    assert_eq!(
        state.releases[0].token,
        Some(LeaseToken { task: 1, epoch: 1 }.into())
    );
    assert!(state.releases[0].reason.contains("shutting down"));
    assert!(!state.releases[0].failed, "the attempt must not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_shutdown_a_measurement_is_sent_for_as_long_as_patience_lasts() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let away = || Status::unavailable("away");
    coordinator.state().report_errors = std::iter::repeat_with(away).take(1000).collect();
    world.queue(&coordinator, 1, TaskKind::Quality);
    let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
    coordinator
        .wait("a first report", |state| !state.reports.is_empty())
        .await;
    let begun = Instant::now();
    agent.stop().await.unwrap();
    let took = begun.elapsed();
    let patience = patience().shutdown;
    assert!(took >= patience && took < patience * 5, "{took:?}");
    assert!(
        coordinator.state().reports.len() > 3,
        "it was not sent again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_panics_ends_the_agent_and_gives_the_task_back() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    world.queue(&coordinator, 1, TaskKind::Quality);
    let runtime = ScriptedRuntime::deciding(|_, _| Answer::Panics("index 7".to_owned()));
    let agent = Agent::start(&coordinator, runtime);
    match agent.end().await {
        Err(AgentError::WorkerEnded(reason)) => assert_eq!(reason, "index 7"),
        other => panic!("{other:?}"),
    }
    assert!(coordinator.state().releases[0].reason.contains("index 7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_not_there_is_one_error_with_its_address() {
    let coordinator = FakeCoordinator::start();
    let (url, config) = (coordinator.url(), config(&coordinator));
    drop(coordinator);
    let begun = Instant::now();
    let shutdown = CancellationToken::new();
    let error = bitfront_agent::run(config, ScriptedRuntime::obliging().factory(), shutdown).await;
    let message = error.unwrap_err().to_string();
    assert!(message.contains(&url.to_string()), "{message}");
    assert!(message.contains("refused"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_at_the_address_is_an_error_and_not_a_hang() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = Config {
        cores: CoreChoice::Any,
        patience: patience(),
        ..Config::new(vec![url.parse().unwrap()])
    };
    let shutdown = CancellationToken::new();
    let error = bitfront_agent::run(config, ScriptedRuntime::obliging().factory(), shutdown).await;
    let message = error.unwrap_err().to_string();
    assert!(message.contains(&url), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_registration_ends_the_agent_with_the_coordinators_words() {
    let coordinator = FakeCoordinator::start();
    let refusal = Status::failed_precondition("agents of version 0.1 are not served");
    coordinator.state().register_error = Some(refusal);
    let agent = Agent::start(&coordinator, ScriptedRuntime::obliging());
    let error = agent.end().await.unwrap_err();
    assert!(matches!(error, AgentError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("version 0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_cannot_start_is_an_error_before_anybody_is_called() {
    let coordinator = FakeCoordinator::start();
    let refuse = || {
        Err(RuntimeError::Switch {
            name: "CANDLE_DEQUANTIZE_ALL".to_owned(),
            value: "1".to_owned(),
        })
    };
    let shutdown = CancellationToken::new();
    let error = bitfront_agent::run(config(&coordinator), refuse, shutdown).await;
    let message = error.unwrap_err().to_string();
    assert!(message.contains("CANDLE_DEQUANTIZE_ALL=1"), "{message}");
    assert!(coordinator.state().registrations.is_empty());
}
