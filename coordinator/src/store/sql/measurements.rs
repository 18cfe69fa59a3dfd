//! Measurements, as they are read. They are appended by [`recording`](super::recording), and never
//! changed.

use sqlx::Row as _;

use super::decode::{corrupt, flag, parsed, word};
use super::{Connection, Failure, Row, Score, ScoreOutcome, StoredMeasurement, dialect};

/// Measurements with their payloads, of which the condition is to follow.
macro_rules! whole_measurements {
    () => {
        "SELECT m.id, t.candidate, t.purpose, m.payload, m.executed_as_planned, d.name AS device,
                m.received_at
         FROM measurements m JOIN tasks t ON t.id = m.task JOIN devices d ON d.id = m.device
         WHERE "
    };
}

pub(super) async fn scores(
    connection: &mut Connection,
    search: i64,
    after: i64,
) -> Result<Vec<Score>, Failure> {
    let settled = dialect::settled(connection).await?;
    let rows = sqlx::query(
        "SELECT m.id, t.candidate, t.purpose, m.outcome, m.kld, m.mismatch, m.decode_ns,
                m.prefill_ns, m.infeasible, m.executed_as_planned, m.stopped
         FROM measurements m JOIN tasks t ON t.id = m.task
         WHERE m.search = $1 AND m.id > $2 AND m.id <= $3 AND m.accepted = 1
           AND (t.purpose = 'search' OR (t.purpose = 'retime' AND m.outcome = 'latency'
                                         AND m.executed_as_planned = 1))
         ORDER BY m.id",
    )
    .bind(search)
    .bind(after)
    .bind(settled)
    .fetch_all(connection)
    .await?;
    rows.iter().map(score).collect()
}

/// One score of a row that has its columns.
pub(super) fn score(row: &Row) -> Result<Score, Failure> {
    let id: i64 = row.try_get("id")?;
    let what = || format!("measurement {id}");
    let outcome: String = row.try_get("outcome")?;
    let figure = |column: &str| -> Result<f64, Failure> {
        let value: Option<f64> = row.try_get(column)?;
        value.ok_or_else(|| corrupt(what(), format!("{column} is missing")))
    };
    let outcome = match outcome.as_str() {
        "quality" => ScoreOutcome::Quality {
            kld: figure("kld")?,
            mismatch: figure("mismatch")?,
            stopped: flag(row, "stopped")?,
        },
        "latency" => ScoreOutcome::Latency {
            decode_ns: figure("decode_ns")?,
            prefill_ns: figure("prefill_ns")?,
        },
        "infeasible" | "abandoned" => {
            let reason: Option<String> = row.try_get("infeasible")?;
            ScoreOutcome::Infeasible {
                reason: reason.unwrap_or_default(),
                abandoned: outcome == "abandoned",
            }
        }
        other => return Err(corrupt(what(), format!("unknown outcome `{other}`"))),
    };
    Ok(Score {
        measurement: id,
        candidate: row.try_get("candidate")?,
        purpose: word(row, "purpose")?,
        executed_as_planned: flag(row, "executed_as_planned")?,
        outcome,
    })
}

pub(super) async fn whole(
    connection: &mut Connection,
    search: i64,
    candidate: Option<i64>,
) -> Result<Vec<StoredMeasurement>, Failure> {
    let all = sqlx::query(concat!(
        whole_measurements!(),
        "m.search = $1 AND m.accepted = 1 ORDER BY m.id"
    ));
    let of_candidate = sqlx::query(concat!(
        whole_measurements!(),
        "m.search = $1 AND t.candidate = $2 AND m.accepted = 1 ORDER BY m.id"
    ));
    let rows = match candidate {
        None => all.bind(search),
        Some(candidate) => of_candidate.bind(search).bind(candidate),
    };
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn first_timing(
    connection: &mut Connection,
    search: i64,
) -> Result<Option<StoredMeasurement>, Failure> {
    let settled = dialect::settled(connection).await?;
    let row = sqlx::query(concat!(
        whole_measurements!(),
        "m.search = $1 AND m.id <= $2 AND m.accepted = 1 AND m.outcome = 'latency'
         ORDER BY m.id LIMIT 1",
    ))
    .bind(search)
    .bind(settled)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(stored).transpose()
}

fn stored(row: &Row) -> Result<StoredMeasurement, Failure> {
    let id: i64 = row.try_get("id")?;
    Ok(StoredMeasurement {
        id,
        candidate: row.try_get("candidate")?,
        purpose: word(row, "purpose")?,
        measurement: parsed(&format!("measurement {id}"), row.try_get("payload")?)?,
        executed_as_planned: flag(row, "executed_as_planned")?,
        device: row.try_get("device")?,
        received_at_ms: row.try_get("received_at")?,
    })
}
