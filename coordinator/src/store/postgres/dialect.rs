//! What Postgres says in its own way. Several coordinators write at the same time, so rows that a
//! decision rests on are locked, and measurements end in another order than they draw numbers in.

use sqlx::Connection as _;

use super::super::failure::Failure;
use super::Connection;

/// Ends a statement that chooses a row to take: no two writers take the same, and nobody waits for
/// another one's choice.
macro_rules! taking {
    ($table:literal) => {
        concat!(" FOR UPDATE OF ", $table, " SKIP LOCKED")
    };
}

/// Ends a statement that looks at rows that nobody may change before the end of the transaction.
/// Where somebody is changing one, it waits, and sees what became of it. References to the row are
/// not held up.
macro_rules! holding {
    ($table:literal) => {
        concat!(" FOR NO KEY UPDATE OF ", $table)
    };
}

/// Numbers rows from one again, in empty tables.
#[cfg(test)]
pub(super) const BEGIN_NUMBERS: &str =
    "TRUNCATE measurements, answers, leases, tasks, candidates, searches, questions, devices,
              models, hardware_profiles, coordinators RESTART IDENTITY";

/// Joins tables; in which order is the planner's to choose, which knows how many rows they have.
macro_rules! join_in_order {
    () => {
        "JOIN"
    };
}

/// The queued task for a numerics class ($1) and a hardware profile ($2) that comes first.
///
/// One walk over the index of queued tasks, since rows of a union cannot be locked; latency sorts
/// first. Quality that confirms targets a profile.
macro_rules! first_queued {
    () => {
        "SELECT first.id FROM tasks AS first
         WHERE first.state = 'queued'
           AND ((first.kind = 'quality' AND first.target IN ($1, $2))
                OR (first.kind = 'latency' AND first.target = $2))
         ORDER BY first.candidate, first.kind LIMIT 1"
    };
}

/// Comes before a measurement of a task is added, and before any row is locked.
///
/// A transaction draws the number of a measurement some time before others see it, so numbers do
/// not come to be seen in their order. Readers go on after the highest that they saw, and would
/// never see a lower one that comes later. Whoever adds a measurement therefore holds a lock on the
/// subject, shared with all others who add, from before the number is drawn until the row is seen;
/// [`settled`] waits for them. The locks of a transaction are released after what it wrote is seen.
///
/// The lock is on the subject, since siblings read each other's measurements. Two subjects with the
/// same hash wait for each other without need, which does no harm.
pub(super) async fn measuring(connection: &mut Connection, task: i64) -> Result<(), Failure> {
    sqlx::query(
        "SELECT pg_advisory_xact_lock_shared(1650881140, hashtext(s.subject_digest))
         FROM tasks t JOIN candidates c ON c.id = t.candidate JOIN searches s ON s.id = c.search
         WHERE t.id = $1",
    )
    .bind(task)
    .execute(connection)
    .await?;
    Ok(())
}

/// Comes before a measurement of a search is added, as [`measuring`] does.
pub(super) async fn measuring_in(connection: &mut Connection, search: i64) -> Result<(), Failure> {
    sqlx::query(
        "SELECT pg_advisory_xact_lock_shared(1650881140, hashtext(subject_digest))
         FROM searches WHERE id = $1",
    )
    .bind(search)
    .execute(connection)
    .await?;
    Ok(())
}

/// The number up to which measurements of a search and its siblings are all there: none that is
/// added later has a lower one.
///
/// Waits for those who are adding one now, about as long as a commit takes, and lets nobody begin
/// to meanwhile. Who begins afterwards draws a higher number than any that is seen here. Adding is
/// never made to wait for adding, so commits still share their way to the disk.
pub(super) async fn settled(connection: &mut Connection, search: i64) -> Result<i64, Failure> {
    let mut alone = connection.begin().await?;
    sqlx::query(
        "SELECT pg_advisory_xact_lock(1650881140, hashtext(subject_digest))
         FROM searches WHERE id = $1",
    )
    .bind(search)
    .execute(&mut *alone)
    .await?;
    // A statement of its own: it sees what was committed before it began, not before the wait.
    let last = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM measurements")
        .fetch_one(&mut *alone)
        .await?;
    alone.commit().await?;
    Ok(last)
}
