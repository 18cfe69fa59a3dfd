//! Points of a front that are measured afresh.

use super::*;

fn wanted(candidate: i64) -> Vec<NewConfirmation> {
    let binding = binding();
    vec![
        NewConfirmation {
            candidate,
            kind: TaskKind::Quality,
            target: binding.hardware_profile.to_string(),
        },
        NewConfirmation {
            candidate,
            kind: TaskKind::Latency,
            target: binding.hardware_profile.to_string(),
        },
    ]
}

/// A running search with one candidate that is measured whole; the device, search and candidate.
async fn measured(store: &Arc<dyn Store>) -> (i64, i64, i64) {
    let (device, search) = running(store, &[Precision::Q8_0]).await;
    for key in ["latency", "quality"] {
        let claimed = claim(store, device).await;
        assert_eq!(claimed.purpose, TaskPurpose::Search);
        report(store, &claimed, key).await;
    }
    let candidate = store.candidates(search, 0).await.unwrap()[0].id;
    (device, search, candidate)
}

async fn nothing_to_claim(store: &Arc<dyn Store>, device: i64) {
    let claimed = store.claim(&claimant(device), NOW).await.unwrap();
    assert_eq!(claimed, None);
}

/// Pending or not, and whether something came out, by kind: latency before quality.
async fn states(store: &Arc<dyn Store>, search: i64) -> Vec<(bool, bool)> {
    let confirmations = store.confirmations(search).await.unwrap();
    confirmations
        .iter()
        .map(|one| (one.pending, one.score.is_some()))
        .collect()
}

pub(super) async fn a_confirmation_is_measured_once_and_no_score(store: Arc<dyn Store>) {
    let (device, search, candidate) = measured(&store).await;
    let scores = store.scores(search, 0).await.unwrap();
    let wanted = wanted(candidate);
    assert!(confirm(&store, search, &wanted).await);
    assert_eq!(states(&store, search).await, [(true, false); 2]);
    let latency = claim(&store, device).await;
    assert_eq!(
        (latency.kind, latency.purpose),
        (TaskKind::Latency, TaskPurpose::Confirm)
    );
    report(&store, &latency, "fresh latency").await;
    let quality = claim(&store, device).await;
    report(&store, &quality, "fresh quality").await;
    assert!(confirm(&store, search, &wanted).await);
    nothing_to_claim(&store, device).await;
    assert_eq!(states(&store, search).await, [(false, true); 2]);
    assert_eq!(store.scores(search, 0).await.unwrap(), scores);
    let purposes: Vec<_> = store
        .measurements(search, Some(candidate))
        .await
        .unwrap()
        .iter()
        .map(|one| one.purpose)
        .collect();
    use TaskPurpose::{Confirm, Search};
    assert_eq!(purposes, [Search, Search, Confirm, Confirm]);
}

pub(super) async fn confirmations_cancel_what_the_search_still_wanted(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q8_0, Precision::Q4K]).await;
    for key in ["latency", "quality"] {
        let claimed = claim(&store, device).await;
        report(&store, &claimed, key).await;
    }
    let candidate = store.candidates(search, 0).await.unwrap()[0].id;
    let confirmed = confirm(&store, search, &wanted(candidate)).await;
    assert!(confirmed);
    for _ in 0..2 {
        let claimed = claim(&store, device).await;
        assert_eq!(claimed.purpose, TaskPurpose::Confirm);
    }
    nothing_to_claim(&store, device).await;
    // More budget wants the search's own tasks again.
    let budget = fixtures::evaluations(100);
    assert!(store.resume(search, &budget, 3).await.unwrap());
    assert_eq!(claim(&store, device).await.purpose, TaskPurpose::Search);
}

pub(super) async fn more_budget_puts_confirmations_off(store: Arc<dyn Store>) {
    let (device, search, candidate) = measured(&store).await;
    confirm(&store, search, &wanted(candidate)).await;
    let held = claim(&store, device).await;
    let budget = fixtures::evaluations(100);
    assert!(store.resume(search, &budget, 3).await.unwrap());
    nothing_to_claim(&store, device).await;
    assert_eq!(
        states(&store, search).await,
        [(true, false), (false, false)]
    );
    // What is being measured is paid for, and what was put off is asked for again.
    report(&store, &held, "held").await;
    confirm(&store, search, &wanted(candidate)).await;
    assert_eq!(states(&store, search).await, [(false, true), (true, false)]);
    assert_eq!(claim(&store, device).await.kind, TaskKind::Quality);
}

pub(super) async fn what_was_decided_under_another_budget_confirms_nothing(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q8_0, Precision::Q4K]).await;
    for key in ["latency", "quality"] {
        let claimed = claim(&store, device).await;
        report(&store, &claimed, key).await;
    }
    let candidate = store.candidates(search, 0).await.unwrap()[0].id;
    let known = store.search(search).await.unwrap().unwrap().given();
    let budgets = [
        (fixtures::evaluations(100), 0),
        (known.budget, 3),
        (fixtures::time(Duration::from_secs(9)), 0),
    ];
    for (budget, evaluated) in budgets {
        assert!(store.resume(search, &budget, evaluated).await.unwrap());
        let queued = store.confirm(search, &known, &wanted(candidate)).await;
        assert!(!queued.unwrap(), "{budget:?}");
        assert_eq!(states(&store, search).await, []);
    }
    // The search's own tasks are still there.
    assert_eq!(claim(&store, device).await.purpose, TaskPurpose::Search);
}

pub(super) async fn a_confirmation_that_fails_leaves_the_candidate_as_it_is(store: Arc<dyn Store>) {
    let (device, search, candidate) = measured(&store).await;
    let scores = store.scores(search, 0).await.unwrap();
    confirm(&store, search, &wanted(candidate)).await;
    for _ in 0..3 {
        let claimed = claim(&store, device).await;
        let ending = ending("its agent went silent", true);
        store.requeue(claimed.token, &ending, NOW).await.unwrap();
    }
    let confirmations = store.confirmations(search).await.unwrap();
    let outcomes: Vec<_> = confirmations
        .iter()
        .filter_map(|one| Some(&one.score.as_ref()?.outcome))
        .collect();
    assert!(
        matches!(
            outcomes[..],
            [ScoreOutcome::Infeasible {
                abandoned: true,
                ..
            }]
        ),
        "{outcomes:?}"
    );
    nothing_to_claim(&store, device).await;
    assert_eq!(store.scores(search, 0).await.unwrap(), scores);
    // It does not keep more budget from the candidate's own tasks, nor from another confirmation.
    assert!(store.cancel(search, NOW).await.unwrap().is_some());
    let budget = fixtures::evaluations(100);
    assert!(store.resume(search, &budget, 3).await.unwrap());
    nothing_to_claim(&store, device).await;
}

pub(super) async fn only_a_running_search_confirms_and_only_its_own(store: Arc<dyn Store>) {
    let (device, search, candidate) = measured(&store).await;
    let other = store.submit(&new_search(), NOW).await.unwrap();
    assert!(!confirm(&store, other, &wanted(candidate)).await);
    assert!(store.bind(other, &binding()).await.unwrap());
    assert!(confirm(&store, other, &wanted(candidate)).await);
    nothing_to_claim(&store, device).await;
    // Neither gives a confirmation its figure to a candidate of another search.
    confirm(&store, search, &wanted(candidate)).await;
    report(&store, &claim(&store, device).await, "fresh latency").await;
    let claimed = claim(&store, device).await;
    let mut fresh = report_with(&claimed, "fresh", None);
    if let Outcome::Quality(quality) = &mut fresh.measurement.outcome {
        quality.kld *= 2.0;
    }
    store.record(&fresh, NOW).await.unwrap();
    let same = super::candidate(0, Precision::Q8_0);
    store.add_candidate(other, &same, NOW).await.unwrap();
    let reused = &store.scores(other, 0).await.unwrap()[0].outcome;
    let scores = store.scores(search, 0).await.unwrap();
    assert!(matches!(scores[1].outcome, ScoreOutcome::Quality { .. }));
    assert_eq!(*reused, scores[1].outcome);
    store.cancel(search, NOW).await.unwrap();
    assert!(!confirm(&store, search, &wanted(candidate)).await);
}

pub(super) async fn quality_is_confirmed_by_devices_of_the_profile_alone(store: Arc<dyn Store>) {
    let (device, search, candidate) = measured(&store).await;
    let quality = wanted(candidate).remove(0);
    confirm(&store, search, &[quality]).await;
    let of_the_class = Claimant {
        hardware_profile: Digest::of("other"),
        ..claimant(device)
    };
    assert_eq!(store.claim(&of_the_class, NOW).await.unwrap(), None);
    let claimed = claim(&store, device).await;
    assert_eq!(
        (claimed.kind, claimed.purpose),
        (TaskKind::Quality, TaskPurpose::Confirm)
    );
}

/// As earlier versions queued it: any device of the class may take it, and what was cancelled
/// meanwhile is wanted of the profile.
pub(super) async fn a_confirmation_for_a_class_ends_as_one_for_a_profile(store: Arc<dyn Store>) {
    let (device, search, candidate) = measured(&store).await;
    let for_the_class = NewConfirmation {
        target: binding().numerics_class.0,
        ..wanted(candidate).remove(0)
    };
    confirm(&store, search, &[for_the_class]).await;
    // The driver asks anew after a restart, and finds it pending.
    let quality = wanted(candidate).remove(0);
    let quality = std::slice::from_ref(&quality);
    confirm(&store, search, quality).await;
    assert_eq!(states(&store, search).await, [(true, false)]);
    let of_the_class = Claimant {
        hardware_profile: Digest::of("other"),
        ..claimant(device)
    };
    let claimed = store.claim(&of_the_class, NOW).await.unwrap().unwrap();
    assert_eq!(claimed.purpose, TaskPurpose::Confirm);
    let given_back = ending("its agent stopped", false);
    let requeued = store.requeue(claimed.token, &given_back, NOW).await;
    assert_eq!(requeued.unwrap(), Requeued::Queued);
    let budget = fixtures::evaluations(100);
    assert!(store.resume(search, &budget, 3).await.unwrap());
    assert_eq!(states(&store, search).await, [(false, false)]);

    confirm(&store, search, quality).await;
    assert_eq!(store.claim(&of_the_class, NOW).await.unwrap(), None);
    report(&store, &claim(&store, device).await, "fresh quality").await;
    assert_eq!(states(&store, search).await, [(false, true)]);
}

/// Plans that begin alike are scored one after the other, whatever the order of their candidates.
pub(super) async fn confirmations_of_quality_come_in_the_order_of_their_plans(
    store: Arc<dyn Store>,
) {
    let uniform = [
        Precision::Q8_0,
        Precision::Q4K,
        Precision::Q6K,
        Precision::Q5K,
    ];
    let (device, search) = running(&store, &uniform).await;
    for measurement in 0..2 * uniform.len() {
        let claimed = claim(&store, device).await;
        report(&store, &claimed, &format!("searched {measurement}")).await;
    }
    let candidates = store.candidates(search, 0).await.unwrap();
    let wanted: Vec<_> = candidates.iter().flat_map(|it| wanted(it.id)).collect();
    confirm(&store, search, &wanted).await;
    let (mut qualities, mut latencies) = (Vec::new(), Vec::new());
    for measurement in 0..wanted.len() {
        let claimed = claim(&store, device).await;
        match claimed.kind {
            TaskKind::Quality => qualities.push(claimed.precisions[0]),
            TaskKind::Latency => latencies.push(claimed.candidate),
        }
        report(&store, &claimed, &format!("confirmed {measurement}")).await;
    }
    let sorted = [
        Precision::Q4K,
        Precision::Q5K,
        Precision::Q6K,
        Precision::Q8_0,
    ];
    assert_eq!(qualities, sorted);
    assert!(latencies.is_sorted(), "{latencies:?}");
}
