//! One thing to measure, and the lease that it is held under.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Anchor, Digest, Measurement, Plan, Subject, UnknownName, Workload};

/// What a task measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Quality, for one numerics class; to confirm, for one hardware profile.
    Quality,
    /// Latency, for one hardware profile.
    Latency,
}

impl TaskKind {
    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Latency => "latency",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl std::str::FromStr for TaskKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "quality" => Ok(Self::Quality),
            "latency" => Ok(Self::Latency),
            other => Err(UnknownName {
                what: "kind of task",
                name: other.to_owned(),
                known: "quality, latency".to_owned(),
            }),
        }
    }
}

/// What a task is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskPurpose {
    /// A search steers by it.
    Search,
    /// A point that a search has found is measured afresh: quality on held-back windows, latency
    /// in a new timing. No strategy is told.
    Confirm,
    /// A time of a search that its model contradicts is measured once more, as the search measures.
    /// The search steers by this one from then on.
    Retime,
}

impl TaskPurpose {
    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Confirm => "confirm",
            Self::Retime => "retime",
        }
    }
}

impl fmt::Display for TaskPurpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl std::str::FromStr for TaskPurpose {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "search" => Ok(Self::Search),
            "confirm" => Ok(Self::Confirm),
            "retime" => Ok(Self::Retime),
            other => Err(UnknownName {
                what: "purpose of a task",
                name: other.to_owned(),
                known: "search, confirm, retime".to_owned(),
            }),
        }
    }
}

/// Proof that an agent holds a task: the task and the epoch of its lease. Every hand-out raises
/// the epoch, so a token names one hand-out and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseToken {
    /// The task.
    pub task: i64,
    /// The hand-out.
    pub epoch: i64,
}

/// A leased task, complete: all that an agent needs to measure it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Proof of the lease.
    pub token: LeaseToken,
    /// The search it belongs to.
    pub search: i64,
    /// The candidate that is measured.
    pub candidate: i64,
    /// What to measure.
    pub kind: TaskKind,
    /// What for.
    pub purpose: TaskPurpose,
    /// On which weights and text.
    pub subject: Subject,
    /// The plan to execute.
    pub plan: Plan,
    /// What to time; empty for a quality task.
    pub workloads: Vec<Workload>,
    /// The plan to time it beside; none for a quality task.
    pub anchor: Option<Anchor>,
    /// The candidate that it must lose less than; none where all windows are to be scored.
    pub rival: Option<Rival>,
    /// How long the lease lasts without a heartbeat.
    pub lease_time: Duration,
}

/// A measured candidate that is no worse than another in everything but the divergence, which is
/// not known yet: where the other one does not lose less, it can enter no front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rival {
    /// Its number.
    pub candidate: i64,
    /// Its divergence in every window, in the order of the text, in nats.
    pub kld_windows: Vec<f64>,
}

/// What an agent says of a leased task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Proof of the lease.
    pub token: LeaseToken,
    /// Minted by the agent once per measurement, so that a report sent twice counts once.
    pub idempotency_key: String,
    /// The plan that was measured, to catch a mix-up before it is stored.
    pub plan_digest: Digest,
    /// What came out.
    pub measurement: Measurement,
}
