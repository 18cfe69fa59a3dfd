//! Writes GGUF version 3.

use std::io::{self, Write};

use bitfront_model::Precision;

use super::header::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT};
use super::tensor_type::type_of_precision;
use super::value::Value;

/// A tensor that is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Elements along every dimension, the length of a row first.
    pub shape: Vec<u64>,
    /// How it is stored.
    pub precision: Precision,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Writes a header at once, then the tensors one after another, so that no more than one tensor
/// is in memory.
pub struct Writer<W> {
    output: W,
    tensors: Vec<TensorEntry>,
    alignment: u64,
    next: usize,
    /// Bytes written of the data part.
    position: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header. An alignment among the metadata is kept to.
    pub fn new(
        mut output: W,
        metadata: &[(String, Value)],
        tensors: Vec<TensorEntry>,
    ) -> io::Result<Self> {
        let alignment = metadata
            .iter()
            .find(|(key, _)| key == ALIGNMENT_KEY)
            .and_then(|(_, value)| value.as_u64())
            .unwrap_or(DEFAULT_ALIGNMENT);
        let mut header = Vec::new();
        header.extend_from_slice(b"GGUF");
        header.extend_from_slice(&3u32.to_le_bytes());
        header.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
        header.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_string(&mut header, key);
            header.extend_from_slice(&(value.value_type() as u32).to_le_bytes());
            put_value(&mut header, value);
        }
        let mut offset = 0u64;
        for tensor in &tensors {
            put_string(&mut header, &tensor.name);
            header.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            for size in &tensor.shape {
                header.extend_from_slice(&size.to_le_bytes());
            }
            header.extend_from_slice(&type_of_precision(tensor.precision).to_le_bytes());
            header.extend_from_slice(&offset.to_le_bytes());
            offset += tensor.bytes.next_multiple_of(alignment);
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        output.write_all(&header)?;
        Ok(Self {
            output,
            tensors,
            alignment,
            next: 0,
            position: 0,
        })
    }

    /// Writes the next tensor; `bytes` must be as long as was announced.
    pub fn tensor(&mut self, bytes: &[u8]) -> io::Result<()> {
        let expected = self.tensors.get(self.next).map(|tensor| tensor.bytes);
        if expected != Some(bytes.len() as u64) {
            return Err(io::Error::other(format!(
                "tensor {} has {} bytes, the header announced {expected:?}",
                self.next,
                bytes.len()
            )));
        }
        self.output.write_all(bytes)?;
        self.position += bytes.len() as u64;
        let padded = self.position.next_multiple_of(self.alignment);
        let padding = vec![0; (padded - self.position) as usize];
        self.output.write_all(&padding)?;
        self.position = padded;
        self.next += 1;
        Ok(())
    }

    /// Ends the file and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        if self.next != self.tensors.len() {
            return Err(io::Error::other(format!(
                "{} of {} announced tensors were written",
                self.next,
                self.tensors.len()
            )));
        }
        self.output.flush()?;
        Ok(self.output)
    }
}

fn put_string(header: &mut Vec<u8>, text: &str) {
    header.extend_from_slice(&(text.len() as u64).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
}

fn put_value(header: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::I8(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::U16(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::I16(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::U32(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::I32(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::F32(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::U64(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::I64(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::F64(value) => header.extend_from_slice(&value.to_le_bytes()),
        Value::Bool(value) => header.push(u8::from(*value)),
        Value::String(text) => put_string(header, text),
        Value::Array(element, values) => {
            header.extend_from_slice(&(*element as u32).to_le_bytes());
            header.extend_from_slice(&(values.len() as u64).to_le_bytes());
            for value in values {
                put_value(header, value);
            }
        }
    }
}
