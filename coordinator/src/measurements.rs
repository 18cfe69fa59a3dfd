//! Reports: checked against their task and appended.

use std::sync::Arc;

use bitfront_model::{Outcome, ProbeReport, Receipt, Report, TaskKind};

use crate::error::ServiceError;
use crate::leasing::Leasing;
use crate::store::TaskFacts;
use crate::world::World;

/// Takes a report in; the answer comes after the commit. An agent may send a report as often as
/// it likes until it has heard an answer: it counts once.
pub(crate) async fn report(
    world: &Arc<World>,
    leasing: &Leasing,
    report: &Report,
) -> Result<Receipt, ServiceError> {
    let token = report.token;
    let facts = world
        .store
        .task(token.task)
        .await?
        .filter(|facts| (1..=facts.epoch).contains(&token.epoch))
        .ok_or(ServiceError::UnknownLease {
            task: token.task,
            epoch: token.epoch,
        })?;
    if let Some(problem) = problem(report, &facts) {
        return Err(ServiceError::WrongReport {
            task: token.task,
            problem,
        });
    }
    let receipt = world.store.record(report, world.clock.now_ms()).await?;
    leasing.forget(token);
    tracing::debug!(task = token.task, epoch = token.epoch, ?receipt, "report");
    world.wakeups.search(facts.search);
    Ok(receipt)
}

/// Takes the report of a probe in, as [`report`] does: searches that wait for it look again.
pub(crate) async fn probe(
    world: &Arc<World>,
    leasing: &Leasing,
    report: &ProbeReport,
) -> Result<Receipt, ServiceError> {
    let token = report.token;
    let facts = world
        .store
        .probe_task(token.task)
        .await?
        .filter(|facts| (1..=facts.epoch).contains(&token.epoch))
        .ok_or(ServiceError::UnknownLease {
            task: token.task,
            epoch: token.epoch,
        })?;
    let problem = match report.question_digest == facts.question_digest {
        true => report.probe.problem(&facts.question),
        false => Some("another question was answered".to_owned()),
    };
    if let Some(problem) = problem {
        return Err(ServiceError::WrongReport {
            task: token.task,
            problem,
        });
    }
    let now = world.clock.now_ms();
    let receipt = world.store.record_probe(report, now).await?;
    leasing.forget(token);
    tracing::debug!(task = token.task, epoch = token.epoch, ?receipt, "probe");
    world.wakeups.devices();
    Ok(receipt)
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
        (Outcome::Quality(quality), TaskKind::Quality) => (quality.positions == 0
            || quality.kld_windows.is_empty())
        .then(|| "the quality has no samples".to_owned()),
        (Outcome::Latency { workloads }, TaskKind::Latency) => {
            let timed: Vec<_> = workloads.iter().map(|latency| latency.workload).collect();
            if timed != facts.workloads {
                return Some("other workloads were timed than asked for".to_owned());
            }
            let hollow = workloads
                .iter()
                .find(|latency| latency.samples_ns.is_empty() || latency.median_ns <= 0.0)?;
            Some(format!("`{}` has no samples", hollow.workload))
        }
        (Outcome::Quality(_), TaskKind::Latency) => {
            Some("quality was measured, latency was to be".to_owned())
        }
        (Outcome::Latency { .. }, TaskKind::Quality) => {
            Some("latency was measured, quality was to be".to_owned())
        }
    }
}
