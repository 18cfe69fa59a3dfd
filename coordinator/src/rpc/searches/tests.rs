use bitfront_model::{AccessRole, Joint, SearchState};

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
    // Dropped after ever more polls, with what it waits for happening in between, until one was
    // dropped after its commit: a search is there that no call has answered.
    let (mut polls, mut answered, mut rounds) = (0, 0, 0);
    let searches = loop {
        polls += 1;
        let mut call = Box::pin(service.submit_checked(fixtures::request(), String::new()));
        for _ in 0..polls {
            tokio::select! {
                biased;
                search = &mut call => {
                    search.unwrap();
                    answered += 1;
                    polls = 0;
                    break;
                }
                () = std::future::ready(()) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(call);
        let searches = bench.world.store.searches().await.unwrap();
        if searches.len() > answered {
            break searches;
        }
        rounds += 1;
        assert!(rounds < 500, "no call was dropped after its commit");
    };
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

#[tokio::test]
async fn of_a_joint_search_the_hardware_of_the_named_device_is_noted() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    bench.register("one").await;
    let request = SearchRequest {
        device: Some("one".to_owned()),
        joint: Some(Joint {
            key: "a joint search".to_owned(),
            selectors: vec!["arch=x86_64".parse().unwrap()],
            max_decode: None,
            profile: None,
        }),
        ..fixtures::request()
    };
    let service = service(&bench);
    let submitted = service.submit_checked(request, String::new());
    let search = submitted.await.unwrap();
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    let hardware = fixtures::registration("one").hardware_profile;
    let joint = stored.request.joint.unwrap();
    assert_eq!(joint.profile, Some(hardware.digest()));
}

#[tokio::test]
async fn what_persons_do_is_noted_with_who_and_what_came_of_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    bench.register("one").await;
    let service = service(&bench);
    let store = &*bench.world.store;
    let secret = crate::tokens::add(store, &*bench.clock, "nadia", AccessRole::Submit, None).await;
    let visitor = bench
        .world
        .gate
        .admit(Some(secret.unwrap().as_bytes()))
        .await;
    let visitor = visitor.unwrap();

    let submission = v1::SubmitRequest {
        request: Some((&fixtures::request()).into()),
        ..Default::default()
    };
    let mut submission = Request::new(submission);
    submission.extensions_mut().insert(visitor);
    let search = service
        .submit(submission)
        .await
        .unwrap()
        .into_inner()
        .search;
    let refused = service.submit(Request::new(v1::SubmitRequest {
        request: Some(
            (&SearchRequest {
                precisions: Vec::new(),
                ..fixtures::request()
            })
                .into(),
        ),
        ..Default::default()
    }));
    assert!(refused.await.is_err());
    for cancelled in [true, false] {
        let answer = service
            .cancel(Request::new(v1::CancelRequest { search }))
            .await;
        assert_eq!(answer.unwrap().into_inner().cancelled, cancelled);
    }
    for (search, is_there) in [(search, true), (99, false)] {
        let more = v1::ContinueRequest {
            search,
            budget: Some((&fixtures::evaluations(3)).into()),
        };
        let answer = service.r#continue(Request::new(more)).await;
        assert_eq!(answer.is_ok(), is_there);
    }
    let deeds = store.deeds(0, 100).await.unwrap();
    let found: Vec<_> = deeds
        .iter()
        .map(|deed| {
            format!(
                "{} {} {} {}",
                deed.by, deed.action, deed.subject, deed.outcome
            )
        })
        .collect();
    let expected = [
        format!("nadia submit {search} done"),
        "local submit  nothing".to_owned(),
        format!("local cancel {search} done"),
        format!("local cancel {search} nothing"),
        format!("local continue {search} done"),
        "local continue 99 nothing".to_owned(),
    ];
    assert_eq!(found, expected);
    bench.stop().await;
}
