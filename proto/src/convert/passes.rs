//! Figures that have a pass of their own.

use bitfront_model::{Cold, ColdStart, Energy};

use super::{ConvertError, finite, present};
use crate::v1;
use crate::v1::cold_start::ColdStart as WireColdStart;
use crate::v1::energy::Energy as WireEnergy;

impl TryFrom<v1::ColdStart> for ColdStart {
    type Error = ConvertError;

    fn try_from(wire: v1::ColdStart) -> Result<Self, Self::Error> {
        Ok(match present("cold_start", wire.cold_start)? {
            WireColdStart::Measured(cold) => Self::Measured(cold.into()),
            WireColdStart::NotMeasured(reason) => Self::NotMeasured { reason },
        })
    }
}

impl From<&ColdStart> for v1::ColdStart {
    fn from(start: &ColdStart) -> Self {
        let start = match start {
            ColdStart::Measured(cold) => WireColdStart::Measured(cold.into()),
            ColdStart::NotMeasured { reason } => WireColdStart::NotMeasured(reason.clone()),
        };
        Self {
            cold_start: Some(start),
        }
    }
}

impl From<v1::Cold> for Cold {
    fn from(wire: v1::Cold) -> Self {
        Self {
            load_ns: wire.load_ns,
            prompt_tokens: wire.prompt_tokens,
            batch: wire.batch,
            first_token_ns: wire.first_token_ns,
            memory_before_bytes: wire.memory_before_bytes,
            peak_memory_bytes: wire.peak_memory_bytes,
            weight_bytes: wire.weight_bytes,
        }
    }
}

impl From<&Cold> for v1::Cold {
    fn from(cold: &Cold) -> Self {
        Self {
            load_ns: cold.load_ns,
            prompt_tokens: cold.prompt_tokens,
            batch: cold.batch,
            first_token_ns: cold.first_token_ns,
            memory_before_bytes: cold.memory_before_bytes,
            peak_memory_bytes: cold.peak_memory_bytes,
            weight_bytes: cold.weight_bytes,
        }
    }
}

impl TryFrom<v1::Energy> for Energy {
    type Error = ConvertError;

    fn try_from(wire: v1::Energy) -> Result<Self, Self::Error> {
        Ok(match present("energy", wire.energy)? {
            WireEnergy::Measured(measured) => Self::Measured {
                source: measured.source,
                joules_per_token: finite("joules_per_token", measured.joules_per_token)?,
                idle_watts: finite("idle_watts", measured.idle_watts)?,
                joules: finite("joules", measured.joules)?,
                duration_ns: measured.duration_ns,
                tokens: measured.tokens,
            },
            WireEnergy::NotMeasured(reason) => Self::NotMeasured { reason },
        })
    }
}

impl From<&Energy> for v1::Energy {
    fn from(energy: &Energy) -> Self {
        let energy = match energy {
            Energy::Measured {
                source,
                joules_per_token,
                idle_watts,
                joules,
                duration_ns,
                tokens,
            } => WireEnergy::Measured(v1::MeasuredEnergy {
                source: source.clone(),
                joules_per_token: *joules_per_token,
                idle_watts: *idle_watts,
                joules: *joules,
                duration_ns: *duration_ns,
                tokens: *tokens,
            }),
            Energy::NotMeasured { reason } => WireEnergy::NotMeasured(reason.clone()),
        };
        Self {
            energy: Some(energy),
        }
    }
}
