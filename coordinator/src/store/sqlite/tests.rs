//! What holds for SQLite beyond the contract of every store.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitfront_model::{
    Precision, ProbeQuestion, QuestionAssignment, QuestionStanding, TaskKind, TaskPurpose,
};

use super::*;
use crate::fixtures;
use crate::store::{conformance, *};
use crate::testing::folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let folder = folder();
    let opened = AtomicUsize::new(0);
    conformance::suite(|| {
        let number = opened.fetch_add(1, Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.sqlite"));
        async move {
            let store = SqliteStore::open(&path).await.unwrap();
            Arc::new(store) as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_the_store_was_opened_again() {
    let folder = folder();
    let path = folder.path().join("new").join("folder.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    let device = fixtures::registration("one");
    store.register(&device, 1).await.unwrap();
    store.close().await;
    let again = SqliteStore::open(&path).await.unwrap();
    assert_eq!(again.devices().await.unwrap()[0].registration, device);
}

#[tokio::test]
async fn every_database_has_an_identity_of_its_own_and_keeps_it() {
    let folder = folder();
    let identity = async |name: &str| {
        let store = SqliteStore::open(folder.path().join(name)).await.unwrap();
        let identity = store.identity().await.unwrap();
        store.close().await;
        identity
    };
    let first = identity("first.sqlite").await;
    assert_eq!(first.len(), 32, "{first}");
    assert_eq!(identity("first.sqlite").await, first);
    assert_ne!(identity("second.sqlite").await, first);
}

#[tokio::test]
async fn a_second_coordinator_is_kept_out_and_told_where_the_first_one_is() {
    let folder = folder();
    let path = folder.path().join("test.sqlite");
    let first = SqliteStore::open(&path).await.unwrap();
    first.announce("127.0.0.1:4120");
    let error = SqliteStore::open(&path).await.err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("at 127.0.0.1:4120"), "{error}");
    first.close().await;
    SqliteStore::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("test.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    store
        .writer
        .write("pretend", |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO _sqlx_migrations
                         (version, description, success, checksum, execution_time)
                     VALUES (9999, 'from the future', 1, x'00', 0)",
                )
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    store.close().await;
    let error = SqliteStore::open(&path).await.err().unwrap();
    match &error {
        StoreError::Newer { found, known, .. } => assert_eq!((*found, *known), (9999, 16)),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn files_of_others_are_refused_and_left_as_they_are() {
    let folder = folder();
    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "not a database, but long enough to have a header".repeat(50),
    )
    .unwrap();
    let before = std::fs::read(&text).unwrap();
    let error = SqliteStore::open(&text).await.err().unwrap();
    assert!(
        error.to_string().contains("notes.txt is not a bitfront"),
        "{error}"
    );
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let other = folder.path().join("other.sqlite");
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&other)
        .create_if_missing(true);
    connection = connection.pragma("journal_mode", "DELETE");
    let mut connection = sqlx::ConnectOptions::connect(&connection).await.unwrap();
    sqlx::query("CREATE TABLE somebody_elses (id INTEGER)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let before = std::fs::read(&other).unwrap();
    let error = SqliteStore::open(&other).await.err().unwrap();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let folder_as_file = SqliteStore::open(folder.path()).await.err().unwrap();
    assert!(
        matches!(folder_as_file, StoreError::Open { .. }),
        "{folder_as_file}"
    );
}

#[tokio::test]
async fn work_that_fails_leaves_no_trace_and_spoils_nothing_beside_it() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("test.sqlite"))
        .await
        .unwrap();
    let store = Arc::new(store);
    // All are given to the writer before it can run, so that they share commits.
    let registrations: Vec<_> = (0..50)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let device = fixtures::registration(&format!("device {number}"));
                store.register(&device, 1).await
            })
        })
        .collect();
    let failing = store.writer.write::<(), _>("fail half-way", |connection| {
        Box::pin(async move {
            sql::devices::register(connection, &fixtures::registration("half"), 1).await?;
            sqlx::query("INSERT INTO devices (name) VALUES (NULL)")
                .execute(connection)
                .await?;
            Ok(())
        })
    });
    let error = failing.await.unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
    for registration in registrations {
        registration.await.unwrap().unwrap();
    }
    let devices = store.devices().await.unwrap();
    assert_eq!(devices.len(), 50);
    assert!(
        devices
            .iter()
            .all(|device| device.registration.device != "half")
    );
}

#[tokio::test]
async fn a_full_disk_is_one_clear_error_and_nothing_is_lost() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("test.sqlite"))
        .await
        .unwrap();
    let limit = async |pages: &'static str| {
        store
            .writer
            .write("limit the file", move |connection| {
                Box::pin(async move {
                    sqlx::query(pages).execute(connection).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
    };
    limit("PRAGMA max_page_count = 40").await;
    let mut acknowledged = 0;
    let error = loop {
        let mut device = fixtures::registration(&format!("device {acknowledged}"));
        device.agent_version = "x".repeat(2000);
        match store.register(&device, 1).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(store.devices().await.unwrap().len(), acknowledged);
    limit("PRAGMA max_page_count = 4000").await;
    let device = fixtures::registration("after");
    store.register(&device, 1).await.unwrap();
    assert_eq!(store.devices().await.unwrap().len(), acknowledged + 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("test.sqlite"))
        .await
        .unwrap();
    let search = NewSearch {
        request: fixtures::request(),
        idempotency_key: None,
        starts: Vec::new(),
    };
    let search = store.submit(&search, 1).await.unwrap();
    store
        .writer
        .write("spoil a row", |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE searches SET request = '{}'")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    let error = store.search(search).await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("search {search}")),
        "{error}"
    );
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

/// A database as the first schemas alone make it, with another one of this version attached as
/// `new`.
async fn of_version(
    version: usize,
    path: &std::path::Path,
    new: &std::path::Path,
) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    use sqlx::migrate::Migrator;

    static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");
    let first = Migrator {
        migrations: MIGRATIONS.iter().take(version).cloned().collect(),
        ..Migrator::DEFAULT
    };
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(false);
    let mut connection = options.connect().await.unwrap();
    first
        .run_direct(None, &mut connection, false)
        .await
        .unwrap();
    let attach = format!("ATTACH '{}' AS new", new.display());
    run(&mut connection, attach).await;
    connection
}

async fn run(connection: &mut sqlx::SqliteConnection, text: String) {
    sqlx::query(sqlx::AssertSqlSafe(text))
        .execute(connection)
        .await
        .unwrap();
}

/// Copies the tables that every version has. Later versions add columns, which earlier ones do not
/// have.
async fn copy_lasting(connection: &mut sqlx::SqliteConnection) {
    for table in [
        "hardware_profiles",
        "devices",
        "models",
        "searches",
        "candidates",
        "leases",
    ] {
        let columns: String = sqlx::query_scalar(
            "SELECT group_concat(name) FROM pragma_table_info(?) WHERE schema = 'main'",
        )
        .bind(table)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        let copy = format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM new.{table}");
        run(connection, copy).await;
    }
}

#[tokio::test]
async fn a_database_of_the_first_version_keeps_its_rows_and_takes_confirmations() {
    use sqlx::Connection;

    let folder = folder();
    let (old, new) = (
        folder.path().join("old.sqlite"),
        folder.path().join("new.sqlite"),
    );
    // Rows as this version writes them, all but the purpose, which the first one did not know.
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&new).await.unwrap());
    let (device, search) = conformance::running(&store, &[Precision::Q8_0, Precision::Q4K]).await;
    let claimed = conformance::claim(&store, device).await;
    conformance::report(&store, &claimed, "quality").await;
    let held = conformance::claim(&store, device).await;
    let mut connection = of_version(1, &old, &new).await;
    copy_lasting(&mut connection).await;
    sqlx::query(
        "INSERT INTO tasks SELECT id, candidate, kind, target, state, epoch, attempts, lease_until
         FROM new.tasks",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO measurements
         SELECT id, task, epoch, idempotency_key, outcome, accepted, kld, decode_ns, prefill_ns,
                infeasible, executed_as_planned, payload, device, received_at, reused_from
         FROM new.measurements",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();

    let migrated: Arc<dyn Store> = Arc::new(SqliteStore::open(&old).await.unwrap());
    assert_eq!(
        migrated.searches().await.unwrap(),
        store.searches().await.unwrap()
    );
    let scores = migrated.scores(search, 0).await.unwrap();
    assert_eq!(scores, store.scores(search, 0).await.unwrap());
    assert_eq!(scores.len(), 1);
    assert_eq!(
        migrated.leased().await.unwrap(),
        store.leased().await.unwrap()
    );
    // What was leased under the old schema ends under the new one, and rows still hold together.
    conformance::report(&migrated, &held, "latency").await;
    let wanted = NewConfirmation {
        candidate: claimed.candidate,
        kind: TaskKind::Quality,
        target: fixtures::registration("one")
            .hardware_profile
            .digest()
            .to_string(),
    };
    assert!(conformance::confirm(&migrated, search, &[wanted]).await);
    let profile = fixtures::registration("one").hardware_profile.digest();
    let timed = [claimed.candidate];
    assert!(migrated.retime(search, &timed, profile).await.unwrap());
    let again = conformance::claim(&migrated, device).await;
    assert_eq!(again.purpose, TaskPurpose::Retime);
    conformance::report(&migrated, &again, "again").await;
    let fresh = conformance::claim(&migrated, device).await;
    assert_eq!(fresh.purpose, TaskPurpose::Confirm);
    assert!(fresh.token.task > held.token.task);
    conformance::report(&migrated, &fresh, "fresh").await;
    assert_eq!(migrated.scores(search, 0).await.unwrap().len(), 3);
    assert_eq!(migrated.measurements(search, None).await.unwrap().len(), 4);
}

#[test]
fn a_request_from_before_early_stops_starts_and_siblings_reads_as_one_without() {
    let request = fixtures::request();
    let mut stored = serde_json::to_value(&request).unwrap();
    let fields = stored.as_object_mut().unwrap();
    for later in ["early_stop", "start_from", "shares"] {
        assert!(fields.remove(later).is_some(), "{later}");
    }
    let read: bitfront_model::SearchRequest = serde_json::from_value(stored).unwrap();
    assert_eq!(read, request);
}

#[test]
fn a_request_from_before_retimings_times_everything_once() {
    let mut stored = serde_json::to_value(fixtures::request()).unwrap();
    let removed = stored.as_object_mut().unwrap().remove("retimings");
    assert_eq!(removed, Some(true.into()));
    let read: bitfront_model::SearchRequest = serde_json::from_value(stored).unwrap();
    assert!(!read.retimings);
}

#[tokio::test]
async fn a_database_from_before_other_questions_keeps_its_probes_and_what_is_bound_with_them() {
    use sqlx::Connection;

    let folder = folder();
    let (old, new) = (
        folder.path().join("old.sqlite"),
        folder.path().join("new.sqlite"),
    );
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&new).await.unwrap());
    let (device, search) = conformance::running(&store, &[Precision::Q8_0]).await;
    let profile = fixtures::registration("one").hardware_profile.digest();
    let profile = profile.to_string();
    let ask = async |store: &Arc<dyn Store>, many_rows| {
        let question = ProbeQuestion {
            many_rows,
            ..fixtures::probe_question()
        };
        let question = Question::Probe(question);
        store.ask(&profile, &question, 1).await.unwrap()
    };
    let known = ask(&store, 64).await;
    let claimant = conformance::claimant(device);
    let answer = async |store: &Arc<dyn Store>| {
        let claimed = store.claim_question(&claimant, 1).await.unwrap().unwrap();
        let report = fixtures::answer(&QuestionAssignment {
            token: claimed.token,
            question: claimed.question,
            lease_time: Default::default(),
        });
        store.record_answer(&report, 1).await.unwrap()
    };
    answer(&store).await;
    let pending = ask(&store, 65).await;
    let bound = store.submit(&conformance::new_search(), 1).await.unwrap();
    let binding = Binding {
        probe: Some(known.id),
        ..store
            .search(search)
            .await
            .unwrap()
            .unwrap()
            .binding
            .unwrap()
    };
    assert!(store.bind(bound, &binding).await.unwrap());

    let mut connection = of_version(4, &old, &new).await;
    copy_lasting(&mut connection).await;
    for copy in [
        "INSERT INTO probes SELECT id, target, question_digest, question, created_at
         FROM new.questions",
        "INSERT INTO tasks SELECT id, candidate, question, kind, purpose, target, state, epoch,
                                  attempts, lease_until FROM new.tasks",
        "INSERT INTO probe_answers SELECT * FROM new.answers",
    ] {
        run(&mut connection, copy.to_owned()).await;
    }
    connection.close().await.unwrap();

    let migrated: Arc<dyn Store> = Arc::new(SqliteStore::open(&old).await.unwrap());
    assert_eq!(
        migrated.searches().await.unwrap(),
        store.searches().await.unwrap()
    );
    assert_eq!(
        migrated.questions(&profile).await.unwrap(),
        store.questions(&profile).await.unwrap()
    );
    assert!(matches!(
        ask(&migrated, 64).await.standing,
        QuestionStanding::Done(_)
    ));
    // What was queued is answered, and rows of both kinds join the old ones.
    assert_eq!(ask(&migrated, 65).await, pending);
    assert_eq!(answer(&migrated).await, Receipt::Recorded);
    let sensitivity = Question::Sensitivity(Box::new(fixtures::sensitivity_question()));
    let class = fixtures::registration("one").numerics_class.0;
    let asked = migrated.ask(&class, &sensitivity, 1).await.unwrap();
    assert!(asked.id > pending.id);
    assert_eq!(answer(&migrated).await, Receipt::Recorded);
    let bound = migrated
        .submit(&conformance::new_search(), 1)
        .await
        .unwrap();
    let binding = Binding {
        sensitivity: Some(asked.id),
        ..binding
    };
    assert!(migrated.bind(bound, &binding).await.unwrap());
    // A binding to what was never asked is refused: the references hold.
    let unknown = Binding {
        sensitivity: Some(99),
        ..binding
    };
    let other = migrated
        .submit(&conformance::new_search(), 1)
        .await
        .unwrap();
    assert!(migrated.bind(other, &unknown).await.is_err());
}
