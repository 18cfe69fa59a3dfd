//! Which tokens begin and end a text, as a Hugging Face directory says it in three places.

use serde_json::Value;

/// The special tokens of a tokenizer, after `SpecialVocab` of llama.cpp's `gguf-py`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SpecialTokens {
    /// Ids by kind (`bos`, `eos`, `unk`, `sep`, `pad`, `cls`, `mask`), in the order they were
    /// found.
    pub(crate) ids: Vec<(&'static str, u32)>,
    /// Whether a text gets a beginning token; none where no file says.
    pub(crate) add_bos: Option<bool>,
    /// Whether a text gets an ending token; none where no file says.
    pub(crate) add_eos: Option<bool>,
}

const KINDS: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

impl SpecialTokens {
    /// Reads `tokenizer.json`, then `tokenizer_config.json`, then `config.json`; what an earlier
    /// one says is kept.
    pub(crate) fn read(tokenizer: &Value, tokenizer_config: &Value, config: &Value) -> Self {
        let mut special = Self::default();
        special.read_post_processor(tokenizer, tokenizer_config);
        for kind in ["bos", "eos"] {
            let add = tokenizer_config.get(format!("add_{kind}_token"));
            special.set_add(kind, add.and_then(Value::as_bool));
        }
        let added = tokenizer.get("added_tokens").and_then(Value::as_array);
        for kind in KINDS {
            let Some(content) = content(tokenizer_config.get(format!("{kind}_token"))) else {
                continue;
            };
            let id = added.into_iter().flatten().find_map(|token| {
                (token.get("content")?.as_str()? == content).then(|| token.get("id")?.as_u64())?
            });
            special.set_id(kind, id);
        }
        for kind in KINDS {
            let id = config.get(format!("{kind}_token_id"));
            special.set_id(kind, id.and_then(Value::as_u64));
        }
        special
    }

    /// The id of a kind of token.
    pub(crate) fn id(&self, kind: &str) -> Option<u32> {
        let found = self.ids.iter().find(|(name, _)| *name == kind);
        found.map(|(_, id)| *id)
    }

    fn set_id(&mut self, kind: &'static str, id: Option<u64>) {
        if let Some(id) = id.and_then(|id| u32::try_from(id).ok())
            && self.id(kind).is_none()
        {
            self.ids.push((kind, id));
        }
    }

    fn set_add(&mut self, kind: &str, add: Option<bool>) {
        let flag = match kind {
            "bos" => &mut self.add_bos,
            _ => &mut self.add_eos,
        };
        *flag = flag.or(add);
    }

    /// The post-processor is what really adds tokens, so its word comes first.
    fn read_post_processor(&mut self, tokenizer: &Value, tokenizer_config: &Value) {
        let Some(post_processor) = tokenizer.get("post_processor") else {
            return;
        };
        let steps = match post_processor.get("processors").and_then(Value::as_array) {
            Some(steps) => steps.as_slice(),
            None => std::slice::from_ref(post_processor),
        };
        let bos = content(tokenizer_config.get("bos_token"));
        let eos = content(tokenizer_config.get("eos_token"));
        for step in steps {
            match step.get("type").and_then(Value::as_str) {
                Some("ByteLevel") => {
                    self.set_add("bos", Some(false));
                    self.set_add("eos", Some(false));
                }
                Some("TemplateProcessing") => {
                    let single = step.get("single").and_then(Value::as_array);
                    let Some(single) = single.filter(|single| single.len() > 1) else {
                        continue;
                    };
                    // Where no file names the token, the template's own is the one.
                    if let Some(first) = template_token(single.first()) {
                        self.add_bos = Some(bos.is_none_or(|bos| bos == first));
                        self.set_id("bos", template_id(step, first).filter(|_| bos.is_none()));
                    }
                    if let Some(last) = template_token(single.last()) {
                        self.add_eos = Some(eos.is_none_or(|eos| eos == last));
                        self.set_id("eos", template_id(step, last).filter(|_| eos.is_none()));
                    }
                }
                _ => {}
            }
        }
    }
}

/// A token is given as its text or as an object with a `content`.
fn content(token: Option<&Value>) -> Option<&str> {
    let token = token?;
    token
        .as_str()
        .or_else(|| token.get("content").and_then(Value::as_str))
}

fn template_token(part: Option<&Value>) -> Option<&str> {
    part?.get("SpecialToken")?.get("id")?.as_str()
}

fn template_id(step: &Value, token: &str) -> Option<u64> {
    step.get("special_tokens")?
        .get(token)?
        .get("ids")?
        .get(0)?
        .as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_begins_texts_whatever_the_byte_level_step_says() {
        let tokenizer = json!({
            "added_tokens": [{"id": 7, "content": "<b>"}, {"id": 8, "content": "<e>"}],
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "ByteLevel"},
                {"type": "TemplateProcessing", "single": [
                    {"SpecialToken": {"id": "<b>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ]},
            ]},
        });
        let config = json!({"bos_token": {"content": "<b>"}, "eos_token": "<e>"});
        let special = SpecialTokens::read(&tokenizer, &config, &json!({"eos_token_id": 9}));
        assert_eq!(special.ids, [("bos", 7), ("eos", 8)]);
        assert_eq!(
            (special.add_bos, special.add_eos),
            (Some(true), Some(false))
        );
    }

    #[test]
    fn config_json_fills_what_the_tokenizer_leaves_open() {
        let config = json!({"bos_token_id": 1, "eos_token_id": [2, 3]});
        let special = SpecialTokens::read(&json!({}), &json!({}), &config);
        assert_eq!(special.ids, [("bos", 1)]);
        assert_eq!((special.add_bos, special.add_eos), (None, None));
    }
}
