//! A Hugging Face tokenizer as GGUF metadata.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::error::ExportError;
use crate::gguf::{Value, ValueType};
use crate::tokenizer::hugging_face::TokenizerFiles;
use crate::tokenizer::pre;
use crate::tokenizer::sentencepiece::{SPACE, TokenType};

/// The score of a token that nothing is merged into, as llama.cpp's converter writes it.
const ADDED_SCORE: f32 = -1000.0;

/// The metadata of the tokenizer, for a model with `rows` rows in its embedding.
pub(crate) fn metadata(
    files: &TokenizerFiles,
    rows: u64,
    pre_tokenizer: Option<&str>,
) -> Result<Vec<(String, Value)>, ExportError> {
    let vocabulary = Vocabulary::read(files, rows)?;
    let mut metadata = if files.has_byte_fallback() {
        vocabulary.sentence_piece()?
    } else {
        vocabulary.byte_level(pre_tokenizer)?
    };
    if let Some(template) = &files.chat_template {
        metadata.push(text("tokenizer.chat_template", template));
    }
    Ok(metadata)
}

struct Vocabulary<'a> {
    files: &'a TokenizerFiles,
    model: &'a Json,
    /// By id; an id without a token gets a placeholder.
    tokens: Vec<String>,
    types: Vec<TokenType>,
}

impl<'a> Vocabulary<'a> {
    fn read(files: &'a TokenizerFiles, rows: u64) -> Result<Self, ExportError> {
        let wrong = |reason: &str| unsupported(files, reason);
        let model = files
            .tokenizer
            .get("model")
            .ok_or_else(|| wrong("it has no model"))?;
        // Files of old versions do not name the type of a BPE model.
        match model.get("type").and_then(Json::as_str) {
            Some("BPE") => {}
            None if model.get("merges").is_some() => {}
            other => {
                let kind = other.unwrap_or("unknown");
                return Err(wrong(&format!(
                    "its model is {kind}; only BPE is supported"
                )));
            }
        }
        let vocabulary = model
            .get("vocab")
            .and_then(Json::as_object)
            .ok_or_else(|| wrong("its vocabulary is not an object"))?;
        let mut read = Self {
            files,
            model,
            tokens: (0..rows).map(|id| format!("[PAD{id}]")).collect(),
            types: vec![TokenType::Unused; rows as usize],
        };
        for (token, id) in vocabulary {
            read.set(id.as_u64(), token.clone(), TokenType::Normal)?;
        }
        let added = files.tokenizer.get("added_tokens").and_then(Json::as_array);
        for token in added.into_iter().flatten() {
            let Some(content) = token.get("content").and_then(Json::as_str) else {
                return Err(wrong("an added token has no content"));
            };
            let special = token.get("special").and_then(Json::as_bool) == Some(true);
            let id = token.get("id").and_then(Json::as_u64);
            if special || looks_special(content) {
                read.set(id, content.to_owned(), TokenType::Control)?;
            } else {
                let text = content.replace(SPACE, " ");
                read.set(id, text, TokenType::UserDefined)?;
            }
        }
        Ok(read)
    }

    fn set(&mut self, id: Option<u64>, token: String, kind: TokenType) -> Result<(), ExportError> {
        let index = id.and_then(|id| usize::try_from(id).ok());
        match index.filter(|&index| index < self.tokens.len()) {
            Some(index) => {
                self.tokens[index] = token;
                self.types[index] = kind;
                Ok(())
            }
            None => Err(unsupported(
                self.files,
                &format!(
                    "token `{token}` has an id beyond the {} rows",
                    self.tokens.len()
                ),
            )),
        }
    }

    fn byte_level(&self, pre_tokenizer: Option<&str>) -> Result<Vec<(String, Value)>, ExportError> {
        self.require_no_normalizer()?;
        let name = match pre_tokenizer {
            Some(name) => name.to_owned(),
            None => {
                let steps = self.files.tokenizer.get("pre_tokenizer");
                let ignore_merges = self.model.get("ignore_merges").and_then(Json::as_bool);
                let found =
                    pre::recognise(steps.unwrap_or(&Json::Null), ignore_merges.unwrap_or(false));
                let found = found.map_err(|regex| ExportError::UnknownPreTokenizer {
                    path: self.files.path.clone(),
                    regex,
                })?;
                found.names[0].to_owned()
            }
        };
        let merges = self.merges()?.into_iter();
        let merges = merges.map(|(left, right)| format!("{left} {right}"));
        let mut metadata = vec![
            text("tokenizer.ggml.model", "gpt2"),
            text("tokenizer.ggml.pre", &name),
            self.tokens_entry(),
            self.types_entry(),
            ("tokenizer.ggml.merges".to_owned(), Value::strings(merges)),
        ];
        self.special_tokens(&mut metadata);
        Ok(metadata)
    }

    fn sentence_piece(mut self) -> Result<Vec<(String, Value)>, ExportError> {
        let add_space_prefix = self.adds_space_prefix()?;
        let unknown = self.model.get("unk_token").and_then(Json::as_str);
        for (token, kind) in self.tokens.iter().zip(&mut self.types) {
            if Some(token.as_str()) == unknown {
                *kind = TokenType::Unknown;
            } else if is_byte(token) && *kind == TokenType::Normal {
                *kind = TokenType::Byte;
            }
        }
        let scores = self.scores()?.into_iter().map(Value::F32);
        let scores = Value::Array(ValueType::F32, scores.collect());
        let mut metadata = vec![
            text("tokenizer.ggml.model", "llama"),
            text("tokenizer.ggml.pre", "default"),
            self.tokens_entry(),
            ("tokenizer.ggml.scores".to_owned(), scores),
            self.types_entry(),
        ];
        if !add_space_prefix {
            let key = "tokenizer.ggml.add_space_prefix".to_owned();
            metadata.push((key, Value::Bool(false)));
        }
        self.special_tokens(&mut metadata);
        Ok(metadata)
    }

    /// Scores that give the order of the merges: llama.cpp merges the piece with the highest score
    /// first, so the first piece that is merged gets 0, the next distinct one -1 and so on.
    /// SentencePiece's own files have the same numbers; single letters follow there, and here.
    fn scores(&self) -> Result<Vec<f32>, ExportError> {
        let ids = self.tokens.iter().zip(0usize..);
        let ids = ids.map(|(token, id)| (token.as_str(), id));
        let ids = ids.collect::<HashMap<_, _>>();
        let mut scores = vec![None; self.tokens.len()];
        let mut rank = 0u32;
        let mut next = || {
            rank += 1;
            -((rank - 1) as f32)
        };
        for (left, right) in self.merges()? {
            let merged = format!("{left}{right}");
            let Some(&id) = ids.get(merged.as_str()) else {
                let reason = format!("`{merged}` is merged but is not a token");
                return Err(unsupported(self.files, &reason));
            };
            scores[id].get_or_insert_with(&mut next);
        }
        for (score, kind) in scores.iter_mut().zip(&self.types) {
            match kind {
                TokenType::Normal => score.get_or_insert_with(&mut next),
                TokenType::UserDefined | TokenType::Unused => score.insert(ADDED_SCORE),
                TokenType::Unknown | TokenType::Control | TokenType::Byte => score.insert(0.0),
            };
        }
        Ok(scores
            .into_iter()
            .map(|score| score.unwrap_or(ADDED_SCORE))
            .collect())
    }

    /// Whether texts begin with a space; an error where the tokenizer does more than
    /// SentencePiece's marking of spaces.
    fn adds_space_prefix(&self) -> Result<bool, ExportError> {
        let normalizer = self
            .files
            .tokenizer
            .get("normalizer")
            .unwrap_or(&Json::Null);
        let mut prefix = false;
        let mut marks_spaces = false;
        for step in steps(normalizer, "normalizers") {
            let is =
                |field: &str, value: &str| step.get(field).and_then(Json::as_str) == Some(value);
            let pattern = step
                .get("pattern")
                .and_then(|pattern| pattern.get("String"));
            if is("type", "Prepend") && is("prepend", SPACE) {
                prefix = true;
            } else if is("type", "Replace")
                && pattern.and_then(Json::as_str) == Some(" ")
                && is("content", SPACE)
            {
                marks_spaces = true;
            } else {
                return Err(unsupported(
                    self.files,
                    &format!("its normalizer is {step}"),
                ));
            }
        }
        let pre_tokenizer = self.files.tokenizer.get("pre_tokenizer");
        for step in steps(pre_tokenizer.unwrap_or(&Json::Null), "pretokenizers") {
            let scheme = step.get("prepend_scheme").and_then(Json::as_str);
            let splits = step.get("split").and_then(Json::as_bool).unwrap_or(true);
            let kind = step.get("type").and_then(Json::as_str);
            match (kind, splits) {
                (Some("Metaspace"), false) => {
                    marks_spaces = true;
                    // A text that begins with a space gets none from this step, but one from
                    // llama.cpp: the two differ in the first token of such a text.
                    let prefixed = step.get("add_prefix_space").and_then(Json::as_bool);
                    prefix |= scheme != Some("never") && prefixed != Some(false);
                }
                _ => {
                    return Err(unsupported(
                        self.files,
                        &format!("its pre-tokenizer is {step}"),
                    ));
                }
            }
        }
        if !marks_spaces {
            return Err(unsupported(
                self.files,
                "it falls back to bytes but does not mark spaces",
            ));
        }
        Ok(prefix)
    }

    /// llama.cpp does not normalise text for byte-level tokenizers. Normal form C is accepted, as
    /// by its converter, since almost all text is in that form already.
    fn require_no_normalizer(&self) -> Result<(), ExportError> {
        let normalizer = self
            .files
            .tokenizer
            .get("normalizer")
            .unwrap_or(&Json::Null);
        for step in steps(normalizer, "normalizers") {
            if step.get("type").and_then(Json::as_str) != Some("NFC") {
                return Err(unsupported(
                    self.files,
                    &format!("its normalizer is {step}"),
                ));
            }
        }
        Ok(())
    }

    /// The pairs in the order in which they are merged; both spellings of the file format.
    fn merges(&self) -> Result<Vec<(&str, &str)>, ExportError> {
        let wrong = || unsupported(self.files, "its merges are not pairs of texts");
        let merges = self.model.get("merges").and_then(Json::as_array);
        let pair = |merge: &'a Json| match merge {
            Json::String(pair) => pair.split_once(' '),
            _ => Some((merge.get(0)?.as_str()?, merge.get(1)?.as_str()?)),
        };
        let merges = merges.ok_or_else(wrong)?.iter().map(pair);
        merges.collect::<Option<Vec<_>>>().ok_or_else(wrong)
    }

    fn tokens_entry(&self) -> (String, Value) {
        let tokens = Value::strings(self.tokens.iter().cloned());
        ("tokenizer.ggml.tokens".to_owned(), tokens)
    }

    fn types_entry(&self) -> (String, Value) {
        let types = self.types.iter().map(|kind| Value::I32(*kind as i32));
        let types = Value::Array(ValueType::I32, types.collect());
        ("tokenizer.ggml.token_type".to_owned(), types)
    }

    fn special_tokens(&self, metadata: &mut Vec<(String, Value)>) {
        let special = &self.files.special;
        for (kind, id) in &special.ids {
            let name = match *kind {
                "unk" => "unknown",
                // The format's own spelling.
                "sep" => "seperator",
                "pad" => "padding",
                "bos" | "eos" | "mask" => kind,
                _ => continue,
            };
            if (*id as usize) < self.tokens.len() {
                let key = format!("tokenizer.ggml.{name}_token_id");
                metadata.push((key, Value::U32(*id)));
            }
        }
        // Always written, since llama.cpp's own default depends on the pre-tokenizer's name.
        let add_bos = self.files.adds_bos() && special.id("bos").is_some();
        let key = "tokenizer.ggml.add_bos_token".to_owned();
        metadata.push((key, Value::Bool(add_bos)));
        if let Some(add_eos) = special.add_eos {
            let key = "tokenizer.ggml.add_eos_token".to_owned();
            metadata.push((key, Value::Bool(add_eos)));
        }
    }
}

/// The steps of a sequence, of a single step, or of nothing.
fn steps<'a>(json: &'a Json, sequence: &str) -> &'a [Json] {
    match json.get(sequence).and_then(Json::as_array) {
        Some(steps) => steps,
        None if json.is_null() => &[],
        None => std::slice::from_ref(json),
    }
}

/// Tokens that act on the model although their file does not mark them, after
/// `does_token_look_special` of llama.cpp's converter.
fn looks_special(token: &str) -> bool {
    matches!(token, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || (token.starts_with("<|") && token.ends_with("|>"))
        || (token.starts_with("<｜") && token.ends_with("｜>"))
        || (token.starts_with("<unused") && token.ends_with('>'))
}

fn is_byte(token: &str) -> bool {
    let digits = token
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| {
        digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

fn text(key: &str, value: &str) -> (String, Value) {
    (key.to_owned(), Value::String(value.to_owned()))
}

fn unsupported(files: &TokenizerFiles, reason: &str) -> ExportError {
    ExportError::TokenizerKind {
        path: files.path.clone(),
        reason: reason.to_owned(),
    }
}
