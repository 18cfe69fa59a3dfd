//! Safetensors headers made to harm a reader, one test row for each attack.

use serde_json::{Value as Json, json};

use super::hostile_gguf::for_damaged;
use super::support::Copy;

/// A file of a header and a data part.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn tensor(shape: Json, start: u64, end: u64) -> Json {
    json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]})
}

#[test]
fn every_attack_gets_an_error_that_names_the_file() {
    let header = |value: Json, data| file(&value.to_string(), data);
    let length = |length: u64| {
        let mut bytes = file("{}", 0);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("an empty file", Vec::new(), "ends within the first 8 bytes"),
        (
            "a file of seven bytes",
            vec![0; 7],
            "ends within the first 8 bytes",
        ),
        (
            "a header beyond the file",
            length(1000),
            "header ends beyond the file",
        ),
        ("a huge header", length(u64::MAX), "header too large"),
        ("bad JSON", file("{\"a\":", 0), "invalid JSON"),
        ("JSON of another shape", file("[1, 2]", 0), "invalid JSON"),
        (
            "a header that is not UTF-8",
            {
                let mut bytes = file("{}", 0);
                bytes[8] = 0xff;
                bytes
            },
            "UTF-8",
        ),
        (
            "an offset beyond the file",
            header(json!({"a": tensor(json!([8]), 0, 32)}), 16),
            "truncated or has bytes too many",
        ),
        (
            "an offset that overflows",
            header(json!({"a": tensor(json!([8]), 0, u64::MAX)}), 16),
            "shape does not give",
        ),
        (
            "an end before the start",
            header(json!({"a": tensor(json!([8]), 32, 0)}), 32),
            "a gap or an overlap",
        ),
        (
            "tensors that overlap",
            header(
                json!({"a": tensor(json!([8]), 0, 32), "b": tensor(json!([8]), 16, 48)}),
                48,
            ),
            "a gap or an overlap",
        ),
        (
            "the same bytes twice",
            header(
                json!({"a": tensor(json!([8]), 0, 32), "b": tensor(json!([8]), 0, 32)}),
                32,
            ),
            "a gap or an overlap",
        ),
        (
            "a gap between tensors",
            header(
                json!({"a": tensor(json!([8]), 0, 32), "b": tensor(json!([8]), 64, 96)}),
                96,
            ),
            "a gap or an overlap",
        ),
        (
            "a shape that is not its bytes",
            header(json!({"a": tensor(json!([9]), 0, 32)}), 32),
            "shape does not give",
        ),
        (
            "a shape that overflows",
            header(json!({"a": tensor(json!([u64::MAX, u64::MAX]), 0, 32)}), 32),
            "overflow",
        ),
        (
            "bytes that belong to nothing",
            header(json!({}), 32),
            "truncated or has bytes too many",
        ),
    ];
    let mut wrong = Vec::new();
    let copy = Copy::of("llama");
    for (attack, bytes, expected) in rows {
        std::fs::write(copy.path().join("model.safetensors"), bytes).unwrap();
        let message = copy.message();
        for part in [
            "model.safetensors",
            "not a sound safetensors file",
            expected,
        ] {
            if !message.contains(part) {
                wrong.push(format!("{attack}: `{part}` is not in: {message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn damaged_weights_never_panic() {
    let copy = Copy::of("llama");
    let path = copy.path().join("model.safetensors");
    let sound = std::fs::read(&path).unwrap();
    let mut length = [0; 8];
    length.copy_from_slice(&sound[..8]);
    let header_length = 8 + u64::from_le_bytes(length) as usize;
    for_damaged(300, &sound, header_length, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        if let Ok(source) = copy.open() {
            for index in 0..source.spec().layers.len() {
                source.layer(index).unwrap();
            }
        }
    });
}

#[test]
fn damaged_configurations_and_tokenizers_never_panic() {
    let copy = Copy::of("llama");
    for name in ["config.json", "tokenizer.json"] {
        let path = copy.path().join(name);
        let sound = std::fs::read(&path).unwrap();
        for_damaged(150, &sound, sound.len(), |bytes| {
            std::fs::write(&path, bytes).unwrap();
            let _ = copy.open();
            let _ = bitfront_runtime::tokenizer::load(copy.path(), None, 320);
        });
        std::fs::write(&path, sound).unwrap();
    }
    assert!(copy.open().is_ok());
}
