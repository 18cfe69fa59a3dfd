//! A plan as a file: a GGUF that llama.cpp runs, or a list for `llama-quantize`.

pub mod gguf;
mod metadata;
pub mod tensor_type_file;
mod vocabulary;
