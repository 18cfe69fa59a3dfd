//! Candidates and their tasks.

use bitfront_search::space::Genome;
use sqlx::{Row, SqliteConnection};

use super::decode::{joined, optional_unsigned, signed, split, unsigned, word};
use super::{Failure, NewCandidate, StoredCandidate};

pub(super) async fn add(
    connection: &mut SqliteConnection,
    search: i64,
    candidate: &NewCandidate,
    now_ms: i64,
) -> Result<Option<i64>, Failure> {
    let id: Option<i64> = sqlx::query_scalar(
        "INSERT INTO candidates (search, ask_number, genome, plan, plan_digest, size_bytes,
                                 baseline, created_at)
         SELECT id, ?, ?, ?, ?, ?, ?, ? FROM searches WHERE id = ? AND state = 'running'
         RETURNING id",
    )
    .bind(candidate.ask_number.map(signed))
    .bind(candidate.genome.as_ref().map(|genome| genome.0.as_slice()))
    .bind(joined(candidate.plan.precisions()))
    .bind(candidate.plan.digest().to_string())
    .bind(signed(candidate.size_bytes))
    .bind(&candidate.baseline)
    .bind(now_ms)
    .bind(search)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(id) = id else {
        return Ok(None);
    };
    for (kind, target) in &candidate.tasks {
        sqlx::query(
            "INSERT INTO tasks (candidate, kind, target, state) VALUES (?, ?, ?, 'queued')",
        )
        .bind(id)
        .bind(kind.name())
        .bind(target)
        .execute(&mut *connection)
        .await?;
    }
    Ok(Some(id))
}

pub(super) async fn after(
    connection: &mut SqliteConnection,
    search: i64,
    after: i64,
) -> Result<Vec<StoredCandidate>, Failure> {
    let rows = sqlx::query("SELECT * FROM candidates WHERE search = ? AND id > ? ORDER BY id")
        .bind(search)
        .bind(after)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let genome: Option<Vec<u8>> = row.try_get("genome")?;
            Ok(StoredCandidate {
                id: row.try_get("id")?,
                ask_number: optional_unsigned(row, "ask_number")?,
                genome: genome.map(Genome),
                precisions: split("candidates.plan", row.try_get("plan")?)?,
                plan_digest: word(row, "plan_digest")?,
                size_bytes: unsigned(row, "size_bytes")?,
                baseline: row.try_get("baseline")?,
            })
        })
        .collect()
}
