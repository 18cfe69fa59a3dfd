//! Figures that have a pass of their own, so that taking them disturbs no timing.

use serde::{Deserialize, Serialize};

/// What a plan costs before it runs steadily.
///
/// *Cold* means that no matrix of the plan is in memory or packed. It does not mean a cold disk:
/// the operating system may hold the files in its page cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cold {
    /// Time from the plan to its matrices in memory, read from the device's disk and checked, in
    /// nanoseconds.
    pub load_ns: u64,
    /// Tokens of the prompt that the first token follows.
    pub prompt_tokens: u32,
    /// Time of the first token after that, in nanoseconds: the pass over the prompt with an empty
    /// cache, and what the engine does once for every matrix, such as packing it.
    pub first_token_ns: u64,
    /// Resident memory of the process just before, in bytes: all that an agent holds beside the
    /// plan, and what its allocator has kept of earlier ones.
    pub resident_before_bytes: Option<u64>,
    /// Peak resident memory of the process during the pass, in bytes; absent where the platform
    /// does not count from a given moment. What it is more than before is not what the plan takes:
    /// a plan that is loaded into memory which the allocator has kept adds nothing.
    pub peak_resident_bytes: Option<u64>,
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
