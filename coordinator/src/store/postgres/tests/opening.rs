//! Databases that can be opened and those that cannot.

use super::*;

async fn refused(database: &TestDatabase) -> StoreError {
    let opened = PostgresStore::open(&url(&database.url())).await;
    opened.err().expect("the database is refused")
}

#[tokio::test]
async fn what_was_answered_is_there_after_the_store_was_opened_again() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let device = fixtures::registration("one");
    store.register(&device, 1).await.unwrap();
    store.close().await;
    let again = open(&database).await;
    assert_eq!(again.devices().await.unwrap()[0].registration, device);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_as_it_is() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    store.close().await;
    database
        .run(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'from the future', TRUE, '', 0)",
        )
        .await;
    let error = refused(&database).await;
    match &error {
        StoreError::Newer { found, known, .. } => assert_eq!((*found, *known), (9999, 16)),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_database_of_others_is_refused_and_left_as_it_is() {
    let database = TestDatabase::new().await;
    database
        .run("CREATE TABLE somebody_elses (id INTEGER)")
        .await;
    let error = refused(&database).await;
    assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
    assert!(error.to_string().contains("another program"), "{error}");
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    )
    .fetch_one(&mut database.connect().await)
    .await
    .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_reason() {
    let read_only = TestDatabase::new().await;
    let set = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        read_only.name()
    );
    read_only.run(&set).await;
    let latin = TestDatabase::with("ENCODING 'LATIN1' LOCALE 'C'").await;
    let absent = server::url("bitfront_test_absent");
    let server = server::server();
    let (scheme, rest) = server.split_once("://").unwrap();
    let (user, place) = rest
        .rsplit_once('@')
        .expect("the server's URL names a user");
    let user = user.split(':').next().unwrap();
    let stranger = format!("{scheme}://{user}:wrong-secret@{place}");
    // Nothing listens on the discard port of this machine.
    let nobody = "postgres://user:wrong-secret@127.0.0.1:9/fleet".to_owned();
    let nonsense = "postgres://user:wrong-secret@host:port/fleet".to_owned();
    let cases = [
        ("read-only", read_only.url(), "it is read-only"),
        ("not in UTF-8", latin.url(), "its encoding is LATIN1"),
        (
            "not there",
            absent,
            "does not exist; make it with `createdb`",
        ),
        ("wrong password", stranger, "password"),
        ("no server", nobody, "refused"),
        ("no URL", nonsense, "port"),
    ];
    let mut wrong = Vec::new();
    for (name, text, part) in &cases {
        match PostgresStore::open(&url(text)).await {
            Err(error @ StoreError::Open { .. }) => {
                let text = format!("{error} {error:?}");
                if !text.contains(part) || text.contains("wrong-secret") {
                    wrong.push(format!("{name}: {text}"));
                }
            }
            Err(other) => wrong.push(format!("{name}: {other}")),
            Ok(_) => wrong.push(format!("{name}: it was opened")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_the_server_is_set_to_weakens_nothing_and_slows_nothing() {
    let database = TestDatabase::new().await;
    for setting in [
        "synchronous_commit = off",
        "default_transaction_isolation = serializable",
        "plan_cache_mode = force_custom_plan",
    ] {
        let set = format!("ALTER DATABASE {} SET {setting}", database.name());
        database.run(&set).await;
    }
    let store = open(&database).await;
    let mut connection = store.reader("look").await.unwrap();
    let settings: Vec<String> = sqlx::query_scalar(
        "SELECT current_setting(name) FROM (VALUES (1, 'synchronous_commit'),
             (2, 'transaction_isolation'), (3, 'enable_seqscan'), (4, 'enable_hashjoin'),
             (5, 'enable_mergejoin')) AS of (place, name) ORDER BY place",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    assert_eq!(settings, ["on", "read committed", "off", "off", "off"]);
    const PLANNED: &str = "SELECT count(*) FROM devices WHERE id = $1";
    for id in 0..3_i64 {
        let devices: i64 = sqlx::query_scalar(PLANNED)
            .bind(id)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(devices, 0);
    }
    let plans: (i64, i64) = sqlx::query_as(
        "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1",
    )
    .bind(PLANNED)
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    assert_eq!(plans, (0, 3), "planned for its values, and once for all");
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let folder = crate::testing::folder();
    let file = folder.path().join("test.sqlite");
    let sqlite = crate::store::sqlite::SqliteStore::open(&file)
        .await
        .unwrap();
    sqlite.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut sqlite = sqlx::ConnectOptions::connect(&options).await.unwrap();
    // Columns as table, name, and whether they must have a value.
    let of_sqlite: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT t.name, c.name, c.\"notnull\" OR c.pk > 0
         FROM sqlite_master t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name NOT LIKE '_sqlx%'
         ORDER BY t.name, c.name",
    )
    .fetch_all(&mut sqlite)
    .await
    .unwrap();
    let mut connection = store.reader("look").await.unwrap();
    // Which database it is stands in the file's header, and here in a table.
    let of_postgres: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, is_nullable = 'NO'
         FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name NOT IN ('bitfront', '_sqlx_migrations')
         ORDER BY table_name COLLATE \"C\", column_name COLLATE \"C\"",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    assert!(of_sqlite.len() > 60, "only {} columns", of_sqlite.len());
    assert_eq!(of_postgres, of_sqlite);
}
