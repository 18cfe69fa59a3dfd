//! Searches: every change of their state.

use std::time::Duration;

use bitfront_model::{
    Budget, Digest, LeaseToken, NumericsClass, SearchRequest, SearchState, TaskPurpose,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::decode::{
    corrupt, joined, json, milliseconds, optional_unsigned, optional_word, parsed, signed, split,
    unsigned, word,
};
use super::{Binding, Ending, Failure, NewSearch, StoredSearch, confirmations};

/// The key of the request's JSON that is stored on its own, in `models`.
const SPEC: &str = "spec";

pub(super) async fn submit(
    connection: &mut SqliteConnection,
    search: &NewSearch,
    now_ms: i64,
) -> Result<i64, Failure> {
    let started: Option<i64> =
        sqlx::query_scalar("SELECT id FROM searches WHERE idempotency_key = ?")
            .bind(&search.idempotency_key)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(id) = started {
        return Ok(id);
    }
    let request = &search.request;
    let mut document =
        serde_json::to_value(request).map_err(|error| corrupt("the request", error))?;
    if let Some(fields) = document.as_object_mut() {
        fields.remove(SPEC);
    }
    let starts = match search.starts.is_empty() {
        true => None,
        false => Some(json("the plans that it starts with", &search.starts)?),
    };
    let model = model(connection, request).await?;
    Ok(sqlx::query_scalar(
        "INSERT INTO searches (model, request, subject_digest, idempotency_key, state, reason,
                               created_at, budget_evaluations, budget_time_ms, starts, shares)
         VALUES (?, ?, ?, ?, 'queued', 'waiting for a device', ?, ?, ?, ?, ?)
         RETURNING id",
    )
    .bind(model)
    .bind(document.to_string())
    .bind(request.subject.digest().to_string())
    .bind(&search.idempotency_key)
    .bind(now_ms)
    .bind(request.budget.evaluations.map(signed))
    .bind(request.budget.time.map(milliseconds))
    .bind(starts)
    .bind(request.shares)
    .fetch_one(connection)
    .await?)
}

async fn model(connection: &mut SqliteConnection, request: &SearchRequest) -> Result<i64, Failure> {
    let spec = json("the model spec", &request.spec)?;
    let spec_digest = Digest::of(&spec).to_string();
    sqlx::query(
        "INSERT INTO models (digest, name, spec, spec_digest) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(request.spec.digest.to_string())
    .bind(&request.spec.name)
    .bind(&spec)
    .bind(&spec_digest)
    .execute(&mut *connection)
    .await?;
    Ok(
        sqlx::query_scalar("SELECT id FROM models WHERE spec_digest = ?")
            .bind(&spec_digest)
            .fetch_one(connection)
            .await?,
    )
}

pub(super) async fn one(
    connection: &mut SqliteConnection,
    search: i64,
) -> Result<Option<StoredSearch>, Failure> {
    sqlx::query("SELECT s.*, m.spec FROM searches s JOIN models m ON m.id = s.model WHERE s.id = ?")
        .bind(search)
        .fetch_optional(connection)
        .await?
        .as_ref()
        .map(stored)
        .transpose()
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<StoredSearch>, Failure> {
    sqlx::query("SELECT s.*, m.spec FROM searches s JOIN models m ON m.id = s.model ORDER BY s.id")
        .fetch_all(connection)
        .await?
        .iter()
        .map(stored)
        .collect()
}

fn stored(row: &SqliteRow) -> Result<StoredSearch, Failure> {
    let id: i64 = row.try_get("id")?;
    let what = format!("search {id}");
    let mut document: serde_json::Value = parsed(&what, row.try_get("request")?)?;
    let spec: serde_json::Value = parsed(&what, row.try_get("spec")?)?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert(SPEC.to_owned(), spec);
    }
    let mut request: SearchRequest =
        serde_json::from_value(document).map_err(|error| corrupt(&what, error))?;
    request.budget = Budget {
        evaluations: optional_unsigned(row, "budget_evaluations")?,
        time: optional_unsigned(row, "budget_time_ms")?.map(Duration::from_millis),
    };
    let binding = match optional_word(row, "bound_profile")? {
        None => None,
        Some(hardware_profile) => Some(Binding {
            hardware_profile,
            numerics_class: NumericsClass(row.try_get("bound_class")?),
            precisions: split(
                "searches.bound_precisions",
                row.try_get("bound_precisions")?,
            )?,
            probe: row.try_get("bound_probe")?,
            exclusions: match row.try_get::<Option<String>, _>("bound_exclusions")? {
                Some(text) => parsed("searches.bound_exclusions", &text)?,
                None => Vec::new(),
            },
            sensitivity: row.try_get("bound_sensitivity")?,
        }),
    };
    let reference_point: Option<String> = row.try_get("reference_point")?;
    let starts: Option<String> = row.try_get("starts")?;
    Ok(StoredSearch {
        id,
        request,
        starts: starts
            .map(|text| parsed("searches.starts", &text))
            .transpose()?
            .unwrap_or_default(),
        continued_after: unsigned(row, "continued_after")?,
        state: word(row, "state")?,
        reason: row.try_get("reason")?,
        created_at_ms: row.try_get("created_at")?,
        ended_at_ms: row.try_get("ended_at")?,
        active: Duration::from_millis(unsigned(row, "active_ms")?),
        binding,
        reference_point: reference_point
            .map(|text| parsed("searches.reference_point", &text))
            .transpose()?,
    })
}

pub(super) async fn wait(
    connection: &mut SqliteConnection,
    search: i64,
    reason: &str,
) -> Result<(), Failure> {
    sqlx::query("UPDATE searches SET reason = ? WHERE id = ? AND state IN ('queued', 'running')")
        .bind(reason)
        .bind(search)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn bind(
    connection: &mut SqliteConnection,
    search: i64,
    binding: &Binding,
) -> Result<bool, Failure> {
    let exclusions = match binding.probe {
        Some(_) => Some(json("the exclusions", &binding.exclusions)?),
        None => None,
    };
    let bound = sqlx::query(
        "UPDATE searches
         SET state = 'running', reason = '', bound_profile = ?, bound_class = ?,
             bound_precisions = ?, bound_probe = ?, bound_exclusions = ?, bound_sensitivity = ?
         WHERE id = ? AND state = 'queued' AND bound_profile IS NULL",
    )
    .bind(binding.hardware_profile.to_string())
    .bind(&binding.numerics_class.0)
    .bind(joined(&binding.precisions))
    .bind(binding.probe)
    .bind(exclusions)
    .bind(binding.sensitivity)
    .bind(search)
    .execute(connection)
    .await?;
    Ok(bound.rows_affected() == 1)
}

pub(super) async fn spend(
    connection: &mut SqliteConnection,
    search: i64,
    active: Duration,
) -> Result<(), Failure> {
    sqlx::query("UPDATE searches SET active_ms = max(active_ms, ?) WHERE id = ?")
        .bind(milliseconds(active))
        .bind(search)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn fix_reference(
    connection: &mut SqliteConnection,
    search: i64,
    point: &[f64],
) -> Result<(), Failure> {
    sqlx::query("UPDATE searches SET reference_point = ? WHERE id = ? AND reference_point IS NULL")
        .bind(json("the reference point", &point)?)
        .bind(search)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn end(
    connection: &mut SqliteConnection,
    search: i64,
    ending: &Ending,
    now_ms: i64,
) -> Result<bool, Failure> {
    let ended = sqlx::query(
        "UPDATE searches
         SET state = ?, reason = ?, ended_at = ?, active_ms = max(active_ms, ?)
         WHERE id = ? AND state = 'running'
           AND budget_evaluations IS ? AND budget_time_ms IS ? AND continued_after = ?",
    )
    .bind(ending.state.name())
    .bind(&ending.reason)
    .bind(now_ms)
    .bind(milliseconds(ending.active))
    .bind(search)
    .bind(ending.budget.evaluations.map(signed))
    .bind(ending.budget.time.map(milliseconds))
    .bind(signed(ending.continued_after))
    .execute(&mut *connection)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    // What is leased is being measured now and paid for; its report still counts.
    sqlx::query(
        "UPDATE tasks SET state = 'cancelled'
         WHERE state = 'queued' AND candidate IN (SELECT id FROM candidates WHERE search = ?)",
    )
    .bind(search)
    .execute(connection)
    .await?;
    Ok(true)
}

pub(super) async fn cancel(
    connection: &mut SqliteConnection,
    search: i64,
    now_ms: i64,
) -> Result<Option<Vec<LeaseToken>>, Failure> {
    let cancelled = sqlx::query(
        "UPDATE searches SET state = 'cancelled', reason = 'cancelled', ended_at = ?
         WHERE id = ? AND state IN ('queued', 'running')",
    )
    .bind(now_ms)
    .bind(search)
    .execute(&mut *connection)
    .await?;
    if cancelled.rows_affected() == 0 {
        return Ok(None);
    }
    let leased: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT id, epoch FROM tasks
         WHERE state = 'leased' AND candidate IN (SELECT id FROM candidates WHERE search = ?)
         ORDER BY id",
    )
    .bind(search)
    .fetch_all(&mut *connection)
    .await?;
    for (task, epoch) in &leased {
        sqlx::query("UPDATE leases SET ending = 'cancelled' WHERE task = ? AND epoch = ?")
            .bind(task)
            .bind(epoch)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "UPDATE tasks SET state = 'cancelled'
         WHERE state IN ('queued', 'leased')
           AND candidate IN (SELECT id FROM candidates WHERE search = ?)",
    )
    .bind(search)
    .execute(connection)
    .await?;
    let tokens = leased
        .into_iter()
        .map(|(task, epoch)| LeaseToken { task, epoch })
        .collect();
    Ok(Some(tokens))
}

pub(super) async fn resume(
    connection: &mut SqliteConnection,
    search: i64,
    budget: &Budget,
    evaluated: u64,
) -> Result<bool, Failure> {
    let resumed = sqlx::query(
        "UPDATE searches
         SET budget_evaluations = ?, budget_time_ms = ?, continued_after = ?,
             reason = CASE WHEN state IN ('queued', 'running') THEN reason
                           WHEN bound_profile IS NULL THEN 'waiting for a device' ELSE '' END,
             state = CASE WHEN bound_profile IS NULL THEN 'queued' ELSE 'running' END,
             ended_at = NULL
         WHERE id = ? AND state <> ?",
    )
    .bind(budget.evaluations.map(signed))
    .bind(budget.time.map(milliseconds))
    .bind(signed(evaluated))
    .bind(search)
    .bind(SearchState::Failed.name())
    .execute(&mut *connection)
    .await?;
    if resumed.rows_affected() == 0 {
        return Ok(false);
    }
    confirmations::cancel_queued(connection, search, TaskPurpose::Confirm).await?;
    sqlx::query(
        "UPDATE tasks SET state = 'queued'
         WHERE state = 'cancelled' AND purpose = 'search'
           AND candidate IN (SELECT id FROM candidates WHERE search = ?)
           AND candidate NOT IN (
               SELECT t.candidate FROM measurements m JOIN tasks t ON t.id = m.task
               WHERE m.accepted = 1 AND t.purpose = 'search' AND m.outcome IN ('infeasible', 'abandoned'))",
    )
    .bind(search)
    .execute(connection)
    .await?;
    Ok(true)
}
