//! Tasks and leases.

use bitfront_model::{Evidence, LeaseToken, Measurement, Outcome, Receipt};
use sqlx::{Row, SqliteConnection};

use super::decode::{corrupt, milliseconds, parsed, split, word};
use super::{
    Claimant, Claimed, Failure, HeldLease, LeaseEnding, Requeued, StoreError, TaskFacts, devices,
    measurements,
};

pub(super) async fn claim(
    connection: &mut SqliteConnection,
    claimant: &Claimant,
    now_ms: i64,
) -> Result<Option<Claimed>, Failure> {
    let Some(first) = first_queued(connection, claimant).await? else {
        return Ok(None);
    };
    let task = sharing_most(connection, first).await?.unwrap_or(first);
    let until = now_ms.saturating_add(milliseconds(claimant.lease_time));
    let epoch: i64 = sqlx::query_scalar(
        "UPDATE tasks
         SET state = 'leased', epoch = epoch + 1, attempts = attempts + 1, lease_until = ?
         WHERE id = ? RETURNING epoch",
    )
    .bind(until)
    .bind(task)
    .fetch_one(&mut *connection)
    .await?;
    let token = LeaseToken { task, epoch };
    hand_out(connection, token, claimant.device, now_ms).await?;
    let row = sqlx::query(
        "SELECT c.search, c.id AS candidate, c.plan, t.kind, t.purpose, t.attempts
         FROM tasks t JOIN candidates c ON c.id = t.candidate WHERE t.id = ?",
    )
    .bind(task)
    .fetch_one(connection)
    .await?;
    Ok(Some(Claimed {
        token,
        search: row.try_get("search")?,
        candidate: row.try_get("candidate")?,
        kind: word(&row, "kind")?,
        purpose: word(&row, "purpose")?,
        precisions: split("candidates.plan", row.try_get("plan")?)?,
        attempts: row.try_get("attempts")?,
    }))
}

/// The queued task that a claimant may measure and whose candidate was asked for first.
async fn first_queued(
    connection: &mut SqliteConnection,
    claimant: &Claimant,
) -> Result<Option<i64>, Failure> {
    let profile = claimant.hardware_profile.to_string();
    let first = match claimant.companion_in {
        // Each part of the choice walks the index of queued tasks; latency sorts first. Quality
        // that confirms targets a profile; of earlier versions, a class.
        None => sqlx::query_scalar(
            "SELECT id FROM (
                 SELECT id, candidate, kind FROM tasks
                 WHERE state = 'queued' AND kind = 'quality' AND target = ?1
                 UNION ALL
                 SELECT id, candidate, kind FROM tasks
                 WHERE state = 'queued' AND kind = 'quality' AND target = ?2
                 UNION ALL
                 SELECT id, candidate, kind FROM tasks
                 WHERE state = 'queued' AND kind = 'latency' AND target = ?2)
             ORDER BY candidate, kind LIMIT 1",
        )
        .bind(&claimant.numerics_class.0)
        .bind(profile),
        Some((search, purpose)) => sqlx::query_scalar(
            "SELECT t.id FROM tasks t JOIN candidates c ON c.id = t.candidate
             WHERE t.state = 'queued' AND t.kind = 'latency' AND t.target = ?1
                   AND t.attempts = 0 AND c.search = ?2
                   AND (t.purpose = ?3 OR (?3 = 'search' AND t.purpose = 'retime'))
             ORDER BY t.candidate LIMIT 1",
        )
        .bind(profile)
        .bind(search)
        .bind(purpose.to_string()),
    };
    Ok(first.fetch_optional(connection).await?)
}

/// In place of a quality that confirms, the one of its search that comes first by the precisions of
/// the layers: neighbours in that order begin with the same layers, whose hidden states the device
/// still has. All confirmations of a search are queued at once, so none of them waits for long.
async fn sharing_most(
    connection: &mut SqliteConnection,
    task: i64,
) -> Result<Option<i64>, Failure> {
    let other = sqlx::query_scalar(
        "SELECT other.id
         FROM tasks t JOIN candidates c ON c.id = t.candidate
                      JOIN tasks other ON other.state = 'queued' AND other.kind = t.kind
                           AND other.target = t.target AND other.purpose = t.purpose
                      JOIN candidates o ON o.id = other.candidate AND o.search = c.search
         WHERE t.id = ? AND t.kind = 'quality' AND t.purpose = 'confirm'
         ORDER BY o.plan, o.id LIMIT 1",
    );
    Ok(other.bind(task).fetch_optional(connection).await?)
}

/// Writes down that a device holds a task.
pub(super) async fn hand_out(
    connection: &mut SqliteConnection,
    token: LeaseToken,
    device: i64,
    now_ms: i64,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO leases (task, epoch, device, leased_at) VALUES (?, ?, ?, ?)")
        .bind(token.task)
        .bind(token.epoch)
        .bind(device)
        .bind(now_ms)
        .execute(&mut *connection)
        .await?;
    devices::seen(connection, device, now_ms).await
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
pub(super) async fn end(
    connection: &mut SqliteConnection,
    token: LeaseToken,
) -> Result<bool, Failure> {
    let ended = sqlx::query(
        "UPDATE tasks SET state = 'done'
         WHERE id = ?1 AND ((state = 'leased' AND epoch = ?2) OR (state = 'queued' AND epoch >= ?2))",
    )
    .bind(token.task)
    .bind(token.epoch)
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// What a report is answered that ended its task or came as a repeat.
pub(super) fn receipt(accepted: bool) -> Receipt {
    match accepted {
        true => Receipt::Recorded,
        false => Receipt::KeptAsRepeat,
    }
}

pub(super) async fn leased(connection: &mut SqliteConnection) -> Result<Vec<HeldLease>, Failure> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT t.id, t.epoch, l.device
         FROM tasks t JOIN leases l ON l.task = t.id AND l.epoch = t.epoch
         WHERE t.state = 'leased' ORDER BY t.id",
    )
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

pub(super) async fn requeue(
    connection: &mut SqliteConnection,
    token: LeaseToken,
    ending: &LeaseEnding,
    now_ms: i64,
) -> Result<Requeued, Failure> {
    let attempts: Option<i64> = sqlx::query_scalar(
        "UPDATE tasks SET state = 'queued', attempts = attempts - ?
         WHERE id = ? AND epoch = ? AND state = 'leased' RETURNING attempts",
    )
    .bind(i64::from(!ending.counts))
    .bind(token.task)
    .bind(token.epoch)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(attempts) = attempts else {
        return Ok(Requeued::NotHeld);
    };
    sqlx::query("UPDATE leases SET ending = ? WHERE task = ? AND epoch = ?")
        .bind(&ending.reason)
        .bind(token.task)
        .bind(token.epoch)
        .execute(&mut *connection)
        .await?;
    if attempts < i64::from(ending.most_attempts) {
        // A search that has ended wants nothing measured any more.
        sqlx::query(
            "UPDATE tasks SET state = 'cancelled'
             WHERE id = ? AND state = 'queued' AND candidate IN (
                 SELECT c.id FROM candidates c JOIN searches s ON s.id = c.search
                 WHERE s.state <> 'running')",
        )
        .bind(token.task)
        .execute(connection)
        .await?;
        return Ok(Requeued::Queued);
    }
    let question: Option<i64> = sqlx::query_scalar("SELECT question FROM tasks WHERE id = ?")
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

async fn fail(connection: &mut SqliteConnection, token: LeaseToken) -> Result<(), Failure> {
    sqlx::query("UPDATE tasks SET state = 'failed' WHERE id = ?")
        .bind(token.task)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a candidate's task up. The strategy learns of it as it learns of everything, by a
/// measurement.
async fn abandon(
    connection: &mut SqliteConnection,
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
    measurements::append(
        connection,
        &measurements::Appended {
            token,
            idempotency_key: &format!("abandoned:{}:{}", token.task, token.epoch),
            measurement: &measurement,
            abandoned: true,
            accepted: true,
            now_ms,
        },
    )
    .await
}

pub(super) async fn facts(
    connection: &mut SqliteConnection,
    task: i64,
) -> Result<Option<TaskFacts>, Failure> {
    let row = sqlx::query(
        "SELECT c.search, t.kind, t.purpose, t.epoch, c.plan_digest, c.plan,
                json_extract(s.request, '$.workloads') AS workloads,
                json_extract(s.request, '$.subject.data.evaluation_windows') AS windows
         FROM tasks t JOIN candidates c ON c.id = t.candidate
                      JOIN searches s ON s.id = c.search
         WHERE t.id = ?",
    )
    .bind(task)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let workloads: Option<String> = row.try_get("workloads")?;
    let workloads = workloads.ok_or_else(|| corrupt("searches.request", "it has no workloads"))?;
    let windows: Option<u32> = row.try_get("windows")?;
    let windows = windows.ok_or_else(|| corrupt("searches.request", "it has no windows"))?;
    Ok(Some(TaskFacts {
        search: row.try_get("search")?,
        kind: word(&row, "kind")?,
        purpose: word(&row, "purpose")?,
        epoch: row.try_get("epoch")?,
        plan_digest: word(&row, "plan_digest")?,
        layers: split("candidates.plan", row.try_get("plan")?)?.len(),
        workloads: parsed("searches.request", &workloads)?,
        windows: windows as usize,
    }))
}
