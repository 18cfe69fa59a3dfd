//! A GGUF file as a model.

use std::borrow::Cow;
use std::path::Path;

use bitfront_model::{Architecture, Layer, LayerKind, ModelSpec};

use super::content::{self, Stored};
use super::hyper::{HyperParameters, RopeScaling};
use super::layout::{self, ROPE_FACTORS, Sizes};
use super::rows::{in_hugging_face_order, to_hugging_face_order};
use super::{FixedTensor, Origin, Source, Weights, finite_values, spec};
use crate::error::SourceError;
use crate::gguf::{GgufFile, TensorInfo, Value};

/// A GGUF file with the weights of a known architecture.
pub(crate) struct Gguf {
    file: GgufFile,
    spec: ModelSpec,
    hyper: HyperParameters,
    fixed: Vec<FixedTensor>,
}

impl Gguf {
    /// Opens a file and checks all that is in it.
    pub(crate) fn open(path: &Path, name: String) -> Result<Self, SourceError> {
        let file = GgufFile::open(path)?;
        let (sizes, hyper) = Keys::new(&file)?.read()?;
        let mut layers = Vec::new();
        for shape in layout::layers(&sizes, hyper.tied) {
            let tensor = find(
                &file,
                &format!("{}.weight", shape.name),
                &[shape.rows, shape.columns],
            )?;
            layers.push(Layer {
                tied: hyper.tied && shape.kind == LayerKind::TokenEmbedding,
                source: tensor.precision,
                name: shape.name,
                kind: shape.kind,
                block: shape.block,
                rows: shape.rows,
                columns: shape.columns,
            });
        }
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
                precision: tensor.precision,
                bytes: file.bytes(tensor),
            })
        });
        let stored = stored.collect::<Vec<_>>();
        let digest =
            content::digest(&sizes, &hyper, &stored).map_err(|error| SourceError::NotFinite {
                path: path.to_owned(),
                tensor: error.tensor,
                index: error.index,
            })?;
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

/// Access to the metadata of an architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    /// What `general.architecture` says: the prefix of the keys.
    prefix: &'a str,
    architecture: Architecture,
}

impl<'a> Keys<'a> {
    fn new(file: &'a GgufFile) -> Result<Self, SourceError> {
        let key = "general.architecture";
        let unknown = |name: &str| SourceError::Architecture {
            path: file.path().to_owned(),
            name: name.to_owned(),
            known: "llama (Mistral too), qwen2, qwen3",
        };
        let Some(prefix) = file.header().value(key).and_then(Value::as_str) else {
            return Err(SourceError::Field {
                path: file.path().to_owned(),
                field: key.to_owned(),
                reason: "is missing; the file holds no model".to_owned(),
            });
        };
        let architecture = match prefix {
            "llama" => Architecture::Llama,
            "qwen2" => Architecture::Qwen2,
            "qwen3" => Architecture::Qwen3,
            other => return Err(unknown(other)),
        };
        Ok(Self {
            file,
            prefix,
            architecture,
        })
    }

    fn read(&self) -> Result<(Sizes, HyperParameters), SourceError> {
        let parts = self.file.header().value("split.count");
        if parts.is_some_and(|count| count.as_u64() != Some(1)) {
            return Err(self.unsupported(
                "a model split over several GGUF files (merge them with \
                 `llama-gguf-split --merge`)",
            ));
        }
        for key in ["expert_count", "attention.causal"] {
            let value = self.value(key);
            let harmless = value
                .is_none_or(|value| value.as_u64() == Some(0) || value.as_bool() == Some(true));
            if !harmless {
                return Err(self.unsupported(format!("{}.{key}", self.prefix)));
            }
        }
        let sizes = self.sizes()?;
        let has = |name: &str| self.file.header().tensor(name).is_some();
        let llama = self.architecture == Architecture::Llama;
        let hyper = HyperParameters {
            norm_epsilon: self.positive("attention.layer_norm_rms_epsilon", None)?,
            rope_theta: self.positive("rope.freq_base", Some(10_000.0))?,
            rope_scaling: self.rope_scaling(&sizes)?,
            head_size: sizes.head_size as usize,
            attention_heads: sizes.heads as usize,
            key_value_heads: sizes.key_value_heads as usize,
            query_key_value_bias: match self.architecture {
                Architecture::Qwen2 => true,
                _ => llama && has("blk.0.attn_q.bias"),
            },
            attention_output_bias: llama && has("blk.0.attn_output.bias"),
            query_key_norm: self.architecture == Architecture::Qwen3,
            tied: !has("output.weight"),
            bos_token: self.token("tokenizer.ggml.bos_token_id")?,
            eos_tokens: self
                .token("tokenizer.ggml.eos_token_id")?
                .into_iter()
                .collect(),
        };
        Ok((sizes, hyper))
    }

    fn sizes(&self) -> Result<Sizes, SourceError> {
        let blocks = self.required("block_count")?;
        let tensors = self.file.header().tensors.len();
        // Every block has more than one tensor, so this bounds what the layout allocates.
        if blocks > tensors as u64 {
            let reason = format!("is {blocks}, but the file has only {tensors} tensors");
            return Err(self.wrong("block_count", reason));
        }
        let hidden = self.required("embedding_length")?;
        let heads = self.required("attention.head_count")?;
        let key_value_heads = self.optional("attention.head_count_kv")?.unwrap_or(heads);
        let head_size = match self.optional("attention.key_length")? {
            Some(size) => size,
            None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let reason = format!("is {heads}, which does not divide {hidden}");
                return Err(self.wrong("attention.head_count", reason));
            }
        };
        for key in ["attention.value_length", "rope.dimension_count"] {
            match self.optional(key)? {
                Some(size) if size != head_size => {
                    return Err(self.unsupported(format!(
                        "{}.{key} {size} with heads of {head_size}",
                        self.prefix
                    )));
                }
                _ => {}
            }
        }
        let context = self.required("context_length")?;
        let embedding = self.file.header().tensor("token_embd.weight");
        let Some(embedding) = embedding else {
            return Err(SourceError::MissingTensor {
                path: self.file.path().to_owned(),
                tensor: "token_embd.weight".to_owned(),
            });
        };
        let narrow = |key: &str, value: u64| {
            u32::try_from(value).map_err(|_| self.wrong(key, format!("is {value}")))
        };
        let sizes = Sizes {
            architecture: self.architecture,
            blocks: narrow("block_count", blocks)?,
            hidden,
            intermediate: self.required("feed_forward_length")?,
            heads: narrow("attention.head_count", heads)?,
            key_value_heads: narrow("attention.head_count_kv", key_value_heads)?,
            head_size,
            context: match self.optional("attention.sliding_window")? {
                Some(window) if window > 0 => context.min(window),
                _ => context,
            },
            vocabulary: embedding.rows(),
        };
        sizes.check().map_err(|(name, reason)| SourceError::Field {
            path: self.file.path().to_owned(),
            field: name.to_owned(),
            reason,
        })?;
        Ok(sizes)
    }

    fn rope_scaling(&self, sizes: &Sizes) -> Result<RopeScaling, SourceError> {
        let kind = self.value("rope.scaling.type").map(|value| {
            value
                .as_str()
                .ok_or_else(|| self.wrong("rope.scaling.type", "is not a text"))
        });
        let scaling = match kind.transpose()? {
            None | Some("none") => RopeScaling::Default,
            Some("linear") => RopeScaling::Linear {
                factor: self.positive("rope.scaling.factor", None)?,
            },
            Some(other) => {
                return Err(
                    self.unsupported(format!("RoPE scaling `{other}` (known are none, linear)"))
                );
            }
        };
        if self.architecture != Architecture::Llama {
            return Ok(scaling);
        }
        let Some(tensor) = self.file.header().tensor(ROPE_FACTORS) else {
            return Ok(scaling);
        };
        if scaling != RopeScaling::Default {
            return Err(self.unsupported(format!("{ROPE_FACTORS} with another RoPE scaling")));
        }
        let length = sizes.head_size / 2;
        find(self.file, ROPE_FACTORS, &[length])?;
        let factors = finite_values(
            self.file.bytes(tensor),
            (ROPE_FACTORS, self.file.path()),
            tensor.precision,
            1,
            length as usize,
        )?;
        if let Some(factor) = factors.iter().find(|factor| **factor <= 0.0) {
            return Err(SourceError::Field {
                path: self.file.path().to_owned(),
                field: ROPE_FACTORS.to_owned(),
                reason: format!("holds the factor {factor}"),
            });
        }
        Ok(RopeScaling::Factors { factors })
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.file.header().value(&format!("{}.{key}", self.prefix))
    }

    fn optional(&self, key: &str) -> Result<Option<u64>, SourceError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None if value.as_array().is_some() => Err(self.unsupported(format!(
                    "{}.{key} with a value for every block",
                    self.prefix
                ))),
                None => Err(self.wrong(key, "is not a whole number")),
            },
        }
    }

    fn required(&self, key: &str) -> Result<u64, SourceError> {
        self.optional(key)?
            .ok_or_else(|| self.wrong(key, "is missing"))
    }

    fn positive(&self, key: &str, default: Option<f64>) -> Result<f64, SourceError> {
        let value = match (self.value(key), default) {
            (Some(value), _) => value.as_f64(),
            (None, Some(default)) => Some(default),
            (None, None) => return Err(self.wrong(key, "is missing")),
        };
        match value {
            Some(value) if value.is_finite() && value > 0.0 => Ok(value),
            _ => Err(self.wrong(key, "is not a positive number")),
        }
    }

    /// A token id under a key without the architecture's prefix.
    fn token(&self, key: &str) -> Result<Option<u32>, SourceError> {
        let Some(value) = self.file.header().value(key) else {
            return Ok(None);
        };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.map(Some).ok_or_else(|| SourceError::Field {
            path: self.file.path().to_owned(),
            field: key.to_owned(),
            reason: "is not a token id".to_owned(),
        })
    }

    fn wrong(&self, key: &str, reason: impl Into<String>) -> SourceError {
        SourceError::Field {
            path: self.file.path().to_owned(),
            field: format!("{}.{key}", self.prefix),
            reason: reason.into(),
        }
    }

    fn unsupported(&self, feature: impl Into<String>) -> SourceError {
        SourceError::Unsupported {
            path: self.file.path().to_owned(),
            feature: feature.into(),
        }
    }
}
