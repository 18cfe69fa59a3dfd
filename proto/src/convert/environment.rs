//! What a device was like while it measured.

use bitfront_model::Environment;

use super::{ConvertError, names, words};
use crate::v1;

/// What a device was like beside the measurement is a side note: an odd figure is left out rather
/// than the measurement refused.
fn told(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

impl TryFrom<v1::Environment> for Environment {
    type Error = ConvertError;

    fn try_from(wire: v1::Environment) -> Result<Self, Self::Error> {
        Ok(Self {
            host: wire.host,
            agent_version: wire.agent_version,
            load_average: told(wire.load_average),
            frequency_mhz: told(wire.frequency_mhz),
            peak_resident_bytes: wire.peak_resident_bytes,
            pinned_cores: wire.pinned_cores,
            not_pinned: wire.not_pinned,
            marks: words("marks", &wire.marks)?,
        })
    }
}

impl From<&Environment> for v1::Environment {
    fn from(environment: &Environment) -> Self {
        Self {
            host: environment.host.clone(),
            agent_version: environment.agent_version.clone(),
            load_average: environment.load_average,
            frequency_mhz: environment.frequency_mhz,
            peak_resident_bytes: environment.peak_resident_bytes,
            pinned_cores: environment.pinned_cores.clone(),
            not_pinned: environment.not_pinned.clone(),
            marks: names(&environment.marks),
        }
    }
}
