//! What the searches over one subject tell each other.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::decode::split;
use super::{Failure, SharedScore, SharedScores, measurements};

/// From the siblings on, for everything that they measured: searches over other subjects cost
/// nothing.
const ALL: &str = "searches s CROSS JOIN candidates c ON c.search = s.id
     CROSS JOIN tasks t ON t.candidate = c.id CROSS JOIN measurements m ON m.task = t.id";

/// From the new measurements on, of which each is looked at once, whoever's it is: a driver asks
/// after every candidate that it adds.
const NEW: &str = "measurements m CROSS JOIN tasks t ON t.id = m.task
     CROSS JOIN candidates c ON c.id = t.candidate CROSS JOIN searches s ON s.id = c.search";

pub(super) async fn shared(
    connection: &mut SqliteConnection,
    search: i64,
    after: i64,
) -> Result<SharedScores, Failure> {
    // Read first: a measurement that is added in between is left to the next read.
    let last: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM measurements")
        .fetch_one(&mut *connection)
        .await?;
    // SQLite keeps the order of a cross join.
    let from = if after == 0 { ALL } else { NEW };
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT c.search, c.plan, m.id, t.candidate, t.purpose, m.outcome, m.kld, m.mismatch,
                m.decode_ns, m.prefill_ns, m.infeasible, m.executed_as_planned, m.stopped,
                max(m.received_at, c.created_at) AS since
         FROM {from}
         WHERE m.id > ?2 AND m.id <= ?3 AND m.accepted = 1 AND m.executed_as_planned = 1
           AND ((t.purpose = 'search' AND m.outcome = 'quality' AND m.stopped = 0)
                OR (t.purpose IN ('search', 'retime') AND m.outcome = 'latency'))
           AND s.id <> ?1 AND s.shares = 1
           AND s.subject_digest = (SELECT subject_digest FROM searches
                                   WHERE id = ?1 AND shares = 1)
         ORDER BY m.id"
    )))
    .bind(search)
    .bind(after)
    .bind(last)
    .fetch_all(connection)
    .await?;
    let score = |row: &SqliteRow| -> Result<SharedScore, Failure> {
        Ok(SharedScore {
            search: row.try_get("search")?,
            precisions: split("candidates.plan", row.try_get("plan")?)?,
            score: measurements::score(row)?,
            since_ms: row.try_get("since")?,
        })
    };
    Ok(SharedScores {
        scores: rows.iter().map(score).collect::<Result<_, _>>()?,
        last,
    })
}
