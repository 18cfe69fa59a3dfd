//! A device as the coordinator knows it.

use bitfront_model::{
    Device, DeviceState, HeldTask, NumericsClass, QuestionKind, Registration, TimingNoise, Work,
};

use super::{ConvertError, finite, messages, names, optional, present, word, words};
use crate::v1;

impl TryFrom<v1::Device> for Device {
    type Error = ConvertError;

    fn try_from(wire: v1::Device) -> Result<Self, Self::Error> {
        Ok(Self {
            device_id: wire.device_id,
            registration: Registration {
                device: wire.name,
                hardware_profile: present("hardware_profile", wire.hardware_profile)?.into(),
                numerics_class: NumericsClass(wire.numerics_class),
                precisions: words("precisions", &wire.precisions)?,
                agent_version: wire.agent_version,
                can_probe: wire.can_probe,
                can_score_swaps: wire.can_score_swaps,
            },
            first_seen_ms: wire.first_seen_ms,
            last_seen_ms: wire.last_seen_ms,
            measurements: wire.measurements,
            state: match (wire.state.as_str(), wire.serving) {
                ("", true) => DeviceState::Present,
                ("", false) => DeviceState::Away,
                (state, _) => word("state", state)?,
            },
            agent: wire.agent,
            coordinator: wire.coordinator,
            held: messages("held", wire.held)?,
            noise: optional("noise", wire.noise)?,
        })
    }
}

impl From<&Device> for v1::Device {
    fn from(device: &Device) -> Self {
        let registration = &device.registration;
        Self {
            device_id: device.device_id,
            name: registration.device.clone(),
            hardware_profile: Some((&registration.hardware_profile).into()),
            numerics_class: registration.numerics_class.0.clone(),
            precisions: names(&registration.precisions),
            agent_version: registration.agent_version.clone(),
            can_probe: registration.can_probe,
            can_score_swaps: registration.can_score_swaps,
            first_seen_ms: device.first_seen_ms,
            last_seen_ms: device.last_seen_ms,
            measurements: device.measurements,
            serving: device.serves(),
            state: device.state.to_string(),
            agent: device.agent.clone(),
            coordinator: device.coordinator.clone(),
            held: device.held.iter().map(Into::into).collect(),
            noise: device.noise.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::HeldTask> for HeldTask {
    type Error = ConvertError;

    fn try_from(wire: v1::HeldTask) -> Result<Self, Self::Error> {
        let work = match wire.kind.parse::<QuestionKind>() {
            Ok(kind) => Work::Question {
                question: wire.question,
                kind,
            },
            Err(_) => Work::Candidate {
                search: wire.search,
                candidate: wire.candidate,
                kind: word("kind", &wire.kind)?,
                purpose: word("purpose", &wire.purpose)?,
            },
        };
        Ok(Self {
            work,
            since_ms: wire.since_ms,
        })
    }
}

impl From<&HeldTask> for v1::HeldTask {
    fn from(held: &HeldTask) -> Self {
        let since_ms = held.since_ms;
        match held.work {
            Work::Candidate {
                search,
                candidate,
                kind,
                purpose,
            } => Self {
                since_ms,
                kind: kind.to_string(),
                search,
                candidate,
                purpose: purpose.to_string(),
                question: 0,
            },
            Work::Question { question, kind } => Self {
                since_ms,
                kind: kind.to_string(),
                question,
                ..Self::default()
            },
        }
    }
}

impl TryFrom<v1::TimingNoise> for TimingNoise {
    type Error = ConvertError;

    fn try_from(wire: v1::TimingNoise) -> Result<Self, Self::Error> {
        Ok(Self {
            deviation: finite("deviation", wire.deviation)?,
            timings: wire.timings,
            anchor: word("anchor", &wire.anchor)?,
            workload: word("workload", &wire.workload)?,
        })
    }
}

impl From<&TimingNoise> for v1::TimingNoise {
    fn from(noise: &TimingNoise) -> Self {
        Self {
            deviation: noise.deviation,
            timings: noise.timings,
            anchor: noise.anchor.to_string(),
            workload: noise.workload.to_string(),
        }
    }
}
