use bitfront_model::{
    Drift, Outcome, Registration, Report, SearchRequest, StrategyName, TaskKind, Verdict, Watched,
};

use crate::clock::Clock as _;
use crate::error::ServiceError;
use crate::fixtures;
use crate::leasing::HandOut;
use crate::query;
use crate::store::NewSearch;
use crate::testing::{Bench, folder};

fn request() -> SearchRequest {
    SearchRequest {
        budget: fixtures::evaluations(40),
        strategy: StrategyName::Nsga2,
        device: Some("one".to_owned()),
        ..fixtures::request()
    }
}

/// The request of a night that starts from another one.
fn from(search: i64) -> SearchRequest {
    SearchRequest {
        start_from: Some(search),
        budget: fixtures::evaluations(60),
        ..request()
    }
}

/// A search of one night, on a device that measures what `change` makes of the usual.
async fn night(
    bench: &Bench,
    registration: &Registration,
    request: SearchRequest,
    change: impl Fn(&HandOut, &mut Report),
) -> i64 {
    bench.clock.advance(std::time::Duration::from_secs(5));
    let device = bench.register_as(registration.clone()).await.unwrap();
    let starts = match request.start_from {
        Some(from) => query::starts(&bench.world, &request, from).await.unwrap(),
        None => Vec::new(),
    };
    let new = NewSearch {
        starts,
        request,
        idempotency_key: None,
    };
    let search = bench.world.store.submit(&new, bench.clock.now_ms()).await;
    let search = search.unwrap();
    bench.drivers.start(search);
    bench.serve_with(device, search, usize::MAX, change).await;
    search
}

fn as_usual(_: &HandOut, _: &mut Report) {}

/// The device itself is slower, its anchor too.
fn slower(_: &HandOut, report: &mut Report) {
    let Outcome::Latency { workloads } = &mut report.measurement.outcome else {
        return;
    };
    for latency in workloads {
        let longer = |sample: &mut u64| *sample = (*sample as f64 * 1.06) as u64;
        latency.samples_ns.iter_mut().for_each(longer);
        let paired = latency.paired.as_mut().unwrap();
        paired.anchor_samples_ns.iter_mut().for_each(longer);
    }
}

fn verdict(drift: &Drift, figure: Watched) -> Verdict {
    let found = drift.overall.iter().find(|it| it.figure == figure);
    found.unwrap().verdict
}

fn verdicts(drift: &Drift) -> Vec<Verdict> {
    drift.overall.iter().map(|it| it.verdict).collect()
}

#[tokio::test]
async fn the_front_of_a_night_is_stale_once_a_later_one_finds_the_device_slower() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = fixtures::registration("one");
    let first = night(&bench, &one, request(), as_usual).await;
    let second = night(&bench, &one, from(first), as_usual).await;
    let drift = query::drift(&bench.world, first, second).await.unwrap();
    assert_eq!(
        verdicts(&drift),
        [Verdict::Unchanged; 3],
        "{:?}",
        drift.overall
    );
    assert!(!drift.is_stale() && drift.says_anything());
    assert_eq!((drift.before, drift.after), (first, second));
    assert!(drift.profile.is_empty() && drift.infeasible.is_empty());
    assert_eq!(drift.missing, 0, "{drift:?}");
    let front = query::front(&bench.world, first, None).await.unwrap();
    let baselines = front.points.iter().filter(|it| it.baseline.is_some());
    assert!(drift.points.len() >= baselines.count());
    let changes = drift.points.iter().flat_map(|it| &it.changes);
    let still = |verdict, ratio: f64| verdict == Verdict::Unchanged && (ratio - 1.0).abs() < 1e-9;
    assert!(changes.clone().all(|it| still(it.verdict, it.ratio.value)));
    let volumes = drift.hypervolumes.unwrap();
    assert!(volumes.after >= volumes.before * 0.9, "{volumes:?}");

    let third = night(&bench, &one, from(second), slower).await;
    let drift = query::drift(&bench.world, second, third).await.unwrap();
    let expected = [Verdict::Unchanged, Verdict::Worse, Verdict::Worse];
    assert_eq!(verdicts(&drift), expected, "{:?}", drift.overall);
    assert!(drift.is_stale() && drift.is_worse());
    for overall in &drift.overall[1..] {
        let ratio = overall.ratio.unwrap();
        assert!((ratio.value - 1.06).abs() < 0.001, "{overall:?}");
        assert!(ratio.interval.low > 1.05 && ratio.interval.high < 1.07);
    }
    // The other way round the device has become faster, and no divergence is newer.
    let turned = query::drift(&bench.world, third, second).await.unwrap();
    let expected = [Verdict::Unknown, Verdict::Better, Verdict::Better];
    assert_eq!(verdicts(&turned), expected, "{:?}", turned.overall);
    assert!(turned.is_stale() && !turned.is_worse());

    let stale = query::stale(&bench.world, second).await.unwrap().unwrap();
    assert_eq!((stale.search, stale.moved.len()), (third, 2));
    for search in [first, third] {
        assert_eq!(query::stale(&bench.world, search).await.unwrap(), None);
    }
    bench.stop().await;
}

#[tokio::test]
async fn another_driver_is_named_and_another_device_is_refused() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = fixtures::registration("one");
    let first = night(&bench, &one, request(), as_usual).await;
    let mut updated = fixtures::registration("one");
    updated.hardware_profile.driver = Some("2".to_owned());
    updated.hardware_profile.runtime_version = "2".to_owned();
    updated.numerics_class.0 = "scripted/2/cpu/avx2".to_owned();
    let second = night(&bench, &updated, from(first), |hand_out, report| {
        if hand_out.assignment.kind == TaskKind::Latency {
            slower(hand_out, report);
        } else if let Outcome::Quality(quality) = &mut report.measurement.outcome {
            quality.kld *= 1.2;
            quality.kld_windows.iter_mut().for_each(|it| *it *= 1.2);
        }
    })
    .await;
    let drift = query::drift(&bench.world, first, second).await.unwrap();
    let changed: Vec<_> = drift.profile.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(changed, ["driver", "runtime version"]);
    assert_ne!(drift.hardware_before, drift.hardware_after);
    assert_eq!(verdicts(&drift), [Verdict::Worse; 3], "{:?}", drift.overall);

    let mut other = fixtures::registration("two");
    other.hardware_profile.governor = Some("powersave".to_owned());
    let on_two = SearchRequest {
        device: Some("two".to_owned()),
        ..from(first)
    };
    let elsewhere = night(&bench, &other, on_two.clone(), slower).await;
    let mut board = fixtures::registration("two");
    board.hardware_profile.cpu_model = "Other 1".to_owned();
    let replaced = night(&bench, &board, on_two, slower).await;
    for (search, said) in [
        (elsewhere, "the device (`one` and `two`)"),
        (
            replaced,
            "the hardware (Scripted 9000 (x86_64) and Other 1 (x86_64))",
        ),
    ] {
        let refused = query::drift(&bench.world, first, search).await.unwrap_err();
        assert!(refused.to_string().contains(said), "{refused}");
    }
    // The latest one that says something of this device does.
    let stale = query::stale(&bench.world, first).await.unwrap();
    assert_eq!(stale.unwrap().search, second);
    bench.stop().await;
}

#[tokio::test]
async fn a_plan_that_cannot_be_executed_any_more_and_one_that_left_are_told() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = fixtures::registration("one");
    let first = night(&bench, &one, request(), as_usual).await;
    let front = query::front(&bench.world, first, None).await.unwrap();
    let on_front = |baseline: bool| {
        let mut points = front.points.iter();
        let found = points.find(|it| it.on_front && it.baseline.is_some() == baseline);
        found.unwrap()
    };
    let (gone, left) = (on_front(true), on_front(false));
    let second = night(&bench, &one, from(first), |hand_out, report| {
        let plan = hand_out.assignment.plan.digest();
        if plan == gone.plan.digest() {
            report.measurement = fixtures::infeasible("no memory for it");
        } else if plan == left.plan.digest()
            && let Outcome::Quality(quality) = &mut report.measurement.outcome
        {
            quality.kld *= 100.0;
            quality.kld_windows.iter_mut().for_each(|it| *it *= 100.0);
        }
    })
    .await;
    let drift = query::drift(&bench.world, first, second).await.unwrap();
    assert_eq!(drift.infeasible.len(), 1);
    let plan = &drift.infeasible[0];
    assert_eq!(
        (plan.before, plan.reason.as_str()),
        (gone.candidate, "no memory for it")
    );
    assert!(drift.left.contains(&left.candidate), "{drift:?}");
    assert!(drift.is_worse());
    assert!(drift.points.iter().all(|it| it.before != gone.candidate));
    let stale = query::stale(&bench.world, first).await.unwrap().unwrap();
    assert_eq!(stale.infeasible, 1);
    bench.stop().await;
}

/// Without windows to confirm on, qualities are those that an earlier search measured.
#[tokio::test]
async fn a_quality_that_was_taken_over_says_nothing_new() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = fixtures::registration("one");
    let without = |request: SearchRequest| {
        let mut request = request;
        request.subject.data.held_back = None;
        request
    };
    let first = night(&bench, &one, without(request()), as_usual).await;
    let second = night(&bench, &one, without(from(first)), as_usual).await;
    let drift = query::drift(&bench.world, first, second).await.unwrap();
    assert_eq!(verdict(&drift, Watched::Kld), Verdict::Unknown);
    assert_eq!(drift.overall[0].reason, "no divergence was measured afresh");
    assert!(
        verdicts(&drift)[1..]
            .iter()
            .all(|it| *it == Verdict::Unchanged)
    );
    bench.stop().await;
}

#[tokio::test]
async fn what_cannot_be_held_against_each_other_says_why() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = fixtures::registration("one");
    let first = night(&bench, &one, request(), as_usual).await;
    let mut other_text = request();
    other_text.subject.data.evaluation_digest = bitfront_model::Digest::of("another text");
    other_text.budget = fixtures::evaluations(3);
    let text = night(&bench, &one, other_text, as_usual).await;
    let mut little = request();
    little.budget = fixtures::evaluations(2);
    let few = night(&bench, &one, little, as_usual).await;
    let queued = bench
        .submit(SearchRequest {
            device: Some("nobody".to_owned()),
            ..request()
        })
        .await;
    let drift = async |before, after| query::drift(&bench.world, before, after).await;
    let unknown = drift(first, 99).await.unwrap_err();
    assert!(matches!(
        unknown,
        ServiceError::UnknownSearch { search: 99 }
    ));
    for (search, said) in [
        (text, "they differ in the evaluation text ("),
        (first, "it is one search"),
        (queued, "it has not ended; `bitfront watch`"),
    ] {
        let refused = drift(first, search).await.unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    let little = drift(first, few).await.unwrap();
    assert!(!little.says_anything() && !little.is_stale());
    let reasons: Vec<_> = little.overall.iter().map(|it| it.reason.as_str()).collect();
    assert!(reasons[1].contains("are needed"), "{reasons:?}");
    assert!(bench.world.store.cancel(queued, 1).await.unwrap().is_some());
    let refused = drift(first, queued).await.unwrap_err().to_string();
    assert!(refused.contains("no device served it"), "{refused}");
    bench.stop().await;
}
