//! A small model and requests about it.

use std::path::Path;

use bitfront_model::{
    Architecture, Budget, DataSpec, Digest, EarlyStop, Grouping, HeldBack, ImatrixSource, Layer,
    LayerKind, Limits, Manifest, ModelSource, ModelSpec, Objective, Precision, Prior,
    SearchRequest, StrategyName, Subject,
};
use tempfile::TempDir;

/// A folder with the files that a subject names. A scripted runtime never looks into them; that
/// they are there is what an agent checks.
pub fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.gguf", "evaluation.txt"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    folder
}

/// A Llama of two blocks whose rows every precision fits.
pub fn spec() -> ModelSpec {
    let layer = |block: Option<u32>, kind: LayerKind| Layer {
        name: match block {
            Some(block) => format!("blk.{block}.{kind}"),
            None => kind.to_string(),
        },
        kind,
        block,
        rows: 512,
        columns: 512,
        source: Precision::Bf16,
        tied: false,
    };
    let in_blocks = [
        LayerKind::AttentionQuery,
        LayerKind::AttentionKey,
        LayerKind::AttentionValue,
        LayerKind::AttentionOutput,
        LayerKind::FeedForwardGate,
        LayerKind::FeedForwardUp,
        LayerKind::FeedForwardDown,
    ];
    let mut layers = vec![layer(None, LayerKind::TokenEmbedding)];
    for block in 0..2 {
        layers.extend(in_blocks.map(|kind| layer(Some(block), kind)));
    }
    layers.push(layer(None, LayerKind::Output));
    ModelSpec {
        name: "scripted-llama".to_owned(),
        architecture: Architecture::Llama,
        blocks: 2,
        hidden_size: 512,
        intermediate_size: 512,
        attention_heads: 8,
        key_value_heads: 8,
        head_size: 64,
        context_length: 256,
        vocabulary_size: 512,
        layers,
        fixed_bytes: 2560 * 4,
        digest: Digest::of("scripted-llama"),
    }
}

/// A request for so many evaluations of the model in a folder of [`files`].
pub fn request(folder: &Path, evaluations: u64) -> SearchRequest {
    let spec = spec();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    SearchRequest {
        subject: Subject {
            model: ModelSource {
                path: path("model.gguf"),
                tokenizer_path: None,
                digest: spec.digest,
            },
            data: DataSpec {
                evaluation_path: path("evaluation.txt"),
                calibration_path: None,
                context: 256,
                evaluation_windows: 6,
                calibration_windows: 0,
                evaluation_digest: Digest::of("evaluation"),
                calibration_digest: Digest::of("calibration"),
                held_back: Some(HeldBack {
                    windows: 6,
                    digest: Digest::of("held back"),
                }),
            },
            imatrix: ImatrixSource::None,
            manifest: Manifest::default(),
        },
        spec,
        device: None,
        objectives: vec![Objective::Kld, Objective::Decode, Objective::Size],
        limits: Limits::default(),
        budget: Budget {
            evaluations: Some(evaluations),
            time: None,
        },
        precisions: vec![
            Precision::Q8_0,
            Precision::Q6K,
            Precision::Q5K,
            Precision::Q4K,
            Precision::Q3K,
            Precision::Q2K,
        ],
        grouping: Grouping::Tensor,
        strategy: StrategyName::Nsga2,
        workloads: vec![
            "prefill@64".parse().unwrap(),
            "decode@32x16".parse().unwrap(),
        ],
        seed: 7,
        staged: true,
        retimings: true,
        early_stop: EarlyStop::default(),
        start_from: None,
        prior: Prior::Swaps,
        shares: false,
        joint: None,
    }
}
