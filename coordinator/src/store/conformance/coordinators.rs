//! Coordinators, and what each of them is in charge of. One store plays several coordinators here,
//! one after the other: it is under the term that it joined under last.

use super::*;

async fn join(store: &Arc<dyn Store>, address: &str) -> i64 {
    store.join(address, NOW).await.unwrap()
}

pub(super) async fn a_coordinator_serves_until_its_beat_stands_still_or_it_leaves(
    store: Arc<dyn Store>,
) {
    let first = join(&store, "one:1").await;
    let second = join(&store, "two:2").await;
    assert!(second > first, "a term is never used again");
    let beats = |all: Vec<StoredCoordinator>| -> Vec<_> {
        all.into_iter()
            .map(|it| (it.id, it.address, it.beat))
            .collect()
    };
    assert!(store.beat(first).await.unwrap());
    assert!(store.beat(first).await.unwrap());
    let serving = beats(store.coordinators().await.unwrap());
    let expected = [
        (first, "one:1".to_owned(), 2),
        (second, "two:2".to_owned(), 0),
    ];
    assert_eq!(serving, expected);

    assert!(
        !store.retire(first, Some(1)).await.unwrap(),
        "it has beaten since"
    );
    assert!(store.retire(first, Some(2)).await.unwrap());
    assert!(!store.retire(first, Some(2)).await.unwrap(), "once");
    assert!(!store.beat(first).await.unwrap(), "it learns of it");
    assert!(store.retire(second, None).await.unwrap());
    assert_eq!(store.coordinators().await.unwrap(), []);
    assert!(!store.beat(99).await.unwrap());
}

pub(super) async fn who_joined_is_in_charge_of_what_nobody_else_is(store: Arc<dyn Store>) {
    let before = store.submit(&new_search(), NOW).await.unwrap();
    assert_eq!(store.take_searches().await.unwrap(), [before], "not joined");
    let first = join(&store, "one:1").await;
    assert_eq!(store.take_searches().await.unwrap(), [before]);
    assert_eq!(store.take_searches().await.unwrap(), [before], "still");
    let own = store.submit(&new_search(), NOW).await.unwrap();
    let ended = store.submit(&new_search(), NOW).await.unwrap();
    store.cancel(ended, NOW).await.unwrap();

    join(&store, "two:2").await;
    assert_eq!(store.take_searches().await.unwrap(), [] as [i64; 0]);
    assert!(!store.take_search(own).await.unwrap());
    store.retire(first, None).await.unwrap();
    assert_eq!(store.take_searches().await.unwrap(), [before, own]);
    assert!(store.take_search(own).await.unwrap(), "its own");
    assert!(store.take_search(ended).await.unwrap(), "to be continued");
}

pub(super) async fn a_driver_that_was_replaced_writes_nothing(store: Arc<dyn Store>) {
    let first = join(&store, "one:1").await;
    let (_, search) = running(&store, &[Precision::Q8_0]).await;
    let stored = store.search(search).await.unwrap().unwrap();
    join(&store, "two:2").await;
    let candidate = candidate(1, Precision::Q4K);
    let ending = Ending {
        state: SearchState::Done,
        reason: "over".to_owned(),
        active: Duration::from_secs(9),
        budget: stored.request.budget,
        continued_after: 0,
    };
    let profile = binding().hardware_profile;
    let refused = async || {
        let all = [
            store.wait(search, "for nothing").await.err(),
            store.bind(search, &binding()).await.err(),
            store.spend(search, Duration::from_secs(9)).await.err(),
            store.fix_reference(search, &[1.0]).await.err(),
            store.end(search, &ending, NOW).await.err(),
            store.add_candidate(search, &candidate, NOW).await.err(),
            store.confirm(search, &stored.given(), &[]).await.err(),
            store.retime(search, &[], profile).await.err(),
        ];
        let not_driven =
            |error: &&Option<StoreError>| matches!(error, Some(StoreError::NotDriven { .. }));
        assert_eq!(all.iter().filter(not_driven).count(), all.len(), "{all:?}");
        assert_eq!(store.search(search).await.unwrap().unwrap(), stored);
        assert_eq!(store.candidates(search, 0).await.unwrap().len(), 1);
    };
    refused().await;
    // Nobody drives it then, and so does not this one.
    store.retire(first, None).await.unwrap();
    refused().await;
    assert_eq!(store.take_searches().await.unwrap(), [search]);
    let added = store.add_candidate(search, &candidate, NOW).await.unwrap();
    assert!(added.is_some());
    assert!(store.end(search, &ending, NOW).await.unwrap());
}

pub(super) async fn a_lease_is_taken_over_with_its_device(store: Arc<dyn Store>) {
    let first = join(&store, "one:1").await;
    let (device, _) = running(&store, &[Precision::Q8_0]).await;
    let (one, two) = (claim(&store, device).await, claim(&store, device).await);
    let held = |claimed: &Claimed| HeldLease {
        token: claimed.token,
        device,
    };
    // In the order of their numbers, which is not that in which they are handed out.
    let (one, two) = if one.token.task < two.token.task {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!(store.leased().await.unwrap(), [held(&one), held(&two)]);

    let second = join(&store, "two:2").await;
    assert_eq!(store.leased().await.unwrap(), []);
    assert_eq!(store.take_leases().await.unwrap(), []);
    let tokens = [one.token, two.token];
    assert_eq!(
        store.held_by(device).await.unwrap(),
        tokens,
        "whoever keeps them"
    );
    assert_eq!(store.held_by(device + 1).await.unwrap(), []);
    // Its agent speaks to this one now.
    assert!(!store.keep(one.token, device + 1).await.unwrap());
    assert!(store.keep(one.token, device).await.unwrap());
    assert_eq!(store.leased().await.unwrap(), [held(&one)]);
    // The other coordinator may believe that the agent is silent; this one may not end its leases.
    let only_ours = LeaseEnding {
        only_ours: true,
        ..ending("silent", true)
    };
    let ended = store.requeue(two.token, &only_ours, NOW).await.unwrap();
    assert_eq!(ended, Requeued::NotHeld);
    store.retire(first, None).await.unwrap();
    assert_eq!(store.take_leases().await.unwrap(), [held(&two)]);
    assert_eq!(store.take_leases().await.unwrap(), [], "once");
    let ended = store.requeue(two.token, &only_ours, NOW).await.unwrap();
    assert_eq!(ended, Requeued::Queued);
    assert!(
        !store.keep(two.token, device).await.unwrap(),
        "it has ended"
    );
    // What one hands out who does not know yet that it was retired is nobody's.
    store.retire(second, None).await.unwrap();
    let late = claim(&store, device).await;
    join(&store, "three:3").await;
    assert_eq!(
        store.take_leases().await.unwrap(),
        [held(&one), held(&late)]
    );
}

pub(super) async fn a_device_is_served_where_its_agent_speaks(store: Arc<dyn Store>) {
    let first = join(&store, "one:1").await;
    let registration = fixtures::registration("one");
    let device = store.register(&registration, NOW).await.unwrap();
    let other = fixtures::registration("two");
    let other = store.register(&other, NOW).await.unwrap();
    for (device, instance) in [(device, "agent 1"), (other, "agent 2")] {
        store.serve(device, instance).await.unwrap();
    }
    assert_eq!(store.served_elsewhere().await.unwrap(), []);

    join(&store, "two:2").await;
    let ids = async || -> Vec<i64> {
        let elsewhere = store.served_elsewhere().await.unwrap();
        elsewhere.iter().map(|device| device.id).collect()
    };
    assert_eq!(ids().await, [device, other]);
    let elsewhere = store.served_elsewhere().await.unwrap();
    assert_eq!(elsewhere[0].instance.as_deref(), Some("agent 1"));
    assert_eq!(elsewhere[0].registration, registration);
    store.serve(device, "agent 3").await.unwrap();
    assert_eq!(ids().await, [other]);
    let stored = store.devices().await.unwrap();
    assert_eq!(stored[0].instance.as_deref(), Some("agent 3"));
    store.serve_only(&[]).await.unwrap();
    assert_eq!(ids().await, [other], "that of the other is left");
    // One that came back without registering is served again, unless it is elsewhere.
    store.serve_only(&[device, other]).await.unwrap();
    assert_eq!(ids().await, [other]);
    let found = store.device(device).await.unwrap().unwrap();
    assert_eq!(
        (found.id, found.registration),
        (device, registration.clone())
    );
    assert_eq!(store.device(99).await.unwrap(), None);
    let third = join(&store, "three:3").await;
    assert_eq!(ids().await, [device, other]);
    store.retire(third, None).await.unwrap();
    store.retire(first, None).await.unwrap();
    assert_eq!(ids().await, [device]);
}
