//! Searches: every change of their state.

use std::time::Duration;

use bitfront_model::{
    Budget, Digest, LeaseToken, NumericsClass, SearchRequest, SearchState, TaskPurpose,
};
use sqlx::Row as _;

use super::decode::{
    corrupt, joined, json, milliseconds, optional_unsigned, optional_word, parsed, signed, split,
    unsigned, word,
};
use super::{
    Binding, Connection, Ending, Failure, Given, NewSearch, Row, StoredSearch, confirmations,
    coordinators,
};

/// The key of the request's JSON that is stored on its own, in `models`.
const SPEC: &str = "spec";

pub(super) async fn submit(
    connection: &mut Connection,
    search: &NewSearch,
    me: Option<i64>,
    now_ms: i64,
) -> Result<i64, Failure> {
    if let Some(id) = started(connection, search).await? {
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
    let id: Option<i64> = sqlx::query_scalar(
        "INSERT INTO searches (model, request, subject_digest, idempotency_key, state, reason,
                               created_at, budget_evaluations, budget_time_ms, starts, shares, driver)
         VALUES ($1, $2, $3, $4, 'queued', 'waiting for a device', $5, $6, $7, $8, $9, $10)
         ON CONFLICT (idempotency_key) DO NOTHING RETURNING id",
    )
    .bind(model)
    .bind(document.to_string())
    .bind(request.subject.digest().to_string())
    .bind(&search.idempotency_key)
    .bind(now_ms)
    .bind(request.budget.evaluations.map(signed))
    .bind(request.budget.time.map(milliseconds))
    .bind(starts)
    .bind(i64::from(request.shares))
    .bind(me)
    .fetch_optional(connection)
    .await?;
    // Somebody may have stored one with the same key in between.
    id.ok_or(Failure::Overtaken)
}

/// The search that a submission with the same key started.
async fn started(connection: &mut Connection, search: &NewSearch) -> Result<Option<i64>, Failure> {
    let Some(key) = &search.idempotency_key else {
        return Ok(None);
    };
    let started = sqlx::query_scalar("SELECT id FROM searches WHERE idempotency_key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await?;
    Ok(started)
}

async fn model(connection: &mut Connection, request: &SearchRequest) -> Result<i64, Failure> {
    let spec = json("the model spec", &request.spec)?;
    let spec_digest = Digest::of(&spec).to_string();
    sqlx::query(
        "INSERT INTO models (digest, name, spec, spec_digest) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(request.spec.digest.to_string())
    .bind(&request.spec.name)
    .bind(&spec)
    .bind(&spec_digest)
    .execute(&mut *connection)
    .await?;
    Ok(
        sqlx::query_scalar("SELECT id FROM models WHERE spec_digest = $1")
            .bind(&spec_digest)
            .fetch_one(connection)
            .await?,
    )
}

pub(super) async fn one(
    connection: &mut Connection,
    search: i64,
) -> Result<Option<StoredSearch>, Failure> {
    sqlx::query(
        "SELECT s.*, m.spec FROM searches s JOIN models m ON m.id = s.model WHERE s.id = $1",
    )
    .bind(search)
    .fetch_optional(connection)
    .await?
    .as_ref()
    .map(stored)
    .transpose()
}

pub(super) async fn all(connection: &mut Connection) -> Result<Vec<StoredSearch>, Failure> {
    sqlx::query("SELECT s.*, m.spec FROM searches s JOIN models m ON m.id = s.model ORDER BY s.id")
        .fetch_all(connection)
        .await?
        .iter()
        .map(stored)
        .collect()
}

pub(super) async fn over(
    connection: &mut Connection,
    subject: Digest,
) -> Result<Vec<StoredSearch>, Failure> {
    sqlx::query(
        "SELECT s.*, m.spec FROM searches s JOIN models m ON m.id = s.model
         WHERE s.subject_digest = $1 ORDER BY s.id",
    )
    .bind(subject.to_string())
    .fetch_all(connection)
    .await?
    .iter()
    .map(stored)
    .collect()
}

fn stored(row: &Row) -> Result<StoredSearch, Failure> {
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

/// Holds a search as it is until the end of the transaction: nobody ends, cancels, continues or
/// adds to it meanwhile, and what others did before is seen by what comes after. False where it
/// does not run.
///
/// Comes before any lock on a task, so that nobody waits for each other.
pub(super) async fn hold_running(
    connection: &mut Connection,
    search: i64,
) -> Result<bool, Failure> {
    let running: Option<i64> = sqlx::query_scalar(concat!(
        "SELECT s.id FROM searches s WHERE s.id = $1 AND s.state = 'running'",
        holding!("s"),
    ))
    .bind(search)
    .fetch_optional(connection)
    .await?;
    Ok(running.is_some())
}

/// Whether a search, which is held, has this budget and no other.
pub(super) async fn is_given(
    connection: &mut Connection,
    search: i64,
    known: &Given,
) -> Result<bool, Failure> {
    let given: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM searches
         WHERE id = $1 AND continued_after = $2 AND budget_evaluations IS NOT DISTINCT FROM $3
           AND budget_time_ms IS NOT DISTINCT FROM $4",
    )
    .bind(search)
    .bind(signed(known.continued_after))
    .bind(known.budget.evaluations.map(signed))
    .bind(known.budget.time.map(milliseconds))
    .fetch_optional(connection)
    .await?;
    Ok(given.is_some())
}

/// Holds the search of a candidate's task as [`hold_running`] does. True where it runs, or where
/// the task is of a question, which every search may want.
pub(super) async fn hold_of_task(connection: &mut Connection, task: i64) -> Result<bool, Failure> {
    let state: Option<String> = sqlx::query_scalar(concat!(
        "SELECT s.state FROM searches s JOIN candidates c ON c.search = s.id
                             JOIN tasks t ON t.candidate = c.id WHERE t.id = $1",
        holding!("s"),
    ))
    .bind(task)
    .fetch_optional(connection)
    .await?;
    Ok(state.is_none_or(|state| state == SearchState::Running.name()))
}

pub(super) async fn wait(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    reason: &str,
) -> Result<(), Failure> {
    coordinators::check_driver(connection, search, me).await?;
    sqlx::query("UPDATE searches SET reason = $1 WHERE id = $2 AND state IN ('queued', 'running')")
        .bind(reason)
        .bind(search)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn bind(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    binding: &Binding,
) -> Result<bool, Failure> {
    coordinators::check_driver(connection, search, me).await?;
    let exclusions = match binding.probe {
        Some(_) => Some(json("the exclusions", &binding.exclusions)?),
        None => None,
    };
    let bound = sqlx::query(
        "UPDATE searches
         SET state = 'running', reason = '', bound_profile = $1, bound_class = $2,
             bound_precisions = $3, bound_probe = $4, bound_exclusions = $5, bound_sensitivity = $6
         WHERE id = $7 AND state = 'queued' AND bound_profile IS NULL",
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
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    active: Duration,
) -> Result<(), Failure> {
    coordinators::check_driver(connection, search, me).await?;
    sqlx::query("UPDATE searches SET active_ms = $1 WHERE id = $2 AND active_ms < $1")
        .bind(milliseconds(active))
        .bind(search)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn fix_reference(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    point: &[f64],
) -> Result<(), Failure> {
    coordinators::check_driver(connection, search, me).await?;
    sqlx::query(
        "UPDATE searches SET reference_point = $1 WHERE id = $2 AND reference_point IS NULL",
    )
    .bind(json("the reference point", &point)?)
    .bind(search)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn end(
    connection: &mut Connection,
    (search, me): (i64, Option<i64>),
    ending: &Ending,
    now_ms: i64,
) -> Result<bool, Failure> {
    coordinators::check_driver(connection, search, me).await?;
    let ended = sqlx::query(
        "UPDATE searches
         SET state = $1, reason = $2, ended_at = $3,
             active_ms = CASE WHEN active_ms < $4 THEN $4 ELSE active_ms END
         WHERE id = $5 AND state = 'running' AND continued_after = $8
           AND budget_evaluations IS NOT DISTINCT FROM $6
           AND budget_time_ms IS NOT DISTINCT FROM $7",
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
         WHERE state = 'queued' AND candidate IN (SELECT id FROM candidates WHERE search = $1)",
    )
    .bind(search)
    .execute(connection)
    .await?;
    Ok(true)
}

pub(super) async fn cancel(
    connection: &mut Connection,
    search: i64,
    now_ms: i64,
) -> Result<Option<Vec<LeaseToken>>, Failure> {
    let cancelled = sqlx::query(
        "UPDATE searches SET state = 'cancelled', reason = 'cancelled', ended_at = $1
         WHERE id = $2 AND state IN ('queued', 'running')",
    )
    .bind(now_ms)
    .bind(search)
    .execute(&mut *connection)
    .await?;
    if cancelled.rows_affected() == 0 {
        return Ok(None);
    }
    // All of them are held, so that none is leased between this look and the write.
    let wanted: Vec<(i64, i64, String)> = sqlx::query_as(concat!(
        "SELECT t.id, t.epoch, t.state FROM tasks t
         WHERE t.state IN ('queued', 'leased')
           AND t.candidate IN (SELECT id FROM candidates WHERE search = $1)
         ORDER BY t.id",
        holding!("t"),
    ))
    .bind(search)
    .fetch_all(&mut *connection)
    .await?;
    let leased: Vec<_> = wanted
        .into_iter()
        .filter(|(_, _, state)| state == "leased")
        .map(|(task, epoch, _)| LeaseToken { task, epoch })
        .collect();
    for token in &leased {
        sqlx::query("UPDATE leases SET ending = 'cancelled' WHERE task = $1 AND epoch = $2")
            .bind(token.task)
            .bind(token.epoch)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "UPDATE tasks SET state = 'cancelled'
         WHERE state IN ('queued', 'leased')
           AND candidate IN (SELECT id FROM candidates WHERE search = $1)",
    )
    .bind(search)
    .execute(connection)
    .await?;
    Ok(Some(leased))
}

pub(super) async fn resume(
    connection: &mut Connection,
    search: i64,
    budget: &Budget,
    evaluated: u64,
) -> Result<bool, Failure> {
    let resumed = sqlx::query(
        "UPDATE searches
         SET budget_evaluations = $1, budget_time_ms = $2, continued_after = $3,
             reason = CASE WHEN state IN ('queued', 'running') THEN reason
                           WHEN bound_profile IS NULL THEN 'waiting for a device' ELSE '' END,
             state = CASE WHEN bound_profile IS NULL THEN 'queued' ELSE 'running' END,
             ended_at = NULL
         WHERE id = $4 AND state <> $5",
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
           AND candidate IN (SELECT id FROM candidates WHERE search = $1)
           AND candidate NOT IN (
               SELECT t.candidate FROM measurements m JOIN tasks t ON t.id = m.task
               WHERE m.accepted = 1 AND t.purpose = 'search' AND m.outcome IN ('infeasible', 'abandoned'))",
    )
    .bind(search)
    .execute(connection)
    .await?;
    Ok(true)
}
