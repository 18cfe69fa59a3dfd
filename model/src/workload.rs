//! What is timed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnknownName;

/// What is timed, for one sequence or for a *batch* of sequences that are served at once.
///
/// Its name is `prefill@128`, `decode@64x16`, and with a batch `prefill@128b4`, `decode@64x16b4`.
/// A figure is a time as whoever waits for one of the sequences feels it: that of the pass or the
/// step that brings all sequences of the batch forward, not that time shared out among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Workload {
    /// One pass over a prompt of each sequence with an empty cache; the figure is the time of the
    /// pass.
    Prefill {
        /// Tokens in each prompt.
        tokens: u32,
        /// Sequences.
        batch: u32,
    },
    /// One step after another with a filled cache, each of which gives every sequence one token;
    /// the figure is the time of a step.
    Decode {
        /// Tokens of each sequence in the cache before the first step.
        context: u32,
        /// Steps in one sample: the tokens that each sequence gets.
        tokens: u32,
        /// Sequences.
        batch: u32,
    },
}

impl Workload {
    /// The most sequences in a batch: more than devices on which one measures serve at once, few
    /// enough for their tokens to be counted in 32 bits.
    pub const MOST_BATCH: u32 = 256;

    /// True for a decode.
    pub fn is_decode(self) -> bool {
        matches!(self, Self::Decode { .. })
    }

    /// Sequences that are served at once.
    pub fn batch(self) -> u32 {
        let (Self::Prefill { batch, .. } | Self::Decode { batch, .. }) = self;
        batch
    }

    /// Tokens of each sequence that one sample reads.
    pub fn tokens(self) -> u32 {
        let (Self::Prefill { tokens, .. } | Self::Decode { tokens, .. }) = self;
        tokens
    }

    /// Tokens of each sequence in the cache before a sample.
    pub fn context(self) -> u32 {
        match self {
            Self::Prefill { .. } => 0,
            Self::Decode { context, .. } => context,
        }
    }

    /// Positions that each sequence has at the end of a sample.
    pub fn positions(self) -> u64 {
        u64::from(self.context()) + u64::from(self.tokens())
    }

    /// Figures that one sample is made of: the passes of a prefill, which is one, or the steps of
    /// a decode.
    pub fn steps(self) -> u32 {
        match self {
            Self::Prefill { .. } => 1,
            Self::Decode { tokens, .. } => tokens,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = match self {
            Self::Prefill { tokens, .. } => format!("prefill@{tokens}"),
            Self::Decode {
                context, tokens, ..
            } => format!("decode@{context}x{tokens}"),
        };
        if self.batch() != 1 {
            name += &format!("b{}", self.batch());
        }
        formatter.pad(&name)
    }
}

impl FromStr for Workload {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parsed(text).ok_or_else(|| UnknownName {
            what: "workload",
            name: text.to_owned(),
            known: "prefill@TOKENS, decode@CONTEXTxTOKENS, and either followed by bSEQUENCES"
                .to_owned(),
        })
    }
}

fn parsed(text: &str) -> Option<Workload> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|&number| number > 0);
    let (kind, numbers) = text.split_once('@')?;
    let (numbers, batch) = match numbers.split_once('b') {
        Some((numbers, batch)) => (numbers, number(batch)?),
        None => (numbers, 1),
    };
    match kind {
        "prefill" => Some(Workload::Prefill {
            tokens: number(numbers)?,
            batch,
        }),
        "decode" => {
            let (context, tokens) = numbers.split_once('x')?;
            Some(Workload::Decode {
                context: number(context)?,
                tokens: number(tokens)?,
                batch,
            })
        }
        _ => None,
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> Self {
        workload.to_string()
    }
}

impl TryFrom<String> for Workload {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let prefill = |batch| Workload::Prefill { tokens: 128, batch };
        let decode = |batch| Workload::Decode {
            context: 64,
            tokens: 16,
            batch,
        };
        for (workload, name) in [
            (prefill(1), "prefill@128"),
            (prefill(4), "prefill@128b4"),
            (decode(1), "decode@64x16"),
            (decode(32), "decode@64x16b32"),
        ] {
            assert_eq!(workload.to_string(), name);
            assert_eq!(name.parse(), Ok(workload));
        }
        assert_eq!("decode@64x16b1".parse(), Ok(decode(1)));
    }

    #[test]
    fn what_is_no_name_is_refused_with_those_that_are() {
        for wrong in [
            "prefill",
            "prefill@0",
            "prefill@8b0",
            "prefill@8b",
            "prefill@b4",
            "prefill@8b4b4",
            "prefill@8b4294967296",
            "decode@4",
            "decode@x4",
            "decode@4x4b0",
            "decode@4b4x4",
            "encode@4x4",
        ] {
            let error = wrong.parse::<Workload>().map_err(|error| error.to_string());
            assert!(
                error
                    .as_ref()
                    .is_err_and(|told| told.contains("bSEQUENCES")),
                "{wrong}: {error:?}"
            );
        }
    }
}
