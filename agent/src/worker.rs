//! Who measures: a process that the agent starts and supervises, or a thread of the agent's own.
//!
//! - `measuring`: what the one thread does that measures; nothing else runs on it;
//! - [`process`]: it runs in a process of its own, so that a plan that crashes its engine costs an
//!   attempt of that plan and not the agent;
//! - `expected`: how long that may take before it is ended;
//! - [`pipe`]: what the two say to each other;
//! - [`thread`]: it runs in the agent's process, where starting another one is not worth it.

mod expected;
mod measuring;
mod pipe;
mod process;
mod thread;

use bitfront_model::{
    Answer, Assignment, HardwareProfile, Measurement, NumericsClass, Precision, Question,
};
use serde::{Deserialize, Serialize};

use crate::AgentError;
use crate::pinning::Pinning;

pub(crate) use measuring::Settings;
pub use pipe::work;
pub(crate) use process::Process;
pub use process::WorkerProgram;
pub(crate) use thread::Thread;

/// What the agent is told of who measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) hardware_profile: HardwareProfile,
    pub(crate) numerics_class: NumericsClass,
    /// The precisions that its runtime executes.
    pub(crate) precisions: Vec<Precision>,
    /// Where its threads are held.
    pub(crate) pinning: Pinning,
}

/// Why this device could not measure an assignment. Says nothing about the plan, so it is never
/// reported as a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// Others use the cores that measure.
    #[error("{0}")]
    Busy(String),
    /// The files of the subject hold something else than was submitted, or may do so.
    #[error("{0}")]
    OtherFiles(String),
    #[error("{0}")]
    Failed(String),
}

/// What came of one assignment.
pub(crate) type Found = Result<Measurement, Failure>;

/// What came of a question.
pub(crate) type Answered = Result<Answer, Failure>;

/// Whoever measured ended amid a task, for this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Crash(pub(crate) String);

/// Who measures.
pub(crate) enum Worker {
    Thread(Box<Thread>),
    Process(Box<Process>),
}

impl Worker {
    pub(crate) fn facts(&self) -> &Facts {
        match self {
            Self::Thread(thread) => &thread.facts,
            Self::Process(process) => &process.facts,
        }
    }

    /// Waits until somebody is there to measure, before work is asked for.
    ///
    /// # Errors
    ///
    /// Nobody will be.
    pub(crate) async fn ready(&mut self) -> Result<(), AgentError> {
        match self {
            Self::Thread(thread) => match thread.crash() {
                Some(Crash(reason)) => Err(AgentError::WorkerEnded(reason.clone())),
                None => Ok(()),
            },
            Self::Process(process) => {
                process.ready().await;
                Ok(())
            }
        }
    }

    /// Measures an assignment with its companions, and answers in their order.
    ///
    /// No runtime can be interrupted: dropping the future leaves a thread at its measurement, whose
    /// result is then discarded, and a process until it is dropped.
    pub(crate) async fn measure(
        &mut self,
        assignments: Vec<Assignment>,
    ) -> Result<Vec<Found>, Crash> {
        match self {
            Self::Thread(thread) => thread.measure(assignments).await,
            Self::Process(process) => process.measure(assignments).await,
        }
    }

    /// Answers a question, as [`Self::measure`] measures.
    pub(crate) async fn answer(&mut self, question: Question) -> Result<Answered, Crash> {
        match self {
            Self::Thread(thread) => thread.answer(question).await,
            Self::Process(process) => process.answer(question).await,
        }
    }
}

/// Says what is about to be done.
fn tell(line: &str) {
    tracing::info!("{line}");
}
