//! Tasks and leases.

use bitfront_model::{Evidence, LeaseToken, Measurement, Outcome, Receipt, Workload};
use sqlx::Row as _;

use super::decode::{corrupt, milliseconds, parsed, split, unsigned, word};
use super::{
    Claimant, Claimed, Connection, Failure, HeldLease, LeaseEnding, Requeued, StoreError,
    TaskFacts, devices, dialect, measurements, searches,
};

pub(super) async fn claim(
    connection: &mut Connection,
    claimant: &Claimant,
    me: Option<i64>,
    now_ms: i64,
) -> Result<Option<Claimed>, Failure> {
    let Some(task) = queued(connection, claimant).await? else {
        return Ok(None);
    };
    let until = now_ms.saturating_add(milliseconds(claimant.lease_time));
    let epoch: i64 = sqlx::query_scalar(
        "UPDATE tasks
         SET state = 'leased', epoch = epoch + 1, attempts = attempts + 1, lease_until = $1,
             keeper = $2
         WHERE id = $3 RETURNING epoch",
    )
    .bind(until)
    .bind(me)
    .bind(task)
    .fetch_one(&mut *connection)
    .await?;
    let token = LeaseToken { task, epoch };
    hand_out(connection, token, claimant.device, now_ms).await?;
    let row = sqlx::query(
        "SELECT c.search, c.id AS candidate, c.plan, t.kind, t.purpose, t.attempts
         FROM tasks t JOIN candidates c ON c.id = t.candidate WHERE t.id = $1",
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
        attempts: u32::try_from(unsigned(&row, "attempts")?)
            .map_err(|error| corrupt("tasks.attempts", error))?,
    }))
}

pub(super) async fn claim_each(
    connection: &mut Connection,
    claimants: &[Claimant],
    me: Option<i64>,
    now_ms: i64,
) -> Result<Vec<Claimed>, Failure> {
    let mut all = Vec::new();
    for claimant in claimants {
        match claim(connection, claimant, me, now_ms).await? {
            Some(claimed) => all.push(claimed),
            // They may all measure the same, so nobody after this one gets anything.
            None => break,
        }
    }
    Ok(all)
}

/// The queued task that a claimant may measure and whose candidate was asked for first. Nobody else
/// takes it before the end of the transaction, and nobody waits for it.
async fn queued(connection: &mut Connection, claimant: &Claimant) -> Result<Option<i64>, Failure> {
    let class = &claimant.numerics_class.0;
    let profile = claimant.hardware_profile.to_string();
    let left = i64::from(claimant.left_to_faster);
    if let Some((search, purpose)) = claimant.companion_in {
        let companion = sqlx::query_scalar(concat!(
            "SELECT t.id FROM tasks t JOIN candidates c ON c.id = t.candidate
             WHERE t.state = 'queued' AND t.kind = 'latency' AND t.target = $1
                   AND t.attempts = 0 AND c.search = $2
                   AND (t.purpose = $3 OR ($3 = 'search' AND t.purpose = 'retime'))
             ORDER BY t.candidate LIMIT 1",
            taking!("t"),
        ));
        let companion = companion.bind(profile).bind(search);
        let companion = companion.bind(purpose.to_string());
        return Ok(companion.fetch_optional(connection).await?);
    }
    // In place of a quality that confirms, the one of its search that comes first by the precisions
    // of the layers: neighbours in that order begin with the same layers, whose hidden states the
    // device still has. All confirmations of a search are queued at once, so none of them waits for
    // long.
    let sharing_most: Option<i64> = sqlx::query_scalar(concat!(
        "SELECT other.id
         FROM tasks t JOIN candidates c ON c.id = t.candidate
                      JOIN tasks other ON other.state = 'queued' AND other.kind = t.kind
                           AND other.target = t.target AND other.purpose = t.purpose
                      JOIN candidates o ON o.id = other.candidate AND o.search = c.search
         WHERE t.kind = 'quality' AND t.purpose = 'confirm' AND t.id = (",
        first_queued!(),
        ") ORDER BY o.plan, o.id LIMIT 1",
        taking!("other"),
    ))
    .bind(class)
    .bind(&profile)
    .bind(left)
    .fetch_optional(&mut *connection)
    .await?;
    if sharing_most.is_some() {
        return Ok(sharing_most);
    }
    let first = sqlx::query_scalar(concat!(first_queued!(), taking!("first")));
    Ok(first
        .bind(class)
        .bind(&profile)
        .bind(left)
        .fetch_optional(connection)
        .await?)
}

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
pub(super) async fn end(connection: &mut Connection, token: LeaseToken) -> Result<bool, Failure> {
    let ended = sqlx::query(
        "UPDATE tasks SET state = 'done'
         WHERE id = $1 AND ((state = 'leased' AND epoch = $2) OR (state = 'queued' AND epoch >= $2))",
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
    dialect::measuring(connection, token.task).await?;
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
