//! Subjects and search requests.

use std::time::Duration;

use bitfront_model::{
    Budget, DataSpec, HeldBack, ImatrixSource, Joint, Limits, ModelSource, Prior, SearchRequest,
    Subject,
};

use super::{
    ConvertError, manifest::manifest, message, milliseconds, names, nanoseconds, optional,
    optional_word, present, word, words,
};
use crate::v1;
use crate::v1::imatrix_source::From as WireImatrix;

impl TryFrom<v1::ModelSource> for ModelSource {
    type Error = ConvertError;

    fn try_from(wire: v1::ModelSource) -> Result<Self, Self::Error> {
        Ok(Self {
            digest: word("digest", &wire.digest)?,
            path: wire.path,
            tokenizer_path: wire.tokenizer_path,
        })
    }
}

impl From<&ModelSource> for v1::ModelSource {
    fn from(source: &ModelSource) -> Self {
        Self {
            path: source.path.clone(),
            tokenizer_path: source.tokenizer_path.clone(),
            digest: source.digest.to_string(),
        }
    }
}

impl TryFrom<v1::DataSpec> for DataSpec {
    type Error = ConvertError;

    fn try_from(wire: v1::DataSpec) -> Result<Self, Self::Error> {
        Ok(Self {
            evaluation_digest: word("evaluation_digest", &wire.evaluation_digest)?,
            calibration_digest: word("calibration_digest", &wire.calibration_digest)?,
            evaluation_path: wire.evaluation_path,
            calibration_path: wire.calibration_path,
            context: wire.context,
            evaluation_windows: wire.evaluation_windows,
            calibration_windows: wire.calibration_windows,
            held_back: optional("held_back", wire.held_back)?,
        })
    }
}

impl TryFrom<v1::HeldBack> for HeldBack {
    type Error = ConvertError;

    fn try_from(wire: v1::HeldBack) -> Result<Self, Self::Error> {
        Ok(Self {
            windows: wire.windows,
            digest: word("digest", &wire.digest)?,
        })
    }
}

impl From<&HeldBack> for v1::HeldBack {
    fn from(held_back: &HeldBack) -> Self {
        Self {
            windows: held_back.windows,
            digest: held_back.digest.to_string(),
        }
    }
}

impl From<&DataSpec> for v1::DataSpec {
    fn from(data: &DataSpec) -> Self {
        Self {
            evaluation_path: data.evaluation_path.clone(),
            calibration_path: data.calibration_path.clone(),
            context: data.context,
            evaluation_windows: data.evaluation_windows,
            calibration_windows: data.calibration_windows,
            evaluation_digest: data.evaluation_digest.to_string(),
            calibration_digest: data.calibration_digest.to_string(),
            held_back: data.held_back.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::ImatrixSource> for ImatrixSource {
    type Error = ConvertError;

    fn try_from(wire: v1::ImatrixSource) -> Result<Self, Self::Error> {
        Ok(match present("from", wire.from)? {
            WireImatrix::None(_) => Self::None,
            WireImatrix::Calibration(_) => Self::Calibration,
            WireImatrix::File(file) => Self::File {
                digest: word("file.digest", &file.digest)?,
                path: file.path,
            },
        })
    }
}

impl From<&ImatrixSource> for v1::ImatrixSource {
    fn from(source: &ImatrixSource) -> Self {
        let from = match source {
            ImatrixSource::None => WireImatrix::None(true),
            ImatrixSource::Calibration => WireImatrix::Calibration(true),
            ImatrixSource::File { path, digest } => WireImatrix::File(v1::ImatrixFile {
                path: path.clone(),
                digest: digest.to_string(),
            }),
        };
        Self { from: Some(from) }
    }
}

impl TryFrom<v1::Subject> for Subject {
    type Error = ConvertError;

    fn try_from(wire: v1::Subject) -> Result<Self, Self::Error> {
        Ok(Self {
            model: message("model", wire.model)?,
            data: message("data", wire.data)?,
            imatrix: message("imatrix", wire.imatrix)?,
            manifest: manifest(wire.manifest)?,
        })
    }
}

impl From<&Subject> for v1::Subject {
    fn from(subject: &Subject) -> Self {
        Self {
            model: Some((&subject.model).into()),
            data: Some((&subject.data).into()),
            imatrix: Some((&subject.imatrix).into()),
            manifest: subject.manifest.files.iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Limits> for Limits {
    fn from(wire: v1::Limits) -> Self {
        Self {
            max_kld: wire.max_kld,
            max_size_bytes: wire.max_size_bytes,
            max_decode: wire.max_decode_ns.map(Duration::from_nanos),
            min_same_top: wire.min_same_top,
        }
    }
}

impl From<&Limits> for v1::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            max_kld: limits.max_kld,
            max_size_bytes: limits.max_size_bytes,
            max_decode_ns: limits.max_decode.map(nanoseconds),
            min_same_top: limits.min_same_top,
        }
    }
}

impl From<v1::Budget> for Budget {
    fn from(wire: v1::Budget) -> Self {
        Self {
            evaluations: wire.evaluations,
            time: wire.time_ms.map(Duration::from_millis),
        }
    }
}

impl From<&Budget> for v1::Budget {
    fn from(budget: &Budget) -> Self {
        Self {
            evaluations: budget.evaluations,
            time_ms: budget.time.map(milliseconds),
        }
    }
}

impl TryFrom<v1::SearchRequest> for SearchRequest {
    type Error = ConvertError;

    fn try_from(wire: v1::SearchRequest) -> Result<Self, Self::Error> {
        Ok(Self {
            subject: message("subject", wire.subject)?,
            spec: message("spec", wire.spec)?,
            device: wire.device,
            objectives: words("objectives", &wire.objectives)?,
            limits: wire.limits.unwrap_or_default().into(),
            budget: present("budget", wire.budget)?.into(),
            precisions: words("precisions", &wire.precisions)?,
            grouping: word("grouping", &wire.grouping)?,
            strategy: word("strategy", &wire.strategy)?,
            workloads: words("workloads", &wire.workloads)?,
            seed: wire.seed,
            staged: wire.staged,
            retimings: wire.retimings,
            early_stop: optional("early_stop", wire.early_stop)?.unwrap_or_default(),
            start_from: wire.start_from,
            prior: match wire.prior.as_str() {
                "" => Prior::default(),
                name => word("prior", name)?,
            },
            shares: wire.shares,
            joint: optional("joint", wire.joint)?,
        })
    }
}

impl From<&SearchRequest> for v1::SearchRequest {
    fn from(request: &SearchRequest) -> Self {
        Self {
            subject: Some((&request.subject).into()),
            spec: Some((&request.spec).into()),
            device: request.device.clone(),
            objectives: names(&request.objectives),
            limits: Some((&request.limits).into()),
            budget: Some((&request.budget).into()),
            precisions: names(&request.precisions),
            grouping: request.grouping.to_string(),
            strategy: request.strategy.to_string(),
            workloads: names(&request.workloads),
            seed: request.seed,
            staged: request.staged,
            retimings: request.retimings,
            early_stop: Some((&request.early_stop).into()),
            start_from: request.start_from,
            prior: request.prior.to_string(),
            shares: request.shares,
            joint: request.joint.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Joint> for Joint {
    type Error = ConvertError;

    fn try_from(wire: v1::Joint) -> Result<Self, Self::Error> {
        Ok(Self {
            key: wire.key,
            selectors: words("selectors", &wire.selectors)?,
            max_decode: wire.max_decode_ns.map(Duration::from_nanos),
            profile: optional_word("profile", wire.profile)?,
        })
    }
}

impl From<&Joint> for v1::Joint {
    fn from(joint: &Joint) -> Self {
        Self {
            key: joint.key.clone(),
            selectors: names(&joint.selectors),
            max_decode_ns: joint.max_decode.map(nanoseconds),
            profile: joint.profile.map(|profile| profile.to_string()),
        }
    }
}
