use std::time::Duration;

use super::*;
use crate::fixtures;
use crate::store::unreliable::{Fate, LateCall, ScheduleWitness, Unreliable, Weather, Witness};
use crate::testing::{Bench, folder};

/// A search with `count` leased tasks, and the reports about them.
async fn reports(bench: &Bench, count: usize) -> Vec<Report> {
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let mut reports = Vec::new();
    for _ in 0..count {
        let hand_out = bench.lease_one(device).await;
        reports.push(fixtures::report(&hand_out.spec, &hand_out.assignment));
    }
    reports
}

async fn record_all(
    recorder: &Arc<Recorder>,
    reports: Vec<Report>,
) -> Vec<Result<Receipt, String>> {
    let all = reports.into_iter().map(|report| {
        let recorder = recorder.clone();
        tokio::spawn(async move { recorder.record(report).await })
    });
    let all: Vec<_> = all.collect();
    let mut receipts = Vec::new();
    for one in all {
        let receipt = tokio::time::timeout(Duration::from_secs(20), one).await;
        let receipt = receipt.unwrap().unwrap();
        receipts.push(receipt.map_err(|error| error.to_string()));
    }
    receipts
}

#[tokio::test]
async fn reports_that_arrive_together_are_stored_together() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let reports = reports(&bench, 4).await;
    let store = Arc::new(Unreliable::new(bench.world.store.clone(), 0, 0, 0));
    let recorder = Arc::new(Recorder::new(store.clone(), bench.clock.clone()));
    // On one thread, all of them are brought before the first is looked at.
    let receipts = record_all(&recorder, reports).await;
    assert_eq!(receipts, vec![Ok(Receipt::Recorded); 4]);
    assert_eq!(store.calls(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_report_that_cannot_be_stored_harms_no_other() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut reports = reports(&bench, 4).await;
    // Of a lease that nobody was ever given.
    reports[1].token.epoch = 99;
    let recorder = Arc::new(Recorder::new(
        bench.world.store.clone(),
        bench.clock.clone(),
    ));
    let receipts = record_all(&recorder, reports).await;
    let stored = receipts.iter().filter(|it| **it == Ok(Receipt::Recorded));
    assert_eq!(stored.count(), 3, "{receipts:?}");
    let refused = receipts[1].as_ref().unwrap_err();
    assert!(
        refused.contains("never handed out under epoch 99"),
        "{refused}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_database_that_is_away_is_asked_once_for_all_reports() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let reports = reports(&bench, 4).await;
    // How many of a thousand requests and replies are lost, and whether something may be stored.
    for (requests, replies, may_be_stored) in [(1000, 0, false), (0, 1000, true)] {
        let store = Unreliable::new(bench.world.store.clone(), 0, requests, replies);
        let receipts = record_each(&store, &*bench.clock, &reports).await;
        for receipt in receipts {
            let error = receipt.unwrap_err();
            assert_eq!(error.may_have_happened(), may_be_stored, "{error}");
        }
        assert_eq!(store.calls(), 1);
    }
    let sent_again = record_each(&*bench.world.store, &*bench.clock, &reports).await;
    let sent_again: Vec<_> = sent_again.map(Result::unwrap).collect();
    assert_eq!(sent_again, [Receipt::AlreadyReported; 4]);
    bench.stop().await;
}

#[tokio::test]
async fn reports_are_stored_one_by_one_until_the_database_fails() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut reports = reports(&bench, 4).await;
    reports[0].token.epoch = 99;
    let store = Unreliable::under(
        bench.world.store.clone(),
        Arc::new(AfterCalls(3.into())),
        Arc::new(Sightless),
        true,
    );
    let receipts = record_each(&store, &*bench.clock, &reports).await;
    let [refused, stored, unheard, untried] = <[_; 4]>::try_from(receipts.collect::<Vec<_>>())
        .map_err(|all| all.len())
        .unwrap();
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
    assert_eq!(stored.unwrap(), Receipt::Recorded);
    assert!(unheard.unwrap_err().may_have_happened());
    assert!(!untried.unwrap_err().may_have_happened());
    // All of them together, and three of them alone.
    assert_eq!(store.calls(), 4);
    bench.stop().await;
}

/// Loses the reply of every call after the first few.
struct AfterCalls(std::sync::atomic::AtomicU64);

#[async_trait::async_trait]
impl Weather for AfterCalls {
    async fn fate(&self, _call: &'static str) -> (Fate, Box<dyn Send>) {
        let left = self.0.load(std::sync::atomic::Ordering::SeqCst);
        let fate = match left {
            0 => Fate::ReplyLost,
            _ => Fate::Passes,
        };
        self.0
            .store(left.saturating_sub(1), std::sync::atomic::Ordering::SeqCst);
        (fate, Box::new(()))
    }

    fn keep(&self, _call: &'static str, _late: LateCall) {}
}

struct Sightless;

impl ScheduleWitness for Sightless {}

impl Witness for Sightless {}
