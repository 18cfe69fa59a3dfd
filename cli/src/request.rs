//! From settings to a search request: the model and the texts are read here, so that everything
//! that is wrong with them is said before any work starts.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bitfront_model::{
    Baseline, DataSpec, Digest, ImatrixSource, Manifest, ManifestFile, ModelSource, ModelSpec,
    Precision, SearchRequest, Subject, Workload,
};
use bitfront_runtime::{source, text, tokenizer};
use bitfront_weights::contents;

use crate::locate::{Files, Located};
use crate::problem::Problem;
use crate::quantized::read_imatrix;
use crate::settings::{ImatrixChoice, SearchSettings};

/// What is chosen from where nobody says, if every row is a multiple of 256.
const USUAL: [Precision; 6] = [
    Precision::Q8_0,
    Precision::Q6K,
    Precision::Q5K,
    Precision::Q4K,
    Precision::Q3K,
    Precision::Q2K,
];

/// What joins where a row is not: blocks of 32.
const SHORT_ROWS: [Precision; 4] = [
    Precision::Q5_1,
    Precision::Q5_0,
    Precision::Q4_1,
    Precision::Q4_0,
];

/// The usual context, where the model has so much.
const USUAL_CONTEXT: u64 = 512;

/// Reads the model and the texts and states the whole request, but for the device.
pub(crate) fn build(settings: &SearchSettings, files: &Files) -> anyhow::Result<SearchRequest> {
    let model_path = files.model.path.clone();
    let source = source::open(&model_path)?;
    let mut spec = source.spec().clone();
    if let Some(name) = &files.model.name {
        spec.name.clone_from(name);
    }

    let tokenizer_path = files.tokenizer.as_ref().map(|file| file.path.as_path());
    let tokenizer = tokenizer::load(&model_path, tokenizer_path, spec.vocabulary_size)?;

    let context = context(settings.context, &spec)?;
    let evaluation_path = files.data.path.as_path();
    let calibration_path = files.calibration.as_ref().map(|file| file.path.as_path());
    let windows = text::read(
        &tokenizer,
        evaluation_path,
        calibration_path,
        context,
        Some(settings.windows),
        Some(settings.calibration_windows),
    )?;

    let precisions = settings
        .precisions
        .clone()
        .unwrap_or_else(|| usual_precisions(&spec));

    let mut subject = Subject {
        model: ModelSource {
            path: text_of(&model_path)?,
            tokenizer_path: tokenizer_path.map(text_of).transpose()?,
            digest: spec.digest,
        },
        data: DataSpec {
            evaluation_path: text_of(evaluation_path)?,
            calibration_path: calibration_path.map(text_of).transpose()?,
            context,
            evaluation_windows: settings.windows,
            calibration_windows: settings.calibration_windows,
            evaluation_digest: windows.evaluation_digest,
            calibration_digest: windows.calibration_digest,
            held_back: windows.held_back_spec(),
        },
        imatrix: imatrix_source(&settings.imatrix, files.imatrix.as_ref(), &spec)?,
        manifest: Manifest::default(),
    };
    let named = &mut subject.manifest.files;
    named.extend(contents::of_model(&subject.model.path)?);
    let rest = contents::of_the_rest(&subject)?;
    subject.manifest.files.extend(rest);
    for file in files.all() {
        file.tell_urls(&mut subject.manifest.files);
    }

    Ok(SearchRequest {
        subject,
        spec,
        device: None,
        objectives: settings.objectives.clone(),
        limits: settings.limits,
        budget: settings.budget,
        precisions,
        grouping: settings.grouping,
        strategy: settings.strategy,
        workloads: match &settings.workloads {
            Some(workloads) => workloads.clone(),
            None => usual_workloads(context),
        },
        seed: settings.seed,
        staged: settings.staged,
        retimings: settings.retimings,
        early_stop: settings.early_stop,
        start_from: settings.start_from,
        prior: settings.prior,
        shares: settings.shares,
        joint: None,
    })
}

/// The files of a model that can be read.
pub(crate) fn model_files(model: &Located) -> anyhow::Result<Vec<ManifestFile>> {
    source::open(&model.path)?;
    Ok(contents::of_model(&text_of(&model.path)?)?)
}

/// The files of a request that are not the model's, which are small.
pub(crate) fn small_files(request: &SearchRequest) -> Vec<ManifestFile> {
    let Subject {
        model, manifest, ..
    } = &request.subject;
    let small = manifest.files.iter().filter(|file| file.path != model.path);
    small.cloned().collect()
}

/// What a budget of evaluations leaves of the baselines, where it is too small for them: said
/// before anything starts, since nothing is searched for then.
pub(crate) fn baselines_beyond(request: &SearchRequest) -> Option<String> {
    let evaluations = request.budget.evaluations?;
    let baselines = Baseline::named(&request.spec, &request.precisions).len() as u64;
    let beyond = baselines.checked_sub(evaluations).filter(|&it| it > 0)?;
    Some(format!(
        "{baselines} baselines come first, as far as the device executes them: --evaluations \
         {evaluations} ends before {beyond} of them and before anything is searched for; {} is the \
         least that searches",
        baselines + 1
    ))
}

/// The precisions to choose from where nobody says.
pub(crate) fn usual_precisions(spec: &ModelSpec) -> Vec<Precision> {
    let all_fit = |block: u64| {
        spec.layers
            .iter()
            .all(|layer| layer.columns.is_multiple_of(block))
    };
    let mut precisions = USUAL.to_vec();
    if !all_fit(256) {
        precisions.extend(SHORT_ROWS);
    }
    if !all_fit(32) {
        precisions.push(Precision::F16);
    }
    precisions.sort();
    precisions
}

/// The usual prefill and decode, cut down so that both stay inside the context.
fn usual_workloads(context: u32) -> Vec<Workload> {
    vec![
        Workload::Prefill {
            tokens: context.min(128),
            batch: 1,
        },
        Workload::Decode {
            context: (context / 2).clamp(1, 64),
            tokens: (context / 4).clamp(1, 16),
            batch: 1,
        },
    ]
}

/// The tokens of a window. A context that the model was not made for is refused here already: the
/// text is cut by it, and would be called too short.
fn context(asked: Option<u32>, spec: &ModelSpec) -> Result<u32, Problem> {
    let most = u32::try_from(spec.context_length).unwrap_or(u32::MAX);
    match asked {
        Some(context) if context > most => Err(Problem::usage(format!(
            "--context: {context} is more than the {most} tokens that model `{}` was made for",
            spec.name
        ))),
        Some(context) => Ok(context),
        None => Ok(spec.context_length.min(USUAL_CONTEXT) as u32),
    }
}

/// The names of precisions, for people.
pub(crate) fn names(precisions: impl IntoIterator<Item = Precision>) -> String {
    let names: Vec<_> = precisions.into_iter().map(Precision::name).collect();
    names.join(", ")
}

fn imatrix_source(
    choice: &ImatrixChoice,
    file: Option<&Located>,
    spec: &ModelSpec,
) -> anyhow::Result<ImatrixSource> {
    let typed = match choice {
        ImatrixChoice::None => return Ok(ImatrixSource::None),
        ImatrixChoice::Calibration => return Ok(ImatrixSource::Calibration),
        ImatrixChoice::File(typed) => typed,
    };
    let path = file.map_or(typed, |file| &file.path);
    read_imatrix(path, spec)?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(ImatrixSource::File {
        path: text_of(path)?,
        digest: Digest::of(bytes),
    })
}

/// The path from the root, so that an agent finds it from wherever it was started.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot resolve `{}`", path.display()))
}

fn text_of(path: &Path) -> Result<String, Problem> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Problem::usage(format!(
            "`{}` is not UTF-8, but paths travel as text",
            path.display()
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shapes_decide_what_is_chosen_from() {
        let spec = |columns: u64| {
            let mut spec = crate::testing::spec();
            spec.layers[1].columns = columns;
            spec
        };
        assert_eq!(
            names(usual_precisions(&spec(512))),
            "q8_0, q6_k, q5_k, q4_k, q3_k, q2_k"
        );
        assert_eq!(
            names(usual_precisions(&spec(96))),
            "q8_0, q6_k, q5_1, q5_0, q5_k, q4_1, q4_0, q4_k, q3_k, q2_k"
        );
        assert!(usual_precisions(&spec(33)).contains(&Precision::F16));
    }

    #[test]
    fn a_budget_below_the_baselines_says_what_is_left_out() {
        let mut request = crate::testing::request();
        assert_eq!(baselines_beyond(&request), None, "a time says nothing");
        request.budget.evaluations = Some(1);
        let said = baselines_beyond(&request).unwrap();
        let baselines = Baseline::named(&request.spec, &request.precisions).len() as u64;
        let parts = [
            format!("{baselines} baselines"),
            "--evaluations 1 ends".to_owned(),
            format!("before {} of them", baselines - 1),
            format!("{} is the least", baselines + 1),
        ];
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        request.budget.evaluations = Some(baselines);
        assert_eq!(baselines_beyond(&request), None);
    }

    #[test]
    fn workloads_stay_inside_the_context() {
        let names = |context| -> Vec<String> {
            let workloads = usual_workloads(context);
            workloads.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(512), ["prefill@128", "decode@64x16"]);
        assert_eq!(names(32), ["prefill@32", "decode@16x8"]);
    }
}
