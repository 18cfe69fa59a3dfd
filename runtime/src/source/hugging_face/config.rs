//! `config.json`: the sizes and hyper-parameters, and what is not supported.

use std::path::Path;

use bitfront_model::Architecture;
use serde_json::Value;

use crate::error::SourceError;
use crate::source::hyper::{HyperParameters, RopeScaling};
use crate::source::layout::Sizes;

const KNOWN: &str = "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM";

/// What `config.json` says; whether the head is tied is settled with the tensors at hand.
pub(crate) struct Config {
    pub(crate) sizes: Sizes,
    pub(crate) hyper: HyperParameters,
    /// `tie_word_embeddings`, where it is given.
    pub(crate) tied: Option<bool>,
}

/// Reads the parsed `config.json`; `path` is for messages.
pub(crate) fn read(path: &Path, config: &Value) -> Result<Config, SourceError> {
    let fields = Fields { path, config };
    let architecture = architecture(&fields)?;
    refuse_unsupported(&fields, architecture)?;

    let hidden = fields.required_u64("hidden_size")?;
    let heads = fields.required_u32("num_attention_heads")?;
    let key_value_heads = match fields.optional_u64("num_key_value_heads")? {
        Some(_) => fields.required_u32("num_key_value_heads")?,
        None => heads,
    };
    let head_size = match fields.optional_u64("head_dim")? {
        Some(size) => size,
        None => head_size(&fields, hidden, heads)?,
    };
    let position_limit = fields.required_u64("max_position_embeddings")?;
    let sizes = Sizes {
        architecture,
        blocks: fields.required_u32("num_hidden_layers")?,
        hidden,
        intermediate: fields.required_u64("intermediate_size")?,
        heads,
        key_value_heads,
        head_size,
        // Within the window, sliding attention and full attention are the same.
        context: match sliding_window(&fields, architecture)? {
            Some(window) => position_limit.min(window),
            None => position_limit,
        },
        vocabulary: fields.required_u64("vocab_size")?,
    };
    sizes
        .check()
        .map_err(|(name, reason)| fields.wrong(name, reason))?;
    let rope = rope(&fields)?;
    let attention_bias = fields.optional_bool("attention_bias")?.unwrap_or(false);
    let hyper = HyperParameters {
        norm_epsilon: fields.required_positive("rms_norm_eps")?,
        rope_theta: rope.0,
        rope_scaling: rope.1,
        head_size: head_size as usize,
        attention_heads: heads as usize,
        key_value_heads: key_value_heads as usize,
        query_key_value_bias: match architecture {
            Architecture::Llama => attention_bias,
            Architecture::Qwen2 => true,
            Architecture::Mistral | Architecture::Qwen3 => false,
        },
        attention_output_bias: architecture == Architecture::Llama && attention_bias,
        query_key_norm: architecture == Architecture::Qwen3,
        tied: false,
        bos_token: fields.tokens("bos_token_id")?.first().copied(),
        eos_tokens: fields.tokens("eos_token_id")?,
    };
    let tied = fields.optional_bool("tie_word_embeddings")?;
    Ok(Config { sizes, hyper, tied })
}

fn architecture(fields: &Fields<'_>) -> Result<Architecture, SourceError> {
    let unknown = |name: &str| SourceError::Architecture {
        path: fields.path.to_owned(),
        name: name.to_owned(),
        known: KNOWN,
    };
    let Some(names) = fields.get("architectures").and_then(Value::as_array) else {
        return Err(fields.wrong("architectures", "is missing"));
    };
    let Some(name) = names.first().and_then(Value::as_str) else {
        return Err(fields.wrong("architectures", "names none"));
    };
    match name {
        "LlamaForCausalLM" => Ok(Architecture::Llama),
        "MistralForCausalLM" => Ok(Architecture::Mistral),
        "Qwen2ForCausalLM" => Ok(Architecture::Qwen2),
        "Qwen3ForCausalLM" => Ok(Architecture::Qwen3),
        other => Err(unknown(other)),
    }
}

fn head_size(fields: &Fields<'_>, hidden: u64, heads: u32) -> Result<u64, SourceError> {
    let heads = u64::from(heads);
    if heads == 0 || !hidden.is_multiple_of(heads) {
        let reason = format!("is {heads}, which does not divide hidden_size {hidden}");
        return Err(fields.wrong("num_attention_heads", reason));
    }
    Ok(hidden / heads)
}

fn refuse_unsupported(fields: &Fields<'_>, architecture: Architecture) -> Result<(), SourceError> {
    if let Some(activation) = fields.get("hidden_act")
        && !matches!(activation.as_str(), Some("silu" | "swish"))
    {
        return Err(fields.unsupported(format!("hidden_act {activation}")));
    }
    if fields.optional_bool("mlp_bias")? == Some(true) {
        return Err(fields.unsupported("mlp_bias true"));
    }
    let biased = fields.optional_bool("attention_bias")? == Some(true);
    if biased && architecture == Architecture::Qwen3 {
        return Err(fields.unsupported("attention_bias true of a Qwen3 model"));
    }
    if fields.get("quantization_config").is_some() {
        return Err(fields.unsupported(
            "quantization_config (the weights are already quantized; use the unquantized model)",
        ));
    }
    refuse_partial_rotation(fields)?;
    let kinds = fields.get("layer_types").and_then(Value::as_array);
    for kind in kinds.into_iter().flatten() {
        if !matches!(kind.as_str(), Some("full_attention" | "sliding_attention")) {
            return Err(fields.unsupported(format!("layer type {kind}")));
        }
    }
    Ok(())
}

fn refuse_partial_rotation(fields: &Fields<'_>) -> Result<(), SourceError> {
    match fields.get("partial_rotary_factor") {
        Some(factor) if factor.as_f64() != Some(1.0) => {
            Err(fields.unsupported(format!("partial_rotary_factor {factor}")))
        }
        _ => Ok(()),
    }
}

/// The window that attention is limited to, where it is.
fn sliding_window(
    fields: &Fields<'_>,
    architecture: Architecture,
) -> Result<Option<u64>, SourceError> {
    let window = fields.optional_u64("sliding_window")?;
    Ok(match architecture {
        Architecture::Llama => None,
        Architecture::Mistral => window,
        Architecture::Qwen2 | Architecture::Qwen3 => {
            let used = fields.optional_bool("use_sliding_window")?.unwrap_or(false);
            window.filter(|_| used)
        }
    })
}

/// Theta and scaling, from the fields of transformers 4 (`rope_theta`, `rope_scaling`) or those of
/// transformers 5 (`rope_parameters`).
fn rope(fields: &Fields<'_>) -> Result<(f64, RopeScaling), SourceError> {
    const DEFAULT_THETA: f64 = 10_000.0;
    let name = match fields.get("rope_parameters") {
        Some(_) => "rope_parameters",
        None => "rope_scaling",
    };
    let theta = fields.optional_f64("rope_theta")?;
    let Some(parameters) = fields.get(name) else {
        let theta = checked_theta(fields, theta.unwrap_or(DEFAULT_THETA))?;
        return Ok((theta, RopeScaling::Default));
    };
    let scaling = Fields {
        path: fields.path,
        config: parameters,
    };
    let theta = scaling
        .optional_f64("rope_theta")?
        .or(theta)
        .unwrap_or(DEFAULT_THETA);
    let theta = checked_theta(fields, theta)?;
    refuse_partial_rotation(&scaling)?;
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type"));
    let Some(kind) = kind.and_then(Value::as_str) else {
        return Err(fields.wrong(name, "has no rope_type"));
    };
    let scaling = match kind {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear {
            factor: scaling.required_positive("factor")?,
        },
        "llama3" => {
            let low = scaling.required_positive("low_freq_factor")?;
            let high = scaling.required_positive("high_freq_factor")?;
            if high <= low {
                let reason = format!("is {high}, which is not above low_freq_factor {low}");
                return Err(fields.wrong("high_freq_factor", reason));
            }
            RopeScaling::Llama3 {
                factor: scaling.required_positive("factor")?,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context: scaling.required_u64("original_max_position_embeddings")?,
            }
        }
        other => {
            return Err(fields.unsupported(format!(
                "RoPE scaling `{other}` (known are default, linear, llama3)"
            )));
        }
    };
    Ok((theta, scaling))
}

fn checked_theta(fields: &Fields<'_>, theta: f64) -> Result<f64, SourceError> {
    if theta.is_finite() && theta > 0.0 {
        Ok(theta)
    } else {
        Err(fields.wrong("rope_theta", format!("is {theta}")))
    }
}

/// Typed access to a JSON object; null counts as absent, as in transformers.
struct Fields<'a> {
    path: &'a Path,
    config: &'a Value,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.config.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, field: &str, reason: impl Into<String>) -> SourceError {
        SourceError::Field {
            path: self.path.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    fn unsupported(&self, feature: impl Into<String>) -> SourceError {
        SourceError::Unsupported {
            path: self.path.to_owned(),
            feature: feature.into(),
        }
    }

    fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, SourceError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match convert(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(name, format!("is {value}, expected {expected}"))),
        }
    }

    fn optional_u64(&self, name: &str) -> Result<Option<u64>, SourceError> {
        self.optional(name, "a whole number", Value::as_u64)
    }

    fn optional_f64(&self, name: &str) -> Result<Option<f64>, SourceError> {
        self.optional(name, "a number", Value::as_f64)
    }

    fn optional_bool(&self, name: &str) -> Result<Option<bool>, SourceError> {
        self.optional(name, "true or false", Value::as_bool)
    }

    fn required_u64(&self, name: &str) -> Result<u64, SourceError> {
        self.optional_u64(name)?
            .ok_or_else(|| self.wrong(name, "is missing"))
    }

    fn required_u32(&self, name: &str) -> Result<u32, SourceError> {
        let value = self.required_u64(name)?;
        value
            .try_into()
            .map_err(|_| self.wrong(name, format!("is {value}")))
    }

    fn required_positive(&self, name: &str) -> Result<f64, SourceError> {
        match self.optional_f64(name)? {
            Some(value) if value.is_finite() && value > 0.0 => Ok(value),
            Some(value) => Err(self.wrong(name, format!("is {value}"))),
            None => Err(self.wrong(name, "is missing")),
        }
    }

    /// One token id or a list of them.
    fn tokens(&self, name: &str) -> Result<Vec<u32>, SourceError> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let list = |value: &Value| match value {
            Value::Array(ids) => ids.iter().map(id).collect::<Option<Vec<_>>>(),
            _ => id(value).map(|id| vec![id]),
        };
        Ok(self
            .optional(name, "a token id or a list of them", list)?
            .unwrap_or_default())
    }
}
