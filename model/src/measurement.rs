//! What came back. No number without its evidence.

use serde::{Deserialize, Serialize};

use crate::{AnchorTime, ColdStart, Condition, Digest, Energy, Mark, Precision, Workload};

/// A range that holds the true value with a stated probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The probability, such as 0.95.
    pub confidence: f64,
}

/// Quality of a plan against the unquantized model, over the second half of every window: a
/// window's first half only gives context, as in llama.cpp's `llama-perplexity`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Mean KL divergence over the text, in nats: of all scored positions, or, where scoring
    /// [`stopped`](Self::stopped), what they let expect of all.
    pub kld: f64,
    /// Standard error of that figure over windows: positions of one window share its context, and
    /// are no independent samples.
    pub kld_standard_error: f64,
    /// Mean KL divergence of each scored window: the raw samples. In the order of the text, or,
    /// where scoring stopped, in that of [`stages::order`](crate::stages::order).
    pub kld_windows: Vec<f64>,
    /// Perplexity under the plan.
    pub perplexity: f64,
    /// Perplexity of the unquantized model on the same positions.
    pub reference_perplexity: f64,
    /// Share of positions at which both models rank the same token first.
    pub same_top_rate: f64,
    /// That share in each scored window, in the order of [`kld_windows`](Self::kld_windows); empty
    /// in measurements that were made without.
    #[serde(default)]
    pub same_top_windows: Vec<f64>,
    /// Scored positions.
    pub positions: u64,
    /// Why not all windows were scored; none where they were. The perplexities and the rate are
    /// over the scored ones.
    #[serde(default)]
    pub stopped: Option<Stopped>,
    /// The search's own windows that were scored once more to confirm, at most as many as
    /// [`Rescored::most`] allows; empty in what a search steers by, and in confirmations that were
    /// made without.
    #[serde(default)]
    pub rescored: Vec<Rescored>,
}

impl Quality {
    /// Share of positions at which the two models rank another token first.
    pub fn mismatch(&self) -> f64 {
        1.0 - self.same_top_rate
    }
}

/// A window of the text that a search scores, scored once more beside a confirmation: other windows
/// say little of whether the device computes what its numerics class does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rescored {
    /// Its place in the text.
    pub window: u64,
    /// Its mean KL divergence, in nats.
    pub kld: f64,
}

impl Rescored {
    /// How many windows of a text are scored once more: those of the first of its
    /// [`stages`](crate::stages).
    pub fn most(windows: usize) -> usize {
        crate::stages::ends(windows).first().copied().unwrap_or(0)
    }
}

/// A plan was given up before the last window, since it would not have been told to lose
/// less than a rival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The windows of the whole text.
    pub windows: u64,
    /// The candidate that it was behind: no larger and no slower.
    pub behind: i64,
}

/// The time of one workload under a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// What was timed.
    pub workload: Workload,
    /// Raw samples in the order in which they were taken, in nanoseconds: of one pass for a
    /// prefill, of all of a sample's steps for a decode.
    pub samples_ns: Vec<u64>,
    /// Time of one pass, or of one decode step, in nanoseconds: the anchor's time multiplied
    /// with [`Paired::ratio`]. The median of the samples where the plan was timed alone.
    pub median_ns: f64,
    /// Interval of that time, in nanoseconds; it holds the errors of both factors.
    pub interval: Interval,
    /// Time spent warming up, in nanoseconds.
    pub warm_up_ns: u64,
    /// How slow the slow ones were; empty in measurements that were made without.
    #[serde(default)]
    pub percentiles: Vec<Percentile>,
    /// How the plan was timed beside the anchor; none where it was timed alone.
    #[serde(default)]
    pub paired: Option<Paired>,
}

impl Latency {
    /// True where the time limit came before the interval was as narrow as asked for.
    pub fn is_noisy(&self) -> bool {
        self.paired.as_ref().is_some_and(|paired| paired.noisy)
    }
}

/// A percentile of the raw samples, by pass or by step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// Which one, such as 99.
    pub percent: u32,
    /// The value, in nanoseconds.
    pub value_ns: f64,
    /// Distribution-free interval; its confidence says what it really covers, since few samples
    /// say little of a far percentile.
    pub interval: Interval,
}

/// How a plan was timed beside the anchor.
///
/// In a block the anchor and the candidates take turns in a random order; each turn is several
/// samples, and stands for their median. A disturbance that lasts longer than a block slows both
/// sides alike, so their ratio stays what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The plan of the anchor.
    pub anchor: Digest,
    /// Median over the blocks of the candidate's time through the anchor's.
    pub ratio: f64,
    /// Distribution-free interval of that median.
    pub ratio_interval: Interval,
    /// Samples in one turn of the candidate: [`Latency::samples_ns`] is cut into blocks by it.
    pub samples_per_block: u32,
    /// The anchor's raw samples in the same blocks, in nanoseconds.
    pub anchor_samples_ns: Vec<u64>,
    /// Samples in one turn of the anchor.
    pub anchor_samples_per_block: u32,
    /// Blocks that were measured again, since the anchor or the candidate moved away from its
    /// neighbours in time.
    pub discarded_blocks: u32,
    /// For how long the measuring thread was ready to run but waited for its core, over all samples
    /// of this timing, the anchor's and the other candidates' among them, in nanoseconds. It is
    /// taken out of the samples; zero where the platform does not tell, and in measurements that
    /// were made without.
    #[serde(default)]
    pub waited_ns: u64,
    /// The time of the anchor that the ratio was multiplied with.
    pub reference: AnchorTime,
    /// The time limit came before the interval of the ratio was as narrow as asked for.
    pub noisy: bool,
}

/// What the device was like while it measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Host name.
    pub host: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Load average over one minute before the measurement.
    pub load_average: Option<f64>,
    /// Clock of the first core before the measurement, in MHz.
    pub frequency_mhz: Option<f64>,
    /// Peak resident memory of the measuring process, in bytes.
    pub peak_resident_bytes: Option<u64>,
    /// The cores that the measuring threads were held to, in the order in which they were chosen;
    /// empty where they were not held, and in measurements that were made without.
    #[serde(default)]
    pub pinned_cores: Vec<u32>,
    /// Why they were not held, where that was tried or left out.
    #[serde(default)]
    pub not_pinned: Option<String>,
    /// What the sensors said just before a timing; none for other figures, and in measurements that
    /// were made without.
    #[serde(default)]
    pub before: Option<Condition>,
    /// What they said just after it.
    #[serde(default)]
    pub after: Option<Condition>,
    /// Reasons to trust a latency less; empty for other figures.
    #[serde(default)]
    pub marks: Vec<Mark>,
}

/// The precision in which each layer really executed, read back from the runtime in canonical
/// order. Where it differs from the plan, the request was not honoured.
pub type Executed = Vec<Precision>;

/// How a measurement was made, and what was taken beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The precision in which each layer really executed; empty where nothing ran.
    pub executed: Executed,
    /// The imatrix that the tensors were quantized with.
    pub imatrix_digest: Option<Digest>,
    /// What the device was like.
    pub environment: Environment,
    /// The cold start of the plan; taken with a latency that is to be published, and absent in
    /// other measurements. Stored under a name of its own: what older measurements have under
    /// `cold` are figures of the agent's process, which compare with none of these.
    #[serde(default, rename = "cold_start")]
    pub cold: Option<ColdStart>,
    /// The energy of a token, or why it was not measured; absent where `cold` is.
    #[serde(default)]
    pub energy: Option<Energy>,
    /// Time the whole measurement took, in nanoseconds.
    pub duration_ns: u64,
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Quality was measured.
    Quality(Quality),
    /// Latency was measured, one entry a workload.
    Latency {
        /// In the order of the request.
        workloads: Vec<Latency>,
    },
    /// The plan cannot be executed here; this is a result, not an error.
    Infeasible {
        /// Why, for people.
        reason: String,
    },
}

/// One measurement: what came to be known and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What came out.
    pub outcome: Outcome,
    /// How it was made.
    pub evidence: Evidence,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_that_was_stored_without_rescored_windows_reads() {
        let stored = r#"{"kld": 0.1, "kld_standard_error": 0.01, "kld_windows": [0.05, 0.15],
            "perplexity": 11.0, "reference_perplexity": 10.0, "same_top_rate": 0.75,
            "positions": 128, "stopped": null}"#;
        let quality: Result<Quality, _> = serde_json::from_str(stored);
        assert!(quality.is_ok_and(|quality| quality.rescored.is_empty()
            && quality.same_top_windows.is_empty()
            && quality.mismatch() == 0.25));
    }

    #[test]
    fn only_the_first_stage_of_a_text_is_scored_once_more() {
        let most = [0, 2, 5, 6, 400].map(Rescored::most);
        assert_eq!(most, [0, 2, 5, 4, 4]);
    }

    #[test]
    fn evidence_of_an_agents_own_process_reads_without_its_cold_start() {
        let stored = serde_json::json!({
            "executed": ["q8_0"],
            "imatrix_digest": null,
            "environment": Environment::default(),
            "cold": {
                "load_ns": 1,
                "prompt_tokens": 2,
                "first_token_ns": 3,
                "resident_before_bytes": 4,
                "peak_resident_bytes": 5,
                "weight_bytes": 6,
            },
            "energy": { "energy": "not_measured", "reason": "no counter" },
            "duration_ns": 7,
        });
        let read: Evidence = serde_json::from_value(stored).unwrap();
        assert_eq!(read.executed, [Precision::Q8_0]);
        assert_eq!(read.cold, None, "its figures are no plan's");
        assert!(read.energy.is_some());
    }
}
