//! Figures that have a pass of their own, so that taking them disturbs no timing.

use serde::{Deserialize, Serialize};

/// How a plan starts in a process of its own, which holds nothing else.
///
/// An agent's process holds much beside a plan, and its allocator keeps what earlier plans gave up,
/// so nothing that is read of it compares plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cold_start")]
pub enum ColdStart {
    /// It was measured.
    Measured(Cold),
    /// It was not measured.
    NotMeasured {
        /// Why, for people.
        reason: String,
    },
}

impl ColdStart {
    /// The figures, where there are some.
    pub fn measured(&self) -> Option<&Cold> {
        match self {
            Self::Measured(cold) => Some(cold),
            Self::NotMeasured { .. } => None,
        }
    }

    /// Why there are none.
    pub fn not_measured(&self) -> Option<&str> {
        match self {
            Self::Measured(_) => None,
            Self::NotMeasured { reason } => Some(reason),
        }
    }
}

/// What a plan costs before it runs steadily.
///
/// *Cold* means that no matrix of the plan is in memory or packed. It does not mean a cold disk:
/// the operating system may hold the files in its page cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cold {
    /// Time from the plan to its matrices in memory, read from the device's disk and checked, in
    /// nanoseconds.
    pub load_ns: u64,
    /// Tokens of each prompt that the first token follows.
    pub prompt_tokens: u32,
    /// Prompts that were read at once.
    pub batch: u32,
    /// Time of the first token after that, in nanoseconds: the pass over the prompts with an empty
    /// cache, and what the engine does once for every matrix, such as packing it.
    pub first_token_ns: u64,
    /// Resident memory of the process just before the plan was loaded, in bytes: the engine and its
    /// program, which are the same for every plan. Absent where the platform does not tell.
    pub memory_before_bytes: Option<u64>,
    /// Peak resident memory of the process from its start to the first token, in bytes: what it was
    /// before, the matrices with the engine's packed copies, the cache of the prompts, and what the
    /// load and the pass needed for a while. Absent where the platform does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes of the plan's matrices as they are stored, without the engine's packed copies.
    pub weight_bytes: u64,
}

/// The energy of one token, where a counter of the device tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "energy")]
pub enum Energy {
    /// It was measured.
    Measured {
        /// Which counter: `rapl:package-0`; several are joined by ` + `.
        source: String,
        /// Energy of one token in joules, the idle device's share subtracted; below 0 where the
        /// device drew less than when it was idle.
        joules_per_token: f64,
        /// What the idle device drew just before, in watts.
        idle_watts: f64,
        /// What the counters counted during the pass, in joules.
        joules: f64,
        /// How long the pass took, in nanoseconds.
        duration_ns: u64,
        /// Tokens in the pass.
        tokens: u64,
    },
    /// It was not measured.
    NotMeasured {
        /// Why, for people.
        reason: String,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_start_reads_back_and_names_what_it_is() {
        let cold = Cold {
            load_ns: 1,
            prompt_tokens: 2,
            batch: 3,
            first_token_ns: 4,
            memory_before_bytes: Some(5),
            peak_memory_bytes: None,
            weight_bytes: 6,
        };
        let reason = "no memory".to_owned();
        for (start, name) in [
            (ColdStart::Measured(cold), "measured"),
            (ColdStart::NotMeasured { reason }, "not_measured"),
        ] {
            let stored = serde_json::to_value(&start).unwrap();
            assert_eq!(stored["cold_start"], name);
            assert_eq!(serde_json::from_value::<ColdStart>(stored).unwrap(), start);
            assert_ne!(start.measured().is_some(), start.not_measured().is_some());
        }
    }
}
