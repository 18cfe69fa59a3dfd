//! Real processes, killed with SIGKILL, paused with SIGSTOP and cut off from each other at random
//! moments: two coordinators over one Postgres database and five agents, or one coordinator over an
//! SQLite file; and the Postgres server itself, killed and started again. Afterwards everything is
//! as it would be had nothing happened: the same plans with the same figures, each task ended once,
//! and nothing that was acknowledged is lost or doubled.
//!
//! Agents are processes of this package with a scripted runtime, whose figures follow from the plan
//! alone. They reach each coordinator through a relay, which notes what was acknowledged. The
//! disturbances last 10 seconds, or `CHAOS_SECONDS`, one a second or more; what they are
//! follows from `CHAOS_SEED`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitfront_e2e::acknowledged::{check_acknowledgements, check_points};
use bitfront_e2e::postgres::Postgres;
use bitfront_e2e::process::{self, Process};
use bitfront_e2e::relay::Relay;
use bitfront_e2e::requests;
use bitfront_e2e::searches::Searches;
use bitfront_model::{Digest, Front, SearchRequest, SearchState, StrategyName};

/// Agents of one hardware profile.
const AGENTS: usize = 5;

/// How long a scripted measurement takes while there are disturbances, in milliseconds.
const SLOW: u64 = 250;

/// The same in the search that nobody disturbs.
const QUICK: u64 = 5;

/// Candidates for each second of disturbance, each with two tasks: enough for the search to go on
/// all the time.
const EVALUATIONS_A_SECOND: u64 = 8;

/// Longest time from the end of the disturbances to that of the search.
const PATIENCE: Duration = Duration::from_secs(240);

/// A number from the environment, which is where a test is told how long to last.
#[allow(clippy::disallowed_methods)]
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap())
}

/// What the coordinators share.
enum Shared {
    File(PathBuf),
    Server(Postgres),
}

impl Shared {
    fn database(&self) -> String {
        match self {
            Self::File(path) => path.to_str().unwrap().to_owned(),
            Self::Server(server) => server.url(),
        }
    }
}

/// A coordinator and the relay in front of it.
struct Coordinator {
    process: Process,
    relay: Relay,
    url: String,
}

struct World {
    binary: PathBuf,
    folder: tempfile::TempDir,
    files: tempfile::TempDir,
    shared: Shared,
    coordinators: Vec<Coordinator>,
    agents: Vec<Process>,
    /// How long a measurement takes, in milliseconds.
    pause_ms: u64,
    disturbed: BTreeMap<&'static str, usize>,
}

fn start_coordinator(binary: &Path, data: &Path, database: &str) -> (Process, String) {
    let arguments = [
        "serve",
        "--listen=127.0.0.1:0",
        "--take-over-after=1s",
        "--lease-time=3s",
        "--database",
        database,
    ];
    let mut process = Process::start(binary, data, arguments);
    let url = process.line("listening on ");
    (process, url)
}

impl World {
    async fn new(shared: Shared, coordinators: usize, seed: u64, pause_ms: u64) -> Self {
        let binary = tokio::task::spawn_blocking(process::binary).await.unwrap();
        let mut world = Self {
            binary,
            folder: tempfile::tempdir().unwrap(),
            files: requests::files(),
            shared,
            coordinators: Vec::new(),
            agents: Vec::new(),
            pause_ms,
            disturbed: BTreeMap::new(),
        };
        for number in 0..coordinators {
            let data = world.folder.path();
            let (process, url) = start_coordinator(&world.binary, data, &world.shared.database());
            let relay = Relay::start(seed + number as u64, 11).await;
            relay.point_to(&url);
            world.coordinators.push(Coordinator {
                process,
                relay,
                url,
            });
        }
        for number in 0..AGENTS {
            let agent = world.start_agent(number);
            world.agents.push(agent);
        }
        world
    }

    fn start_agent(&self, number: usize) -> Process {
        let data = self.folder.path();
        let spool = data.join(format!("spool-{number}"));
        let mut arguments = vec![
            format!("agent-{number}"),
            spool.to_str().unwrap().to_owned(),
            self.pause_ms.to_string(),
        ];
        // Each begins with another one of the coordinators.
        for offset in 0..self.coordinators.len() {
            let at = (number + offset) % self.coordinators.len();
            arguments.push(self.coordinators[at].relay.url());
        }
        Process::start(
            Path::new(env!("CARGO_BIN_EXE_scripted-agent")),
            data,
            arguments,
        )
    }

    fn restart_coordinator(&mut self, number: usize) {
        let database = self.shared.database();
        let (process, url) = start_coordinator(&self.binary, self.folder.path(), &database);
        let coordinator = &mut self.coordinators[number];
        coordinator.relay.point_to(&url);
        (coordinator.process, coordinator.url) = (process, url);
    }

    fn note(&mut self, what: &'static str) {
        *self.disturbed.entry(what).or_default() += 1;
    }

    /// Does something bad.
    async fn disturb(&mut self, dice: &mut fastrand::Rng) {
        let coordinator = dice.usize(..self.coordinators.len());
        let agent = dice.usize(..AGENTS);
        let moment = Duration::from_millis(dice.u64(..1500));
        match dice.u32(..10) {
            0 | 1 => {
                self.note("coordinators killed");
                self.coordinators[coordinator].process.end();
                tokio::time::sleep(moment).await;
                self.restart_coordinator(coordinator);
            }
            2 => {
                self.note("coordinators paused");
                // Long enough to be taken for dead, every second time.
                self.coordinators[coordinator].process.pause();
                tokio::time::sleep(moment * 2).await;
                self.coordinators[coordinator].process.go_on();
            }
            3 | 4 => {
                self.note("coordinators cut off");
                self.coordinators[coordinator].relay.cut_for(moment);
            }
            5 => {
                self.note("agents paused");
                self.agents[agent].pause();
                // Others go on meanwhile, longer than a lease lasts at times.
                tokio::time::sleep(moment * 3).await;
                self.agents[agent].go_on();
            }
            9 if matches!(self.shared, Shared::Server(_)) && dice.u32(..3) == 0 => {
                self.note("servers killed");
                if let Shared::Server(server) = &mut self.shared {
                    server.kill();
                    tokio::time::sleep(moment).await;
                    server.start_again();
                }
            }
            _ => {
                self.note("agents killed");
                self.agents[agent].end();
                self.agents[agent] = self.start_agent(agent);
            }
        }
        // What ended by itself is started again, as a service manager does.
        for number in 0..self.coordinators.len() {
            if self.coordinators[number].process.ended().is_some() {
                self.restart_coordinator(number);
            }
        }
        for number in 0..AGENTS {
            if self.agents[number].ended().is_some() {
                self.agents[number] = self.start_agent(number);
            }
        }
    }

    /// A client of the first coordinator that answers.
    async fn searches(&self) -> Searches {
        loop {
            for coordinator in &self.coordinators {
                let searches = Searches::connect(&coordinator.url).await;
                if searches.devices().await.is_ok() {
                    return searches;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn submit(&self, request: &SearchRequest) -> i64 {
        self.searches().await.submit(request).await.unwrap()
    }

    /// Waits for the end of a search, whoever answers.
    async fn end_of(&mut self, search: i64) -> Front {
        let begun = Instant::now();
        loop {
            let searches = self.searches().await;
            if let Ok(status) = searches.get(search).await
                && status.state.has_ended()
            {
                return searches.front(search).await.unwrap();
            }
            let logs: Vec<_> = self
                .coordinators
                .iter()
                .map(|it| it.process.stderr())
                .collect();
            assert!(
                begun.elapsed() < PATIENCE,
                "the search does not end; disturbed {:?}\n{}",
                self.disturbed,
                logs.join("\n--\n")
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn request(files: &Path, evaluations: u64, strategy: StrategyName, seed: u64) -> SearchRequest {
    SearchRequest {
        strategy,
        seed,
        staged: false,
        retimings: false,
        ..requests::request(files, evaluations)
    }
}

/// What a search has to show: its plans with their figures, and which are on the front.
fn found(front: &Front) -> BTreeMap<Digest, (Option<f64>, Option<f64>, bool)> {
    let points = front.points.iter();
    points
        .map(|point| {
            let figures = (point.kld(), point.decode_ns(), point.on_front);
            (point.plan.digest(), figures)
        })
        .collect()
}

/// Disturbs a search for as long as was asked for, and gives it back once it has ended.
async fn disturbed(
    shared: Shared,
    coordinators: usize,
    strategy: StrategyName,
    seed: u64,
) -> (World, Front) {
    let seconds = setting("CHAOS_SECONDS", 10);
    let mut world = World::new(shared, coordinators, seed, SLOW).await;
    let evaluations = seconds * EVALUATIONS_A_SECOND;
    let asked = request(world.files.path(), evaluations, strategy, seed);
    let search = world.submit(&asked).await;
    let mut dice = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let next = Instant::now() + Duration::from_secs(1);
        world.disturb(&mut dice).await;
        tokio::time::sleep_until(next.into()).await;
    }
    let front = world.end_of(search).await;
    (world, front)
}

/// The fronts of searches that nobody disturbs, a seed each.
async fn undisturbed(shared: Shared, strategy: StrategyName, seeds: &[u64]) -> Vec<Front> {
    let evaluations = setting("CHAOS_SECONDS", 10) * EVALUATIONS_A_SECOND;
    let mut world = World::new(shared, 1, 0, QUICK).await;
    let mut fronts = Vec::new();
    for &seed in seeds {
        let asked = request(world.files.path(), evaluations, strategy, seed);
        let search = world.submit(&asked).await;
        fronts.push(world.end_of(search).await);
    }
    fronts
}

/// Disturbs a search and compares it with one that nobody disturbed. Which plans the random strategy
/// asks for does not depend on the order of results, so both must have found the same.
async fn endure(shared: Shared, calm: Shared, coordinators: usize) {
    let seed = setting("CHAOS_SEED", 1);
    let random = StrategyName::Random;
    let (world, front) = disturbed(shared, coordinators, random, seed).await;
    let lasted = front.status.ended_at_ms.unwrap() - front.status.created_at_ms;
    assert_eq!(
        front.status.state,
        SearchState::Done,
        "{}",
        front.status.reason
    );
    assert_eq!(front.status.infeasible, 0, "a task was given up");
    let evaluations = front.status.request.budget.evaluations.unwrap();
    check_points(&front, evaluations);
    let there = undisturbed(calm, random, &[seed]).await;
    let (there, here) = (found(&there[0]), found(&front));
    assert_eq!(here.len() as u64, evaluations);
    assert!(
        here == there,
        "what was found differs from an undisturbed run"
    );

    let devices = world.searches().await.devices().await.unwrap();
    let stored = devices.iter().map(|device| device.measurements).sum();
    let seen: Vec<_> = world.coordinators.iter().map(|it| &it.relay).collect();
    let told = check_acknowledgements(&seen, &front, stored);
    say(&format!(
        "{} s of disturbances, a search of {} s: {:?}; {} candidates: {told}",
        setting("CHAOS_SECONDS", 10),
        lasted / 1000,
        world.disturbed,
        front.points.len()
    ));
}

/// The figures of a run, for whoever asks for them with `--nocapture`.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_on_postgres_and_the_server_itself_are_killed() {
    let (server, calm) = (Postgres::start(), Postgres::start());
    endure(Shared::Server(server), Shared::Server(calm), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coordinator_on_sqlite_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| Shared::File(folder.path().join(name));
    endure(file("chaos.sqlite"), file("calm.sqlite"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_surrogate_finds_as_much_as_undisturbed() {
    let surrogate = StrategyName::Surrogate;
    let server = Shared::Server(Postgres::start());
    let (world, front) = disturbed(server, 2, surrogate, setting("CHAOS_SEED", 1)).await;
    assert_eq!(
        front.status.state,
        SearchState::Done,
        "{}",
        front.status.reason
    );
    assert_eq!(front.status.infeasible, 0, "a task was given up");
    let calm = Shared::Server(Postgres::start());
    let calm = undisturbed(calm, surrogate, &[1, 2, 3, 4, 5]).await;
    let hypervolume = |front: &Front| front.status.hypervolume.unwrap();
    let spread: Vec<_> = calm.iter().map(hypervolume).collect();
    let (least, most) = spread
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), &it| {
            (least.min(it), most.max(it))
        });
    let here = hypervolume(&front);
    say(&format!(
        "{:?}; hypervolume {here:.6e}, of five undisturbed seeds {least:.6e} to {most:.6e}",
        world.disturbed
    ));
    // The baselines are the same, so the reference points are; five seeds do not show all of a
    // strategy's spread, so as much again is allowed.
    let slack = most - least;
    assert!(here >= least - slack, "{here} of {spread:?}");
    assert!(here <= most + slack, "{here} of {spread:?}");
}
