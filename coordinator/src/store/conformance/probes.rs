//! What a device multiplies how fast.

use super::*;

async fn device(store: &Arc<dyn Store>) -> i64 {
    let device = fixtures::registration("one");
    store.register(&device, NOW).await.unwrap()
}

async fn want(store: &Arc<dyn Store>) -> StoredProbe {
    let profile = binding().hardware_profile;
    let question = fixtures::probe_question();
    store.want_probe(profile, &question, NOW).await.unwrap()
}

async fn claim_probe(store: &Arc<dyn Store>, device: i64) -> Option<ClaimedProbe> {
    store.claim_probe(&claimant(device), NOW).await.unwrap()
}

fn report(claimed: &ClaimedProbe, key: &str) -> ProbeReport {
    ProbeReport {
        token: claimed.token,
        idempotency_key: key.to_owned(),
        question_digest: claimed.question.digest(),
        probe: fixtures::probe(&claimed.question),
    }
}

pub(super) async fn a_question_is_asked_once_of_a_profile(store: Arc<dyn Store>) {
    let device = device(&store).await;
    let profile = binding().hardware_profile;
    assert_eq!(store.probes(profile).await.unwrap(), []);
    let wanted = want(&store).await;
    assert_eq!(wanted.standing, ProbeStanding::Pending);
    assert_eq!(wanted.question, fixtures::probe_question());
    assert_eq!(want(&store).await, wanted);
    let known = store.probes(profile).await.unwrap();
    assert_eq!(known, std::slice::from_ref(&wanted));
    assert_eq!(store.probe(wanted.id).await.unwrap(), Some(wanted.clone()));
    assert_eq!(store.probe(wanted.id + 1).await.unwrap(), None);
    // Another device has no business with it, and a claim for candidates does not find it.
    let mut other = claimant(device);
    other.hardware_profile = Digest::of("another");
    assert_eq!(store.claim_probe(&other, NOW).await.unwrap(), None);
    assert_eq!(store.claim(&claimant(device), NOW).await.unwrap(), None);
    let claimed = claim_probe(&store, device).await.unwrap();
    assert_eq!(claimed.question, wanted.question);
    assert_eq!(claim_probe(&store, device).await, None);
    assert_eq!(want(&store).await, wanted);
    let held = HeldLease {
        token: claimed.token,
        device,
    };
    assert_eq!(store.leased().await.unwrap(), [held]);
}

pub(super) async fn a_probe_counts_once_and_reads_back_whole(store: Arc<dyn Store>) {
    let device = device(&store).await;
    let wanted = want(&store).await;
    let claimed = claim_probe(&store, device).await.unwrap();
    let facts = store.probe_task(claimed.token.task).await.unwrap().unwrap();
    assert_eq!(
        (facts.epoch, facts.question_digest, &facts.question),
        (1, wanted.question.digest(), &wanted.question)
    );
    assert_eq!(store.task(claimed.token.task).await.unwrap(), None);
    let report = report(&claimed, "key");
    let record = async || store.record_probe(&report, NOW).await.unwrap();
    assert_eq!(record().await, Receipt::Recorded);
    assert_eq!(record().await, Receipt::AlreadyReported);
    let known = want(&store).await;
    assert_eq!(known.id, wanted.id);
    assert_eq!(
        known.standing,
        ProbeStanding::Done(Box::new(report.probe.clone()))
    );
    assert_eq!(claim_probe(&store, device).await, None);
    assert_eq!(store.leased().await.unwrap(), []);
    // The key of one probe is no key of another.
    let mut question = fixtures::probe_question();
    question.many_rows += 1;
    let profile = binding().hardware_profile;
    store.want_probe(profile, &question, NOW).await.unwrap();
    let other = claim_probe(&store, device).await.unwrap();
    let reused = ProbeReport {
        token: other.token,
        ..report
    };
    let error = store.record_probe(&reused, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::KeyReused { .. }), "{error}");
}

pub(super) async fn a_stale_probe_never_ends_a_newer_lease(store: Arc<dyn Store>) {
    let device = device(&store).await;
    want(&store).await;
    let first = claim_probe(&store, device).await.unwrap();
    let silent = ending("silent", true);
    let requeued = store.requeue(first.token, &silent, NOW).await.unwrap();
    assert_eq!(requeued, Requeued::Queued);
    let second = claim_probe(&store, device).await.unwrap();
    assert_eq!(second.token.epoch, 2);
    let stale = store.record_probe(&report(&first, "first"), NOW).await;
    assert_eq!(stale.unwrap(), Receipt::KeptAsRepeat);
    assert_eq!(want(&store).await.standing, ProbeStanding::Pending);
    let held = store.record_probe(&report(&second, "second"), NOW).await;
    assert_eq!(held.unwrap(), Receipt::Recorded);
}

pub(super) async fn a_probe_that_fails_too_often_is_given_up_with_the_reason(
    store: Arc<dyn Store>,
) {
    let device = device(&store).await;
    want(&store).await;
    for attempt in 1..=3 {
        let claimed = claim_probe(&store, device).await.unwrap();
        let failed = ending("no memory", true);
        let requeued = store.requeue(claimed.token, &failed, NOW).await.unwrap();
        let expected = match attempt {
            3 => Requeued::Failed,
            _ => Requeued::Queued,
        };
        assert_eq!(requeued, expected);
    }
    let reason = "no memory".to_owned();
    assert_eq!(
        want(&store).await.standing,
        ProbeStanding::Failed { reason }
    );
    assert_eq!(claim_probe(&store, device).await, None);
}

pub(super) async fn a_binding_keeps_its_probe_and_what_left_the_space(store: Arc<dyn Store>) {
    device(&store).await;
    let probe = want(&store).await;
    let search = store.submit(&new_search(), NOW).await.unwrap();
    let bound = Binding {
        probe: Some(probe.id),
        exclusions: vec![Exclusion {
            shape: probe.question.shapes[0],
            precision: Precision::Q4_0,
            by: vec![Precision::Q4K],
            reason: "slower".to_owned(),
        }],
        ..binding()
    };
    assert!(store.bind(search, &bound).await.unwrap());
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.binding, Some(bound));
}
