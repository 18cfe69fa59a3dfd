//! The spans of what an agent does, for whoever exports them. Their fields are called as in the
//! log.

use bitfront_model::{Assignment, QuestionAssignment, SPANS};
use tracing::field::Empty;
use tracing::{Span, info_span};

/// Of what, and whose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    /// The device's name in the fleet.
    pub(crate) agent: &'a str,
    pub(crate) device: i64,
}

/// Spans of a task and its companions. Those of the companions are within the first one, since all
/// of them are measured in turns.
pub(crate) fn tasks(whose: Whose<'_>, assignments: &[Assignment]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        let span = info_span!(
            target: SPANS,
            parent: spans.first().and_then(Span::id),
            "task",
            agent = whose.agent,
            device = whose.device,
            search = assignment.search,
            candidate = assignment.candidate,
            task = assignment.token.task,
            epoch = assignment.token.epoch,
            kind = assignment.kind.name(),
            outcome = Empty,
        );
        spans.push(span);
    }
    spans
}

/// A span of a task that asks something of the device.
pub(crate) fn question(whose: Whose<'_>, assignment: &QuestionAssignment) -> Span {
    info_span!(
        target: SPANS,
        "task",
        agent = whose.agent,
        device = whose.device,
        task = assignment.token.task,
        epoch = assignment.token.epoch,
        kind = assignment.question.kind().name(),
        outcome = Empty,
    )
}

/// A span of a file that comes to this device.
pub(crate) fn fetch(what: &'static str, size_bytes: u64) -> Span {
    info_span!(target: SPANS, "fetch", what, size_bytes)
}

/// A span of whoever measures, for the task that is the current one.
pub(crate) fn measure() -> Span {
    info_span!(target: SPANS, "measure")
}

/// A span of what is measured from one word of a worker to its next one.
pub(crate) fn step(step: &str) -> Span {
    info_span!(target: SPANS, "step", step)
}

/// A span of a report, however often it is sent.
pub(crate) fn report() -> Span {
    info_span!(target: SPANS, "report")
}
