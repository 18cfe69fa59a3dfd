//! What a device was like while it measured.

use bitfront_model::{Condition, CoreCondition, Environment, Heat};

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
            before: wire.before.map(Into::into),
            after: wire.after.map(Into::into),
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
            before: environment.before.as_ref().map(Into::into),
            after: environment.after.as_ref().map(Into::into),
            marks: names(&environment.marks),
        }
    }
}

impl From<v1::Condition> for Condition {
    fn from(wire: v1::Condition) -> Self {
        let core = |core: v1::CoreCondition| CoreCondition {
            core: core.core,
            frequency_mhz: told(core.frequency_mhz),
            throttles: core.throttles,
        };
        let heat = wire.heat.filter(|heat| heat.celsius.is_finite());
        Self {
            busy_cores: told(wire.busy_cores),
            stolen_cores: told(wire.stolen_cores),
            cores: wire.cores.into_iter().map(core).collect(),
            heat: heat.map(|heat| Heat {
                sensor: heat.sensor,
                celsius: heat.celsius,
                trip_celsius: told(heat.trip_celsius),
            }),
            on_battery: wire.on_battery,
        }
    }
}

impl From<&Condition> for v1::Condition {
    fn from(condition: &Condition) -> Self {
        let core = |core: &CoreCondition| v1::CoreCondition {
            core: core.core,
            frequency_mhz: core.frequency_mhz,
            throttles: core.throttles,
        };
        Self {
            busy_cores: condition.busy_cores,
            stolen_cores: condition.stolen_cores,
            cores: condition.cores.iter().map(core).collect(),
            heat: condition.heat.as_ref().map(|heat| v1::Heat {
                sensor: heat.sensor.clone(),
                celsius: heat.celsius,
                trip_celsius: heat.trip_celsius,
            }),
            on_battery: condition.on_battery,
        }
    }
}
