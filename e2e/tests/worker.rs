//! The real binary on the demo model: the process that measures is killed amid a task, and the
//! agent is asked to end amid another.

#![allow(clippy::unwrap_used)]
// Processes are found by what Linux says of them.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bitfront_e2e::process::{self, Process};
use bitfront_e2e::relay::Relay;
use bitfront_e2e::searches::Searches;
use bitfront_model::SearchState;

const PATIENCE: Duration = Duration::from_secs(120);

/// The processes that a process has started and that live.
fn children(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
    let lists = tasks.into_iter().flatten().flatten();
    let lists = lists.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let numbers = list
                .split_whitespace()
                .map(|number| number.parse().unwrap());
            numbers.collect::<Vec<_>>()
        })
        .collect()
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

async fn until(what: &str, agent: &Process, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        let said = agent.stderr();
        assert!(
            begun.elapsed() < PATIENCE,
            "waited in vain for {what}:\n{said}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn agent(binary: &Path, data: &Path, relay: &Relay) -> Process {
    let cache = data.join("cache");
    let url = relay.url();
    let arguments = [
        "agent",
        "--coordinator",
        &url,
        "--name=supervisor",
        "--cache",
    ];
    let arguments = arguments.map(Into::into).into_iter().chain([cache]);
    Process::start(binary, data, arguments)
}

fn submit(binary: &Path, data: &Path, url: &str) -> i64 {
    let demo = process::root().join("demo");
    let path = |name: &str| demo.join(name).to_str().unwrap().to_owned();
    let (model, text) = (path("model"), path("evaluation.txt"));
    let arguments = [
        "submit",
        &model,
        "--data",
        &text,
        "--coordinator",
        url,
        "--evaluations=8",
        "--precisions=q8_0,q4_k",
        "--group=block",
        "--imatrix=none",
        "--context=64",
        "--windows=2",
        "--workloads=prefill@16,decode@8x4",
        "--prior=rounding",
        "--seed=3",
    ];
    process::output(binary, data, arguments)
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_costs_an_attempt_and_an_agent_that_is_stopped_gives_its_task_back()
{
    let binary: PathBuf = tokio::task::spawn_blocking(process::binary).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let relay = Relay::start(1, 0).await;
    let database = data.join("bitfront.sqlite");
    let arguments = ["serve", "--listen=127.0.0.1:0", "--database"];
    let arguments = arguments.map(Into::into).into_iter().chain([database]);
    let mut coordinator = Process::start(&binary, data, arguments);
    let url = coordinator.line("listening on ");
    relay.point_to(&url);
    let search = submit(&binary, data, &url);

    let mut first = agent(&binary, data, &relay);
    let amid_a_task = |after: usize| {
        move |relay: &Relay| {
            relay.seen(|seen| {
                let ended = seen.acknowledged.len() + seen.failed.len() + seen.given_back.len();
                seen.acknowledged.len() >= after && seen.handed_out.len() > ended
            })
        }
    };
    until("a task under way", &first, || amid_a_task(2)(&relay)).await;
    let workers = children(first.id());
    assert_eq!(workers.len(), 1, "{workers:?}\n{}", first.stderr());
    signal("-KILL", workers[0]);
    until("the task to go back", &first, || {
        relay.seen(|seen| !seen.failed.is_empty())
    })
    .await;
    let killed = |relay: &Relay| {
        relay.seen(|seen| {
            let told = seen.failed.iter().map(|(_, reason)| reason);
            for reason in told {
                let is_told = reason.contains("the worker") && reason.contains("SIGKILL");
                assert!(is_told, "{reason}");
            }
        });
    };
    killed(&relay);
    let acknowledged = relay.seen(|seen| seen.acknowledged.len());
    until("the next reports", &first, || {
        amid_a_task(acknowledged + 1)(&relay)
    })
    .await;
    assert!(first.ended().is_none(), "the agent lives");
    let again = children(first.id());
    assert!(again.len() == 1 && again != workers, "{again:?}");

    // A graceful end, as a supervisor asks for it.
    until("a task under way", &first, || {
        amid_a_task(acknowledged + 1)(&relay)
    })
    .await;
    signal("-TERM", first.id());
    until("the agent to end", &first, || {
        !Path::new(&format!("/proc/{}/task", again[0])).exists()
    })
    .await;
    let begun = Instant::now();
    let status = loop {
        match first.ended() {
            Some(status) => break status,
            None => assert!(begun.elapsed() < PATIENCE, "{}", first.stderr()),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(status.success(), "{status}\n{}", first.stderr());
    killed(&relay);
    relay.seen(|seen| {
        let ended = seen.given_back.len() + seen.acknowledged.len() + seen.failed.len();
        // One that was still on its way to the agent when that ended was never held: it goes back when
        // its lease ends.
        let on_its_way = seen.handed_out.len() - ended;
        assert!(
            on_its_way <= 1,
            "{on_its_way} that were held did not go back"
        );
    });

    let _second = agent(&binary, data, &relay);
    let searches = Searches::connect(&url).await;
    let status = searches
        .wait(search, "the end", |status| status.state.has_ended())
        .await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    assert_eq!((status.evaluated, status.infeasible), (8, 0));
}
