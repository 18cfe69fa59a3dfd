//! A device as the coordinator knows it: who it is, whether it is there, what it does, how evenly it
//! measures.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, QuestionKind, Registration, TaskKind, TaskPurpose, UnknownName, Workload};

/// A device that the coordinator knows. Times are milliseconds since the Unix epoch, by the
/// coordinator's clock: nothing here is by the device's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its number.
    pub device_id: i64,
    /// What its agent said at its last start.
    pub registration: Registration,
    /// When it registered first.
    pub first_seen_ms: i64,
    /// When it was heard from last: a start, a call for work, a heartbeat or a report; the last
    /// start, lease or report where that was before the coordinator started or to another one.
    pub last_seen_ms: i64,
    /// Measurements that it handed in.
    pub measurements: u64,
    /// Whether it is there.
    pub state: DeviceState,
    /// The agent that spoke for it last: a number minted at the agent's start.
    pub agent: Option<String>,
    /// Where the coordinator listens that its agent speaks to, while that one serves.
    pub coordinator: Option<String>,
    /// What it measures, in the order in which it was leased; the first one, its companions.
    pub held: Vec<HeldTask>,
    /// How evenly it times; none where it has timed too little.
    pub noise: Option<TimingNoise>,
}

impl Device {
    /// It is there, and searches may count on it.
    pub fn serves(&self) -> bool {
        self.state == DeviceState::Present
    }
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// It was heard from within the time of a lease.
    Present,
    /// It was heard from since the coordinator started, and for longer than the time of a lease is
    /// not any more: its agent ended, or cannot get through. What it held is given to others.
    Silent,
    /// It was not heard from since the coordinator started.
    Away,
}

impl DeviceState {
    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Silent => "silent",
            Self::Away => "away",
        }
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for DeviceState {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Present, Self::Silent, Self::Away]
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or_else(|| UnknownName {
                what: "state of a device",
                name: text.to_owned(),
                known: "present, silent, away".to_owned(),
            })
    }
}

/// A task that a device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldTask {
    /// What it is about.
    pub work: Work,
    /// When it was leased, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// What a task is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A candidate is measured.
    Candidate {
        /// Its search.
        search: i64,
        /// Its number.
        candidate: i64,
        /// What is measured.
        kind: TaskKind,
        /// What for.
        purpose: TaskPurpose,
    },
    /// A question is answered.
    Question {
        /// Its number.
        question: i64,
        /// What it is about.
        kind: QuestionKind,
    },
}

/// How far the time of one and the same plan lies apart from one timing of a device to the next.
///
/// The plan is the anchor that candidates are timed beside, so this is the noise of a time, in
/// which slow changes of the device (heat, another frequency, what else runs) are the largest
/// part; ratios to the anchor, by which plans are compared, are free of those.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimingNoise {
    /// Standard deviation of the time of one step, as a share of it; a robust one, which single
    /// outliers do not move.
    pub deviation: f64,
    /// Timings that it is taken from: the latest ones beside that anchor.
    pub timings: u64,
    /// The plan.
    pub anchor: Digest,
    /// What was timed.
    pub workload: Workload,
}
