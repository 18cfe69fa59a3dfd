//! Retimings: tasks that time candidates once more.

use bitfront_model::Digest;
use sqlx::Row as _;

use super::decode::corrupt;
use super::{Connection, Failure, RetimingStanding, StoredRetiming, coordinators, searches};

pub(super) async fn queue(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    candidates: &[i64],
    profile: Digest,
) -> Result<bool, Failure> {
    coordinators::check_driver(connection, search, me).await?;
    if !searches::hold_running(connection, search).await? {
        return Ok(false);
    }
    for candidate in candidates {
        sqlx::query(
            "INSERT INTO tasks (candidate, kind, purpose, target, state)
             SELECT id, 'latency', 'retime', $1, 'queued' FROM candidates
             WHERE id = $2 AND search = $3
             ON CONFLICT (candidate, kind, purpose)
             DO UPDATE SET state = 'queued' WHERE tasks.state = 'cancelled'",
        )
        .bind(profile.to_string())
        .bind(candidate)
        .bind(search)
        .execute(&mut *connection)
        .await?;
    }
    Ok(true)
}

pub(super) async fn all(
    connection: &mut Connection,
    search: i64,
) -> Result<Vec<StoredRetiming>, Failure> {
    let rows = sqlx::query(
        "SELECT t.candidate, t.state FROM tasks t JOIN candidates c ON c.id = t.candidate
         WHERE c.search = $1 AND t.purpose = 'retime' ORDER BY t.candidate",
    )
    .bind(search)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let candidate: i64 = row.try_get("candidate")?;
            let state: String = row.try_get("state")?;
            let standing = match state.as_str() {
                "queued" | "leased" => RetimingStanding::Pending,
                "done" | "failed" => RetimingStanding::Ended,
                "cancelled" => RetimingStanding::Cancelled,
                other => {
                    let what = format!("the second timing of candidate {candidate}");
                    return Err(corrupt(what, format!("unknown state `{other}`")));
                }
            };
            Ok(StoredRetiming {
                candidate,
                standing,
            })
        })
        .collect()
}
