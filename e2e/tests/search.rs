//! Searches from submission to front, with all that may happen on the way: a real coordinator on a
//! real database, real agents over TCP, and a scripted runtime, whose figures are known beforehand.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::Duration;

use bitfront_coordinator::Config;
use bitfront_e2e::agent::Agent;
use bitfront_e2e::coordinator::Coordinator;
use bitfront_e2e::relay::Relay;
use bitfront_e2e::requests::{files, request, spec};
use bitfront_e2e::scripted::{self, Answer, ScriptedRuntime};
use bitfront_e2e::searches::Searches;
use bitfront_model::{
    Baseline, Budget, Front, FrontPoint, Limits, Outcome, Plan, Precision, Preset, Prior, Quality,
    Receipt, SearchRequest, SearchState, SearchStatus, StrategyName, TaskKind,
};
use tempfile::TempDir;
use tonic::Code;

/// A coordinator over a new database, in a folder that also has the model's files.
struct World {
    folder: TempDir,
    coordinator: Coordinator,
    searches: Searches,
}

impl World {
    async fn new() -> Self {
        let folder = files();
        let coordinator = Coordinator::start(config(&folder)).await;
        let searches = coordinator.searches().await;
        Self {
            folder,
            coordinator,
            searches,
        }
    }

    fn agent(&self, name: &str, runtime: ScriptedRuntime) -> Agent {
        Agent::start(name, &self.coordinator.url(), runtime)
    }

    async fn submit(&self, evaluations: u64) -> i64 {
        let request = request(self.folder.path(), evaluations);
        self.searches.submit(&request).await.unwrap()
    }

    async fn ended(&self, search: i64) -> SearchStatus {
        let ended = |status: &SearchStatus| status.state.has_ended();
        self.searches.wait(search, "its end", ended).await
    }
}

/// Leases are short, so that a lost one is noticed within the time of a test.
fn config(folder: &TempDir) -> Config {
    Config {
        lease_time: Duration::from_millis(900),
        ..Config::new(folder.path().join("bitfront.sqlite"))
    }
}

fn evaluations(evaluations: u64) -> Budget {
    Budget {
        evaluations: Some(evaluations),
        time: None,
    }
}

/// Everything that must hold of a search that has ended, whatever happened on the way.
fn check(front: &Front) {
    let points = &front.points;
    let plans: BTreeSet<_> = points.iter().map(|point| point.plan.digest()).collect();
    assert_eq!(plans.len(), points.len(), "a plan was asked for twice");
    assert!(
        points.is_sorted_by(|left, right| left.candidate < right.candidate),
        "not in order of asking"
    );
    let mut measurements = BTreeSet::new();
    for point in points {
        let quality = point.quality.as_ref().map(|figure| figure.measurement);
        let latency = point.latency.as_ref().map(|figure| figure.measurement);
        let searched = point.confirmation.as_ref().map(|searched| {
            let quality = searched.searched_quality.as_ref().unwrap().measurement;
            [
                quality,
                searched.searched_latency.as_ref().unwrap().measurement,
            ]
        });
        let searched = searched.into_iter().flatten();
        for measurement in quality.into_iter().chain(latency).chain(searched) {
            assert!(measurements.insert(measurement), "counted twice: {point:?}");
        }
        if let Some(kld) = point.kld() {
            // What is confirmed was scored on other windows, on which plans lose more.
            let expected = match &point.confirmation {
                Some(_) => scripted::kld(&point.plan) * scripted::HELD_BACK_LOSS,
                None => scripted::kld(&point.plan),
            };
            assert_eq!(kld, expected, "another plan's figure");
        }
        if let Some(decode) = point.decode_ns() {
            assert_eq!(decode, scripted::decode_ns(&point.plan));
        }
        assert_eq!(point.size_bytes, point.plan.size_bytes(&spec()));
        if let Some(confirmation) = &point.confirmation {
            let rescoring = confirmation.rescoring.unwrap();
            let found = (rescoring.windows, rescoring.ratio, rescoring.deviates);
            assert_eq!(found, (4, 1.0, false), "it computes what its class does");
        }
    }
    let shown: BTreeSet<_> = candidates(points, |point| point.on_front);
    let complete = |point: &&FrontPoint| {
        let whole = |figure: &bitfront_model::Figure<_>| !was_given_up(&figure.value);
        point.quality.as_ref().is_some_and(whole)
            && point.latency.is_some()
            && point.infeasible.is_none()
    };
    // Whatever is left out is left out for a shown point, to which it is inferior beyond the noise
    // or equal within it and no smaller.
    // Fresh figures and those of the search are not compared.
    let any_confirmed = points.iter().any(|point| point.confirmation.is_some());
    let published = |point: &&FrontPoint| !any_confirmed || point.confirmation.is_some();
    for point in points.iter().filter(complete).filter(published) {
        let placing = &point.placing;
        let candidate = point.candidate;
        if point.on_front {
            let members = candidates(points, |it| it.placing.class_of == Some(candidate));
            assert_eq!(members, placing.class.iter().copied().collect());
            continue;
        }
        let against = placing.against.as_ref().unwrap();
        assert!(shown.contains(&against.candidate), "{placing:?}");
        let found = against.differences;
        let orderings = [
            found.kld.ordering(),
            found.decode.unwrap().ordering(),
            found.size_bytes.cmp(&0),
        ];
        assert!(orderings.iter().all(|found| found.is_ge()), "{placing:?}");
        let alike = orderings[..2].iter().all(|found| found.is_eq());
        assert_eq!(alike, placing.class_of.is_some(), "{placing:?}");
    }
    let complete = points.iter().any(|point| complete(&point));
    assert_eq!(shown.is_empty(), !complete, "nothing is shown");
    let knees = candidates(points, |point| point.is_knee);
    assert!(
        knees.len() <= 1 && knees.is_subset(&shown),
        "knees: {knees:?}"
    );
}

fn was_given_up(quality: &Quality) -> bool {
    quality.stopped.is_some()
}

fn candidates(points: &[FrontPoint], which: impl Fn(&FrontPoint) -> bool) -> BTreeSet<i64> {
    points
        .iter()
        .filter(|point| which(point))
        .map(|point| point.candidate)
        .collect()
}

/// Measurements of a search that has ended: two a candidate, and two more where it was confirmed.
fn expected_measurements(front: &Front) -> u64 {
    let confirmed = candidates(&front.points, |point| point.confirmation.is_some());
    2 * (front.points.len() + confirmed.len()) as u64
}

/// Measurements by device.
async fn measurements(searches: &Searches) -> BTreeMap<String, u64> {
    let devices = searches.devices().await.unwrap();
    devices
        .into_iter()
        .map(|device| (device.registration.device, device.measurements))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_spends_its_budget_and_keeps_what_nothing_dominates() {
    let world = World::new().await;
    let agent = world.agent("bench", ScriptedRuntime::obliging());
    let search = world.submit(70).await;
    let statuses = world.searches.watch(search).await.unwrap();

    let last = statuses.last().unwrap();
    assert_eq!(last.state, SearchState::Done, "{}", last.reason);
    assert_eq!((last.evaluated, last.infeasible), (70, 0));
    assert!(
        statuses.is_sorted_by_key(|status| status.evaluated),
        "progress went backwards"
    );
    let hypervolumes: Vec<f64> = statuses
        .iter()
        .filter_map(|status| status.hypervolume)
        .collect();
    assert!(
        hypervolumes.is_sorted() && !hypervolumes.is_empty(),
        "{hypervolumes:?}"
    );

    let front = world.searches.front(search).await.unwrap();
    check(&front);
    assert_eq!(front.points.len(), 70);
    assert_eq!(
        front.hardware_profile.as_ref().unwrap().runtime,
        "scripted",
        "the profile is the agent's"
    );
    // Every baseline was measured, and before everything else.
    let expected: BTreeMap<_, _> =
        Baseline::all(&spec(), &request(world.folder.path(), 1).precisions)
            .into_iter()
            .map(|(baseline, plan)| (plan.digest(), baseline))
            .collect();
    let named: BTreeSet<_> = front.points[..expected.len()]
        .iter()
        .filter(|point| point.baseline.is_some())
        .map(|point| point.plan.digest())
        .collect();
    assert_eq!(named, expected.keys().copied().collect());
    let found = front.points[expected.len()..]
        .iter()
        .filter(|point| point.on_front)
        .count();
    assert!(found > 0, "55 proposals found nothing beside the baselines");
    let confirmed = candidates(&front.points, |point| point.confirmation.is_some());
    let wanted = candidates(&front.points, |point| {
        point.baseline.is_some() || point.was_on_front
    });
    assert!(wanted.is_subset(&confirmed), "{wanted:?}, {confirmed:?}");
    let stored = measurements(&world.searches).await["bench"];
    assert_eq!(stored, expected_measurements(&front));
    agent.stop().await;
    world.coordinator.stop().await;
}

/// By how much more the device loses that is only said to be of the numerics class.
const LOSES: f64 = 1.3;

/// Points whose quality is from the device `honest`, and which are found to deviate: all that lose
/// more than rounding does. Everything was confirmed by `other`, which agrees with itself.
fn deviating(front: &Front) -> usize {
    let mut deviating = 0;
    for point in &front.points {
        let Some(confirmation) = &point.confirmation else {
            continue;
        };
        assert_eq!(point.quality.as_ref().unwrap().device, "other");
        let searched = confirmation.searched_quality.as_ref().unwrap();
        let rescoring = confirmation.rescoring.unwrap();
        assert_eq!(rescoring.windows, 4);
        if searched.device == "other" {
            assert_eq!((rescoring.ratio, rescoring.deviates), (1.0, false));
        } else if searched.value.kld > 1e-3 {
            let ratio = rescoring.ratio;
            assert!((1.2..=LOSES).contains(&ratio), "{ratio}");
            assert!(rescoring.deviates, "{point:?}");
            deviating += 1;
        }
    }
    deviating
}

/// A quality is measured once for a numerics class, so a device that is only said to be of it must
/// be found out by the windows that it scores once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_computes_something_else_is_flagged_on_the_front() {
    let world = World::new().await;
    let honest = world.agent("honest", ScriptedRuntime::obliging());
    let search = world.submit(60).await;
    let some = |status: &SearchStatus| status.evaluated >= 30;
    world.searches.wait(search, "half of it", some).await;
    honest.stop().await;
    let mut losing = ScriptedRuntime::obliging();
    losing.loses = LOSES;
    let other = world.agent("other", losing);
    assert_eq!(world.ended(search).await.state, SearchState::Done);
    let front = world.searches.front(search).await.unwrap();
    assert!(deviating(&front) > 5);

    // Another search takes the baselines' qualities over, and with them who measured them.
    let second = world.submit(30).await;
    assert_eq!(world.ended(second).await.state, SearchState::Done);
    let front = world.searches.front(second).await.unwrap();
    assert!(deviating(&front) > 5);
    other.stop().await;
    world.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_about_the_batch_that_was_asked_for() {
    let world = World::new().await;
    let mut request = request(world.folder.path(), 20);
    request.workloads = ["prefill@64b2", "decode@32x16b4"]
        .map(|name| name.parse().unwrap())
        .to_vec();
    let search = world.searches.submit(&request).await.unwrap();
    let agent = world.agent("first", ScriptedRuntime::obliging());
    let status = world.ended(search).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    let front = world.searches.front(search).await.unwrap();
    assert!(front.points.iter().any(|point| point.on_front));
    for point in &front.points {
        let decode_ns = point.decode_ns().unwrap();
        let alone_ns = scripted::decode_ns(&point.plan);
        let expected = alone_ns * scripted::batch_factor(4);
        assert_eq!(decode_ns, expected, "the time of a step of four");
        let timed = &point.latency.as_ref().unwrap().value;
        let workloads: Vec<_> = timed.iter().map(|latency| latency.workload).collect();
        assert_eq!(workloads, request.workloads);
    }
    // The device was asked about as many rows as a step has.
    let probed = world.searches.device("first").await.unwrap();
    let [probe] = &probed.probes[..] else {
        panic!("{:?}", probed.probes)
    };
    assert_eq!(
        (probe.question.few_rows, probe.question.many_rows),
        (4, 128)
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_layers_lose_alone_is_asked_once_for_all_searches_over_a_model() {
    let world = World::new().await;
    let request = SearchRequest {
        strategy: StrategyName::Surrogate,
        ..request(world.folder.path(), 20)
    };
    let first = world.searches.submit(&request).await.unwrap();
    let agent = world.agent("first", ScriptedRuntime::obliging());
    let status = world.ended(first).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    agent.stop().await;
    let known = world.searches.sensitivity(first).await.unwrap();
    assert_eq!(known.question.windows, 2);
    assert_eq!(known.sensitivity.problem(&known.question), None);
    for swap in &known.sensitivity.swaps {
        let plan = known.question.plan((swap.layer, swap.precision)).unwrap();
        let kld = swap.kld().unwrap();
        assert!((kld / scripted::kld(&plan) - 1.0).abs() < 1e-12, "{swap:?}");
    }

    // A device that would fail at it is never asked: the answer is there.
    let mut failing = ScriptedRuntime::obliging();
    failing.failing_questions = vec!["asked again".to_owned(); 10];
    let agent = world.agent("first", failing);
    let second = world.searches.submit(&request).await.unwrap();
    let status = world.ended(second).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    agent.stop().await;
    let again = world.searches.sensitivity(second).await.unwrap();
    assert_eq!(
        (again.question, again.sensitivity),
        (known.question, known.sensitivity)
    );

    let rounding = SearchRequest {
        prior: Prior::Rounding,
        ..request
    };
    let third = world.searches.submit(&rounding).await.unwrap();
    let refused = world.searches.sensitivity(third).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("--prior swaps"), "{refused}");
}

/// Scripted figures have no noise, so stages must change nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn stages_give_up_what_is_dominated_and_change_no_front() {
    let mut fronts = Vec::new();
    for staged in [true, false] {
        let world = World::new().await;
        let agent = world.agent("bench", ScriptedRuntime::obliging());
        let request = SearchRequest {
            staged,
            ..request(world.folder.path(), 70)
        };
        let search = world.searches.submit(&request).await.unwrap();
        assert_eq!(world.ended(search).await.state, SearchState::Done);
        fronts.push(world.searches.front(search).await.unwrap());
        agent.stop().await;
        world.coordinator.stop().await;
    }
    let given_up = |front: &Front| {
        candidates(&front.points, |point| {
            let quality = point.quality.as_ref();
            quality.is_some_and(|figure| was_given_up(&figure.value))
        })
    };
    let plans = |which: fn(&FrontPoint) -> bool| {
        let fronts = fronts.iter().map(|front| {
            let points = front.points.iter().filter(|point| which(point));
            points.map(|point| point.plan.digest()).collect()
        });
        fronts.collect::<Vec<BTreeSet<_>>>()
    };
    let asked = plans(|_| true);
    assert_eq!(asked[0], asked[1], "the strategy asked for other plans");
    let shown = plans(|point| point.on_front);
    assert_eq!(shown[0], shown[1]);
    assert!(given_up(&fronts[0]).len() > 5, "{:?}", given_up(&fronts[0]));
    assert!(given_up(&fronts[1]).is_empty());
    for point in &fronts[0].points {
        let is_given_up = given_up(&fronts[0]).contains(&point.candidate);
        assert!(!is_given_up || (!point.on_front && point.baseline.is_none()));
    }
}

/// What a plan loses on the held-back windows.
fn confirmed_kld(plan: &Plan) -> f64 {
    scripted::kld(plan) * scripted::HELD_BACK_LOSS
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_plan_keeps_the_limits_and_is_never_worse_than_a_preset() {
    let world = World::new().await;
    let _agent = world.agent("bench", ScriptedRuntime::obliging());
    let search = world.submit(60).await;
    world.ended(search).await;
    let front = world.searches.front(search).await.unwrap();
    let preset = Preset::Q4KM.plan(&spec()).unwrap();
    let limits = Limits {
        max_kld: Some(confirmed_kld(&preset)),
        ..Limits::default()
    };
    for by in ["decode", "size"] {
        let best = world
            .searches
            .best("scripted-llama", &limits, by)
            .await
            .unwrap();
        let point = best.point;
        let figure = |point: &FrontPoint| match by {
            "decode" => point.decode_ns().unwrap(),
            _ => point.size_bytes as f64,
        };
        assert!(
            point.confirmation.is_some(),
            "confirmed figures are preferred"
        );
        assert!(point.kld().unwrap() <= confirmed_kld(&preset));
        let least = front
            .points
            .iter()
            .filter(|point| point.confirmation.is_some())
            .filter(|point| point.kld().unwrap() <= confirmed_kld(&preset))
            .map(figure)
            .fold(f64::INFINITY, f64::min);
        assert_eq!(figure(&point), least, "by {by}");
        assert_eq!(best.spec, spec());
        let evidence = point.latency.unwrap();
        assert_eq!(evidence.device, "bench");
        assert!(!evidence.value[0].samples_ns.is_empty());
    }
    let digest = spec().digest.short();
    let by_digest = world.searches.best(&digest, &limits, "kld").await;
    assert!(by_digest.is_ok(), "{by_digest:?}");

    let impossible = Limits {
        max_kld: Some(1e-12),
        ..Limits::default()
    };
    for (model, limits) in [("scripted-llama", &impossible), ("no-such-model", &limits)] {
        let error = world.searches.best(model, limits, "kld").await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{model}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_waits_for_a_device_and_then_runs() {
    let world = World::new().await;
    let search = world.submit(20).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = world.searches.get(search).await.unwrap();
    assert_eq!(status.state, SearchState::Queued);
    assert!(
        status.reason.contains("waiting for a device"),
        "{}",
        status.reason
    );
    let _agent = world.agent("late", ScriptedRuntime::obliging());
    assert_eq!(world.ended(search).await.state, SearchState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_search_stops_and_can_be_continued() {
    let world = World::new().await;
    let runtime = ScriptedRuntime::obliging().pausing(Duration::from_millis(5));
    let _agent = world.agent("bench", runtime);
    let search = world.submit(100_000).await;
    let some = |status: &SearchStatus| status.evaluated >= 25;
    world.searches.wait(search, "25 evaluations", some).await;
    assert!(world.searches.cancel(search).await.unwrap());
    assert!(!world.searches.cancel(search).await.unwrap(), "twice");
    // What was being measured when the cancel came is still reported, as a repeat.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = measurements(&world.searches).await;
    let status = world.searches.get(search).await.unwrap();
    assert_eq!(status.state, SearchState::Cancelled);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(measurements(&world.searches).await, before, "it goes on");

    let asked = world.searches.front(search).await.unwrap().points;
    world
        .searches
        .proceed(search, evaluations(15))
        .await
        .unwrap();
    let ended = world.ended(search).await;
    assert_eq!(ended.state, SearchState::Done, "{}", ended.reason);
    assert_eq!(ended.evaluated, status.evaluated + 15);
    let front = world.searches.front(search).await.unwrap();
    check(&front);
    for (before, after) in asked.iter().zip(&front.points) {
        assert_eq!(before.plan, after.plan, "what was asked for has changed");
    }
    // And once more, from its regular end.
    world
        .searches
        .proceed(search, evaluations(10))
        .await
        .unwrap();
    assert_eq!(world.ended(search).await.evaluated, ended.evaluated + 10);
    check(&world.searches.front(search).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_share_a_search_and_measure_nothing_twice() {
    let world = World::new().await;
    let runtime = || ScriptedRuntime::obliging().pausing(Duration::from_millis(4));
    let _first = world.agent("first", runtime());
    let _second = world.agent("second", runtime());
    let both = async {
        while measurements(&world.searches).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .unwrap();
    let search = world.submit(60).await;
    let ended = world.ended(search).await;
    assert_eq!((ended.state, ended.evaluated), (SearchState::Done, 60));
    let front = world.searches.front(search).await.unwrap();
    check(&front);
    let measurements = measurements(&world.searches).await;
    assert!(measurements.values().all(|&count| count >= 30), "unfair");
    // A few more may have been on their way when the budget was reached.
    let total: u64 = measurements.values().sum();
    let expected = expected_measurements(&front);
    assert!(
        (expected..=expected + 8).contains(&total),
        "{measurements:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_agent_died_goes_to_another_when_its_lease_is_over() {
    let world = World::new().await;
    let (gate_is_held, held) = mpsc::channel();
    let (gate, never) = mpsc::channel::<()>();
    let stuck = ScriptedRuntime::deciding(move |_, _| {
        gate_is_held.send(()).ok();
        never.recv().ok();
        Answer::Figures
    });
    let dead = world.agent("dead", stuck);
    let search = world.submit(20).await;
    tokio::task::spawn_blocking(move || held.recv().unwrap())
        .await
        .unwrap();
    dead.kill();
    let _heir = world.agent("heir", ScriptedRuntime::obliging());
    let ended = world.ended(search).await;
    assert_eq!((ended.state, ended.evaluated), (SearchState::Done, 20));
    let front = world.searches.front(search).await.unwrap();
    check(&front);
    let measurements = measurements(&world.searches).await;
    let heirs = expected_measurements(&front);
    assert_eq!((measurements["dead"], measurements["heir"]), (0, heirs));
    drop(gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_under_a_lease_that_ended_is_kept_as_a_repeat() {
    let world = World::new().await;
    let relay = Relay::start(1, 0).await;
    relay.point_to(&world.coordinator.url());
    // The slow one is cut off from the coordinator while it measures, longer than its lease.
    let (gate, go) = mpsc::channel::<()>();
    let mut first = true;
    let slow = ScriptedRuntime::deciding(move |_, _| {
        if std::mem::take(&mut first) {
            go.recv().ok();
        }
        Answer::Figures
    });
    let slow = Agent::start("slow", &relay.url(), slow);
    let search = world.submit(20).await;
    while relay.seen(|seen| seen.handed_out.is_empty()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    relay.point_to("http://127.0.0.1:9");
    let _quick = world.agent("quick", ScriptedRuntime::obliging());
    let ended = world.ended(search).await;
    assert_eq!((ended.state, ended.evaluated), (SearchState::Done, 20));
    let front = world.searches.front(search).await.unwrap();
    assert_eq!(measurements(&world.searches).await["slow"], 0);

    relay.point_to(&world.coordinator.url());
    gate.send(()).unwrap();
    while relay.seen(|seen| seen.acknowledged.is_empty()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (report, receipt) = relay.seen(|seen| seen.acknowledged[0].clone());
    assert_eq!(receipt, Receipt::KeptAsRepeat);
    let handed_out = relay.seen(|seen| seen.handed_out[0].clone());
    assert_eq!(report.token, handed_out.token);
    // A timing is measured together with its companions.
    assert!(measurements(&world.searches).await["slow"] >= 1);
    // The repeat changes nothing of what the search knows.
    let after = world.searches.front(search).await.unwrap();
    assert_eq!(after.points, front.points);
    slow.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_restarts_of_the_coordinator_lose_nothing_and_double_nothing() {
    let folder = files();
    let relay = Relay::start(3, 4).await;
    let mut coordinator = Coordinator::start(config(&folder)).await;
    relay.point_to(&coordinator.url());
    let runtime = ScriptedRuntime::obliging().pausing(Duration::from_millis(2));
    let agent = Agent::start("bench", &relay.url(), runtime);
    let budget = 80;
    let search = coordinator
        .searches()
        .await
        .submit(&request(folder.path(), budget))
        .await
        .unwrap();
    for quarter in 1..4 {
        let some = |status: &SearchStatus| status.evaluated >= quarter * budget / 4;
        let searches = coordinator.searches().await;
        searches.wait(search, "another quarter", some).await;
        coordinator.kill();
        coordinator = Coordinator::start(config(&folder)).await;
        relay.point_to(&coordinator.url());
    }
    let searches = coordinator.searches().await;
    let ended = |status: &SearchStatus| status.state.has_ended();
    let ended = searches.wait(search, "its end", ended).await;
    assert_eq!((ended.state, ended.evaluated), (SearchState::Done, budget));
    agent.stop().await;

    let front = searches.front(search).await.unwrap();
    check(&front);
    relay.seen(|seen| {
        assert!(seen.lost_answers > 10, "{}", seen.lost_answers);
        let sent: BTreeSet<_> = seen
            .sent
            .iter()
            .map(|report| &report.idempotency_key)
            .collect();
        assert!(sent.len() < seen.sent.len(), "nothing was sent twice");
        let mut recorded = BTreeSet::new();
        for (report, receipt) in &seen.acknowledged {
            if *receipt == Receipt::Recorded {
                assert!(recorded.insert(report.token.task), "recorded twice");
            }
        }
    });
    let total = measurements(&searches).await["bench"];
    let sent = relay.seen(|seen| {
        let keys: BTreeSet<_> = seen
            .sent
            .iter()
            .map(|report| report.idempotency_key.clone())
            .collect();
        keys.len() as u64
    });
    assert_eq!(
        total, sent,
        "measurements in the store and measurements made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed_is_counted_and_kept_from_the_front() {
    let world = World::new().await;
    let smallest = |plan: &Plan| plan.uniform_precision() == Some(Precision::Q2K);
    let runtime = ScriptedRuntime::deciding(move |plan, _| {
        if smallest(plan) {
            Answer::Infeasible("no kernel for q2_k".to_owned())
        } else {
            Answer::Figures
        }
    });
    let _agent = world.agent("bench", runtime);
    let search = world.submit(30).await;
    let ended = world.ended(search).await;
    assert_eq!((ended.evaluated, ended.infeasible), (30, 1));
    let front = world.searches.front(search).await.unwrap();
    let infeasible: Vec<_> = front
        .points
        .iter()
        .filter(|point| point.infeasible.is_some())
        .collect();
    assert_eq!(infeasible.len(), 1);
    assert!(smallest(&infeasible[0].plan) && !infeasible[0].on_front);
    assert_eq!(
        infeasible[0].infeasible.as_deref(),
        Some("no kernel for q2_k")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_without_the_model_fails_the_search_with_the_path() {
    let world = World::new().await;
    let _agent = world.agent("bench", ScriptedRuntime::obliging());
    let path = world.folder.path().join("model.gguf");
    std::fs::remove_file(&path).unwrap();
    let search = world.submit(30).await;
    let ended = world.ended(search).await;
    assert_eq!(ended.state, SearchState::Failed);
    assert!(
        ended.reason.contains(path.to_str().unwrap()),
        "{}",
        ended.reason
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_the_model_leaves_the_work_to_one_that_has_it() {
    let world = World::new().await;
    let relay = Relay::start(1, 0).await;
    relay.point_to(&world.coordinator.url());
    let broken = ScriptedRuntime::deciding(|_, _| Answer::Fails("no memory left".to_owned()));
    let _broken = Agent::start("broken", &relay.url(), broken);
    let search = world.submit(40).await;
    while relay.seen(|seen| seen.failed.is_empty()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _whole = world.agent("whole", ScriptedRuntime::obliging());
    let ended = world.ended(search).await;
    assert_eq!(ended.state, SearchState::Done, "{}", ended.reason);
    assert_eq!(ended.evaluated, 40);
    let measured = world.searches.front(search).await.unwrap().points;
    let measured = measured.iter().filter(|point| point.quality.is_some());
    assert!(measured.count() >= 35, "too many were given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_outs_raise_the_epoch_and_carry_all_that_is_needed() {
    let world = World::new().await;
    let relay = Relay::start(1, 0).await;
    relay.point_to(&world.coordinator.url());
    let _agent = Agent::start("bench", &relay.url(), ScriptedRuntime::obliging());
    let search = world.submit(16).await;
    world.ended(search).await;
    let submitted = request(world.folder.path(), 16);
    relay.seen(|seen| {
        let mut epochs = BTreeMap::new();
        for assignment in &seen.handed_out {
            let token = assignment.token;
            let before = epochs.insert(token.task, token.epoch);
            assert!(
                before.is_none_or(|before| before < token.epoch),
                "{token:?}"
            );
            assert_eq!(assignment.subject, submitted.subject);
            assert_eq!(assignment.plan.precisions().len(), spec().layers.len());
            match assignment.kind {
                TaskKind::Quality => {
                    assert!(assignment.workloads.is_empty() && assignment.anchor.is_none());
                }
                TaskKind::Latency => {
                    assert_eq!(assignment.workloads, submitted.workloads);
                    assert!(assignment.anchor.is_some());
                }
            }
        }
        for (report, _) in &seen.acknowledged {
            let executed = &report.measurement.evidence.executed;
            assert_eq!(executed.len(), spec().layers.len());
            let kind_fits = seen.handed_out.iter().any(|assignment| {
                assignment.token == report.token
                    && matches!(
                        (assignment.kind, &report.measurement.outcome),
                        (TaskKind::Quality, Outcome::Quality(_))
                            | (TaskKind::Latency, Outcome::Latency { .. })
                    )
            });
            assert!(kind_fits, "{:?}", report.token);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_meant_are_refused_before_anything_starts() {
    let world = World::new().await;
    let good = request(world.folder.path(), 20);
    let mut cases = Vec::new();
    let mut case = |field: &'static str, change: &dyn Fn(&mut bitfront_model::SearchRequest)| {
        let mut request = good.clone();
        change(&mut request);
        cases.push((field, request));
    };
    case("max_size_bytes", &|request| {
        request.limits.max_size_bytes = Some(1000);
    });
    case("budget", &|request| request.budget = Budget::default());
    case("objectives", &|request| request.objectives.truncate(1));
    case("precisions", &|request| request.precisions.clear());
    case("device", &|request| {
        request.device = Some("nobody".to_owned());
    });
    case("context", &|request| request.subject.data.context = 4096);
    case("layers", &|request| request.spec.layers.clear());
    let mut wrong = Vec::new();
    for (field, request) in cases {
        match world.searches.submit(&request).await {
            Err(error)
                if error.code() == Code::InvalidArgument && error.message().contains(field) => {}
            other => wrong.push((field, other)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(world.searches.list().await.unwrap().is_empty());
    let unknown = world.searches.get(99).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
}
