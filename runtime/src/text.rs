//! Text cut into windows of tokens.

use std::path::Path;

use bitfront_model::Digest;

use crate::error::TextError;
use crate::tokenizer::Tokenizer;

/// Windows of token ids, all of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Windows that activation statistics come from.
    pub calibration: Vec<Vec<u32>>,
    /// Windows that are scored.
    pub evaluation: Vec<Vec<u32>>,
    /// Digest of the calibration windows as token ids.
    pub calibration_digest: Digest,
    /// Digest of the evaluation windows as token ids.
    pub evaluation_digest: Digest,
}

/// Reads the texts and cuts them into windows of `context` tokens.
///
/// As in llama.cpp's `llama-perplexity`, a text is tokenized as a whole, cut into consecutive
/// windows, and the first token of each is replaced by the one that begins a text, where the
/// model's tokenizer adds one. Without a calibration text the first quarter of the evaluation
/// text's windows is set aside. A number of windows that is not given means all there are.
pub fn read(
    tokenizer: &Tokenizer,
    evaluation_path: &Path,
    calibration_path: Option<&Path>,
    context: u32,
    evaluation_windows: Option<u32>,
    calibration_windows: Option<u32>,
) -> Result<Windows, TextError> {
    let _ = (tokenizer, evaluation_path, calibration_path, context);
    let _ = (evaluation_windows, calibration_windows);
    unimplemented!("being written")
}
