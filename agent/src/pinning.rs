//! Holds the measuring threads to their cores, and the other threads of the process off them.
//!
//! The engine makes its own threads when it starts, and Linux gives a new thread the cores of the
//! thread that makes it. How many threads there are is only known once they are made, so they are
//! held to their cores afterwards, by number. Threads that the engine makes later, such as
//! rayon's at the first float product, are made by threads that are held already. candle moves no
//! thread by itself unless `CANDLE_CPU_MASK` or `CANDLE_CPU_AFFINITY` is set.
//!
//! All measuring threads are held to the same set and not one to a core: rayon's threads would
//! otherwise have no core of their own, and inside a set that has as many cores as threads the
//! kernel has no reason to move one.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

use bitfront_model::Mark;
use bitfront_runtime::RuntimeIdentity;
use serde::{Deserialize, Serialize};

#[cfg(not(target_os = "linux"))]
use elsewhere as platform;
#[cfg(target_os = "linux")]
use linux as platform;

use crate::cores::{CoreChoice, CoresError};

/// The measuring thread's name; threads that are made without a name inherit it. Whatever uses the
/// engine in an agent's process beside the agent does so on a thread of this name, so that the
/// threads that the engine makes there are known as its own.
pub const MEASURING_THREAD: &str = "measure";

/// Where the measuring threads are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pinning {
    /// To these cores.
    Held(Held),
    /// Nowhere, and why.
    Free(String),
}

/// The cores that the measuring threads are held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// In the order in which they were chosen.
    pub(crate) cores: Vec<u32>,
    /// How they lie, as the hardware profile has it.
    pub(crate) placement: String,
    /// What is left for the other threads: none where they share the measuring ones'.
    others: Vec<u32>,
    /// All that the process may use.
    allowed: Vec<u32>,
}

impl Pinning {
    /// Chooses cores for the calling thread and its engine's, and holds them there.
    ///
    /// # Errors
    ///
    /// Cores were named that cannot be had. Without named ones a platform that holds no thread is
    /// no error: nothing is held then, and the figures say so.
    pub(crate) fn hold(
        choice: &CoreChoice,
        identity: &RuntimeIdentity,
    ) -> Result<Self, CoresError> {
        let left_free = "left to the operating system, as asked for".to_owned();
        let found = match choice {
            CoreChoice::Any => return Ok(Self::Free(left_free)),
            CoreChoice::Named(_) | CoreChoice::Automatic => platform::hold(choice, identity),
        };
        match found {
            Err(CoresError::Unsupported { reason }) if *choice == CoreChoice::Automatic => {
                tracing::warn!("the measuring threads are not held to cores: {reason}");
                Ok(Self::Free(reason))
            }
            found => found.map(Self::Held),
        }
    }

    /// The cores, none where nothing is held.
    pub(crate) fn cores(&self) -> &[u32] {
        match self {
            Self::Held(held) => &held.cores,
            Self::Free(_) => &[],
        }
    }

    /// How they lie, where they are held.
    pub(crate) fn placement(&self) -> Option<String> {
        match self {
            Self::Held(held) => Some(held.placement.clone()),
            Self::Free(_) => None,
        }
    }

    /// Why nothing is held.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Held(_) => None,
            Self::Free(reason) => Some(reason),
        }
    }

    /// What this makes of every latency.
    pub(crate) fn mark(&self) -> Option<Mark> {
        match self {
            Self::Free(_) => Some(Mark::NotPinned),
            Self::Held(held) => held.others.is_empty().then_some(Mark::CoresShared),
        }
    }

    /// As if threads were held.
    #[cfg(test)]
    pub(crate) fn held_for_test(cores: &[u32], others: &[u32]) -> Self {
        Self::Held(Held {
            cores: cores.to_vec(),
            placement: "for a test".to_owned(),
            others: others.to_vec(),
            allowed: [cores, others].concat(),
        })
    }

    /// Keeps the threads of a process that measures nothing itself off the cores: the threads of
    /// the one that measures are held to them.
    pub(crate) fn keep_off(&self) {
        if let Self::Held(held) = self
            && !held.others.is_empty()
        {
            platform::keep_off(held);
        }
    }

    /// Lets the other threads of the process go wherever they could before.
    pub(crate) fn release(&self) {
        if let Self::Held(held) = self {
            platform::release(held);
        }
    }
}

/// How the cores lie that an agent will be held to; none where it will not be.
pub(crate) fn placement(choice: &CoreChoice, identity: &RuntimeIdentity) -> Option<String> {
    match choice {
        CoreChoice::Any => None,
        CoreChoice::Named(_) | CoreChoice::Automatic => platform::placement(choice, identity),
    }
}
