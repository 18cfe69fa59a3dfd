//! Reports that come together.

use super::*;

/// What is left of an answer for comparing.
fn answers(receipts: Vec<Result<Receipt, StoreError>>) -> Vec<Result<Receipt, String>> {
    let receipts = receipts.into_iter();
    receipts
        .map(|receipt| receipt.map_err(|error| error.to_string()))
        .collect()
}

pub(super) async fn reports_that_come_together_are_reports_in_turn(store: Arc<dyn Store>) {
    let precisions = [Precision::Q8_0, Precision::Q4K, Precision::Q6K];
    let (device, search) = running(&store, &precisions).await;
    let mut claimed = Vec::new();
    while let Some(one) = store.claim(&claimant(device), NOW).await.unwrap() {
        claimed.push(one);
    }
    let [a, b, c, d, e, f] = <[Claimed; 6]>::try_from(claimed).unwrap();
    let infeasible = || {
        let mut measurement = report_with(&e, "any", None).measurement;
        measurement.outcome = Outcome::Infeasible {
            reason: "it does not fit".to_owned(),
        };
        Some(measurement)
    };
    // The last one's other task is queued once more, so that there is something to cancel.
    store
        .requeue(f.token, &ending("away", true), NOW)
        .await
        .unwrap();
    let reports = [
        report_with(&d, "d", None),
        report_with(&a, "a", None),
        // The same once more, as an agent sends it that heard no answer.
        report_with(&a, "a", None),
        report_with(&b, "b", None),
        // Another one about the same task.
        report_with(&b, "b again", None),
        // A key of another task's report.
        report_with(&c, "a", None),
        report_with(&c, "c", None),
        report_with(&e, "e", infeasible()),
    ];
    let receipts = answers(store.record_each(&reports, NOW).await.unwrap());
    use Receipt::{AlreadyReported, KeptAsRepeat, Recorded};
    let refused = StoreError::KeyReused {
        key: "a".to_owned(),
    };
    assert_eq!(
        receipts,
        [
            Ok(Recorded),
            Ok(Recorded),
            Ok(AlreadyReported),
            Ok(Recorded),
            Ok(KeptAsRepeat),
            Err(refused.to_string()),
            Ok(Recorded),
            Ok(Recorded),
        ]
    );
    assert_eq!(store.leased().await.unwrap(), []);
    assert_eq!(store.claim(&claimant(device), NOW).await.unwrap(), None);
    let stored = store.measurements(search, None).await.unwrap();
    let measured: Vec<_> = stored.iter().map(|one| one.candidate).collect();
    let expected = [&a, &b, &c, &d, &e].map(|one| one.candidate);
    let sorted = |mut all: Vec<i64>| {
        all.sort_unstable();
        all
    };
    assert_eq!(sorted(measured), sorted(expected.to_vec()));
    for report in [
        &reports[0],
        &reports[1],
        &reports[3],
        &reports[6],
        &reports[7],
    ] {
        let same = stored
            .iter()
            .filter(|one| one.measurement == report.measurement);
        assert!(
            same.count() >= 1,
            "{} reads back whole",
            report.idempotency_key
        );
    }
    assert!(store.record_each(&[], NOW).await.unwrap().is_empty());
}

pub(super) async fn many_reports_come_together(store: Arc<dyn Store>) {
    let request = fixtures::request();
    let device = store
        .register(&fixtures::registration("one"), NOW)
        .await
        .unwrap();
    let mut reports = Vec::new();
    let mut searches = Vec::new();
    // More than one statement inserts, and no power of two.
    while reports.len() < 77 {
        let search = store.submit(&new_search(), NOW).await.unwrap();
        assert!(store.bind(search, &binding()).await.unwrap());
        for (ask, &precision) in request.precisions.iter().enumerate() {
            let candidate = candidate(ask as u64, precision);
            store.add_candidate(search, &candidate, NOW).await.unwrap();
        }
        searches.push(search);
        while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
            let key = format!("{}", claimed.token.task);
            let latency = claimed.kind == TaskKind::Latency;
            if latency && reports.len() < 77 {
                reports.push(report_with(&claimed, &key, None));
            }
        }
    }
    let receipts = answers(store.record_each(&reports, NOW).await.unwrap());
    assert_eq!(receipts, vec![Ok(Receipt::Recorded); 77]);
    let mut stored = 0;
    for search in searches {
        stored += store.measurements(search, None).await.unwrap().len();
    }
    assert_eq!(stored, 77);
    let again = answers(store.record_each(&reports, NOW).await.unwrap());
    assert_eq!(again, vec![Ok(Receipt::AlreadyReported); 77]);
}

pub(super) async fn when_a_device_was_heard_from_only_grows(store: Arc<dyn Store>) {
    let one = store
        .register(&fixtures::registration("one"), NOW)
        .await
        .unwrap();
    let two = store
        .register(&fixtures::registration("two"), NOW)
        .await
        .unwrap();
    let heard = [(one, NOW + 20), (two, NOW - 20)];
    store.seen(&heard).await.unwrap();
    let devices = store.devices().await.unwrap();
    let seen: Vec<_> = devices.iter().map(|device| device.last_seen_ms).collect();
    assert_eq!(seen, [NOW + 20, NOW]);
}
