//! Model specs and plans.

use bitfront_model::{Layer, ModelSpec, Plan, SpecError};

use super::{ConvertError, messages, names, word, words};
use crate::v1;

impl TryFrom<v1::Layer> for Layer {
    type Error = ConvertError;

    fn try_from(wire: v1::Layer) -> Result<Self, Self::Error> {
        Ok(Self {
            kind: word("kind", &wire.kind)?,
            source: word("source", &wire.source)?,
            name: wire.name,
            block: wire.block,
            rows: wire.rows,
            columns: wire.columns,
            tied: wire.tied,
        })
    }
}

impl From<&Layer> for v1::Layer {
    fn from(layer: &Layer) -> Self {
        Self {
            name: layer.name.clone(),
            kind: layer.kind.to_string(),
            block: layer.block,
            rows: layer.rows,
            columns: layer.columns,
            source: layer.source.to_string(),
            tied: layer.tied,
        }
    }
}

impl TryFrom<v1::ModelSpec> for ModelSpec {
    type Error = ConvertError;

    /// Reads a spec that passes [`ModelSpec::check`]: sizes are summed all over, and must be
    /// countable before anything does so.
    fn try_from(wire: v1::ModelSpec) -> Result<Self, Self::Error> {
        let spec = Self {
            architecture: word("architecture", &wire.architecture)?,
            layers: messages("layers", wire.layers)?,
            digest: word("digest", &wire.digest)?,
            name: wire.name,
            blocks: wire.blocks,
            hidden_size: wire.hidden_size,
            intermediate_size: wire.intermediate_size,
            attention_heads: wire.attention_heads,
            key_value_heads: wire.key_value_heads,
            head_size: wire.head_size,
            context_length: wire.context_length,
            vocabulary_size: wire.vocabulary_size,
            fixed_bytes: wire.fixed_bytes,
        };
        spec.check().map_err(|error| {
            let field = match error {
                SpecError::Blocks { .. } => "blocks",
                SpecError::FixedBytes { .. } => "fixed_bytes",
                _ => "layers",
            };
            ConvertError::invalid(field, error)
        })?;
        Ok(spec)
    }
}

impl From<&ModelSpec> for v1::ModelSpec {
    fn from(spec: &ModelSpec) -> Self {
        Self {
            name: spec.name.clone(),
            architecture: spec.architecture.to_string(),
            blocks: spec.blocks,
            hidden_size: spec.hidden_size,
            intermediate_size: spec.intermediate_size,
            attention_heads: spec.attention_heads,
            key_value_heads: spec.key_value_heads,
            head_size: spec.head_size,
            context_length: spec.context_length,
            vocabulary_size: spec.vocabulary_size,
            layers: spec.layers.iter().map(Into::into).collect(),
            fixed_bytes: spec.fixed_bytes,
            digest: spec.digest.to_string(),
        }
    }
}

/// Reads a plan of a model; its precisions must fit the model's layers.
pub fn plan(wire: v1::Plan, spec: &ModelSpec) -> Result<Plan, ConvertError> {
    Plan::new(spec, words("precisions", &wire.precisions)?)
        .map_err(|error| ConvertError::invalid("precisions", error))
}

impl From<&Plan> for v1::Plan {
    fn from(plan: &Plan) -> Self {
        Self {
            precisions: names(plan.precisions()),
        }
    }
}
