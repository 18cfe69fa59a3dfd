//! Measurements: appended, never changed.

use bitfront_model::{LeaseToken, Measurement, Outcome, Quality, Receipt, Report};
use sqlx::Row as _;

use super::decode::{corrupt, flag, json, parsed, split, word};
use super::{
    Connection, Failure, Row, Score, ScoreOutcome, StoredMeasurement, devices, dialect, searches,
    tasks,
};

pub(super) async fn record(
    connection: &mut Connection,
    report: &Report,
    now_ms: i64,
) -> Result<Receipt, Failure> {
    let token = report.token;
    dialect::measuring(connection, token.task).await?;
    if matches!(report.measurement.outcome, Outcome::Infeasible { .. }) {
        // It cancels the candidate's other task, which more budget may be about to queue.
        searches::hold_of_task(connection, token.task).await?;
    }
    let known: Option<i64> =
        sqlx::query_scalar("SELECT task FROM measurements WHERE idempotency_key = $1")
            .bind(&report.idempotency_key)
            .fetch_optional(&mut *connection)
            .await?;
    if tasks::is_known(known, token, &report.idempotency_key)? {
        return Ok(Receipt::AlreadyReported);
    }
    let accepted = tasks::end(connection, token).await?;
    append(
        connection,
        &Appended {
            token,
            idempotency_key: &report.idempotency_key,
            measurement: &report.measurement,
            abandoned: false,
            accepted,
            now_ms,
        },
    )
    .await?;
    Ok(tasks::receipt(accepted))
}

/// One row of the table.
pub(super) struct Appended<'a> {
    pub(super) token: LeaseToken,
    pub(super) idempotency_key: &'a str,
    pub(super) measurement: &'a Measurement,
    /// Written for a task that was given up.
    pub(super) abandoned: bool,
    /// It ended the task.
    pub(super) accepted: bool,
    pub(super) now_ms: i64,
}

pub(super) async fn append(connection: &mut Connection, row: &Appended<'_>) -> Result<(), Failure> {
    let (outcome, kld, decode_ns, prefill_ns, infeasible) = match &row.measurement.outcome {
        Outcome::Quality(quality) => ("quality", Some(quality.kld), None, None, None),
        Outcome::Latency { workloads } => {
            let median = |decode: bool| {
                workloads
                    .iter()
                    .find(|latency| latency.workload.is_decode() == decode)
                    .map(|latency| latency.median_ns)
            };
            ("latency", None, median(true), median(false), None)
        }
        Outcome::Infeasible { reason } => {
            let outcome = if row.abandoned {
                "abandoned"
            } else {
                "infeasible"
            };
            (outcome, None, None, None, Some(reason))
        }
    };
    let quality = match &row.measurement.outcome {
        Outcome::Quality(quality) => Some(quality),
        Outcome::Latency { .. } | Outcome::Infeasible { .. } => None,
    };
    let mismatch = quality.map(Quality::mismatch);
    let stopped = quality.is_some_and(|quality| quality.stopped.is_some());
    let about = sqlx::query(
        "SELECT l.device, c.id AS candidate, c.plan, t.purpose
         FROM leases l JOIN tasks t ON t.id = l.task JOIN candidates c ON c.id = t.candidate
         WHERE l.task = $1 AND l.epoch = $2",
    )
    .bind(row.token.task)
    .bind(row.token.epoch)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or_else(|| {
        corrupt(
            format!("task {}", row.token.task),
            format!("it was never handed out under epoch {}", row.token.epoch),
        )
    })?;
    let device: i64 = about.try_get("device")?;
    let candidate: i64 = about.try_get("candidate")?;
    let planned = split("candidates.plan", about.try_get("plan")?)?;
    let as_planned = infeasible.is_some() || row.measurement.evidence.executed == planned;
    let inserted = sqlx::query(
        "INSERT INTO measurements (task, epoch, idempotency_key, outcome, accepted, kld, mismatch,
                                   decode_ns, prefill_ns, infeasible, executed_as_planned, stopped, payload,
                                   device, received_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (idempotency_key) DO NOTHING",
    )
    .bind(row.token.task)
    .bind(row.token.epoch)
    .bind(row.idempotency_key)
    .bind(outcome)
    .bind(i64::from(row.accepted))
    .bind(kld)
    .bind(mismatch)
    .bind(decode_ns)
    .bind(prefill_ns)
    .bind(infeasible)
    .bind(i64::from(as_planned))
    .bind(i64::from(stopped))
    .bind(json("the measurement", row.measurement)?)
    .bind(device)
    .bind(row.now_ms)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Failure::Overtaken);
    }
    if row.accepted && infeasible.is_some() {
        // What cannot be executed need not be measured in another way.
        sqlx::query(
            "UPDATE tasks SET state = 'cancelled'
             WHERE candidate = $1 AND purpose = $2 AND state = 'queued'",
        )
        .bind(candidate)
        .bind(about.try_get::<String, _>("purpose")?)
        .execute(&mut *connection)
        .await?;
    }
    if row.abandoned {
        return Ok(());
    }
    devices::seen(connection, device, row.now_ms).await
}

/// The scores of a search, with the word that joins.
macro_rules! scores {
    ($join:expr) => {
        concat!(
            "SELECT m.id, t.candidate, t.purpose, m.outcome, m.kld, m.mismatch, m.decode_ns,
                    m.prefill_ns, m.infeasible, m.executed_as_planned, m.stopped
             FROM measurements m ",
            $join,
            " tasks t ON t.id = m.task ",
            $join,
            " candidates c ON c.id = t.candidate
             WHERE c.search = $1 AND m.id > $2 AND m.id <= $3 AND m.accepted = 1
               AND (t.purpose = 'search' OR (t.purpose = 'retime' AND m.outcome = 'latency'
                                             AND m.executed_as_planned = 1))
             ORDER BY m.id"
        )
    };
}

pub(super) async fn scores(
    connection: &mut Connection,
    search: i64,
    after: i64,
) -> Result<Vec<Score>, Failure> {
    let settled = dialect::settled(connection, search).await?;
    // All of them are found by the search's candidates. The new ones are few among all that are
    // stored, however many the search has, and are found by their numbers.
    let query = match after {
        0 => scores!("JOIN"),
        _ => scores!(join_in_order!()),
    };
    let rows = sqlx::query(query)
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
    let rows = sqlx::query(
        "SELECT m.id, t.candidate, t.purpose, m.payload, m.executed_as_planned, d.name AS device,
                m.received_at
         FROM measurements m JOIN tasks t ON t.id = m.task JOIN candidates c ON c.id = t.candidate
                             JOIN devices d ON d.id = m.device
         WHERE c.search = $1 AND ($2 IS NULL OR c.id = $2) AND m.accepted = 1 ORDER BY m.id",
    )
    .bind(search)
    .bind(candidate)
    .fetch_all(connection)
    .await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn first_timing(
    connection: &mut Connection,
    search: i64,
) -> Result<Option<StoredMeasurement>, Failure> {
    let settled = dialect::settled(connection, search).await?;
    let row = sqlx::query(
        "SELECT m.id, t.candidate, t.purpose, m.payload, m.executed_as_planned, d.name AS device,
                m.received_at
         FROM measurements m JOIN tasks t ON t.id = m.task JOIN candidates c ON c.id = t.candidate
                             JOIN devices d ON d.id = m.device
         WHERE c.search = $1 AND m.id <= $2 AND m.accepted = 1 AND m.outcome = 'latency'
         ORDER BY m.id LIMIT 1",
    )
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
