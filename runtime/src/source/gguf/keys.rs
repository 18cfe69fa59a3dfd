//! The metadata of a GGUF model: the sizes and hyper-parameters, and what is not supported.

use bitfront_model::Architecture;

use super::find;
use crate::error::SourceError;
use crate::gguf::{GgufFile, Value};
use crate::source::finite_values;
use crate::source::hyper::{HyperParameters, RopeScaling};
use crate::source::layout::{ROPE_FACTORS, Sizes};

/// Access to the metadata of an architecture.
pub(super) struct Keys<'a> {
    file: &'a GgufFile,
    /// What `general.architecture` says: the prefix of the keys.
    prefix: &'a str,
    architecture: Architecture,
}

impl<'a> Keys<'a> {
    pub(super) fn new(file: &'a GgufFile) -> Result<Self, SourceError> {
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

    /// Everything that the forward pass and the layout need.
    pub(super) fn read(&self) -> Result<(Sizes, HyperParameters), SourceError> {
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
