//! What Postgres says in its own way. Several coordinators write at the same time, so rows that a
//! decision rests on are locked, and measurements end in another order than they draw numbers in.

use std::time::Duration;

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

/// The latest measurements that each device (the rows of $1) handed in, as many as wanted ($2), as `m`.
macro_rules! latest_of_each {
    () => {
        "json_array_elements($1::json) it CROSS JOIN LATERAL (
             SELECT id, device, search, payload FROM measurements
             WHERE device = CAST(it.value ->> 0 AS BIGINT)
                   AND outcome <> 'abandoned' AND reused_from IS NULL
             ORDER BY id DESC LIMIT $2) m"
    };
}

/// Numbers rows from one again, in empty tables.
#[cfg(test)]
pub(super) const BEGIN_NUMBERS: &str =
    "TRUNCATE nights, schedules, measurements, answers, leases, tasks, candidates, searches, questions, devices,
              models, hardware_profiles, coordinators RESTART IDENTITY";

/// Joins tables; in which order is the planner's to choose, which knows how many rows they have.
macro_rules! join_in_order {
    () => {
        "JOIN"
    };
}

/// The rows of a parameter, each a list in a list (`[[1, 2], [3, 4]]`), as `value`.
macro_rules! rows {
    ($parameter:literal) => {
        concat!("json_array_elements(", $parameter, "::json)")
    };
}

/// The candidate of a queued task, to order by: worded as the index of queued tasks is, see there.
macro_rules! in_turn {
    ($table:literal) => {
        concat!("(", $table, ".candidate + 0)")
    };
}

/// The highest number of a measurement that was drawn, as `drawn`.
macro_rules! drawn {
    () => {
        "(SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS drawn FROM measurements_id_seq)
         AS numbers"
    };
}

/// The queued tasks for a numerics class ($1) and a hardware profile ($2) that come first, as many as
/// wanted ($3), the first few ($4) of the class left out; qualities that confirm only where it is said
/// ($5 = 1).
///
/// Each part of the choice walks the index of queued tasks no farther than it must, however many
/// are queued; latency sorts first. Rows of a union cannot be locked, so where they are to be, some
/// more (`$beyond`) are looked at than wanted: others may be taking the first ones at this moment, 128
/// for each line of devices. With more of these at once than are allowed for, a claim may find nothing,
/// and its devices ask again within seconds. Quality that confirms targets a profile.
macro_rules! first_queued {
    ($beyond:literal) => {
        concat!(
            "SELECT first.id, first.kind, first.purpose FROM tasks AS first
             WHERE first.state = 'queued' AND first.id IN (
                 SELECT id FROM (
                     (SELECT id, candidate, kind FROM tasks
                      WHERE state = 'queued' AND kind = 'quality' AND target = $1
                            AND ($5 = 1 OR purpose <> 'confirm')
                      ORDER BY (candidate + 0) LIMIT $3 + ",
            $beyond,
            "         OFFSET $4)
                     UNION ALL
                     (SELECT id, candidate, kind FROM tasks
                      WHERE state = 'queued' AND kind = 'quality' AND target = $2
                            AND ($5 = 1 OR purpose <> 'confirm')
                      ORDER BY (candidate + 0) LIMIT $3 + ",
            $beyond,
            "        )
                     UNION ALL
                     (SELECT id, candidate, kind FROM tasks
                      WHERE state = 'queued' AND kind = 'latency' AND target = $2
                      ORDER BY (candidate + 0) LIMIT $3 + ",
            $beyond,
            "        )) AS queued
                 ORDER BY candidate, kind LIMIT $3 + ",
            $beyond,
            "    )
             ORDER BY first.candidate, first.kind LIMIT $3"
        )
    };
}

/// Looks after the database.
pub(super) async fn tend(connection: &mut Connection) -> Result<(), Failure> {
    super::statistics::look_again(connection).await
}

/// Comes before measurements are added.
///
/// A transaction draws the number of a measurement some time before others see it, so numbers do
/// not come to be seen in their order. Readers go on after the highest that they saw, and would
/// never see a lower one that comes later. Whoever adds measurements therefore shows the highest
/// number that was drawn before: in the key of a lock that nobody ever waits for, and that is
/// released after what was written is seen. [`settled`] looks at these. The upper bits of the key tell
/// the lock from those of other programs, and leave the number forty.
pub(super) async fn measuring(connection: &mut Connection) -> Result<(), Failure> {
    sqlx::query(concat!(
        "SELECT pg_advisory_xact_lock_shared(6449::bigint << 40 | drawn) FROM ",
        drawn!()
    ))
    .execute(connection)
    .await?;
    Ok(())
}

/// Comes before a statement that changes tasks, which lead the rows, in an order of its own: here
/// they are locked by number, so that nobody waits in a circle.
pub(super) async fn hold_tasks(connection: &mut Connection, tasks: &str) -> Result<(), Failure> {
    sqlx::query(concat!(
        "SELECT id FROM tasks WHERE id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
        rows!("$1"),
        ") ORDER BY id FOR UPDATE",
    ))
    .bind(tasks)
    .execute(connection)
    .await?;
    Ok(())
}

/// How long a reader waits at most for those who are adding measurements as it comes; about as long
/// as a commit takes. What has a higher number than they show is read by the next one otherwise, which
/// is a second later at the latest.
const WAITS: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(6)];

/// The number up to which measurements are all there: none that is added later has a lower one.
///
/// Of those who have one of the numbers that are drawn by now and have not ended, each shows a lower
/// number than its own. Nobody who begins later draws one of them.
pub(super) async fn settled(connection: &mut Connection) -> Result<i64, Failure> {
    let drawn: i64 = sqlx::query_scalar(concat!("SELECT drawn FROM ", drawn!()))
        .fetch_one(&mut *connection)
        .await?;
    let mut waits = WAITS.iter();
    loop {
        // A statement of its own: it looks after the number was read, not before.
        let lowest = lowest_shown(connection).await?;
        match (lowest, waits.next()) {
            (Some(lowest), Some(wait)) if lowest < drawn => tokio::time::sleep(*wait).await,
            (lowest, _) => return Ok(lowest.map_or(drawn, |lowest| lowest.min(drawn))),
        }
    }
}

/// The lowest number that somebody shows who is adding measurements.
async fn lowest_shown(connection: &mut Connection) -> Result<Option<i64>, Failure> {
    let lowest = sqlx::query_scalar(
        "SELECT min((classid::bigint & 255) << 32 | objid::bigint) FROM pg_locks
         WHERE locktype = 'advisory' AND mode = 'ShareLock' AND objsubid = 1
               AND classid::bigint >> 8 = 6449
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    Ok(lowest.fetch_one(connection).await?)
}
