//! What the server is made to know of how much is in the tables.

use super::*;

#[tokio::test]
async fn a_table_that_has_grown_is_looked_at_again_and_no_other() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    // The server looks by itself now and then.
    for table in ["devices", "tasks"] {
        let by_itself = format!("ALTER TABLE {table} SET (autovacuum_enabled = false)");
        database.run(&by_itself).await;
    }
    let registered = fixtures::registration("one");
    store.register(&registered, 0).await.unwrap();
    store.tend().await.unwrap();
    let known = "SELECT reltuples::bigint FROM pg_class WHERE relname IN ('devices', 'tasks')
                 ORDER BY relname";
    assert_eq!(numbers(&database, known).await, [-1, -1], "they are small");
    database
        .run(
            "INSERT INTO devices (name, profile, numerics_class, precisions, agent_version,
                                  first_seen_at, last_seen_at, can_probe, can_score_swaps)
             SELECT 'device ' || number, profile, numerics_class, precisions, agent_version,
                    first_seen_at, last_seen_at, can_probe, can_score_swaps
             FROM devices, generate_series(1, 9999) AS number",
        )
        .await;
    store.tend().await.unwrap();
    assert_eq!(numbers(&database, known).await, [10_000, -1]);
    database
        .run("DELETE FROM devices WHERE name <> 'one'")
        .await;
    store.tend().await.unwrap();
    let again = numbers(&database, known).await;
    assert_eq!(again, [10_000, -1], "it has not grown since");
}
