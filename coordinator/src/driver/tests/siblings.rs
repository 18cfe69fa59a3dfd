//! Searches on several devices that learn from what the others measure.

use super::*;

/// A device of other hardware, of the same numerics class.
fn other(name: &str) -> Registration {
    let mut device = fixtures::registration(name);
    device.hardware_profile.cpu_model = format!("Scripted {name}");
    device
}

/// Each device has a seed of its own, since these devices are alike in all but their names.
fn sharing(device: &str, evaluations: u64) -> SearchRequest {
    SearchRequest {
        device: Some(device.to_owned()),
        seed: u64::from(device == "two"),
        strategy: StrategyName::Surrogate,
        shares: true,
        ..request(evaluations)
    }
}

fn one_at_a_time(config: &mut crate::Config) {
    config.pending_per_device = 1;
}

#[tokio::test]
async fn what_a_sibling_measured_changes_what_is_proposed_and_a_restart_changes_nothing() {
    let mut asked = Vec::new();
    for (shares, restarts) in [(true, false), (true, true), (false, false)] {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let mut bench = Bench::over(store.clone(), one_at_a_time).await;
        // A sibling teaches whatever its own strategy is.
        let first = SearchRequest {
            strategy: StrategyName::Nsga2,
            ..sharing("one", 60)
        };
        let first = bench.submit(first).await;
        let one = bench.register_as(other("one")).await.unwrap();
        bench.serve(one, first, usize::MAX).await;
        let second = SearchRequest {
            shares,
            ..sharing("two", 36)
        };
        let second = bench.submit(second).await;
        let mut two = bench.register_as(other("two")).await.unwrap();
        if restarts {
            for reports in [3, 40, 7] {
                bench.serve(two, second, reports).await;
                bench.stop().await;
                bench = Bench::over(store.clone(), one_at_a_time).await;
                bench.take_over().await;
                two = bench.register_as(other("two")).await.unwrap();
            }
        }
        bench.serve(two, second, usize::MAX).await;
        let status = bench.status(second).await;
        assert_eq!(status.state, SearchState::Done, "{}", status.reason);
        match shares {
            true => {
                assert!(status.shared.plans > 20, "{:?}", status.shared);
                assert_eq!(status.shared.searches, [first]);
            }
            false => assert_eq!(status.shared, SharedPlans::default()),
        }
        asked.push(digests(&store, second).await);
        // What a sibling measures from now on is nothing that the search learned.
        bench.clock.advance(Duration::from_secs(1));
        let late = SearchRequest {
            seed: 7,
            strategy: StrategyName::Nsga2,
            ..sharing("one", 25)
        };
        let late = bench.submit(late).await;
        let one = bench.register_as(other("one")).await.unwrap();
        bench.serve(one, late, usize::MAX).await;
        bench.stop().await;
        // Of a search that has ended it is rebuilt from the store.
        let bench = Bench::over(store, |_| {}).await;
        let again = bench.status(second).await;
        assert_eq!((again.shared, again.trust), (status.shared, status.trust));
        bench.stop().await;
    }
    assert_eq!(asked[0], asked[1]);
    assert_ne!(asked[0], asked[2]);
}

#[tokio::test]
async fn searches_that_run_at_once_teach_each_other() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut searches = Vec::new();
    for name in ["one", "two"] {
        let device = bench.register_as(other(name)).await.unwrap();
        searches.push((device, bench.submit(sharing(name, 40)).await));
    }
    for &(_, search) in &searches {
        until(&bench, search, |stored| stored.binding.is_some()).await;
    }
    while !bench.status(searches[1].1).await.state.has_ended() {
        for &(device, search) in &searches {
            bench.serve(device, search, 4).await;
        }
    }
    bench.serve(searches[0].0, searches[0].1, usize::MAX).await;
    for place in 0..2 {
        let shared = bench.status(searches[place].1).await.shared;
        assert_eq!(shared.searches, [searches[1 - place].1]);
        assert!(shared.plans > 5, "{shared:?}");
        let listed = query::list(&bench.world).await.unwrap();
        assert_eq!(listed[place].shared, SharedPlans::default());
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_prediction_learns_from_siblings_too() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = bench.register_as(other("one")).await.unwrap();
    let two = bench.register_as(other("two")).await.unwrap();
    let first = SearchRequest {
        strategy: StrategyName::Nsga2,
        ..sharing("one", 60)
    };
    let first = bench.submit(first).await;
    bench.serve(one, first, usize::MAX).await;
    let mut predicted = Vec::new();
    for shares in [true, false] {
        // Whatever its strategy is: what is believed is the surrogate's.
        let second = SearchRequest {
            shares,
            strategy: StrategyName::Nsga2,
            ..sharing("two", 25)
        };
        let second = bench.submit(second).await;
        bench.serve(two, second, usize::MAX).await;
        let limits = Limits {
            max_kld: Some(0.01),
            ..Limits::default()
        };
        let prediction = query::predict(&bench.world, second, &limits, "size").await;
        let prediction = prediction.unwrap();
        let front = query::believed_front(&bench.world, second, None).await;
        let status = front.unwrap().status;
        assert_eq!(status.shared.plans, 0, "its strategy learns from none");
        predicted.push((prediction.shared, prediction.figures));
    }
    assert_eq!(predicted[0].0.searches, [first]);
    assert!(predicted[0].0.plans > 20, "{:?}", predicted[0].0);
    assert_eq!(predicted[1].0, SharedPlans::default());
    assert_ne!(predicted[0].1, predicted[1].1);
    bench.stop().await;
}

#[tokio::test]
async fn a_search_that_waits_says_what_it_hears_meanwhile() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = bench.register_as(other("one")).await.unwrap();
    let two = bench.register_as(other("two")).await.unwrap();
    let waiting = bench.submit(sharing("two", 40)).await;
    bench.serve(two, waiting, 4).await;
    assert_eq!(bench.status(waiting).await.shared, SharedPlans::default());
    let teacher = bench.submit(sharing("one", 40)).await;
    bench.serve(one, teacher, usize::MAX).await;
    let heard = async {
        loop {
            bench.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
            let status = bench.status(waiting).await;
            if status.shared.plans > 10 {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(20), heard).await;
    let status = status.expect("it says what it heard");
    assert_eq!(status.state, SearchState::Running);
    assert_eq!(status.shared.searches, [teacher]);
    bench.stop().await;
}
