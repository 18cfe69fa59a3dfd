//! What ends a search early, and what going on would bring.

use bitfront_model::{EarlyStop, Expected, Outlook, StallRule};

use super::{ConvertError, finite, optional};
use crate::v1;

impl TryFrom<v1::EarlyStop> for EarlyStop {
    type Error = ConvertError;

    fn try_from(wire: v1::EarlyStop) -> Result<Self, Self::Error> {
        Ok(Self {
            stalled: optional("stalled", wire.stalled)?,
            within_limits: wire.within_limits,
        })
    }
}

impl From<&EarlyStop> for v1::EarlyStop {
    fn from(early_stop: &EarlyStop) -> Self {
        Self {
            stalled: early_stop.stalled.as_ref().map(Into::into),
            within_limits: early_stop.within_limits,
        }
    }
}

impl TryFrom<v1::StallRule> for StallRule {
    type Error = ConvertError;

    fn try_from(wire: v1::StallRule) -> Result<Self, Self::Error> {
        Ok(Self {
            evaluations: wire.evaluations,
            least_growth: finite("least_growth", wire.least_growth)?,
        })
    }
}

impl From<&StallRule> for v1::StallRule {
    fn from(rule: &StallRule) -> Self {
        Self {
            evaluations: rule.evaluations,
            least_growth: rule.least_growth,
        }
    }
}

impl TryFrom<v1::Outlook> for Outlook {
    type Error = ConvertError;

    fn try_from(wire: v1::Outlook) -> Result<Self, Self::Error> {
        Ok(Self {
            evaluations: wire.evaluations,
            expected: optional("expected", wire.expected)?,
        })
    }
}

impl From<&Outlook> for v1::Outlook {
    fn from(outlook: &Outlook) -> Self {
        Self {
            evaluations: outlook.evaluations,
            expected: outlook.expected.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Expected> for Expected {
    type Error = ConvertError;

    fn try_from(wire: v1::Expected) -> Result<Self, Self::Error> {
        Ok(Self {
            grew: finite("grew", wire.grew)?,
            grows: finite("grows", wire.grows)?,
        })
    }
}

impl From<&Expected> for v1::Expected {
    fn from(expected: &Expected) -> Self {
        Self {
            grew: expected.grew,
            grows: expected.grows,
        }
    }
}
