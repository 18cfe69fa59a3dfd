//! The presets against what `llama-quantize` really gave every tensor: 24 models of several
//! depths, head counts and row lengths. `runtime/tests/golden/make_presets.py` made the table.

use std::collections::BTreeMap;
use std::path::Path;

use bitfront_model::{Architecture, Digest, Layer, LayerKind, ModelSpec, Precision, Preset};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    models: BTreeMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    hyperparameters: HyperParameters,
    presets: BTreeMap<String, Quantized>,
}

#[derive(Deserialize)]
struct HyperParameters {
    arch: Architecture,
    n_layer: u32,
    n_head: u32,
    n_kv: u32,
    hidden: u64,
    intermediate: u64,
    vocab: u64,
    tied: bool,
    head_dim: u64,
}

#[derive(Deserialize)]
struct Quantized {
    tensors: BTreeMap<String, Precision>,
}

fn spec(name: &str, hyper: &HyperParameters) -> ModelSpec {
    let layer = |kind: LayerKind, block: Option<u32>| {
        let heads = u64::from(hyper.n_head) * hyper.head_dim;
        let key_value_heads = u64::from(hyper.n_kv) * hyper.head_dim;
        let (rows, columns) = match kind {
            LayerKind::TokenEmbedding | LayerKind::Output => (hyper.vocab, hyper.hidden),
            LayerKind::AttentionQuery => (heads, hyper.hidden),
            LayerKind::AttentionKey | LayerKind::AttentionValue => (key_value_heads, hyper.hidden),
            LayerKind::AttentionOutput => (hyper.hidden, heads),
            LayerKind::FeedForwardGate | LayerKind::FeedForwardUp => {
                (hyper.intermediate, hyper.hidden)
            }
            LayerKind::FeedForwardDown => (hyper.hidden, hyper.intermediate),
        };
        Layer {
            name: match block {
                Some(block) => format!("blk.{block}.{kind}"),
                None => kind.to_string(),
            },
            kind,
            block,
            rows,
            columns,
            source: Precision::F16,
            tied: kind == LayerKind::TokenEmbedding && hyper.tied,
        }
    };
    let mut layers = vec![layer(LayerKind::TokenEmbedding, None)];
    for block in 0..hyper.n_layer {
        layers.extend(
            LayerKind::ALL[1..8]
                .iter()
                .map(|&kind| layer(kind, Some(block))),
        );
    }
    if !hyper.tied {
        layers.push(layer(LayerKind::Output, None));
    }
    ModelSpec {
        name: name.to_owned(),
        architecture: hyper.arch,
        blocks: hyper.n_layer,
        hidden_size: hyper.hidden,
        intermediate_size: hyper.intermediate,
        attention_heads: hyper.n_head,
        key_value_heads: hyper.n_kv,
        head_size: hyper.head_dim,
        context_length: 256,
        vocabulary_size: hyper.vocab,
        layers,
        fixed_bytes: 0,
        digest: Digest::of(name),
    }
}

#[test]
fn every_preset_gives_every_tensor_what_llama_quantize_gives_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/golden/presets.json");
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (name, model) in &golden.models {
        let spec = spec(name, &model.hyperparameters);
        for preset in Preset::ALL {
            let ours = preset.plan(&spec).unwrap().names(&spec);
            let theirs = &model.presets[preset.name()].tensors;
            assert_eq!(ours.len(), theirs.len(), "{name} {preset}");
            for (layer, precision) in ours {
                let expected = theirs[&format!("{layer}.weight")];
                compared += 1;
                if precision != expected {
                    wrong.push(format!(
                        "{name} {preset} {layer}: {precision}, not {expected}"
                    ));
                }
            }
        }
    }
    assert!(compared > 10_000, "only {compared} tensors were compared");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
