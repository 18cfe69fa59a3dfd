//! Model files: a Hugging Face directory or a GGUF file, read as one and the same thing.
//!
//! Whatever the file, a [`Source`] shows the model's layers in canonical order, their values in
//! `f32` with the rows in Hugging Face order, and the small tensors that have no precision of
//! their own under their GGUF names. Every header is checked against the file and against the
//! architecture before anything is allocated for it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use bitfront_model::{Digest, Layer, LayerKind, ModelSpec, Precision};

use crate::error::SourceError;
use crate::ggml_quantize::first_unsound_block;
use crate::gguf::GgufFile;

mod content;
mod gguf;
mod hugging_face;
mod hyper;
pub(crate) mod layout;
pub(crate) mod rows;
mod values;

use self::content::Content;
use self::gguf::Gguf;
use self::hugging_face::HuggingFace;
use self::layout::{LayerShape, Sizes};

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

    /// The bytes of the layer at `index` in its source precision
    /// ([`bitfront_model::Layer::source`]), rows in Hugging Face order, little-endian.
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
    open_with(path, Content::Unknown)
}

/// Opens a file that another process has opened and named `digest`: headers are read and checked,
/// and no weights are, so that none of them are in memory.
pub(crate) fn reopen(path: &Path, digest: Digest) -> Result<Box<dyn Source>, SourceError> {
    open_with(path, Content::Known(digest))
}

fn open_with(path: &Path, content: Content) -> Result<Box<dyn Source>, SourceError> {
    let io = |error| SourceError::Io {
        path: path.to_owned(),
        error,
    };
    // The name is taken from the real path, so that `.` has one too.
    let real = path.canonicalize().map_err(io)?;
    if real.is_dir() {
        if !real.join("config.json").exists() {
            return Err(SourceError::NotAModel {
                path: path.to_owned(),
            });
        }
        return Ok(Box::new(HuggingFace::open(
            path,
            display_name(real.file_name()),
            content,
        )?));
    }
    let mut magic = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(4).read_to_end(&mut magic).map_err(io)?;
    if magic != b"GGUF" {
        return Err(SourceError::NotAModel {
            path: path.to_owned(),
        });
    }
    Ok(Box::new(Gguf::open(
        path,
        display_name(real.file_stem()),
        content,
    )?))
}

fn display_name(name: Option<&OsStr>) -> String {
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_else(|| "model".to_owned())
}

/// The spec of a model whose tensors were found.
fn spec(
    path: &Path,
    name: String,
    sizes: &Sizes,
    layers: Vec<Layer>,
    fixed: &[FixedTensor],
    digest: Digest,
) -> Result<ModelSpec, SourceError> {
    let spec = ModelSpec {
        name,
        architecture: sizes.architecture,
        blocks: sizes.blocks,
        hidden_size: sizes.hidden,
        intermediate_size: sizes.intermediate,
        attention_heads: sizes.heads,
        key_value_heads: sizes.key_value_heads,
        head_size: sizes.head_size,
        context_length: sizes.context,
        vocabulary_size: sizes.vocabulary,
        layers,
        fixed_bytes: fixed.iter().map(|tensor| 4 * tensor.length).sum(),
        digest,
    };
    spec.check().map_err(|error| SourceError::Spec {
        path: path.to_owned(),
        error,
    })?;
    Ok(spec)
}

/// The layers in canonical order; `find` gives the precision that the tensor of a name and a shape
/// (rows first) is stored in, or says what is wrong with it.
fn layers(
    sizes: &Sizes,
    tied: bool,
    find: impl Fn(&str, &[u64]) -> Result<Precision, SourceError>,
) -> Result<Vec<Layer>, SourceError> {
    let layer = |shape: LayerShape| {
        let source = find(
            &format!("{}.weight", shape.name),
            &[shape.rows, shape.columns],
        )?;
        Ok(Layer {
            tied: tied && shape.kind == LayerKind::TokenEmbedding,
            source,
            name: shape.name,
            kind: shape.kind,
            block: shape.block,
            rows: shape.rows,
            columns: shape.columns,
        })
    };
    layout::layers(sizes, tied).into_iter().map(layer).collect()
}

/// Refuses a stored tensor with a value that is not finite; `names` are its name and its file, for
/// messages.
fn refuse_not_finite(
    bytes: &[u8],
    names: (&str, &Path),
    precision: Precision,
) -> Result<(), SourceError> {
    let (tensor, path) = names;
    match first_unsound_block(precision, bytes) {
        None => Ok(()),
        Some(block) => Err(SourceError::NotFinite {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            index: block as u64 * precision.block_size(),
        }),
    }
}

/// The values of a stored tensor; `names` are its name and its file, for messages.
fn finite_values(
    bytes: &[u8],
    names: (&str, &Path),
    precision: Precision,
    rows: usize,
    columns: usize,
) -> Result<Vec<f32>, SourceError> {
    refuse_not_finite(bytes, names, precision)?;
    let (tensor, path) = names;
    values::to_f32(bytes, precision, rows, columns).map_err(|reason| SourceError::Dequantize {
        path: path.to_owned(),
        tensor: tensor.to_owned(),
        reason,
    })
}
