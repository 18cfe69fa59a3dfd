//! A plan as a file: a GGUF that llama.cpp runs, or a list for `llama-quantize`.

pub mod gguf;
pub mod tensor_type_file;
