//! Model files, tokenizers and importance matrices that were tampered with.

use std::path::Path;

use bitfront_model::Precision;
use bitfront_runtime::gguf::parse;
use bitfront_runtime::{imatrix_file, source, tokenizer};

use super::support::{Copy, exported, golden};

#[path = "../../../fuzz/mod.rs"]
mod tampered;

use tampered::fuzz;

/// Opens a model and reads what a search reads of it.
fn opens(path: &Path) -> bool {
    let Ok(source) = source::open(path) else {
        return false;
    };
    for index in 0..source.spec().layers.len() {
        source.layer(index).unwrap();
    }
    true
}

/// Tampers with the first so many bytes of a file, and has it read.
fn fuzz_file(target: &str, file: &Path, first: usize, reads: impl Fn() -> bool) {
    let sound = std::fs::read(file).unwrap();
    let (first, rest) = sound.split_at(first.min(sound.len()));
    fuzz(target, &[first.to_vec()], |input| {
        std::fs::write(file, [input, rest].concat()).unwrap();
        reads()
    });
}

#[test]
fn fuzz_safetensors() {
    let copy = Copy::of("llama");
    let file = copy.path().join("model.safetensors");
    let sound = std::fs::read(&file).unwrap();
    let length = u64::from_le_bytes(sound[..8].try_into().unwrap());
    fuzz_file("safetensors header", &file, 8 + length as usize, || {
        opens(copy.path())
    });
}

#[test]
fn fuzz_config() {
    let copy = Copy::of("llama");
    let file = copy.path().join("config.json");
    fuzz_file("config.json", &file, usize::MAX, || opens(copy.path()));
}

#[test]
fn fuzz_tokenizer() {
    let copy = Copy::of("llama");
    let file = copy.path().join("tokenizer.json");
    fuzz_file("tokenizer.json", &file, usize::MAX, || {
        let tokenizer = tokenizer::load(copy.path(), None, 320);
        tokenizer.is_ok_and(|it| it.encode("fn main() {}").is_ok())
    });
}

#[test]
fn fuzz_gguf() {
    let (_directory, file) = exported("llama", Precision::Q4_0);
    let sound = std::fs::read(&file).unwrap();
    let header = parse(&sound).unwrap().tensors[0].bytes.start;
    fuzz_file("GGUF header", &file, header, || {
        let tokenizer = tokenizer::load(&file, None, 320);
        let encodes = tokenizer.is_ok_and(|it| it.encode("fn main() {}").is_ok());
        opens(&file) && encodes
    });
}

#[test]
fn fuzz_imatrix() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tampered.imatrix");
    let golden = golden("llama").join("../../imatrix");
    let sound = ["llama.imatrix.dat", "llama.imatrix.gguf"];
    let sound = sound.map(|name| std::fs::read(golden.join(name)).unwrap());
    fuzz("importance matrix", &sound, |input| {
        std::fs::write(&file, input).unwrap();
        imatrix_file::read(&file).is_ok()
    });
}
