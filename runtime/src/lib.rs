//! Executes plans: quantizes, scores and times them, and exports them.
//!
//! In flow order: a model file is opened ([`source`]) and its text cut into windows ([`text`],
//! [`tokenizer`]); activations give an imatrix ([`imatrix`]); tensors are quantized once
//! ([`quantize`]); a [`Runtime`] executes plans and measures their [`quality`] and [`latency`], and
//! how they start, in processes of their own ([`cold`]); [`export`] writes the winner as a file.

mod allocator;
pub mod candle;
pub mod cold;
mod energy;
pub mod error;
pub mod export;
pub mod files;
pub mod ggml_quantize;
pub mod gguf;
pub mod imatrix;
pub mod imatrix_file;
pub mod latency;
mod mapped;
mod memory;
pub mod quality;
pub mod quantize;
mod race;
pub mod reference;
mod runtime_error;
pub mod source;
pub mod stats;
pub mod tensor_store;
pub mod text;
pub mod tokenizer;

use bitfront_model::{
    Anchor, ColdStart, Energy, Executed, Latency, NumericsClass, Plan, Precision, ProbeQuestion,
    Product, Quality, Rival, SensitivityQuestion, Subject, Swap, TaskPurpose, Workload,
};
use serde::{Deserialize, Serialize};

pub use candle::{Accelerator, AcceleratorDevice, AcceleratorRuntime};
pub use candle::{CandleRuntime, CandleSettings};
pub use runtime_error::RuntimeError;

/// An engine that executes plans.
///
/// One value serves one measuring thread. [`Runtime::open`] comes first and may be called again
/// with another subject; an open subject that is opened again costs nothing.
///
/// Implementations: `candle::CandleRuntime` (embedded, on the processor) and
/// `candle::AcceleratorRuntime`; the agent's tests have a scripted one.
/// The seam exists because the same plan executes differently in every engine, and a measurement
/// holds for the engine that it was made in alone.
pub trait Runtime {
    /// The engine's name and version, and the environment switches that change its kernels.
    fn identity(&self) -> RuntimeIdentity;

    /// The precisions that it can both store and multiply on this device.
    fn precisions(&self) -> Vec<Precision>;

    /// Loads the subject: weights, text windows, imatrix, reference log-probabilities.
    ///
    /// `progress` hears what is about to be done in one line for people, such as the size of the
    /// reference file before it is written.
    fn open(
        &mut self,
        subject: &Subject,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RuntimeError>;

    /// Scores a plan of the open subject: for a search on the scored windows, to confirm on the
    /// held-back ones, which are prepared when they are asked for first; a few of the scored ones
    /// are then scored once more ([`Quality::rescored`]).
    ///
    /// With a rival, scoring stops at the first stage ([`stages`](bitfront_model::stages)) at which
    /// the plan will not come out better than it beyond the noise; its windows must be those that
    /// are scored.
    fn quality(
        &mut self,
        plan: &Plan,
        purpose: TaskPurpose,
        rival: Option<&Rival>,
    ) -> Result<Measured<Quality>, RuntimeError>;

    /// Times plans of the open subject, taking turns with each other and with the anchor.
    ///
    /// How exactly depends on the purpose: what is published is timed to a narrower interval than
    /// what steers a search. The answers are in the order of `plans`, each with one figure for
    /// every workload. A plan that cannot be executed is an error of its own and keeps none of the
    /// others from it; the outer error is what stands in the way of all, such as an anchor that
    /// cannot be executed.
    fn latency(
        &mut self,
        anchor: &Anchor,
        plans: &[&Plan],
        workloads: &[Workload],
        purpose: TaskPurpose,
    ) -> Result<Vec<Timed>, RuntimeError>;

    /// Times every product of a question in isolation; no subject need be open. The answers are in
    /// the order of [`ProbeQuestion::products`]; what cannot be held or multiplied is among them,
    /// with the reason.
    fn probe(&mut self, question: &ProbeQuestion) -> Result<Vec<Product>, RuntimeError>;

    /// Scores every swap of a question, whose subject is open, as [`Runtime::quality`] would on the
    /// question's windows. The answers are in the order of [`SensitivityQuestion::swaps`]; what
    /// cannot be held, or gives values that are not finite, is among them, with the reason. The
    /// error is what stands in the way of all, such as a source that does not fit into memory.
    ///
    /// `progress` hears how far it is, in lines for people.
    fn sensitivity(
        &mut self,
        question: &SensitivityQuestion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Swap>, RuntimeError>;
}

/// What came of timing one plan among several.
pub type Timed = Result<Measured<Timing>, RuntimeError>;

/// What is timed of one plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// One figure for every workload.
    pub latencies: Vec<Latency>,
    /// Its cold start, or why it was not measured; taken where the purpose is to publish.
    pub cold: Option<ColdStart>,
    /// The energy of a token, or why it was not measured; taken where the purpose is to publish.
    pub energy: Option<Energy>,
}

/// What a runtime is, as far as its figures depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeIdentity {
    /// `candle`.
    pub name: String,
    /// The engine's version.
    pub version: String,
    /// What quality depends on beside the plan.
    pub numerics_class: NumericsClass,
    /// Threads that it computes with.
    pub threads: u32,
    /// Environment switches that change the kernels, with their values.
    pub switches: std::collections::BTreeMap<String, String>,
    /// The accelerator that it executes plans on; none where that is the processor.
    pub gpu: Option<String>,
    /// The accelerator's driver and version.
    pub driver: Option<String>,
}

/// A figure with the precision that each layer really executed in.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured<T> {
    /// The figure.
    pub value: T,
    /// Read back from the engine, in canonical order.
    pub executed: Executed,
    /// The imatrix that the tensors were quantized with.
    pub imatrix_digest: Option<bitfront_model::Digest>,
}
