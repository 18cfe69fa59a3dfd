//! A plan as a GGUF file.

use std::borrow::Cow;
use std::path::Path;

use bitfront_model::Plan;

use crate::error::ExportError;
use crate::source::Source;

/// What to write beside the plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// A `tokenizer.json` that replaces the one in a Hugging Face directory.
    pub tokenizer: Option<&'a Path>,
    /// llama.cpp's name for the pre-tokenizer, where it is not recognised.
    pub pre_tokenizer: Option<&'a str>,
}

/// Gives every layer's bytes in the plan's precision.
pub trait QuantizedLayers {
    /// The bytes of the layer at `index`, rows in Hugging Face order.
    fn layer(&self, index: usize)
    -> Result<Cow<'_, [u8]>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Writes a plan as a GGUF file; returns the file's size in bytes.
///
/// The file is written beside `to` and renamed at the end: either the whole file stands under the
/// final name, or nothing changes there.
pub fn write(
    source: &dyn Source,
    plan: &Plan,
    layers: &dyn QuantizedLayers,
    options: Options<'_>,
    to: &Path,
) -> Result<u64, ExportError> {
    let _ = (source, plan, layers, options, to);
    unimplemented!("being written")
}
