//! What the searches over one subject tell each other.

use sqlx::Row as _;

use super::decode::split;
use super::{Connection, Failure, Row, SharedScore, SharedScores, dialect, measurements};

pub(super) async fn shared(
    connection: &mut Connection,
    search: i64,
    after: i64,
) -> Result<SharedScores, Failure> {
    // A measurement that is added after this is left to the next read.
    let last = dialect::settled(connection).await?;
    let rows = sqlx::query(concat!(
        "SELECT c.search, c.plan, m.id, t.candidate, t.purpose, m.outcome, m.kld, m.mismatch,
                m.decode_ns, m.prefill_ns, m.infeasible, m.executed_as_planned, m.stopped,
                CASE WHEN m.received_at < c.created_at THEN c.created_at ELSE m.received_at
                END AS since
         FROM searches s ",
        join_in_order!(),
        " measurements m ON m.search = s.id
              JOIN tasks t ON t.id = m.task JOIN candidates c ON c.id = t.candidate
         WHERE m.id > $2 AND m.id <= $3 AND m.accepted = 1 AND m.executed_as_planned = 1
           AND ((t.purpose = 'search' AND m.outcome = 'quality' AND m.stopped = 0)
                OR (t.purpose IN ('search', 'retime') AND m.outcome = 'latency'))
           AND s.id <> $1 AND s.shares = 1
           AND s.subject_digest = (SELECT subject_digest FROM searches
                                   WHERE id = $1 AND shares = 1)
         ORDER BY m.id",
    ))
    .bind(search)
    .bind(after)
    .bind(last)
    .fetch_all(connection)
    .await?;
    let score = |row: &Row| -> Result<SharedScore, Failure> {
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
