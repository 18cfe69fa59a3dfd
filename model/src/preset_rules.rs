//! Which precision `llama-quantize` gives a tensor under a preset.
//!
//! Source: `llama_tensor_get_type_impl` and `tensor_type_fallback` in llama.cpp's
//! `src/llama-quant.cpp`, for dense models of the architectures in [`Architecture`].

use crate::{Architecture, Layer, LayerKind, ModelSpec, Precision, Preset};

/// The precision of `layer` under `preset`.
///
/// Layers of shapes that the chosen type does not fit fall back to a type with smaller blocks, as
/// in llama.cpp, and to `f16` where those do not fit either.
pub(crate) fn precision(preset: Preset, spec: &ModelSpec, layer: &Layer) -> Precision {
    let chosen = match layer.kind {
        LayerKind::Output => head(preset, layer),
        LayerKind::TokenEmbedding if layer.tied => head(preset, layer),
        LayerKind::AttentionValue => value(preset, spec, layer),
        LayerKind::AttentionOutput => match preset {
            Preset::Q2K => Precision::Q3K,
            Preset::Q3KM => Precision::Q4K,
            _ => base(preset),
        },
        LayerKind::FeedForwardDown => down(preset, spec, layer),
        LayerKind::TokenEmbedding
        | LayerKind::AttentionQuery
        | LayerKind::AttentionKey
        | LayerKind::FeedForwardGate
        | LayerKind::FeedForwardUp => base(preset),
    };
    fallback(chosen, layer.columns)
}

/// The precision that a preset is named for.
fn base(preset: Preset) -> Precision {
    match preset {
        Preset::Q2K => Precision::Q2K,
        Preset::Q3KS | Preset::Q3KM => Precision::Q3K,
        Preset::Q4KS | Preset::Q4KM => Precision::Q4K,
        Preset::Q5KM => Precision::Q5K,
        Preset::Q6K => Precision::Q6K,
        Preset::Q8_0 => Precision::Q8_0,
    }
}

fn head(preset: Preset, layer: &Layer) -> Precision {
    let base = base(preset);
    if base == Precision::Q8_0 || !base.fits(layer.columns) {
        Precision::Q8_0
    } else {
        Precision::Q6K
    }
}

fn value(preset: Preset, spec: &ModelSpec, layer: &Layer) -> Precision {
    let block = layer.block.unwrap_or(0);
    let heads_per_key_value = spec.attention_heads / spec.key_value_heads.max(1);
    let chosen = match preset {
        Preset::Q2K if heads_per_key_value >= 4 => Precision::Q4K,
        Preset::Q2K => Precision::Q3K,
        Preset::Q3KM if block < 2 => Precision::Q5K,
        Preset::Q3KM => Precision::Q4K,
        Preset::Q4KS if block < 4 => Precision::Q5K,
        Preset::Q4KM | Preset::Q5KM if use_more_bits(block, spec.blocks) => Precision::Q6K,
        _ => base(preset),
    };
    // llama.cpp takes a model of 80 blocks for a 70 B one, whose values are shared by eight heads
    // and therefore worth more bits; a Llama of 80 blocks without shared heads is the 65 B one.
    let is_70b = spec.blocks == 80
        && match spec.architecture {
            Architecture::Llama | Architecture::Mistral => {
                spec.attention_heads != spec.key_value_heads
            }
            Architecture::Qwen2 => true,
            Architecture::Qwen3 => false,
        };
    if is_70b && matches!(chosen, Precision::Q3K | Precision::Q4K) {
        Precision::Q5K
    } else {
        chosen
    }
}

fn down(preset: Preset, spec: &ModelSpec, layer: &Layer) -> Precision {
    let block = layer.block.unwrap_or(0);
    match preset {
        Preset::Q2K => Precision::Q3K,
        Preset::Q3KM if block < spec.blocks / 16 => Precision::Q5K,
        Preset::Q3KM => Precision::Q4K,
        Preset::Q4KM | Preset::Q5KM if use_more_bits(block, spec.blocks) => Precision::Q6K,
        Preset::Q4KS if block < spec.blocks / 8 => Precision::Q5K,
        _ => base(preset),
    }
}

/// True for the first and the last eighth of the blocks and every third one between.
fn use_more_bits(block: u32, blocks: u32) -> bool {
    let eighth = blocks / 8;
    block < eighth || block >= 7 * blocks / 8 || (block - eighth) % 3 == 2
}

fn fallback(chosen: Precision, columns: u64) -> Precision {
    if chosen.fits(columns) {
        return chosen;
    }
    let smaller = match chosen {
        Precision::Q2K | Precision::Q3K => Precision::Q4_0,
        Precision::Q4K => Precision::Q5_0,
        Precision::Q5K => Precision::Q5_1,
        Precision::Q6K => Precision::Q8_0,
        other => other,
    };
    if smaller.fits(columns) {
        smaller
    } else {
        Precision::F16
    }
}
