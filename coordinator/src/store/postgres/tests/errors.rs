//! What fails, how often it is tried, and whether the write may have happened.

use std::time::Duration;

use bitfront_model::{Outcome, Receipt};

use super::*;
use crate::clock::ManualClock;
use crate::recorder::Recorder;
use crate::store::conformance::*;

/// A trigger on registrations that fails with a code the first so many times.
async fn failing(database: &TestDatabase, code: &str, times: u32) {
    database
        .run(&format!(
            "CREATE SEQUENCE tries;
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('tries') <= {times} THEN
                     RAISE EXCEPTION 'as it was told' USING ERRCODE = '{code}';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER fails BEFORE INSERT ON devices FOR EACH ROW EXECUTE FUNCTION fail();"
        ))
        .await;
}

#[tokio::test]
async fn what_collides_is_tried_again_and_not_for_ever() {
    // How often it fails with which code, whether it comes to its end, and after how many tries.
    let cases = [
        ("40001", 2, true, 3),
        ("40P01", 3, true, 4),
        ("40001", 1000, false, 8),
        ("22012", 1, false, 1),
    ];
    for (code, times, succeeds, tries) in cases {
        let database = TestDatabase::new().await;
        let store = open(&database).await;
        failing(&database, code, times).await;
        let registered = store.register(&fixtures::registration("one"), NOW).await;
        assert_eq!(registered.is_ok(), succeeds, "{code}: {registered:?}");
        if let Err(error) = registered {
            assert!(error.to_string().contains("as it was told"), "{error}");
            assert!(!error.may_have_happened(), "{error}");
        }
        let tried = numbers(&database, "SELECT last_value FROM tries").await;
        assert_eq!(tried, [tries], "{code}");
        let devices = store.devices().await.unwrap();
        assert_eq!(devices.len(), usize::from(succeeds), "{code}");
    }
}

/// Ends the connections of a store that are in the middle of a statement with these words.
async fn cut(database: &TestDatabase, statement: &str) {
    let mut connection = database.connect().await;
    let cut = async {
        loop {
            let cut: Vec<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                   AND state = 'active' AND query LIKE $1",
            )
            .bind(statement)
            .fetch_all(&mut connection)
            .await
            .unwrap();
            if !cut.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cut)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_says_whether_the_write_may_have_happened() {
    // A statement that is held up, by which one, and whether that is before the commit.
    let cases = [
        (
            "AFTER INSERT ON measurements FOR EACH ROW",
            "INSERT INTO measurements%",
            false,
        ),
        (
            "AFTER INSERT ON measurements DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
            "COMMIT%",
            true,
        ),
    ];
    for (when, statement, may_have_happened) in cases {
        let database = TestDatabase::new().await;
        let store = Arc::new(open(&database).await);
        let shared: Arc<dyn Store> = store.clone();
        let (device, _) = running(&shared, &[Precision::Q8_0]).await;
        let claimed = claim(&shared, device).await;
        let trigger = match may_have_happened {
            true => "CONSTRAINT TRIGGER",
            false => "TRIGGER",
        };
        database
            .run(&format!(
                "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     PERFORM pg_sleep(20);
                     RETURN NEW;
                 END $$;
                 CREATE {trigger} holds {when} EXECUTE FUNCTION hold();"
            ))
            .await;
        let report = report_with(&claimed, "the report", None);
        let recording = tokio::spawn({
            let (store, report) = (store.clone(), report.clone());
            async move { store.record(&report, NOW + 1).await }
        });
        cut(&database, statement).await;
        let error = recording.await.unwrap().unwrap_err();
        assert_eq!(error.may_have_happened(), may_have_happened, "{error}");

        // The pool gets over it, and what is sent again counts once.
        database.run("DROP TRIGGER holds ON measurements").await;
        assert_eq!(
            store.record(&report, NOW + 2).await.unwrap(),
            Receipt::Recorded
        );
        let again = store.record(&report, NOW + 3).await.unwrap();
        assert_eq!(again, Receipt::AlreadyReported);
    }
}

#[tokio::test]
async fn what_is_no_text_is_refused_and_harms_nothing_that_comes_with_it() {
    let database = TestDatabase::new().await;
    let store: Arc<dyn Store> = Arc::new(open(&database).await);
    let (device, _) = running(&store, &[Precision::Q8_0, Precision::Q4K]).await;
    let mut reports = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        let key = claimed.token.task.to_string();
        reports.push(report_with(&claimed, &key, None));
    }
    reports[1].measurement.outcome = Outcome::Infeasible {
        reason: "it said \0".to_owned(),
    };
    let recorder = Arc::new(Recorder::new(store.clone(), Arc::new(ManualClock::new())));
    let all = reports.into_iter().map(|report| {
        let recorder = recorder.clone();
        tokio::spawn(async move { recorder.record(report).await })
    });
    let mut receipts = Vec::new();
    for one in all.collect::<Vec<_>>() {
        receipts.push(one.await.unwrap());
    }
    let refused = receipts.remove(1).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert!(!refused.may_have_happened());
    let stored: Vec<_> = receipts.into_iter().map(Result::unwrap).collect();
    assert_eq!(stored, [Receipt::Recorded; 3]);
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let search = store.submit(&new_search(), NOW).await.unwrap();
    database.run("UPDATE searches SET request = '{}'").await;
    let error = store.search(search).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let named = format!("search {search}");
    assert!(error.to_string().contains(&named), "{error}");
}

#[tokio::test]
async fn a_store_that_is_closed_refuses_what_comes_later() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    store.close().await;
    let error = store.register(&fixtures::registration("late"), NOW).await;
    let error = error.unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
}
