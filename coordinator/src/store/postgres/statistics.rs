//! What the server knows of how much is in the tables.
//!
//! It plans a statement once for each connection (`open.rs`), by what it knew of the tables then, and
//! looks at a table again a minute after much of it has changed. A database begins empty, and within
//! that minute a fleet adds tens of thousands of rows, which a join in an order that was chosen for
//! dozens walks over and over. So a coordinator has the server look whenever a table has become several
//! times as large; plans that rest on what was known before are made anew.

use sqlx::AssertSqlSafe;

use super::{Connection, Failure};

/// Has the server look at the tables that have grown much since it did so last. Nothing happens,
/// within a millisecond, where none has.
pub(super) async fn look_again(connection: &mut Connection) -> Result<(), Failure> {
    // Blocks now, and blocks when the server looked last. Below a few dozen any plan will do.
    let grown: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
               AND relname IN ('candidates', 'tasks', 'leases', 'measurements', 'devices')
               AND pg_relation_size(oid) / current_setting('block_size')::bigint
                   > greatest(32, 3 * relpages)
         ORDER BY relname",
    )
    .fetch_all(&mut *connection)
    .await?;
    for table in grown {
        tracing::debug!(table, "has grown; the server looks at it again");
        let analyze = format!("ANALYZE (SKIP_LOCKED) {table}");
        // The name is one of those above. A table that somebody works on is looked at another time.
        sqlx::query(AssertSqlSafe(analyze))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
