//! Candidates and their tasks.

use bitfront_model::TaskKind;
use bitfront_search::space::Genome;
use sqlx::Row as _;

use super::decode::{joined, optional_unsigned, signed, split, unsigned, word};
use super::{Connection, Failure, NewCandidate, StoredCandidate, coordinators, dialect, searches};

pub(super) async fn add(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    candidate: &NewCandidate,
    now_ms: i64,
) -> Result<Option<i64>, Failure> {
    // The quality may be known already, and is then a measurement.
    dialect::measuring_in(connection, search).await?;
    coordinators::check_driver(connection, search, me).await?;
    if !searches::hold_running(connection, search).await? {
        return Ok(None);
    }
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO candidates (search, ask_number, genome, plan, plan_digest, size_bytes,
                                 baseline, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
    )
    .bind(search)
    .bind(candidate.ask_number.map(signed))
    .bind(candidate.genome.as_ref().map(|genome| genome.0.as_slice()))
    .bind(joined(candidate.plan.precisions()))
    .bind(candidate.plan.digest().to_string())
    .bind(signed(candidate.size_bytes))
    .bind(&candidate.baseline)
    .bind(now_ms)
    .fetch_one(&mut *connection)
    .await?;
    for (kind, target) in &candidate.tasks {
        let task: i64 = sqlx::query_scalar(
            "INSERT INTO tasks (candidate, kind, purpose, target, state)
             VALUES ($1, $2, 'search', $3, 'queued') RETURNING id",
        )
        .bind(id)
        .bind(kind.name())
        .bind(target)
        .fetch_one(&mut *connection)
        .await?;
        if *kind == TaskKind::Quality {
            reuse_quality(connection, search, task).await?;
        }
    }
    Ok(Some(id))
}

/// Ends a new quality task at once where another search knows its outcome: the quality of one plan
/// of one subject is the same wherever the numerics class is, if all windows were scored. A time
/// never is: it is measured anew beside the times that it is compared with. Confirmations neither
/// give nor take: they are there to be measured afresh.
async fn reuse_quality(connection: &mut Connection, search: i64, task: i64) -> Result<(), Failure> {
    let reused = sqlx::query(
        "INSERT INTO measurements (task, epoch, idempotency_key, outcome, accepted, kld, mismatch,
                                   executed_as_planned, payload, device, received_at, reused_from)
         SELECT new.id, 0, 'reused:' || new.id, m.outcome, 1, m.kld, m.mismatch,
                m.executed_as_planned, m.payload, m.device, m.received_at, m.id
         FROM tasks new JOIN candidates plan ON plan.id = new.candidate
              JOIN candidates c ON c.plan_digest = plan.plan_digest AND c.id <> plan.id
              JOIN searches s ON s.id = c.search
              JOIN tasks t ON t.candidate = c.id AND t.kind = new.kind AND t.target = new.target
                          AND t.purpose = new.purpose
              JOIN measurements m ON m.task = t.id
         WHERE new.id = $1 AND m.accepted = 1 AND m.outcome = 'quality'
           AND m.executed_as_planned = 1 AND m.stopped = 0 AND m.reused_from IS NULL
           AND s.subject_digest = (SELECT subject_digest FROM searches WHERE id = $2)
         ORDER BY m.id LIMIT 1",
    )
    .bind(task)
    .bind(search)
    .execute(&mut *connection)
    .await?;
    if reused.rows_affected() == 1 {
        sqlx::query("UPDATE tasks SET state = 'done' WHERE id = $1")
            .bind(task)
            .execute(connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn search_of(
    connection: &mut Connection,
    candidate: i64,
) -> Result<Option<i64>, Failure> {
    let search = sqlx::query_scalar("SELECT search FROM candidates WHERE id = $1")
        .bind(candidate)
        .fetch_optional(connection)
        .await?;
    Ok(search)
}

pub(super) async fn after(
    connection: &mut Connection,
    search: i64,
    after: i64,
) -> Result<Vec<StoredCandidate>, Failure> {
    let rows = sqlx::query("SELECT * FROM candidates WHERE search = $1 AND id > $2 ORDER BY id")
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
