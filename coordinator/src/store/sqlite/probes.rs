//! Probes: asked once for every hardware profile, leased as tasks, answered by appending.

use bitfront_model::{Digest, LeaseToken, ProbeQuestion, ProbeReport, ProbeStanding, Receipt};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::decode::{corrupt, json, milliseconds, parsed, word};
use super::{Claimant, ClaimedProbe, Failure, ProbeFacts, StoredProbe, devices, tasks};

/// The columns of [`stored`].
const STORED: &str = "SELECT p.id, p.profile, p.question, t.state, a.payload,
        (SELECT l.ending FROM leases l WHERE l.task = t.id AND l.epoch = t.epoch) AS ending
    FROM probes p JOIN tasks t ON t.probe = p.id
                  LEFT JOIN probe_answers a ON a.task = t.id AND a.accepted = 1";

pub(super) async fn want(
    connection: &mut SqliteConnection,
    profile: Digest,
    question: &ProbeQuestion,
    now_ms: i64,
) -> Result<StoredProbe, Failure> {
    let (profile, digest) = (profile.to_string(), question.digest().to_string());
    sqlx::query(
        "INSERT INTO probes (profile, question_digest, question, created_at) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&profile)
    .bind(&digest)
    .bind(json("the question of a probe", question)?)
    .bind(now_ms)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO tasks (probe, kind, purpose, target, state)
         SELECT id, 'probe', 'search', profile, 'queued' FROM probes
         WHERE profile = ? AND question_digest = ?
         ON CONFLICT DO NOTHING",
    )
    .bind(&profile)
    .bind(&digest)
    .execute(&mut *connection)
    .await?;
    let text = format!("{STORED} WHERE p.profile = ? AND p.question_digest = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(&profile)
        .bind(&digest)
        .fetch_one(connection)
        .await?;
    stored(&row)
}

pub(super) async fn one(
    connection: &mut SqliteConnection,
    probe: i64,
) -> Result<Option<StoredProbe>, Failure> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{STORED} WHERE p.id = ?")))
        .bind(probe)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn of_profile(
    connection: &mut SqliteConnection,
    profile: Digest,
) -> Result<Vec<StoredProbe>, Failure> {
    let text = format!("{STORED} WHERE p.profile = ? ORDER BY p.id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(profile.to_string())
        .fetch_all(connection)
        .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &SqliteRow) -> Result<StoredProbe, Failure> {
    let id: i64 = row.try_get("id")?;
    let what = format!("probe {id}");
    let state: String = row.try_get("state")?;
    let payload: Option<String> = row.try_get("payload")?;
    let standing = match (state.as_str(), payload) {
        ("queued" | "leased", _) => ProbeStanding::Pending,
        ("done", Some(payload)) => ProbeStanding::Done(Box::new(parsed(&what, &payload)?)),
        ("failed", _) => ProbeStanding::Failed {
            reason: row
                .try_get::<Option<String>, _>("ending")?
                .unwrap_or_default(),
        },
        (other, _) => return Err(corrupt(what, format!("it is {other} and has no answer"))),
    };
    Ok(StoredProbe {
        id,
        question: parsed(&what, row.try_get("question")?)?,
        standing,
    })
}

pub(super) async fn claim(
    connection: &mut SqliteConnection,
    claimant: &Claimant,
    now_ms: i64,
) -> Result<Option<ClaimedProbe>, Failure> {
    let claimed: Option<(i64, i64, i64)> = sqlx::query_as(
        "UPDATE tasks
         SET state = 'leased', epoch = epoch + 1, attempts = attempts + 1, lease_until = ?
         WHERE id = (
             SELECT id FROM tasks
             WHERE state = 'queued' AND kind = 'probe' AND target = ? ORDER BY id LIMIT 1)
         RETURNING id, epoch, probe",
    )
    .bind(now_ms.saturating_add(milliseconds(claimant.lease_time)))
    .bind(claimant.hardware_profile.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((task, epoch, probe)) = claimed else {
        return Ok(None);
    };
    let token = LeaseToken { task, epoch };
    tasks::hand_out(connection, token, claimant.device, now_ms).await?;
    let question: String = sqlx::query_scalar("SELECT question FROM probes WHERE id = ?")
        .bind(probe)
        .fetch_one(connection)
        .await?;
    Ok(Some(ClaimedProbe {
        token,
        question: parsed(&format!("probe {probe}"), &question)?,
    }))
}

pub(super) async fn facts(
    connection: &mut SqliteConnection,
    task: i64,
) -> Result<Option<ProbeFacts>, Failure> {
    let row = sqlx::query(
        "SELECT t.epoch, p.question, p.question_digest
         FROM tasks t JOIN probes p ON p.id = t.probe WHERE t.id = ?",
    )
    .bind(task)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(ProbeFacts {
            epoch: row.try_get("epoch")?,
            question: parsed(
                &format!("the probe of task {task}"),
                row.try_get("question")?,
            )?,
            question_digest: word(&row, "question_digest")?,
        })
    })
    .transpose()
}

pub(super) async fn record(
    connection: &mut SqliteConnection,
    report: &ProbeReport,
    now_ms: i64,
) -> Result<Receipt, Failure> {
    let token = report.token;
    let known: Option<i64> =
        sqlx::query_scalar("SELECT task FROM probe_answers WHERE idempotency_key = ?")
            .bind(&report.idempotency_key)
            .fetch_optional(&mut *connection)
            .await?;
    if tasks::is_known(known, token, &report.idempotency_key)? {
        return Ok(Receipt::AlreadyReported);
    }
    let device: Option<i64> =
        sqlx::query_scalar("SELECT device FROM leases WHERE task = ? AND epoch = ?")
            .bind(token.task)
            .bind(token.epoch)
            .fetch_optional(&mut *connection)
            .await?;
    let device = device.ok_or_else(|| {
        corrupt(
            format!("task {}", token.task),
            format!("it was never handed out under epoch {}", token.epoch),
        )
    })?;
    let accepted = tasks::end(connection, token).await?;
    sqlx::query(
        "INSERT INTO probe_answers (task, epoch, idempotency_key, accepted, payload, device,
                                    received_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(token.task)
    .bind(token.epoch)
    .bind(&report.idempotency_key)
    .bind(accepted)
    .bind(json("the probe", &report.probe)?)
    .bind(device)
    .bind(now_ms)
    .execute(&mut *connection)
    .await?;
    devices::seen(connection, device, now_ms).await?;
    Ok(tasks::receipt(accepted))
}
