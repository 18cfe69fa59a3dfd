//! Candidates and their tasks.

use bitfront_search::space::Genome;
use sqlx::{QueryBuilder, Row as _};

use super::decode::{joined, json, optional_unsigned, rows_at_once, signed, split, unsigned, word};
use super::{
    Connection, Driver, Failure, NewCandidate, StoredCandidate, coordinators, dialect, searches,
};

/// Most rows that one statement inserts.
const MOST_ROWS: usize = 32;

pub(super) async fn add_each(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    candidates: &[NewCandidate],
    now_ms: i64,
) -> Result<Option<Vec<i64>>, Failure> {
    // The quality may be known already, and is then a measurement.
    dialect::measuring(connection).await?;
    coordinators::check_driver(connection, search, me).await?;
    if !searches::hold_running(connection, search).await? {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut left = candidates;
    while !left.is_empty() {
        let (now, later) = left.split_at(rows_at_once(left.len(), MOST_ROWS));
        all.extend(insert(connection, search, now, now_ms).await?);
        left = later;
    }
    let mut tasks = Vec::new();
    for (id, candidate) in all.iter().zip(candidates) {
        for (kind, target) in &candidate.tasks {
            tasks.push((id, kind.name(), target));
        }
    }
    sqlx::query(concat!(
        "INSERT INTO tasks (candidate, kind, purpose, target, state)
         SELECT CAST(value ->> 0 AS BIGINT), value ->> 1, 'search', value ->> 2, 'queued' FROM ",
        rows!("$1"),
    ))
    .bind(json("tasks", &tasks)?)
    .execute(&mut *connection)
    .await?;
    reuse_qualities(connection, search, &all).await?;
    Ok(Some(all))
}

/// Inserts candidates and gives their numbers, in the same order.
async fn insert(
    connection: &mut Connection,
    search: i64,
    candidates: &[NewCandidate],
    now_ms: i64,
) -> Result<Vec<i64>, Failure> {
    let mut insert = QueryBuilder::<Driver>::new(
        "INSERT INTO candidates (search, ask_number, genome, plan, plan_digest, size_bytes,
                                 baseline, created_at) ",
    );
    insert.push_values(candidates, |mut row, candidate| {
        row.push_bind(search)
            .push_bind(candidate.ask_number.map(signed))
            .push_bind(candidate.genome.as_ref().map(|genome| genome.0.clone()))
            .push_bind(joined(candidate.plan.precisions()))
            .push_bind(candidate.plan.digest().to_string())
            .push_bind(signed(candidate.size_bytes))
            .push_bind(candidate.baseline.clone())
            .push_bind(now_ms);
    });
    insert.push(" RETURNING id");
    // Numbers are drawn in the order of the rows; in which order they are given is not promised.
    let mut numbers: Vec<i64> = insert.build_query_scalar().fetch_all(connection).await?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// Ends the quality tasks of new candidates at once where another search knows their outcome: the
/// quality of one plan of one subject is the same wherever the numerics class is, if all windows
/// were scored. A time never is: it is measured anew beside the times that it is compared with.
/// Confirmations neither give nor take: they are there to be measured afresh.
async fn reuse_qualities(
    connection: &mut Connection,
    search: i64,
    candidates: &[i64],
) -> Result<(), Failure> {
    let candidates: Vec<_> = candidates.iter().map(|candidate| [candidate]).collect();
    let candidates = json("new candidates", &candidates)?;
    let reused: Vec<i64> = sqlx::query_scalar(concat!(
        "INSERT INTO measurements (task, epoch, idempotency_key, outcome, accepted, kld, mismatch,
                                   executed_as_planned, payload, device, received_at, reused_from,
                                   search)
         SELECT new.id, 0, 'reused:' || new.id, m.outcome, 1, m.kld, m.mismatch,
                m.executed_as_planned, m.payload, m.device, m.received_at, m.id, $2
         FROM ",
        rows!("$1"),
        " it JOIN tasks new ON new.candidate = CAST(it.value ->> 0 AS BIGINT)
                           AND new.kind = 'quality'
             JOIN measurements m ON m.id = (
                 SELECT min(known.id)
                 FROM candidates plan
                      JOIN candidates c ON c.plan_digest = plan.plan_digest AND c.id <> plan.id
                      JOIN searches s ON s.id = c.search
                      JOIN tasks t ON t.candidate = c.id AND t.kind = new.kind
                                  AND t.target = new.target AND t.purpose = new.purpose
                      JOIN measurements known ON known.task = t.id
                 WHERE plan.id = new.candidate AND known.accepted = 1
                       AND known.outcome = 'quality' AND known.executed_as_planned = 1
                       AND known.stopped = 0 AND known.reused_from IS NULL
                       AND s.subject_digest = (SELECT subject_digest FROM searches WHERE id = $2))
         WHERE true
         RETURNING task",
    ))
    .bind(candidates)
    .bind(search)
    .fetch_all(&mut *connection)
    .await?;
    if reused.is_empty() {
        return Ok(());
    }
    let reused: Vec<_> = reused.iter().map(|task| [task]).collect();
    sqlx::query(concat!(
        "UPDATE tasks SET state = 'done' WHERE id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
        rows!("$1"),
        ")",
    ))
    .bind(json("tasks", &reused)?)
    .execute(connection)
    .await?;
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
