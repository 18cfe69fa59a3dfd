use std::time::Duration;

use super::*;
use crate::fixtures;
use crate::store::unreliable::Unreliable;
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
