//! Copies of the golden models, changed in one place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use bitfront_model::{Plan, Precision};
use bitfront_runtime::error::SourceError;
use bitfront_runtime::export::gguf::{self, Options, QuantizedLayers};
use bitfront_runtime::source::{self, Source};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;
use tempfile::TempDir;

pub(crate) const MODELS: [&str; 5] = ["llama", "llama-linear", "mistral", "qwen2", "qwen3"];

pub(crate) fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/models")
        .join(model)
}

pub(crate) fn json(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A copy of a golden model that may be changed.
pub(crate) struct Copy {
    directory: TempDir,
}

/// A tensor of a safetensors file.
#[derive(Clone)]
pub(crate) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub(crate) type Tensors = BTreeMap<String, Stored>;

impl Copy {
    pub(crate) fn of(model: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(golden(model)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Source>, SourceError> {
        source::open(self.path())
    }

    pub(crate) fn message(&self) -> String {
        match self.open() {
            Ok(_) => "it was opened".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) fn edit_json(&self, file: &str, edit: impl FnOnce(&mut Json)) {
        let path = self.path().join(file);
        let mut value = json(&path);
        edit(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }

    /// Changes the tensors of a model that is in one file.
    pub(crate) fn edit_tensors(&self, edit: impl FnOnce(&mut Tensors)) {
        let path = self.path().join("model.safetensors");
        let mut tensors = read_tensors(&path);
        edit(&mut tensors);
        write_tensors(&path, &tensors);
    }
}

pub(crate) fn read_tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = file.tensors().into_iter().map(|(name, view)| {
        let stored = Stored {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        (name, stored)
    });
    stored.collect()
}

pub(crate) fn write_tensors(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, stored)| {
        let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.bytes).unwrap();
        (name.clone(), view)
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Layers quantized by candle, without an imatrix.
pub(crate) struct Plain<'a> {
    pub source: &'a dyn Source,
    pub plan: &'a Plan,
}

impl QuantizedLayers for Plain<'_> {
    fn layer(&self, index: usize) -> Result<Cow<'_, [u8]>, Box<dyn Error + Send + Sync>> {
        let weights = self.source.layer(index)?;
        let precision = self.plan.precisions()[index];
        let shape = (weights.rows, weights.columns);
        let tensor = Tensor::from_vec(weights.values, shape, &Device::Cpu)?;
        let quantized = QTensor::quantize(&tensor, ggml_type(precision))?;
        Ok(Cow::Owned(quantized.data()?.into_owned()))
    }
}

fn ggml_type(precision: Precision) -> GgmlDType {
    match precision {
        Precision::F32 => GgmlDType::F32,
        Precision::F16 => GgmlDType::F16,
        Precision::Bf16 => GgmlDType::BF16,
        Precision::Q8_0 => GgmlDType::Q8_0,
        Precision::Q6K => GgmlDType::Q6K,
        Precision::Q4K => GgmlDType::Q4K,
        Precision::Q4_0 => GgmlDType::Q4_0,
        other => panic!("not used in these tests: {other}"),
    }
}

/// Exports a source in one precision.
pub(crate) fn export(source: &dyn Source, precision: Precision, to: &Path) -> u64 {
    let plan = Plan::uniform(source.spec(), precision).unwrap();
    let layers = Plain {
        source,
        plan: &plan,
    };
    gguf::write(source, &plan, &layers, Options::default(), to).unwrap()
}

/// A golden model as a GGUF file.
pub(crate) fn exported(model: &str, precision: Precision) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    export(&*source::open(&golden(model)).unwrap(), precision, &path);
    (directory, path)
}
