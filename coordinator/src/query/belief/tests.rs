use bitfront_model::{Objective, SearchRequest, StrategyName};

use crate::fixtures;
use crate::query;
use crate::testing::{Bench, folder};

fn request(strategy: StrategyName) -> SearchRequest {
    SearchRequest {
        budget: fixtures::evaluations(60),
        strategy,
        ..fixtures::request()
    }
}

async fn searched(bench: &Bench, strategy: StrategyName) -> i64 {
    let device = bench.register("one").await;
    let search = bench.submit(request(strategy)).await;
    bench.serve(device, search, usize::MAX).await;
    search
}

#[tokio::test]
async fn smoothed_figures_stand_beside_measured_ones() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = searched(&bench, StrategyName::Nsga2).await;
    let plain = query::front(&bench.world, search, None).await.unwrap();
    assert!(plain.points.iter().all(|point| point.believed.is_empty()));
    let front = query::believed_front(&bench.world, search, None).await;
    let front = front.unwrap();
    let (mut raw, mut count, mut confirmed) = (0.0, 0, 0);
    for point in &front.points {
        let figures: Vec<_> = point.believed.iter().map(|it| it.figure).collect();
        if figures.is_empty() {
            assert!(point.baseline.is_some(), "only baselines lie outside");
            continue;
        }
        assert_eq!(figures, Objective::ALL);
        let [kld, _, _, size, _] = &point.believed[..] else {
            panic!("{figures:?}");
        };
        assert_eq!((size.value, size.deviation), (point.size_bytes as f64, 0.0));
        assert_eq!(size.measured, Some(point.size_bytes as f64));
        let measured = kld.measured.unwrap();
        let searched = point.confirmation.as_ref();
        let searched = searched.and_then(|it| it.searched_quality.as_ref());
        let own = searched.map(|quality| quality.value.kld);
        assert_eq!(Some(measured), own.or(point.kld()));
        confirmed += usize::from(own.is_some_and(|own| Some(own) != point.kld()));
        raw += (measured / kld.value).ln().abs();
        count += 1;
    }
    assert!(count >= 45, "{count}");
    assert!(confirmed > 0, "fresh figures differ from the search's own");
    assert!(raw / f64::from(count) < 0.2, "{}", raw / f64::from(count));
    bench.stop().await;
}

/// The driver tells them while the search runs; afterwards they are rebuilt from the store.
#[tokio::test]
async fn the_checks_of_a_search_are_the_same_after_a_restart() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = searched(&bench, StrategyName::Surrogate).await;
    let told = bench.status(search).await.trust;
    assert!(told.len() >= 2, "{told:?}");
    for (check, candidates) in told.iter().zip([16, 32, 48]) {
        assert_eq!(check.candidates, candidates);
        let figures = check.ranks.iter().map(|rank| rank.figure);
        let objectives = &request(StrategyName::Surrogate).objectives;
        assert_eq!(figures.collect::<Vec<_>>(), *objectives);
    }
    let listed = query::list(&bench.world).await.unwrap();
    assert!(listed[0].trust.is_empty());
    bench.stop().await;
    drop(bench);
    let bench = Bench::in_folder(folder.path()).await;
    assert_eq!(bench.status(search).await.trust, told);
    bench.stop().await;
}

#[tokio::test]
async fn a_strategy_that_predicts_nothing_has_no_checks() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = searched(&bench, StrategyName::Nsga2).await;
    assert!(bench.status(search).await.trust.is_empty());
    bench.stop().await;
}
