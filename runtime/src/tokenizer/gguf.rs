//! Tokenizers from the metadata of a GGUF file.

use std::path::Path;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use super::pre::{self, PreTokenizer};
use super::sentencepiece::{SentencePiece, TokenType};
use super::{Engine, Tokenizer};
use crate::error::TokenizerError;
use crate::gguf::{GgufFile, Header, Value};

/// The tokenizer that a GGUF file describes.
///
/// Text is split and merged as llama.cpp does it, which normalises nothing: where a model's
/// `tokenizer.json` brings text into normal form C, tokens of decomposed letters differ.
pub(crate) fn load(file: &GgufFile, vocabulary_size: u64) -> Result<Tokenizer, TokenizerError> {
    let metadata = Metadata {
        path: file.path(),
        header: file.header(),
    };
    let tokens = metadata.tokens()?;
    if tokens.len() as u64 != vocabulary_size {
        return Err(TokenizerError::VocabularySize {
            path: file.path().to_owned(),
            tokens: tokens.len() as u64,
            vocabulary_size,
        });
    }
    let types = metadata.types(tokens.len())?;
    match metadata.text("tokenizer.ggml.model")? {
        Some("gpt2") => metadata.byte_level(&tokens, &types),
        Some("llama") => metadata.sentence_piece(&tokens, &types),
        Some(other) => Err(TokenizerError::UnknownModel {
            path: file.path().to_owned(),
            name: other.to_owned(),
        }),
        None => Err(metadata.invalid("tokenizer.ggml.model is missing")),
    }
}

struct Metadata<'a> {
    path: &'a Path,
    header: &'a Header,
}

impl<'a> Metadata<'a> {
    fn byte_level(
        &self,
        tokens: &[&str],
        types: &[TokenType],
    ) -> Result<Tokenizer, TokenizerError> {
        // A file that names no pre-tokenizer is from before there were names; llama.cpp takes the
        // one called default.
        let name = self.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let Some(pre_tokenizer) = pre::by_name(name) else {
            return Err(TokenizerError::UnknownPreTokenizer {
                path: self.path.to_owned(),
                name: name.to_owned(),
                known: pre::names(),
            });
        };
        let vocabulary = tokens.iter().zip(0..);
        let vocabulary = vocabulary.map(|(&token, id)| (token.to_owned(), id));
        let model = BPE::builder()
            .vocab_and_merges(vocabulary.collect::<Vocab>(), self.merges()?)
            .ignore_merges(pre_tokenizer.ignore_merges)
            .build()
            .map_err(|error| self.invalid(format!("tokenizer.ggml.merges: {error}")))?;
        let mut inner = tokenizers::Tokenizer::new(model);
        let steps = split_steps(pre_tokenizer).map_err(|error| self.invalid(error.to_string()))?;
        inner.with_pre_tokenizer(Some(Sequence::new(steps)));
        let user_defined = tokens
            .iter()
            .zip(types)
            .filter(|(token, kind)| **kind == TokenType::UserDefined && !token.is_empty());
        let added =
            user_defined.map(|(&token, _)| AddedToken::from(token, false).normalized(false));
        inner
            .add_tokens(added)
            .map_err(|error| self.invalid(error.to_string()))?;
        Ok(Tokenizer {
            engine: Engine::HuggingFace(Box::new(inner)),
            bos_token: self.id("tokenizer.ggml.bos_token_id", tokens.len())?,
            add_bos: self
                .flag("tokenizer.ggml.add_bos_token")?
                .unwrap_or(pre_tokenizer.add_bos),
        })
    }

    fn sentence_piece(
        &self,
        tokens: &[&str],
        types: &[TokenType],
    ) -> Result<Tokenizer, TokenizerError> {
        let scores = self.scores(tokens.len())?;
        let id = |key: &str, default: u32| -> Result<Option<u32>, TokenizerError> {
            let default = Some(default).filter(|&id| (id as usize) < tokens.len());
            Ok(self.id(key, tokens.len())?.or(default))
        };
        let unknown = id("tokenizer.ggml.unknown_token_id", 0)?.unwrap_or(0);
        let add_space_prefix = self
            .flag("tokenizer.ggml.add_space_prefix")?
            .unwrap_or(true);
        let engine = SentencePiece::new(tokens, scores, types, unknown, add_space_prefix);
        Ok(Tokenizer {
            engine: Engine::SentencePiece(engine),
            bos_token: id("tokenizer.ggml.bos_token_id", 1)?,
            add_bos: self.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(true),
        })
    }

    fn tokens(&self) -> Result<Vec<&'a str>, TokenizerError> {
        let key = "tokenizer.ggml.tokens";
        let Some(value) = self.header.value(key) else {
            return Err(self.invalid(format!(
                "{key} is missing: the file has no tokenizer; name a tokenizer.json with \
                 --tokenizer"
            )));
        };
        let tokens = value.as_strings();
        tokens.ok_or_else(|| self.invalid(format!("{key} is not a list of texts")))
    }

    fn types(&self, length: usize) -> Result<Vec<TokenType>, TokenizerError> {
        let key = "tokenizer.ggml.token_type";
        let Some(value) = self.header.value(key) else {
            return Ok(vec![TokenType::Normal; length]);
        };
        let types = value.as_array().and_then(|values| {
            let kinds = values
                .iter()
                .map(|value| TokenType::from_number(value.as_u64()?));
            kinds.collect::<Option<Vec<_>>>()
        });
        match types {
            Some(types) if types.len() == length => Ok(types),
            Some(types) => Err(self.invalid(format!(
                "{key} has {} entries for {length} tokens",
                types.len()
            ))),
            None => Err(self.invalid(format!("{key} holds something that is not a token type"))),
        }
    }

    fn scores(&self, length: usize) -> Result<Vec<f32>, TokenizerError> {
        let key = "tokenizer.ggml.scores";
        let scores = self.header.value(key).and_then(|value| {
            let scores = value.as_array()?.iter();
            let scores = scores.map(|value| value.as_f64().map(|score| score as f32));
            scores.collect::<Option<Vec<_>>>()
        });
        match scores {
            Some(scores) if scores.len() == length && !scores.iter().any(|it| it.is_nan()) => {
                Ok(scores)
            }
            _ => Err(self.invalid(format!("{key} does not hold a number for every token"))),
        }
    }

    fn merges(&self) -> Result<Vec<(String, String)>, TokenizerError> {
        let key = "tokenizer.ggml.merges";
        let merges = self.header.value(key).and_then(Value::as_strings);
        let Some(merges) = merges else {
            return Err(self.invalid(format!("{key} is not a list of texts")));
        };
        merges
            .into_iter()
            .map(|merge| {
                // The space that parts the two is never the first letter.
                let start = merge.chars().next().map_or(0, char::len_utf8);
                match merge[start..].find(' ') {
                    Some(at) => Ok((
                        merge[..start + at].to_owned(),
                        merge[start + at + 1..].to_owned(),
                    )),
                    None => Err(self.invalid(format!("{key}: `{merge}` is not a pair"))),
                }
            })
            .collect()
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, TokenizerError> {
        match self.header.value(key) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text)),
                None => Err(self.invalid(format!("{key} is not a text"))),
            },
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        match self.header.value(key) {
            None => Ok(None),
            Some(value) => match value.as_bool() {
                Some(flag) => Ok(Some(flag)),
                None => Err(self.invalid(format!("{key} is not a truth value"))),
            },
        }
    }

    fn id(&self, key: &str, tokens: usize) -> Result<Option<u32>, TokenizerError> {
        let Some(value) = self.header.value(key) else {
            return Ok(None);
        };
        match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) if (id as usize) < tokens => Ok(Some(id)),
            _ => Err(self.invalid(format!("{key} is not the id of one of {tokens} tokens"))),
        }
    }

    fn invalid(&self, reason: impl Into<String>) -> TokenizerError {
        TokenizerError::Invalid {
            path: self.path.to_owned(),
            reason: reason.into(),
        }
    }
}

fn split_steps(pre_tokenizer: &PreTokenizer) -> tokenizers::Result<Vec<PreTokenizerWrapper>> {
    let mut steps = Vec::new();
    for &expression in pre_tokenizer.expressions {
        let pattern = SplitPattern::Regex(expression.to_owned());
        steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    Ok(steps)
}
