//! Model files: a Hugging Face directory or a GGUF file, read as one and the same thing.
//!
//! Whatever the file, a [`Source`] shows the model's layers in canonical order, their values in
//! `f32` with the rows in Hugging Face order, and the small tensors that have no precision of
//! their own under their GGUF names. Every header is checked against the file and against the
//! architecture before anything is allocated for it.

use std::borrow::Cow;
use std::path::Path;

use bitfront_model::ModelSpec;

use crate::error::SourceError;
use crate::gguf::GgufFile;

mod hyper;

pub use hyper::{HyperParameters, RopeScaling};

/// A model file, opened and checked.
///
/// The file is mapped, not read: a value costs little memory until layers are asked for.
pub trait Source: Send + Sync {
    /// The layers and what the search needs to know of them.
    fn spec(&self) -> &ModelSpec;

    /// What the forward pass needs beside the weights.
    fn hyper(&self) -> &HyperParameters;

    /// The values of the layer at `index` of the spec's layers.
    ///
    /// Rows are in Hugging Face order also where the file holds them permuted (query and key of
    /// the GGUF architecture `llama`). Quantized layers are dequantized.
    fn layer(&self, index: usize) -> Result<Weights, SourceError>;

    /// The bytes of the layer at `index` in its source precision ([`bitfront_model::Layer::source`]),
    /// rows in Hugging Face order, little-endian.
    fn stored(&self, index: usize) -> Result<Cow<'_, [u8]>, SourceError>;

    /// The tensors that have no precision of their own, in file order.
    fn fixed_tensors(&self) -> &[FixedTensor];

    /// The values of a norm, a bias or the RoPE factors by GGUF name (`blk.0.attn_norm.weight`,
    /// `blk.0.attn_q.bias`, `output_norm.weight`), or none where the model does not have it.
    /// Biases of query and key are in Hugging Face order.
    fn fixed(&self, name: &str) -> Result<Option<Vec<f32>>, SourceError>;

    /// Where the values come from, for what is specific to a kind of file.
    fn origin(&self) -> Origin<'_>;
}

/// The kind of file behind a [`Source`].
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// A directory with `config.json`, safetensors files and a tokenizer.
    HuggingFace {
        /// The directory.
        directory: &'a Path,
        /// The parsed `config.json`.
        config: &'a serde_json::Value,
    },
    /// One GGUF file.
    Gguf(&'a GgufFile),
}

/// A matrix in `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
    /// `rows × columns` values, row after row; all are finite.
    pub values: Vec<f32>,
}

/// A tensor that is always held in `f32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedTensor {
    /// The GGUF name, `.weight` or `.bias` included.
    pub name: String,
    /// Number of values.
    pub length: u64,
}

/// Opens a Hugging Face directory or a GGUF file; which of the two it is, is seen from the content.
///
/// All weights are read once, to refuse values that are not finite and to name the model by its
/// content: about one second for a gigabyte on one core, divided over the cores.
pub fn open(path: &Path) -> Result<Box<dyn Source>, SourceError> {
    let _ = path;
    unimplemented!("being written")
}
