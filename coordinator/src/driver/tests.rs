mod away;
mod bad_input;
mod confirming;
mod joining;
mod probing;
mod retiming;
mod sensitivity;
mod siblings;
mod starts;
mod stopping;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::*;
use bitfront_search::non_dominated;

use super::replay::Replay;
use crate::clock::Clock;
use crate::fixtures;
use crate::guesses::Known;
use crate::store::sqlite::SqliteStore;
use crate::store::unreliable::Unreliable;
use crate::store::{Binding, Score, ScoreOutcome, Store, StoredCandidate};
use crate::testing::{Bench, folder, until};
use crate::{measurements, query};

fn request(evaluations: u64) -> SearchRequest {
    SearchRequest {
        budget: fixtures::evaluations(evaluations),
        ..fixtures::request()
    }
}

fn binding() -> Binding {
    let device = fixtures::registration("one");
    Binding {
        hardware_profile: device.hardware_profile.digest(),
        numerics_class: device.numerics_class,
        precisions: device.precisions,
        probe: None,
        exclusions: Vec::new(),
        sensitivity: None,
    }
}

async fn digests(store: &Arc<dyn Store>, search: i64) -> Vec<Digest> {
    let candidates = store.candidates(search, 0).await.unwrap();
    candidates.iter().map(|one| one.plan_digest).collect()
}

#[tokio::test]
async fn a_search_measures_the_baselines_first_and_ends_by_its_budget() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(30)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!(status.state, SearchState::Done);
    assert!(
        status.reason.contains("30 evaluations"),
        "{}",
        status.reason
    );
    assert_eq!((status.evaluated, status.candidates), (30, 30));
    assert_eq!(status.reference_point.len(), 3);
    assert!(status.hypervolume.unwrap() > 0.0);
    let front = query::front(&bench.world, search, None).await.unwrap();
    let baselines: Vec<_> = front
        .points
        .iter()
        .map(|point| point.baseline.is_some())
        .collect();
    assert!(baselines[0] && !baselines[29]);
    assert!(baselines.is_sorted_by(|left, right| left >= right), "first");
    let names: Vec<_> = front
        .points
        .iter()
        .filter_map(|point| point.baseline.as_deref())
        .collect();
    assert!(
        names.iter().any(|name| name.contains("uniform q4_k")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|name| name.contains("Q4_K_M")),
        "{names:?}"
    );
    assert_eq!(front.points.iter().filter(|point| point.is_knee).count(), 1);
    // The status counts what the search steers by, the points say what is published.
    let means = |point: &FrontPoint| {
        [
            point.kld().unwrap(),
            point.decode_ns().unwrap(),
            point.size_bytes as f64,
        ]
    };
    // Fresh figures and those of the search are not compared.
    let confirmed = |point: &&FrontPoint| point.confirmation.is_some();
    let confirmed = front.points.iter().filter(confirmed);
    let means: Vec<_> = confirmed.map(means).collect();
    assert_eq!(non_dominated(&means).len() as u64, status.front_size);
    let shown = front.points.iter().filter(|point| point.on_front).count();
    assert!(shown > 0);
    let in_classes = front.points.iter().map(|point| point.placing.class.len());
    let alike = |point: &&FrontPoint| point.placing.class_of.is_some();
    assert_eq!(
        in_classes.sum::<usize>(),
        front.points.iter().filter(alike).count()
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_search_waits_for_a_device_that_suits_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut request = request(2);
    request.device = Some("two".to_owned());
    let smallest = bitfront_model::Plan::uniform(&request.spec, Precision::Q4K).unwrap();
    request.limits.max_size_bytes = Some(smallest.size_bytes(&request.spec));
    let search = bench.submit(request).await;
    let waits = async |expected: &str| {
        let mut changes = bench.world.wakeups.on_search(search);
        loop {
            let status = bench.status(search).await;
            if status.reason.contains(expected) {
                return status;
            }
            let changed = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
            assert!(changed.is_ok(), "still: {}", status.reason);
        }
    };
    let status = waits("waiting for device `two`").await;
    assert_eq!(status.state, SearchState::Queued);
    bench.register("one").await;
    let mut unsuited = fixtures::registration("two");
    unsuited.precisions = vec![Precision::F32];
    bench.register_as(unsuited).await.unwrap();
    waits("on `two`, none of the precisions").await;
    let mut coarse = fixtures::registration("two");
    coarse.precisions = vec![Precision::Q8_0];
    bench.register_as(coarse).await.unwrap();
    waits("on `two`, the smallest plan over the precisions that it executes").await;
    let device = bench.register("two").await;
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    bench.stop().await;
}

#[tokio::test]
async fn time_counts_while_the_search_is_served_and_a_restart_continues_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench
        .submit(SearchRequest {
            budget: fixtures::time(Duration::from_secs(100)),
            ..fixtures::request()
        })
        .await;
    let device = bench.register("one").await;
    let hand_out = bench.lease_one(device).await;
    // Preparing takes as long as it takes.
    let mut changes = bench.world.wakeups.on_search(search);
    for _ in 0..20 {
        bench.clock.advance(Duration::from_secs(10));
        bench
            .leasing
            .heartbeat(device, &[hand_out.assignment.token])
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bench.status(search).await.active, Duration::ZERO);
    changes.borrow_and_update();
    bench.report(&hand_out).await.unwrap();
    changes.changed().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Moves the clock a second at a time, and on only when the driver has followed: what was used
    // is noted every two seconds.
    let serve_for = async |bench: &Bench, seconds: u64| {
        let before = bench.status(search).await.active;
        for second in 1..=seconds {
            bench.clock.advance(Duration::from_secs(1));
            bench.leasing.heartbeat(device, &[]).await.unwrap();
            let mut changes = bench.world.wakeups.on_search(search);
            let lagging = async |changes: &mut crate::wakeups::Listener| loop {
                let status = bench.status(search).await;
                let behind =
                    before + Duration::from_secs(second) - Duration::from_secs(second.min(4));
                if status.active >= behind || status.state.has_ended() {
                    return;
                }
                changes.changed().await.unwrap();
            };
            let followed = tokio::time::timeout(Duration::from_secs(20), lagging(&mut changes));
            followed.await.expect("the driver follows the clock");
        }
    };
    serve_for(&bench, 40).await;
    bench.stop().await;
    let used = bench.status(search).await.active;
    assert!(used >= Duration::from_secs(35), "{used:?}");
    assert!(used <= Duration::from_secs(40), "{used:?}");
    // A day without a device changes nothing.
    let after = Bench::over(bench.world.store.clone(), |_| {}).await;
    let mut changes = after.world.wakeups.on_search(search);
    after.take_over().await;
    after.clock.advance(Duration::from_secs(86_400));
    while !after
        .status(search)
        .await
        .reason
        .contains("waiting for its device")
    {
        changes.changed().await.unwrap();
    }
    assert_eq!(after.status(search).await.active, used);
    serve_for(&after, 90).await;
    let status = after.status(search).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    assert!(status.reason.contains("time"), "{}", status.reason);
    assert!(
        status.active >= Duration::from_secs(100),
        "{:?}",
        status.active
    );
    assert!(
        status.active <= Duration::from_secs(106),
        "{:?}",
        status.active
    );
    after.stop().await;
}

#[tokio::test]
async fn a_search_that_nothing_can_be_measured_of_fails_early() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(50)).await;
    let device = bench.register("one").await;
    for _ in 0..9 {
        let assignment = bench.lease_one(device).await.assignment;
        bench
            .leasing
            .give_back(assignment.token, "/models/tiny is missing", true)
            .await
            .unwrap();
    }
    let mut changes = bench.world.wakeups.on_search(search);
    while !bench.status(search).await.state.has_ended() {
        changes.changed().await.unwrap();
    }
    let status = bench.status(search).await;
    assert_eq!(status.state, SearchState::Failed);
    assert!(
        status.reason.contains("/models/tiny is missing"),
        "{}",
        status.reason
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_space_with_one_plan_is_exhausted_at_once() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut request = request(1000);
    request.precisions = vec![Precision::Q8_0];
    let search = bench.submit(request).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!(status.state, SearchState::Done);
    assert!(
        status.reason.contains("every plan of the space"),
        "{}",
        status.reason
    );
    bench.stop().await;
}

/// What a store would hold after a candidate was added and measured.
fn stored(
    replay_says: crate::store::NewCandidate,
    id: i64,
    spec: &ModelSpec,
) -> (StoredCandidate, [Score; 2]) {
    let candidate = StoredCandidate {
        id,
        ask_number: replay_says.ask_number,
        genome: replay_says.genome,
        precisions: replay_says.plan.precisions().to_vec(),
        plan_digest: replay_says.plan.digest(),
        size_bytes: replay_says.size_bytes,
        baseline: replay_says.baseline,
    };
    let bits = replay_says.plan.bits_per_weight(spec);
    let score = |measurement, outcome| Score {
        measurement,
        candidate: id,
        purpose: TaskPurpose::Search,
        executed_as_planned: true,
        outcome,
    };
    let quality = ScoreOutcome::Quality {
        kld: (-bits).exp(),
        mismatch: (-bits / 2.0).exp(),
        stopped: false,
    };
    let latency = ScoreOutcome::Latency {
        decode_ns: bits * 1e6,
        prefill_ns: bits * 1e7,
    };
    (
        candidate,
        [score(2 * id - 1, quality), score(2 * id, latency)],
    )
}

#[tokio::test]
async fn a_rebuilt_strategy_asks_what_the_living_one_asks() {
    for strategy in [
        StrategyName::Random,
        StrategyName::Nsga2,
        StrategyName::Surrogate,
    ] {
        let request = SearchRequest {
            strategy,
            ..fixtures::request()
        };
        let mut living = Replay::new(&request, &binding(), &Known::default()).unwrap();
        let (mut candidates, mut scores) = (Vec::new(), Vec::new());
        let mut waiting: Option<[Score; 2]> = None;
        for id in 1..=80 {
            let next = living.next().await.unwrap().unwrap();
            let mut rebuilt = Replay::new(&request, &binding(), &Known::default()).unwrap();
            rebuilt.learn(candidates.clone(), &scores).unwrap();
            assert_eq!(rebuilt.position(), living.position());
            let again = rebuilt.next().await.unwrap().unwrap();
            assert_eq!(again.plan, next.plan, "{strategy}, candidate {id}");
            assert_eq!(again.ask_number, next.ask_number);
            let (candidate, measured) = stored(next, id, &request.spec);
            // The living one learns in pieces, and of every other candidate one round later.
            living.learn(vec![candidate.clone()], &[]).unwrap();
            candidates.push(candidate);
            let late = std::mem::replace(&mut waiting, (id % 2 == 0).then_some(measured.clone()));
            let seen = scores.len();
            scores.extend(late.into_iter().flatten());
            if id % 2 != 0 {
                scores.extend(measured);
            }
            living.learn(Vec::new(), &scores[seen..]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_search_that_is_stopped_and_started_asks_the_same_candidates() {
    let whole = folder();
    let pieces = folder();
    // One candidate at a time, so that both runs know the same at every ask.
    let one_at_a_time = |config: &mut crate::Config| config.pending_per_device = 1;
    let open = async |folder: &std::path::Path| {
        let store = SqliteStore::open(&folder.join("test.sqlite"))
            .await
            .unwrap();
        Arc::new(store) as Arc<dyn Store>
    };
    let store = open(whole.path()).await;
    let bench = Bench::over(store, one_at_a_time).await;
    let search = bench.submit(request(45)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    bench.stop().await;
    let expected = digests(&bench.world.store, search).await;
    assert_eq!(expected.len(), 45);

    let store = open(pieces.path()).await;
    let first = Bench::over(store.clone(), one_at_a_time).await;
    let search = first.submit(request(45)).await;
    first.stop().await;
    let mut rounds = 0;
    loop {
        let bench = Bench::over(store.clone(), one_at_a_time).await;
        bench.take_over().await;
        let device = bench.register("one").await;
        bench.serve(device, search, 1 + rounds * 5 % 7).await;
        bench.stop().await;
        rounds += 1;
        if bench.status(search).await.state.has_ended() {
            break;
        }
    }
    assert!(rounds > 10, "{rounds}");
    assert_eq!(digests(&store, search).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_loses_requests_and_replies_loses_no_measurement() {
    for seed in 0..3 {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let reliable: Arc<dyn Store> = Arc::new(store.unwrap());
        let unreliable = Unreliable::new(reliable.clone(), seed, 50, 50);
        let bench = Arc::new(Bench::over(Arc::new(unreliable), |_| {}).await);
        let search = {
            let new = crate::store::NewSearch {
                request: request(25),
                idempotency_key: None,
                starts: Vec::new(),
            };
            reliable.submit(&new, 1).await.unwrap()
        };
        bench.drivers.start(search);
        let device = reliable
            .register(&fixtures::registration("one"), 1)
            .await
            .unwrap();
        let reaper = tokio::spawn(crate::reaper::run(
            bench.leasing.clone(),
            bench.shutdown.clone(),
        ));
        let agents: Vec<_> = (0..2)
            .map(|_| tokio::spawn(insist(bench.clone(), device)))
            .collect();
        // Time runs a thousand times faster, so that pauses and lost leases cost little.
        let mut patience = 0;
        loop {
            bench.clock.advance(Duration::from_secs(2));
            tokio::time::sleep(Duration::from_millis(2)).await;
            let state = reliable.search(search).await.unwrap().unwrap().state;
            if state.has_ended() {
                assert_eq!(state, SearchState::Done);
                break;
            }
            patience += 1;
            assert!(patience < 20_000, "seed {seed} does not end");
        }
        bench.shutdown.cancel();
        let mut acknowledged = 0;
        for agent in agents {
            acknowledged += agent.await.unwrap();
        }
        reaper.await.unwrap();
        bench.drivers.clone().stop().await;
        let candidates = reliable.candidates(search, 0).await.unwrap();
        let scores = reliable.scores(search, 0).await.unwrap();
        let mut kinds: Vec<_> = scores
            .iter()
            .map(|score| (score.candidate, std::mem::discriminant(&score.outcome)))
            .map(|pair| format!("{pair:?}"))
            .collect();
        let counted = kinds.len();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), counted, "seed {seed}: something counts twice");
        let status = query::status(&Bench::over(reliable.clone(), |_| {}).await.world, search)
            .await
            .unwrap();
        assert_eq!(status.evaluated, 25, "seed {seed}");
        assert_eq!(candidates.len(), 25, "seed {seed}");
        let stored = reliable.devices().await.unwrap()[0].measurements;
        assert!(
            stored >= acknowledged,
            "seed {seed}: {stored} < {acknowledged}"
        );
    }
}

/// An agent that sends everything again until it hears an answer. Says how many of its reports
/// were acknowledged for the first time.
async fn insist(bench: Arc<Bench>, device: i64) -> u64 {
    let mut acknowledged = 0;
    while !bench.shutdown.is_cancelled() {
        let Ok(Some(hand_out)) = bench.lease(device).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let report = fixtures::report(&hand_out.spec, &hand_out.assignment);
        loop {
            match measurements::report(&bench.world, &bench.leasing, &report).await {
                Ok(_) => {
                    acknowledged += 1;
                    break;
                }
                Err(_) if bench.shutdown.is_cancelled() => return acknowledged,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
    acknowledged
}

#[tokio::test]
async fn cancelled_and_continued_the_clock_and_the_candidates_go_on() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(10)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, 9).await;
    let store = &bench.world.store;
    let now = bench.clock.now_ms();
    assert!(store.cancel(search, now).await.unwrap().is_some());
    bench.world.wakeups.search(search);
    let before = digests(store, search).await;
    assert!(
        store
            .resume(search, &fixtures::evaluations(12), 4)
            .await
            .unwrap()
    );
    bench.drivers.start(search);
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.evaluated), (SearchState::Done, 12));
    let after = digests(store, search).await;
    assert_eq!(after[..before.len()], before);
    bench.stop().await;
}
