//! A model without a file, whose values are drawn: a Llama with grouped queries.

use std::borrow::Cow;
use std::path::Path;

use bitfront_model::{Architecture, Digest, Layer, LayerKind, ModelSpec, Precision};
use bitfront_runtime::error::SourceError;
use bitfront_runtime::source::{
    FixedTensor, HyperParameters, Origin, RopeScaling, Source, Weights,
};
use serde_json::Value;

/// A Llama as wide and deep as asked for, with heads of 64 values, four queries to a key.
pub(crate) struct Drawn {
    spec: ModelSpec,
    hyper: HyperParameters,
    config: Value,
}

impl Drawn {
    /// Tokens of its vocabulary.
    pub(crate) const VOCABULARY: u64 = 32_000;
    const HEAD: u64 = 64;
    const QUERIES_TO_A_KEY: u64 = 4;

    /// A model of this width, a multiple of 256, with this many blocks.
    pub(crate) fn new(width: usize, blocks: usize) -> Self {
        let (width, blocks) = (width as u64, blocks as u32);
        let heads = width / Self::HEAD;
        let key_value_width = width / Self::QUERIES_TO_A_KEY;
        // As in Llama: two thirds of four times the width, up to a multiple of 256.
        let inner = (width * 8 / 3).next_multiple_of(256);
        let layer = |block: Option<u32>, kind: LayerKind, name: &str, shape: (u64, u64)| Layer {
            name: match block {
                Some(block) => format!("blk.{block}.{name}"),
                None => name.to_owned(),
            },
            kind,
            block,
            rows: shape.0,
            columns: shape.1,
            source: Precision::F32,
            tied: false,
        };
        let mut layers = Vec::new();
        let table = (Self::VOCABULARY, width);
        layers.push(layer(None, LayerKind::TokenEmbedding, "token_embd", table));
        for block in 0..blocks {
            for (kind, name, shape) in [
                (LayerKind::AttentionQuery, "attn_q", (width, width)),
                (LayerKind::AttentionKey, "attn_k", (key_value_width, width)),
                (
                    LayerKind::AttentionValue,
                    "attn_v",
                    (key_value_width, width),
                ),
                (LayerKind::AttentionOutput, "attn_output", (width, width)),
                (LayerKind::FeedForwardGate, "ffn_gate", (inner, width)),
                (LayerKind::FeedForwardUp, "ffn_up", (inner, width)),
                (LayerKind::FeedForwardDown, "ffn_down", (width, inner)),
            ] {
                layers.push(layer(Some(block), kind, name, shape));
            }
        }
        layers.push(layer(None, LayerKind::Output, "output", table));
        Self {
            spec: ModelSpec {
                name: "drawn".to_owned(),
                architecture: Architecture::Llama,
                blocks,
                hidden_size: width,
                intermediate_size: inner,
                attention_heads: heads as u32,
                key_value_heads: (heads / Self::QUERIES_TO_A_KEY) as u32,
                head_size: Self::HEAD,
                context_length: 4096,
                vocabulary_size: Self::VOCABULARY,
                layers,
                fixed_bytes: 0,
                digest: Digest::of(format!("drawn {width} {blocks}")),
            },
            hyper: HyperParameters {
                norm_epsilon: 1e-5,
                rope_theta: 10_000.0,
                rope_scaling: RopeScaling::Default,
                head_size: Self::HEAD as usize,
                attention_heads: heads as usize,
                key_value_heads: (heads / Self::QUERIES_TO_A_KEY) as usize,
                query_key_value_bias: false,
                attention_output_bias: false,
                query_key_norm: false,
                tied: false,
                bos_token: None,
                eos_tokens: Vec::new(),
            },
            config: Value::Null,
        }
    }
}

impl Source for Drawn {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn hyper(&self) -> &HyperParameters {
        &self.hyper
    }

    fn layer(&self, index: usize) -> Result<Weights, SourceError> {
        let layer = &self.spec.layers[index];
        let (rows, columns) = (layer.rows as usize, layer.columns as usize);
        Ok(Weights {
            rows,
            columns,
            values: values(rows * columns, index as u64),
        })
    }

    fn stored(&self, index: usize) -> Result<Cow<'_, [u8]>, SourceError> {
        let values = self.layer(index)?.values;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Ok(Cow::Owned(bytes.collect()))
    }

    fn fixed_tensors(&self) -> &[FixedTensor] {
        &[]
    }

    /// Every norm leaves its values as they are.
    fn fixed(&self, _name: &str) -> Result<Option<Vec<f32>>, SourceError> {
        Ok(Some(vec![1.0; self.spec.hidden_size as usize]))
    }

    fn origin(&self) -> Origin<'_> {
        Origin::HuggingFace {
            directory: Path::new("/"),
            config: &self.config,
        }
    }
}

/// Values around nought, as those of layers.
pub(crate) fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| (random.f32() - 0.5) * 0.05).collect()
}
