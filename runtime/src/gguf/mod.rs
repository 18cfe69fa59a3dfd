//! GGUF files: headers read with every bound checked, and files written.
//!
//! The format is that of `docs/gguf.md` in ggml: a header of key-value metadata and tensor
//! descriptions, then the tensors' bytes at aligned offsets. Versions 2 and 3 are read, version 3
//! is written.

mod cursor;
mod error;
mod file;
mod header;
mod tensor_type;
mod value;
mod writer;

pub use error::GgufError;
pub use file::GgufFile;
pub use header::{Header, TensorInfo, parse};
pub use value::{Value, ValueType};
pub use writer::{TensorEntry, Writer};
