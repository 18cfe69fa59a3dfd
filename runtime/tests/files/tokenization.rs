//! Token ids, held to those of `transformers` for awkward texts.

use bitfront_model::{Plan, Precision};
use bitfront_runtime::export::gguf::{self, Options};
use bitfront_runtime::gguf::{GgufFile, TensorEntry, Value, Writer};
use bitfront_runtime::source;
use bitfront_runtime::tokenizer::{self, Tokenizer};
use serde_json::{Value as Json, json};

use super::support::{Copy, MODELS, Plain, exported, golden, json as read_json};

/// Names of special tokens, which `transformers` reads as tokens and bitfront as text.
const SPECIAL: [&str; 8] = [
    "<s>",
    "</s>",
    "<unk>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|im_start|>",
    "<|im_end|>",
];

fn rows(model: &str) -> Vec<(String, Vec<u32>, Vec<u32>)> {
    let golden = read_json(&golden(model).join("golden.json"));
    let ids = |row: &Json, key: &str| {
        let ids = row[key].as_array().unwrap().iter();
        ids.map(|id| id.as_u64().unwrap() as u32)
            .collect::<Vec<_>>()
    };
    let rows = golden["tokenization"].as_array().unwrap().iter();
    let rows = rows.map(|row| {
        let text = row["text"].as_str().unwrap().to_owned();
        (text, ids(row, "ids"), ids(row, "ids_with_special"))
    });
    rows.collect()
}

/// Compares all rows and gives those that differ.
fn differing(tokenizer: &Tokenizer, model: &str, skip: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (text, expected, with_special) in rows(model) {
        if skip(&text) || own_special(model).any(|special| text.contains(special)) {
            continue;
        }
        compared += 1;
        let found = tokenizer.encode(&text).unwrap();
        if found != expected {
            wrong.push(format!(
                "{model} {text:?}: {found:?} instead of {expected:?}"
            ));
        }
        let begun = tokenizer.bos().into_iter().chain(found).collect::<Vec<_>>();
        if begun != with_special {
            wrong.push(format!(
                "{model} {text:?}: begins with {:?}",
                tokenizer.bos()
            ));
        }
    }
    assert!(
        compared >= 24,
        "{model}: only {compared} rows were compared"
    );
    wrong
}

/// The special tokens that the model's own tokenizer has.
fn own_special(model: &str) -> impl Iterator<Item = &'static str> {
    let tokenizer = read_json(&golden(model).join("tokenizer.json"));
    let added = tokenizer["added_tokens"].as_array().unwrap().clone();
    SPECIAL
        .into_iter()
        .filter(move |special| added.iter().any(|token| token["content"] == **special))
}

fn vocabulary_size(model: &str) -> u64 {
    source::open(&golden(model)).unwrap().spec().vocabulary_size
}

#[test]
fn a_tokenizer_json_gives_the_ids_of_transformers() {
    let mut wrong = Vec::new();
    for model in MODELS {
        let tokenizer = tokenizer::load(&golden(model), None, vocabulary_size(model)).unwrap();
        wrong.extend(differing(&tokenizer, model, |_| false));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_exported_gguf_gives_the_ids_of_transformers() {
    let mut wrong = Vec::new();
    for model in MODELS {
        let (_directory, path) = exported(model, Precision::F16);
        let tokenizer = tokenizer::load(&path, None, vocabulary_size(model)).unwrap();
        // llama.cpp does not bring text into normal form C, and neither does its metadata.
        let decomposed = |text: &str| model.starts_with("qwen") && text.contains("e\u{301}");
        wrong.extend(differing(&tokenizer, model, decomposed));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn special_tokens_in_a_text_are_text() {
    for model in MODELS {
        let tokenizer_file = read_json(&golden(model).join("tokenizer.json"));
        let special = own_special(model).collect::<Vec<_>>();
        assert!(!special.is_empty(), "{model}");
        let (_directory, path) = exported(model, Precision::F16);
        for path in [golden(model), path] {
            let tokenizer = tokenizer::load(&path, None, vocabulary_size(model)).unwrap();
            for token in &special {
                let mut added = tokenizer_file["added_tokens"].as_array().unwrap().iter();
                let added = added.find(|it| it["content"] == **token).unwrap();
                let id = added["id"].as_u64().unwrap() as u32;
                let ids = tokenizer.encode(&format!("a {token} b")).unwrap();
                assert!(!ids.contains(&id), "{model} {token}: {ids:?}");
            }
        }
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let load = |tokenizer: &str, rows| {
        let path = golden(tokenizer).join("tokenizer.json");
        tokenizer::load(&golden("llama"), Some(&path), rows)
    };
    assert!(load("llama-linear", 320).is_ok());
    let larger = load("mistral", 320).err().unwrap().to_string();
    assert!(
        larger.contains("gives token 383") && larger.contains("ends at 320"),
        "{larger}"
    );
    let smaller = load("llama", 1000).err().unwrap().to_string();
    assert!(
        smaller.contains("320 tokens") && smaller.contains("1000 rows"),
        "{smaller}"
    );
    let (_directory, path) = exported("llama", Precision::F16);
    let other = tokenizer::load(&path, None, 336).err().unwrap().to_string();
    assert!(
        other.contains("320 tokens") && other.contains("336 rows"),
        "{other}"
    );
}

#[test]
fn a_missing_or_broken_tokenizer_is_named() {
    let copy = Copy::of("llama");
    let message = || {
        tokenizer::load(copy.path(), None, 320)
            .err()
            .unwrap()
            .to_string()
    };
    let path = copy.path().join("tokenizer.json");
    std::fs::write(&path, "{}").unwrap();
    assert!(message().contains("tokenizer.json"), "{}", message());
    std::fs::write(&path, "not JSON").unwrap();
    assert!(message().contains("line 1"), "{}", message());
    std::fs::remove_file(&path).unwrap();
    assert!(
        message().contains("tokenizer.json` is missing"),
        "{}",
        message()
    );
    assert!(message().contains("--tokenizer"), "{}", message());
}

#[test]
fn a_limit_on_length_that_was_saved_with_a_tokenizer_does_not_cut_texts() {
    let copy = Copy::of("llama");
    copy.edit_json("tokenizer.json", |tokenizer| {
        tokenizer["truncation"] = json!({
            "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
        });
    });
    let tokenizer = tokenizer::load(copy.path(), None, 320).unwrap();
    assert!(
        tokenizer
            .encode("The layers of a model and more")
            .unwrap()
            .len()
            > 4
    );
}

#[test]
fn every_pre_tokenizer_cuts_as_llama_cpp_does() {
    let reference = read_json(&golden("../pre_tokenizers.json"));
    let text = reference["text"].as_str().unwrap();
    let demo = golden("../../../../demo/model");
    let source = source::open(&demo).unwrap();
    let plan = Plan::uniform(source.spec(), Precision::Q8_0).unwrap();
    let layers = Plain {
        source: &*source,
        plan: &plan,
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("demo.gguf");
    let mut wrong = Vec::new();
    for (name, ids) in reference["ids"].as_object().unwrap() {
        let options = Options {
            pre_tokenizer: Some(name),
            ..Options::default()
        };
        gguf::write(&*source, &plan, &layers, options, &path).unwrap();
        let tokenizer = tokenizer::load(&path, None, 2048).unwrap();
        let found = json!(tokenizer.encode(text).unwrap());
        if found != *ids {
            wrong.push(format!("{name}: {found} instead of {ids}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The exported file of a model with some of its metadata changed.
fn with_metadata(model: &str, edit: impl FnOnce(&mut Vec<(String, Value)>)) -> String {
    let (directory, path) = exported(model, Precision::F16);
    let file = GgufFile::open(&path).unwrap();
    let mut metadata = file.header().metadata.clone();
    edit(&mut metadata);
    let plans = file.header().tensors.iter().map(|tensor| TensorEntry {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        precision: tensor.precision,
        bytes: tensor.bytes.len() as u64,
    });
    let mut writer = Writer::new(Vec::new(), &metadata, plans.collect()).unwrap();
    for tensor in &file.header().tensors {
        writer.tensor(file.bytes(tensor)).unwrap();
    }
    let changed = directory.path().join("changed.gguf");
    std::fs::write(&changed, writer.finish().unwrap()).unwrap();
    match tokenizer::load(&changed, None, vocabulary_size(model)) {
        Ok(_) => "it was loaded".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn metadata_that_is_not_a_tokenizer_is_named() {
    fn set(key: &'static str, value: Value) -> impl FnOnce(&mut Vec<(String, Value)>) {
        move |metadata| {
            metadata.retain(|(found, _)| found != key);
            metadata.push((key.to_owned(), value));
        }
    }
    let text = |text: &str| Value::String(text.to_owned());
    let rows = [
        (
            "llama",
            "tokenizer.ggml.pre",
            text("martian"),
            vec!["`martian`", "llama-bpe", "qwen2"],
        ),
        (
            "llama",
            "tokenizer.ggml.model",
            text("bert"),
            vec!["`bert`", "gpt2, llama"],
        ),
        (
            "llama",
            "tokenizer.ggml.merges",
            Value::strings(["Ġ", "t"]),
            vec!["`Ġ` is not a pair"],
        ),
        (
            "llama",
            "tokenizer.ggml.merges",
            Value::strings(["Ġ ☃"]),
            vec!["tokenizer.ggml.merges"],
        ),
        (
            "llama",
            "tokenizer.ggml.tokens",
            Value::strings(["a"]),
            vec!["1 tokens", "320 rows"],
        ),
        (
            "llama",
            "tokenizer.ggml.tokens",
            text("a"),
            vec!["not a list of texts"],
        ),
        (
            "llama",
            "tokenizer.ggml.bos_token_id",
            Value::U32(320),
            vec!["bos_token_id", "320"],
        ),
        (
            "mistral",
            "tokenizer.ggml.scores",
            Value::strings(["a"]),
            vec!["scores"],
        ),
        (
            "mistral",
            "tokenizer.ggml.token_type",
            Value::U8(1),
            vec!["token_type"],
        ),
        (
            "mistral",
            "tokenizer.ggml.add_bos_token",
            Value::U8(1),
            vec!["add_bos_token"],
        ),
    ];
    let mut wrong = Vec::new();
    for (model, key, value, expected) in rows {
        let message = with_metadata(model, set(key, value));
        for part in expected {
            if !message.contains(part) {
                wrong.push(format!("{key}: `{part}` is not in: {message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_beginning_token_outside_the_vocabulary_is_refused() {
    let model = Copy::of("mistral");
    model.edit_json("tokenizer.json", |tokenizer| {
        tokenizer["post_processor"] = serde_json::Value::Null;
    });
    model.edit_json("tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("bos_token");
        config["add_bos_token"] = true.into();
    });
    model.edit_json("config.json", |config| config["bos_token_id"] = 5000.into());
    let message = match tokenizer::load(model.path(), None, vocabulary_size("mistral")) {
        Ok(_) => "it was loaded".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(
        message.contains("token 5000") && message.contains("ends at 384"),
        "{message}"
    );
    model.edit_json("tokenizer_config.json", |config| {
        config["add_bos_token"] = false.into()
    });
    assert!(tokenizer::load(model.path(), None, vocabulary_size("mistral")).is_ok());
}
