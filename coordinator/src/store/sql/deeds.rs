//! What persons did.

use bitfront_model::{Deed, DeedOutcome};
use sqlx::Row as _;

use super::decode::word;
use super::{Connection, Failure};

pub(super) async fn begin(connection: &mut Connection, deed: &Deed) -> Result<i64, Failure> {
    let begun = sqlx::query_scalar(
        "INSERT INTO audit (at, by_whom, action, subject, outcome)
         VALUES ($1, $2, $3, $4, $5) RETURNING id",
    )
    .bind(deed.at_ms)
    .bind(&deed.by)
    .bind(&deed.action)
    .bind(&deed.subject)
    .bind(deed.outcome.name());
    Ok(begun.fetch_one(connection).await?)
}

pub(super) async fn conclude(
    connection: &mut Connection,
    deed: i64,
    subject: Option<&str>,
    outcome: DeedOutcome,
) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE audit SET outcome = $3, subject = coalesce($2, subject)
         WHERE id = $1 AND outcome = 'begun'",
    )
    .bind(deed)
    .bind(subject)
    .bind(outcome.name())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn since(
    connection: &mut Connection,
    since_ms: i64,
    most: u32,
) -> Result<Vec<Deed>, Failure> {
    let rows = sqlx::query(
        "SELECT at, by_whom, action, subject, outcome FROM audit WHERE at >= $1
         ORDER BY id DESC LIMIT $2",
    );
    let rows = rows.bind(since_ms).bind(i64::from(most));
    let rows = rows.fetch_all(connection).await?;
    let deeds = rows.iter().rev().map(|row| {
        Ok(Deed {
            at_ms: row.try_get("at")?,
            by: row.try_get("by_whom")?,
            action: row.try_get("action")?,
            subject: row.try_get("subject")?,
            outcome: word(row, "outcome")?,
        })
    });
    deeds.collect()
}
