//! Reports: checked against their task and appended.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{
    AnswerReport, Latency, Outcome, Receipt, Report, Rescored, TaskKind, TaskPurpose,
};
use tracing::Span;

use crate::error::ServiceError;
use crate::leasing::Leasing;
use crate::store::TaskFacts;
use crate::world::World;

/// Below this no divergence is, but for rounding: that of a plan which loses nothing may come out a
/// little below zero.
const MOST_NEGATIVE: f64 = -1e-4;

/// Takes a report in, as [`take_in`] does, and counts what came of it.
pub(crate) async fn report(
    world: &Arc<World>,
    leasing: &Leasing,
    report: &Report,
) -> Result<Receipt, ServiceError> {
    let lasted = leasing.lasted(report.token);
    let taken_in = take_in(world, leasing, report).await;
    count(world, lasted, &taken_in);
    Ok(taken_in?.0)
}

/// Takes the answer to a question in, as [`report`] does.
pub(crate) async fn answer(
    world: &Arc<World>,
    leasing: &Leasing,
    report: &AnswerReport,
) -> Result<Receipt, ServiceError> {
    let lasted = leasing.lasted(report.token);
    let taken_in = take_answer_in(world, leasing, report).await;
    count(world, lasted, &taken_in);
    Ok(taken_in?.0)
}

/// Counts what came of a report about a task of some kind, whose lease had lasted so long.
fn count(
    world: &World,
    lasted: Option<Duration>,
    taken_in: &Result<(Receipt, &'static str), ServiceError>,
) {
    world.metrics.report(match taken_in {
        Ok((Receipt::Recorded, _)) => "accepted",
        Ok((Receipt::KeptAsRepeat, _)) => "repeat",
        Ok((Receipt::AlreadyReported, _)) => "known",
        Err(ServiceError::UnknownLease { .. }) => "unknown_lease",
        Err(ServiceError::WrongReport { .. }) => "wrong",
        Err(_) => "database",
    });
    if let (Ok((Receipt::Recorded, kind)), Some(lasted)) = (taken_in, lasted) {
        world.metrics.task(kind, lasted);
    }
}

/// Takes a report in; the answer comes after the commit. An agent may send a report as often as
/// it likes until it has heard an answer: it counts once. Says the kind of the task too.
async fn take_in(
    world: &Arc<World>,
    leasing: &Leasing,
    report: &Report,
) -> Result<(Receipt, &'static str), ServiceError> {
    let token = report.token;
    let facts = match leasing.facts(token) {
        Some(facts) => facts,
        None => {
            let facts = world.store.task(token.task).await?;
            let facts = facts.filter(|facts| (1..=facts.epoch).contains(&token.epoch));
            Arc::new(facts.ok_or(ServiceError::UnknownLease {
                task: token.task,
                epoch: token.epoch,
            })?)
        }
    };
    if let Some(problem) = problem(report, &facts) {
        return Err(ServiceError::WrongReport {
            task: token.task,
            problem,
        });
    }
    let receipt = world.recorder.record(report.clone()).await?;
    leasing.reported(token, &report.measurement);
    tracing::debug!(
        search = facts.search,
        task = token.task,
        epoch = token.epoch,
        ?receipt,
        "report"
    );
    Span::current().record("search", facts.search);
    world.wakeups.search(facts.search);
    Ok((receipt, facts.kind.name()))
}

/// Takes the answer to a question in, as [`take_in`] does: searches that wait for it look again.
async fn take_answer_in(
    world: &Arc<World>,
    leasing: &Leasing,
    report: &AnswerReport,
) -> Result<(Receipt, &'static str), ServiceError> {
    let token = report.token;
    let facts = world
        .store
        .question_task(token.task)
        .await?
        .filter(|facts| (1..=facts.epoch).contains(&token.epoch))
        .ok_or(ServiceError::UnknownLease {
            task: token.task,
            epoch: token.epoch,
        })?;
    if let Some(problem) = report.problem(&facts.question) {
        return Err(ServiceError::WrongReport {
            task: token.task,
            problem,
        });
    }
    let now = world.clock.now_ms();
    let receipt = world.store.record_answer(report, now).await?;
    leasing.forget(token);
    let kind = facts.question.kind();
    tracing::debug!(task = token.task, epoch = token.epoch, ?receipt, "{kind}");
    world.wakeups.devices();
    Ok((receipt, kind.name()))
}

/// What keeps a report from being the answer to its task.
fn problem(report: &Report, facts: &TaskFacts) -> Option<String> {
    if report.plan_digest != facts.plan_digest {
        return Some(format!(
            "plan {} was measured, plan {} was to be",
            report.plan_digest, facts.plan_digest
        ));
    }
    let executed = report.measurement.evidence.executed.len();
    match (&report.measurement.outcome, facts.kind) {
        (Outcome::Infeasible { reason }, _) => reason
            .trim()
            .is_empty()
            .then(|| "an infeasible outcome needs a reason".to_owned()),
        _ if executed != facts.layers => Some(format!(
            "{executed} executed precisions are given for {} layers",
            facts.layers
        )),
        (Outcome::Quality(quality), TaskKind::Quality) => {
            if quality.positions == 0 || quality.kld_windows.is_empty() {
                return Some("the quality has no samples".to_owned());
            }
            let divergences = quality.kld_windows.iter().chain([&quality.kld]);
            let strange = |kld: &f64| !kld.is_finite() || *kld < MOST_NEGATIVE;
            if let Some(kld) = divergences.copied().find(strange) {
                return Some(format!("a divergence is {kld}, which none can be"));
            }
            if !(0.0..=1.0).contains(&quality.same_top_rate) {
                let share = quality.same_top_rate;
                return Some(format!("the share of equal top tokens is {share}"));
            }
            rescored_problem(&quality.rescored, facts)
        }
        (Outcome::Latency { workloads }, TaskKind::Latency) => {
            let timed: Vec<_> = workloads.iter().map(|latency| latency.workload).collect();
            if timed != facts.workloads {
                return Some("other workloads were timed than asked for".to_owned());
            }
            let hollow = workloads.iter().find(|it| it.samples_ns.is_empty());
            if let Some(latency) = hollow {
                return Some(format!("`{}` has no samples", latency.workload));
            }
            let strange =
                |latency: &&Latency| !latency.median_ns.is_finite() || latency.median_ns <= 0.0;
            let latency = workloads.iter().find(strange)?;
            Some(format!(
                "the time of `{}` is {} ns, which none can be",
                latency.workload, latency.median_ns
            ))
        }
        (Outcome::Quality(_), TaskKind::Latency) => {
            Some("quality was measured, latency was to be".to_owned())
        }
        (Outcome::Latency { .. }, TaskKind::Quality) => {
            Some("latency was measured, quality was to be".to_owned())
        }
    }
}

/// What keeps windows from being those that a confirmation scores once more. There may be none:
/// agents of earlier versions score none.
fn rescored_problem(rescored: &[Rescored], facts: &TaskFacts) -> Option<String> {
    let most = match facts.purpose {
        TaskPurpose::Search | TaskPurpose::Retime => 0,
        TaskPurpose::Confirm => Rescored::most(facts.windows),
    };
    if rescored.len() > most {
        return Some(format!(
            "{} windows were scored once more, at most {most} were to be",
            rescored.len()
        ));
    }
    let places: HashSet<_> = rescored.iter().map(|one| one.window).collect();
    if places.len() < rescored.len() {
        return Some("a window was scored once more twice".to_owned());
    }
    let outside = places
        .iter()
        .find(|&&place| place >= facts.windows as u64)?;
    Some(format!(
        "window {outside} was scored once more, the text has {}",
        facts.windows
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitfront_model::{Digest, stages};

    #[test]
    fn windows_that_are_scored_once_more_are_held_against_their_text() {
        let facts = |purpose, windows| TaskFacts {
            search: 1,
            kind: TaskKind::Quality,
            purpose,
            epoch: 1,
            plan_digest: Digest::of("plan"),
            layers: 1,
            workloads: Vec::new(),
            windows,
        };
        let problem = |places: &[u64], purpose, windows| {
            let rescored = places.iter().map(|&window| Rescored { window, kld: 0.1 });
            rescored_problem(&rescored.collect::<Vec<_>>(), &facts(purpose, windows))
        };
        let (search, confirm) = (TaskPurpose::Search, TaskPurpose::Confirm);
        for windows in [2, 5, 8, 400] {
            let mut first: Vec<_> = stages::order(windows);
            first.truncate(Rescored::most(windows));
            let first: Vec<_> = first.into_iter().map(|place| place as u64).collect();
            assert_eq!(problem(&first, confirm, windows), None, "{windows}");
            assert_eq!(problem(&[], confirm, windows), None, "an earlier version");
        }
        assert_eq!(problem(&[], search, 8), None);
        let rows: [(&[u64], _, &str); 4] = [
            (&[0], search, "1 windows were scored once more, at most 0"),
            (&[0, 1, 2, 3, 4], confirm, "at most 4 were to be"),
            (&[0, 1, 0], confirm, "twice"),
            (
                &[0, 8],
                confirm,
                "window 8 was scored once more, the text has 8",
            ),
        ];
        for (places, purpose, expected) in rows {
            let found = problem(places, purpose, 8).unwrap_or_default();
            assert!(found.contains(expected), "{found}");
        }
    }
}
