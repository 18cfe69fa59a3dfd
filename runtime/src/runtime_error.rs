//! What can go wrong between a plan and its figures.

use std::path::PathBuf;

use bitfront_model::Digest;

use crate::candle::Accelerator;
use crate::error::{ImatrixError, SourceError, TextError, TokenizerError};
use crate::ggml_quantize::QuantizeError;

/// A plan or a subject could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The plan cannot be executed by this engine; a result, not a failure.
    #[error("infeasible: {reason}")]
    Infeasible {
        /// Why, for people.
        reason: String,
    },
    /// A plan gives values that are not finite; whoever knows the layers makes it infeasible.
    #[error(
        "the plan gives values that are not finite at scored position {position} of window {window}"
    )]
    NotFinite {
        /// The window, counted from zero.
        window: usize,
        /// The scored position, counted from zero.
        position: usize,
    },
    /// An environment variable makes the engine execute something else than the plan says.
    #[error(
        "{name}={value} makes candle replace every quantized matrix by a float one, so that no \
         plan would be measured as it is; unset it and start again"
    )]
    Switch {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// An environment variable makes an accelerator's library multiply in fewer bits than the plan
    /// says.
    #[error(
        "{name}={value} makes cuBLAS multiply `f32` in fewer bits, so that no plan with it would be \
         measured as it is; unset it and start again"
    )]
    NarrowingSwitch {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// The accelerator that was asked for cannot be used.
    #[error("`{accelerator}` cannot be measured on: {reason}")]
    NoAccelerator {
        /// The accelerator.
        accelerator: Accelerator,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// A subject must be opened first.
    #[error("no subject is open: open one before measuring")]
    NotOpen,
    /// The subject was opened without the reference log-probabilities.
    #[error("the subject was opened for its tensors alone: open it whole before scoring")]
    NoReference,
    /// A confirmation was asked for without windows to make it on.
    #[error("the search holds no windows back: its text has none left to confirm quality on")]
    NoHeldBack,
    /// The path holds another model than the one that was submitted.
    #[error(
        "`{}` holds model {found}, the search is about model {expected}: the file was changed \
         or differs between machines", path.display()
    )]
    OtherModel {
        /// The model's path.
        path: PathBuf,
        /// The digest in the subject.
        expected: Digest,
        /// The digest of what was read.
        found: Digest,
    },
    /// A text gives other windows than the ones that were submitted.
    #[error(
        "the {part} windows have digest {found}, the search is about {expected}: the text or the \
         tokenizer was changed or differs between machines"
    )]
    OtherData {
        /// `evaluation`, `calibration` or `held-back`.
        part: &'static str,
        /// The digest in the subject.
        expected: Digest,
        /// The digest of what was read.
        found: Digest,
    },
    /// The imatrix file is another one than was submitted.
    #[error("`{}` has digest {found}, the search is about {expected}", path.display())]
    OtherImatrix {
        /// The file.
        path: PathBuf,
        /// The digest in the subject.
        expected: Digest,
        /// The digest of what was read.
        found: Digest,
    },
    /// The plan was made for another model.
    #[error("the plan has {found} layers, the open model has {expected}")]
    OtherPlan {
        /// Layers of the model.
        expected: usize,
        /// Precisions of the plan.
        found: usize,
    },
    /// A rival was scored on another text than the open one.
    #[error(
        "candidate {candidate}, with which the plan is compared, was scored on {found} \
        windows, the open text has {expected}: the coordinator is of another version"
    )]
    OtherRival {
        /// The rival.
        candidate: i64,
        /// Windows of the open text.
        expected: usize,
        /// Windows of the rival.
        found: usize,
    },
    /// A timing came without the plan to time it beside.
    #[error("a timing was handed out without an anchor: the coordinator is of another version")]
    NoAnchor,
    /// The plan that all others are timed beside cannot be executed here.
    #[error(
        "the anchor, plan {}, cannot be executed, so no other can be timed beside it: {reason}",
        plan.short()
    )]
    Anchor {
        /// The anchor's plan.
        plan: Digest,
        /// What stands in the way.
        reason: String,
    },
    /// A workload does not fit the context or the text.
    #[error("workload {workload} {reason}")]
    Workload {
        /// The workload's name.
        workload: String,
        /// What does not fit.
        reason: String,
    },
    /// The unquantized model itself gives values that are not finite.
    #[error(
        "the unquantized model gives {value} at position {position} of window {window}: its \
         weights or its configuration are damaged"
    )]
    ReferenceNotFinite {
        /// The window, counted from zero.
        window: usize,
        /// The scored position, counted from zero.
        position: usize,
        /// The value.
        value: f32,
    },
    /// A file of the cache could not be read or written.
    #[error("cannot {action} `{}`: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The model file cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A text cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An imatrix file cannot be used.
    #[error(transparent)]
    Imatrix(#[from] ImatrixError),
    /// A layer could not be quantized.
    #[error("layer `{layer}`: {error}")]
    Quantize {
        /// The layer.
        layer: String,
        /// Why.
        error: QuantizeError,
    },
    /// The engine failed, or was asked for something impossible.
    #[error("candle: {0}")]
    Engine(String),
}

/// How CUDA's driver and cuBLAS say that the device's memory does not suffice.
const OUT_OF_MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

impl From<candle_core::Error> for RuntimeError {
    /// A plan that an accelerator has no memory for is infeasible; all else is a failure.
    fn from(error: candle_core::Error) -> Self {
        let message = error.to_string();
        if OUT_OF_MEMORY.iter().any(|told| message.contains(told)) {
            return Self::Infeasible {
                reason: format!("the accelerator's memory does not suffice: {message}"),
            };
        }
        Self::Engine(message)
    }
}

impl RuntimeError {
    /// Whether the files of a subject are other ones than were submitted, or may be: what cannot be
    /// read or understood here was read and understood where it was submitted.
    pub fn is_about_files(&self) -> bool {
        matches!(
            self,
            Self::OtherModel { .. }
                | Self::OtherData { .. }
                | Self::OtherImatrix { .. }
                | Self::ReferenceNotFinite { .. }
                | Self::Source(_)
                | Self::Tokenizer(_)
                | Self::Text(_)
                | Self::Imatrix(_)
        )
    }

    /// An operating system error with what was tried.
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io {
            action,
            path: path.to_owned(),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_memory_is_a_fact_about_the_plan() {
        let told = r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#;
        let full = RuntimeError::from(candle_core::Error::Msg(told.to_owned()));
        assert!(
            matches!(&full, RuntimeError::Infeasible { reason } if reason.contains("memory")),
            "{full}"
        );
        let broken = RuntimeError::from(candle_core::Error::Msg("broken".to_owned()));
        assert!(matches!(broken, RuntimeError::Engine(_)), "{broken}");
    }
}
