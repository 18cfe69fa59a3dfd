//! A Hugging Face directory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use bitfront_model::{Layer, ModelSpec, Precision};
use serde_json::Value;

use super::content::{Content, Stored};
use super::hyper::HyperParameters;
use super::layout::{self, ROPE_FACTORS, hugging_face_name};
use super::{FixedTensor, Origin, Source, Weights, layers, spec};
use crate::error::SourceError;

mod config;
mod shards;

use config::Config;
use shards::{Shards, StoredTensor};

/// A directory with `config.json` and safetensors files.
pub(crate) struct HuggingFace {
    directory: PathBuf,
    config: Value,
    spec: ModelSpec,
    hyper: HyperParameters,
    fixed: Vec<FixedTensor>,
    shards: Shards,
}

impl HuggingFace {
    /// Opens a directory and checks all that is in it.
    pub(crate) fn open(
        directory: &Path,
        name: String,
        content: Content,
    ) -> Result<Self, SourceError> {
        let path = directory.join("config.json");
        let text = std::fs::read(&path).map_err(|error| SourceError::Io {
            path: path.clone(),
            error,
        })?;
        let config: Value = serde_json::from_slice(&text).map_err(|error| SourceError::Json {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let Config {
            sizes,
            mut hyper,
            tied,
        } = config::read(&path, &config)?;
        let shards = Shards::open(directory)?;
        // Every block has more than one tensor, so this bounds what the layout allocates.
        if sizes.blocks as usize > shards.count() {
            return Err(SourceError::Field {
                path,
                field: "num_hidden_layers".to_owned(),
                reason: format!(
                    "is {}, but the weights are only {} tensors",
                    sizes.blocks,
                    shards.count()
                ),
            });
        }
        // A head that is neither stored nor declared apart shares the embedding's weights.
        hyper.tied = tied.unwrap_or_else(|| shards.tensor("lm_head.weight").is_none());

        let layers = layers(&sizes, hyper.tied, |name, shape| {
            precision(&shards, name, find(directory, &shards, name, shape)?)
        })?;
        let fixed = layout::fixed(&sizes, &hyper);
        for tensor in stored_fixed(&fixed) {
            let stored = find(directory, &shards, &tensor.name, &[tensor.length])?;
            precision(&shards, &tensor.name, stored)?;
        }
        refuse_unexpected(directory, &shards, &layers, &fixed, hyper.tied, &sizes)?;

        let mut stored = Vec::new();
        let names = layers.iter().map(Layer::tensor_name).collect::<Vec<_>>();
        let fixed_names = stored_fixed(&fixed).map(|tensor| tensor.name.clone());
        let names = names.into_iter().chain(fixed_names).collect::<Vec<_>>();
        for name in &names {
            let own_name = own_name(name);
            let tensor = shards.tensor(&own_name);
            if let Some((tensor, precision)) = tensor.and_then(|it| Some((it, it.precision()?))) {
                stored.push(Stored {
                    name,
                    own_name: Cow::Owned(own_name),
                    path: shards.path(tensor),
                    precision,
                    bytes: shards.bytes(tensor),
                });
            }
        }
        let digest = content.digest(&sizes, &hyper, &stored)?;
        drop(stored);
        let spec = spec(directory, name, &sizes, layers, &fixed, digest)?;
        Ok(Self {
            directory: directory.to_owned(),
            config,
            spec,
            hyper,
            fixed,
            shards,
        })
    }

    fn stored_layer(&self, index: usize) -> Result<(&Layer, &StoredTensor), SourceError> {
        let layers = &self.spec.layers;
        let layer = layers.get(index).ok_or(SourceError::NoLayer {
            index,
            layers: layers.len(),
        })?;
        let name = layer.tensor_name();
        let shape = [layer.rows, layer.columns];
        Ok((layer, find(&self.directory, &self.shards, &name, &shape)?))
    }
}

impl Source for HuggingFace {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn hyper(&self) -> &HyperParameters {
        &self.hyper
    }

    fn layer(&self, index: usize) -> Result<Weights, SourceError> {
        let (layer, tensor) = self.stored_layer(index)?;
        let (rows, columns) = (layer.rows as usize, layer.columns as usize);
        let values = self.values(tensor, &layer.tensor_name(), layer.source, rows, columns)?;
        Ok(Weights {
            rows,
            columns,
            values,
        })
    }

    fn stored(&self, index: usize) -> Result<Cow<'_, [u8]>, SourceError> {
        let (_, tensor) = self.stored_layer(index)?;
        Ok(Cow::Borrowed(self.shards.bytes(tensor)))
    }

    fn fixed_tensors(&self) -> &[FixedTensor] {
        &self.fixed
    }

    fn fixed(&self, name: &str) -> Result<Option<Vec<f32>>, SourceError> {
        let Some(tensor) = self.fixed.iter().find(|tensor| tensor.name == name) else {
            return Ok(None);
        };
        if name == ROPE_FACTORS {
            let hyper = &self.hyper;
            return Ok(hyper
                .rope_scaling
                .factors(hyper.head_size, hyper.rope_theta));
        }
        let stored = find(&self.directory, &self.shards, name, &[tensor.length])?;
        let precision = precision(&self.shards, name, stored)?;
        self.values(stored, name, precision, 1, tensor.length as usize)
            .map(Some)
    }

    fn origin(&self) -> Origin<'_> {
        Origin::HuggingFace {
            directory: &self.directory,
            config: &self.config,
        }
    }
}

impl HuggingFace {
    fn values(
        &self,
        tensor: &StoredTensor,
        name: &str,
        precision: Precision,
        rows: usize,
        columns: usize,
    ) -> Result<Vec<f32>, SourceError> {
        let path = self.shards.path(tensor);
        super::finite_values(
            self.shards.bytes(tensor),
            (&own_name(name), path),
            precision,
            rows,
            columns,
        )
    }
}

/// The fixed tensors that are stored; RoPE factors are computed.
fn stored_fixed(fixed: &[FixedTensor]) -> impl Iterator<Item = &FixedTensor> {
    fixed.iter().filter(|tensor| tensor.name != ROPE_FACTORS)
}

/// What a tensor is called in the files, by its GGUF name: the name that whoever reads a message
/// can look for.
fn own_name(name: &str) -> String {
    hugging_face_name(name).unwrap_or_else(|| name.to_owned())
}

/// The stored tensor for a GGUF name, its shape checked.
fn find<'a>(
    directory: &Path,
    shards: &'a Shards,
    name: &str,
    expected: &[u64],
) -> Result<&'a StoredTensor, SourceError> {
    let own_name = own_name(name);
    let Some(tensor) = shards.tensor(&own_name) else {
        return Err(SourceError::MissingTensor {
            path: directory.to_owned(),
            tensor: own_name,
        });
    };
    if tensor.shape != expected {
        return Err(SourceError::Shape {
            path: shards.path(tensor).to_owned(),
            tensor: own_name,
            expected: expected.to_vec(),
            found: tensor.shape.clone(),
        });
    }
    Ok(tensor)
}

fn precision(shards: &Shards, name: &str, tensor: &StoredTensor) -> Result<Precision, SourceError> {
    tensor.precision().ok_or_else(|| SourceError::StoredAs {
        path: shards.path(tensor).to_owned(),
        tensor: own_name(name),
        stored: tensor.dtype.to_string(),
        supported: "F32, F16, BF16".to_owned(),
    })
}

/// A tensor that the forward pass would leave out means that the model computes something else.
fn refuse_unexpected(
    directory: &Path,
    shards: &Shards,
    layers: &[Layer],
    fixed: &[FixedTensor],
    tied: bool,
    sizes: &layout::Sizes,
) -> Result<(), SourceError> {
    let expected = layers
        .iter()
        .map(Layer::tensor_name)
        .chain(fixed.iter().map(|tensor| tensor.name.clone()))
        .filter_map(|name| hugging_face_name(&name))
        .collect::<std::collections::HashSet<_>>();
    let mut unexpected = shards
        .names()
        .filter(|name| !expected.contains(*name))
        // Frequencies that old versions stored, and a head that `tie_word_embeddings` overrides.
        .filter(|name| !name.ends_with("rotary_emb.inv_freq"))
        .filter(|name| !(tied && *name == "lm_head.weight"))
        .collect::<Vec<_>>();
    unexpected.sort_unstable();
    match unexpected.first() {
        None => Ok(()),
        Some(&name) => Err(SourceError::UnexpectedTensor {
            path: directory.to_owned(),
            tensor: name.to_owned(),
            architecture: sizes.architecture,
        }),
    }
}
