//! Confirmations: tasks that measure points of a front afresh.

use bitfront_model::TaskPurpose;
use sqlx::Row as _;

use super::decode::word;
use super::measurements::score;
use super::{
    Connection, Failure, Given, NewConfirmation, StoredConfirmation, coordinators, searches,
};

pub(super) async fn queue(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    known: &Given,
    wanted: &[NewConfirmation],
) -> Result<bool, Failure> {
    coordinators::check_driver(connection, search, me).await?;
    // One that was continued meanwhile wants its own tasks.
    if !searches::hold_running(connection, search).await?
        || !searches::is_given(connection, search, known).await?
    {
        return Ok(false);
    }
    cancel_queued(connection, search, TaskPurpose::Search).await?;
    cancel_queued(connection, search, TaskPurpose::Retime).await?;
    for confirmation in wanted {
        sqlx::query(
            "INSERT INTO tasks (candidate, kind, purpose, target, state)
             SELECT id, $1, 'confirm', $2, 'queued' FROM candidates WHERE id = $3 AND search = $4
             ON CONFLICT (candidate, kind, purpose)
             DO UPDATE SET state = 'queued', target = excluded.target
             WHERE tasks.state = 'cancelled'",
        )
        .bind(confirmation.kind.name())
        .bind(&confirmation.target)
        .bind(confirmation.candidate)
        .bind(search)
        .execute(&mut *connection)
        .await?;
    }
    Ok(true)
}

/// Cancels what nobody has begun to measure for a purpose.
pub(super) async fn cancel_queued(
    connection: &mut Connection,
    search: i64,
    purpose: TaskPurpose,
) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE tasks SET state = 'cancelled'
         WHERE state = 'queued' AND purpose = $1
           AND candidate IN (SELECT id FROM candidates WHERE search = $2)",
    )
    .bind(purpose.name())
    .bind(search)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn all(
    connection: &mut Connection,
    search: i64,
) -> Result<Vec<StoredConfirmation>, Failure> {
    let rows = sqlx::query(
        "SELECT m.id, t.candidate, t.kind, t.purpose, t.state, m.outcome, m.kld, m.mismatch,
                m.decode_ns, m.prefill_ns, m.infeasible, m.executed_as_planned, m.stopped
         FROM tasks t JOIN candidates c ON c.id = t.candidate
                      LEFT JOIN measurements m ON m.task = t.id AND m.accepted = 1
         WHERE c.search = $1 AND t.purpose = 'confirm' ORDER BY t.candidate, t.kind",
    )
    .bind(search)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let state: String = row.try_get("state")?;
            let measurement: Option<i64> = row.try_get("id")?;
            Ok(StoredConfirmation {
                candidate: row.try_get("candidate")?,
                kind: word(row, "kind")?,
                pending: matches!(state.as_str(), "queued" | "leased"),
                score: measurement.map(|_| score(row)).transpose()?,
            })
        })
        .collect()
}
