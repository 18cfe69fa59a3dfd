//! Subjects to measure: the demo model and the golden ones, with few windows.

use std::path::{Path, PathBuf};

use bitfront_model::{DataSpec, ImatrixSource, Manifest, ModelSource, Subject};
use bitfront_runtime::candle::CandleRuntime;
use bitfront_runtime::{CandleSettings, Runtime as _, source, text, tokenizer};
use tempfile::TempDir;

/// The project's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The demo model's folder.
pub(crate) fn demo_model() -> PathBuf {
    root().join("demo/model")
}

/// The folder of a golden model.
pub(crate) fn golden_model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/models")
        .join(name)
}

/// What to measure on.
pub(crate) struct Windows {
    pub(crate) context: u32,
    pub(crate) evaluation: u32,
    pub(crate) calibration: u32,
}

/// A model with the demo's texts.
pub(crate) fn subject(model: &Path, windows: &Windows, imatrix: ImatrixSource) -> Subject {
    let spec = source::open(model).unwrap().spec().clone();
    let tokenizer = tokenizer::load(model, None, spec.vocabulary_size).unwrap();
    let (evaluation_path, calibration_path) = (
        root().join("demo/evaluation.txt"),
        root().join("demo/calibration.txt"),
    );
    let read = text::read(
        &tokenizer,
        &evaluation_path,
        Some(&calibration_path),
        windows.context,
        Some(windows.evaluation),
        Some(windows.calibration),
    );
    let read = read.unwrap();
    Subject {
        model: ModelSource {
            path: model.to_str().unwrap().to_owned(),
            tokenizer_path: None,
            digest: spec.digest,
        },
        data: DataSpec {
            evaluation_path: evaluation_path.to_str().unwrap().to_owned(),
            calibration_path: Some(calibration_path.to_str().unwrap().to_owned()),
            context: windows.context,
            evaluation_windows: windows.evaluation,
            calibration_windows: windows.calibration,
            evaluation_digest: read.evaluation_digest,
            calibration_digest: read.calibration_digest,
            held_back: read.held_back_spec(),
        },
        imatrix,
        manifest: Manifest::default(),
    }
}

/// The demo model on a few windows.
pub(crate) fn demo(imatrix: ImatrixSource) -> Subject {
    let windows = Windows {
        context: 256,
        evaluation: 4,
        calibration: 8,
    };
    subject(&demo_model(), &windows, imatrix)
}

/// A runtime that keeps its caches in `directory`.
pub(crate) fn runtime(directory: &Path) -> CandleRuntime {
    CandleRuntime::new(CandleSettings::new(directory.to_owned())).unwrap()
}

/// A runtime with `subject` open.
pub(crate) fn opened(directory: &Path, subject: &Subject) -> CandleRuntime {
    let mut runtime = runtime(directory);
    runtime.open(subject, &mut |_| {}).unwrap();
    runtime
}

/// Files in which a platform tells of itself.
pub(crate) fn platform(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

/// The layer of [`breaking_in_f16`] that breaks it.
pub(crate) const BREAKING: &str = "blk.1.attn_v";

/// A model of which one layer has weights that `f16` holds, but whose products it does not.
pub(crate) fn breaking_in_f16(directory: &TempDir) -> PathBuf {
    let model = directory.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(golden_model("llama")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let weights = model.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let fields: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let offsets = &fields["model.layers.1.self_attn.v_proj.weight"]["data_offsets"];
    let [start, end] = [0, 1].map(|end| header + offsets[end].as_u64().unwrap() as usize);
    for value in bytes[start..end].as_chunks_mut::<4>().0 {
        *value = 60_000f32.to_le_bytes();
    }
    std::fs::write(&weights, bytes).unwrap();
    model
}
