mod bad_input;
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
use crate::testing::{Bench, folder};
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
    after.drivers.clone().start_all().await.unwrap();
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
        executed_as_planned: true,
        outcome,
    };
    let quality = ScoreOutcome::Quality {
        kld: (-bits).exp(),
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
        bench.leasing.recover().await.unwrap();
        bench.drivers.clone().start_all().await.unwrap();
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

/// The plans of a front's points that were measured afresh.
async fn confirmed(store: &Arc<dyn Store>, search: i64) -> usize {
    let confirmations = store.confirmations(search).await.unwrap();
    confirmations
        .iter()
        .filter(|one| one.score.is_some())
        .count()
}

#[tokio::test]
async fn the_front_is_confirmed_before_the_end_and_no_ask_changes() {
    let mut asked = Vec::new();
    for most in [0, 4] {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let bench = Bench::over(store.clone(), |config| {
            config.most_confirmed = most;
            config.pending_per_device = 1;
        })
        .await;
        let search = bench.submit(request(30)).await;
        let device = bench.register("one").await;
        bench.serve(device, search, 60).await;
        if most > 0 {
            let status = bench.status(search).await;
            assert_eq!(status.state, SearchState::Running);
            bench.serve(device, search, 1).await;
            let reason = bench.status(search).await.reason;
            assert!(
                reason.contains("confirming the front and the baselines"),
                "{reason}"
            );
            assert!(reason.contains("of the front left out"), "{reason}");
        }
        bench.serve(device, search, usize::MAX).await;
        let status = bench.status(search).await;
        assert_eq!((status.state, status.evaluated), (SearchState::Done, 30));
        let baselines = store.candidates(search, 0).await.unwrap();
        let baselines = baselines
            .iter()
            .filter(|one| one.baseline.is_some())
            .count();
        let expected = if most == 0 { 0 } else { 2 * (baselines + most) };
        assert_eq!(confirmed(&store, search).await, expected);

        // More budget goes on as if nothing had been confirmed, and confirms what is new.
        let resumed = store.resume(search, &fixtures::evaluations(40), 30).await;
        assert!(resumed.unwrap());
        bench.drivers.start(search);
        bench.serve(device, search, usize::MAX).await;
        let status = bench.status(search).await;
        assert_eq!((status.state, status.evaluated), (SearchState::Done, 40));
        assert!(confirmed(&store, search).await >= expected);
        asked.push(digests(&store, search).await);
        bench.stop().await;
    }
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn a_restart_while_confirming_goes_on_from_the_store() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let bench = Bench::over(store.clone(), |_| {}).await;
    let search = bench.submit(request(20)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, 45).await;
    bench.stop().await;
    let before = confirmed(&store, search).await;
    assert!(before > 0, "nothing is confirmed yet");
    let active = bench.status(search).await.active;
    let bench = Bench::over(store.clone(), |_| {}).await;
    bench.leasing.recover().await.unwrap();
    bench.drivers.clone().start_all().await.unwrap();
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.evaluated), (SearchState::Done, 20));
    assert_eq!(status.active, active, "confirming counts towards no budget");
    assert!(confirmed(&store, search).await > before);
    bench.stop().await;
}

#[tokio::test]
async fn a_confirmation_that_nobody_manages_ends_the_search_nevertheless() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(20)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, 40).await;
    for _ in 0..3 {
        let assignment = bench.lease_one(device).await.assignment;
        assert_eq!(assignment.purpose, TaskPurpose::Confirm);
        let given_back = bench.leasing.give_back(assignment.token, "no", true).await;
        given_back.unwrap();
    }
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.infeasible), (SearchState::Done, 0));
    bench.stop().await;
}

#[tokio::test]
async fn without_windows_to_confirm_quality_on_times_alone_are_confirmed() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut request = request(20);
    request.subject.data.held_back = None;
    let search = bench.submit(request).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let confirmations = bench.world.store.confirmations(search).await.unwrap();
    assert!(!confirmations.is_empty());
    assert!(
        confirmations
            .iter()
            .all(|one| one.kind == TaskKind::Latency)
    );
    bench.stop().await;
}

/// Two devices of one numerics class share the qualities of a search, but only those of its hardware
/// profile confirm what is published of them.
#[tokio::test]
async fn a_device_of_the_class_alone_measures_quality_and_confirms_none() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = bench.register("one").await;
    let search = bench.submit(request(20)).await;
    let mut of_the_class = fixtures::registration("two");
    of_the_class.hardware_profile.cpu_model = "Scripted 9001".to_owned();
    let first = bench.lease_one(one).await;
    let two = bench.register_as(of_the_class).await.unwrap();
    bench.report(&first).await.unwrap();
    let quality = bench.lease_one(two).await;
    assert_eq!(quality.assignment.kind, TaskKind::Quality);
    bench.report(&quality).await.unwrap();
    tokio::join!(
        bench.serve(one, search, usize::MAX),
        bench.serve(two, search, usize::MAX)
    );
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let measured = bench.world.store.measurements(search, None).await.unwrap();
    let by = |purpose| {
        let of_purpose = measured.iter().filter(|it| it.purpose == purpose);
        of_purpose
            .map(|it| it.device.as_str())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(by(TaskPurpose::Search), BTreeSet::from(["one", "two"]));
    assert_eq!(by(TaskPurpose::Confirm), BTreeSet::from(["one"]));
    let front = query::front(&bench.world, search, None).await.unwrap();
    let confirmations = front
        .points
        .iter()
        .filter_map(|it| it.confirmation.as_ref());
    let agreeing = confirmations.map(|it| {
        let rescoring = it.rescoring.unwrap();
        (rescoring.windows, rescoring.ratio, rescoring.deviates)
    });
    assert!(agreeing.clone().count() > 0);
    assert!(agreeing.clone().all(|it| it == (4, 1.0, false)));
    bench.stop().await;
}

/// A device whose agent understands probes.
async fn register_probing(bench: &Bench) -> i64 {
    let device = Registration {
        can_probe: true,
        ..fixtures::registration("one")
    };
    bench.register_as(device).await.unwrap()
}

/// Waits until a search has another binding or reason.
async fn until(bench: &Bench, search: i64, reached: impl Fn(&crate::store::StoredSearch) -> bool) {
    let look = async {
        loop {
            let stored = bench.world.store.search(search).await.unwrap().unwrap();
            if reached(&stored) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), look).await;
    in_time.expect("the search gets there");
}

#[tokio::test]
async fn a_search_is_bound_once_its_device_is_probed_to_a_space_that_a_restart_keeps() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let request = SearchRequest {
        precisions: Precision::ALL.to_vec(),
        ..request(60)
    };
    let search = bench.submit(request).await;
    let device = register_probing(&bench).await;
    let assignment = bench.lease_question(device).await;
    until(&bench, search, |stored| {
        stored.reason.contains("the probe of device `one`")
    })
    .await;
    // Neither an answer to another question nor an impossible time is taken.
    let changed = |change: fn(&mut Probe)| {
        let mut report = fixtures::answer(&assignment);
        let Answer::Probe(probe) = &mut report.answer else {
            panic!("{report:?} is no probe");
        };
        change(probe);
        report
    };
    let refused = [
        AnswerReport {
            question_digest: Digest::of("another"),
            ..fixtures::answer(&assignment)
        },
        changed(|probe| drop(probe.products.pop())),
        changed(|probe| {
            if let ProductResult::Timed { few_rows, .. } = &mut probe.products[0].result {
                few_rows.median_ns = 0.0;
            }
        }),
    ];
    for report in refused {
        let refusal = measurements::answer(&bench.world, &bench.leasing, &report).await;
        assert!(refusal.unwrap_err().to_string().contains("is refused"));
    }
    assert_eq!(bench.answer(&assignment).await.unwrap(), Receipt::Recorded);
    until(&bench, search, |stored| stored.binding.is_some()).await;
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    let excluded: Vec<_> = stored.binding.unwrap().exclusions;
    assert!(excluded.iter().any(|it| it.precision == Precision::Q5_0));

    assert_eq!(bench.serve(device, search, 70).await, 70);
    bench.stop().await;
    let bench = Bench::over(bench.world.store.clone(), |_| {}).await;
    bench.leasing.recover().await.unwrap();
    bench.drivers.clone().start_all().await.unwrap();
    let device = register_probing(&bench).await;
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let candidates = bench.world.store.candidates(search, 0).await.unwrap();
    let proposed = candidates.iter().filter(|it| it.baseline.is_none());
    let mut outside = 0;
    for candidate in candidates.iter().filter(|it| it.baseline.is_some()) {
        outside += usize::from(candidate.genome.is_none());
    }
    assert!(outside > 0, "baselines are measured outside the space too");
    // Of the layers that are multiplied, none is proposed in what left.
    for candidate in proposed {
        let layers = fixtures::spec().layers;
        for (layer, precision) in layers.iter().zip(&candidate.precisions) {
            let left = excluded
                .iter()
                .any(|it| Shape::of(layer) == Some(it.shape) && it.precision == *precision);
            assert!(!left, "{} in {precision}", layer.name);
        }
    }
}

#[tokio::test]
async fn a_second_search_over_the_same_shapes_waits_for_no_probe() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let first = bench.submit(request(10)).await;
    let device = register_probing(&bench).await;
    let assignment = bench.lease_question(device).await;
    bench.answer(&assignment).await.unwrap();
    until(&bench, first, |stored| stored.binding.is_some()).await;
    let second = bench.submit(request(10)).await;
    until(&bench, second, |stored| stored.binding.is_some()).await;
    let device = query::device(&bench.world, "one").await.unwrap();
    assert_eq!(device.probes.len(), 1);
    assert_eq!(
        device.probes[0].standing,
        QuestionStanding::Done(Box::new(fixtures::probe(&fixtures::probe_question())))
    );
    assert!(!device.probes[0].excluded.is_empty());
    let unknown = query::device(&bench.world, "two")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("`two`") && unknown.contains("known are one"),
        "{unknown}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_probe_that_fails_too_often_is_done_without() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(5)).await;
    let device = register_probing(&bench).await;
    for _ in 0..bench.world.config.most_attempts {
        let assignment = bench.lease_question(device).await;
        bench
            .leasing
            .give_back(assignment.token, "no memory", true)
            .await
            .unwrap();
    }
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    let binding = stored.binding.unwrap();
    assert_eq!((binding.probe, binding.exclusions), (None, Vec::new()));
    let device = query::device(&bench.world, "one").await.unwrap();
    let reason = "no memory".to_owned();
    assert_eq!(
        device.probes[0].standing,
        QuestionStanding::Failed { reason }
    );
}

/// A device whose agent can score what layers lose alone, and understands no probes.
fn scoring(name: &str) -> Registration {
    Registration {
        can_score_swaps: true,
        ..fixtures::registration(name)
    }
}

/// A request whose strategy makes use of guesses.
fn guessing(evaluations: u64) -> SearchRequest {
    SearchRequest {
        strategy: StrategyName::Surrogate,
        ..request(evaluations)
    }
}

/// What a search is bound with.
async fn bound_with(bench: &Bench, search: i64) -> Option<i64> {
    until(bench, search, |stored| stored.binding.is_some()).await;
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    stored.binding.unwrap().sensitivity
}

#[tokio::test]
async fn a_search_is_bound_once_its_layers_are_known_and_a_second_one_asks_nothing() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let first = bench.submit(guessing(30)).await;
    // What is asked of the class is answered by whichever of its devices comes first.
    let one = bench.register_as(scoring("one")).await.unwrap();
    let mut of_the_class = scoring("two");
    of_the_class.hardware_profile.cpu_model = "Scripted 9001".to_owned();
    let two = bench.register_as(of_the_class).await.unwrap();
    let assignment = bench.lease_question(two).await;
    until(&bench, first, |stored| {
        stored.reason
            == "waiting for the sensitivity of the model's layers on device `one` or `two`"
    })
    .await;
    let unanswered = query::sensitivity(&bench.world, first).await.unwrap_err();
    let unanswered = unanswered.to_string();
    assert!(
        unanswered.contains("not bound to a device yet"),
        "{unanswered}"
    );

    // Neither an answer to another question nor an impossible loss is taken.
    let changed = |change: fn(&mut AnswerReport)| {
        let mut report = fixtures::answer(&assignment);
        change(&mut report);
        report
    };
    fn swaps(report: &mut AnswerReport) -> &mut Vec<Swap> {
        match &mut report.answer {
            Answer::Sensitivity(sensitivity) => &mut sensitivity.swaps,
            Answer::Probe(_) => panic!("it is a probe"),
        }
    }
    let refused = [
        changed(|report| report.question_digest = Digest::of("another")),
        changed(|report| {
            report.answer = Answer::Probe(fixtures::probe(&fixtures::probe_question()));
        }),
        changed(|report| drop(swaps(report).pop())),
        changed(|report| {
            let kld_windows = vec![f64::NAN; 2];
            swaps(report)[0].result = SwapResult::Scored { kld_windows };
        }),
    ];
    for report in refused {
        let refusal = measurements::answer(&bench.world, &bench.leasing, &report).await;
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains("is refused"), "{refusal}");
    }
    assert_eq!(bench.answer(&assignment).await.unwrap(), Receipt::Recorded);

    let known = bound_with(&bench, first).await;
    assert!(known.is_some());
    let shown = query::sensitivity(&bench.world, first).await.unwrap();
    assert_eq!(shown.question, fixtures::sensitivity_question());
    assert_eq!(shown.sensitivity, fixtures::sensitivity(&shown.question));
    let second = bench.submit(guessing(30)).await;
    assert_eq!(bound_with(&bench, second).await, known);
    let class = fixtures::registration("one").numerics_class.0;
    assert_eq!(bench.world.store.questions(&class).await.unwrap().len(), 1);
    // What took its time before the first measurement counts towards no budget.
    assert_eq!(bench.status(first).await.active, Duration::ZERO);
    bench.serve(one, first, usize::MAX).await;
    assert_eq!(bench.status(first).await.state, SearchState::Done);
    bench.stop().await;
}

/// Two coordinators after each other over one store: the lease of the first one's question is kept,
/// and its search asks the same candidates as one that was never interrupted.
#[tokio::test]
async fn a_restart_while_layers_are_scored_loses_nothing_and_replays_with_what_came() {
    let one_at_a_time = |config: &mut crate::Config| config.pending_per_device = 1;
    let mut asked = Vec::new();
    for restarts in [false, true] {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let store = bench.world.store.clone();
        let search = bench.submit(guessing(40)).await;
        let device = bench.register_as(scoring("one")).await.unwrap();
        let assignment = bench.lease_question(device).await;
        bench.stop().await;

        let mut bench = Bench::over(store.clone(), one_at_a_time).await;
        bench.leasing.recover().await.unwrap();
        bench.drivers.clone().start_all().await.unwrap();
        assert_eq!(bench.answer(&assignment).await.unwrap(), Receipt::Recorded);
        // The same agent goes on; registering anew would give back what it holds.
        let device = bench.register_as(scoring("one")).await.unwrap();
        assert!(bound_with(&bench, search).await.is_some());
        if restarts {
            bench.serve(device, search, 60).await;
            bench.stop().await;
            bench = Bench::over(store.clone(), one_at_a_time).await;
            bench.leasing.recover().await.unwrap();
            bench.drivers.clone().start_all().await.unwrap();
            let again = bench.register_as(scoring("one")).await.unwrap();
            assert_eq!(again, device);
        }
        bench.serve(device, search, usize::MAX).await;
        assert_eq!(bench.status(search).await.state, SearchState::Done);
        asked.push(digests(&store, search).await);
        bench.stop().await;
    }
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn what_layers_lose_alone_changes_what_is_proposed() {
    let question = fixtures::sensitivity_question();
    let known = Known {
        sensitivity: Some(fixtures::sensitivity(&question)),
        ..Known::default()
    };
    let request = guessing(100);
    let mut proposals = Vec::new();
    for known in [Known::default(), known] {
        let mut replay = Replay::new(&request, &binding(), &known).unwrap();
        let proposal = loop {
            let next = replay.next().await.unwrap().unwrap();
            if next.ask_number.is_some() {
                break next.plan;
            }
            let id = replay.position().0 + 1;
            let (candidate, scores) = stored(next, id, &request.spec);
            replay.learn(vec![candidate], &scores).unwrap();
        };
        proposals.push(proposal);
    }
    assert_ne!(proposals[0], proposals[1]);
}

#[tokio::test]
async fn where_layers_cannot_be_scored_a_search_is_bound_without() {
    // No agent that can, or a request that wants nothing of it.
    let able = scoring("one");
    let old = fixtures::registration("one");
    let rounding = SearchRequest {
        prior: Prior::Rounding,
        ..guessing(5)
    };
    for (request, device, why) in [
        (guessing(5), old, "could measure it"),
        (rounding, able.clone(), "--prior swaps"),
        (request(5), able.clone(), "strategy `nsga2`"),
    ] {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let search = bench.submit(request).await;
        let device = bench.register_as(device).await.unwrap();
        assert_eq!(bound_with(&bench, search).await, None);
        bench.serve(device, search, usize::MAX).await;
        assert_eq!(bench.status(search).await.state, SearchState::Done);
        let missing = query::sensitivity(&bench.world, search).await.unwrap_err();
        assert!(missing.to_string().contains(why), "{missing}");
        bench.stop().await;
    }
    // Every attempt fails.
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(guessing(5)).await;
    let device = bench.register_as(able).await.unwrap();
    for _ in 0..bench.world.config.most_attempts {
        let token = bench.lease_question(device).await.token;
        let given_back = bench.leasing.give_back(token, "no memory", true).await;
        given_back.unwrap();
    }
    assert_eq!(bound_with(&bench, search).await, None);
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    bench.stop().await;
}
