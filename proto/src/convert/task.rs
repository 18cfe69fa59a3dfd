//! What agents and the coordinator say to each other.

use std::time::Duration;

use bitfront_model::{
    Anchor, Assignment, LeaseToken, ModelSpec, NumericsClass, Receipt, Registration, Report, Rival,
};

use super::{
    ConvertError, finite, message, messages, milliseconds, names, present, spec::plan, word, words,
};
use crate::v1;
use crate::v1::report_response::Receipt as WireReceipt;

impl From<v1::LeaseToken> for LeaseToken {
    fn from(wire: v1::LeaseToken) -> Self {
        Self {
            task: wire.task,
            epoch: wire.epoch,
        }
    }
}

impl From<LeaseToken> for v1::LeaseToken {
    fn from(token: LeaseToken) -> Self {
        Self {
            task: token.task,
            epoch: token.epoch,
        }
    }
}

impl TryFrom<v1::RegisterRequest> for Registration {
    type Error = ConvertError;

    fn try_from(wire: v1::RegisterRequest) -> Result<Self, Self::Error> {
        Ok(Self {
            device: wire.device,
            hardware_profile: present("hardware_profile", wire.hardware_profile)?.into(),
            numerics_class: NumericsClass(wire.numerics_class),
            precisions: words("precisions", &wire.precisions)?,
            agent_version: wire.agent_version,
            can_probe: wire.can_probe,
            can_score_swaps: wire.can_score_swaps,
        })
    }
}

impl From<&Registration> for v1::RegisterRequest {
    /// Which agent speaks, and whether again, is for the agent to fill in.
    fn from(registration: &Registration) -> Self {
        Self {
            device: registration.device.clone(),
            hardware_profile: Some((&registration.hardware_profile).into()),
            numerics_class: registration.numerics_class.0.clone(),
            precisions: names(&registration.precisions),
            agent_version: registration.agent_version.clone(),
            can_probe: registration.can_probe,
            can_score_swaps: registration.can_score_swaps,
            instance: String::new(),
            again: false,
        }
    }
}

impl v1::Assignment {
    /// Writes an assignment; the plan travels with the model spec that it belongs to.
    pub fn of(assignment: &Assignment, spec: &ModelSpec) -> Self {
        Self {
            token: Some(assignment.token.into()),
            search: assignment.search,
            candidate: assignment.candidate,
            kind: assignment.kind.to_string(),
            subject: Some((&assignment.subject).into()),
            plan: Some((&assignment.plan).into()),
            workloads: names(&assignment.workloads),
            lease_ms: milliseconds(assignment.lease_time),
            spec: Some(spec.into()),
            anchor: assignment.anchor.as_ref().map(|anchor| v1::Anchor {
                plan: Some((&anchor.plan).into()),
                times: anchor.times.iter().map(Into::into).collect(),
            }),
            purpose: assignment.purpose.to_string(),
            rival: assignment.rival.as_ref().map(|rival| v1::Rival {
                candidate: rival.candidate,
                kld_windows: rival.kld_windows.clone(),
            }),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = ConvertError;

    fn try_from(wire: v1::Assignment) -> Result<Self, Self::Error> {
        let spec: ModelSpec = message("spec", wire.spec)?;
        let anchor = wire
            .anchor
            .map(|wire| anchor(wire, &spec).map_err(|error| error.within("anchor")))
            .transpose()?;
        Ok(Self {
            token: present("token", wire.token)?.into(),
            search: wire.search,
            candidate: wire.candidate,
            kind: word("kind", &wire.kind)?,
            purpose: word("purpose", &wire.purpose)?,
            subject: message("subject", wire.subject)?,
            plan: plan(present("plan", wire.plan)?, &spec).map_err(|error| error.within("plan"))?,
            workloads: words("workloads", &wire.workloads)?,
            anchor,
            rival: wire
                .rival
                .map(|wire| rival(wire).map_err(|error| error.within("rival")))
                .transpose()?,
            lease_time: Duration::from_millis(wire.lease_ms),
        })
    }
}

fn anchor(wire: v1::Anchor, spec: &ModelSpec) -> Result<Anchor, ConvertError> {
    Ok(Anchor {
        plan: plan(present("plan", wire.plan)?, spec).map_err(|error| error.within("plan"))?,
        times: messages("times", wire.times)?,
    })
}

fn rival(wire: v1::Rival) -> Result<Rival, ConvertError> {
    for (index, &kld) in wire.kld_windows.iter().enumerate() {
        finite(&format!("kld_windows[{index}]"), kld)?;
    }
    Ok(Rival {
        candidate: wire.candidate,
        kld_windows: wire.kld_windows,
    })
}

impl TryFrom<v1::ReportRequest> for Report {
    type Error = ConvertError;

    fn try_from(wire: v1::ReportRequest) -> Result<Self, Self::Error> {
        if wire.idempotency_key.is_empty() {
            return Err(ConvertError::invalid(
                "idempotency_key",
                "is empty; mint one for every measurement",
            ));
        }
        Ok(Self {
            token: present("token", wire.token)?.into(),
            plan_digest: word("plan_digest", &wire.plan_digest)?,
            measurement: message("measurement", wire.measurement)?,
            idempotency_key: wire.idempotency_key,
        })
    }
}

impl From<&Report> for v1::ReportRequest {
    fn from(report: &Report) -> Self {
        Self {
            token: Some(report.token.into()),
            idempotency_key: report.idempotency_key.clone(),
            plan_digest: report.plan_digest.to_string(),
            measurement: Some((&report.measurement).into()),
        }
    }
}

impl TryFrom<v1::ReportResponse> for Receipt {
    type Error = ConvertError;

    fn try_from(wire: v1::ReportResponse) -> Result<Self, Self::Error> {
        match wire.receipt() {
            WireReceipt::Recorded => Ok(Self::Recorded),
            WireReceipt::AlreadyReported => Ok(Self::AlreadyReported),
            WireReceipt::KeptAsRepeat => Ok(Self::KeptAsRepeat),
            WireReceipt::Unspecified => Err(ConvertError::invalid(
                "receipt",
                format!("`{}` is not a receipt", wire.receipt),
            )),
        }
    }
}

impl From<Receipt> for v1::ReportResponse {
    fn from(receipt: Receipt) -> Self {
        let receipt = match receipt {
            Receipt::Recorded => WireReceipt::Recorded,
            Receipt::AlreadyReported => WireReceipt::AlreadyReported,
            Receipt::KeptAsRepeat => WireReceipt::KeptAsRepeat,
        };
        Self {
            receipt: receipt.into(),
        }
    }
}
