//! What the coordinator answers to people and programs.

use std::time::Duration;

use bitfront_model::{
    Best, Confirmation, Figure, Front, FrontPoint, Latency, ModelSpec, NumericsClass,
    Repeatability, Rescoring, SearchRequest, SearchStatus, SharedPlans,
};

use super::{
    ConvertError, finite, message, messages, milliseconds, optional, present, spec::plan, word,
};
use crate::v1;

/// Reads a point of a search over the model that `spec` describes.
pub fn front_point(wire: v1::FrontPoint, spec: &ModelSpec) -> Result<FrontPoint, ConvertError> {
    let quality = optional("quality", wire.quality)?;
    let latency = match wire.latencies {
        empty if empty.is_empty() => None,
        latencies => Some(messages("latencies", latencies)?),
    };
    Ok(FrontPoint {
        search: wire.search,
        candidate: wire.candidate,
        baseline: wire.baseline,
        plan: plan(present("plan", wire.plan)?, spec).map_err(|error| error.within("plan"))?,
        size_bytes: wire.size_bytes,
        bits_per_weight: finite("bits_per_weight", wire.bits_per_weight)?,
        on_front: wire.on_front,
        is_knee: wire.is_knee,
        within_limits: wire.within_limits,
        executed_as_planned: wire.executed_as_planned,
        quality: figure(
            quality,
            ("quality_measurement", wire.quality_measurement),
            ("quality_evidence", wire.quality_evidence),
            ("quality_measured_at_ms", wire.quality_measured_at_ms),
            wire.quality_device,
        )?,
        latency: figure(
            latency,
            ("latency_measurement", wire.latency_measurement),
            ("latency_evidence", wire.latency_evidence),
            ("latency_measured_at_ms", wire.latency_measured_at_ms),
            wire.latency_device,
        )?,
        first_latency: optional("first_timing", wire.first_timing)?,
        infeasible: wire.infeasible,
        placing: message("placing", wire.placing)?,
        was_on_front: wire.was_on_front,
        confirmation: optional("confirmation", wire.confirmation)?,
        unconfirmed: wire.unconfirmed,
        believed: messages("believed", wire.believed)?,
    })
}

impl TryFrom<v1::FirstTiming> for Figure<Vec<Latency>> {
    type Error = ConvertError;

    fn try_from(wire: v1::FirstTiming) -> Result<Self, Self::Error> {
        Ok(Self {
            measurement: wire.measurement,
            value: messages("latencies", wire.latencies)?,
            evidence: message("evidence", wire.evidence)?,
            device: wire.device,
            measured_at_ms: wire.measured_at_ms,
        })
    }
}

impl From<&Figure<Vec<Latency>>> for v1::FirstTiming {
    fn from(figure: &Figure<Vec<Latency>>) -> Self {
        Self {
            latencies: figure.value.iter().map(Into::into).collect(),
            evidence: Some((&figure.evidence).into()),
            measured_at_ms: figure.measured_at_ms,
            device: figure.device.clone(),
            measurement: figure.measurement,
        }
    }
}

impl TryFrom<v1::Confirmation> for Confirmation {
    type Error = ConvertError;

    fn try_from(wire: v1::Confirmation) -> Result<Self, Self::Error> {
        let latency = match wire.latencies {
            empty if empty.is_empty() => None,
            latencies => Some(messages("latencies", latencies)?),
        };
        Ok(Self {
            searched_quality: figure(
                optional("quality", wire.quality)?,
                ("quality_measurement", wire.quality_measurement),
                ("quality_evidence", wire.quality_evidence),
                ("quality_measured_at_ms", wire.quality_measured_at_ms),
                wire.quality_device,
            )?,
            searched_latency: figure(
                latency,
                ("latency_measurement", wire.latency_measurement),
                ("latency_evidence", wire.latency_evidence),
                ("latency_measured_at_ms", wire.latency_measured_at_ms),
                wire.latency_device,
            )?,
            differs: wire.differs,
            rescoring: optional("rescoring", wire.rescoring)?,
            repeatability: messages("repeatability", wire.repeatability)?,
        })
    }
}

impl TryFrom<v1::Repeatability> for Repeatability {
    type Error = ConvertError;

    fn try_from(wire: v1::Repeatability) -> Result<Self, Self::Error> {
        Ok(Self {
            workload: word("workload", &wire.workload)?,
            deviation: finite("deviation", wire.deviation)?,
        })
    }
}

impl From<&Repeatability> for v1::Repeatability {
    fn from(repeatability: &Repeatability) -> Self {
        Self {
            workload: repeatability.workload.to_string(),
            deviation: repeatability.deviation,
        }
    }
}

impl TryFrom<v1::Rescoring> for Rescoring {
    type Error = ConvertError;

    fn try_from(wire: v1::Rescoring) -> Result<Self, Self::Error> {
        Ok(Self {
            windows: wire.windows,
            ratio: finite("ratio", wire.ratio)?,
            interval: optional("interval", wire.interval)?,
            deviates: wire.deviates,
        })
    }
}

impl From<&Rescoring> for v1::Rescoring {
    fn from(rescoring: &Rescoring) -> Self {
        Self {
            windows: rescoring.windows,
            ratio: rescoring.ratio,
            interval: rescoring.interval.as_ref().map(Into::into),
            deviates: rescoring.deviates,
        }
    }
}

impl From<&Confirmation> for v1::Confirmation {
    fn from(confirmation: &Confirmation) -> Self {
        let quality = confirmation.searched_quality.as_ref();
        let latency = confirmation.searched_latency.as_ref();
        Self {
            quality: quality.map(|figure| (&figure.value).into()),
            latencies: latency
                .map(|figure| figure.value.iter().map(Into::into).collect())
                .unwrap_or_default(),
            quality_evidence: quality.map(|figure| (&figure.evidence).into()),
            latency_evidence: latency.map(|figure| (&figure.evidence).into()),
            quality_measured_at_ms: quality.map(|figure| figure.measured_at_ms),
            latency_measured_at_ms: latency.map(|figure| figure.measured_at_ms),
            quality_device: quality.map_or_else(String::new, |figure| figure.device.clone()),
            latency_device: latency.map_or_else(String::new, |figure| figure.device.clone()),
            quality_measurement: quality.map(|figure| figure.measurement),
            latency_measurement: latency.map(|figure| figure.measurement),
            differs: confirmation.differs,
            rescoring: confirmation.rescoring.as_ref().map(Into::into),
            repeatability: confirmation.repeatability.iter().map(Into::into).collect(),
        }
    }
}

/// Puts a figure together from the fields that hold its parts, given with their names.
fn figure<T>(
    value: Option<T>,
    measurement: (&str, Option<i64>),
    evidence: (&str, Option<v1::Evidence>),
    measured_at_ms: (&str, Option<i64>),
    device: String,
) -> Result<Option<Figure<T>>, ConvertError> {
    value
        .map(|value| {
            Ok(Figure {
                measurement: present(measurement.0, measurement.1)?,
                value,
                evidence: message(evidence.0, evidence.1)?,
                device,
                measured_at_ms: present(measured_at_ms.0, measured_at_ms.1)?,
            })
        })
        .transpose()
}

impl From<&FrontPoint> for v1::FrontPoint {
    fn from(point: &FrontPoint) -> Self {
        let (quality, latency) = (point.quality.as_ref(), point.latency.as_ref());
        Self {
            search: point.search,
            candidate: point.candidate,
            baseline: point.baseline.clone(),
            plan: Some((&point.plan).into()),
            plan_digest: point.plan.digest().to_string(),
            size_bytes: point.size_bytes,
            bits_per_weight: point.bits_per_weight,
            on_front: point.on_front,
            is_knee: point.is_knee,
            within_limits: point.within_limits,
            executed_as_planned: point.executed_as_planned,
            quality: quality.map(|figure| (&figure.value).into()),
            latencies: latency
                .map(|figure| figure.value.iter().map(Into::into).collect())
                .unwrap_or_default(),
            infeasible: point.infeasible.clone(),
            quality_evidence: quality.map(|figure| (&figure.evidence).into()),
            latency_evidence: latency.map(|figure| (&figure.evidence).into()),
            quality_measured_at_ms: quality.map(|figure| figure.measured_at_ms),
            latency_measured_at_ms: latency.map(|figure| figure.measured_at_ms),
            quality_device: quality.map_or_else(String::new, |figure| figure.device.clone()),
            latency_device: latency.map_or_else(String::new, |figure| figure.device.clone()),
            quality_measurement: quality.map(|figure| figure.measurement),
            latency_measurement: latency.map(|figure| figure.measurement),
            placing: Some((&point.placing).into()),
            was_on_front: point.was_on_front,
            confirmation: point.confirmation.as_ref().map(Into::into),
            unconfirmed: point.unconfirmed.clone(),
            first_timing: point.first_latency.as_ref().map(Into::into),
            believed: point.believed.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::SearchStatus> for SearchStatus {
    type Error = ConvertError;

    fn try_from(wire: v1::SearchStatus) -> Result<Self, Self::Error> {
        let request: SearchRequest = message("request", wire.request)?;
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            search: wire.search,
            request,
            state: word("state", &wire.state)?,
            reason: wire.reason,
            created_at_ms: wire.created_at_ms,
            ended_at_ms: wire.ended_at_ms,
            active: Duration::from_millis(wire.active_ms),
            candidates: wire.candidates,
            evaluated: wire.evaluated,
            infeasible: wire.infeasible,
            front_size: wire.front_size,
            hypervolume: wire.hypervolume,
            reference_point: wire.reference_point,
            outlook: optional("outlook", wire.outlook)?,
            trust: messages("trust", wire.trust)?,
            shared: wire.shared.map(Into::into).unwrap_or_default(),
            hardware_profile: filled(wire.hardware_profile_digest)
                .map(|text| word("hardware_profile_digest", &text))
                .transpose()?,
            hardware_summary: wire.hardware_summary,
            numerics_class: filled(wire.numerics_class).map(NumericsClass),
        })
    }
}

impl From<&SearchStatus> for v1::SearchStatus {
    fn from(status: &SearchStatus) -> Self {
        Self {
            search: status.search,
            request: Some((&status.request).into()),
            state: status.state.to_string(),
            reason: status.reason.clone(),
            created_at_ms: status.created_at_ms,
            ended_at_ms: status.ended_at_ms,
            active_ms: milliseconds(status.active),
            candidates: status.candidates,
            evaluated: status.evaluated,
            infeasible: status.infeasible,
            front_size: status.front_size,
            hypervolume: status.hypervolume,
            hardware_profile_digest: status
                .hardware_profile
                .map_or_else(String::new, |digest| digest.to_string()),
            hardware_summary: status.hardware_summary.clone(),
            numerics_class: status
                .numerics_class
                .as_ref()
                .map_or_else(String::new, |class| class.0.clone()),
            reference_point: status.reference_point.clone(),
            outlook: status.outlook.as_ref().map(Into::into),
            trust: status.trust.iter().map(Into::into).collect(),
            shared: Some((&status.shared).into()),
        }
    }
}

impl From<v1::SharedPlans> for SharedPlans {
    fn from(wire: v1::SharedPlans) -> Self {
        Self {
            plans: wire.plans,
            searches: wire.searches,
        }
    }
}

impl From<&SharedPlans> for v1::SharedPlans {
    fn from(shared: &SharedPlans) -> Self {
        Self {
            plans: shared.plans,
            searches: shared.searches.clone(),
        }
    }
}

impl TryFrom<v1::FrontResponse> for Front {
    type Error = ConvertError;

    fn try_from(wire: v1::FrontResponse) -> Result<Self, Self::Error> {
        let status: SearchStatus = message("status", wire.status)?;
        let points = wire
            .points
            .into_iter()
            .enumerate()
            .map(|(index, point)| {
                front_point(point, &status.request.spec)
                    .map_err(|error| error.within(&format!("points[{index}]")))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            status,
            points,
            hardware_profile: wire.hardware_profile.map(Into::into),
            stale: optional("stale", wire.stale)?,
        })
    }
}

impl From<&Front> for v1::FrontResponse {
    fn from(front: &Front) -> Self {
        Self {
            status: Some((&front.status).into()),
            points: front.points.iter().map(Into::into).collect(),
            hardware_profile: front.hardware_profile.as_ref().map(Into::into),
            stale: front.stale.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::BestResponse> for Best {
    type Error = ConvertError;

    fn try_from(wire: v1::BestResponse) -> Result<Self, Self::Error> {
        let spec = message("spec", wire.spec)?;
        Ok(Self {
            point: front_point(present("point", wire.point)?, &spec)
                .map_err(|error| error.within("point"))?,
            hardware_profile: present("hardware_profile", wire.hardware_profile)?.into(),
            subject: message("subject", wire.subject)?,
            spec,
        })
    }
}

impl From<&Best> for v1::BestResponse {
    fn from(best: &Best) -> Self {
        Self {
            point: Some((&best.point).into()),
            hardware_profile: Some((&best.hardware_profile).into()),
            spec: Some((&best.spec).into()),
            subject: Some((&best.subject).into()),
        }
    }
}
