//! Exported GGUF files, held to those of llama.cpp's converter.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;

use bitfront_model::{Digest, Plan, Precision};
use bitfront_runtime::export::gguf::{self, Options, QuantizedLayers};
use bitfront_runtime::gguf::{GgufFile, Value};
use bitfront_runtime::{source, tokenizer};
use serde_json::{Value as Json, json};

use super::support::{Copy, MODELS, Plain, export, exported, golden, json as read_json};

/// Entries of the reference that are left out, and why that changes nothing.
const LEFT_OUT: [(&str, &str); 1] = [(
    "tokenizer.ggml.add_sep_token",
    "llama.cpp's default, and no supported architecture puts a separator",
)];

#[test]
fn tensors_are_those_of_the_converter_bit_for_bit() {
    let mut wrong = Vec::new();
    for model in MODELS {
        let reference = read_json(&golden(model).join("gguf_reference.json"));
        let (_directory, path) = exported(model, Precision::F32);
        let file = GgufFile::open(&path).unwrap();
        let header = file.header();
        let tensors = reference["tensors"].as_array().unwrap();
        assert_eq!(header.tensors.len(), tensors.len(), "{model}");
        for expected in tensors {
            let name = expected["name"].as_str().unwrap();
            let Some(tensor) = header.tensor(name) else {
                wrong.push(format!("{model}: {name} is missing"));
                continue;
            };
            let digest = Digest::of(file.bytes(tensor)).to_string();
            let found = json!([tensor.shape, tensor.precision.name(), digest]);
            let expected = json!([
                expected["dimensions"],
                expected["type"],
                expected["sha256_f32"]
            ]);
            if found != expected {
                wrong.push(format!("{model} {name}: {found} instead of {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn metadata_is_that_of_the_converter() {
    let mut wrong = Vec::new();
    for model in MODELS {
        let reference = read_json(&golden(model).join("gguf_reference.json"));
        let (_directory, path) = exported(model, Precision::F32);
        let file = GgufFile::open(&path).unwrap();
        let expected = reference["metadata"].as_object().unwrap();
        for (key, expected) in expected {
            if LEFT_OUT.iter().any(|(left_out, _)| left_out == key) {
                continue;
            }
            let found = file
                .header()
                .value(key)
                .map(|value| describe(value, expected));
            if found.as_ref() != Some(expected) {
                let found = found.unwrap_or_default();
                wrong.push(format!("{model} {key}: {found} instead of {expected}"));
            }
        }
        for (key, _) in &file.header().metadata {
            if !expected.contains_key(key) {
                wrong.push(format!("{model}: {key} is not in the reference"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A value as the reference describes it; long arrays by digest, as the reference gives them.
fn describe(value: &Value, like: &Json) -> Json {
    let scalar = |value: &Value| match value {
        Value::U32(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::F32(value) => json!(f64::from(*value)),
        Value::Bool(value) => json!(value),
        Value::String(value) => json!(value),
        other => panic!("not in any reference: {other:?}"),
    };
    let name = |value: &Value| match value {
        Value::U32(_) => "uint32",
        Value::I32(_) => "int32",
        Value::F32(_) => "float32",
        Value::Bool(_) => "bool",
        _ => "string",
    };
    let Some(values) = value.as_array() else {
        return json!({"type": name(value), "value": scalar(value)});
    };
    let mut described = json!({
        "type": format!("array[{}]", name(&values[0])),
        "length": values.len(),
    });
    let scalars = values.iter().map(scalar).collect::<Vec<_>>();
    if like.get("sha256").is_none() {
        described["value"] = json!(scalars);
        return described;
    }
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Value::String(text) => {
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            Value::F32(value) => bytes.extend(value.to_le_bytes()),
            Value::I32(value) => bytes.extend(value.to_le_bytes()),
            other => panic!("not in any reference: {other:?}"),
        }
    }
    described["first"] = json!(scalars[..20]);
    described["sha256"] = json!(Digest::of(bytes).to_string());
    described
}

#[test]
fn a_mixed_plan_is_written_layer_by_layer_and_reads_back_in_those_precisions() {
    let source = source::open(&golden("mistral")).unwrap();
    let spec = source.spec();
    let choice = [
        Precision::Q8_0,
        Precision::Q4K,
        Precision::Q6K,
        Precision::F16,
    ];
    let precisions = (0..spec.layers.len()).map(|index| choice[index % choice.len()]);
    let plan = Plan::new(spec, precisions.collect()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mixed.gguf");
    let layers = Plain {
        source: &*source,
        plan: &plan,
    };
    let size = gguf::write(&*source, &plan, &layers, Options::default(), &path).unwrap();
    assert_eq!(size, std::fs::metadata(&path).unwrap().len());
    assert!(size > plan.size_bytes(spec));
    let copy = source::open(&path).unwrap();
    let stored = copy.spec().layers.iter().map(|layer| layer.source);
    assert_eq!(stored.collect::<Vec<_>>(), plan.precisions());
    // Quantizing and permuting rows commute: the file's bytes, back in Hugging Face order, are
    // those that were given.
    for index in 0..spec.layers.len() {
        let given = layers.layer(index).unwrap();
        assert!(
            given == copy.stored(index).unwrap(),
            "{}",
            spec.layers[index].name
        );
    }
}

#[test]
fn a_gguf_source_keeps_its_metadata() {
    let (directory, path) = exported("qwen2", Precision::F16);
    let source = source::open(&path).unwrap();
    let again = directory.path().join("again.gguf");
    export(&*source, Precision::Q8_0, &again);
    let entries = |path| {
        let file = GgufFile::open(path).unwrap();
        let metadata = file.header().metadata.iter().cloned();
        metadata
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(key, value)| (key, format!("{value:?}")))
            .collect::<BTreeMap<_, _>>()
    };
    let (mut one, mut other) = (entries(&path), entries(&again));
    let file_type =
        |entries: &mut BTreeMap<String, String>| entries.remove("general.file_type").unwrap();
    assert_eq!(
        (file_type(&mut one), file_type(&mut other)),
        ("U32(1)".into(), "U32(7)".into())
    );
    assert_eq!(one, other);
    let options = Options {
        pre_tokenizer: Some("stablelm2"),
        ..Options::default()
    };
    let plan = Plan::uniform(source.spec(), Precision::F16).unwrap();
    let layers = Plain {
        source: &*source,
        plan: &plan,
    };
    gguf::write(&*source, &plan, &layers, options, &again).unwrap();
    let file = GgufFile::open(&again).unwrap();
    let name = file
        .header()
        .value("tokenizer.ggml.pre")
        .and_then(Value::as_str);
    assert_eq!(name, Some("stablelm2"));
}

#[test]
fn a_chat_template_is_found_wherever_it_is_kept() {
    let template = |copy: &Copy| {
        assert_eq!(export_message(copy, Options::default()), "it was written");
        let file = GgufFile::open(&copy.path().join("export.gguf")).unwrap();
        let template = file.header().value("tokenizer.chat_template");
        template.and_then(Value::as_str).map(str::to_owned)
    };
    let copy = Copy::of("llama");
    assert_eq!(template(&copy), None);
    std::fs::write(copy.path().join("chat_template.jinja"), "in a file").unwrap();
    assert_eq!(template(&copy).as_deref(), Some("in a file"));
    copy.edit_json("tokenizer_config.json", |config| {
        config["chat_template"] = json!([
            {"name": "tool_use", "template": "other"},
            {"name": "default", "template": "in a list"},
        ]);
    });
    assert_eq!(template(&copy).as_deref(), Some("in a list"));
}

#[test]
fn newer_sentencepiece_tokenizers_mark_spaces_in_the_pre_tokenizer() {
    for (scheme, prefix) in [("first", None), ("never", Some(false))] {
        let copy = Copy::of("mistral");
        copy.edit_json("tokenizer.json", |tokenizer| {
            tokenizer["normalizer"] = json!(null);
            tokenizer["pre_tokenizer"] = json!({
                "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme,
                "split": false,
            });
        });
        assert_eq!(export_message(&copy, Options::default()), "it was written");
        let path = copy.path().join("export.gguf");
        let file = GgufFile::open(&path).unwrap();
        let written = file.header().value("tokenizer.ggml.add_space_prefix");
        assert_eq!(written.and_then(Value::as_bool), prefix, "{scheme}");
        let original = tokenizer::load(copy.path(), None, 384).unwrap();
        let exported = tokenizer::load(&path, None, 384).unwrap();
        for text in ["The layers of a model.", "a  b ", "1é\n"] {
            let (original, exported) = (original.encode(text), exported.encode(text));
            assert_eq!(original.unwrap(), exported.unwrap(), "{scheme} {text:?}");
        }
    }
}

fn export_message(copy: &Copy, options: Options<'_>) -> String {
    let source = copy.open().unwrap();
    let plan = Plan::uniform(source.spec(), Precision::F16).unwrap();
    let layers = Plain {
        source: &*source,
        plan: &plan,
    };
    let path = copy.path().join("export.gguf");
    match gguf::write(&*source, &plan, &layers, options, &path) {
        Ok(_) => "it was written".to_owned(),
        Err(error) => {
            assert!(!path.exists());
            error.to_string()
        }
    }
}

#[test]
fn tokenizers_that_llama_cpp_does_not_have_are_refused_by_what_they_do() {
    type Edit = fn(&mut Json);
    let rows: [(&str, &str, Edit, &str); 6] = [
        (
            "an unknown expression",
            "llama",
            |it| it["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("[a-z]+"),
            "no known name for this tokenizer's pre-tokenizer `[a-z]+`",
        ),
        (
            "no byte level",
            "llama",
            |it| it["pre_tokenizer"] = json!({"type": "Whitespace"}),
            "Whitespace",
        ),
        (
            "a normalizer",
            "llama",
            |it| it["normalizer"] = json!({"type": "Lowercase"}),
            "Lowercase",
        ),
        (
            "another model",
            "llama",
            |it| it["model"]["type"] = json!("Unigram"),
            "its model is Unigram",
        ),
        (
            "a token beyond the embedding",
            "llama",
            |it| it["model"]["vocab"]["zebra"] = json!(5000),
            "`zebra` has an id beyond the 320 rows",
        ),
        (
            "pieces that are split further",
            "mistral",
            |it| it["pre_tokenizer"] = json!({"type": "Whitespace"}),
            "its pre-tokenizer is",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, model, edit, expected) in rows {
        let copy = Copy::of(model);
        copy.edit_json("tokenizer.json", edit);
        let message = export_message(&copy, Options::default());
        if !(message.contains(expected) && message.contains("tokenizer.json")) {
            wrong.push(format!("{what}: `{expected}` is not in: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_pre_tokenizer_that_is_given_by_name_is_written() {
    let copy = Copy::of("llama");
    copy.edit_json("tokenizer.json", |it| {
        it["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("[a-z]+");
    });
    assert!(export_message(&copy, Options::default()).contains("--pre NAME"));
    let options = Options {
        pre_tokenizer: Some("martian"),
        ..Options::default()
    };
    assert_eq!(export_message(&copy, options), "it was written");
    let file = GgufFile::open(&copy.path().join("export.gguf")).unwrap();
    let name = file
        .header()
        .value("tokenizer.ggml.pre")
        .and_then(Value::as_str);
    assert_eq!(name, Some("martian"));
}

#[test]
fn a_layer_that_cannot_be_had_leaves_no_file() {
    struct Failing(Option<usize>);
    impl QuantizedLayers for Failing {
        fn layer(&self, _: usize) -> Result<Cow<'_, [u8]>, Box<dyn Error + Send + Sync>> {
            match self.0 {
                Some(length) => Ok(Cow::Owned(vec![0; length])),
                None => Err("no space left on device".into()),
            }
        }
    }
    let source = source::open(&golden("llama")).unwrap();
    let plan = Plan::uniform(source.spec(), Precision::F16).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    for (failing, expected) in [
        (Failing(None), "layer `token_embd`: no space left on device"),
        (
            Failing(Some(7)),
            "layer `token_embd` in f16 has 7 bytes, 81920 are expected",
        ),
    ] {
        let written = gguf::write(&*source, &plan, &failing, Options::default(), &path);
        assert_eq!(written.unwrap_err().to_string(), expected);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_plan_of_another_model_is_refused() {
    let other = source::open(&golden("qwen2")).unwrap();
    let plan = Plan::uniform(other.spec(), Precision::F16).unwrap();
    let source = source::open(&golden("llama")).unwrap();
    let layers = Plain {
        source: &*source,
        plan: &plan,
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    let error = gguf::write(&*source, &plan, &layers, Options::default(), &path).unwrap_err();
    assert!(error.to_string().contains("15 precisions"), "{error}");
}
