//! Hardware profiles that come after a joint search was started.

use super::*;
use crate::store::StoredSearch;

fn hardware(name: &str, processor: &str) -> Registration {
    let mut device = fixtures::registration(name);
    device.hardware_profile.cpu_model = processor.to_owned();
    device
}

/// What is started for a device, for everything that is like it.
fn for_kinds(device: &str, evaluations: u64) -> SearchRequest {
    let mut request = SearchRequest {
        device: Some(device.to_owned()),
        joint: Some(Joint {
            key: "a joint search".to_owned(),
            selectors: vec!["arch=x86_64".parse().unwrap()],
            max_decode: None,
            profile: None,
        }),
        ..request(evaluations)
    };
    // A limit that holds for the first device alone.
    request.limits.max_decode = Some(Duration::from_secs(1));
    request
}

/// What a search is joint with, as the one of it that is for a processor.
fn for_profile(request: &SearchRequest, processor: &str) -> Joint {
    Joint {
        profile: Some(hardware("any", processor).hardware_profile.digest()),
        ..request.joint.clone().unwrap()
    }
}

/// The searches once there are so many; their drivers are started, as by a coordinator's beat.
async fn searches(bench: &Bench, count: usize) -> Vec<StoredSearch> {
    let store = &bench.world.store;
    for _ in 0..500 {
        let searches = store.searches().await.unwrap();
        if searches.len() >= count {
            assert_eq!(searches.len(), count);
            bench.take_over().await;
            return searches;
        }
        bench.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!(
        "there are {} searches",
        store.searches().await.unwrap().len()
    );
}

/// Lets drivers look at who is there, several times.
async fn look(bench: &Bench) {
    for _ in 0..5 {
        bench.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_joins_later_begins_with_what_was_found_and_measures_its_times_alone() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let first = bench.submit(for_kinds("one", 70)).await;
    let one = bench.register("one").await;
    bench.serve(one, first, 120).await;
    // Of the same hardware, and what does not fit.
    bench.register("twin").await;
    let mut arm = hardware("arm", "Arm");
    arm.hardware_profile.cpu_architecture = "aarch64".to_owned();
    bench.register_as(arm).await.unwrap();
    look(&bench).await;
    assert_eq!(searches(&bench, 1).await.len(), 1);
    let all = searches_of(&bench).await;
    let found = query::found(&bench.world, &all).await.unwrap();
    assert!(found.len() > 2, "{}", found.len());
    let later = bench
        .register_as(hardware("later", "Scripted 2"))
        .await
        .unwrap();
    let all = searches(&bench, 2).await;
    let (before, joined) = (&all[0].request, &all[1].request);
    assert_eq!(all[1].starts, found);
    let expected = SearchRequest {
        device: Some("later".to_owned()),
        joint: Some(for_profile(before, "Scripted 2")),
        limits: Limits {
            max_decode: None,
            ..before.limits
        },
        ..before.clone()
    };
    assert_eq!(*joined, expected);
    // Neither another look nor another coordinator starts a second one.
    look(&bench).await;
    bench.stop().await;
    let bench = Bench::over(bench.world.store.clone(), |_| {}).await;
    bench.take_over().await;
    assert_eq!(
        bench
            .register_as(hardware("later", "Scripted 2"))
            .await
            .unwrap(),
        later
    );
    bench.register("one").await;
    look(&bench).await;
    let second = searches(&bench, 2).await[1].id;

    let qualities = std::sync::atomic::AtomicUsize::new(0);
    let count = |hand_out: &crate::leasing::HandOut, _: &mut Report| {
        let assignment = &hand_out.assignment;
        let of_search = assignment.search == second && assignment.purpose == TaskPurpose::Search;
        if of_search && assignment.kind == TaskKind::Quality {
            qualities.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let candidates = async || bench.world.store.candidates(second, 0).await.unwrap();
    let baselines = Baseline::named(&before.spec, &before.precisions).len();
    while candidates().await.len() <= baselines + found.len() {
        bench.serve_with(later, second, 1, count).await;
    }
    let asked: Vec<_> = candidates()
        .await
        .into_iter()
        .map(|it| it.precisions)
        .collect();
    let begins = asked.iter().position(|it| *it == found[0]).unwrap();
    assert_eq!(
        asked[begins..begins + found.len()],
        found,
        "right after the baselines"
    );
    let known = qualities.load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        known <= 3,
        "{known} are scored that are known in the numerics class"
    );
    bench.serve(later, second, usize::MAX).await;
    let status = bench.status(second).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    let front = query::front(&bench.world, second, Some("later"))
        .await
        .unwrap();
    assert!(front.points.iter().any(|point| point.on_front));
    bench.stop().await;
}

async fn searches_of(bench: &Bench) -> Vec<StoredSearch> {
    bench.world.store.searches().await.unwrap()
}

#[tokio::test]
async fn more_budget_for_a_search_that_ended_catches_up_who_came_after_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let first = bench.submit(for_kinds("one", 40)).await;
    let one = bench.register("one").await;
    bench.serve(one, first, usize::MAX).await;
    assert_eq!(bench.status(first).await.state, SearchState::Done);
    bench
        .register_as(hardware("later", "Scripted 2"))
        .await
        .unwrap();
    look(&bench).await;
    assert_eq!(
        searches_of(&bench).await.len(),
        1,
        "what has ended starts nothing"
    );
    let found = query::found(&bench.world, &searches_of(&bench).await)
        .await
        .unwrap();
    let store = &bench.world.store;
    assert!(
        store
            .resume(first, &fixtures::evaluations(41), 40)
            .await
            .unwrap()
    );
    bench.drivers.start(first);
    let all = searches(&bench, 2).await;
    assert_eq!(all[1].request.device.as_deref(), Some("later"));
    assert_eq!(all[1].starts, found);
    assert_eq!(all[1].request.budget, fixtures::evaluations(41));
    bench.stop().await;
}

/// Lets devices be heard from, second by second, until there are so many searches.
async fn heard_from(bench: &Bench, devices: &[&Registration], searches: usize) {
    for _ in 0..500 {
        for &device in devices {
            bench.register_as(device.clone()).await.unwrap();
        }
        if searches_of(bench).await.len() == searches {
            return;
        }
        bench.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("there are {} searches", searches_of(bench).await.len());
}

#[tokio::test]
async fn each_is_for_its_hardware_whichever_device_brings_it_and_no_two_are_for_the_same() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut request = for_kinds("one", 40);
    request.joint = Some(for_profile(&request, "Scripted 1"));
    // The device that was chosen is away, and another one of its hardware is not.
    let twin = hardware("twin", "Scripted 1");
    bench.register_as(twin.clone()).await.unwrap();
    let first = bench.submit(request).await;
    crate::testing::until(&bench, first, |it| it.binding.is_some()).await;

    // One joins, and is other hardware before its search is bound, as after an upgrade; what it was
    // before comes back under another name.
    let later = hardware("later", "Scripted 2");
    heard_from(&bench, &[&twin, &later], 2).await;
    let (later, its_twin) = (
        hardware("later", "Scripted 3"),
        hardware("its twin", "Scripted 2"),
    );
    heard_from(&bench, &[&twin, &later, &its_twin], 3).await;
    bench.take_over().await;
    for search in searches_of(&bench).await {
        crate::testing::until(&bench, search.id, |it| it.binding.is_some()).await;
    }
    look(&bench).await;
    let all = searches(&bench, 3).await;
    let bound: Vec<_> = all
        .iter()
        .map(|it| it.binding.as_ref().unwrap().hardware_profile)
        .collect();
    let expected = ["Scripted 1", "Scripted 2", "Scripted 3"];
    let expected = expected.map(|it| hardware("any", it).hardware_profile.digest());
    assert_eq!(bound, expected);
    bench.stop().await;
}
