//! Every check of a request: what passes here is carried out as it is. A client says earlier only
//! what it could not make a request of.

use std::time::Duration;

use bitfront_model::{
    Budget, DataSpec, EarlyStop, ImatrixSource, Limits, Objective, SearchRequest, SpecError,
    Workload,
};

use crate::error::known_devices;
use crate::space::{SearchSpace, SpaceError};

/// Longer budgets are typing errors: nobody waits ten years.
const LONGEST_TIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// More evaluations than any device makes in ten years.
const MOST_EVALUATIONS: u64 = 1_000_000_000;

/// A request cannot be served; the message names the field and says what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum IntakeError {
    /// The spec is not sound.
    #[error("request.spec: {0}")]
    Spec(#[from] SpecError),
    /// The spec and the subject are two models.
    #[error("request.subject.model.digest: is {subject}, but the spec describes {spec}")]
    OtherModel {
        /// In the subject.
        subject: String,
        /// In the spec.
        spec: String,
    },
    /// A field has a value that cannot be.
    #[error("request.{field}: {problem}")]
    Field {
        /// The path of the field.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// There is no space to search.
    #[error("request.precisions: {0}")]
    Space(#[from] SpaceError),
    /// The size limit leaves nothing.
    #[error(
        "request.limits.max_size_bytes: {limit} bytes cannot be reached, the smallest plan over \
         these precisions has {smallest} bytes; allow more, or add a precision with fewer bits"
    )]
    MaxSize {
        /// What was asked for.
        limit: u64,
        /// What can be reached.
        smallest: u64,
    },
    /// There is no device of that name.
    #[error(
        "request.device: there is no device `{name}`; {}",
        known_devices(known)
    )]
    Device {
        /// What was asked for.
        name: String,
        /// The devices that there are.
        known: Vec<String>,
    },
}

pub(crate) fn wrong(field: &'static str, problem: impl Into<String>) -> IntakeError {
    IntakeError::Field {
        field,
        problem: problem.into(),
    }
}

/// The first few of some things, and how many more there are.
pub(crate) fn listed(things: &[String]) -> String {
    const MOST: usize = 5;
    let shown = things[..things.len().min(MOST)].join(", ");
    match things.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Checks a request whole. `devices` are the names of all devices that ever registered.
pub(crate) fn check(request: &SearchRequest, devices: &[String]) -> Result<(), IntakeError> {
    request.spec.check()?;
    check_subject(request)?;
    check_objectives(&request.objectives)?;
    check_workloads(request)?;
    check_budget(&request.budget)?;
    check_limits(&request.limits)?;
    check_early_stop(request)?;
    check_space(request)?;
    match &request.device {
        Some(name) if !devices.contains(name) => Err(IntakeError::Device {
            name: name.clone(),
            known: devices.to_vec(),
        }),
        _ => Ok(()),
    }
}

fn check_subject(request: &SearchRequest) -> Result<(), IntakeError> {
    let (subject, spec) = (&request.subject, &request.spec);
    if subject.model.digest != spec.digest {
        return Err(IntakeError::OtherModel {
            subject: subject.model.digest.to_string(),
            spec: spec.digest.to_string(),
        });
    }
    if subject.model.path.is_empty() {
        return Err(wrong("subject.model.path", "is empty; name a model"));
    }
    if let Err(error) = subject.manifest.check() {
        return Err(wrong("subject.manifest", error.to_string()));
    }
    let data = &subject.data;
    if data.evaluation_path.is_empty() {
        return Err(wrong(
            "subject.data.evaluation_path",
            "is empty; name a text",
        ));
    }
    let least = DataSpec::LEAST_CONTEXT;
    if data.context < least {
        return Err(wrong(
            "subject.data.context",
            format!(
                "is {} tokens; a window needs at least {least}",
                data.context
            ),
        ));
    }
    if u64::from(data.context) > spec.context_length {
        return Err(wrong(
            "subject.data.context",
            format!(
                "is {} tokens, but the model was made for {} at most",
                data.context, spec.context_length
            ),
        ));
    }
    let least = DataSpec::LEAST_EVALUATION_WINDOWS;
    if data.evaluation_windows < least {
        return Err(wrong(
            "subject.data.evaluation_windows",
            format!(
                "is {}; the error of a divergence is taken over windows, so at least {least} must \
                 be scored",
                data.evaluation_windows
            ),
        ));
    }
    if data
        .held_back
        .is_some_and(|held_back| held_back.windows == 0)
    {
        return Err(wrong(
            "subject.data.held_back",
            "has 0 windows; leave it out where none are held back",
        ));
    }
    if subject.imatrix == ImatrixSource::Calibration && data.calibration_windows == 0 {
        return Err(wrong(
            "subject.data.calibration_windows",
            "is 0; an imatrix needs at least one, or none is to be used",
        ));
    }
    Ok(())
}

fn check_objectives(objectives: &[Objective]) -> Result<(), IntakeError> {
    if !(2..=3).contains(&objectives.len()) {
        return Err(wrong(
            "objectives",
            format!("{} are given; name two or three", objectives.len()),
        ));
    }
    if objectives.contains(&Objective::Mismatch) {
        return Err(wrong(
            "objectives",
            "`mismatch` bears a limit (min_same_top) and is no objective: over the same positions \
             `kld` tells plans apart far better",
        ));
    }
    for (position, objective) in objectives.iter().enumerate() {
        if objectives[..position].contains(objective) {
            return Err(wrong("objectives", format!("`{objective}` is named twice")));
        }
    }
    Ok(())
}

fn check_workloads(request: &SearchRequest) -> Result<(), IntakeError> {
    let decodes = request
        .workloads
        .iter()
        .filter(|workload| workload.is_decode())
        .count();
    if (decodes, request.workloads.len()) != (1, 2) {
        let given: Vec<_> = request.workloads.iter().map(ToString::to_string).collect();
        return Err(wrong(
            "workloads",
            format!(
                "exactly one prefill and one decode are expected, given are [{}]",
                given.join(", ")
            ),
        ));
    }
    for workload in &request.workloads {
        let (tokens, batch) = (workload.positions(), workload.batch());
        if !(1..=Workload::MOST_BATCH).contains(&batch) {
            return Err(wrong(
                "workloads",
                format!(
                    "`{workload}` has a batch of {batch}; 1 to {} sequences are possible",
                    Workload::MOST_BATCH
                ),
            ));
        }
        if tokens == 0 || tokens > request.spec.context_length {
            return Err(wrong(
                "workloads",
                format!(
                    "`{workload}` needs {tokens} tokens of context, the model was made for 1 to {}",
                    request.spec.context_length
                ),
            ));
        }
        // Every sequence of a batch reads another part of the text.
        let data = &request.subject.data;
        let (needed, text) = (
            tokens + u64::from(batch) - 1,
            u64::from(data.evaluation_windows) * u64::from(data.context),
        );
        if needed > text {
            return Err(wrong(
                "workloads",
                format!(
                    "`{workload}` needs an evaluation text of {needed} tokens, the windows have \
                     {text}"
                ),
            ));
        }
    }
    Ok(())
}

/// Checks a budget; also that of a search that is continued.
pub(crate) fn check_budget(budget: &Budget) -> Result<(), IntakeError> {
    match *budget {
        Budget {
            evaluations: None,
            time: None,
        } => Err(wrong(
            "budget",
            "is empty; give a number of evaluations, a time or both",
        )),
        Budget {
            evaluations: Some(evaluations),
            ..
        } if !(1..=MOST_EVALUATIONS).contains(&evaluations) => Err(wrong(
            "budget.evaluations",
            format!("is {evaluations}; 1 to {MOST_EVALUATIONS} are possible"),
        )),
        Budget {
            time: Some(time), ..
        } if time < Duration::from_millis(1) || time > LONGEST_TIME => Err(wrong(
            "budget.time",
            format!("is {time:?}; 1 ms to 10 years are possible"),
        )),
        _ => Ok(()),
    }
}

/// Checks limits; also those of a question for the best plan.
pub(crate) fn check_limits(limits: &Limits) -> Result<(), IntakeError> {
    if let Some(kld) = limits.max_kld
        && !(kld.is_finite() && kld > 0.0)
    {
        return Err(wrong(
            "limits.max_kld",
            format!("is {kld}; a positive number of nats is expected"),
        ));
    }
    if let Some(least) = limits.min_same_top
        && !(least > 0.0 && least < 1.0)
    {
        return Err(wrong(
            "limits.min_same_top",
            format!(
                "is {least}; a share between 0 and 1 is expected, and 1 is kept by the unquantized \
                 model alone"
            ),
        ));
    }
    if limits.max_size_bytes == Some(0) {
        return Err(wrong(
            "limits.max_size_bytes",
            "is 0; nothing is that small",
        ));
    }
    if limits.max_decode == Some(Duration::ZERO) {
        return Err(wrong("limits.max_decode_ns", "is 0; nothing is that fast"));
    }
    Ok(())
}

fn check_early_stop(request: &SearchRequest) -> Result<(), IntakeError> {
    let EarlyStop {
        stalled,
        within_limits,
    } = request.early_stop;
    if let Some(rule) = stalled {
        if !(1..=MOST_EVALUATIONS).contains(&rule.evaluations) {
            return Err(wrong(
                "early_stop.stalled.evaluations",
                format!(
                    "is {}; 1 to {MOST_EVALUATIONS} are possible",
                    rule.evaluations
                ),
            ));
        }
        if !(rule.least_growth > 0.0 && rule.least_growth < 1.0) {
            return Err(wrong(
                "early_stop.stalled.least_growth",
                format!(
                    "is {}; a share between 0 and 1 is expected",
                    rule.least_growth
                ),
            ));
        }
    }
    if within_limits && request.limits == Limits::default() {
        return Err(wrong(
            "early_stop.within_limits",
            "there is no limit that a plan could keep; set at least one",
        ));
    }
    Ok(())
}

fn check_space(request: &SearchRequest) -> Result<(), IntakeError> {
    if request.precisions.is_empty() {
        return Err(wrong("precisions", "is empty; name at least one precision"));
    }
    for (position, precision) in request.precisions.iter().enumerate() {
        if request.precisions[..position].contains(precision) {
            return Err(wrong("precisions", format!("`{precision}` is named twice")));
        }
    }
    let space = SearchSpace::new(&request.spec, &request.precisions, request.grouping)?;
    let smallest = space.smallest_bytes(&request.spec);
    match request.limits.max_size_bytes {
        Some(limit) if limit < smallest => Err(IntakeError::MaxSize { limit, smallest }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
