use bitfront_model::{Registration, Report, SearchRequest, TaskKind, TaskPurpose};

use super::*;
use crate::clock::Clock;
use crate::fixtures;
use crate::leasing::HandOut;
use crate::measurements;
use crate::testing::{Bench, folder};

/// A model of which a whole scoring takes as many nanoseconds as a device takes for a position and a
/// parameter.
fn about() -> About {
    About {
        profile: Digest::of("elsewhere"),
        volume: Volume {
            parameters: 1.0,
            context: 1.0,
            windows: 1.0,
        },
        is_quality: true,
    }
}

fn scored(nanoseconds: f64) -> Pace {
    Pace {
        scored: Some(nanoseconds),
        timed: None,
    }
}

fn waits(pace: Pace) -> Elsewhere {
    Elsewhere { pace, holds: None }
}

fn scores(pace: Pace, since: u64) -> Elsewhere {
    let since = Duration::from_nanos(since);
    Elsewhere {
        pace,
        holds: Some(Holds {
            about: about(),
            since,
        }),
    }
}

fn times(pace: Pace, since: u64) -> Elsewhere {
    let mut elsewhere = scores(pace, since);
    elsewhere.holds.as_mut().unwrap().about.is_quality = false;
    elsewhere
}

#[test]
fn as_many_are_left_as_are_finished_earlier_elsewhere() {
    let slow = scored(1000.0);
    let both = |scored, timed| Pace {
        scored: Some(scored),
        timed: Some(timed),
    };
    let timed = |nanoseconds| Pace {
        scored: None,
        timed: Some(nanoseconds),
    };
    let rows: Vec<(&str, Pace, Vec<Elsewhere>, u32)> = vec![
        ("alone", slow, vec![], 0),
        ("an equal that waits", slow, vec![waits(slow)], 0),
        ("an equal that began", slow, vec![scores(slow, 0)], 0),
        (
            "an equal that is nearly done",
            slow,
            vec![scores(slow, 999)],
            0,
        ),
        ("a slower one", slow, vec![waits(scored(2000.0))], 0),
        ("ten times as fast", slow, vec![waits(scored(100.0))], 9),
        ("it began", slow, vec![scores(scored(100.0), 0)], 8),
        ("it is half done", slow, vec![scores(scored(100.0), 50)], 9),
        (
            "it takes longer than usual",
            slow,
            vec![scores(scored(100.0), 500)],
            9,
        ),
        (
            "it came to a stop",
            slow,
            vec![scores(scored(100.0), 1000)],
            0,
        ),
        ("it times", slow, vec![times(scored(100.0), 50)], 9),
        (
            "it times for ever",
            slow,
            vec![times(scored(100.0), 1000)],
            0,
        ),
        ("two of them", slow, vec![waits(scored(100.0)); 2], 18),
        (
            "a little faster, and waits",
            slow,
            vec![waits(scored(900.0))],
            1,
        ),
        (
            "a little faster, and began",
            slow,
            vec![scores(scored(900.0), 0)],
            0,
        ),
        (
            "nothing known here",
            Pace::default(),
            vec![waits(scored(100.0))],
            0,
        ),
        ("nothing known there", slow, vec![waits(Pace::default())], 0),
        ("scored against timed", slow, vec![waits(timed(100.0))], 0),
        (
            "timed against timed",
            timed(1000.0),
            vec![waits(timed(100.0))],
            9,
        ),
        (
            "scorings come first",
            both(1000.0, 50.0),
            vec![waits(both(500.0, 1.0))],
            1,
        ),
        (
            "no end",
            scored(f64::MAX),
            vec![waits(scored(1.0))],
            1_000_000,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, mine, others, expected) in rows {
        let found = left_to(mine, &others);
        if found != expected {
            wrong.push(format!("{what}: {found} in place of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How many times longer the slow device takes for everything.
const SLOWER: u64 = 10;

/// What a whole scoring takes the fast device.
const SCORING: Duration = Duration::from_secs(2);

/// A device of other hardware, of the same numerics class.
fn hardware(name: &str) -> Registration {
    let mut device = fixtures::registration(name);
    device.hardware_profile.cpu_model = format!("Scripted {name}");
    device
}

/// Two devices that search for themselves, both of which have timed and scored.
struct Pair {
    bench: Bench,
    fast: i64,
    slow: i64,
    slows_search: i64,
}

fn request(device: &str) -> SearchRequest {
    SearchRequest {
        device: Some(device.to_owned()),
        budget: fixtures::evaluations(60),
        ..fixtures::request()
    }
}

impl Pair {
    async fn start(folder: &std::path::Path) -> Self {
        let bench = Bench::in_folder(folder).await;
        let fast = bench.register_as(hardware("fast")).await.unwrap();
        let slow = bench.register_as(hardware("slow")).await.unwrap();
        let slows_search = bench.submit(request("slow")).await;
        // What was asked for first comes first, whoever asked.
        let store = bench.world.store.clone();
        while store.candidates(slows_search, 0).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.submit(request("fast")).await;
        let pair = Self {
            bench,
            fast,
            slow,
            slows_search,
        };
        // The first task of the slow device is a timing: nothing is known of either yet.
        let timing = pair.bench.lease_one(slow).await;
        assert_eq!(timing.assignment.kind, TaskKind::Latency);
        pair.report(slow, &timing).await;
        while pair.fastest_is_unknown() {
            let task = pair.bench.lease_one(fast).await;
            pair.report(fast, &task).await;
        }
        pair
    }

    fn fastest_is_unknown(&self) -> bool {
        let fast = hardware("fast").hardware_profile.digest();
        let known = self.bench.leasing.paces.lock();
        known
            .profiles
            .get(&fast)
            .is_none_or(|it| it.timed.is_none())
    }

    /// Hands in what a device measured, which took it as long as it takes.
    async fn report(&self, device: i64, hand_out: &HandOut) {
        let report = self.measured(device, hand_out);
        let bench = &self.bench;
        let reported = measurements::report(&bench.world, &bench.leasing, &report);
        reported.await.unwrap();
    }

    fn measured(&self, device: i64, hand_out: &HandOut) -> Report {
        let slower = if device == self.slow { SLOWER } else { 1 };
        let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
        report.measurement.evidence.duration_ns = SCORING.as_nanos() as u64 * slower;
        if let Outcome::Latency { workloads } = &mut report.measurement.outcome {
            for latency in workloads {
                for sample in &mut latency.paired.as_mut().unwrap().anchor_samples_ns {
                    *sample *= slower;
                }
            }
        }
        report
    }

    /// What a device is handed at once, if anything.
    async fn handed(&self, device: i64) -> Option<HandOut> {
        let leased = self.bench.lease(device);
        let leased = tokio::time::timeout(Duration::from_millis(300), leased).await;
        leased.ok()?.unwrap()
    }

    /// What a device is handed in the end.
    async fn handed_at_last(&self, device: i64) -> HandOut {
        for _ in 0..60 {
            if let Some(hand_out) = self.handed(device).await {
                return hand_out;
            }
        }
        panic!("nothing is handed out");
    }

    /// Lets time pass in which a device keeps what it holds.
    async fn pass(&self, time: Duration, device: i64, hand_out: &HandOut) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(10));
            self.bench.clock.advance(step);
            left -= step;
            let token = hand_out.assignment.token;
            let lost = self.bench.leasing.heartbeat(device, &[token]).await;
            assert_eq!(lost.unwrap(), []);
        }
    }
}

fn is_scoring(hand_out: &HandOut) -> bool {
    let assignment = &hand_out.assignment;
    assignment.kind == TaskKind::Quality && assignment.purpose == TaskPurpose::Search
}

#[tokio::test]
async fn a_slow_device_times_and_a_fast_one_scores_until_it_leaves() {
    let folder = folder();
    let pair = Pair::start(folder.path()).await;
    let (mut timed, mut scored_for_it) = (0, 0);
    for _ in 0..15 {
        // The fast device is always at work when the slow one asks.
        let at_fast = pair.handed_at_last(pair.fast).await;
        while let Some(task) = pair.handed(pair.slow).await {
            assert!(!is_scoring(&task), "{:?}", task.assignment);
            timed += 1;
            pair.report(pair.slow, &task).await;
        }
        if at_fast.assignment.search == pair.slows_search {
            assert!(is_scoring(&at_fast));
            scored_for_it += 1;
        }
        pair.report(pair.fast, &at_fast).await;
    }
    assert!(timed > 3 && scored_for_it > 3, "{timed} {scored_for_it}");
    // Now the fast one is gone.
    pair.bench.clock.advance(Duration::from_secs(31));
    pair.bench.leasing.heartbeat(pair.slow, &[]).await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let task = pair.handed_at_last(pair.slow).await;
        kinds.push(is_scoring(&task));
        pair.report(pair.slow, &task).await;
    }
    assert!(kinds.contains(&true), "it scores for itself: {kinds:?}");
    pair.bench.stop().await;
}

#[tokio::test]
async fn nobody_waits_for_a_fast_device_that_came_to_a_stop() {
    let folder = folder();
    let pair = Pair::start(folder.path()).await;
    let at_fast = pair.handed_at_last(pair.fast).await;
    while let Some(task) = pair.handed(pair.slow).await {
        assert!(!is_scoring(&task), "{:?}", task.assignment);
        pair.report(pair.slow, &task).await;
    }
    let scoring = 2 * SCORING * u32::try_from(SLOWER).unwrap();
    pair.pass(scoring, pair.fast, &at_fast).await;
    pair.bench.leasing.heartbeat(pair.slow, &[]).await.unwrap();
    let task = pair.handed_at_last(pair.slow).await;
    assert!(is_scoring(&task), "{:?}", task.assignment);
    pair.bench.stop().await;
}

#[tokio::test]
async fn how_fast_devices_are_is_recalled_after_a_restart() {
    let folder = folder();
    let pair = Pair::start(folder.path()).await;
    let after = Bench::over(pair.bench.world.store.clone(), |_| {}).await;
    after.clock.advance(pair.bench.clock.elapsed());
    let pace = |bench: &Bench, name: &str| {
        let digest = hardware(name).hardware_profile.digest();
        let known = bench.leasing.paces.lock();
        known.profiles.get(&digest).map(Profile::pace)
    };
    assert_eq!(pace(&after, "fast"), None);
    for name in ["fast", "slow"] {
        after.register_as(hardware(name)).await.unwrap();
        let known = pace(&after, name);
        assert!(known.is_some());
        assert_eq!(known, pace(&pair.bench, name), "{name}");
    }
    let [fast, slow] = ["fast", "slow"].map(|name| pace(&after, name).unwrap().timed.unwrap());
    assert!(slow > 5.0 * fast, "{slow} {fast}");
    pair.bench.stop().await;
}
