//! A GGUF file as a model.

use std::borrow::Cow;
use std::path::Path;

use bitfront_model::{Architecture, Layer, LayerKind, ModelSpec};

use super::content::{Content, Stored};
use super::hyper::HyperParameters;
use super::layout;
use super::rows::{in_hugging_face_order, to_hugging_face_order};
use super::{FixedTensor, Origin, Source, Weights, finite_values, layers, spec};
use crate::error::SourceError;
use crate::gguf::{GgufFile, TensorInfo};

mod keys;

use keys::Keys;

/// A GGUF file with the weights of a known architecture.
pub(crate) struct Gguf {
    file: GgufFile,
    spec: ModelSpec,
    hyper: HyperParameters,
    fixed: Vec<FixedTensor>,
}

impl Gguf {
    /// Opens a file and checks all that is in it.
    pub(crate) fn open(path: &Path, name: String, content: Content) -> Result<Self, SourceError> {
        let file = GgufFile::open(path)?;
        let (sizes, hyper) = Keys::new(&file)?.read()?;
        let layers = layers(&sizes, hyper.tied, |name, shape| {
            Ok(find(&file, name, shape)?.precision)
        })?;
        let fixed = layout::fixed(&sizes, &hyper);
        for tensor in &fixed {
            find(&file, &tensor.name, &[tensor.length])?;
        }
        let names = layers.iter().map(Layer::tensor_name);
        let names = names.chain(fixed.iter().map(|tensor| tensor.name.clone()));
        let names = names.collect::<Vec<_>>();
        refuse_unexpected(&file, &names, sizes.architecture)?;
        let stored = names.iter().filter_map(|name| {
            let tensor = file.header().tensor(name)?;
            Some(Stored {
                name,
                own_name: Cow::Borrowed(name),
                path,
                precision: tensor.precision,
                bytes: file.bytes(tensor),
            })
        });
        let stored = stored.collect::<Vec<_>>();
        let digest = content.digest(&sizes, &hyper, &stored)?;
        let spec = spec(path, name, &sizes, layers, &fixed, digest)?;
        Ok(Self {
            file,
            spec,
            hyper,
            fixed,
        })
    }

    fn stored_layer(&self, index: usize) -> Result<(&Layer, &TensorInfo), SourceError> {
        let layers = &self.spec.layers;
        let layer = layers.get(index).ok_or(SourceError::NoLayer {
            index,
            layers: layers.len(),
        })?;
        let shape = [layer.rows, layer.columns];
        Ok((layer, find(&self.file, &layer.tensor_name(), &shape)?))
    }

    /// True where the file holds the layer's rows in another order than Hugging Face.
    fn is_permuted(&self, kind: LayerKind) -> bool {
        layout::permutes(self.spec.architecture)
            && matches!(kind, LayerKind::AttentionQuery | LayerKind::AttentionKey)
    }
}

impl Source for Gguf {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn hyper(&self) -> &HyperParameters {
        &self.hyper
    }

    fn layer(&self, index: usize) -> Result<Weights, SourceError> {
        let (layer, tensor) = self.stored_layer(index)?;
        let (rows, columns) = (layer.rows as usize, layer.columns as usize);
        // Dequantized first: the bytes in the file are aligned, those of a copy need not be.
        let values = finite_values(
            self.file.bytes(tensor),
            (&tensor.name, self.file.path()),
            tensor.precision,
            rows,
            columns,
        )?;
        let values = if self.is_permuted(layer.kind) {
            to_hugging_face_order(&values, columns, self.hyper.head_size)
        } else {
            values
        };
        Ok(Weights {
            rows,
            columns,
            values,
        })
    }

    fn stored(&self, index: usize) -> Result<Cow<'_, [u8]>, SourceError> {
        let (layer, tensor) = self.stored_layer(index)?;
        let bytes = self.file.bytes(tensor);
        Ok(in_hugging_face_order(
            Cow::Borrowed(bytes),
            self.is_permuted(layer.kind),
            bytes.len() / layer.rows as usize,
            self.hyper.head_size,
        ))
    }

    fn fixed_tensors(&self) -> &[FixedTensor] {
        &self.fixed
    }

    fn fixed(&self, name: &str) -> Result<Option<Vec<f32>>, SourceError> {
        let Some(fixed) = self.fixed.iter().find(|tensor| tensor.name == name) else {
            return Ok(None);
        };
        let tensor = find(&self.file, name, &[fixed.length])?;
        let values = finite_values(
            self.file.bytes(tensor),
            (name, self.file.path()),
            tensor.precision,
            1,
            fixed.length as usize,
        )?;
        let kind = match name.rsplit_once('.') {
            Some((stem, "bias")) if stem.ends_with(".attn_q") => LayerKind::AttentionQuery,
            Some((stem, "bias")) if stem.ends_with(".attn_k") => LayerKind::AttentionKey,
            _ => return Ok(Some(values)),
        };
        Ok(Some(if self.is_permuted(kind) {
            to_hugging_face_order(&values, 1, self.hyper.head_size)
        } else {
            values
        }))
    }

    fn origin(&self) -> Origin<'_> {
        Origin::Gguf(&self.file)
    }
}

/// The tensor with a name, its shape (rows first) checked.
fn find<'a>(
    file: &'a GgufFile,
    name: &str,
    expected: &[u64],
) -> Result<&'a TensorInfo, SourceError> {
    let Some(tensor) = file.header().tensor(name) else {
        return Err(SourceError::MissingTensor {
            path: file.path().to_owned(),
            tensor: name.to_owned(),
        });
    };
    let found = tensor.rows_first();
    if found != expected {
        return Err(SourceError::Shape {
            path: file.path().to_owned(),
            tensor: name.to_owned(),
            expected: expected.to_vec(),
            found,
        });
    }
    Ok(tensor)
}

fn refuse_unexpected(
    file: &GgufFile,
    expected: &[String],
    architecture: Architecture,
) -> Result<(), SourceError> {
    let expected = expected.iter().collect::<std::collections::HashSet<_>>();
    for tensor in &file.header().tensors {
        // Old files hold the rotary embedding's frequencies, which are computed.
        let ignored = tensor.name.ends_with(".attn_rot_embd.weight");
        if !ignored && !expected.contains(&tensor.name) {
            return Err(SourceError::UnexpectedTensor {
                path: file.path().to_owned(),
                tensor: tensor.name.clone(),
                architecture,
            });
        }
    }
    Ok(())
}
