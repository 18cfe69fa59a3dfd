//! What a device multiplies how fast.

use bitfront_model::{
    DeviceProbe, Exclusion, Probe, ProbeQuestion, ProbedDevice, Product, ProductResult,
    ProductTime, QuestionStanding, Shape,
};

use super::{ConvertError, finite, message, messages, names, present, word, words};
use crate::v1;
use crate::v1::device_probe::Standing as WireStanding;
use crate::v1::product::Result as WireResult;

impl From<v1::Shape> for Shape {
    fn from(wire: v1::Shape) -> Self {
        Self {
            rows: wire.rows,
            columns: wire.columns,
        }
    }
}

impl From<Shape> for v1::Shape {
    fn from(shape: Shape) -> Self {
        Self {
            rows: shape.rows,
            columns: shape.columns,
        }
    }
}

impl TryFrom<v1::ProbeQuestion> for ProbeQuestion {
    type Error = ConvertError;

    fn try_from(wire: v1::ProbeQuestion) -> Result<Self, Self::Error> {
        let shapes: Vec<Shape> = wire.shapes.into_iter().map(Into::into).collect();
        let empty = |shape: &Shape| shape.rows == 0 || shape.columns == 0;
        if let Some(index) = shapes.iter().position(empty) {
            return Err(ConvertError::invalid(
                &format!("shapes[{index}]"),
                "has no weights",
            ));
        }
        if wire.many_rows == 0 {
            return Err(ConvertError::invalid("many_rows", "is 0"));
        }
        Ok(Self {
            shapes,
            precisions: words("precisions", &wire.precisions)?,
            few_rows: wire.few_rows.max(1),
            many_rows: wire.many_rows,
        })
    }
}

impl From<&ProbeQuestion> for v1::ProbeQuestion {
    fn from(question: &ProbeQuestion) -> Self {
        Self {
            shapes: question.shapes.iter().copied().map(Into::into).collect(),
            precisions: names(&question.precisions),
            few_rows: question.few_rows,
            many_rows: question.many_rows,
        }
    }
}

impl TryFrom<v1::ProductTime> for ProductTime {
    type Error = ConvertError;

    fn try_from(wire: v1::ProductTime) -> Result<Self, Self::Error> {
        Ok(Self {
            median_ns: finite("median_ns", wire.median_ns)?,
            interval: message("interval", wire.interval)?,
            ratio: finite("ratio", wire.ratio)?,
            ratio_interval: message("ratio_interval", wire.ratio_interval)?,
            samples_ns: wire.samples_ns,
            warm_up_ns: wire.warm_up_ns,
            noisy: wire.noisy,
        })
    }
}

impl From<&ProductTime> for v1::ProductTime {
    fn from(time: &ProductTime) -> Self {
        Self {
            median_ns: time.median_ns,
            interval: Some((&time.interval).into()),
            ratio: time.ratio,
            ratio_interval: Some((&time.ratio_interval).into()),
            samples_ns: time.samples_ns.clone(),
            warm_up_ns: time.warm_up_ns,
            noisy: time.noisy,
        }
    }
}

impl TryFrom<v1::Product> for Product {
    type Error = ConvertError;

    fn try_from(wire: v1::Product) -> Result<Self, Self::Error> {
        let result = match present("result", wire.result)? {
            WireResult::Timed(timed) => ProductResult::Timed {
                few_rows: message("few_rows", timed.few_rows)?,
                many_rows: message("many_rows", timed.many_rows)?,
            },
            WireResult::Infeasible(infeasible) => ProductResult::Infeasible {
                reason: infeasible.reason,
            },
        };
        Ok(Self {
            shape: present("shape", wire.shape)?.into(),
            precision: word("precision", &wire.precision)?,
            result,
        })
    }
}

impl From<&Product> for v1::Product {
    fn from(product: &Product) -> Self {
        let result = match &product.result {
            ProductResult::Timed {
                few_rows,
                many_rows,
            } => WireResult::Timed(v1::TimedProduct {
                few_rows: Some(few_rows.into()),
                many_rows: Some(many_rows.into()),
            }),
            ProductResult::Infeasible { reason } => WireResult::Infeasible(v1::Infeasible {
                reason: reason.clone(),
            }),
        };
        Self {
            shape: Some(product.shape.into()),
            precision: product.precision.to_string(),
            result: Some(result),
        }
    }
}

impl TryFrom<v1::Probe> for Probe {
    type Error = ConvertError;

    fn try_from(wire: v1::Probe) -> Result<Self, Self::Error> {
        Ok(Self {
            products: messages("products", wire.products)?,
            environment: message("environment", wire.environment)?,
            duration_ns: wire.duration_ns,
        })
    }
}

impl From<&Probe> for v1::Probe {
    fn from(probe: &Probe) -> Self {
        Self {
            products: probe.products.iter().map(Into::into).collect(),
            environment: Some((&probe.environment).into()),
            duration_ns: probe.duration_ns,
        }
    }
}

impl TryFrom<v1::Exclusion> for Exclusion {
    type Error = ConvertError;

    fn try_from(wire: v1::Exclusion) -> Result<Self, Self::Error> {
        Ok(Self {
            shape: present("shape", wire.shape)?.into(),
            precision: word("precision", &wire.precision)?,
            by: words("by", &wire.by)?,
            reason: wire.reason,
        })
    }
}

impl From<&Exclusion> for v1::Exclusion {
    fn from(exclusion: &Exclusion) -> Self {
        Self {
            shape: Some(exclusion.shape.into()),
            precision: exclusion.precision.to_string(),
            by: names(&exclusion.by),
            reason: exclusion.reason.clone(),
        }
    }
}

impl TryFrom<v1::DeviceProbe> for DeviceProbe {
    type Error = ConvertError;

    fn try_from(wire: v1::DeviceProbe) -> Result<Self, Self::Error> {
        let standing = match present("standing", wire.standing)? {
            WireStanding::Pending(v1::ProbePending {}) => QuestionStanding::Pending,
            WireStanding::Done(probe) => {
                QuestionStanding::Done(Box::new(message("done", Some(probe))?))
            }
            WireStanding::Failed(failed) => QuestionStanding::Failed {
                reason: failed.reason,
            },
        };
        Ok(Self {
            probe: wire.probe,
            question: message("question", wire.question)?,
            standing,
            excluded: messages("excluded", wire.excluded)?,
        })
    }
}

impl From<&DeviceProbe> for v1::DeviceProbe {
    fn from(probe: &DeviceProbe) -> Self {
        let standing = match &probe.standing {
            QuestionStanding::Pending => WireStanding::Pending(v1::ProbePending {}),
            QuestionStanding::Done(probe) => WireStanding::Done(probe.as_ref().into()),
            QuestionStanding::Failed { reason } => WireStanding::Failed(v1::ProbeFailed {
                reason: reason.clone(),
            }),
        };
        Self {
            probe: probe.probe,
            question: Some((&probe.question).into()),
            standing: Some(standing),
            excluded: probe.excluded.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::DeviceResponse> for ProbedDevice {
    type Error = ConvertError;

    fn try_from(wire: v1::DeviceResponse) -> Result<Self, Self::Error> {
        Ok(Self {
            device: message("device", wire.device)?,
            probes: messages("probes", wire.probes)?,
        })
    }
}

impl From<&ProbedDevice> for v1::DeviceResponse {
    fn from(device: &ProbedDevice) -> Self {
        Self {
            device: Some((&device.device).into()),
            probes: device.probes.iter().map(Into::into).collect(),
        }
    }
}
