//! Second timings of candidates.

use super::*;

/// A running search with two candidates that are measured whole; the device, search and
/// candidates.
async fn measured(store: &Arc<dyn Store>) -> (i64, i64, [i64; 2]) {
    let (device, search) = running(store, &[Precision::Q8_0, Precision::Q4K]).await;
    for key in ["one", "two", "three", "four"] {
        report(store, &claim(store, device).await, key).await;
    }
    let candidates = store.candidates(search, 0).await.unwrap();
    (device, search, [candidates[0].id, candidates[1].id])
}

fn profile() -> Digest {
    binding().hardware_profile
}

async fn standings(store: &Arc<dyn Store>, search: i64) -> Vec<(i64, RetimingStanding)> {
    let retimings = store.retimings(search).await.unwrap();
    retimings
        .iter()
        .map(|one| (one.candidate, one.standing))
        .collect()
}

async fn nothing_to_claim(store: &Arc<dyn Store>, device: i64) {
    let claimed = store.claim(&claimant(device), NOW).await.unwrap();
    assert_eq!(claimed, None);
}

/// A report of a claimed timing that took so much longer.
fn slower(claimed: &Claimed, key: &str, factor: f64) -> Report {
    let mut report = report_with(claimed, key, None);
    if let Outcome::Latency { workloads } = &mut report.measurement.outcome {
        for latency in workloads {
            latency.median_ns *= factor;
        }
    }
    report
}

pub(super) async fn a_candidate_is_timed_again_once_and_the_score_follows_the_first(
    store: Arc<dyn Store>,
) {
    let (device, search, [_, candidate]) = measured(&store).await;
    let scores = store.scores(search, 0).await.unwrap();
    assert!(scores.iter().all(|one| one.purpose == TaskPurpose::Search));
    assert!(store.retime(search, &[candidate], profile()).await.unwrap());
    use RetimingStanding::{Ended, Pending};
    assert_eq!(standings(&store, search).await, [(candidate, Pending)]);
    let claimed = claim(&store, device).await;
    assert_eq!(
        (claimed.candidate, claimed.kind, claimed.purpose),
        (candidate, TaskKind::Latency, TaskPurpose::Retime)
    );
    assert_eq!(standings(&store, search).await, [(candidate, Pending)]);
    let again = slower(&claimed, "again", 2.0);
    assert_eq!(store.record(&again, NOW).await.unwrap(), Receipt::Recorded);
    assert_eq!(standings(&store, search).await, [(candidate, Ended)]);
    // Asked for once more, nothing happens.
    assert!(store.retime(search, &[candidate], profile()).await.unwrap());
    nothing_to_claim(&store, device).await;

    let later = store.scores(search, 0).await.unwrap();
    assert_eq!(later[..scores.len()], scores);
    let [second] = &later[scores.len()..] else {
        panic!("{later:?}");
    };
    assert_eq!(
        (second.candidate, second.purpose),
        (candidate, TaskPurpose::Retime)
    );
    let decode = |score: &Score| match score.outcome {
        ScoreOutcome::Latency { decode_ns, .. } => Some(decode_ns),
        _ => None,
    };
    let of_candidate = later.iter().filter(|one| one.candidate == candidate);
    let times: Vec<_> = of_candidate.filter_map(decode).collect();
    assert_eq!(times.len(), 2, "both stay");
    assert_eq!(times[1], 2.0 * times[0]);
    let whole = store.measurements(search, Some(candidate)).await.unwrap();
    assert_eq!(whole.last().unwrap().purpose, TaskPurpose::Retime);
}

pub(super) async fn a_retiming_that_comes_to_nothing_leaves_the_candidate_as_it_is(
    store: Arc<dyn Store>,
) {
    let (device, search, [first, second]) = measured(&store).await;
    let scores = store.scores(search, 0).await.unwrap();
    assert!(
        store
            .retime(search, &[first, second], profile())
            .await
            .unwrap()
    );
    for _ in 0..3 {
        let claimed = claim(&store, device).await;
        assert_eq!(claimed.candidate, first);
        let ending = ending("its agent went silent", true);
        store.requeue(claimed.token, &ending, NOW).await.unwrap();
    }
    // What executes otherwise than planned says nothing of the plan.
    let claimed = claim(&store, device).await;
    assert_eq!(claimed.candidate, second);
    let mut otherwise = report_with(&claimed, "otherwise", None);
    otherwise.measurement.evidence.executed[0] = Precision::F32;
    store.record(&otherwise, NOW).await.unwrap();
    nothing_to_claim(&store, device).await;
    assert_eq!(store.scores(search, 0).await.unwrap(), scores);
    use RetimingStanding::Ended;
    assert_eq!(
        standings(&store, search).await,
        [(first, Ended), (second, Ended)]
    );
    // It keeps no other task of the candidate from being measured.
    let wanted = NewConfirmation {
        candidate: first,
        kind: TaskKind::Latency,
        target: profile().to_string(),
    };
    assert!(confirm(&store, search, &[wanted]).await);
    assert_eq!(claim(&store, device).await.purpose, TaskPurpose::Confirm);
}

pub(super) async fn retimings_end_with_their_search_and_may_be_asked_for_again(
    store: Arc<dyn Store>,
) {
    let (device, search, [first, second]) = measured(&store).await;
    use RetimingStanding::{Cancelled, Ended, Pending};
    store.retime(search, &[first], profile()).await.unwrap();
    // The beginning of confirmations.
    confirm(&store, search, &[]).await;
    assert_eq!(standings(&store, search).await, [(first, Cancelled)]);
    nothing_to_claim(&store, device).await;
    store.retime(search, &[first], profile()).await.unwrap();
    assert_eq!(standings(&store, search).await, [(first, Pending)]);
    // A cancel, under a lease; more budget does not ask for it by itself.
    let held = claim(&store, device).await;
    assert!(store.cancel(search, NOW).await.unwrap().is_some());
    assert!(!store.retime(search, &[second], profile()).await.unwrap());
    let budget = fixtures::evaluations(100);
    assert!(store.resume(search, &budget, 2).await.unwrap());
    assert_eq!(standings(&store, search).await, [(first, Cancelled)]);
    assert_eq!(report(&store, &held, "late").await, Receipt::KeptAsRepeat);
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 4);
    // An end lets what is leased finish, and cancels what is queued.
    store
        .retime(search, &[first, second], profile())
        .await
        .unwrap();
    let held = claim(&store, device).await;
    let stored = store.search(search).await.unwrap().unwrap();
    let ending = Ending {
        state: SearchState::Done,
        reason: "over".to_owned(),
        active: Duration::ZERO,
        budget: stored.request.budget,
        continued_after: stored.continued_after,
    };
    assert!(store.end(search, &ending, NOW).await.unwrap());
    assert_eq!(
        standings(&store, search).await,
        [(first, Pending), (second, Cancelled)]
    );
    assert_eq!(report(&store, &held, "paid for").await, Receipt::Recorded);
    assert_eq!(
        standings(&store, search).await,
        [(first, Ended), (second, Cancelled)]
    );
}

pub(super) async fn a_search_times_its_own_candidates_alone_and_for_its_profile(
    store: Arc<dyn Store>,
) {
    let (device, search, [first, second]) = measured(&store).await;
    let other = store.submit(&new_search(), NOW).await.unwrap();
    assert!(store.bind(other, &binding()).await.unwrap());
    assert!(store.retime(other, &[first], profile()).await.unwrap());
    assert_eq!(standings(&store, other).await, []);
    nothing_to_claim(&store, device).await;
    store
        .retime(search, &[first, second], profile())
        .await
        .unwrap();
    let stranger = Claimant {
        hardware_profile: Digest::of("other"),
        ..claimant(device)
    };
    assert_eq!(store.claim(&stranger, NOW).await.unwrap(), None);
    // It goes with the search's own timings, and not with those that confirm.
    let companion_for = |purpose| Claimant {
        companion_in: Some((search, purpose)),
        ..claimant(device)
    };
    let confirming = companion_for(TaskPurpose::Confirm);
    assert_eq!(store.claim(&confirming, NOW).await.unwrap(), None);
    let searching = companion_for(TaskPurpose::Search);
    let claimed = store.claim(&searching, NOW).await.unwrap().unwrap();
    assert_eq!(
        (claimed.candidate, claimed.purpose),
        (first, TaskPurpose::Retime)
    );
}
