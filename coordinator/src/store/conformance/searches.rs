//! Devices, searches and candidates.

#![allow(clippy::unwrap_used)]

use super::*;

pub(super) async fn an_identity_stays(store: Arc<dyn Store>) {
    let identity = store.identity().await.unwrap();
    assert!(!identity.is_empty());
    running(&store, &[Precision::Q8_0]).await;
    assert_eq!(store.identity().await.unwrap(), identity);
}

pub(super) async fn a_device_keeps_its_number_and_takes_what_it_said_last(store: Arc<dyn Store>) {
    let mut device = fixtures::registration("one");
    let id = store.register(&device, NOW).await.unwrap();
    let other = fixtures::registration("two");
    assert_ne!(store.register(&other, NOW).await.unwrap(), id);
    device.precisions.pop();
    device.hardware_profile.threads = 9;
    assert_eq!(store.register(&device, NOW + 5).await.unwrap(), id);
    let devices = store.devices().await.unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0].registration, device);
    assert_eq!(devices[0].first_seen_ms, NOW);
    assert_eq!(devices[0].last_seen_ms, NOW + 5);
    let digest = device.hardware_profile.digest();
    let profile = store.profile(digest).await.unwrap();
    assert_eq!(profile, Some(device.hardware_profile));
    assert_eq!(store.profile(Digest::of("none")).await.unwrap(), None);
}

pub(super) async fn a_request_reads_back_as_it_was_submitted(store: Arc<dyn Store>) {
    let mut new = new_search();
    new.request.limits.max_kld = Some(0.1 + 0.2);
    new.request.limits.max_decode = Some(Duration::from_nanos(123_456_789));
    new.request.seed = u64::MAX;
    new.request.device = Some("one".to_owned());
    new.request.budget.time = Some(Duration::from_millis(1500));
    new.request.joint = Some(Joint {
        key: "key".to_owned(),
        selectors: vec!["isa=avx2,cores=2".parse().unwrap()],
        max_decode: Some(Duration::from_nanos(5)),
        profile: Some(Digest::of("a profile")),
    });
    let id = store.submit(&new, NOW).await.unwrap();
    let stored = store.search(id).await.unwrap().unwrap();
    assert_eq!(stored.request, new.request);
    assert_eq!(stored.state, SearchState::Queued);
    assert_eq!(stored.created_at_ms, NOW);
    assert_eq!(stored.active, Duration::ZERO);
    assert_eq!((stored.binding, stored.reference_point), (None, None));
    assert_eq!(store.searches().await.unwrap().len(), 1);
    assert_eq!(store.search(id + 1).await.unwrap(), None);
    let mut other = new_search();
    other.request.subject.data.evaluation_digest = Digest::of("another text");
    store.submit(&other, NOW).await.unwrap();
    let again = store.submit(&new, NOW).await.unwrap();
    let over = store.searches_over(new.request.subject.digest()).await;
    let over: Vec<_> = over.unwrap().iter().map(|search| search.id).collect();
    assert_eq!(over, [id, again]);
}

pub(super) async fn a_key_starts_one_search(store: Arc<dyn Store>) {
    let keyed = NewSearch {
        idempotency_key: Some("key".to_owned()),
        ..new_search()
    };
    let first = store.submit(&keyed, NOW).await.unwrap();
    assert_eq!(store.submit(&keyed, NOW).await.unwrap(), first);
    let second = store.submit(&new_search(), NOW).await.unwrap();
    let third = store.submit(&new_search(), NOW).await.unwrap();
    assert!(first != second && second != third);
}

pub(super) async fn a_search_is_bound_once(store: Arc<dyn Store>) {
    let device = fixtures::registration("one");
    store.register(&device, NOW).await.unwrap();
    let search = store.submit(&new_search(), NOW).await.unwrap();
    store.wait(search, "waiting").await.unwrap();
    assert_eq!(
        store.search(search).await.unwrap().unwrap().reason,
        "waiting"
    );
    assert!(store.bind(search, &binding()).await.unwrap());
    let bound = store.search(search).await.unwrap().unwrap();
    assert_eq!(bound.state, SearchState::Running);
    assert_eq!(bound.reason, "");
    assert_eq!(bound.binding, Some(binding()));
    let other = Binding {
        numerics_class: NumericsClass("other".to_owned()),
        ..binding()
    };
    assert!(!store.bind(search, &other).await.unwrap());
    let again = store.search(search).await.unwrap().unwrap();
    assert_eq!(again.binding, Some(binding()));
}

pub(super) async fn what_was_used_only_grows_and_the_first_reference_stays(store: Arc<dyn Store>) {
    let (_, search) = running(&store, &[]).await;
    for seconds in [3, 5, 4] {
        let active = Duration::from_secs(seconds);
        store.spend(search, active).await.unwrap();
    }
    store.fix_reference(search, &[0.1, 1e9]).await.unwrap();
    store.fix_reference(search, &[7.0, 7.0]).await.unwrap();
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.active, Duration::from_secs(5));
    assert_eq!(stored.reference_point, Some(vec![0.1, 1e9]));
}

pub(super) async fn candidates_join_running_searches_only(store: Arc<dyn Store>) {
    let search = store.submit(&new_search(), NOW).await.unwrap();
    let new = candidate(0, Precision::Q4K);
    assert_eq!(store.add_candidate(search, &new, NOW).await.unwrap(), None);
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let stored = store.candidates(search, 0).await.unwrap();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].ask_number, Some(0));
    assert_eq!(stored[0].genome, new.genome);
    assert_eq!(stored[0].plan(&fixtures::spec()).unwrap(), new.plan);
    assert_eq!(stored[0].plan_digest, new.plan.digest());
    assert_eq!(stored[0].size_bytes, new.size_bytes);
    let after = store.candidates(search, stored[0].id).await.unwrap();
    assert_eq!(after, stored[1..]);
    store.cancel(search, NOW).await.unwrap();
    let late = candidate(2, Precision::Q6K);
    assert_eq!(store.add_candidate(search, &late, NOW).await.unwrap(), None);
    assert!(store.claim(&claimant(device), NOW).await.unwrap().is_none());
}

pub(super) async fn candidates_that_join_together_are_numbered_in_their_order(
    store: Arc<dyn Store>,
) {
    // Another search knows the quality of one of them.
    let (device, _) = running(&store, &[Precision::Q6K]).await;
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        report(&store, &claimed, &format!("{:?}", claimed.kind)).await;
    }
    let (_, search) = running(&store, &[]).await;
    let precisions = [Precision::Q8_0, Precision::Q4K, Precision::Q6K];
    let mut proposed: Vec<_> = (0..)
        .zip(precisions)
        .map(|(ask, it)| candidate(ask, it))
        .collect();
    proposed[1].baseline = Some("uniform q4_k".to_owned());
    let added = store.add_candidates(search, &proposed, NOW).await.unwrap();
    let stored = store.candidates(search, 0).await.unwrap();
    let numbers: Vec<_> = stored.iter().map(|one| one.id).collect();
    assert_eq!(added, Some(numbers.clone()));
    for (stored, proposed) in stored.iter().zip(&proposed) {
        assert_eq!(stored.ask_number, proposed.ask_number);
        assert_eq!(stored.genome, proposed.genome);
        assert_eq!(stored.plan_digest, proposed.plan.digest());
        assert_eq!(stored.baseline, proposed.baseline);
    }
    let scores = store.scores(search, 0).await.unwrap();
    let known: Vec<_> = scores.iter().map(|score| score.candidate).collect();
    assert_eq!(known, numbers[2..]);
    let mut queued = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        queued.push((claimed.candidate, claimed.kind));
    }
    use TaskKind::{Latency, Quality};
    assert_eq!(
        queued,
        [
            (numbers[0], Latency),
            (numbers[0], Quality),
            (numbers[1], Latency),
            (numbers[1], Quality),
            (numbers[2], Latency),
        ]
    );
    // One that cannot join keeps the others out.
    let others = [candidate(3, Precision::Q5K), candidate(4, Precision::Q8_0)];
    assert!(store.add_candidates(search, &others, NOW).await.is_err());
    assert_eq!(store.candidates(search, 0).await.unwrap().len(), 3);
}

pub(super) async fn one_plan_is_one_candidate(store: Arc<dyn Store>) {
    let (_, search) = running(&store, &[Precision::Q4K]).await;
    let same_plan = candidate(1, Precision::Q4K);
    let error = store.add_candidate(search, &same_plan, NOW).await;
    assert!(!error.unwrap_err().may_have_happened());
    let same_ask = candidate(0, Precision::Q6K);
    assert!(store.add_candidate(search, &same_ask, NOW).await.is_err());
    // A baseline has no ask number; two of them do not clash.
    for precision in [Precision::Q6K, Precision::Q8_0] {
        let baseline = NewCandidate {
            ask_number: None,
            genome: None,
            baseline: Some(format!("uniform {precision}")),
            ..candidate(0, precision)
        };
        let added = store.add_candidate(search, &baseline, NOW).await.unwrap();
        assert!(added.is_some());
    }
    let candidates = store.candidates(search, 0).await.unwrap();
    assert_eq!(candidates.len(), 3);
    for candidate in candidates {
        let found = store.search_of(candidate.id).await.unwrap();
        assert_eq!(found, Some(search));
    }
    assert_eq!(store.search_of(i64::MAX).await.unwrap(), None);
}

pub(super) async fn an_end_cancels_what_is_queued_and_lets_what_is_leased_finish(
    store: Arc<dyn Store>,
) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let leased = claim(&store, device).await;
    let done = Ending {
        state: SearchState::Done,
        reason: "enough".to_owned(),
        active: Duration::from_secs(7),
        budget: fixtures::request().budget,
        continued_after: 0,
    };
    assert!(store.end(search, &done, NOW + 1).await.unwrap());
    assert!(!store.end(search, &done, NOW + 2).await.unwrap());
    let ended = store.search(search).await.unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.reason.as_str()),
        (SearchState::Done, "enough")
    );
    assert_eq!(ended.ended_at_ms, Some(NOW + 1));
    assert_eq!(ended.active, Duration::from_secs(7));
    assert!(store.claim(&claimant(device), NOW).await.unwrap().is_none());
    assert_eq!(report(&store, &leased, "key").await, Receipt::Recorded);
    assert_eq!(store.cancel(search, NOW).await.unwrap(), None);
}

pub(super) async fn an_end_under_another_budget_does_not_happen(store: Arc<dyn Store>) {
    let (_, search) = running(&store, &[]).await;
    let seen = Ending {
        state: SearchState::Done,
        reason: "enough".to_owned(),
        active: Duration::ZERO,
        budget: fixtures::request().budget,
        continued_after: 0,
    };
    let more = fixtures::evaluations(500);
    assert!(store.resume(search, &more, 3).await.unwrap());
    assert!(!store.end(search, &seen, NOW).await.unwrap());
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.state, SearchState::Running);
    assert_eq!((stored.request.budget, stored.continued_after), (more, 3));
    // The same budget once more is more budget too.
    let seen = Ending {
        budget: more,
        continued_after: 2,
        ..seen
    };
    assert!(!store.end(search, &seen, NOW).await.unwrap());
}

pub(super) async fn a_cancel_ends_the_leases(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let leased = claim(&store, device).await;
    let ended = store.cancel(search, NOW).await.unwrap();
    assert_eq!(ended, Some(vec![leased.token]));
    assert_eq!(store.cancel(search, NOW).await.unwrap(), None);
    assert!(store.leased().await.unwrap().is_empty());
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.state, SearchState::Cancelled);
    let queued = store.submit(&new_search(), NOW).await.unwrap();
    assert_eq!(store.cancel(queued, NOW).await.unwrap(), Some(vec![]));
}

pub(super) async fn more_budget_queues_the_cancelled_tasks_again(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let first = claim(&store, device).await;
    let infeasible = report_with(&first, "key", Some(fixtures::infeasible("no kernel")));
    store.record(&infeasible, NOW).await.unwrap();
    store.cancel(search, NOW).await.unwrap();
    let more = fixtures::time(Duration::from_secs(60));
    assert!(store.resume(search, &more, 3).await.unwrap());
    let resumed = store.search(search).await.unwrap().unwrap();
    assert_eq!(resumed.state, SearchState::Running);
    assert_eq!(resumed.ended_at_ms, None);
    assert_eq!(resumed.request.budget, more);
    let mut kinds = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        assert!(claimed.candidate > first.candidate, "an infeasible one");
        kinds.push(claimed.kind);
    }
    assert_eq!(kinds, [TaskKind::Latency, TaskKind::Quality]);
    let unbound = store.submit(&new_search(), NOW).await.unwrap();
    store.cancel(unbound, NOW).await.unwrap();
    assert!(store.resume(unbound, &more, 3).await.unwrap());
    let resumed = store.search(unbound).await.unwrap().unwrap();
    assert_eq!(resumed.state, SearchState::Queued);
    assert!(!store.resume(9999, &more, 3).await.unwrap());
    let failed = Ending {
        state: SearchState::Failed,
        reason: "broken".to_owned(),
        active: Duration::ZERO,
        budget: more,
        continued_after: 3,
    };
    assert!(store.end(search, &failed, NOW).await.unwrap());
    assert!(!store.resume(search, &more, 3).await.unwrap());
}
