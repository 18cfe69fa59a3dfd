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

/// What is shared with a search after a measurement.
async fn told(store: &Arc<dyn Store>, search: i64, after: i64) -> Vec<SharedScore> {
    store.shared(search, after).await.unwrap().scores
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
    // What it takes over from the first one is told too.
    let second = sharing(&store, &[Q8_0, Q4K], |_| ()).await;
    let alone = sharing(&store, &[Q6K], |request| request.shares = false).await;
    let other_text = sharing(&store, &[Q3K], |request| {
        request.subject.data.evaluation_digest = Digest::of("other text");
    })
    .await;
    measure_all(&store, device).await;

    let shared = told(&store, first, 0).await;
    assert_eq!(
        brief(&shared),
        [
            (second, Q8_0, Quality),
            (second, Q8_0, Latency),
            (second, Q4K, Latency),
            (second, Q4K, Quality)
        ]
    );
    assert!(shared.is_sorted_by_key(|one| one.score.measurement));
    let own = store.scores(second, 0).await.unwrap();
    assert!(shared.iter().all(|one| own.contains(&one.score)));
    assert_eq!(
        brief(&told(&store, second, 0).await),
        [(first, Q8_0, Latency), (first, Q8_0, Quality)]
    );
    for search in [alone, other_text, 99] {
        assert_eq!(told(&store, search, 0).await, [], "{search}");
    }
    // Only what is new, and whatever becomes of a sibling.
    let rest = told(&store, first, shared[0].score.measurement).await;
    assert_eq!(rest, shared[1..]);
    store.cancel(second, NOW).await.unwrap();
    assert_eq!(told(&store, first, 0).await, shared);
    // One reads on after the last measurement, whoever's it is.
    let others = store.scores(other_text, 0).await.unwrap();
    let last = others.last().unwrap().measurement;
    assert!(last > shared.last().unwrap().score.measurement);
    for (search, after) in [(first, 0), (first, 2), (first, last), (second, 0), (99, 0)] {
        let read = store.shared(search, after).await.unwrap();
        assert_eq!(read.last, last, "{search} after {after}");
    }
    assert_eq!(told(&store, first, last).await, []);
}

/// A quality that was taken over since its candidate was added, whenever it was measured.
pub(super) async fn it_is_said_since_when_a_sibling_knows_something(store: Arc<dyn Store>) {
    use Precision::Q8_0;
    let device = fixtures::registration("one");
    let device = store.register(&device, NOW).await.unwrap();
    let first = sharing(&store, &[Q8_0], |_| ()).await;
    assert_eq!(store.shared(first, 0).await.unwrap().last, 0);
    measure_all(&store, device).await;
    let second = sharing(&store, &[], |_| ()).await;
    let later = candidate(0, Q8_0);
    let added = store.add_candidate(second, &later, NOW + 7).await.unwrap();
    let since =
        |shared: Vec<SharedScore>| -> Vec<i64> { shared.iter().map(|one| one.since_ms).collect() };
    assert_eq!(since(told(&store, second, 0).await), [NOW; 2]);
    assert_eq!(since(told(&store, first, 0).await), [NOW + 7]);
    let timing = claim(&store, device).await;
    assert_eq!(Some(timing.candidate), added);
    store
        .record(&report_with(&timing, "timing", None), NOW + 9)
        .await
        .unwrap();
    assert_eq!(since(told(&store, first, 0).await), [NOW + 7, NOW + 9]);
    // A second timing follows the first.
    let (timed, profile) = ([timing.candidate], binding().hardware_profile);
    assert!(store.retime(second, &timed, profile).await.unwrap());
    let again = claim(&store, device).await;
    store
        .record(&report_with(&again, "again", None), NOW + 11)
        .await
        .unwrap();
    let shared = told(&store, first, 0).await;
    assert_eq!(shared[2].score.purpose, TaskPurpose::Retime);
    assert_eq!(since(shared), [NOW + 7, NOW + 9, NOW + 11]);
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
    let shared = brief(&told(&store, first, 0).await);
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
    assert!(confirm(&store, second, &[wanted]).await);
    let fresh = claim(&store, device).await;
    report(&store, &fresh, "fresh").await;
    assert_eq!(brief(&told(&store, first, 0).await), shared);
}
