//! What SQLite says in its own way. The one writer is alone with the database in every transaction,
//! so nothing needs a lock and measurements are committed in the order of their numbers.

use super::Connection;
use super::Failure;

/// Ends a statement that chooses a row to take: no two writers take the same.
macro_rules! taking {
    ($table:literal) => {
        ""
    };
}

/// Ends a statement that looks at rows that nobody may change before the end of the transaction.
macro_rules! holding {
    ($table:literal) => {
        ""
    };
}

/// Joins tables, the first one being read first.
macro_rules! join_in_order {
    () => {
        "CROSS JOIN"
    };
}

/// The queued task for a numerics class ($1) and a hardware profile ($2) that comes first.
///
/// Each part of the choice walks the index of queued tasks; latency sorts first. Quality that
/// confirms targets a profile; of earlier versions, a class.
macro_rules! first_queued {
    () => {
        "SELECT id FROM (
             SELECT id, candidate, kind FROM tasks
             WHERE state = 'queued' AND kind = 'quality' AND target = $1
             UNION ALL
             SELECT id, candidate, kind FROM tasks
             WHERE state = 'queued' AND kind = 'quality' AND target = $2
             UNION ALL
             SELECT id, candidate, kind FROM tasks
             WHERE state = 'queued' AND kind = 'latency' AND target = $2)
         ORDER BY candidate, kind LIMIT 1"
    };
}

/// Numbers rows from one again, in empty tables.
#[cfg(test)]
pub(super) const BEGIN_NUMBERS: &str = "DELETE FROM sqlite_sequence";

/// Comes before a measurement of a task is added.
pub(super) async fn measuring(_: &mut Connection, _task: i64) -> Result<(), Failure> {
    Ok(())
}

/// Comes before a measurement of a search is added.
pub(super) async fn measuring_in(_: &mut Connection, _search: i64) -> Result<(), Failure> {
    Ok(())
}

/// The number up to which measurements of a search and its siblings are all there: none that is
/// added later has a lower one.
pub(super) async fn settled(connection: &mut Connection, _search: i64) -> Result<i64, Failure> {
    let last = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM measurements");
    Ok(last.fetch_one(connection).await?)
}
