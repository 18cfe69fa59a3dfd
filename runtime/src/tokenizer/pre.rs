//! How byte-level tokenizers split text before merging, and llama.cpp's names for it.

use serde_json::Value;

/// A way to split text, with the names that `tokenizer.ggml.pre` may have for it.
///
/// Expressions are applied one after another, each to the pieces of the one before; what an
/// expression does not match is a piece of its own. Taken from `llama-vocab.cpp`, in the form that
/// `tokenizer.json` files have where llama.cpp's own only works around its regex engine.
pub(crate) struct PreTokenizer {
    /// The first one is written where the split is recognised.
    pub(crate) names: &'static [&'static str],
    pub(crate) expressions: &'static [&'static str],
    /// A piece that is a token is not merged up from its bytes.
    pub(crate) ignore_merges: bool,
    /// Whether a beginning token is added where the file does not say.
    pub(crate) add_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const MINICPM5: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const DIGIT: &str = r"\p{N}";

/// Every known way. Where two differ in nothing that a tokenizer file says, the first is written.
pub(crate) const KNOWN: &[PreTokenizer] = &[
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        expressions: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer {
        names: &["smaug-bpe", "dbrx", "chatglm-bpe"],
        expressions: &[LLAMA3],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["glm4", "glm5"],
        expressions: &[LLAMA3],
        ignore_merges: true,
        add_bos: false,
    },
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        expressions: &[GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        expressions: &[QWEN2],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["qwen35"],
        expressions: &[QWEN35],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        expressions: &[DIGIT, GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["tekken"],
        expressions: &[TEKKEN],
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        expressions: &[GPT4O],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        expressions: &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[一-龥ࠀ-一가-퟿]+",
            DIGIT,
        ],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        expressions: &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["falcon"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["poro-chat", "bloom", "gpt3-finnish"],
        expressions: &[r" ?[^(\s|.,!?…。，、।۔،)]+"],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["viking"],
        expressions: &[r" ?[^(\s|.,!?…。，、।۔،)]+", DIGIT],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["seed-coder"],
        expressions: &[SEED_CODER],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["minicpm5"],
        expressions: &[r"\p{N}{1,3}", MINICPM5],
        ignore_merges: true,
        add_bos: false,
    },
];

/// The way with a name of `tokenizer.ggml.pre`.
pub(crate) fn by_name(name: &str) -> Option<&'static PreTokenizer> {
    KNOWN.iter().find(|known| known.names.contains(&name))
}

/// Every name, for messages.
pub(crate) fn names() -> String {
    let names = KNOWN.iter().flat_map(|known| known.names.iter().copied());
    names.collect::<Vec<_>>().join(", ")
}

/// The way that a `tokenizer.json` splits, or a description of it where it is not known.
pub(crate) fn recognise(
    pre_tokenizer: &Value,
    ignore_merges: bool,
) -> Result<&'static PreTokenizer, String> {
    let expressions = expressions(pre_tokenizer)?;
    let canonical = |text: &str| canonical(text);
    let found = KNOWN.iter().find(|known| {
        known.ignore_merges == ignore_merges
            && known.expressions.len() == expressions.len()
            && known
                .expressions
                .iter()
                .zip(&expressions)
                .all(|(known, found)| canonical(known) == canonical(found))
    });
    found.ok_or_else(|| {
        let list = expressions
            .iter()
            .map(|expression| format!("`{expression}`"))
            .collect::<Vec<_>>()
            .join(", then ");
        if ignore_merges {
            format!("{list} (with ignore_merges)")
        } else {
            list
        }
    })
}

/// Expressions that split alike are written alike: contractions spelled out, and without a last
/// `\s+`, since white space that nothing matches is a piece of its own anyway.
fn canonical(expression: &str) -> String {
    let spelled_out = expression.replace(
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    );
    match spelled_out.strip_suffix(r"\s+(?!\S)|\s+") {
        Some(start) => format!(r"{start}\s+(?!\S)"),
        None => spelled_out,
    }
}

/// The expressions that a pre-tokenizer applies; it must end by mapping bytes to letters.
fn expressions(pre_tokenizer: &Value) -> Result<Vec<String>, String> {
    let steps = match pre_tokenizer.get("pretokenizers").and_then(Value::as_array) {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(pre_tokenizer),
    };
    let unknown = || format!("`{pre_tokenizer}`");
    let Some((last, first)) = steps.split_last() else {
        return Err(unknown());
    };
    let mut expressions = Vec::new();
    for step in first {
        expressions.push(split_expression(step).ok_or_else(unknown)?);
    }
    let is = |name: &str| last.get(name).and_then(Value::as_bool);
    if last.get("type").and_then(Value::as_str) != Some("ByteLevel")
        || is("add_prefix_space") == Some(true)
    {
        return Err(unknown());
    }
    if is("use_regex").unwrap_or(true) {
        expressions.push(GPT2.to_owned());
    }
    Ok(expressions)
}

fn split_expression(step: &Value) -> Option<String> {
    match step.get("type")?.as_str()? {
        "Split" => {
            // Removing what does not match is the same as keeping it apart, because the
            // expressions in question leave nothing out.
            let inverted = step.get("invert").and_then(Value::as_bool).unwrap_or(false);
            match (step.get("behavior")?.as_str()?, inverted) {
                ("Isolated", false) | ("Removed", true) => {}
                _ => return None,
            }
            let pattern = step.get("pattern")?.get("Regex")?.as_str()?;
            Some(pattern.to_owned())
        }
        "Digits" => {
            let individual = step.get("individual_digits")?.as_bool()?;
            Some(if individual { DIGIT } else { r"\p{N}+" }.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn split(regex: &str) -> Value {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    }

    fn sequence(steps: &[Value]) -> Value {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
        let steps = steps.iter().cloned().chain([bytes]).collect::<Vec<_>>();
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    #[test]
    fn published_tokenizers_are_recognised() {
        let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
        let llama3 = format!(
            r"{contractions}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        let qwen2 = llama3.replace(r"\p{N}{1,3}", r"\p{N}");
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let smol = json!({"type": "Sequence", "pretokenizers": [digits, byte_level]});
        let rows = [
            ("llama-bpe", sequence(&[split(&llama3)]), true),
            ("smaug-bpe", sequence(&[split(&llama3)]), false),
            ("qwen2", sequence(&[split(&qwen2)]), false),
            ("gpt-2", byte_level, false),
            ("starcoder", smol, false),
            ("tekken", sequence(&[split(TEKKEN)]), true),
        ];
        let wrong = rows
            .iter()
            .filter_map(|(name, tokenizer, ignore_merges)| {
                match recognise(tokenizer, *ignore_merges) {
                    Ok(found) if found.names[0] == *name => None,
                    Ok(found) => Some(format!("{name} was taken for {}", found.names[0])),
                    Err(regex) => Some(format!("{name} was not recognised: {regex}")),
                }
            })
            .collect::<Vec<_>>();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn an_unknown_split_is_described_by_its_expression() {
        let unknown = recognise(&sequence(&[split("[aeiou]+")]), false)
            .err()
            .unwrap();
        assert_eq!(unknown, "`[aeiou]+`");
        let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true});
        assert!(
            recognise(&prefixed, false)
                .err()
                .unwrap()
                .contains("add_prefix_space")
        );
    }

    #[test]
    fn no_name_stands_twice_and_every_expression_compiles() {
        let mut names = std::collections::HashSet::new();
        for known in KNOWN {
            for name in known.names {
                assert!(names.insert(name), "{name} stands twice");
            }
            for expression in known.expressions {
                let split = tokenizers::pre_tokenizers::split::Split::new(
                    tokenizers::pre_tokenizers::split::SplitPattern::Regex((*expression).into()),
                    tokenizers::SplitDelimiterBehavior::Isolated,
                    false,
                );
                assert!(split.is_ok(), "{expression}");
            }
        }
    }
}
