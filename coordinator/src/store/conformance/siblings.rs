//! What searches over one subject tell each other.

#![allow(clippy::unwrap_used)]

use super::*;

/// A bound search over the subject of the others, changed first; its candidates are of these
/// precisions.
async fn sharing(
    store: &Arc<dyn Store>,
    precisions: &[Precision],
    change: impl FnOnce(&mut SearchRequest),
) -> i64 {
    let mut new = new_search();
    new.request.shares = true;
    change(&mut new.request);
    let search = store.submit(&new, NOW).await.unwrap();
    assert!(store.bind(search, &binding()).await.unwrap());
    for (ask, precision) in precisions.iter().enumerate() {
        let candidate = candidate(ask as u64, *precision);
        let added = store.add_candidate(search, &candidate, NOW).await.unwrap();
        assert!(added.is_some());
    }
    search
}

/// Measures everything that is queued.
async fn measure_all(store: &Arc<dyn Store>, device: i64) {
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        let token = claimed.token;
        report(store, &claimed, &format!("{}:{}", token.task, token.epoch)).await;
    }
}

/// Search, precisions of the first layer and kind of what is shared.
fn brief(shared: &[SharedScore]) -> Vec<(i64, Precision, TaskKind)> {
    let kind = |one: &SharedScore| match one.score.outcome {
        ScoreOutcome::Quality { .. } => TaskKind::Quality,
        ScoreOutcome::Latency { .. } => TaskKind::Latency,
        ScoreOutcome::Infeasible { .. } => panic!("nothing infeasible is shared"),
    };
    shared
        .iter()
        .map(|one| (one.search, one.precisions[0], kind(one)))
        .collect()
}

pub(super) async fn siblings_are_told_what_each_measured_and_the_others_nothing(
    store: Arc<dyn Store>,
) {
    use Precision::{Q3K, Q4K, Q6K, Q8_0};
    use TaskKind::{Latency, Quality};
    let device = fixtures::registration("one");
    let device = store.register(&device, NOW).await.unwrap();
    let first = sharing(&store, &[Q8_0], |_| ()).await;
    measure_all(&store, device).await;
    // What it takes over from the first one is not its own.
    let second = sharing(&store, &[Q8_0, Q4K], |_| ()).await;
    let alone = sharing(&store, &[Q6K], |request| request.shares = false).await;
    let other_text = sharing(&store, &[Q3K], |request| {
        request.subject.data.evaluation_digest = Digest::of("other text");
    })
    .await;
    measure_all(&store, device).await;

    let shared = store.shared(first, 0).await.unwrap();
    assert_eq!(
        brief(&shared),
        [
            (second, Q8_0, Latency),
            (second, Q4K, Latency),
            (second, Q4K, Quality)
        ]
    );
    assert!(shared.is_sorted_by_key(|one| one.score.measurement));
    let own = store.scores(second, 0).await.unwrap();
    assert!(shared.iter().all(|one| own.contains(&one.score)));
    assert_eq!(
        brief(&store.shared(second, 0).await.unwrap()),
        [(first, Q8_0, Latency), (first, Q8_0, Quality)]
    );
    for search in [alone, other_text, 99] {
        assert_eq!(store.shared(search, 0).await.unwrap(), [], "{search}");
    }
    // Only what is new, and whatever becomes of a sibling.
    let rest = store.shared(first, shared[0].score.measurement).await;
    assert_eq!(rest.unwrap(), shared[1..]);
    store.cancel(second, NOW).await.unwrap();
    assert_eq!(store.shared(first, 0).await.unwrap(), shared);
    let last = shared[2].score.measurement;
    assert_eq!(store.shared(first, last).await.unwrap(), []);
}

pub(super) async fn only_sound_figures_of_a_plan_are_shared(store: Arc<dyn Store>) {
    use Precision::{Q3K, Q4K, Q6K, Q8_0};
    let device = fixtures::registration("one");
    let device = store.register(&device, NOW).await.unwrap();
    let first = sharing(&store, &[], |_| ()).await;
    let second = sharing(&store, &[Q8_0, Q6K, Q4K, Q3K], |_| ()).await;
    let (mut timed, mut stopped) = (0, 0);
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        let mut sound = report_with(&claimed, "", None);
        sound.idempotency_key = claimed.token.task.to_string();
        let measurement = &mut sound.measurement;
        match (&mut measurement.outcome, claimed.precisions[0]) {
            (_, Q8_0) => *measurement = fixtures::infeasible("no kernel"),
            (_, Q6K) => measurement.evidence.executed[0] = Precision::F16,
            (Outcome::Quality(quality), Q4K) => {
                stopped += 1;
                quality.stopped = Some(Stopped {
                    windows: 8,
                    behind: 1,
                });
            }
            (Outcome::Latency { .. }, Q4K) => timed += 1,
            _ => {}
        }
        store.record(&sound, NOW).await.unwrap();
    }
    assert_eq!((timed, stopped), (1, 1));
    let shared = brief(&store.shared(first, 0).await.unwrap());
    assert_eq!(
        shared,
        [
            (second, Q4K, TaskKind::Latency),
            (second, Q3K, TaskKind::Latency),
            (second, Q3K, TaskKind::Quality)
        ]
    );
    // What confirms is of another text, and never told.
    let wanted = NewConfirmation {
        candidate: store.candidates(second, 0).await.unwrap()[3].id,
        kind: TaskKind::Latency,
        target: binding().hardware_profile.to_string(),
    };
    assert!(store.confirm(second, &[wanted]).await.unwrap());
    let fresh = claim(&store, device).await;
    report(&store, &fresh, "fresh").await;
    assert_eq!(brief(&store.shared(first, 0).await.unwrap()), shared);
}
