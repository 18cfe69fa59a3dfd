//! Text cut into windows of tokens.

use std::collections::HashSet;
use std::path::Path;

use bitfront_model::{DataSpec, Digest, HeldBack};
use serde::Deserialize;

use crate::error::TextError;
use crate::tokenizer::Tokenizer;

/// Windows of token ids, all of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Windows that activation statistics come from.
    pub calibration: Vec<Vec<u32>>,
    /// Windows that are scored.
    pub evaluation: Vec<Vec<u32>>,
    /// Windows that a search never scores and its front is confirmed on; none where the text has
    /// no more.
    pub held_back: Vec<Vec<u32>>,
    /// Digest of the calibration windows as token ids.
    pub calibration_digest: Digest,
    /// Digest of the evaluation windows as token ids.
    pub evaluation_digest: Digest,
    /// Digest of the held-back windows as token ids.
    pub held_back_digest: Digest,
}

impl Windows {
    /// The held-back windows as a request names them.
    pub fn held_back_spec(&self) -> Option<HeldBack> {
        let windows = u32::try_from(self.held_back.len()).ok()?;
        (windows > 0).then_some(HeldBack {
            windows,
            digest: self.held_back_digest,
        })
    }
}

/// Reads the texts and cuts them into windows of `context` tokens.
///
/// As in llama.cpp's `llama-perplexity`, a text is tokenized as a whole, cut into consecutive
/// windows, and the first token of each is replaced by the one that begins a text, where the
/// model's tokenizer adds one. Without a calibration text the first windows of the evaluation
/// text are set aside: `calibration_windows` of them, or a quarter. A number of windows that is
/// not given means all there are; no calibration windows are made where 0 are asked for. The
/// numbers of windows that came out give the same windows again.
///
/// The windows that follow the scored ones in the evaluation text are held back, as many as are
/// scored or what is left. One that equals a scored window or one of the calibration is passed
/// over, since a search knows it already.
///
/// A window that would be both scored and calibrated with is refused. Windows that overlap without
/// being equal are not noticed.
pub fn read(
    tokenizer: &Tokenizer,
    evaluation_path: &Path,
    calibration_path: Option<&Path>,
    context: u32,
    evaluation_windows: Option<u32>,
    calibration_windows: Option<u32>,
) -> Result<Windows, TextError> {
    let least = DataSpec::LEAST_CONTEXT;
    if context < least {
        return Err(TextError::Context { context, least });
    }
    let least_windows = DataSpec::LEAST_EVALUATION_WINDOWS;
    if let Some(windows) = evaluation_windows.filter(|&windows| windows < least_windows) {
        return Err(TextError::FewWindows {
            windows,
            least: least_windows,
        });
    }
    let evaluation_text = read_text(evaluation_path)?;
    let asked = |count: Option<u32>| count.map(|count| count as usize);
    let (calibration, (evaluation, rest)) = match calibration_path {
        Some(path) => {
            let text = read_text(path)?;
            if text == evaluation_text {
                return Err(TextError::Overlap {
                    path: evaluation_path.to_owned(),
                });
            }
            let calibration = windows(tokenizer, &text, path, context)?;
            let evaluation = windows(tokenizer, &evaluation_text, evaluation_path, context)?;
            (
                calibration.first(asked(calibration_windows), 1)?.0,
                evaluation.first(asked(evaluation_windows), least_windows as usize)?,
            )
        }
        None => windows(tokenizer, &evaluation_text, evaluation_path, context)?
            .split(asked(calibration_windows), asked(evaluation_windows))?,
    };
    let known = calibration.iter().collect::<HashSet<_>>();
    if let Some(window) = evaluation.iter().position(|window| known.contains(window)) {
        return Err(TextError::SharedWindow {
            path: evaluation_path.to_owned(),
            window,
        });
    }
    let scored = evaluation.iter().collect::<HashSet<_>>();
    let held_back = rest
        .into_iter()
        .filter(|window| !scored.contains(window) && !known.contains(window))
        .take(evaluation.len())
        .collect::<Vec<_>>();
    // Fewer say nothing of their own error.
    let held_back = match held_back.len() < least_windows as usize {
        true => Vec::new(),
        false => held_back,
    };
    Ok(Windows {
        held_back_digest: digest(context, &held_back),
        held_back,
        calibration_digest: digest(context, &calibration),
        evaluation_digest: digest(context, &evaluation),
        calibration,
        evaluation,
    })
}

/// Windows of token ids.
type Tokens = Vec<Vec<u32>>;

/// All windows of one text.
struct Cut<'a> {
    windows: Tokens,
    /// Tokens of the text, those that fill no window included.
    tokens: usize,
    path: &'a Path,
    context: u32,
}

impl Cut<'_> {
    /// The first `count` windows, or all, which must be `least` at least; and those that follow.
    fn first(mut self, count: Option<usize>, least: usize) -> Result<(Tokens, Tokens), TextError> {
        self.require(count.unwrap_or(least))?;
        let rest = self.windows.split_off(count.unwrap_or(self.windows.len()));
        Ok((self.windows, rest))
    }

    /// Calibration windows from the beginning, evaluation windows from what follows, and those
    /// that follow them.
    fn split(
        mut self,
        calibration: Option<usize>,
        evaluation: Option<usize>,
    ) -> Result<(Tokens, (Tokens, Tokens)), TextError> {
        let least_evaluation = evaluation.unwrap_or(DataSpec::LEAST_EVALUATION_WINDOWS as usize);
        self.require(calibration.unwrap_or(1) + least_evaluation)?;
        let total = self.windows.len();
        let calibration = calibration.unwrap_or_else(|| {
            let left = total - least_evaluation;
            (total / 4).clamp(1, left)
        });
        let mut scored = self.windows.split_off(calibration);
        let rest = scored.split_off(evaluation.unwrap_or(scored.len()));
        Ok((self.windows, (scored, rest)))
    }

    fn require(&self, windows: usize) -> Result<(), TextError> {
        if self.windows.len() >= windows {
            return Ok(());
        }
        Err(TextError::TooShort {
            path: self.path.to_owned(),
            found: self.tokens,
            needed: windows.saturating_mul(self.context as usize),
            windows,
            context: self.context,
        })
    }
}

fn windows<'a>(
    tokenizer: &Tokenizer,
    text: &str,
    path: &'a Path,
    context: u32,
) -> Result<Cut<'a>, TextError> {
    let encoded = tokenizer
        .encode(text)
        .map_err(|error| TextError::Tokenizer {
            path: path.to_owned(),
            error,
        })?;
    let bos = tokenizer.bos();
    let tokens = bos.into_iter().chain(encoded).collect::<Vec<_>>();
    let windows = tokens.chunks_exact(context as usize).map(|window| {
        let mut window = window.to_vec();
        if let Some(bos) = bos {
            window[0] = bos;
        }
        window
    });
    Ok(Cut {
        windows: windows.collect(),
        tokens: tokens.len(),
        path,
        context,
    })
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

fn read_text(path: &Path) -> Result<String, TextError> {
    let bytes = std::fs::read(path).map_err(|error| TextError::Io {
        path: path.to_owned(),
        error,
    })?;
    let text = String::from_utf8(bytes).map_err(|error| TextError::NotUtf8 {
        path: path.to_owned(),
        position: error.utf8_error().valid_up_to(),
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    let is_json_lines = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("jsonl"));
    if is_json_lines {
        json_lines(path, &text)
    } else {
        Ok(text)
    }
}

/// The texts of all lines, a line break between them.
fn json_lines(path: &Path, lines: &str) -> Result<String, TextError> {
    let mut joined = String::with_capacity(lines.len());
    for (number, line) in lines.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(line).map_err(|error| TextError::Line {
            path: path.to_owned(),
            line: number + 1,
            reason: format!("expected an object with a field `text`: {error}"),
        })?;
        if !joined.is_empty() {
            joined.push('\n');
        }
        joined.push_str(&line.text);
    }
    Ok(joined)
}

fn digest(context: u32, windows: &[Vec<u32>]) -> Digest {
    let mut digest = Digest::builder()
        .part("windows")
        .part(context.to_le_bytes());
    for window in windows {
        let bytes = window.iter().flat_map(|token| token.to_le_bytes());
        digest.add(bytes.collect::<Vec<_>>());
    }
    digest.finish()
}
