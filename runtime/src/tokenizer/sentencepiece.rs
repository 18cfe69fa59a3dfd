//! SentencePiece's BPE as llama.cpp computes it: the pair whose piece has the highest score is
//! merged first.

use std::collections::{BinaryHeap, HashMap};

/// What stands for a space in a piece.
pub(crate) const SPACE: &str = "\u{2581}";

/// Pieces with scores, and bytes for what no piece covers.
pub(crate) struct SentencePiece {
    ids: HashMap<String, u32>,
    scores: Vec<f32>,
    bytes: Vec<u32>,
    /// Longest first, so that the longest one is found first.
    user_defined: Vec<(String, u32)>,
    add_space_prefix: bool,
}

/// What a token is for; numbers as in `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl TokenType {
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

impl SentencePiece {
    /// A tokenizer of pieces with their scores and types, all of one length.
    ///
    /// A byte without a token of its own is written as the unknown token.
    pub(crate) fn new(
        pieces: &[&str],
        scores: Vec<f32>,
        types: &[TokenType],
        unknown: u32,
        add_space_prefix: bool,
    ) -> Self {
        let ids = pieces.iter().zip(0..);
        let ids = ids
            .map(|(&piece, id)| (piece.to_owned(), id))
            .collect::<HashMap<_, _>>();
        let bytes = (0..=255u8)
            .map(|byte| ids.get(&format!("<0x{byte:02X}>")).copied())
            .map(|id| id.unwrap_or(unknown))
            .collect();
        let mut user_defined = pieces
            .iter()
            .zip(0..)
            .zip(types)
            .filter(|((piece, _), kind)| **kind == TokenType::UserDefined && !piece.is_empty())
            .map(|((&piece, id), _)| (piece.to_owned(), id))
            .collect::<Vec<_>>();
        user_defined.sort_by_key(|(piece, _)| std::cmp::Reverse(piece.len()));
        Self {
            ids,
            scores,
            bytes,
            user_defined,
            add_space_prefix,
        }
    }

    /// The tokens of a text.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut after_token = true;
        for fragment in self.fragments(text) {
            match fragment {
                Fragment::Token(token) => {
                    tokens.push(token);
                    after_token = true;
                }
                Fragment::Text(text) => {
                    let mut escaped = text.replace(' ', SPACE);
                    if self.add_space_prefix && after_token {
                        escaped.insert_str(0, SPACE);
                    }
                    self.merge(&escaped, &mut tokens);
                    after_token = false;
                }
            }
        }
        tokens
    }

    /// The text cut at user-defined tokens; all other tokens' names are text like any other.
    fn fragments<'a>(&self, text: &'a str) -> Vec<Fragment<'a>> {
        let mut fragments = Vec::new();
        if !text.is_empty() {
            fragments.push(Fragment::Text(text));
        }
        for (piece, id) in &self.user_defined {
            let mut cut = Vec::with_capacity(fragments.len());
            for fragment in fragments {
                let Fragment::Text(mut text) = fragment else {
                    cut.push(fragment);
                    continue;
                };
                while let Some(at) = text.find(piece.as_str()) {
                    if at > 0 {
                        cut.push(Fragment::Text(&text[..at]));
                    }
                    cut.push(Fragment::Token(*id));
                    text = &text[at + piece.len()..];
                }
                if !text.is_empty() {
                    cut.push(Fragment::Text(text));
                }
            }
            fragments = cut;
        }
        fragments
    }

    /// Merges neighbours, the highest score first and the leftmost of equals, until nothing fits.
    fn merge(&self, text: &str, tokens: &mut Vec<u32>) {
        let mut symbols = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, letter))| Symbol {
                start,
                length: letter.len_utf8(),
                previous: index.wrapping_sub(1),
                next: index + 1,
            })
            .collect::<Vec<_>>();
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.len() {
            self.propose(text, &symbols, right - 1, right, &mut queue);
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            // One of the two was merged away since, or has grown.
            if left.length == 0 || right.length == 0 || left.length + right.length != pair.length {
                continue;
            }
            symbols[pair.left].length = pair.length;
            symbols[pair.left].next = right.next;
            symbols[pair.right].length = 0;
            if right.next < symbols.len() {
                symbols[right.next].previous = pair.left;
            }
            self.propose(text, &symbols, left.previous, pair.left, &mut queue);
            self.propose(text, &symbols, pair.left, right.next, &mut queue);
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            let piece = &text[symbol.start..symbol.start + symbol.length];
            match self.ids.get(piece) {
                Some(&id) => tokens.push(id),
                None => tokens.extend(piece.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
    }

    fn propose(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: usize,
        right: usize,
        queue: &mut BinaryHeap<Pair>,
    ) {
        let (Some(first), Some(second)) = (symbols.get(left), symbols.get(right)) else {
            return;
        };
        let length = first.length + second.length;
        let piece = &text[first.start..first.start + length];
        if let Some(&id) = self.ids.get(piece) {
            queue.push(Pair {
                score: self.scores[id as usize],
                left,
                right,
                length,
            });
        }
    }
}

enum Fragment<'a> {
    Text(&'a str),
    Token(u32),
}

/// A part of the text; `length` 0 after it was merged into the one before.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    length: usize,
    /// `usize::MAX` before the first one.
    previous: usize,
    next: usize,
}

/// Two neighbours that make a piece; the queue gives the highest score, then the leftmost.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(user_defined: &[&str]) -> (SentencePiece, Vec<String>) {
        let mut pieces = vec!["<unk>", "a", "b", "c", "ab", "bc", "abc", SPACE, "▁a"];
        let mut types = vec![TokenType::Normal; pieces.len()];
        pieces.extend(user_defined);
        types.resize(pieces.len(), TokenType::UserDefined);
        let mut scores = vec![0.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -9.0, -4.0];
        scores.resize(pieces.len(), -1000.0);
        let names = pieces.iter().map(|&piece| piece.to_owned()).collect();
        (SentencePiece::new(&pieces, scores, &types, 0, true), names)
    }

    fn pieces(text: &str, user_defined: &[&str]) -> Vec<String> {
        let (tokenizer, names) = tokenizer(user_defined);
        let tokens = tokenizer.encode(text);
        tokens
            .iter()
            .map(|&id| names[id as usize].clone())
            .collect()
    }

    #[test]
    fn the_highest_score_is_merged_first_and_what_is_no_piece_becomes_bytes() {
        assert_eq!(pieces("abc", &[]), ["▁", "abc"]);
        assert_eq!(pieces("bcb", &[]), ["▁", "bc", "b"]);
        assert_eq!(pieces("a b", &[]), ["▁a", "▁", "b"]);
        assert_eq!(pieces("é", &[]), ["▁", "<unk>", "<unk>"]);
        assert!(pieces("", &[]).is_empty());
    }

    #[test]
    fn user_defined_tokens_are_found_before_anything_is_merged_the_longest_first() {
        assert_eq!(pieces("a<x>b", &["<x>"]), ["▁a", "<x>", "▁", "b"]);
        assert_eq!(pieces("<x>!", &["<x>", "<x>!"]), ["<x>!"]);
    }
}
