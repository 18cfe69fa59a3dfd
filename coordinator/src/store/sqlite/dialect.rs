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

/// The rows of a parameter, each a list in a list (`[[1, 2], [3, 4]]`), as `value`.
macro_rules! rows {
    ($parameter:literal) => {
        concat!("json_each(", $parameter, ")")
    };
}

/// The candidate of a queued task, to order by.
macro_rules! in_turn {
    ($table:literal) => {
        concat!($table, ".candidate")
    };
}

/// The queued tasks for a numerics class ($1) and a hardware profile ($2) that come first, as many as
/// wanted ($3), the first few ($4) of the class left out; qualities that confirm only where it is said
/// ($5 = 1).
///
/// Each part of the choice walks the index of queued tasks no farther than it must, however many
/// are queued; latency sorts first. Quality that confirms targets a profile; of earlier versions, a class.
/// Nobody else takes tasks meanwhile, so none are looked at beyond those (`$beyond`).
macro_rules! first_queued {
    ($beyond:literal) => {
        "SELECT id, kind, purpose FROM (
             SELECT * FROM (SELECT id, candidate, kind, purpose FROM tasks
                 WHERE state = 'queued' AND kind = 'quality' AND target = $1
                       AND ($5 = 1 OR purpose <> 'confirm')
                 ORDER BY candidate LIMIT $3 OFFSET $4)
             UNION ALL
             SELECT * FROM (SELECT id, candidate, kind, purpose FROM tasks
                 WHERE state = 'queued' AND kind = 'quality' AND target = $2
                       AND ($5 = 1 OR purpose <> 'confirm')
                 ORDER BY candidate LIMIT $3)
             UNION ALL
             SELECT * FROM (SELECT id, candidate, kind, purpose FROM tasks
                 WHERE state = 'queued' AND kind = 'latency' AND target = $2
                 ORDER BY candidate LIMIT $3))
         ORDER BY candidate, kind LIMIT $3"
    };
}

/// The latest measurements that each device (the rows of $1) handed in, as many as wanted ($2), as `m`.
macro_rules! latest_of_each {
    () => {
        "json_each($1) it CROSS JOIN measurements m ON m.id IN (
             SELECT id FROM measurements
             WHERE device = CAST(it.value ->> 0 AS BIGINT)
                   AND outcome <> 'abandoned' AND reused_from IS NULL
             ORDER BY id DESC LIMIT $2)"
    };
}

/// Numbers rows from one again, in empty tables.
#[cfg(test)]
pub(super) const BEGIN_NUMBERS: &str = "DELETE FROM sqlite_sequence";

/// Looks after the database: SQLite chooses its plans by the statements and the indices alone.
pub(super) async fn tend(_: &mut Connection) -> Result<(), Failure> {
    Ok(())
}

/// Comes before measurements are added.
pub(super) async fn measuring(_: &mut Connection) -> Result<(), Failure> {
    Ok(())
}

/// Comes before a statement that changes tasks, which lead the rows, in an order of its own.
pub(super) async fn hold_tasks(_: &mut Connection, _tasks: &str) -> Result<(), Failure> {
    Ok(())
}

/// The number up to which measurements are all there: none that is added later has a lower one.
pub(super) async fn settled(connection: &mut Connection) -> Result<i64, Failure> {
    let last = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM measurements");
    Ok(last.fetch_one(connection).await?)
}
