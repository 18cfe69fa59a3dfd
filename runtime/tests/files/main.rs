//! Model files, tokenizers, texts and exports, held to what other programs made of them.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod export;
mod fuzz;
mod hostile_gguf;
mod hostile_safetensors;
mod imatrix;
mod source;
mod support;
mod text;
mod tokenization;
