//! Times that the model contradicts are measured once more.

use std::collections::{BTreeMap, HashSet};

use bitfront_search::Among;

use super::*;
use crate::evaluation;
use crate::leasing::HandOut;
use crate::store::RetimingStanding;

/// As a device on which something happens to some first timings, by the number of the timing: they
/// take twice as long.
struct Disturbed {
    timed: HashSet<i64>,
    disturbed: Vec<i64>,
    happens: fn(usize) -> bool,
    /// Whether it gives every second timing back.
    refuses: bool,
}

impl Disturbed {
    fn new(happens: fn(usize) -> bool) -> Self {
        Self {
            timed: HashSet::new(),
            disturbed: Vec::new(),
            happens,
            refuses: false,
        }
    }

    async fn report(&mut self, bench: &Bench, hand_out: &HandOut) {
        let assignment = &hand_out.assignment;
        let is_search = assignment.purpose == TaskPurpose::Search;
        let is_latency = assignment.kind == TaskKind::Latency;
        if self.refuses && is_search && is_latency && self.timed.contains(&assignment.candidate) {
            let given_back = bench.leasing.give_back(assignment.token, "no", true).await;
            given_back.unwrap();
            return;
        }
        let mut report = fixtures::report(&hand_out.spec, assignment);
        if let Outcome::Latency { workloads } = &mut report.measurement.outcome
            && is_search
            && self.timed.insert(assignment.candidate)
            && (self.happens)(self.timed.len())
        {
            self.disturbed.push(assignment.candidate);
            for latency in workloads {
                latency.median_ns *= 2.0;
            }
        }
        let reported = measurements::report(&bench.world, &bench.leasing, &report).await;
        reported.unwrap();
    }

    /// Serves a device until its search has ended, or for so many reports.
    async fn serve(&mut self, bench: &Bench, device: i64, search: i64, most: usize) {
        let mut changes = bench.world.wakeups.on_search(search);
        for _ in 0..most {
            let mut call = Box::pin(bench.lease(device));
            let hand_out = loop {
                if bench.status(search).await.state.has_ended() {
                    return;
                }
                tokio::select! {
                    biased;
                    leased = &mut call => break leased,
                    _ = changes.changed() => {}
                }
            };
            self.report(bench, &hand_out.unwrap().unwrap()).await;
        }
    }
}

fn modelled(evaluations: u64) -> SearchRequest {
    SearchRequest {
        strategy: StrategyName::Surrogate,
        prior: Prior::Rounding,
        ..request(evaluations)
    }
}

async fn open(folder: &std::path::Path) -> Arc<dyn Store> {
    let store = SqliteStore::open(&folder.join("test.sqlite")).await;
    Arc::new(store.unwrap())
}

/// One candidate at a time, so that runs know the same at every ask.
fn one_at_a_time(config: &mut crate::Config) {
    config.pending_per_device = 1;
}

/// The candidates that were timed again, all of them settled.
async fn retimed(store: &Arc<dyn Store>, search: i64) -> Vec<i64> {
    let retimings = store.retimings(search).await.unwrap();
    assert!(
        retimings
            .iter()
            .all(|one| one.standing == RetimingStanding::Ended),
        "{retimings:?}"
    );
    retimings.iter().map(|one| one.candidate).collect()
}

fn now_and_then(timing: usize) -> bool {
    [26, 41].contains(&timing)
}

#[tokio::test]
async fn a_time_that_the_model_contradicts_is_measured_once_more_and_the_second_counts() {
    let folder = folder();
    let bench = Bench::over(open(folder.path()).await, one_at_a_time).await;
    let store = &bench.world.store;
    let device = bench.register("one").await;
    let search = bench.submit(modelled(64)).await;
    let mut agent = Disturbed::new(now_and_then);
    agent.serve(&bench, device, search, usize::MAX).await;
    let status = bench.status(search).await;
    // A second timing is no evaluation.
    assert_eq!((status.state, status.evaluated), (SearchState::Done, 64));
    assert_eq!(agent.disturbed.len(), 2);
    let retimed = retimed(store, search).await;
    assert!(retimed.len() <= 6, "{retimed:?}");
    for disturbed in &agent.disturbed {
        assert!(retimed.contains(disturbed), "{disturbed} of {retimed:?}");
    }

    let front = query::believed_front(&bench.world, search, None).await;
    let times = |figure: &Figure<Vec<Latency>>| -> Vec<f64> {
        figure.value.iter().map(|it| it.median_ns).collect()
    };
    for point in front.unwrap().points {
        let is_retimed = retimed.contains(&point.candidate);
        assert_eq!(point.first_latency.is_some(), is_retimed);
        let is_disturbed = agent.disturbed.contains(&point.candidate);
        let expected = if is_disturbed { 2.0 } else { 1.0 };
        let Some(first) = &point.first_latency else {
            continue;
        };
        let counts = match &point.confirmation {
            Some(confirmation) => confirmation.searched_latency.as_ref(),
            None => point.latency.as_ref(),
        };
        let counts = counts.unwrap();
        assert!(first.measurement < counts.measurement);
        for (first, second) in times(first).iter().zip(times(counts)) {
            assert!((first / second - expected).abs() < 1e-9, "{first} {second}");
        }
        let decode = point
            .believed
            .iter()
            .find(|it| it.figure == Objective::Decode);
        let decode = decode.unwrap();
        assert_eq!(
            decode.measured,
            Some(times(counts)[1]),
            "decode comes second"
        );
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_request_without_retimings_and_a_strategy_without_a_model_time_everything_once() {
    let without = SearchRequest {
        retimings: false,
        ..modelled(48)
    };
    for request in [without, request(48)] {
        let folder = folder();
        let bench = Bench::over(open(folder.path()).await, one_at_a_time).await;
        let device = bench.register("one").await;
        let search = bench.submit(request).await;
        let mut agent = Disturbed::new(now_and_then);
        agent.serve(&bench, device, search, usize::MAX).await;
        assert_eq!(agent.disturbed.len(), 2);
        assert_eq!(bench.status(search).await.state, SearchState::Done);
        assert!(retimed(&bench.world.store, search).await.is_empty());
        bench.stop().await;
    }
}

#[tokio::test]
async fn at_most_a_tenth_of_the_evaluations_is_timed_again() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let search = bench.submit(modelled(80)).await;
    // A third of what follows the first run: the model is right, and most of it is doubted.
    let mut agent = Disturbed::new(|timing| timing > 16 && timing % 4 == 0);
    agent.serve(&bench, device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.evaluated), (SearchState::Done, 80));
    let retimed = retimed(&bench.world.store, search).await;
    assert!((4..=8).contains(&retimed.len()), "{retimed:?}");
    bench.stop().await;
}

/// Whole runs of 16 decide while the search goes on, and none of these is one.
#[tokio::test]
async fn a_time_of_the_last_candidates_is_measured_once_more_before_the_end() {
    let folder = folder();
    let bench = Bench::over(open(folder.path()).await, one_at_a_time).await;
    let device = bench.register("one").await;
    let search = bench.submit(modelled(70)).await;
    let mut agent = Disturbed::new(|timing| timing == 68);
    agent.serve(&bench, device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.evaluated), (SearchState::Done, 70));
    let retimed = retimed(&bench.world.store, search).await;
    assert!(retimed.contains(&agent.disturbed[0]), "{retimed:?}");
    bench.stop().await;
}

#[tokio::test]
async fn a_search_that_is_stopped_and_started_times_nothing_a_third_time() {
    let folder = folder();
    let store = open(folder.path()).await;
    let first = Bench::over(store.clone(), one_at_a_time).await;
    let search = first.submit(modelled(64)).await;
    first.stop().await;
    let mut agent = Disturbed::new(now_and_then);
    for round in 0.. {
        let bench = Bench::over(store.clone(), one_at_a_time).await;
        bench.take_over().await;
        let device = bench.register("one").await;
        agent.serve(&bench, device, search, 3 + round % 9).await;
        bench.stop().await;
        if bench.status(search).await.state.has_ended() {
            assert!(round > 10, "{round}");
            break;
        }
    }
    let retimed = retimed(&store, search).await;
    assert!(retimed.len() <= 6, "{retimed:?}");
    for disturbed in &agent.disturbed {
        assert!(retimed.contains(disturbed), "{disturbed} of {retimed:?}");
    }
    // What was asked for is measured once each, whoever was there to hear of it.
    let measured = store.measurements(search, None).await.unwrap();
    let again = measured
        .iter()
        .filter(|one| one.purpose == TaskPurpose::Retime);
    assert_eq!(again.count(), retimed.len());
}

#[tokio::test]
async fn a_second_timing_that_nobody_manages_holds_up_no_end() {
    let folder = folder();
    let bench = Bench::over(open(folder.path()).await, |config| {
        one_at_a_time(config);
        config.most_confirmed = 0;
    })
    .await;
    let device = bench.register("one").await;
    let search = bench.submit(modelled(64)).await;
    let mut agent = Disturbed::new(now_and_then);
    agent.refuses = true;
    agent.serve(&bench, device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.infeasible), (SearchState::Done, 0));
    let front = query::front(&bench.world, search, None).await.unwrap();
    let retimed = retimed(&bench.world.store, search).await;
    assert!(retimed.contains(&agent.disturbed[0]), "{retimed:?}");
    // The first ones stand.
    assert!(front.points.iter().all(|it| it.first_latency.is_none()));
    bench.stop().await;
}

/// A late second timing sets nothing going again: what a search ends by are the first figures.
#[tokio::test]
async fn a_replay_with_second_timings_learns_what_the_living_one_did() {
    let request = modelled(100);
    let mut living = Replay::new(&request, &binding(), &Known::default()).unwrap();
    let (mut candidates, mut scores) = (Vec::new(), Vec::new());
    let mut disturbed = BTreeMap::new();
    let mut growth = Vec::new();
    for id in 1..=70 {
        let next = living.next().await.unwrap().unwrap();
        let (candidate, mut measured) = stored(next, id, &request.spec);
        for (place, score) in measured.iter_mut().enumerate() {
            score.measurement = scores.len() as i64 + place as i64 + 1;
        }
        if id % 20 == 9
            && (16..64).contains(&id)
            && let ScoreOutcome::Latency {
                decode_ns,
                prefill_ns,
            } = &mut measured[1].outcome
        {
            disturbed.insert(id, (*decode_ns, *prefill_ns));
            (*decode_ns, *prefill_ns) = (1.4 * *decode_ns, 1.4 * *prefill_ns);
        }
        candidates.push(candidate.clone());
        scores.extend(measured.clone());
        living.learn(vec![candidate], &measured).unwrap();
        growth = living.growth_after(0).to_vec();
        for doubt in living.doubtful(Among::WholeRuns).await.unwrap() {
            let candidate = doubt.candidate as i64;
            let Some((decode_ns, prefill_ns)) = disturbed.remove(&candidate) else {
                continue;
            };
            let again = Score {
                measurement: scores.len() as i64 + 1,
                candidate,
                purpose: TaskPurpose::Retime,
                executed_as_planned: true,
                outcome: ScoreOutcome::Latency {
                    decode_ns,
                    prefill_ns,
                },
            };
            scores.push(again.clone());
            living.learn(Vec::new(), &[again]).unwrap();
            assert_eq!(living.growth_after(0), growth);
        }
    }
    assert!(disturbed.is_empty(), "{disturbed:?} were not doubted");
    let mut rebuilt = Replay::new(&request, &binding(), &Known::default()).unwrap();
    rebuilt.learn(candidates.clone(), &scores).unwrap();
    assert_eq!(rebuilt.growth_after(0), growth);
    // An outlook is by the same figures, the reference point and what came after it.
    let reference = rebuilt.reference_point().unwrap();
    let told = evaluation::growth(&request.objectives, &reference, &candidates, &scores);
    assert_eq!(told.unwrap().curve(), growth);
    assert_eq!(rebuilt.found(), living.found());
    assert_eq!(
        rebuilt.doubtful(Among::WholeRuns).await.unwrap(),
        living.doubtful(Among::WholeRuns).await.unwrap()
    );
    assert_eq!(
        rebuilt.learning().await.unwrap(),
        living.learning().await.unwrap()
    );
    let (again, next) = (rebuilt.next().await.unwrap(), living.next().await.unwrap());
    assert_eq!(again.unwrap().plan, next.unwrap().plan);
}
