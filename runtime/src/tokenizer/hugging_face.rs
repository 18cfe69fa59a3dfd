//! Tokenizers from a `tokenizer.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::special::SpecialTokens;
use super::{Engine, Tokenizer};
use crate::error::TokenizerError;

/// A `tokenizer.json` with the files beside it that say how it is used.
pub(crate) struct TokenizerFiles {
    pub(crate) path: PathBuf,
    pub(crate) tokenizer: Value,
    pub(crate) special: SpecialTokens,
    /// How a conversation is written as text; a file of its own in newer directories.
    pub(crate) chat_template: Option<String>,
}

impl TokenizerFiles {
    /// Reads `tokenizer.json` at `path`; `config` is the model's `config.json` or null.
    pub(crate) fn read(path: &Path, config: &Value) -> Result<Self, TokenizerError> {
        let tokenizer = read_json(path)?.ok_or_else(|| TokenizerError::Missing {
            path: path.to_owned(),
        })?;
        let beside = path.with_file_name("tokenizer_config.json");
        let tokenizer_config = read_json(&beside)?.unwrap_or(Value::Null);
        let special = SpecialTokens::read(&tokenizer, &tokenizer_config, config);
        let chat_template = match chat_template(&tokenizer_config) {
            Some(template) => Some(template.to_owned()),
            None => {
                let bytes = read_file(&path.with_file_name("chat_template.jinja"))?;
                bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        Ok(Self {
            chat_template,
            path: path.to_owned(),
            tokenizer,
            special,
        })
    }

    /// True for SentencePiece's kind: pieces with `▁` for spaces, and bytes for what they miss.
    pub(crate) fn has_byte_fallback(&self) -> bool {
        let model = self.tokenizer.get("model");
        let fallback = model.and_then(|model| model.get("byte_fallback"));
        fallback.and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether every text begins with the beginning token. Where no file says, SentencePiece
    /// tokenizers add one and byte-level ones do not, in transformers and in llama.cpp.
    pub(crate) fn adds_bos(&self) -> bool {
        self.special.add_bos.unwrap_or(self.has_byte_fallback())
    }
}

/// The template in `tokenizer_config.json`: one text, or the one called default of several.
fn chat_template(tokenizer_config: &Value) -> Option<&str> {
    match tokenizer_config.get("chat_template")? {
        Value::String(template) => Some(template),
        Value::Array(templates) => {
            let is_default =
                |template: &&Value| template.get("name").and_then(Value::as_str) == Some("default");
            templates.iter().find(is_default)?.get("template")?.as_str()
        }
        _ => None,
    }
}

/// Reads a file; none where it is not there.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TokenizerError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Reads a JSON file; none where it is not there.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>, TokenizerError> {
    let Some(bytes) = read_file(path)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(TokenizerError::Invalid {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// The tokenizer of a `tokenizer.json`.
pub(crate) fn load(
    path: &Path,
    config: &Value,
    vocabulary_size: u64,
) -> Result<Tokenizer, TokenizerError> {
    let files = TokenizerFiles::read(path, config)?;
    let invalid = |reason: String| TokenizerError::Invalid {
        path: path.to_owned(),
        reason,
    };
    let text = files.tokenizer.to_string();
    let mut inner = tokenizers::Tokenizer::from_bytes(text.as_bytes())
        .map_err(|error| invalid(error.to_string()))?;
    // A file may have been saved with the limits of some other use.
    inner
        .with_truncation(None)
        .map_err(|error| invalid(error.to_string()))?;
    inner.with_padding(None);
    inner.set_encode_special_tokens(true);
    check_vocabulary(&inner, path, vocabulary_size)?;
    let (bos_token, add_bos) = (files.special.id("bos"), files.adds_bos());
    // Another file than the vocabulary's may name it, and every window begins with it.
    if let Some(token) = bos_token.filter(|&token| add_bos && u64::from(token) >= vocabulary_size) {
        return Err(TokenizerError::BeginningToken {
            path: path.to_owned(),
            token,
            vocabulary_size,
        });
    }
    Ok(Tokenizer {
        engine: Engine::HuggingFace(Box::new(inner)),
        bos_token,
        add_bos,
    })
}

fn check_vocabulary(
    inner: &tokenizers::Tokenizer,
    path: &Path,
    vocabulary_size: u64,
) -> Result<(), TokenizerError> {
    let vocabulary = inner.get_vocab(true);
    let Some((text, &token)) = vocabulary.iter().max_by_key(|(_, id)| **id) else {
        return Err(TokenizerError::Invalid {
            path: path.to_owned(),
            reason: "the vocabulary is empty".to_owned(),
        });
    };
    if u64::from(token) >= vocabulary_size {
        return Err(TokenizerError::Vocabulary {
            path: path.to_owned(),
            token,
            text: text.clone(),
            vocabulary_size,
        });
    }
    // Embeddings are padded to round sizes, by far less than this; beyond it, the tokenizer is
    // another model's.
    let tokens = u64::from(token) + 1;
    if tokens < vocabulary_size - vocabulary_size / 8 {
        return Err(TokenizerError::VocabularySize {
            path: path.to_owned(),
            tokens,
            vocabulary_size,
        });
    }
    Ok(())
}
