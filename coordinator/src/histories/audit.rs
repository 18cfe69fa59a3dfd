//! What is stored, held against the model and against what agents were told.

use std::collections::{BTreeSet, HashMap};

use bitfront_model::{Receipt, SearchState, TaskKind, TaskPurpose};

use super::history::{Broken, History};
use super::model::{Figure, Model, State};
use crate::query;
use crate::store::audit::{Rows, TaskRow};

/// The tolerance between a figure and the same one that was stored and read: none.
const EXACTLY: f64 = 0.0;

impl History {
    /// Between two events: the rows are those of the model, and nothing of what was there before is
    /// lost or changed that may not change.
    pub(super) async fn audit(&mut self) -> Result<(), Broken> {
        let rows = self.store.rows().await.map_err(|error| error.to_string())?;
        compare(&rows, &self.model.lock().unwrap())?;
        follows(&self.rows, &rows)?;
        for agent in &self.agents {
            let heard = agent
                .spool
                .iter()
                .filter_map(|(report, heard)| Some((report, (*heard)?)));
            for (report, receipt) in heard {
                let key = &report.idempotency_key;
                let stored = rows
                    .measurements
                    .iter()
                    .find(|row| row.idempotency_key == *key);
                let Some(stored) = stored else {
                    return Err(format!("{key} was acknowledged ({receipt:?}) and is lost"));
                };
                if (stored.task, stored.epoch) != (report.token.task, report.token.epoch) {
                    return Err(format!("{key} is stored as {stored:?}"));
                }
                if receipt == Receipt::Recorded && !stored.accepted {
                    return Err(format!("{key} was recorded and is stored as {stored:?}"));
                }
            }
        }
        self.rows = rows;
        Ok(())
    }

    /// In the calm: nothing is under way any more, everything that was measured is stored once, the
    /// candidates are those of an undisturbed search, and the front is that of the results.
    pub(super) async fn audit_the_end(&mut self) -> Result<(), Broken> {
        let wrong = |error: &dyn std::fmt::Display| format!("at the end: {error}");
        let search = self.search.ok_or("there is no search")?;
        let stored = self
            .store
            .search(search)
            .await
            .map_err(|error| wrong(&error))?;
        let state = stored.ok_or("the search is gone")?.state;
        for task in &self.rows.tasks {
            let may_wait = task.state == "cancelled" && state != SearchState::Done;
            if !may_wait && !["done", "failed", "cancelled"].contains(&task.state.as_str()) {
                return Err(format!(
                    "the search is {state}, and a task is left: {task:?}"
                ));
            }
        }
        for agent in &self.agents {
            if let Some((report, _)) = agent.spool.iter().find(|(_, heard)| heard.is_none()) {
                return Err(format!("{} is never answered", report.idempotency_key));
            }
        }
        self.audit_candidates(search).await?;
        self.audit_front(search).await
    }

    /// What is asked follows from the seed, whatever happens: it is a beginning of what an
    /// undisturbed search asks.
    async fn audit_candidates(&self, search: i64) -> Result<(), Broken> {
        let candidates = self.store.candidates(search, 0).await;
        let candidates = candidates.map_err(|error| error.to_string())?;
        let plans: Vec<_> = candidates
            .iter()
            .map(|it| it.plan_digest.to_string())
            .collect();
        if let Some(expected) = &self.setting.expected_plans
            && !expected.starts_with(&plans)
        {
            return Err("other candidates were asked for than in an undisturbed search".to_owned());
        }
        let numbers: Vec<_> = candidates.iter().filter_map(|it| it.ask_number).collect();
        match numbers == (0..numbers.len() as u64).collect::<Vec<_>>() {
            true => Ok(()),
            false => Err(format!("asks are numbered {numbers:?}")),
        }
    }

    /// The front of the database is the front of the results that were accepted.
    async fn audit_front(&self, search: i64) -> Result<(), Broken> {
        let Some(process) = self.processes.last() else {
            return Ok(());
        };
        let found = query::front(&process.world, search, None).await;
        let found = found.map_err(|error| format!("the front: {error}"))?;
        let found: BTreeSet<i64> = found
            .points
            .iter()
            .filter(|point| point.was_on_front)
            .map(|point| point.candidate)
            .collect();
        let expected = front(&self.model.lock().unwrap());
        match found == expected {
            true => Ok(()),
            false => Err(format!(
                "the front is {found:?}, of the results {expected:?}"
            )),
        }
    }
}

/// The rows are those of the model.
fn compare(rows: &Rows, model: &Model) -> Result<(), Broken> {
    let mut tasks: HashMap<Figure, &TaskRow> = HashMap::new();
    for row in &rows.tasks {
        if let Some(other) = tasks.insert(figure_of(row)?, row) {
            return Err(format!("{row:?} is there twice, as {other:?}"));
        }
        // Nothing was ever handed out under an epoch that is not that of a lease.
        let epochs: Vec<_> = rows
            .leases
            .iter()
            .filter(|lease| lease.task == row.id)
            .collect();
        let numbers = epochs.iter().map(|lease| lease.epoch);
        if !numbers.eq(1..=row.epoch) {
            return Err(format!("{row:?} was handed out as {epochs:?}"));
        }
        let known = model.tasks.get(&figure_of(row)?);
        let known = known.ok_or_else(|| format!("{row:?} was never asked for"))?;
        let devices: Vec<_> = epochs.iter().map(|lease| lease.device).collect();
        let is_same = row.state == word(known.state)
            && (row.epoch, row.attempts) == (known.epoch, known.attempts)
            && devices == known.holders;
        if !is_same {
            return Err(format!("{row:?}, held by {devices:?}, is to be {known:?}"));
        }
    }
    if tasks.len() != model.tasks.len() {
        return Err(format!(
            "{} tasks of {} are there",
            tasks.len(),
            model.tasks.len()
        ));
    }
    if rows.measurements.len() != model.measurements.len() {
        let (stored, known) = (rows.measurements.len(), model.measurements.len());
        return Err(format!(
            "{stored} measurements are stored, {known} were taken"
        ));
    }
    for row in &rows.measurements {
        let known = model.measurements.get(&row.idempotency_key);
        let known = known.ok_or_else(|| format!("{row:?} was never taken"))?;
        let outcome = match (known.figure, known.abandoned) {
            (Some(_), _) => ["quality", "latency"].contains(&row.outcome.as_str()),
            (None, abandoned) => row.outcome == if abandoned { "abandoned" } else { "infeasible" },
        };
        let same = |found: Option<f64>, expected: Option<f64>| match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() <= EXACTLY,
            (found, expected) => found.is_none() && expected.is_none(),
        };
        let is_same = (row.task, row.epoch) == (known.token.task, known.token.epoch)
            && row.accepted == known.accepted
            && same(row.figure, known.figure)
            && outcome;
        if !is_same {
            return Err(format!("{row:?} is to be {known:?}"));
        }
    }
    ends_once(rows)
}

/// A task is done by one measurement, and failed by giving it up.
fn ends_once(rows: &Rows) -> Result<(), Broken> {
    for task in &rows.tasks {
        let accepted = rows.measurements.iter();
        let accepted: Vec<_> = accepted
            .filter(|it| it.task == task.id && it.accepted)
            .collect();
        let expected = match task.state.as_str() {
            "done" => accepted.len() == 1 && accepted[0].outcome != "abandoned",
            "failed" => accepted.len() == 1 && accepted[0].outcome == "abandoned",
            _ => accepted.is_empty(),
        };
        if !expected {
            return Err(format!("{task:?} has ended by {accepted:?}"));
        }
    }
    Ok(())
}

/// Measurements are appended, epochs grow, and an end is an end.
fn follows(before: &Rows, after: &Rows) -> Result<(), Broken> {
    if !after.measurements.starts_with(&before.measurements) {
        return Err("a measurement is gone or changed".to_owned());
    }
    for old in &before.tasks {
        let new = after.tasks.iter().find(|new| new.id == old.id);
        let new = new.ok_or_else(|| format!("{old:?} is gone"))?;
        let has_ended = ["done", "failed"].contains(&old.state.as_str());
        if new.epoch < old.epoch || (has_ended && new.state != old.state) {
            return Err(format!("{old:?} became {new:?}"));
        }
    }
    Ok(())
}

fn figure_of(row: &TaskRow) -> Result<Figure, Broken> {
    let strange = || format!("{row:?} is of no known kind");
    let kind: TaskKind = row.kind.parse().map_err(|_| strange())?;
    let purpose: TaskPurpose = row.purpose.parse().map_err(|_| strange())?;
    Ok((row.candidate, kind, purpose))
}

fn word(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Leased => "leased",
        State::Done => "done",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

/// The candidates that no other one is as good as in all figures and better than in one, of those
/// that the search itself measured whole.
fn front(model: &Model) -> BTreeSet<i64> {
    let figure = |candidate, kind| {
        let of = (candidate, kind, TaskPurpose::Search);
        let mut accepted = model.measurements.values().filter(|kept| kept.accepted);
        let kept = accepted.find(|kept| model.numbers.get(&kept.token.task) == Some(&of));
        kept.and_then(|kept| kept.figure)
    };
    let infeasible = model.infeasible();
    let whole = model
        .candidates
        .iter()
        .filter(|(id, _)| !infeasible.contains(id));
    let points: Vec<(i64, [f64; 3])> = whole
        .filter_map(|(&id, (_, size))| {
            let (quality, latency) = (TaskKind::Quality, TaskKind::Latency);
            Some((id, [figure(id, quality)?, figure(id, latency)?, *size]))
        })
        .collect();
    let dominates = |one: &[f64; 3], other: &[f64; 3]| {
        one != other && one.iter().zip(other).all(|(one, other)| one <= other)
    };
    let is_free = |point: &[f64; 3]| !points.iter().any(|(_, other)| dominates(other, point));
    points
        .iter()
        .filter(|(_, point)| is_free(point))
        .map(|(id, _)| *id)
        .collect()
}
