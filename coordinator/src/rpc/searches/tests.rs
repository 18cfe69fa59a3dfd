use bitfront_model::SearchState;

use super::*;
use crate::fixtures;
use crate::testing::{Bench, folder};

fn service(bench: &Bench) -> SearchesService {
    SearchesService {
        world: bench.world.clone(),
        leasing: bench.leasing.clone(),
        drivers: bench.drivers.clone(),
        shutdown: bench.shutdown.clone(),
    }
}

#[tokio::test]
async fn a_submission_whose_caller_goes_away_is_driven_all_the_same() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    bench.register("one").await;
    let service = service(&bench);
    // Dropped after ever more polls, and between them everything that it waits for happens, so
    // one of the calls is dropped between the commit and what follows.
    for polls in 1.. {
        let mut call = Box::pin(service.submit_checked(fixtures::request(), String::new()));
        let mut answered = false;
        for _ in 0..polls {
            tokio::select! {
                biased;
                search = &mut call => {
                    search.unwrap();
                    answered = true;
                    break;
                }
                () = std::future::ready(()) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if answered {
            assert!(polls > 2, "nothing was dropped on its way");
            break;
        }
    }
    let searches = bench.world.store.searches().await.unwrap();
    assert!(searches.len() > 1, "no call was dropped after its commit");
    for search in searches {
        let mut changes = bench.world.wakeups.on_search(search.id);
        let bound = async {
            while bench.status(search.id).await.state != SearchState::Running {
                changes.changed().await.unwrap();
            }
        };
        let bound = tokio::time::timeout(Duration::from_secs(5), bound).await;
        assert!(bound.is_ok(), "nobody drives search {}", search.id);
    }
    bench.stop().await;
}
