//! The metadata of an exported model: copied from a GGUF source, made for any other as llama.cpp's
//! `convert_hf_to_gguf.py` makes it.

use std::collections::BTreeMap;

use bitfront_model::{Architecture, ModelSpec, Plan, Precision};
use serde_json::Value as Json;

use crate::gguf::{Header, Value};
use crate::source::{HyperParameters, RopeScaling};

const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";

/// The version of ggml's quantized types (`GGML_QNT_VERSION`).
const QUANTIZATION: u32 = 2;

/// The metadata of a GGUF source, brought up to date for the plan.
pub(crate) fn copied(
    header: &Header,
    spec: &ModelSpec,
    plan: &Plan,
    pre_tokenizer: Option<&str>,
) -> Vec<(String, Value)> {
    // What the source's quantization was made with is no longer true, and the export is one file.
    let stale = |key: &str| key.starts_with("quantize.imatrix.") || key.starts_with("split.");
    let mut metadata = header.metadata.clone();
    metadata.retain(|(key, _)| !stale(key));
    set(&mut metadata, FILE_TYPE, Value::U32(file_type(spec, plan)));
    set(
        &mut metadata,
        QUANTIZATION_VERSION,
        Value::U32(QUANTIZATION),
    );
    if let Some(name) = pre_tokenizer {
        let name = Value::String(name.to_owned());
        set(&mut metadata, "tokenizer.ggml.pre", name);
    }
    metadata
}

fn set(metadata: &mut Vec<(String, Value)>, key: &str, value: Value) {
    match metadata.iter_mut().find(|(found, _)| found == key) {
        Some((_, found)) => *found = value,
        None => metadata.push((key.to_owned(), value)),
    }
}

/// The metadata of a model from a Hugging Face directory, without its tokenizer.
pub(crate) fn made(
    spec: &ModelSpec,
    hyper: &HyperParameters,
    config: &Json,
    plan: &Plan,
) -> Vec<(String, Value)> {
    let name = match spec.architecture {
        Architecture::Llama | Architecture::Mistral => "llama",
        Architecture::Qwen2 => "qwen2",
        Architecture::Qwen3 => "qwen3",
    };
    let parameters = spec.parameters() + spec.fixed_bytes / 4;
    let mut entries = Entries {
        architecture: name,
        metadata: vec![
            (
                "general.architecture".to_owned(),
                Value::String(name.to_owned()),
            ),
            ("general.type".to_owned(), Value::String("model".to_owned())),
            ("general.name".to_owned(), Value::String(title(&spec.name))),
            (
                "general.size_label".to_owned(),
                Value::String(size_label(parameters)),
            ),
        ],
    };
    // The spec's context may be limited by a window, which llama.cpp does not know of.
    let positions = config.get("max_position_embeddings").and_then(Json::as_u64);
    entries.number("block_count", spec.blocks.into());
    entries.number("context_length", positions.unwrap_or(spec.context_length));
    entries.number("embedding_length", spec.hidden_size);
    entries.number("feed_forward_length", spec.intermediate_size);
    entries.number("attention.head_count", spec.attention_heads.into());
    entries.number("attention.head_count_kv", spec.key_value_heads.into());
    if let RopeScaling::Linear { factor } = hyper.rope_scaling {
        entries.push("rope.scaling.type", Value::String("linear".to_owned()));
        entries.push("rope.scaling.factor", Value::F32(factor as f32));
    }
    entries.push("rope.freq_base", Value::F32(hyper.rope_theta as f32));
    let epsilon = Value::F32(hyper.norm_epsilon as f32);
    entries.push("attention.layer_norm_rms_epsilon", epsilon);
    let usual_heads = spec.head_size * u64::from(spec.attention_heads) == spec.hidden_size;
    if spec.architecture != Architecture::Qwen2 || !usual_heads {
        entries.number("attention.key_length", spec.head_size);
        entries.number("attention.value_length", spec.head_size);
    }
    let file_type = Value::U32(file_type(spec, plan));
    entries.metadata.push((FILE_TYPE.to_owned(), file_type));
    if name == "llama" {
        entries.number("vocab_size", spec.vocabulary_size);
        entries.number("rope.dimension_count", spec.head_size);
    }
    let version = Value::U32(QUANTIZATION);
    entries
        .metadata
        .push((QUANTIZATION_VERSION.to_owned(), version));
    entries.metadata
}

struct Entries {
    architecture: &'static str,
    metadata: Vec<(String, Value)>,
}

impl Entries {
    fn push(&mut self, key: &str, value: Value) {
        self.metadata
            .push((format!("{}.{key}", self.architecture), value));
    }

    /// All of these are below 2^32 in a source that was opened.
    fn number(&mut self, key: &str, value: u64) {
        self.push(key, Value::U32(value.min(u32::MAX.into()) as u32));
    }
}

/// llama.cpp's number for the type that holds most of the weights (`enum llama_ftype`); where a
/// type has several presets, that of the one without a suffix or with `M`.
fn file_type(spec: &ModelSpec, plan: &Plan) -> u32 {
    let mut weights = BTreeMap::<Precision, u64>::new();
    for (layer, &precision) in spec.layers.iter().zip(plan.precisions()) {
        *weights.entry(precision).or_default() += layer.parameters();
    }
    let most = weights.into_iter().max_by_key(|(_, weights)| *weights);
    match most.map_or(Precision::F32, |(precision, _)| precision) {
        Precision::F32 => 0,
        Precision::F16 => 1,
        Precision::Q4_0 => 2,
        Precision::Q4_1 => 3,
        Precision::Q8_0 => 7,
        Precision::Q5_0 => 8,
        Precision::Q5_1 => 9,
        Precision::Q2K => 10,
        Precision::Q3K => 12,
        Precision::Q4K => 15,
        Precision::Q5K => 17,
        Precision::Q6K => 18,
        Precision::Bf16 => 32,
    }
}

/// A folder's name as a title, as `Metadata.id_to_title` of `gguf-py` writes it.
fn title(name: &str) -> String {
    let words = name.split(|letter: char| letter == '-' || letter.is_whitespace());
    let words = words.filter(|word| !word.is_empty()).map(|word| {
        let lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
        let digit = |word: &str| word.starts_with(|letter: char| letter.is_ascii_digit());
        let version = digit(word) || word.strip_prefix('v').is_some_and(digit);
        if lower && !version {
            capitalized(word)
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Every run of letters begins with a capital, as Python's `str.title` does it.
fn capitalized(word: &str) -> String {
    let mut after_letter = false;
    let mut capitalized = String::with_capacity(word.len());
    for letter in word.chars() {
        if after_letter {
            capitalized.push(letter);
        } else {
            capitalized.extend(letter.to_uppercase());
        }
        after_letter = letter.is_alphabetic();
    }
    capitalized
}

/// The number of parameters in two digits, as `model_weight_count_rounded_notation` of `gguf-py`
/// writes it: `1.4M`, `377K`.
fn size_label(parameters: u64) -> String {
    let parameters = parameters as f64;
    let (scaled, unit) = match parameters {
        _ if parameters > 1e12 => (parameters * 1e-12, "T"),
        _ if parameters > 1e9 => (parameters * 1e-9, "B"),
        _ if parameters > 1e6 => (parameters * 1e-6, "M"),
        _ => (parameters * 1e-3, "K"),
    };
    let whole = format!("{scaled:.0}");
    let digits = whole.trim_start_matches('0').len();
    let decimals = 2usize.saturating_sub(digits);
    format!("{scaled:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_written_as_the_converter_writes_them() {
        let titles = [
            "llama-linear",
            "qwen3",
            "Llama-3.2-1B",
            "tiny v1.5",
            "rustdoc-llama",
        ];
        let titles = titles.map(title);
        let expected = [
            "Llama Linear",
            "Qwen3",
            "Llama 3.2 1B",
            "Tiny v1.5",
            "Rustdoc Llama",
        ];
        assert_eq!(titles, expected);
        let sizes = [
            377_000,
            1_400_000,
            999,
            5_770_000,
            7_241_732_096,
            12_345_678,
        ];
        let labels = ["377K", "1.4M", "1.0K", "5.8M", "7.2B", "12M"];
        assert_eq!(sizes.map(size_label), labels);
    }
}
