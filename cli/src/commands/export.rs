//! `bitfront export`: a plan as a file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bitfront_model::plan::PlanFile;
use bitfront_model::{Digest, Front, FrontPoint, ImatrixSource, Limits, ModelSpec, Plan, Subject};
use bitfront_runtime::export::tensor_type_file;
use bitfront_runtime::source;

use crate::args::{By, ExportArguments, ExportAs};
use crate::problem::{ExitStatus, Problem};
use crate::quantized::{self, Imatrix};
use crate::request::absolute;
use crate::settings::{self, ExportSource, ImatrixChoice};
use crate::view::{FrontView as _, PointView as _, usual_order};
use crate::{durable, figures};

use super::session::{Agent, Session};

/// A plan with all that is needed to make it a file.
pub(super) struct Exported {
    pub(super) spec: ModelSpec,
    pub(super) plan: Plan,
    /// The imatrix that it was measured with.
    pub(super) imatrix_digest: Option<Digest>,
    /// What it was measured on, where that is known.
    pub(super) subject: Option<Subject>,
}

/// Finds the plan and writes it.
pub(super) async fn export(typed: ExportArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let source = ExportSource::new(&typed.source)?;
    let limits = settings::limits(&typed.limits)?;
    let exported = match &source {
        ExportSource::Search(search) => {
            let mut connection = session.connect(Agent::NotNeeded).await?;
            let front = connection.client.front(*search, None).await?;
            connection.close().await?;
            let point = choose(&front, typed.candidate, limits, typed.by)?;
            if typed.imatrix.is_none() && typed.kind != ExportAs::TensorTypeFile {
                refuse_unscored(&front, point)?;
            }
            session.printer.say(format_args!(
                "exporting {} of search {search}: {}",
                point.name(),
                figures::bytes(point.size_bytes)
            ));
            Exported::of_point(&front, point)
        }
        ExportSource::PlanFile(path) => from_file(path, &typed, &session).await?,
    };
    match typed.kind {
        ExportAs::TensorTypeFile => {
            let text = tensor_type_file::text(&exported.spec, &exported.plan);
            durable::write(&typed.to, text.as_bytes())?;
        }
        ExportAs::Plan => durable::write(&typed.to, exported.plan_file()?.as_bytes())?,
        ExportAs::Gguf => {
            let target = Target {
                to: typed.to.clone(),
                pre: typed.pre,
                model: typed.model.as_deref().map(absolute).transpose()?,
                tokenizer: typed.tokenizer,
                imatrix: typed.imatrix.as_deref().map(settings::imatrix),
                cache: session.cache_dir(),
            };
            let printer = session.printer.clone();
            tokio::task::spawn_blocking(move || {
                exported.write_gguf(&target, &mut |line| printer.say(line))
            })
            .await??;
        }
    }
    session
        .printer
        .say(format_args!("wrote {}", typed.to.display()));
    Ok(ExitStatus::Success)
}

/// The candidate that is meant.
fn choose(
    front: &Front,
    candidate: Option<i64>,
    limits: Limits,
    by: Option<By>,
) -> Result<&FrontPoint, Problem> {
    if let Some(candidate) = candidate {
        let mut points = front.points.iter();
        return points
            .find(|point| point.candidate == candidate)
            .ok_or_else(|| {
                Problem::nothing_found(format!(
                    "search {} has no candidate {candidate}",
                    front.status.search
                ))
            });
    }
    if limits == Limits::default() && by.is_none() {
        return front.knee().ok_or_else(|| {
            Problem::nothing_found(format!(
                "search {} has measured nothing that can be exported yet",
                front.status.search
            ))
        });
    }
    front
        .best_within(&limits, by.unwrap_or_else(|| usual_order(&limits)))
        .ok_or_else(|| {
            Problem::nothing_found(format!(
                "no plan of search {} keeps these limits",
                front.status.search
            ))
        })
}

/// Refuses a candidate that was not scored where the search quantizes with an imatrix: which one is
/// known from the score alone, and doing without would be another plan than the search is about.
fn refuse_unscored(front: &Front, point: &FrontPoint) -> Result<(), Problem> {
    let status = &front.status;
    if point.quality.is_some() || status.request.subject.imatrix == ImatrixSource::None {
        return Ok(());
    }
    Err(Problem::nothing_found(format!(
        "candidate {} of search {} has not been scored, so that the importance matrix of its \
         tensors is not known",
        point.candidate, status.search
    ))
    .with_hint("name it with --imatrix FILE, or do without: --imatrix none"))
}

/// Reads a plan file and finds its model: where `--model` says, or where a search read it.
async fn from_file(
    path: &Path,
    typed: &ExportArguments,
    session: &Session,
) -> anyhow::Result<Exported> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let file: PlanFile = serde_json::from_str(&text)
        .map_err(|error| Problem::usage(format!("`{}` is not a plan: {error}", path.display())))?;
    let needs_store = typed.model.is_none() || file.imatrix_digest.is_some();
    let subject = if needs_store {
        let mut connection = session.connect(Agent::NotNeeded).await?;
        let searches = connection.client.list().await?;
        connection.close().await?;
        let mut searches = searches.into_iter().rev().map(|status| status.request);
        searches
            .find(|request| request.spec.digest == file.model_digest)
            .map(|request| (request.spec, request.subject))
    } else {
        None
    };
    let (spec, subject) = match (&typed.model, subject) {
        (Some(model), subject) => {
            let model = absolute(model)?;
            let spec = source::open(&model)?.spec().clone();
            (spec, subject.map(|(_, subject)| subject))
        }
        (None, Some((spec, subject))) => (spec, Some(subject)),
        (None, None) => {
            return Err(Problem::nothing_found(format!(
                "`{}` is a plan for model {} ({}), which no search here knows",
                path.display(),
                file.model,
                file.model_digest.short()
            ))
            .with_hint("say where the model lies with --model")
            .into());
        }
    };
    let plan = Plan::from_json(&spec, &text)
        .map_err(|error| Problem::usage(format!("`{}`: {error}", path.display())))?;
    Ok(Exported {
        spec,
        plan,
        imatrix_digest: file.imatrix_digest,
        subject,
    })
}

/// Where a GGUF file goes and what it is made from.
pub(super) struct Target {
    pub(super) to: PathBuf,
    pub(super) pre: Option<String>,
    pub(super) model: Option<PathBuf>,
    pub(super) tokenizer: Option<PathBuf>,
    pub(super) imatrix: Option<ImatrixChoice>,
    pub(super) cache: PathBuf,
}

impl Exported {
    /// The plan of a measured candidate.
    pub(super) fn of_point(front: &Front, point: &FrontPoint) -> Self {
        let evidence = point.quality.as_ref().map(|figure| &figure.evidence);
        Self {
            spec: front.spec().clone(),
            plan: point.plan.clone(),
            imatrix_digest: evidence.and_then(|evidence| evidence.imatrix_digest),
            subject: Some(front.status.request.subject.clone()),
        }
    }

    /// The plan as JSON.
    pub(super) fn plan_file(&self) -> anyhow::Result<String> {
        let file = self.plan.to_file(&self.spec, self.imatrix_digest);
        Ok(serde_json::to_string_pretty(&file)? + "\n")
    }

    /// Quantizes and writes the file.
    pub(super) fn write_gguf(
        &self,
        target: &Target,
        talk: &mut dyn FnMut(&str),
    ) -> anyhow::Result<()> {
        let subject = self.subject.as_ref();
        let model = match (&target.model, subject) {
            (Some(model), _) => model.clone(),
            (None, Some(subject)) => PathBuf::from(&subject.model.path),
            (None, None) => return Err(Problem::usage("--model is needed").into()),
        };
        let tokenizer = match (&target.tokenizer, subject) {
            (Some(tokenizer), _) => Some(tokenizer.clone()),
            (None, Some(subject)) => subject.model.tokenizer_path.as_ref().map(PathBuf::from),
            (None, None) => None,
        };
        let source = source::open(&model)?;
        if source.spec().digest != self.spec.digest {
            return Err(Problem::usage(format!(
                "`{}` is not the model that the plan was made for: its digest is {}, the plan's \
                 is {}",
                model.display(),
                source.spec().digest.short(),
                self.spec.digest.short()
            ))
            .into());
        }
        let imatrix = self.imatrix(target, &model)?;
        quantized::write(
            source.as_ref(),
            &self.plan,
            imatrix,
            quantized::Names {
                tokenizer: tokenizer.as_deref(),
                pre_tokenizer: target.pre.as_deref(),
            },
            &target.to,
            talk,
        )
    }

    /// The imatrix to quantize with: the one that was asked for, or the one that was measured
    /// with. Another one would make a file whose quality nobody has measured.
    fn imatrix(&self, target: &Target, model: &Path) -> anyhow::Result<Imatrix> {
        let measured = self.imatrix_digest;
        let from_subject = |subject: &Subject| {
            let mut subject = subject.clone();
            if let Some(model) = model.to_str() {
                subject.model.path = model.to_owned();
            }
            Imatrix::Collected {
                subject: Box::new(subject),
                cache: target.cache.clone(),
                expected: measured,
            }
        };
        match (&target.imatrix, measured, &self.subject) {
            (Some(ImatrixChoice::None), _, _) | (None, None, _) => Ok(Imatrix::None),
            (Some(ImatrixChoice::File(path)), _, _) => Ok(Imatrix::File(path.clone())),
            (Some(ImatrixChoice::Calibration), _, Some(subject)) => {
                let mut subject = subject.clone();
                subject.imatrix = ImatrixSource::Calibration;
                Ok(from_subject(&subject))
            }
            (None, Some(_), Some(subject)) => Ok(from_subject(subject)),
            (_, _, None) => Err(Problem::usage(
                "the plan was measured with an importance matrix, and no search here knows how it \
                 was made",
            )
            .with_hint("name it with --imatrix FILE, or do without: --imatrix none")
            .into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_that_was_not_scored_is_not_exported_without_its_imatrix() {
        let mut front = crate::testing::front();
        front.status.request.subject.imatrix = ImatrixSource::Calibration;
        refuse_unscored(&front, &front.points[0]).unwrap();
        front.points[0].quality = None;
        let candidate = front.points[0].candidate;
        let problem = refuse_unscored(&front, &front.points[0]).unwrap_err();
        let expected = format!("candidate {candidate} of search 1 has not been scored");
        assert!(problem.to_string().starts_with(&expected), "{problem}");
        front.status.request.subject.imatrix = ImatrixSource::None;
        refuse_unscored(&front, &front.points[0]).unwrap();
    }
}
