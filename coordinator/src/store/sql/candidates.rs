//! Candidates and their tasks.

use bitfront_search::space::Genome;
use sqlx::{QueryBuilder, Row as _};

use super::decode::{joined, json, optional_unsigned, rows_at_once, signed, split, unsigned, word};
use super::{
    Connection, Driver, Failure, NewCandidate, StoredCandidate, coordinators, dialect, reuse,
    searches,
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
    reuse::qualities(connection, search, &all, candidates).await?;
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
