//! The real binary on the demo model, coordinator and agent killed with SIGKILL again and again at
//! random moments: nothing that was acknowledged is lost, and nothing is counted twice.
//!
//! The agent reaches the coordinator through a relay, which notes every acknowledgement that the
//! coordinator gives and keeps one in five from the agent. The store is asked through the
//! coordinator's own answers, after a last kill and a last start.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitfront_e2e::process::{self, Process};
use bitfront_e2e::relay::{Relay, Seen};
use bitfront_e2e::searches::Searches;
use bitfront_model::{Front, FrontPoint, Latency, Outcome, Receipt, SearchState};

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
    let told = world
        .relay
        .seen(|seen| check_acknowledgements(seen, &front, stored));
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
    // Rows are never deleted, and this is the only search: asking left no gap and no repetition.
    let candidates: Vec<_> = front.points.iter().map(|point| point.candidate).collect();
    let first = candidates[0];
    let contiguous: Vec<_> = (first..).take(candidates.len()).collect();
    assert_eq!(candidates, contiguous, "asking left a gap");
    assert_eq!(candidates.len() as u64, EVALUATIONS);
    let plans: BTreeSet<_> = front
        .points
        .iter()
        .map(|point| point.plan.digest())
        .collect();
    assert_eq!(
        plans.len(),
        front.points.len(),
        "a plan was asked for twice"
    );
    let measurements: Vec<_> = front
        .points
        .iter()
        .flat_map(|point| {
            let quality = point.quality.as_ref().map(|figure| figure.measurement);
            let latency = point.latency.as_ref().map(|figure| figure.measurement);
            [quality.unwrap(), latency.unwrap()]
        })
        .collect();
    let distinct: BTreeSet<_> = measurements.iter().collect();
    assert_eq!(distinct.len(), measurements.len(), "one counts twice");
    assert!(front.points.iter().any(|point| point.on_front));
}

/// What the coordinator acknowledged is what the store holds; gives back the counts in words.
fn check_acknowledgements(seen: &Seen, front: &Front, stored: u64) -> String {
    let mut epochs = BTreeMap::new();
    let mut candidates = BTreeMap::new();
    for assignment in &seen.handed_out {
        let token = assignment.token;
        let before = epochs.insert(token.task, token.epoch);
        assert!(
            before.is_none_or(|before| before < token.epoch),
            "an epoch came twice or fell: {token:?} after {before:?}"
        );
        let known = candidates.insert(token.task, assignment.candidate);
        assert!(known.is_none_or(|known| known == assignment.candidate));
    }
    let points: BTreeMap<i64, &FrontPoint> = front
        .points
        .iter()
        .map(|point| (point.candidate, point))
        .collect();
    let mut recorded = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for (report, receipt) in &seen.acknowledged {
        let first = keys.insert(report.idempotency_key.as_str());
        match receipt {
            Receipt::Recorded => {
                assert!(first, "one report was recorded twice: {report:?}");
                assert!(recorded.insert(report.token.task), "a task ended twice");
                let point = points[&candidates[&report.token.task]];
                assert!(
                    holds(point, &report.measurement.outcome),
                    "lost: {report:?}"
                );
            }
            Receipt::KeptAsRepeat => assert!(first, "one repeat was kept twice"),
            // The acknowledgement of the first copy may have died with its coordinator.
            Receipt::AlreadyReported => {}
        }
    }
    let sent: BTreeSet<_> = seen
        .sent
        .iter()
        .map(|report| report.idempotency_key.as_str())
        .collect();
    let mut measured = BTreeMap::new();
    for report in &seen.sent {
        let key = measured
            .entry((report.token.task, report.token.epoch))
            .or_insert(report.idempotency_key.as_str());
        assert_eq!(
            *key, report.idempotency_key,
            "two measurements of one lease"
        );
    }
    let (least, most) = (keys.len() as u64, sent.len() as u64);
    assert!(
        (least..=most).contains(&stored),
        "{stored} measurements in the store, {least} acknowledged, {most} ever sent"
    );
    assert!(stored >= 2 * EVALUATIONS);
    format!(
        "{stored} measurements stored, {least} of them acknowledged ({} answers kept from the \
         agent), {} reports sent of {most} measurements; 0 lost, 0 doubled",
        seen.lost_answers,
        seen.sent.len()
    )
}

/// The point shows this very measurement, sample by sample.
fn holds(point: &FrontPoint, outcome: &Outcome) -> bool {
    let searched = point.confirmation.as_ref();
    match outcome {
        Outcome::Quality(quality) => point
            .quality
            .iter()
            .chain(searched.and_then(|searched| searched.searched_quality.as_ref()))
            .any(|figure| figure.value == *quality),
        Outcome::Latency { workloads } => point
            .latency
            .iter()
            .chain(searched.and_then(|searched| searched.searched_latency.as_ref()))
            .any(|figure| are_samples_of(&figure.value, workloads)),
        Outcome::Infeasible { .. } => point.infeasible.is_some(),
    }
}

/// The same timings; what is published has wider intervals than what was measured.
fn are_samples_of(published: &[Latency], measured: &[Latency]) -> bool {
    let samples = |latency: &Latency| {
        let paired = latency.paired.as_ref();
        let anchor = paired.map(|paired| (paired.ratio, paired.anchor_samples_ns.clone()));
        (
            latency.workload,
            latency.samples_ns.clone(),
            latency.median_ns,
            anchor,
        )
    };
    published
        .iter()
        .map(samples)
        .eq(measured.iter().map(samples))
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
