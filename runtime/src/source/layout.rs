//! Which tensors a model of a known architecture has, and their shapes.

use bitfront_model::{Architecture, LayerKind};
use serde::Serialize;

use super::{FixedTensor, HyperParameters};

/// The sizes that the shapes of all tensors follow from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Sizes {
    pub(crate) architecture: Architecture,
    pub(crate) blocks: u32,
    pub(crate) hidden: u64,
    pub(crate) intermediate: u64,
    pub(crate) heads: u32,
    pub(crate) key_value_heads: u32,
    pub(crate) head_size: u64,
    pub(crate) context: u64,
    pub(crate) vocabulary: u64,
}

impl Sizes {
    /// Says which size is impossible, by the name that `hugging_face` or GGUF users know.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let sizes = [
            ("number of blocks", u64::from(self.blocks)),
            ("hidden size", self.hidden),
            ("intermediate size", self.intermediate),
            ("number of attention heads", self.heads.into()),
            ("number of key/value heads", self.key_value_heads.into()),
            ("head size", self.head_size),
            ("context length", self.context),
            ("vocabulary size", self.vocabulary),
        ];
        for (name, size) in sizes {
            // With every size below 2^32 no product of two can overflow.
            if size == 0 || size > u64::from(u32::MAX) {
                return Err((name, format!("is {size}")));
            }
        }
        if !self.heads.is_multiple_of(self.key_value_heads) {
            return Err((
                "number of attention heads",
                format!(
                    "is {}, which is not a multiple of the {} key/value heads",
                    self.heads, self.key_value_heads
                ),
            ));
        }
        if !self.head_size.is_multiple_of(2) {
            return Err(("head size", format!("is {}, which is odd", self.head_size)));
        }
        Ok(())
    }

    pub(crate) fn query_width(&self) -> u64 {
        u64::from(self.heads) * self.head_size
    }

    pub(crate) fn key_value_width(&self) -> u64 {
        u64::from(self.key_value_heads) * self.head_size
    }
}

/// True where GGUF files of the architecture hold the rows of query and key in the order of
/// Meta's checkpoints.
pub(crate) fn permutes(architecture: Architecture) -> bool {
    matches!(architecture, Architecture::Llama | Architecture::Mistral)
}

/// A layer's place and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerShape {
    pub(crate) name: String,
    pub(crate) kind: LayerKind,
    pub(crate) block: Option<u32>,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
}

/// The layers in canonical order.
pub(crate) fn layers(sizes: &Sizes, tied: bool) -> Vec<LayerShape> {
    let mut layers = vec![layer(sizes, LayerKind::TokenEmbedding, None)];
    for block in 0..sizes.blocks {
        for kind in LayerKind::ALL {
            if !matches!(kind, LayerKind::TokenEmbedding | LayerKind::Output) {
                layers.push(layer(sizes, kind, Some(block)));
            }
        }
    }
    if !tied {
        layers.push(layer(sizes, LayerKind::Output, None));
    }
    layers
}

fn layer(sizes: &Sizes, kind: LayerKind, block: Option<u32>) -> LayerShape {
    let (rows, columns) = match kind {
        LayerKind::TokenEmbedding | LayerKind::Output => (sizes.vocabulary, sizes.hidden),
        LayerKind::AttentionQuery => (sizes.query_width(), sizes.hidden),
        LayerKind::AttentionKey | LayerKind::AttentionValue => {
            (sizes.key_value_width(), sizes.hidden)
        }
        LayerKind::AttentionOutput => (sizes.hidden, sizes.query_width()),
        LayerKind::FeedForwardGate | LayerKind::FeedForwardUp => (sizes.intermediate, sizes.hidden),
        LayerKind::FeedForwardDown => (sizes.hidden, sizes.intermediate),
    };
    let name = match block {
        Some(block) => format!("blk.{block}.{kind}"),
        None => kind.to_string(),
    };
    LayerShape {
        name,
        kind,
        block,
        rows,
        columns,
    }
}

/// The RoPE factors' name.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The tensors without a precision of their own, blocks ascending.
pub(crate) fn fixed(sizes: &Sizes, hyper: &HyperParameters) -> Vec<FixedTensor> {
    let mut tensors = Vec::new();
    let mut push = |name: String, length: u64| tensors.push(FixedTensor { name, length });
    for block in 0..sizes.blocks {
        push(format!("blk.{block}.attn_norm.weight"), sizes.hidden);
        if hyper.query_key_norm {
            push(format!("blk.{block}.attn_q_norm.weight"), sizes.head_size);
            push(format!("blk.{block}.attn_k_norm.weight"), sizes.head_size);
        }
        if hyper.query_key_value_bias {
            push(format!("blk.{block}.attn_q.bias"), sizes.query_width());
            push(format!("blk.{block}.attn_k.bias"), sizes.key_value_width());
            push(format!("blk.{block}.attn_v.bias"), sizes.key_value_width());
        }
        if hyper.attention_output_bias {
            push(format!("blk.{block}.attn_output.bias"), sizes.hidden);
        }
        push(format!("blk.{block}.ffn_norm.weight"), sizes.hidden);
    }
    push("output_norm.weight".to_owned(), sizes.hidden);
    if hyper.rope_scaling.is_factors() {
        push(ROPE_FACTORS.to_owned(), sizes.head_size / 2);
    }
    tensors
}

/// The name that Hugging Face gives to a tensor with a GGUF name.
pub(crate) fn hugging_face_name(name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let stem = match stem {
        "token_embd" => "model.embed_tokens".to_owned(),
        "output_norm" => "model.norm".to_owned(),
        "output" => "lm_head".to_owned(),
        _ => {
            let (block, part) = stem.strip_prefix("blk.")?.split_once('.')?;
            let part = match part {
                "attn_norm" => "input_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "attn_q_norm" => "self_attn.q_norm",
                "attn_k_norm" => "self_attn.k_norm",
                "ffn_norm" => "post_attention_layernorm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            format!("model.layers.{block}.{part}")
        }
    };
    Some(format!("{stem}.{suffix}"))
}
