//! Text to token ids and nothing else.
//!
//! A Hugging Face `tokenizer.json` is used as it is; a GGUF file's metadata is turned into the
//! same machinery. Text is text: a special token's name in it is not read as that token, as in
//! llama.cpp's `llama-perplexity`.

use std::path::Path;

use crate::error::TokenizerError;

/// A tokenizer that belongs to a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos_token: Option<u32>,
    add_bos: bool,
}

impl Tokenizer {
    /// The tokens of a text, without a token that begins it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| TokenizerError::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The token that every window begins with, where the model was trained with one.
    pub fn bos(&self) -> Option<u32> {
        self.bos_token.filter(|_| self.add_bos)
    }
}

/// The tokenizer of the model at `path` (a Hugging Face directory or a GGUF file), or the one at
/// `tokenizer_override` (a `tokenizer.json`); refused where it gives ids that are not below
/// `vocabulary_size`.
pub fn load(
    path: &Path,
    tokenizer_override: Option<&Path>,
    vocabulary_size: u64,
) -> Result<Tokenizer, TokenizerError> {
    let _ = (path, tokenizer_override, vocabulary_size);
    unimplemented!("being written")
}
