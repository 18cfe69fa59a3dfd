//! How the database stands to those who use it, and how much there is in it.

use super::*;

pub(super) async fn a_coordinator_learns_that_it_is_replaced(store: Arc<dyn Store>) {
    let before = store.standing().await.unwrap();
    assert_eq!(before.schema, before.known_schema, "it was just made");
    assert!(before.known_schema > 0);
    assert!(!before.serves, "it has not joined");
    let first = store.join("one:1", NOW).await.unwrap();
    assert!(store.standing().await.unwrap().serves);
    store.retire(first, None).await.unwrap();
    assert!(!store.standing().await.unwrap().serves);
    store.join("one:1", NOW).await.unwrap();
    assert!(store.standing().await.unwrap().serves, "it began anew");
}

pub(super) async fn what_waits_is_counted_by_target_and_kind(store: Arc<dyn Store>) {
    assert_eq!(store.load().await.unwrap(), Load::default());
    let (device, search) = running(&store, &[Precision::Q8_0, Precision::Q4K]).await;
    let queued = store.submit(&new_search(), NOW).await.unwrap();
    let load = async || {
        let mut load = store.load().await.unwrap();
        load.queued.sort_by(|one, other| one.kind.cmp(&other.kind));
        load.searches.sort_by_key(|(state, _)| state.name());
        load
    };
    let waiting = |kind: TaskKind, target: String, count| QueuedTasks {
        target,
        kind: kind.name().to_owned(),
        count,
    };
    let (class, profile) = {
        let binding = binding();
        let class = binding.numerics_class.to_string();
        (class, binding.hardware_profile.short())
    };
    let expected = Load {
        searches: vec![(SearchState::Queued, 1), (SearchState::Running, 1)],
        queued: vec![
            waiting(TaskKind::Latency, profile.clone(), 2),
            waiting(TaskKind::Quality, class.clone(), 2),
        ],
    };
    assert_eq!(load().await, expected);

    claim(&store, device).await;
    store.cancel(queued, NOW).await.unwrap();
    let expected = Load {
        searches: vec![(SearchState::Cancelled, 1), (SearchState::Running, 1)],
        queued: vec![
            waiting(TaskKind::Latency, profile, 1),
            waiting(TaskKind::Quality, class, 2),
        ],
    };
    assert_eq!(load().await, expected);
    store.cancel(search, NOW).await.unwrap();
    assert_eq!(load().await.queued, []);
}
