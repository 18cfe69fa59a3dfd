//! Tasks and leases.

use std::collections::HashSet;

use bitfront_model::{Evidence, LeaseToken, Measurement, Outcome, Receipt, Workload};
use sqlx::Row as _;

use super::decode::{parsed, split, word};
use super::{
    Connection, Failure, HeldLease, LeaseEnding, Requeued, StoreError, TaskFacts, dialect,
    recording, searches,
};

/// Writes down that a device holds a task.
pub(super) async fn hand_out(
    connection: &mut Connection,
    token: LeaseToken,
    device: i64,
    now_ms: i64,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO leases (task, epoch, device, leased_at) VALUES ($1, $2, $3, $4)")
        .bind(token.task)
        .bind(token.epoch)
        .bind(device)
        .bind(now_ms)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a report was stored before, going by the task that its key was stored for.
///
/// # Errors
///
/// The key belongs to another task's report.
pub(super) fn is_known(
    stored_for: Option<i64>,
    token: LeaseToken,
    key: &str,
) -> Result<bool, Failure> {
    match stored_for {
        Some(task) if task != token.task => Err(Failure::Store(StoreError::KeyReused {
            key: key.to_owned(),
        })),
        known => Ok(known.is_some()),
    }
}

/// Ends a task with a report under a token; false where the report is a repeat.
///
/// The holder ends the task; so does a late report while nobody holds it, since the work is paid
/// for. Under a newer lease, or after the end, what it says is a repeat.
pub(super) async fn end(connection: &mut Connection, token: LeaseToken) -> Result<bool, Failure> {
    let ended = end_each(connection, &[token]).await?;
    Ok(ended.contains(&token.task))
}

/// Ends tasks as [`end`] does, each under its token; gives those that ended.
pub(super) async fn end_each(
    connection: &mut Connection,
    tokens: &[LeaseToken],
) -> Result<HashSet<i64>, Failure> {
    if tokens.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = recording::rows_of(tokens)?;
    dialect::hold_tasks(connection, &rows).await?;
    let ended: Vec<i64> = sqlx::query_scalar(concat!(
        "UPDATE tasks SET state = 'done'
         FROM (SELECT CAST(value ->> 0 AS BIGINT) AS task, CAST(value ->> 1 AS BIGINT) AS lease
               FROM ",
        rows!("$1"),
        ") AS it
         WHERE id = it.task AND ((state = 'leased' AND epoch = it.lease)
                                 OR (state = 'queued' AND epoch >= it.lease))
         RETURNING id",
    ))
    .bind(rows)
    .fetch_all(connection)
    .await?;
    Ok(ended.into_iter().collect())
}

/// What a report is answered that ended its task or came as a repeat.
pub(super) fn receipt(accepted: bool) -> Receipt {
    match accepted {
        true => Receipt::Recorded,
        false => Receipt::KeptAsRepeat,
    }
}

pub(super) async fn leased(
    connection: &mut Connection,
    me: Option<i64>,
) -> Result<Vec<HeldLease>, Failure> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT t.id, t.epoch, l.device
         FROM tasks t JOIN leases l ON l.task = t.id AND l.epoch = t.epoch
         WHERE t.state = 'leased' AND ($1 IS NULL OR t.keeper = $1) ORDER BY t.id",
    )
    .bind(me)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(task, epoch, device)| HeldLease {
            token: LeaseToken { task, epoch },
            device,
        })
        .collect())
}

pub(super) async fn held_by(
    connection: &mut Connection,
    device: i64,
) -> Result<Vec<LeaseToken>, Failure> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT t.id, t.epoch
         FROM tasks t JOIN leases l ON l.task = t.id AND l.epoch = t.epoch
         WHERE t.state = 'leased' AND l.device = $1 ORDER BY t.id",
    )
    .bind(device)
    .fetch_all(connection)
    .await?;
    let tokens = rows.into_iter();
    Ok(tokens
        .map(|(task, epoch)| LeaseToken { task, epoch })
        .collect())
}

pub(super) async fn requeue(
    connection: &mut Connection,
    token: LeaseToken,
    ending: &LeaseEnding,
    me: Option<i64>,
    now_ms: i64,
) -> Result<Requeued, Failure> {
    // What is given up is measured as abandoned.
    dialect::measuring(connection).await?;
    let is_wanted = searches::hold_of_task(connection, token.task).await?;
    let attempts: Option<i64> = sqlx::query_scalar(
        "UPDATE tasks SET state = 'queued', attempts = attempts - $1
         WHERE id = $2 AND epoch = $3 AND state = 'leased' AND ($4 IS NULL OR keeper = $4)
         RETURNING attempts",
    )
    .bind(i64::from(!ending.counts))
    .bind(token.task)
    .bind(token.epoch)
    .bind(me.filter(|_| ending.only_ours))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(attempts) = attempts else {
        return Ok(Requeued::NotHeld);
    };
    sqlx::query("UPDATE leases SET ending = $1 WHERE task = $2 AND epoch = $3")
        .bind(&ending.reason)
        .bind(token.task)
        .bind(token.epoch)
        .execute(&mut *connection)
        .await?;
    if attempts < i64::from(ending.most_attempts) {
        if !is_wanted {
            // A search that has ended wants nothing measured any more.
            sqlx::query("UPDATE tasks SET state = 'cancelled' WHERE id = $1")
                .bind(token.task)
                .execute(connection)
                .await?;
        }
        return Ok(Requeued::Queued);
    }
    let question: Option<i64> = sqlx::query_scalar("SELECT question FROM tasks WHERE id = $1")
        .bind(token.task)
        .fetch_one(&mut *connection)
        .await?;
    if question.is_some() {
        fail(connection, token).await?;
        return Ok(Requeued::Failed);
    }
    abandon(connection, token, attempts, &ending.reason, now_ms).await?;
    Ok(Requeued::Failed)
}

async fn fail(connection: &mut Connection, token: LeaseToken) -> Result<(), Failure> {
    sqlx::query("UPDATE tasks SET state = 'failed' WHERE id = $1")
        .bind(token.task)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a candidate's task up. The strategy learns of it as it learns of everything, by a
/// measurement.
async fn abandon(
    connection: &mut Connection,
    token: LeaseToken,
    attempts: i64,
    reason: &str,
    now_ms: i64,
) -> Result<(), Failure> {
    fail(connection, token).await?;
    let measurement = Measurement {
        outcome: Outcome::Infeasible {
            reason: format!("given up after {attempts} attempts, the last one: {reason}"),
        },
        evidence: Evidence {
            executed: Vec::new(),
            imatrix_digest: None,
            environment: Default::default(),
            cold: None,
            energy: None,
            duration_ns: 0,
        },
    };
    let row = recording::Appended {
        token,
        idempotency_key: &format!("abandoned:{}:{}", token.task, token.epoch),
        measurement: &measurement,
        abandoned: true,
        accepted: true,
    };
    recording::append(connection, &[row], now_ms).await
}

pub(super) async fn facts(
    connection: &mut Connection,
    task: i64,
) -> Result<Option<TaskFacts>, Failure> {
    let row = sqlx::query(
        "SELECT c.search, t.kind, t.purpose, t.epoch, c.plan_digest, c.plan, s.request
         FROM tasks t JOIN candidates c ON c.id = t.candidate
                      JOIN searches s ON s.id = c.search
         WHERE t.id = $1",
    )
    .bind(task)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let request: Measured = parsed("searches.request", row.try_get("request")?)?;
    Ok(Some(TaskFacts {
        search: row.try_get("search")?,
        kind: word(&row, "kind")?,
        purpose: word(&row, "purpose")?,
        epoch: row.try_get("epoch")?,
        plan_digest: word(&row, "plan_digest")?,
        layers: split("candidates.plan", row.try_get("plan")?)?.len(),
        workloads: request.workloads,
        windows: request.subject.data.evaluation_windows as usize,
    }))
}

/// What a stored request says of how its plans are measured.
#[derive(serde::Deserialize)]
struct Measured {
    workloads: Vec<Workload>,
    subject: MeasuredSubject,
}

#[derive(serde::Deserialize)]
struct MeasuredSubject {
    data: MeasuredData,
}

#[derive(serde::Deserialize)]
struct MeasuredData {
    evaluation_windows: u32,
}
