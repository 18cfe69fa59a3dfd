//! What a user wants found.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Digest, EarlyStop, Joint, Manifest, ModelSpec, Precision, Workload};

/// Where the weights are, and which weights they must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelSource {
    /// A Hugging Face directory or a GGUF file, absolute.
    pub path: String,
    /// A `tokenizer.json` that replaces the model's own.
    pub tokenizer_path: Option<String>,
    /// [`ModelSpec::digest`] of what the path must hold.
    pub digest: Digest,
}

/// The text that quality is measured on and that activations are calibrated with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DataSpec {
    /// UTF-8 text, or JSON lines with a `text` field where the name ends in `.jsonl`; absolute.
    pub evaluation_path: String,
    /// Text for activation statistics. Without it the first part of the evaluation text is set
    /// aside for calibration, so that the two never overlap.
    pub calibration_path: Option<String>,
    /// Tokens in a window.
    pub context: u32,
    /// Windows that are scored.
    pub evaluation_windows: u32,
    /// Windows that activation statistics come from.
    pub calibration_windows: u32,
    /// Digest of the evaluation windows as token ids.
    pub evaluation_digest: Digest,
    /// Digest of the calibration windows as token ids.
    pub calibration_digest: Digest,
    /// Windows that the search never scores, on which the quality of its front is confirmed. None
    /// where the text has no more windows than are scored: quality is then not confirmed.
    #[serde(default)]
    pub held_back: Option<HeldBack>,
}

/// Windows of the evaluation text that follow the scored ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeldBack {
    /// How many; at least one.
    pub windows: u32,
    /// Their digest as token ids.
    pub digest: Digest,
}

impl DataSpec {
    /// Tokens below which a window has too few scored positions to say anything.
    pub const LEAST_CONTEXT: u32 = 16;

    /// Windows below which the error of a divergence is not known: it is taken over windows.
    pub const LEAST_EVALUATION_WINDOWS: u32 = 2;
}

/// Where the importance matrix comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum ImatrixSource {
    /// Quantize without one.
    None,
    /// Collected from the calibration windows.
    Calibration,
    /// A file in llama.cpp's format.
    File {
        /// Where it is, absolute.
        path: String,
        /// SHA-256 of its bytes.
        digest: Digest,
    },
}

/// What is measured: a model on data, quantized with or without an imatrix.
///
/// Two searches with equal subjects share reference log-probabilities and quantized tensors.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The weights.
    pub model: ModelSource,
    /// The text.
    pub data: DataSpec,
    /// The importance matrix.
    pub imatrix: ImatrixSource,
    /// What all of these files hold, for devices that do not have them under their paths.
    #[serde(default)]
    pub manifest: Manifest,
}

impl Subject {
    /// The subject's name by content; paths do not count, so a moved file is the same subject.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder()
            .part("subject")
            .part(self.model.digest.to_string())
            .part(self.data.evaluation_digest.to_string())
            .part(self.data.calibration_digest.to_string())
            .part(self.imatrix_name());
        // Figures that were confirmed on other windows cannot be compared, so these are part of
        // what is measured.
        if let Some(held_back) = &self.data.held_back {
            digest.add("held back");
            digest.add(held_back.digest.to_string());
        }
        digest.finish()
    }

    /// The imatrix by content: `none`, `calibration` or the digest of a file.
    pub fn imatrix_name(&self) -> String {
        match &self.imatrix {
            ImatrixSource::None => "none".to_owned(),
            ImatrixSource::Calibration => "calibration".to_owned(),
            ImatrixSource::File { digest, .. } => digest.to_string(),
        }
    }
}

/// One thing to make small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Mean KL divergence to the unquantized model, in nats.
    Kld,
    /// Median time of one decode step, in which every sequence of the batch gets a token, in
    /// nanoseconds.
    Decode,
    /// Median time of one pass over the prompts of the batch, in nanoseconds.
    Prefill,
    /// Bytes of all weights.
    Size,
    /// Share of positions at which another token ranks first than under the unquantized model.
    Mismatch,
}

impl Objective {
    /// Every objective.
    pub const ALL: [Self; 5] = [
        Self::Kld,
        Self::Decode,
        Self::Prefill,
        Self::Size,
        Self::Mismatch,
    ];

    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kld => "kld",
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Size => "size",
            Self::Mismatch => "mismatch",
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Objective {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        Self::ALL
            .into_iter()
            .find(|objective| objective.name() == name)
            .ok_or_else(|| UnknownName {
                what: "objective",
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// Upper bounds on a plan that may be shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest mean KL divergence, in nats.
    pub max_kld: Option<f64>,
    /// Largest weights, in bytes.
    pub max_size_bytes: Option<u64>,
    /// Longest median time of one decode step.
    pub max_decode: Option<Duration>,
    /// Least share of positions at which the plan ranks the same token first as the unquantized
    /// model, from 0 to 1.
    pub min_same_top: Option<f64>,
}

impl Limits {
    /// Largest share of positions at which another token ranks first.
    pub fn max_mismatch(&self) -> Option<f64> {
        self.min_same_top.map(|least| 1.0 - least)
    }
}

/// When a search ends; at least one of the two is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Candidates to evaluate, baselines included.
    pub evaluations: Option<u64>,
    /// Time from the first measurement on; time during which nothing served the search counts
    /// not. Searches that share a device share its time: each counts all of it.
    pub time: Option<Duration>,
}

/// Which layers share a gene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Every tensor is a gene of its own.
    Tensor,
    /// The attention part and the feed-forward part of a block are one gene each.
    Block,
    /// All layers of one kind are one gene.
    Kind,
}

/// How candidates are proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    /// Uniform over a random mix of levels.
    Random,
    /// The non-dominated sorting genetic algorithm II.
    Nsga2,
    /// Steady-state selection by the hypervolume that each candidate adds alone.
    #[serde(rename = "sms-emoa")]
    SmsEmoa,
    /// What an additive model of every figure expects to extend the front most.
    Surrogate,
}

/// Where the first guess comes from of what each layer loses at each precision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prior {
    /// The rounding errors of precisions and the sizes of layers. That of requests from before
    /// there was a choice.
    #[default]
    Rounding,
    /// What each layer loses alone on a few windows, which is measured before the search is bound.
    Swaps,
}

/// An enumeration's text names none of its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{name}`; known are {known}")]
pub struct UnknownName {
    /// What was expected.
    pub what: &'static str,
    /// What was given.
    pub name: String,
    /// What would have been understood.
    pub known: String,
}

/// Gives an enumeration its names: parsed, and shown.
macro_rules! named {
    ($type:ty, $what:literal, $($value:path => $name:literal),+ $(,)?) => {
        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text.trim() {
                    $($name => Ok($value),)+
                    other => Err(UnknownName {
                        what: $what,
                        name: other.to_owned(),
                        known: [$($name),+].join(", "),
                    }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(match self { $($value => $name),+ })
            }
        }
    };
}

pub(crate) use named;

named!(Grouping, "grouping",
    Grouping::Tensor => "tensor", Grouping::Block => "block", Grouping::Kind => "kind");
named!(StrategyName, "strategy",
    StrategyName::Random => "random", StrategyName::Nsga2 => "nsga2",
    StrategyName::SmsEmoa => "sms-emoa",
    StrategyName::Surrogate => "surrogate");
named!(Prior, "prior", Prior::Rounding => "rounding", Prior::Swaps => "swaps");

/// One request, complete: what `submit` sends and what the store keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// What is measured.
    pub subject: Subject,
    /// The model, as the submitter read it.
    pub spec: ModelSpec,
    /// The name of the device to search for; none takes the first one that serves the runtime.
    pub device: Option<String>,
    /// What to make small; two or three, without repeats.
    pub objectives: Vec<Objective>,
    /// What may be shipped.
    pub limits: Limits,
    /// When to stop.
    pub budget: Budget,
    /// What ends it before. Nothing in requests from before there was a choice.
    #[serde(default)]
    pub early_stop: EarlyStop,
    /// A search over the same genes whose front is measured right after the baselines, as far as it
    /// lies in the space. None in requests from before there was a choice.
    #[serde(default)]
    pub start_from: Option<i64>,
    /// The precisions to choose from; those that do not fit a layer leave that layer's alleles.
    pub precisions: Vec<Precision>,
    /// Which layers share a gene.
    pub grouping: Grouping,
    /// How candidates are proposed.
    pub strategy: StrategyName,
    /// What is timed; one prefill and one decode.
    pub workloads: Vec<Workload>,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// A candidate is scored on a few windows first, and on all of them only while it can still
    /// enter the front. False in requests from before there was a choice.
    #[serde(default)]
    pub staged: bool,
    /// A time that the strategy's model contradicts is measured once more. False in requests from
    /// before there was a choice.
    #[serde(default)]
    pub retimings: bool,
    /// Where the strategy's first guess of losses comes from.
    #[serde(default)]
    pub prior: Prior,
    /// It learns from what other such searches over its subject measure, and they from it. False in
    /// requests from before there was a choice.
    #[serde(default)]
    pub shares: bool,
    /// The searches that it was started with, for devices by what they are, and which later ones join.
    /// None where its device has a name or it has none.
    #[serde(default)]
    pub joint: Option<Joint>,
}

impl SearchRequest {
    /// Whether what each layer loses alone is measured for it: only the surrogate makes use of
    /// guesses.
    pub fn wants_sensitivity(&self) -> bool {
        self.prior == Prior::Swaps && self.strategy == StrategyName::Surrogate
    }

    /// Whether it learns from its siblings: only the surrogate's model has a use for what others
    /// measured. Siblings learn from it whatever its strategy is, where it shares.
    pub fn learns_from_siblings(&self) -> bool {
        self.shares && self.strategy == StrategyName::Surrogate
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_prior_reads_back_and_an_unknown_one_is_listed_with_the_known() {
        for prior in [Prior::Rounding, Prior::Swaps] {
            assert_eq!(prior.to_string().parse(), Ok(prior));
        }
        let unknown = "luck".parse::<Prior>().unwrap_err().to_string();
        assert_eq!(unknown, "unknown prior `luck`; known are rounding, swaps");
    }
}
