//! The real binary on the demo model, coordinator and agent killed with SIGKILL again and again at
//! random moments: nothing that was acknowledged is lost, and nothing is counted twice.
//!
//! The agent reaches the coordinator through a relay, which notes every acknowledgement that the
//! coordinator gives and keeps one in five from the agent. The store is asked through the
//! coordinator's own answers, after a last kill and a last start.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitfront_e2e::acknowledged::{check_acknowledgements, check_points};
use bitfront_e2e::process::{self, Process};
use bitfront_e2e::relay::Relay;
use bitfront_e2e::searches::Searches;
use bitfront_model::{Front, SearchState};

/// Candidates to evaluate; each has two tasks.
const EVALUATIONS: u64 = 40;

/// Kills before the search is left in peace.
const KILLS: usize = 16;

/// Longest pause between an acknowledgement and the next kill. A task of this search takes about
/// as long, so a kill may come before, amid or after the next one.
const LONGEST_PAUSE_MS: u64 = 700;

/// Longest time for the whole; leases that were handed out unheard take half a minute each.
const PATIENCE: Duration = Duration::from_secs(600);

struct World {
    binary: PathBuf,
    folder: tempfile::TempDir,
    relay: Relay,
}

impl World {
    fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a coordinator on a port of its own choice and sends the relay there.
    fn coordinator(&self) -> (Process, String) {
        let database = self.data().join("bitfront.sqlite");
        let arguments = ["serve", "--listen=127.0.0.1:0", "--database"];
        let arguments = arguments.map(Into::into).into_iter().chain([database]);
        let mut process = Process::start(&self.binary, self.data(), arguments);
        let url = process.line("listening on ");
        self.relay.point_to(&url);
        (process, url)
    }

    fn agent(&self) -> Process {
        let cache = self.data().join("cache");
        let relay = self.relay.url();
        let arguments = ["agent", "--coordinator", &relay, "--name=victim", "--cache"];
        let arguments = arguments.map(Into::into).into_iter().chain([cache]);
        Process::start(&self.binary, self.data(), arguments)
    }

    /// Submits a small search over the demo model and gives back its number.
    fn submit(&self, coordinator: &str) -> i64 {
        let demo = process::root().join("demo");
        let model = demo.join("model").to_str().unwrap().to_owned();
        let text = demo.join("evaluation.txt").to_str().unwrap().to_owned();
        let evaluations = EVALUATIONS.to_string();
        let arguments = [
            "submit",
            &model,
            "--data",
            &text,
            "--coordinator",
            coordinator,
            "--evaluations",
            &evaluations,
            "--precisions=q8_0,q4_k,q2_k",
            "--group=block",
            "--imatrix=none",
            "--context=64",
            "--windows=2",
            "--workloads=prefill@16,decode@8x4",
            // A second timing would stand in the front instead of the first, which was
            // acknowledged as well, and the machine decides by its noise whether there is one.
            "--no-retimings",
            "--seed=11",
        ];
        let number = process::output(&self.binary, self.data(), arguments);
        number.trim().parse().unwrap()
    }

    fn acknowledged(&self) -> usize {
        self.relay.seen(|seen| seen.acknowledged.len())
    }
}

/// How often each was killed.
#[derive(Debug, Default)]
struct Kills {
    agent: usize,
    coordinator: usize,
}

impl Kills {
    fn total(&self) -> usize {
        self.agent + self.coordinator
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_survives_kills_of_coordinator_and_agent() {
    let seed = 20;
    let world = World {
        binary: tokio::task::spawn_blocking(process::binary).await.unwrap(),
        folder: tempfile::tempdir().unwrap(),
        relay: Relay::start(seed, 5).await,
    };
    let mut dice = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    let (mut coordinator, mut url) = world.coordinator();
    let search = world.submit(&url);
    let mut agent = world.agent();
    let mut kills = Kills::default();
    let mut acknowledged = 0;

    loop {
        assert!(
            begun.elapsed() < PATIENCE,
            "the search does not end; {kills:?}\nagent:\n{}\ncoordinator:\n{}",
            agent.stderr(),
            coordinator.stderr()
        );
        // An agent that starts while the coordinator is dead gives up after a while, as it should;
        // whatever supervises it starts it again.
        if agent.ended().is_some() {
            agent = world.agent();
        }
        let status = Searches::connect(&url).await.get(search).await;
        if status.is_ok_and(|status| status.state.has_ended()) {
            break;
        }
        // Some progress between kills: a task that fails three times is rightly given up.
        if kills.total() < KILLS && world.acknowledged() > acknowledged {
            let pause = dice.u64(..LONGEST_PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            acknowledged = world.acknowledged();
            let whom = dice.u32(..3);
            if whom != 1 {
                agent.kill();
                kills.agent += 1;
                agent = world.agent();
            }
            if whom != 0 {
                coordinator.kill();
                kills.coordinator += 1;
                (coordinator, url) = world.coordinator();
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    agent.kill();
    // What is not on the disk now was never there.
    coordinator.kill();
    kills.agent += 1;
    kills.coordinator += 1;
    let (_coordinator, url) = world.coordinator();
    let searches = Searches::connect(&url).await;
    let front = searches.front(search).await.unwrap();
    let devices = searches.devices().await.unwrap();
    let stored = devices[0].measurements;

    check_search(&front);
    let told = check_acknowledgements(&[&world.relay], &front, stored);
    check_listing(&world, &url, &front);
    // The figures of the run, for whoever asks for them with `--nocapture`.
    #[allow(clippy::print_stdout)]
    {
        println!(
            "{} kills ({} of the agent, {} of the coordinator) in {:.0?}, {} candidates: {told}",
            kills.total(),
            kills.agent,
            kills.coordinator,
            begun.elapsed(),
            front.points.len()
        );
    }
    assert!(
        kills.total() >= KILLS,
        "the search was too quick: {kills:?}"
    );
}

/// The search ended as it would have undisturbed.
fn check_search(front: &Front) {
    let status = &front.status;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    assert_eq!(status.evaluated, EVALUATIONS);
    assert_eq!(status.infeasible, 0, "a task was given up");
    check_points(front, EVALUATIONS);
    // Rows are never deleted, and this is the only search of a file whose numbers have no gaps.
    let first = front.points[0].candidate;
    let candidates = front.points.iter().map(|point| point.candidate);
    assert!(
        candidates.eq(first..first + EVALUATIONS as i64),
        "asking left a gap"
    );
    assert!(front.points.iter().any(|point| point.on_front));
}

/// The command line tells the same.
fn check_listing(world: &World, url: &str, front: &Front) {
    let search = front.status.search.to_string();
    let arguments = [
        "front",
        &search,
        "--all",
        "--format=json",
        "--coordinator",
        url,
    ];
    let listing = process::output(&world.binary, world.data(), arguments);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&listing).unwrap();
    let listed: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            (
                row["candidate"].as_i64().unwrap(),
                row["on_front"].as_bool().unwrap(),
            )
        })
        .collect();
    let known: BTreeSet<_> = front
        .points
        .iter()
        .map(|point| (point.candidate, point.on_front))
        .collect();
    assert_eq!(listed, known);
}
