//! What is stored, row by row, for tests that hold it against what they know.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Store, StoreError};

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskRow {
    pub(crate) id: i64,
    pub(crate) candidate: i64,
    pub(crate) kind: String,
    pub(crate) purpose: String,
    pub(crate) state: String,
    pub(crate) epoch: i64,
    pub(crate) attempts: i64,
}

/// A hand-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub(crate) task: i64,
    pub(crate) epoch: i64,
    pub(crate) device: i64,
}

/// A measurement, by the figures that tell it from others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MeasurementRow {
    pub(crate) id: i64,
    pub(crate) task: i64,
    pub(crate) epoch: i64,
    pub(crate) idempotency_key: String,
    pub(crate) outcome: String,
    pub(crate) accepted: bool,
    /// The divergence of a quality, the decode step of a latency.
    pub(crate) figure: Option<f64>,
}

/// Everything that promises are about.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) tasks: Vec<TaskRow>,
    pub(crate) leases: Vec<LeaseRow>,
    pub(crate) measurements: Vec<MeasurementRow>,
}

/// A store whose rows can be looked at.
#[async_trait]
pub(crate) trait Audited: Store {
    /// All rows about candidates, by number.
    async fn rows(&self) -> Result<Rows, StoreError>;
    /// Forgets everything, as nothing else does.
    async fn erase(&self) -> Result<(), StoreError>;
    /// The store as another coordinator has it: under a term of its own.
    fn beside(&self) -> Arc<dyn Store>;
}
