//! Text to token ids and nothing else.
//!
//! A Hugging Face `tokenizer.json` is used as it is; a GGUF file's metadata is turned into the
//! same machinery. Text is text: a special token's name in it is not read as that token, as in
//! llama.cpp's `llama-perplexity`.

use std::path::Path;

use serde_json::Value;

use crate::error::{SourceError, TokenizerError};
use crate::gguf::GgufFile;

mod gguf;
pub(crate) mod hugging_face;
pub(crate) mod pre;
pub(crate) mod sentencepiece;
pub(crate) mod special;

use sentencepiece::SentencePiece;

/// A tokenizer that belongs to a model.
pub struct Tokenizer {
    engine: Engine,
    bos_token: Option<u32>,
    add_bos: bool,
}

enum Engine {
    HuggingFace(Box<tokenizers::Tokenizer>),
    SentencePiece(SentencePiece),
}

impl Tokenizer {
    /// The tokens of a text, without a token that begins it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match &self.engine {
            Engine::HuggingFace(inner) => {
                let encoding = inner
                    .encode_fast(text, false)
                    .map_err(|error| TokenizerError::Encode(error.to_string()))?;
                Ok(encoding.get_ids().to_vec())
            }
            Engine::SentencePiece(inner) => Ok(inner.encode(text)),
        }
    }

    /// The token that every window begins with, where the model was trained with one.
    pub fn bos(&self) -> Option<u32> {
        self.bos_token.filter(|_| self.add_bos)
    }
}

/// The tokenizer of the model at `path` (a Hugging Face directory or a GGUF file), or the one at
/// `tokenizer_override` (a `tokenizer.json`); refused where its tokens are not those of a model
/// with `vocabulary_size` rows in its embedding.
pub fn load(
    path: &Path,
    tokenizer_override: Option<&Path>,
    vocabulary_size: u64,
) -> Result<Tokenizer, TokenizerError> {
    let model_config = hugging_face::read_json(&path.join("config.json"));
    if let Some(tokenizer) = tokenizer_override {
        // The model may be a file, which has no configuration beside it.
        let config = model_config.ok().flatten().unwrap_or(Value::Null);
        return hugging_face::load(tokenizer, &config, vocabulary_size);
    }
    if path.is_dir() {
        let config = model_config?.unwrap_or(Value::Null);
        return hugging_face::load(&path.join("tokenizer.json"), &config, vocabulary_size);
    }
    let file = GgufFile::open(path).map_err(|error: SourceError| Box::new(error))?;
    gguf::load(&file, vocabulary_size)
}
