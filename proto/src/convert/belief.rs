//! What is believed of plans.

use bitfront_model::{Believed, Prediction};

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
