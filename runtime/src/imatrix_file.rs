//! Importance matrices as files, in llama.cpp's formats.

use std::collections::BTreeMap;
use std::path::Path;

use bitfront_model::Digest;

use crate::error::ImatrixError;

/// Mean squared activations per input column of every layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Imatrix {
    /// By tensor name (`blk.0.attn_q.weight`).
    pub entries: BTreeMap<String, ImatrixEntry>,
    /// Windows that it was computed with.
    pub chunk_count: u32,
    /// Tokens in a window; 0 where the file does not say.
    pub chunk_size: u32,
    /// Names of the texts, for people.
    pub datasets: Vec<String>,
}

/// The statistics of one layer's input.
#[derive(Debug, Clone, PartialEq)]
pub struct ImatrixEntry {
    /// The mean of the squared activations, one per column of the layer; finite, not negative.
    pub mean_squares: Vec<f32>,
    /// Tokens that the mean is over.
    pub count: u64,
}

impl Imatrix {
    /// The imatrix by content; the datasets' names do not count.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder().part("imatrix");
        for (name, entry) in &self.entries {
            digest.add(name);
            digest.add(entry.count.to_le_bytes());
            let bytes = entry.mean_squares.iter().flat_map(|value| value.to_le_bytes());
            digest.add(bytes.collect::<Vec<_>>());
        }
        digest.finish()
    }
}

/// Reads an imatrix: llama.cpp's GGUF form or the older binary form, seen from the content.
pub fn read(path: &Path) -> Result<Imatrix, ImatrixError> {
    let _ = path;
    unimplemented!("being written")
}

/// Writes an imatrix in llama.cpp's GGUF form.
pub fn write(imatrix: &Imatrix, path: &Path) -> Result<(), ImatrixError> {
    let _ = (imatrix, path);
    unimplemented!("being written")
}
