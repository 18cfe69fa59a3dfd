//! One plan for several hardware profiles.

use bitfront_model::fleet::Standing;
use bitfront_model::{FleetPick, Regret};

use super::{ConvertError, finite, message, messages, present, spec::plan, word};
use crate::v1;

impl TryFrom<v1::FleetResponse> for FleetPick {
    type Error = ConvertError;

    fn try_from(wire: v1::FleetResponse) -> Result<Self, Self::Error> {
        let spec = message("spec", wire.spec)?;
        Ok(Self {
            by: word("by", &wire.by)?,
            plan: plan(present("plan", wire.plan)?, &spec).map_err(|error| error.within("plan"))?,
            size_bytes: wire.size_bytes,
            bits_per_weight: finite("bits_per_weight", wire.bits_per_weight)?,
            is_predicted: wire.is_predicted,
            compared: wire.compared,
            regrets: messages("regrets", wire.regrets)?,
            subject: message("subject", wire.subject)?,
            spec,
        })
    }
}

impl From<&FleetPick> for v1::FleetResponse {
    fn from(pick: &FleetPick) -> Self {
        Self {
            by: pick.by.to_string(),
            plan: Some((&pick.plan).into()),
            size_bytes: pick.size_bytes,
            bits_per_weight: pick.bits_per_weight,
            is_predicted: pick.is_predicted,
            compared: pick.compared,
            regrets: pick.regrets.iter().map(Into::into).collect(),
            spec: Some((&pick.spec).into()),
            subject: Some((&pick.subject).into()),
        }
    }
}

impl TryFrom<v1::Regret> for Regret {
    type Error = ConvertError;

    fn try_from(wire: v1::Regret) -> Result<Self, Self::Error> {
        Ok(Self {
            hardware_profile: present("hardware_profile", wire.hardware_profile)?.into(),
            devices: wire.devices,
            fleet: message("fleet", wire.fleet)?,
            own: message("own", wire.own)?,
        })
    }
}

impl From<&Regret> for v1::Regret {
    fn from(regret: &Regret) -> Self {
        Self {
            hardware_profile: Some((&regret.hardware_profile).into()),
            devices: regret.devices.clone(),
            fleet: Some((&regret.fleet).into()),
            own: Some((&regret.own).into()),
        }
    }
}

impl TryFrom<v1::Standing> for Standing {
    type Error = ConvertError;

    fn try_from(wire: v1::Standing) -> Result<Self, Self::Error> {
        Ok(Self {
            search: wire.search,
            candidate: wire.candidate,
            kld: finite("kld", wire.kld)?,
            decode_ns: finite("decode_ns", wire.decode_ns)?,
            prefill_ns: finite("prefill_ns", wire.prefill_ns)?,
            size_bytes: wire.size_bytes,
        })
    }
}

impl From<&Standing> for v1::Standing {
    fn from(standing: &Standing) -> Self {
        Self {
            search: standing.search,
            candidate: standing.candidate,
            kld: standing.kld,
            decode_ns: standing.decode_ns,
            prefill_ns: standing.prefill_ns,
            size_bytes: standing.size_bytes,
        }
    }
}
