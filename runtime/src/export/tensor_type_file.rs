//! A plan as a list for `llama-quantize --tensor-type-file`.

use std::collections::BTreeMap;

use bitfront_model::{LayerKind, ModelSpec, Plan, Precision};

/// The file's text: one `pattern=type` a line.
///
/// Versions of `llama-quantize` disagree on whether the first or the last pattern that matches
/// counts, so every tensor matches exactly one: patterns are anchored and disjoint. Blocks that
/// share kind and precision share a line. The plan must be one of this model.
pub fn text(spec: &ModelSpec, plan: &Plan) -> String {
    let mut blocks = BTreeMap::<(LayerKind, Precision), Vec<u32>>::new();
    let mut lines = Vec::new();
    for (layer, &precision) in spec.layers.iter().zip(plan.precisions()) {
        match layer.block {
            None => lines.push(format!(r"^{}\.weight$={precision}", layer.name)),
            Some(block) => blocks
                .entry((layer.kind, precision))
                .or_default()
                .push(block),
        }
    }
    for ((kind, precision), blocks) in blocks {
        let blocks = blocks.iter().map(u32::to_string).collect::<Vec<_>>();
        lines.push(format!(
            r"^blk\.({})\.{kind}\.weight$={precision}",
            blocks.join("|")
        ));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitfront_model::{Architecture, Digest, Layer};
    use regex::Regex;

    use super::*;

    fn spec(blocks: u32) -> ModelSpec {
        let layer = |kind: LayerKind, block: Option<u32>| Layer {
            name: block.map_or(kind.to_string(), |block| format!("blk.{block}.{kind}")),
            kind,
            block,
            rows: 256,
            columns: 256,
            source: Precision::F16,
            tied: false,
        };
        let mut layers = vec![layer(LayerKind::TokenEmbedding, None)];
        for block in 0..blocks {
            layers.extend(
                LayerKind::ALL[1..8]
                    .iter()
                    .map(|&kind| layer(kind, Some(block))),
            );
        }
        layers.push(layer(LayerKind::Output, None));
        ModelSpec {
            name: "test".to_owned(),
            architecture: Architecture::Llama,
            blocks,
            hidden_size: 256,
            intermediate_size: 256,
            attention_heads: 4,
            key_value_heads: 4,
            head_size: 64,
            context_length: 256,
            vocabulary_size: 256,
            layers,
            fixed_bytes: 0,
            digest: Digest::of("test"),
        }
    }

    #[test]
    fn every_tensor_matches_exactly_one_line_with_the_precision_of_the_plan() {
        // More than ten blocks, so that one block's number begins another's.
        let spec = spec(23);
        let precisions = (0..spec.layers.len())
            .map(|index| Precision::ALL[index * 7 % Precision::ALL.len()])
            .collect::<Vec<_>>();
        let plan = Plan::new(&spec, precisions).unwrap();
        let text = text(&spec, &plan);
        let lines = text
            .lines()
            .map(|line| {
                let (pattern, name) = line.rsplit_once('=').unwrap();
                (
                    Regex::new(pattern).unwrap(),
                    name.parse::<Precision>().unwrap(),
                )
            })
            .collect::<Vec<_>>();
        for (layer, &precision) in spec.layers.iter().zip(plan.precisions()) {
            let name = layer.tensor_name();
            let matching = lines.iter().filter(|(pattern, _)| pattern.is_match(&name));
            let matching = matching
                .map(|(_, precision)| *precision)
                .collect::<Vec<_>>();
            assert_eq!(matching, [precision], "{name}");
        }
        assert!(!text.contains(' ') && !text.contains('#'));
    }

    #[test]
    fn blocks_that_agree_share_a_line() {
        let spec = spec(2);
        let plan = Plan::uniform(&spec, Precision::Q4K).unwrap();
        let text = text(&spec, &plan);
        assert_eq!(text.lines().count(), 9);
        assert!(
            text.contains("^blk\\.(0|1)\\.ffn_down\\.weight$=q4_k\n"),
            "{text}"
        );
        assert!(text.contains("^token_embd\\.weight$=q4_k\n"), "{text}");
    }
}
