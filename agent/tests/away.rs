//! An agent whose coordinator is away: nothing that was measured is lost, whoever of the two ends
//! meanwhile.

#![allow(clippy::unwrap_used)]

// Shared with the whole-system tests, where these items are public; not all are used here.
#[allow(unreachable_pub, dead_code)]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitfront_agent::{Config, Patience};
use bitfront_model::{Assignment, LeaseToken, Plan, Precision, TaskKind};
use support::bench::{Agent, World, config, held_back, patience, reports, tasks_reported};
use support::fake_coordinator::{FakeCoordinator, State};
use support::scripted::{Answer, ScriptedRuntime};
use tonic::Status;

fn spooling(coordinator: &FakeCoordinator, folder: &Path) -> Config {
    Config {
        spool: Some(folder.join("spool")),
        ..config(coordinator)
    }
}

/// What is unsent, and what was put aside.
fn kept(folder: &Path) -> [Vec<PathBuf>; 2] {
    ["spool", "spool/refused"].map(|spool| {
        let entries = std::fs::read_dir(folder.join(spool));
        let paths = entries
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "report"))
            .collect()
    })
}

/// Answers all reports as if the coordinator was away, after it heard them.
fn deaf(coordinator: &FakeCoordinator) {
    let away = || Status::unavailable("away");
    coordinator.state().report_errors = std::iter::repeat_with(away).take(10_000).collect();
}

/// A runtime that may not be asked for anything.
fn idle() -> ScriptedRuntime {
    ScriptedRuntime::deciding(|plan, _| panic!("{plan:?} is measured again"))
}

/// Waits until an agent asks for work, and so has heard what became of all that was unsent: one that
/// is stopped before that keeps what it has not heard of, whatever the coordinator has taken.
async fn asks_for_work(coordinator: &FakeCoordinator) {
    coordinator
        .wait("work to be asked for", |state| {
            state.calls.contains(&"lease")
        })
        .await;
}

/// Ends an agent as a power cut would.
async fn cut(agent: Agent) {
    agent.task.abort();
    assert!(agent.task.await.unwrap_err().is_cancelled());
}

fn keys(state: &State) -> Vec<String> {
    let mut keys: Vec<_> = reports(state)
        .into_iter()
        .map(|report| report.idempotency_key)
        .collect();
    keys.dedup();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_could_not_hand_in_the_next_one_does_before_it_registers() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let spool = tempfile::tempdir().unwrap();
    deaf(&coordinator);
    world.queue(&coordinator, 1, TaskKind::Quality);
    let config = || spooling(&coordinator, spool.path());
    let first = Agent::start_with(config(), ScriptedRuntime::obliging());
    coordinator
        .wait("a report", |state| !state.reports.is_empty())
        .await;
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [1, 0]);
    cut(first).await;
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [1, 0]);

    coordinator.state().report_errors.clear();
    coordinator.state().calls.clear();
    let second = Agent::start_with(config(), idle());
    asks_for_work(&coordinator).await;
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [0, 0]);
    second.stop().await.unwrap();
    let mut state = coordinator.state();
    // A last report of the first agent may be heard only after its end.
    state.calls.dedup();
    assert_eq!(state.calls[..3], ["report", "register", "lease"]);
    assert_eq!(keys(&state).len(), 1, "it is one report all along");
    let reports = reports(&state);
    assert!(reports.iter().all(|report| *report == reports[0]));
    assert_eq!(reports[0].token, LeaseToken { task: 1, epoch: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn all_companions_are_kept_before_the_first_of_them_is_sent() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let spool = tempfile::tempdir().unwrap();
    deaf(&coordinator);
    let together: Vec<_> = (1..)
        .zip([Precision::Q4K, Precision::Q2K, Precision::Q6K])
        .map(|(task, precision)| Assignment {
            plan: Plan::uniform(&world.spec, precision).unwrap(),
            ..world.assignment(task, TaskKind::Latency)
        })
        .collect();
    coordinator.queue_together(&together, &world.spec);
    let config = || spooling(&coordinator, spool.path());
    let agent = Agent::start_with(config(), ScriptedRuntime::obliging());
    coordinator
        .wait("a report", |state| !state.reports.is_empty())
        .await;
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [3, 0]);
    // Not even a graceful end waits for longer than patience lasts, and nothing is lost by it.
    agent.stop().await.unwrap();
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [3, 0]);
    assert!(coordinator.state().releases.is_empty());

    coordinator.state().report_errors.clear();
    coordinator.state().calls.clear();
    let agent = Agent::start_with(config(), idle());
    asks_for_work(&coordinator).await;
    agent.stop().await.unwrap();
    // A last call of the first agent may be heard only after its end, so what came before these
    // three is not known.
    assert!(tasks_reported(&coordinator.state()).ends_with(&[1, 2, 3]));
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_refused_is_kept_aside_with_the_reason() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let spool = tempfile::tempdir().unwrap();
    let refusal = Status::invalid_argument("plan_digest: is of another plan");
    coordinator.state().report_errors = [refusal].into();
    world.queue(&coordinator, 1, TaskKind::Quality);
    world.queue(&coordinator, 2, TaskKind::Quality);
    let config = spooling(&coordinator, spool.path());
    let agent = Agent::start_with(config, ScriptedRuntime::obliging());
    coordinator
        .wait("two reports", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    let [unsent, aside] = kept(spool.path());
    assert_eq!((unsent.len(), aside.len()), (0, 1));
    let reason = std::fs::read_to_string(aside[0].with_extension("reason")).unwrap();
    assert!(reason.contains("plan_digest"), "{reason}");
    let refused = std::fs::read_to_string(&aside[0]).unwrap();
    assert!(
        refused.contains(&keys(&coordinator.state())[0]),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_waits_for_the_database_that_its_lease_is_of() {
    let (world, first) = (World::new(), FakeCoordinator::start());
    let spool = tempfile::tempdir().unwrap();
    let address = first.address();
    world.queue(&first, 1, TaskKind::Quality);
    let (runtime, go) = held_back();
    let agent = Agent::start_with(spooling(&first, spool.path()), runtime);
    first
        .wait("a heartbeat", |state| !state.heartbeats.is_empty())
        .await;
    drop(first);
    // Another database at the same address, in which task 1 is another one.
    let second = FakeCoordinator::start_at(address);
    second.state().database = Some("b".to_owned());
    world.queue(&second, 1, TaskKind::Quality);
    go.send(()).unwrap();
    go.send(()).unwrap();
    second
        .wait("its own task", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    assert_eq!(second.state().registrations.len(), 1);
    let of_the_second = keys(&second.state());
    let [unsent, aside] = kept(spool.path());
    assert_eq!((unsent.len(), aside.len()), (1, 0));
    drop(second);

    let first = FakeCoordinator::start_at(address);
    let agent = Agent::start_with(spooling(&first, spool.path()), idle());
    asks_for_work(&first).await;
    agent.stop().await.unwrap();
    assert_eq!(first.state().reports.len(), 1);
    assert_ne!(keys(&first.state()), of_the_second);
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_keeps_no_measurement_from_being_handed_in() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spool"), "no folder").unwrap();
    coordinator.state().report_errors = [Status::unavailable("away")].into();
    world.queue(&coordinator, 1, TaskKind::Quality);
    let config = spooling(&coordinator, folder.path());
    let agent = Agent::start_with(config, ScriptedRuntime::obliging());
    coordinator
        .wait("the second report", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    assert_eq!(keys(&coordinator.state()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_may_be_away_for_an_hour() {
    // A thousandth of what an agent usually waits, so that an hour takes 3.6 seconds.
    let usual = Patience::default();
    let scaled = Patience {
        first_retry: usual.first_retry / 1000,
        last_retry: usual.last_retry / 1000,
        ..patience()
    };
    let hour = Duration::from_secs(3600) / 1000;
    let (world, first) = (World::new(), FakeCoordinator::start());
    let spool = tempfile::tempdir().unwrap();
    let address = first.address();
    world.queue(&first, 1, TaskKind::Quality);
    let (runtime, go) = held_back();
    let config = Config {
        patience: scaled,
        ..spooling(&first, spool.path())
    };
    let agent = Agent::start_with(config, runtime);
    first
        .wait("a heartbeat", |state| !state.heartbeats.is_empty())
        .await;
    drop(first);
    let begun = Instant::now();
    // It finishes what it holds, and keeps it.
    go.send(()).unwrap();
    while kept(spool.path())[0].is_empty() {
        assert!(begun.elapsed() < hour, "nothing is kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(hour.saturating_sub(begun.elapsed())).await;
    assert!(!agent.task.is_finished(), "the agent must wait");

    let second = FakeCoordinator::start_at(address);
    world.queue(&second, 2, TaskKind::Quality);
    go.send(()).unwrap();
    second
        .wait("two reports", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    let state = second.state();
    assert_eq!(tasks_reported(&state), [1, 2]);
    assert_eq!(state.registrations.len(), 1);
    assert!(state.registrations[0].again, "no attempt may count");
    assert_eq!(kept(spool.path()).map(|paths| paths.len()), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_coordinators_one_that_answers_is_served() {
    let (world, first) = (World::new(), FakeCoordinator::start());
    let second = FakeCoordinator::start();
    let nobody = FakeCoordinator::start();
    let coordinators = vec![nobody.url(), first.url(), second.url()];
    drop(nobody);
    let config = Config {
        coordinators,
        ..config(&first)
    };
    let (runtime, go) = held_back();
    world.queue(&first, 1, TaskKind::Quality);
    let agent = Agent::start_with(config, runtime);
    go.send(()).unwrap();
    first
        .wait("a report", |state| state.reports.len() == 1)
        .await;
    assert!(
        second.state().registrations.is_empty(),
        "the first one answers"
    );

    // Its task is handed in to the other one, over the same database, and so is all that follows.
    world.queue(&first, 2, TaskKind::Quality);
    first
        .wait("a heartbeat for it", |state| {
            let beats = state.heartbeats.iter().flat_map(|beat| &beat.held);
            beats.into_iter().any(|held| held.task == 2)
        })
        .await;
    drop(first);
    world.queue(&second, 3, TaskKind::Quality);
    go.send(()).unwrap();
    go.send(()).unwrap();
    second
        .wait("both reports", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    assert_eq!(tasks_reported(&second.state()), [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_coordinator_answers_all_addresses_are_named() {
    let (first, second) = (FakeCoordinator::start(), FakeCoordinator::start());
    let config = Config {
        coordinators: vec![first.url(), second.url()],
        ..config(&first)
    };
    let urls = [first.url(), second.url()].map(|url| url.to_string());
    drop((first, second));
    let agent = Agent::start_with(config, ScriptedRuntime::deciding(|_, _| Answer::Figures));
    let message = agent.end().await.unwrap_err().to_string();
    for url in urls {
        assert!(message.contains(&url), "{message}");
    }
}
