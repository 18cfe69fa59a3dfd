//! What a model file says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, Precision};

/// A decoder architecture whose forward pass is implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// `LlamaForCausalLM`; GGUF `llama`.
    Llama,
    /// `MistralForCausalLM`; GGUF `llama`, since llama.cpp does not tell the two apart.
    Mistral,
    /// `Qwen2ForCausalLM`; GGUF `qwen2`. Query, key and value carry a bias.
    Qwen2,
    /// `Qwen3ForCausalLM`; GGUF `qwen3`. Query and key heads are normalised.
    Qwen3,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The text names no known architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture `{0}`; known are llama, mistral, qwen2, qwen3")]
pub struct UnknownArchitecture(pub String);

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.name() == text)
            .ok_or_else(|| UnknownArchitecture(text.to_owned()))
    }
}

/// What a layer does in its block; the last part of its name says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    /// `token_embd`: looked up, and multiplied as well where the output is tied to it.
    TokenEmbedding,
    /// `attn_q`.
    AttentionQuery,
    /// `attn_k`.
    AttentionKey,
    /// `attn_v`.
    AttentionValue,
    /// `attn_output`.
    AttentionOutput,
    /// `ffn_gate`.
    FeedForwardGate,
    /// `ffn_up`.
    FeedForwardUp,
    /// `ffn_down`.
    FeedForwardDown,
    /// `output`: the head over the vocabulary.
    Output,
}

impl LayerKind {
    /// Every kind, in the canonical order of the layers of a model.
    pub const ALL: [Self; 9] = [
        Self::TokenEmbedding,
        Self::AttentionQuery,
        Self::AttentionKey,
        Self::AttentionValue,
        Self::AttentionOutput,
        Self::FeedForwardGate,
        Self::FeedForwardUp,
        Self::FeedForwardDown,
        Self::Output,
    ];

    /// The GGUF name without block and `.weight`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenEmbedding => "token_embd",
            Self::AttentionQuery => "attn_q",
            Self::AttentionKey => "attn_k",
            Self::AttentionValue => "attn_v",
            Self::AttentionOutput => "attn_output",
            Self::FeedForwardGate => "ffn_gate",
            Self::FeedForwardUp => "ffn_up",
            Self::FeedForwardDown => "ffn_down",
            Self::Output => "output",
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for LayerKind {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| SpecError::Kind(text.to_owned()))
    }
}

/// What one stored tensor is used for; a tied embedding has two roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Rows are looked up by token.
    Lookup,
    /// The matrix is multiplied.
    MatMul,
}

/// One weight matrix that can be held in a precision of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The GGUF name without `.weight`: `blk.3.ffn_down`, `token_embd`, `output`.
    pub name: String,
    /// What it does.
    pub kind: LayerKind,
    /// The block it belongs to; none for embedding and output.
    pub block: Option<u32>,
    /// Output features (rows of the stored matrix).
    pub rows: u64,
    /// Input features (length of a row); precisions must fit this.
    pub columns: u64,
    /// The precision it is stored in at the source.
    pub source: Precision,
    /// True for `token_embd` where the output head shares its weights.
    pub tied: bool,
}

impl Layer {
    /// The GGUF name of the tensor.
    pub fn tensor_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// What the tensor is used for.
    pub fn roles(&self) -> &'static [Role] {
        match (self.kind, self.tied) {
            (LayerKind::TokenEmbedding, false) => &[Role::Lookup],
            (LayerKind::TokenEmbedding, true) => &[Role::Lookup, Role::MatMul],
            _ => &[Role::MatMul],
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.rows * self.columns
    }

    /// Floating-point operations for one token: two per weight where the matrix is multiplied.
    pub fn flops_per_token(&self) -> u64 {
        if self.roles().contains(&Role::MatMul) {
            2 * self.parameters()
        } else {
            0
        }
    }

    /// The precisions that its shape allows, from most to fewest bits.
    pub fn fitting(&self) -> impl Iterator<Item = Precision> + '_ {
        Precision::ALL
            .into_iter()
            .filter(|precision| precision.fits(self.columns))
    }
}

/// What a model file says: its layers and what the search and the plots need to know of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// A short name for people: the folder's or the file's.
    pub name: String,
    /// The architecture.
    pub architecture: Architecture,
    /// Number of blocks.
    pub blocks: u32,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the feed-forward part.
    pub intermediate_size: u64,
    /// Query heads.
    pub attention_heads: u32,
    /// Key and value heads; fewer than query heads is grouped-query attention.
    pub key_value_heads: u32,
    /// Width of one head.
    pub head_size: u64,
    /// The longest context the model was made for, in tokens.
    pub context_length: u64,
    /// Rows of the embedding.
    pub vocabulary_size: u64,
    /// Every layer, in canonical order: embedding, blocks ascending with the kinds in
    /// [`LayerKind::ALL`]'s order, output.
    pub layers: Vec<Layer>,
    /// Bytes of all that has no precision of its own (norms, biases, RoPE factors), held in `f32`.
    pub fixed_bytes: u64,
    /// The digest of the weights and the hyper-parameters: of the file's content, not its path.
    pub digest: Digest,
}

/// A model spec, or a part of it, is not sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A kind of layer that is not known.
    #[error("unknown kind of layer `{0}`")]
    Kind(String),
    /// There is nothing to search.
    #[error("model `{0}` has no layers")]
    Empty(String),
    /// Two layers have one name.
    #[error("layer `{0}` is listed twice")]
    Duplicate(String),
    /// The layers belong to other blocks than the model says it has.
    #[error("`blocks` is {blocks}, but the layers are of {found} (the last is `{layer}`)")]
    Blocks {
        /// What the spec says.
        blocks: u32,
        /// One above the greatest block of a layer.
        found: u64,
        /// A layer of that block.
        layer: String,
    },
    /// Sizes that cannot be counted.
    #[error("`fixed_bytes` is {fixed_bytes}, with the layers more than can be counted")]
    FixedBytes {
        /// What the spec says.
        fixed_bytes: u64,
    },
    /// A matrix without weights, or one with more than can be counted.
    #[error("layer `{layer}` has the impossible shape {rows} × {columns}")]
    Shape {
        /// Its name.
        layer: String,
        /// Its rows.
        rows: u64,
        /// Its columns.
        columns: u64,
    },
}

impl ModelSpec {
    /// Checks what every consumer relies on: there are layers, their names are unique, they are of
    /// the blocks that the model has, and all sizes can be counted in bits.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.layers.is_empty() {
            return Err(SpecError::Empty(self.name.clone()));
        }
        let mut names = std::collections::HashSet::new();
        let mut total = 0u64;
        for layer in &self.layers {
            let bytes = Precision::F32.bytes(layer.rows, layer.columns);
            match bytes.and_then(|bytes| total.checked_add(bytes)) {
                Some(sum) if layer.rows > 0 => total = sum,
                _ => {
                    return Err(SpecError::Shape {
                        layer: layer.name.clone(),
                        rows: layer.rows,
                        columns: layer.columns,
                    });
                }
            }
            if !names.insert(&layer.name) {
                return Err(SpecError::Duplicate(layer.name.clone()));
            }
        }
        let bits = total
            .checked_add(self.fixed_bytes)
            .and_then(|bytes| bytes.checked_mul(8));
        if bits.is_none() {
            return Err(SpecError::FixedBytes {
                fixed_bytes: self.fixed_bytes,
            });
        }
        let in_blocks = self.layers.iter().filter(|layer| layer.block.is_some());
        let last = in_blocks.max_by_key(|layer| layer.block);
        let found = last
            .and_then(|layer| layer.block)
            .map_or(0, |block| u64::from(block) + 1);
        if found != u64::from(self.blocks) {
            return Err(SpecError::Blocks {
                blocks: self.blocks,
                found,
                layer: last.map_or_else(String::new, |layer| layer.name.clone()),
            });
        }
        Ok(())
    }

    /// Number of weights in the layers.
    pub fn parameters(&self) -> u64 {
        self.layers.iter().map(Layer::parameters).sum()
    }

    /// True where the output head shares the embedding's weights.
    pub fn is_tied(&self) -> bool {
        self.layers.iter().any(|layer| layer.tied)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A model of one block whose down projection holds no K-quant.
    pub(crate) fn spec() -> ModelSpec {
        let layer = |name: &str, kind, block, rows, columns| Layer {
            name: name.to_owned(),
            kind,
            block,
            rows,
            columns,
            source: Precision::F32,
            tied: false,
        };
        ModelSpec {
            name: "tiny".to_owned(),
            architecture: Architecture::Llama,
            blocks: 1,
            hidden_size: 256,
            intermediate_size: 96,
            attention_heads: 4,
            key_value_heads: 2,
            head_size: 64,
            context_length: 64,
            vocabulary_size: 128,
            layers: vec![
                layer("token_embd", LayerKind::TokenEmbedding, None, 128, 256),
                layer("blk.0.attn_q", LayerKind::AttentionQuery, Some(0), 256, 256),
                layer(
                    "blk.0.ffn_down",
                    LayerKind::FeedForwardDown,
                    Some(0),
                    256,
                    96,
                ),
                layer("output", LayerKind::Output, None, 128, 256),
            ],
            fixed_bytes: 3 * 256 * 4,
            digest: Digest::of("tiny"),
        }
    }

    #[test]
    fn only_multiplied_layers_cost_operations() {
        let spec = spec();
        assert_eq!(spec.layers[0].flops_per_token(), 0);
        assert_eq!(spec.layers[1].flops_per_token(), 2 * 256 * 256);
        let tied = Layer {
            tied: true,
            ..spec.layers[0].clone()
        };
        assert_eq!(tied.roles(), [Role::Lookup, Role::MatMul]);
        assert_eq!(tied.flops_per_token(), 2 * 128 * 256);
    }

    #[test]
    fn unsound_specs_are_refused_by_layer() {
        let sound = spec();
        assert_eq!(sound.check(), Ok(()));
        let changed = |change: &dyn Fn(&mut ModelSpec)| {
            let mut spec = sound.clone();
            change(&mut spec);
            spec.check().unwrap_err().to_string()
        };
        type Change<'a> = &'a dyn Fn(&mut ModelSpec);
        let cases: [(&str, Change<'_>); 8] = [
            ("model `tiny` has no layers", &|spec| spec.layers.clear()),
            ("layer `output` is listed twice", &|spec| {
                spec.layers[0].name = "output".to_owned();
            }),
            ("layer `output` has the impossible shape 0 × 256", &|spec| {
                spec.layers[3].rows = 0;
            }),
            ("layer `blk.0.attn_q` has the impossible shape", &|spec| {
                spec.layers[1].rows = u64::MAX;
            }),
            (
                "`fixed_bytes` is 18446744073709551615, with the layers",
                &|spec| spec.fixed_bytes = u64::MAX,
            ),
            ("`fixed_bytes` is 2305843009213693951", &|spec| {
                // Its bytes can be counted and its bits cannot.
                spec.fixed_bytes = u64::MAX / 8;
            }),
            (
                "`blocks` is 4294967295, but the layers are of 1 ",
                &|spec| {
                    spec.blocks = u32::MAX;
                },
            ),
            (
                "`blocks` is 1, but the layers are of 4294967296 ",
                &|spec| {
                    spec.layers[1].block = Some(u32::MAX);
                },
            ),
        ];
        for (expected, change) in cases {
            let message = changed(change);
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
