//! What ends a search before its budget does, and what lets it go on.

use super::*;

/// A search with a budget that it is not meant to spend.
fn stopping(early_stop: EarlyStop) -> SearchRequest {
    SearchRequest {
        early_stop,
        ..request(400)
    }
}

async fn go_on(bench: &Bench, device: i64, search: i64, more: u64) -> SearchStatus {
    let evaluated = bench.status(search).await.evaluated;
    let budget = fixtures::evaluations(evaluated + more);
    let resumed = bench.world.store.resume(search, &budget, evaluated).await;
    assert!(resumed.unwrap());
    bench.drivers.start(search);
    bench.serve(device, search, usize::MAX).await;
    bench.status(search).await
}

#[tokio::test]
async fn a_search_that_stalls_ends_with_an_outlook_and_goes_on_for_as_long_again() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench
        .submit(stopping(EarlyStop {
            stalled: Some(StallRule {
                evaluations: 25,
                least_growth: 0.02,
            }),
            within_limits: false,
        }))
        .await;
    let device = bench.register("one").await;
    // Across a restart, which learns everything anew.
    bench.serve(device, search, 31).await;
    bench.stop().await;
    let bench = Bench::over(bench.world.store.clone(), |_| {}).await;
    bench.take_over().await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;

    let ended = bench.status(search).await;
    assert_eq!(ended.state, SearchState::Done);
    let expected = "25 evaluations in a row grew the front by only";
    assert!(ended.reason.starts_with(expected), "{}", ended.reason);
    assert!(ended.evaluated < 400, "{}", ended.evaluated);
    let outlook = ended.outlook.unwrap();
    let front = query::front(&bench.world, search, None).await.unwrap();
    assert_eq!(front.status, ended);
    let is_baseline = |point: &&FrontPoint| point.baseline.is_some();
    let baselines = front.points.iter().filter(is_baseline).count() as u64;
    assert_eq!(outlook.evaluations + baselines, ended.evaluated);
    let listed = query::list(&bench.world).await.unwrap();
    assert_eq!(listed[0].outlook, None);

    let longer = go_on(&bench, device, search, 200).await;
    assert_eq!(longer.state, SearchState::Done);
    assert!(longer.evaluated >= ended.evaluated + 25, "{longer:?}");
    let last = go_on(&bench, device, search, 10).await;
    assert_eq!(last.evaluated, longer.evaluated + 10);
    let expected = format!("the budget of {} evaluations is spent", last.evaluated);
    assert_eq!(last.reason, expected);
    bench.stop().await;
}

#[tokio::test]
async fn a_search_ends_once_a_plan_keeps_the_limits_with_its_intervals_and_goes_on_once_asked() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let middle = Plan::uniform(&fixtures::spec(), Precision::Q6K).unwrap();
    // What the fixtures lose under six bits everywhere, and a little more: less than its interval.
    let layers = 0..fixtures::spec().layers.len();
    let bits = Precision::Q6K.bits_per_weight();
    let kld: f64 = layers
        .map(|layer| (-1.3 * bits).exp() / (1.0 + layer as f64))
        .sum();
    let limits = Limits {
        max_kld: Some(kld * 1.1),
        max_size_bytes: Some(middle.size_bytes(&fixtures::spec()) * 11 / 10),
        max_decode: None,
        min_same_top: None,
    };
    let search = bench
        .submit(SearchRequest {
            limits,
            ..stopping(EarlyStop {
                stalled: None,
                within_limits: true,
            })
        })
        .await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    let ended = bench.status(search).await;
    assert_eq!(ended.state, SearchState::Done);
    let found = ended.reason.strip_prefix("candidate ").unwrap();
    let (found, rest) = found.split_once(' ').unwrap();
    assert_eq!(rest, "keeps all the limits, and so do its intervals");
    assert!(ended.evaluated < 400, "{}", ended.evaluated);

    let front = query::front(&bench.world, search, None).await.unwrap();
    let by_mean = |point: &FrontPoint| {
        let searched = point.confirmation.as_ref();
        let searched = searched.and_then(|it| it.searched_quality.as_ref());
        let quality = searched.or(point.quality.as_ref()).unwrap();
        (quality.value.kld, point.size_bytes)
    };
    let keeps = |kld: f64, size: u64| {
        kld <= limits.max_kld.unwrap() && size <= limits.max_size_bytes.unwrap()
    };
    let mut earlier = 0;
    for point in &front.points {
        let (kld, size) = by_mean(point);
        // Student's 2.36 errors of a tenth each.
        let surely = keeps(kld * 1.2365, size);
        if point.candidate.to_string() == found {
            assert!(surely, "{kld} {size}");
            assert!(
                earlier > 0,
                "a plan that keeps them by its mean came before"
            );
            break;
        }
        assert!(!surely, "{}: {kld} {size}", point.candidate);
        earlier += usize::from(keeps(kld, size));
    }
    let more = go_on(&bench, device, search, 10).await;
    assert_eq!(more.evaluated, ended.evaluated + 10, "{}", more.reason);
    bench.stop().await;
}

/// A preset that is good enough is known to be so only beside the others.
#[tokio::test]
async fn a_baseline_that_keeps_the_limits_ends_a_search_once_all_baselines_are_measured() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let limits = Limits {
        max_kld: Some(1e9),
        ..Limits::default()
    };
    let early_stop = EarlyStop {
        stalled: None,
        within_limits: true,
    };
    let request = SearchRequest {
        limits,
        ..stopping(early_stop)
    };
    let search = bench.submit(request).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    let ended = bench.status(search).await;
    assert_eq!(ended.state, SearchState::Done);
    let candidates = bench.world.store.candidates(search, 0).await.unwrap();
    let baselines = candidates.iter().filter(|one| one.baseline.is_some());
    assert!(ended.evaluated >= baselines.count() as u64, "{ended:?}");
    assert!(ended.evaluated < 20, "{ended:?}");
    assert!(!ended.reason.contains("baselines"), "{}", ended.reason);
    bench.stop().await;
}
