//! What moved between two searches.

use bitfront_model::{
    Change, Drift, Hypervolumes, Moved, NowInfeasible, Overall, ProfileChange, Stale,
};

use super::{ConvertError, finite, message, messages, optional, word};
use crate::v1;

impl TryFrom<v1::DiffResponse> for Drift {
    type Error = ConvertError;

    fn try_from(wire: v1::DiffResponse) -> Result<Self, Self::Error> {
        Ok(Self {
            before: wire.before,
            after: wire.after,
            hardware_before: wire.hardware_before,
            hardware_after: wire.hardware_after,
            profile: wire.profile.into_iter().map(Into::into).collect(),
            points: messages("points", wire.points)?,
            overall: messages("overall", wire.overall)?,
            infeasible: wire.infeasible.into_iter().map(Into::into).collect(),
            entered: wire.entered,
            left: wire.left,
            missing: wire.missing,
            hypervolumes: optional("hypervolumes", wire.hypervolumes)?,
        })
    }
}

impl From<&Drift> for v1::DiffResponse {
    fn from(drift: &Drift) -> Self {
        Self {
            before: drift.before,
            after: drift.after,
            hardware_before: drift.hardware_before.clone(),
            hardware_after: drift.hardware_after.clone(),
            profile: drift.profile.iter().map(Into::into).collect(),
            points: drift.points.iter().map(Into::into).collect(),
            overall: drift.overall.iter().map(Into::into).collect(),
            infeasible: drift.infeasible.iter().map(Into::into).collect(),
            entered: drift.entered.clone(),
            left: drift.left.clone(),
            missing: drift.missing,
            hypervolumes: drift.hypervolumes.as_ref().map(Into::into),
        }
    }
}

impl From<v1::ProfileChange> for ProfileChange {
    fn from(wire: v1::ProfileChange) -> Self {
        Self {
            field: wire.field,
            before: wire.before,
            after: wire.after,
        }
    }
}

impl From<&ProfileChange> for v1::ProfileChange {
    fn from(change: &ProfileChange) -> Self {
        Self {
            field: change.field.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
        }
    }
}

impl TryFrom<v1::Moved> for Moved {
    type Error = ConvertError;

    fn try_from(wire: v1::Moved) -> Result<Self, Self::Error> {
        Ok(Self {
            before: wire.before,
            after: wire.after,
            baseline: wire.baseline,
            size_bytes: wire.size_bytes,
            changes: messages("changes", wire.changes)?,
        })
    }
}

impl From<&Moved> for v1::Moved {
    fn from(moved: &Moved) -> Self {
        Self {
            before: moved.before,
            after: moved.after,
            baseline: moved.baseline.clone(),
            size_bytes: moved.size_bytes,
            changes: moved.changes.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Change> for Change {
    type Error = ConvertError;

    fn try_from(wire: v1::Change) -> Result<Self, Self::Error> {
        Ok(Self {
            figure: word("figure", &wire.figure)?,
            before: finite("before", wire.before)?,
            before_interval: message("before_interval", wire.before_interval)?,
            after: finite("after", wire.after)?,
            after_interval: message("after_interval", wire.after_interval)?,
            ratio: message("ratio", wire.ratio)?,
            verdict: word("verdict", &wire.verdict)?,
        })
    }
}

impl From<&Change> for v1::Change {
    fn from(change: &Change) -> Self {
        Self {
            figure: change.figure.to_string(),
            before: change.before,
            before_interval: Some((&change.before_interval).into()),
            after: change.after,
            after_interval: Some((&change.after_interval).into()),
            ratio: Some((&change.ratio).into()),
            verdict: change.verdict.to_string(),
        }
    }
}

impl TryFrom<v1::Overall> for Overall {
    type Error = ConvertError;

    fn try_from(wire: v1::Overall) -> Result<Self, Self::Error> {
        Ok(Self {
            figure: word("figure", &wire.figure)?,
            plans: wire.plans,
            ratio: optional("ratio", wire.ratio)?,
            worse: wire.worse,
            better: wire.better,
            verdict: word("verdict", &wire.verdict)?,
            reason: wire.reason,
        })
    }
}

impl From<&Overall> for v1::Overall {
    fn from(overall: &Overall) -> Self {
        Self {
            figure: overall.figure.to_string(),
            plans: overall.plans,
            ratio: overall.ratio.as_ref().map(Into::into),
            worse: overall.worse,
            better: overall.better,
            verdict: overall.verdict.to_string(),
            reason: overall.reason.clone(),
        }
    }
}

impl From<v1::NowInfeasible> for NowInfeasible {
    fn from(wire: v1::NowInfeasible) -> Self {
        Self {
            before: wire.before,
            after: wire.after,
            reason: wire.reason,
        }
    }
}

impl From<&NowInfeasible> for v1::NowInfeasible {
    fn from(plan: &NowInfeasible) -> Self {
        Self {
            before: plan.before,
            after: plan.after,
            reason: plan.reason.clone(),
        }
    }
}

impl TryFrom<v1::Hypervolumes> for Hypervolumes {
    type Error = ConvertError;

    fn try_from(wire: v1::Hypervolumes) -> Result<Self, Self::Error> {
        Ok(Self {
            before: finite("before", wire.before)?,
            after: finite("after", wire.after)?,
        })
    }
}

impl From<&Hypervolumes> for v1::Hypervolumes {
    fn from(volumes: &Hypervolumes) -> Self {
        Self {
            before: volumes.before,
            after: volumes.after,
        }
    }
}

impl TryFrom<v1::Stale> for Stale {
    type Error = ConvertError;

    fn try_from(wire: v1::Stale) -> Result<Self, Self::Error> {
        Ok(Self {
            search: wire.search,
            moved: messages("moved", wire.moved)?,
            infeasible: wire.infeasible,
        })
    }
}

impl From<&Stale> for v1::Stale {
    fn from(stale: &Stale) -> Self {
        Self {
            search: stale.search,
            moved: stale.moved.iter().map(Into::into).collect(),
            infeasible: stale.infeasible,
        }
    }
}
