//! A subject that is open: weights, windows, imatrix and reference.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfront_model::{
    Digest, HeldBack, ImatrixSource, Layer, NumericsClass, Plan, Precision, Subject, TaskPurpose,
};

use crate::imatrix;
use crate::imatrix_file::{self, Imatrix};
use crate::quantize::{quantize, uses_importance};
use crate::reference::{Reference, ReferenceShape, ScoredPositions};
use crate::source::{self, Source};
use crate::tensor_store::{Stored, TensorKey, TensorStore};
use crate::text::{self, Windows};
use crate::{RuntimeError, tokenizer};

use super::scoring::scored_logits;
use super::{Assembly, Decoder, Matrices, Matrix, batch_windows, float_matrices};

/// A subject with everything that measuring it needs.
pub struct OpenSubject {
    digest: Digest,
    model_path: PathBuf,
    source: Box<dyn Source>,
    decoder: Decoder,
    windows: Windows,
    imatrix: Option<(Imatrix, Digest)>,
    reference: Option<Reference>,
    /// Of the held-back windows; made when the first confirmation asks for it.
    held_back_reference: Option<Reference>,
    /// [`HeldBack`] of the subject.
    held_back: Option<HeldBack>,
}

/// What a subject is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its tensors alone.
    Tensors,
    /// Measuring, which compares with the reference log-probabilities.
    Measuring,
}

impl OpenSubject {
    /// Opens a subject and checks that it is the one that was submitted.
    pub(crate) fn open(
        subject: &Subject,
        need: Need,
        numerics_class: &NumericsClass,
        cache_directory: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, RuntimeError> {
        let model_path = PathBuf::from(&subject.model.path);
        let source = source::open(&model_path)?;
        let spec = source.spec();
        if spec.digest != subject.model.digest {
            return Err(RuntimeError::OtherModel {
                path: model_path,
                expected: subject.model.digest,
                found: spec.digest,
            });
        }
        let windows = read_windows(subject, spec.vocabulary_size)?;
        let decoder = Decoder::new(source.as_ref())?;
        let mut opening = Opening {
            decoder: &decoder,
            source: source.as_ref(),
            windows: &windows,
            float: None,
            numerics_class,
            cache_directory,
        };
        let imatrix = opening.imatrix(subject, progress)?;
        let reference = match need {
            Need::Tensors => None,
            Need::Measuring => {
                Some(opening.reference(&windows.evaluation, windows.evaluation_digest, progress)?)
            }
        };
        Ok(Self {
            digest: subject.digest(),
            decoder,
            windows,
            imatrix,
            reference,
            held_back_reference: None,
            held_back: subject.data.held_back,
            model_path,
            source,
        })
    }

    /// Makes the reference of the held-back windows, unless it is there. The unquantized weights
    /// are loaded for it once more where it is not in the cache.
    pub(crate) fn open_held_back(
        &mut self,
        numerics_class: &NumericsClass,
        cache_directory: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RuntimeError> {
        let held_back = self.held_back.ok_or(RuntimeError::NoHeldBack)?;
        if self.held_back_reference.is_some() {
            return Ok(());
        }
        let mut opening = Opening {
            decoder: &self.decoder,
            source: self.source.as_ref(),
            windows: &self.windows,
            float: None,
            numerics_class,
            cache_directory,
        };
        let windows = &self.windows.held_back;
        self.held_back_reference = Some(opening.reference(windows, held_back.digest, progress)?);
        Ok(())
    }

    /// The windows that are scored for a purpose, and what the unquantized model says of them.
    pub(crate) fn scored(
        &self,
        purpose: TaskPurpose,
    ) -> Result<(&[Vec<u32>], &Reference), RuntimeError> {
        let (windows, reference, missing) = match purpose {
            TaskPurpose::Search | TaskPurpose::Retime => (
                &self.windows.evaluation,
                &self.reference,
                RuntimeError::NoReference,
            ),
            TaskPurpose::Confirm => (
                &self.windows.held_back,
                &self.held_back_reference,
                RuntimeError::NoHeldBack,
            ),
        };
        Ok((windows, reference.as_ref().ok_or(missing)?))
    }

    /// [`Subject::digest`].
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Where the model file is.
    pub(crate) fn model_path(&self) -> &Path {
        &self.model_path
    }

    /// The model file.
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// The forward pass.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The text.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// What the unquantized model says; none where the subject was opened for its tensors alone.
    pub fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }

    /// True where all is open that is needed.
    pub(crate) fn serves(&self, need: Need) -> bool {
        need == Need::Tensors || self.reference.is_some()
    }

    /// The activation statistics.
    pub fn imatrix(&self) -> Option<&Imatrix> {
        self.imatrix.as_ref().map(|(imatrix, _)| imatrix)
    }

    /// The digest of the activation statistics.
    pub fn imatrix_digest(&self) -> Option<Digest> {
        self.imatrix.as_ref().map(|(_, digest)| *digest)
    }

    /// One layer in one precision, from the store.
    pub(crate) fn matrix<M: Stored>(
        &self,
        store: &mut TensorStore<M>,
        index: usize,
        precision: Precision,
    ) -> Result<Arc<M>, RuntimeError> {
        let layer = self.layer(index)?;
        let importance = self.importance(layer, precision);
        let key = self.key(layer, precision);
        let shape = (layer.rows as usize, layer.columns as usize);
        store.get(key, shape, || {
            let weights = self.source.layer(index)?;
            quantize(
                layer,
                precision,
                &weights,
                importance.map(|(values, _)| values),
            )
        })
    }

    /// All layers of a plan, from the store, with the precision of each as `executed` asks it of
    /// them.
    pub(crate) fn assemble<M: Stored>(
        &self,
        store: &mut TensorStore<M>,
        plan: &Plan,
        executed: impl Fn(&M) -> Precision,
    ) -> Result<Assembly<Vec<Arc<M>>>, RuntimeError> {
        self.check_plan(plan)?;
        let matrices = plan
            .precisions()
            .iter()
            .enumerate()
            .map(|(layer, &precision)| self.matrix(store, layer, precision))
            .collect::<Result<Vec<_>, _>>()?;
        let executed = matrices.iter().map(|matrix| executed(matrix)).collect();
        Ok(Assembly { matrices, executed })
    }

    /// Refuses a plan for another model.
    fn check_plan(&self, plan: &Plan) -> Result<(), RuntimeError> {
        let (expected, found) = (self.source.spec().layers.len(), plan.precisions().len());
        match expected == found {
            true => Ok(()),
            false => Err(RuntimeError::OtherPlan { expected, found }),
        }
    }

    /// Bytes of memory that putting a plan together takes beside what is in the store.
    ///
    /// # Errors
    ///
    /// The plan is one for another model.
    pub(crate) fn missing_bytes<M: Stored>(
        &self,
        store: &TensorStore<M>,
        plan: &Plan,
    ) -> Result<u64, RuntimeError> {
        self.check_plan(plan)?;
        let mut missing = 0u64;
        for (index, &precision) in plan.precisions().iter().enumerate() {
            let layer = self.layer(index)?;
            if !store.holds(&self.key(layer, precision)) {
                let bytes = M::bytes_of(precision, layer.rows, layer.columns);
                missing = missing.saturating_add(bytes);
            }
        }
        Ok(missing)
    }

    /// Bytes of memory that a whole plan takes on the processor.
    pub(crate) fn resident_bytes(&self, plan: &Plan) -> Result<u64, RuntimeError> {
        let mut resident = 0u64;
        for (index, &precision) in plan.precisions().iter().enumerate() {
            let layer = self.layer(index)?;
            let bytes = Matrix::bytes_of(precision, layer.rows, layer.columns);
            resident = resident.saturating_add(bytes);
        }
        Ok(resident)
    }

    /// What the tensors of a plan are kept under, in canonical order.
    pub(crate) fn keys(&self, plan: &Plan) -> Result<Vec<TensorKey>, RuntimeError> {
        let precisions = plan.precisions().iter().enumerate();
        precisions
            .map(|(index, &precision)| Ok(self.key(self.layer(index)?, precision)))
            .collect()
    }

    fn layer(&self, index: usize) -> Result<&Layer, RuntimeError> {
        let layers = &self.source.spec().layers;
        layers.get(index).ok_or(RuntimeError::OtherPlan {
            expected: layers.len(),
            found: index + 1,
        })
    }

    /// What a layer is quantized by in a precision, with the imatrix that it is from.
    fn importance(&self, layer: &Layer, precision: Precision) -> Option<(&[f32], Digest)> {
        let (imatrix, digest) = self.imatrix.as_ref()?;
        let entry = imatrix.entries.get(&layer.tensor_name())?;
        uses_importance(precision).then_some((entry.mean_squares.as_slice(), *digest))
    }

    fn key(&self, layer: &Layer, precision: Precision) -> TensorKey {
        TensorKey {
            model: self.source.spec().digest,
            layer: layer.name.clone(),
            precision,
            imatrix: self.importance(layer, precision).map(|(_, digest)| digest),
        }
    }
}

fn read_windows(subject: &Subject, vocabulary_size: u64) -> Result<Windows, RuntimeError> {
    let (model, data) = (&subject.model, &subject.data);
    let tokenizer_path = model.tokenizer_path.as_deref().map(Path::new);
    let tokenizer = tokenizer::load(Path::new(&model.path), tokenizer_path, vocabulary_size)?;
    let windows = text::read(
        &tokenizer,
        Path::new(&data.evaluation_path),
        data.calibration_path.as_deref().map(Path::new),
        data.context,
        Some(data.evaluation_windows),
        Some(data.calibration_windows),
    )?;
    let held_back = data.held_back.map(|held_back| {
        let found = windows.held_back_digest;
        ("held-back", held_back.digest, found)
    });
    for (part, expected, found) in held_back.into_iter().chain([
        (
            "evaluation",
            data.evaluation_digest,
            windows.evaluation_digest,
        ),
        (
            "calibration",
            data.calibration_digest,
            windows.calibration_digest,
        ),
    ]) {
        if expected != found {
            return Err(RuntimeError::OtherData {
                part,
                expected,
                found,
            });
        }
    }
    Ok(windows)
}

/// What is at hand while a subject is being opened.
struct Opening<'a> {
    decoder: &'a Decoder,
    source: &'a dyn Source,
    windows: &'a Windows,
    /// The unquantized weights, loaded when the first step needs them and gone afterwards.
    float: Option<Matrices>,
    numerics_class: &'a NumericsClass,
    cache_directory: &'a Path,
}

impl Opening<'_> {
    /// What was computed from the unquantized weights and `windows`. Another kernel family gives
    /// other last bits, which must not pass for this one's.
    fn key(&self, what: &str, windows: Digest) -> Digest {
        Digest::builder()
            .part(what)
            .part(self.source.spec().digest.to_string())
            .part(windows.to_string())
            .part(&self.numerics_class.0)
            .finish()
    }

    fn float(&mut self) -> Result<&Matrices, RuntimeError> {
        if self.float.is_none() {
            self.float = Some(float_matrices(self.source)?);
        }
        self.float
            .as_ref()
            .ok_or_else(|| RuntimeError::Engine("no unquantized weights".to_owned()))
    }

    fn imatrix(
        &mut self,
        subject: &Subject,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Option<(Imatrix, Digest)>, RuntimeError> {
        let imatrix = match &subject.imatrix {
            ImatrixSource::None => return Ok(None),
            ImatrixSource::Calibration => self.calibrate(progress)?,
            ImatrixSource::File { path, digest } => read_imatrix(Path::new(path), *digest)?,
        };
        imatrix.check(self.source.spec())?;
        let digest = imatrix.digest();
        Ok(Some((imatrix, digest)))
    }

    /// The imatrix of the calibration windows, from the cache or computed now.
    ///
    /// It is always the file's that is used: a mean survives being written as a sum and a count
    /// only up to its last bit, and the digest must be the same before and after a restart.
    fn calibrate(&mut self, progress: &mut dyn FnMut(&str)) -> Result<Imatrix, RuntimeError> {
        let key = self.key("imatrix", self.windows.calibration_digest);
        let path = self.cache_directory.join(format!("{key}.imatrix.gguf"));
        if let Ok(imatrix) = imatrix_file::read(&path)
            && imatrix.check(self.source.spec()).is_ok()
        {
            return Ok(imatrix);
        }
        let windows = self.windows;
        let context = windows.calibration.first().map_or(0, Vec::len);
        progress(&format!(
            "collecting activation statistics from {} windows of {context} tokens",
            windows.calibration.len()
        ));
        self.float()?;
        let float = self.float.as_ref().ok_or(RuntimeError::NotOpen)?;
        let spec = self.source.spec();
        let batch = batch_windows(context);
        let collected = imatrix::collect(self.decoder, float, spec, &windows.calibration, batch)?;
        std::fs::create_dir_all(self.cache_directory)
            .map_err(RuntimeError::io("create", self.cache_directory))?;
        imatrix_file::write(&collected, &path)?;
        Ok(imatrix_file::read(&path)?)
    }

    /// What the unquantized model says of some windows, given with their digest.
    fn reference(
        &mut self,
        windows: &[Vec<u32>],
        digest: Digest,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Reference, RuntimeError> {
        let context = windows.first().map_or(0, Vec::len);
        let shape = ReferenceShape {
            windows: windows.len(),
            positions: ScoredPositions::of(context).count,
            vocabulary: self.source.spec().vocabulary_size as usize,
        };
        let key = self.key("reference", digest);
        let path = self.cache_directory.join(format!("{key}.reference"));
        Reference::open_or_make(path, key, shape, progress, |window| {
            self.float()?;
            let float = self.float.as_ref().ok_or(RuntimeError::NotOpen)?;
            scored_logits(self.decoder, float, &windows[window])
        })
    }
}

fn read_imatrix(path: &Path, expected: Digest) -> Result<Imatrix, RuntimeError> {
    let bytes = std::fs::read(path).map_err(RuntimeError::io("read", path))?;
    let found = Digest::of(&bytes);
    if found != expected {
        return Err(RuntimeError::OtherImatrix {
            path: path.to_owned(),
            expected,
            found,
        });
    }
    Ok(imatrix_file::read(path)?)
}
