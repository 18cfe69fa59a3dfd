//! What is believed of plans.

use bitfront_model::{Believed, Check, Prediction, Rank};

use super::{ConvertError, finite, front_point, message, messages, present, spec::plan, word};
use crate::v1;

impl TryFrom<v1::Believed> for Believed {
    type Error = ConvertError;

    fn try_from(wire: v1::Believed) -> Result<Self, Self::Error> {
        Ok(Self {
            figure: word("figure", &wire.figure)?,
            value: finite("value", wire.value)?,
            deviation: finite("deviation", wire.deviation)?,
            scatter: finite("scatter", wire.scatter)?,
            measured: wire
                .measured
                .map(|measured| finite("measured", measured))
                .transpose()?,
        })
    }
}

impl From<&Believed> for v1::Believed {
    fn from(believed: &Believed) -> Self {
        Self {
            figure: believed.figure.to_string(),
            value: believed.value,
            deviation: believed.deviation,
            scatter: believed.scatter,
            measured: believed.measured,
        }
    }
}

impl TryFrom<v1::Check> for Check {
    type Error = ConvertError;

    fn try_from(wire: v1::Check) -> Result<Self, Self::Error> {
        Ok(Self {
            candidates: wire.candidates,
            ranks: messages("ranks", wire.ranks)?,
            is_distrusted: wire.is_distrusted,
        })
    }
}

impl From<&Check> for v1::Check {
    fn from(check: &Check) -> Self {
        Self {
            candidates: check.candidates,
            ranks: check.ranks.iter().map(Into::into).collect(),
            is_distrusted: check.is_distrusted,
        }
    }
}

impl TryFrom<v1::Rank> for Rank {
    type Error = ConvertError;

    fn try_from(wire: v1::Rank) -> Result<Self, Self::Error> {
        Ok(Self {
            figure: word("figure", &wire.figure)?,
            correlation: wire
                .correlation
                .map(|correlation| finite("correlation", correlation))
                .transpose()?,
        })
    }
}

impl From<&Rank> for v1::Rank {
    fn from(rank: &Rank) -> Self {
        Self {
            figure: rank.figure.to_string(),
            correlation: rank.correlation,
        }
    }
}

impl TryFrom<v1::PredictResponse> for Prediction {
    type Error = ConvertError;

    fn try_from(wire: v1::PredictResponse) -> Result<Self, Self::Error> {
        let spec = message("spec", wire.spec)?;
        Ok(Self {
            search: wire.search,
            measured: wire.measured,
            shared: wire.shared.map(Into::into).unwrap_or_default(),
            plan: plan(present("plan", wire.plan)?, &spec).map_err(|error| error.within("plan"))?,
            candidate: wire.candidate,
            size_bytes: wire.size_bytes,
            bits_per_weight: finite("bits_per_weight", wire.bits_per_weight)?,
            figures: messages("figures", wire.figures)?,
            nearest: front_point(present("nearest", wire.nearest)?, &spec)
                .map_err(|error| error.within("nearest"))?,
            nearest_keeps: wire.nearest_keeps,
            hardware_profile: present("hardware_profile", wire.hardware_profile)?.into(),
            subject: message("subject", wire.subject)?,
            spec,
        })
    }
}

impl From<&Prediction> for v1::PredictResponse {
    fn from(prediction: &Prediction) -> Self {
        Self {
            search: prediction.search,
            measured: prediction.measured,
            shared: Some((&prediction.shared).into()),
            plan: Some((&prediction.plan).into()),
            candidate: prediction.candidate,
            size_bytes: prediction.size_bytes,
            bits_per_weight: prediction.bits_per_weight,
            figures: prediction.figures.iter().map(Into::into).collect(),
            nearest: Some((&prediction.nearest).into()),
            nearest_keeps: prediction.nearest_keeps,
            hardware_profile: Some((&prediction.hardware_profile).into()),
            spec: Some((&prediction.spec).into()),
            subject: Some((&prediction.subject).into()),
        }
    }
}
