//! What each layer of a model loses alone.

use bitfront_model::{SearchSensitivity, Sensitivity, SensitivityQuestion, Swap, SwapResult};

use super::{ConvertError, finite, message, messages, names, present, word, words};
use crate::v1;
use crate::v1::swap::Result as WireResult;

impl TryFrom<v1::SensitivityQuestion> for SensitivityQuestion {
    type Error = ConvertError;

    fn try_from(wire: v1::SensitivityQuestion) -> Result<Self, Self::Error> {
        if wire.windows == 0 {
            return Err(ConvertError::invalid("windows", "is 0"));
        }
        Ok(Self {
            subject: message("subject", wire.subject)?,
            spec: message("spec", wire.spec)?,
            precisions: words("precisions", &wire.precisions)?,
            windows: wire.windows,
        })
    }
}

impl From<&SensitivityQuestion> for v1::SensitivityQuestion {
    fn from(question: &SensitivityQuestion) -> Self {
        Self {
            subject: Some((&question.subject).into()),
            spec: Some((&question.spec).into()),
            precisions: names(&question.precisions),
            windows: question.windows,
        }
    }
}

impl TryFrom<v1::Swap> for Swap {
    type Error = ConvertError;

    fn try_from(wire: v1::Swap) -> Result<Self, Self::Error> {
        let result = match present("result", wire.result)? {
            WireResult::Scored(scored) => {
                for (index, kld) in scored.kld_windows.iter().enumerate() {
                    finite(&format!("kld_windows[{index}]"), *kld)?;
                }
                SwapResult::Scored {
                    kld_windows: scored.kld_windows,
                }
            }
            WireResult::Infeasible(infeasible) => SwapResult::Infeasible {
                reason: infeasible.reason,
            },
        };
        Ok(Self {
            layer: usize::try_from(wire.layer)
                .map_err(|error| ConvertError::invalid("layer", error))?,
            precision: word("precision", &wire.precision)?,
            result,
        })
    }
}

impl From<&Swap> for v1::Swap {
    fn from(swap: &Swap) -> Self {
        let result = match &swap.result {
            SwapResult::Scored { kld_windows } => WireResult::Scored(v1::ScoredSwap {
                kld_windows: kld_windows.clone(),
            }),
            SwapResult::Infeasible { reason } => WireResult::Infeasible(v1::Infeasible {
                reason: reason.clone(),
            }),
        };
        Self {
            layer: swap.layer as u64,
            precision: swap.precision.to_string(),
            result: Some(result),
        }
    }
}

impl TryFrom<v1::Sensitivity> for Sensitivity {
    type Error = ConvertError;

    fn try_from(wire: v1::Sensitivity) -> Result<Self, Self::Error> {
        Ok(Self {
            swaps: messages("swaps", wire.swaps)?,
            environment: message("environment", wire.environment)?,
            duration_ns: wire.duration_ns,
        })
    }
}

impl From<&Sensitivity> for v1::Sensitivity {
    fn from(sensitivity: &Sensitivity) -> Self {
        Self {
            swaps: sensitivity.swaps.iter().map(Into::into).collect(),
            environment: Some((&sensitivity.environment).into()),
            duration_ns: sensitivity.duration_ns,
        }
    }
}

impl TryFrom<v1::SensitivityResponse> for SearchSensitivity {
    type Error = ConvertError;

    fn try_from(wire: v1::SensitivityResponse) -> Result<Self, Self::Error> {
        let question: SensitivityQuestion = message("question", wire.question)?;
        let sensitivity: Sensitivity = message("sensitivity", wire.sensitivity)?;
        if let Some(problem) = sensitivity.problem(&question) {
            return Err(ConvertError::invalid("sensitivity", &problem));
        }
        Ok(Self {
            search: wire.search,
            question,
            sensitivity,
        })
    }
}

impl From<&SearchSensitivity> for v1::SensitivityResponse {
    fn from(sensitivity: &SearchSensitivity) -> Self {
        Self {
            search: sensitivity.search,
            question: Some((&sensitivity.question).into()),
            sensitivity: Some((&sensitivity.sensitivity).into()),
        }
    }
}
