//! Searches that begin with the front of another one.

use std::collections::BTreeSet;

use super::*;
use crate::evaluation;
use crate::store::NewSearch;

/// Stores a request as a submission does, and starts its driver.
async fn submit(bench: &Bench, request: SearchRequest) -> i64 {
    let from = request.start_from.unwrap();
    let new = NewSearch {
        starts: query::starts(&bench.world, &request, from).await.unwrap(),
        request,
        idempotency_key: None,
    };
    let search = bench.world.store.submit(&new, bench.clock.now_ms()).await;
    let search = search.unwrap();
    bench.drivers.start(search);
    search
}

#[tokio::test]
async fn a_front_is_measured_again_on_another_device_right_after_the_baselines() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let first = bench.submit(request(60)).await;
    let one = bench.register("one").await;
    bench.serve(one, first, usize::MAX).await;
    let front = query::front(&bench.world, first, None).await.unwrap();
    let known = front
        .points
        .iter()
        .filter(|point| point.on_front && point.baseline.is_none())
        .map(|point| point.plan.digest())
        .collect::<BTreeSet<_>>();
    assert!(known.len() > 4, "{}", known.len());

    let mut other = fixtures::registration("two");
    other.hardware_profile.cpu_model = "Other 1".to_owned();
    let two = bench.register_as(other).await.unwrap();
    let baselines = front.points.iter().filter(|point| point.baseline.is_some());
    let baselines = baselines.count();
    let second = submit(
        &bench,
        SearchRequest {
            device: Some("two".to_owned()),
            start_from: Some(first),
            strategy: StrategyName::Surrogate,
            ..request((baselines + known.len()) as u64 + 10)
        },
    )
    .await;
    // Across a restart in the middle of what it begins with.
    bench.serve(two, second, 2 * baselines + 3).await;
    bench.stop().await;
    let bench = Bench::over(bench.world.store.clone(), |_| {}).await;
    bench.take_over().await;
    let mut other = fixtures::registration("two");
    other.hardware_profile.cpu_model = "Other 1".to_owned();
    let two = bench.register_as(other).await.unwrap();
    bench.serve(two, second, usize::MAX).await;

    let candidates = bench.world.store.candidates(second, 0).await.unwrap();
    let (begun, rest) = candidates[baselines..].split_at(known.len());
    let digests = begun.iter().map(|one| one.plan_digest);
    assert_eq!(digests.collect::<BTreeSet<_>>(), known);
    assert_told_most_first(&bench, first, begun).await;
    let is_begun = |one: &StoredCandidate| {
        one.ask_number.is_none() && one.baseline.is_none() && one.genome.is_some()
    };
    assert!(begun.iter().all(is_begun));
    let asks: Vec<_> = rest.iter().map(|one| one.ask_number).collect();
    assert_eq!(asks, (0..10).map(Some).collect::<Vec<_>>());
    let status = bench.status(second).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    assert_eq!(status.evaluated as usize, candidates.len());
    bench.stop().await;
}

/// Of the first plans that a search begins with, each adds as much to the hypervolume of the search that
/// it was started from as any of the rest would have.
async fn assert_told_most_first(bench: &Bench, from: i64, begun: &[StoredCandidate]) {
    let store = &bench.world.store;
    let search = store.search(from).await.unwrap().unwrap();
    let candidates = store.candidates(from, 0).await.unwrap();
    let figures = evaluation::figures(&candidates, &store.scores(from, 0).await.unwrap());
    let objectives = &search.request.objectives;
    let reference = search.reference_point.unwrap();
    let reference = evaluation::scaled_point(objectives, &reference);
    let point = |at: usize| figures[at].scaled_point(objectives);
    let is_baseline = |at: &usize| candidates[*at].baseline.is_some();
    let baselines = (0..candidates.len()).filter(is_baseline);
    let mut points: Vec<_> = baselines.filter_map(point).collect();
    let of_plan = |one: &StoredCandidate| {
        let at = candidates
            .iter()
            .position(|it| it.plan_digest == one.plan_digest);
        point(at.unwrap()).unwrap()
    };
    for at in 0..begun.len() {
        let with = |one: &StoredCandidate| {
            let all = [points.as_slice(), &[of_plan(one)]].concat();
            bitfront_search::hypervolume(&all, &reference).unwrap()
        };
        let rest = begun[at..].iter().map(with).fold(0.0, f64::max);
        assert!(with(&begun[at]) >= rest * (1.0 - 1e-12), "start {at}");
        points.push(of_plan(&begun[at]));
    }
}

#[tokio::test]
async fn what_cannot_be_started_from_is_refused_with_what_differs() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(40)).await;
    let short = bench.submit(request(2)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    bench.serve(device, short, usize::MAX).await;
    type Change = fn(&mut SearchRequest);
    let rows: [(i64, Change, &[&str]); 6] = [
        (99, |_| (), &["there is no search 99"]),
        (
            short,
            |_| (),
            &["request.start_from", "nothing but baselines"],
        ),
        (
            search,
            |request| request.grouping = Grouping::Kind,
            &[
                "request.start_from",
                "another space",
                "it has no gene `attn_q`",
                " more; start from",
                "--group kind",
            ],
        ),
        (
            search,
            |request| request.spec.layers[0].rows += 1,
            &["its gene `token_embd` is other layers"],
        ),
        (
            search,
            |request| request.spec.layers.swap(0, 1),
            &["its layers come in another order"],
        ),
        (
            search,
            |request| request.precisions = vec![Precision::Q5K, Precision::F16],
            &["is made of the precisions", "name those of that search"],
        ),
    ];
    for (from, change, expected) in rows {
        let mut request = request(40);
        change(&mut request);
        let refused = query::starts(&bench.world, &request, from).await;
        let message = refused.unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    bench.stop().await;
}
