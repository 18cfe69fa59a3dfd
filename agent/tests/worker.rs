//! An agent that measures in a process of its own, which some plans bring down.

#![allow(clippy::unwrap_used)]

// Shared with the whole-system tests, where these items are public; not all are used here.
#[allow(unreachable_pub, dead_code)]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitfront_agent::{Config, WorkerProgram, supervise};
use bitfront_model::{Assignment, Plan, Precision, TaskKind};
use support::bench::{Agent, World, config, reports, tasks_reported};
use support::fake_coordinator::FakeCoordinator;
use support::scripted;
use tokio_util::sync::CancellationToken;

/// The worker, which notes its starts in a folder.
fn program(folder: &Path) -> WorkerProgram {
    let mut path = std::env::current_exe().unwrap();
    // From `deps`, where tests are, to `examples`.
    path.pop();
    path.set_file_name("examples");
    path.push(format!("scripted_worker{}", std::env::consts::EXE_SUFFIX));
    let shown = path.display();
    assert!(
        path.exists(),
        "`{shown}` is built with all tests: cargo test"
    );
    let starts = starts_file(folder).to_str().unwrap().to_owned();
    WorkerProgram::new(path, vec![starts])
}

fn starts_file(folder: &Path) -> PathBuf {
    folder.join("starts")
}

/// The processes that were started, in order.
fn starts(folder: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(starts_file(folder)).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn start(config: Config, program: WorkerProgram) -> Agent {
    let shutdown = CancellationToken::new();
    Agent {
        task: tokio::spawn(supervise(config, program, shutdown.clone())),
        shutdown,
    }
}

/// A task about the plan that holds all layers in one precision.
fn uniform(world: &World, task: i64, precision: Precision) -> Assignment {
    Assignment {
        plan: Plan::uniform(&world.spec, precision).unwrap(),
        ..world.assignment(task, TaskKind::Quality)
    }
}

async fn gone(process: u32) {
    let path = format!("/proc/{process}");
    let begun = Instant::now();
    while Path::new(&path).exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{process} lives");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_measures_one_task_after_the_other_and_ends_with_its_agent() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let folder = tempfile::tempdir().unwrap();
    world.queue(&coordinator, 1, TaskKind::Quality);
    world.queue(&coordinator, 2, TaskKind::Latency);
    let agent = start(config(&coordinator), program(folder.path()));
    coordinator
        .wait("two reports", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    {
        let state = coordinator.state();
        assert_eq!(state.registrations.len(), 1);
        assert_eq!(state.registrations[0].numerics_class, "scripted/1");
        let plan = Plan::uniform(&world.spec, Precision::Q4K).unwrap();
        let reports = reports(&state);
        for report in &reports {
            let evidence = &report.measurement.evidence;
            assert_eq!(evidence.executed, plan.precisions());
            assert!(evidence.environment.not_pinned.is_some());
            assert!(!evidence.environment.host.is_empty());
        }
        // Every bit of a figure comes over the pipe.
        match &reports[0].measurement.outcome {
            bitfront_model::Outcome::Quality(quality) => {
                assert_eq!(quality.kld, scripted::kld(&plan))
            }
            other => panic!("{other:?}"),
        }
    }
    let starts = starts(folder.path());
    assert_eq!(starts.len(), 1, "its caches serve the next task");
    gone(starts[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_brings_its_worker_down_costs_an_attempt_and_the_next_is_measured() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let folder = tempfile::tempdir().unwrap();
    let bounded = WorkerProgram {
        limit: Duration::from_secs(3),
        memory_bytes: cfg!(target_os = "linux").then_some(400 << 20),
        ..program(folder.path())
    };
    let mut cases = vec![
        (
            Precision::Q2K,
            vec!["ABRT", "an assertion of the kernel failed"],
        ),
        (Precision::Q3K, vec!["said nothing for 3s", "--task-limit"]),
        (Precision::Q6K, vec!["101", "index 7 of 7"]),
    ];
    if cfg!(target_os = "linux") {
        cases.push((Precision::Q5K, vec!["419430400", "--worker-memory"]));
    }
    for (task, (precision, _)) in (1..).zip(&cases) {
        coordinator.queue(&uniform(&world, task, *precision), &world.spec);
    }
    coordinator.queue(&uniform(&world, 9, Precision::Q4K), &world.spec);
    let agent = start(config(&coordinator), bounded);
    let begun = Instant::now();
    while coordinator.state().reports.is_empty() {
        let told = coordinator.state().releases.clone();
        assert!(begun.elapsed() < Duration::from_secs(60), "{told:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    agent.stop().await.unwrap();
    let state = coordinator.state();
    assert_eq!(tasks_reported(&state), [9]);
    assert_eq!(state.registrations.len(), 1, "the agent lived");
    assert_eq!(state.releases.len(), cases.len());
    for ((release, task), (_, told)) in state.releases.iter().zip(1..).zip(&cases) {
        assert_eq!(release.token.unwrap().task, task);
        assert!(release.failed && release.crashed, "{release:?}");
        for part in told {
            assert!(release.reason.contains(part), "{part}: {}", release.reason);
        }
    }
    assert_eq!(starts(folder.path()).len(), 1 + cases.len());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_between_two_tasks_costs_no_attempt() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let folder = tempfile::tempdir().unwrap();
    world.queue(&coordinator, 1, TaskKind::Quality);
    let agent = start(config(&coordinator), program(folder.path()));
    coordinator
        .wait("a report", |state| state.reports.len() == 1)
        .await;
    let first = starts(folder.path())[0];
    let killed = std::process::Command::new("kill")
        .args(["-9", &first.to_string()])
        .status();
    assert!(killed.unwrap().success());
    // Until it is collected it is still listed, so the agent may have to be asked for that.
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.queue(&coordinator, 2, TaskKind::Quality);
    coordinator
        .wait("the next report", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    assert!(coordinator.state().releases.is_empty());
    assert_eq!(starts(folder.path()).len(), 2);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_does_not_outlive_its_agent_whatever_it_is_doing() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let folder = tempfile::tempdir().unwrap();
    // It hangs over this one.
    coordinator.queue(&uniform(&world, 1, Precision::Q3K), &world.spec);
    let agent = start(config(&coordinator), program(folder.path()));
    coordinator
        .wait("a heartbeat", |state| !state.heartbeats.is_empty())
        .await;
    agent.stop().await.unwrap();
    {
        let state = coordinator.state();
        assert!(!state.releases[0].failed, "a graceful end gives it back");
    }
    gone(starts(folder.path())[0]).await;

    coordinator.queue(&uniform(&world, 1, Precision::Q3K), &world.spec);
    let agent = start(config(&coordinator), program(folder.path()));
    let begun = Instant::now();
    while starts(folder.path()).len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "no start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent.task.abort();
    gone(starts(folder.path())[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_measure_is_an_error_before_anybody_is_called() {
    let coordinator = FakeCoordinator::start();
    let folder = tempfile::tempdir().unwrap();
    let mut refusing = program(folder.path());
    refusing.arguments.push("no such kernel".to_owned());
    let missing = WorkerProgram::new(folder.path().join("missing"), Vec::new());
    for (program, told) in [(refusing, "no such kernel"), (missing, "missing")] {
        let agent = start(config(&coordinator), program);
        let message = agent.end().await.unwrap_err().to_string();
        assert!(message.contains(told), "{message}");
    }
    assert!(coordinator.state().registrations.is_empty());
}
