//! A plan's tensors as bytes, for files.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bitfront_model::{Digest, ModelSpec, Plan, Subject};
use bitfront_runtime::export::gguf::{self, Options, QuantizedLayers};
use bitfront_runtime::imatrix_file::{self, Imatrix as ImatrixFile};
use bitfront_runtime::quantize::quantize;
use bitfront_runtime::source::Source;
use bitfront_runtime::{CandleRuntime, CandleSettings};

use crate::problem::Problem;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What to quantize with.
pub(crate) enum Imatrix {
    /// Nothing.
    None,
    /// A file of llama.cpp's.
    File(PathBuf),
    /// What the subject says, collected anew or taken from the cache of an agent.
    Collected {
        /// What was measured.
        subject: Box<Subject>,
        /// The agent's cache.
        cache: PathBuf,
        /// The one that was measured with.
        expected: Option<Digest>,
    },
}

/// Names that the file needs and the model's own files may not give.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    /// A `tokenizer.json` in place of the model's own.
    pub(crate) tokenizer: Option<&'a Path>,
    /// llama.cpp's name of the pre-tokenizer.
    pub(crate) pre_tokenizer: Option<&'a str>,
}

/// Writes a plan as a GGUF file; it appears under its name only when it is whole.
pub(crate) fn write(
    source: &dyn Source,
    plan: &Plan,
    imatrix: Imatrix,
    names: Names<'_>,
    to: &Path,
    talk: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let options = Options {
        tokenizer: names.tokenizer,
        pre_tokenizer: names.pre_tokenizer,
    };
    let importance = match imatrix {
        Imatrix::None => None,
        Imatrix::File(path) => Some(read_imatrix(&path, source.spec())?),
        Imatrix::Collected {
            subject,
            cache,
            expected,
        } => {
            let layers = Measured::open(&subject, cache, expected, plan, talk)?;
            gguf::write(source, plan, &layers, options, to)?;
            return Ok(());
        }
    };
    let layers = Anew {
        source,
        plan,
        importance,
    };
    gguf::write(source, plan, &layers, options, to)?;
    Ok(())
}

/// Reads an imatrix that is to be used for a model, and refuses that of another one.
pub(crate) fn read_imatrix(path: &Path, spec: &ModelSpec) -> anyhow::Result<ImatrixFile> {
    let imatrix = imatrix_file::read(path)?;
    imatrix.check(spec).map_err(|error| {
        Problem::usage(format!(
            "--imatrix: `{}` cannot be used for model `{}`: {error}",
            path.display(),
            spec.name
        ))
    })?;
    Ok(imatrix)
}

/// Tensors that are quantized for the file.
struct Anew<'a> {
    source: &'a dyn Source,
    plan: &'a Plan,
    importance: Option<ImatrixFile>,
}

impl QuantizedLayers for Anew<'_> {
    fn layer(&self, index: usize) -> Result<Cow<'_, [u8]>, Failure> {
        let layer = &self.source.spec().layers[index];
        let entry = self.importance.as_ref();
        let entry = entry.and_then(|imatrix| imatrix.entries.get(&layer.tensor_name()));
        let bytes = quantize(
            layer,
            self.plan.precisions()[index],
            &self.source.layer(index)?,
            entry.map(|entry| entry.mean_squares.as_slice()),
        )?;
        Ok(Cow::Owned(bytes))
    }
}

/// The very tensors that were measured.
struct Measured<'a> {
    /// The store inside changes when it is read.
    runtime: Mutex<CandleRuntime>,
    plan: &'a Plan,
}

impl<'a> Measured<'a> {
    fn open(
        subject: &Subject,
        cache: PathBuf,
        expected: Option<Digest>,
        plan: &'a Plan,
        talk: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Self> {
        let settings = CandleSettings {
            // Every tensor is written once, so none is worth keeping.
            tensor_budget_bytes: 0,
            prefix_budget_bytes: 0,
            ..CandleSettings::new(cache)
        };
        let mut runtime = CandleRuntime::new(settings)?;
        runtime.open_for_tensors(subject, talk)?;
        let found = runtime.imatrix_digest();
        if let (Some(expected), Some(found)) = (expected, found)
            && expected != found
        {
            return Err(Problem::failure(format!(
                "the importance matrix of this machine ({}) is not the one that the plan was \
                 measured with ({}): its last bits depend on the processor",
                found.short(),
                expected.short()
            ))
            .with_hint("bring the device's own with --imatrix FILE")
            .into());
        }
        Ok(Self {
            runtime: Mutex::new(runtime),
            plan,
        })
    }
}

impl QuantizedLayers for Measured<'_> {
    fn layer(&self, index: usize) -> Result<Cow<'_, [u8]>, Failure> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = runtime.tensor_bytes(index, self.plan.precisions()[index])?;
        Ok(Cow::Owned(bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::Precision;
    use bitfront_runtime::source;

    use super::*;

    #[test]
    fn the_imatrix_of_another_model_is_not_quantized_with() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let source = source::open(&root.join("demo/model")).unwrap();
        let plan = Plan::uniform(source.spec(), Precision::Q4K).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("out.gguf");
        let other = root.join("runtime/tests/golden/imatrix/llama.imatrix.gguf");
        let names = Names {
            tokenizer: None,
            pre_tokenizer: None,
        };
        let imatrix = Imatrix::File(other);
        let error = write(source.as_ref(), &plan, imatrix, names, &to, &mut |_| {}).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("llama.imatrix.gguf") && message.contains("does not belong"),
            "{message}"
        );
        assert!(!to.exists());
    }
}
