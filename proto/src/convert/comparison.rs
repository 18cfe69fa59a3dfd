//! How plans differ, and what that makes of a front.

use bitfront_model::{Against, Comparison, Difference, Differences, Placing, Ratio};

use super::{ConvertError, finite, front_point, message, optional, present};
use crate::v1;

impl TryFrom<v1::Difference> for Difference {
    type Error = ConvertError;

    fn try_from(wire: v1::Difference) -> Result<Self, Self::Error> {
        Ok(Self {
            mean: finite("mean", wire.mean)?,
            standard_error: finite("standard_error", wire.standard_error)?,
            interval: message("interval", wire.interval)?,
            windows: wire.windows,
        })
    }
}

impl From<&Difference> for v1::Difference {
    fn from(difference: &Difference) -> Self {
        Self {
            mean: difference.mean,
            standard_error: difference.standard_error,
            interval: Some((&difference.interval).into()),
            windows: difference.windows,
        }
    }
}

impl TryFrom<v1::Ratio> for Ratio {
    type Error = ConvertError;

    fn try_from(wire: v1::Ratio) -> Result<Self, Self::Error> {
        Ok(Self {
            value: finite("value", wire.value)?,
            interval: message("interval", wire.interval)?,
        })
    }
}

impl From<&Ratio> for v1::Ratio {
    fn from(ratio: &Ratio) -> Self {
        Self {
            value: ratio.value,
            interval: Some((&ratio.interval).into()),
        }
    }
}

impl TryFrom<v1::Differences> for Differences {
    type Error = ConvertError;

    fn try_from(wire: v1::Differences) -> Result<Self, Self::Error> {
        Ok(Self {
            size_bytes: wire.size_bytes,
            size_ratio: finite("size_ratio", wire.size_ratio)?,
            kld: message("kld", wire.kld)?,
            decode: optional("decode", wire.decode)?,
            prefill: optional("prefill", wire.prefill)?,
        })
    }
}

impl From<&Differences> for v1::Differences {
    fn from(differences: &Differences) -> Self {
        Self {
            size_bytes: differences.size_bytes,
            size_ratio: differences.size_ratio,
            kld: Some((&differences.kld).into()),
            decode: differences.decode.as_ref().map(Into::into),
            prefill: differences.prefill.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Placing> for Placing {
    type Error = ConvertError;

    fn try_from(wire: v1::Placing) -> Result<Self, Self::Error> {
        Ok(Self {
            class: wire.class,
            class_of: wire.class_of,
            beats: wire.beats,
            gain: optional("gain", wire.gain)?,
            against: optional("against", wire.against)?,
        })
    }
}

impl From<&Placing> for v1::Placing {
    fn from(placing: &Placing) -> Self {
        Self {
            class: placing.class.clone(),
            class_of: placing.class_of,
            beats: placing.beats,
            against: placing.against.as_ref().map(Into::into),
            gain: placing.gain.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Against> for Against {
    type Error = ConvertError;

    fn try_from(wire: v1::Against) -> Result<Self, Self::Error> {
        Ok(Self {
            candidate: wire.candidate,
            differences: message("differences", wire.differences)?,
        })
    }
}

impl From<&Against> for v1::Against {
    fn from(against: &Against) -> Self {
        Self {
            candidate: against.candidate,
            differences: Some((&against.differences).into()),
        }
    }
}

impl TryFrom<v1::CompareResponse> for Comparison {
    type Error = ConvertError;

    fn try_from(wire: v1::CompareResponse) -> Result<Self, Self::Error> {
        let spec = message("spec", wire.spec)?;
        let point = |name, wire| {
            front_point(present(name, wire)?, &spec).map_err(|error| error.within(name))
        };
        Ok(Self {
            first: point("first", wire.first)?,
            second: point("second", wire.second)?,
            differences: message("differences", wire.differences)?,
            spec,
        })
    }
}

impl From<&Comparison> for v1::CompareResponse {
    fn from(comparison: &Comparison) -> Self {
        Self {
            first: Some((&comparison.first).into()),
            second: Some((&comparison.second).into()),
            spec: Some((&comparison.spec).into()),
            differences: Some((&comparison.differences).into()),
        }
    }
}
