//! Why an agent ends.

use std::io;
use std::path::PathBuf;

use bitfront_runtime::RuntimeError;
use tonic::transport::Uri;

use crate::CoresError;

/// Why an agent could not start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The runtime cannot work on this device.
    #[error("the runtime cannot start: {0}")]
    Runtime(#[source] RuntimeError),
    /// The operating system gives no thread to measure on.
    #[error("the measuring thread cannot be started: {0}")]
    Thread(#[source] io::Error),
    /// The process that measures cannot be started, or says why it cannot measure.
    #[error("{0}")]
    WorkerCannotStart(String),
    /// The cores to measure on cannot be had.
    #[error(transparent)]
    Cores(#[from] CoresError),
    /// Another agent keeps its unsent reports in the same folder.
    #[error(
        "another agent keeps its reports in `{}`: stop it, or give this one another name with \
         --name", folder.display()
    )]
    SpoolInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// No coordinator was named.
    #[error("no coordinator is named")]
    NoCoordinator,
    /// Nothing answers at the coordinator's address.
    #[error(
        "no coordinator answers at {urls}: {reason}; start one with `bitfront serve`, or correct \
         the address"
    )]
    Unreachable {
        /// Where it was looked for.
        urls: String,
        /// What the transport says.
        reason: String,
    },
    /// The coordinator is not trusted, or does not trust this agent.
    #[error("cannot serve the coordinator at {url}: {reason}")]
    Untrusted {
        /// The coordinator.
        url: Uri,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The coordinator answers and will not have this agent.
    #[error("the coordinator at {url} refuses to {what}: {reason}")]
    Refused {
        /// Who refuses.
        url: Uri,
        /// What was asked.
        what: &'static str,
        /// What it says.
        reason: String,
    },
    /// The runtime brought its thread down; its lease was given back.
    #[error("the measuring thread ended: {0}")]
    WorkerEnded(String),
}
