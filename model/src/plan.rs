//! A precision for every layer.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{Digest, ModelSpec, Precision};

/// A precision for every layer of one model, in the spec's canonical order.
///
/// Read back it is checked against no shapes: that is for those who write and read it within one
/// device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan {
    precisions: Vec<Precision>,
}

/// A plan does not belong to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The number of precisions differs from the number of layers.
    #[error("the plan has {found} precisions but the model has {expected} layers")]
    Length {
        /// Layers of the model.
        expected: usize,
        /// Precisions of the plan.
        found: usize,
    },
    /// A row is not a whole number of blocks.
    #[error(
        "layer `{layer}` cannot be held in {precision}: its rows have {columns} weights, \
         which is not a multiple of {}", precision.block_size()
    )]
    DoesNotFit {
        /// The layer.
        layer: String,
        /// The precision asked for.
        precision: Precision,
        /// The length of a row.
        columns: u64,
    },
    /// The plan names no precision for a layer.
    #[error("the plan has no precision for layer `{0}`")]
    Missing(String),
    /// The plan names a layer that the model does not have.
    #[error("the plan names layer `{0}`, which the model does not have")]
    Unknown(String),
    /// The plan was made for other weights.
    #[error("the plan was made for model {plan}, this is model {model}")]
    OtherModel {
        /// The digest in the plan.
        plan: Digest,
        /// The digest of the model at hand.
        model: Digest,
    },
    /// The text is not a plan.
    #[error("not a plan: {0}")]
    Json(String),
}

/// How a plan is written to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// The model's name, for people.
    pub model: String,
    /// The digest of the weights that the plan is for.
    pub model_digest: Digest,
    /// The digest of the plan, to recognise it in listings.
    pub plan_digest: Digest,
    /// Exact bytes of the weights under the plan.
    pub size_bytes: u64,
    /// The imatrix used when quantizing; none where it was made without.
    pub imatrix_digest: Option<Digest>,
    /// The precision of every layer, by name.
    pub layers: BTreeMap<String, Precision>,
}

impl Plan {
    /// A plan from one precision a layer, checked against the shapes.
    pub fn new(spec: &ModelSpec, precisions: Vec<Precision>) -> Result<Self, PlanError> {
        if precisions.len() != spec.layers.len() {
            return Err(PlanError::Length {
                expected: spec.layers.len(),
                found: precisions.len(),
            });
        }
        for (layer, &precision) in spec.layers.iter().zip(&precisions) {
            if !precision.fits(layer.columns) {
                return Err(PlanError::DoesNotFit {
                    layer: layer.name.clone(),
                    precision,
                    columns: layer.columns,
                });
            }
        }
        Ok(Self { precisions })
    }

    /// The plan that holds every layer in one precision.
    pub fn uniform(spec: &ModelSpec, precision: Precision) -> Result<Self, PlanError> {
        Self::new(spec, vec![precision; spec.layers.len()])
    }

    /// The plan that holds every layer as its source does.
    pub fn source(spec: &ModelSpec) -> Result<Self, PlanError> {
        Self::new(spec, spec.layers.iter().map(|layer| layer.source).collect())
    }

    /// A plan from precisions by layer name; every layer must be named, and no other.
    pub fn from_names(
        spec: &ModelSpec,
        names: &BTreeMap<String, Precision>,
    ) -> Result<Self, PlanError> {
        let known: HashSet<_> = spec.layers.iter().map(|layer| &layer.name).collect();
        if let Some(name) = names.keys().find(|name| !known.contains(name)) {
            return Err(PlanError::Unknown(name.clone()));
        }
        let precisions = spec
            .layers
            .iter()
            .map(|layer| {
                names
                    .get(&layer.name)
                    .copied()
                    .ok_or_else(|| PlanError::Missing(layer.name.clone()))
            })
            .collect::<Result<_, _>>()?;
        Self::new(spec, precisions)
    }

    /// One precision a layer, in canonical order.
    pub fn precisions(&self) -> &[Precision] {
        &self.precisions
    }

    /// The precision that all layers share, where they do.
    pub fn uniform_precision(&self) -> Option<Precision> {
        let first = *self.precisions.first()?;
        self.precisions
            .iter()
            .all(|&precision| precision == first)
            .then_some(first)
    }

    /// The plan's name by content. Equal plans of one model have equal digests on every machine.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder().part("plan");
        for precision in &self.precisions {
            digest.add(precision.name());
        }
        digest.finish()
    }

    /// Exact bytes of all weights under this plan, without file metadata and padding.
    pub fn size_bytes(&self, spec: &ModelSpec) -> u64 {
        let layers: u64 = spec
            .layers
            .iter()
            .zip(&self.precisions)
            .filter_map(|(layer, precision)| precision.bytes(layer.rows, layer.columns))
            .sum();
        layers + spec.fixed_bytes
    }

    /// Mean bits per weight over the layers.
    pub fn bits_per_weight(&self, spec: &ModelSpec) -> f64 {
        let bits = (self.size_bytes(spec) - spec.fixed_bytes) * 8;
        bits as f64 / spec.parameters() as f64
    }

    /// The plan as it is written to a file.
    pub fn to_file(&self, spec: &ModelSpec, imatrix_digest: Option<Digest>) -> PlanFile {
        PlanFile {
            model: spec.name.clone(),
            model_digest: spec.digest,
            plan_digest: self.digest(),
            size_bytes: self.size_bytes(spec),
            imatrix_digest,
            layers: self.names(spec),
        }
    }

    /// Reads a plan file for this model.
    pub fn from_json(spec: &ModelSpec, text: &str) -> Result<Self, PlanError> {
        let file: PlanFile =
            serde_json::from_str(text).map_err(|error| PlanError::Json(error.to_string()))?;
        if file.model_digest != spec.digest {
            return Err(PlanError::OtherModel {
                plan: file.model_digest,
                model: spec.digest,
            });
        }
        Self::from_names(spec, &file.layers)
    }

    /// The precision of every layer, by name.
    pub fn names(&self, spec: &ModelSpec) -> BTreeMap<String, Precision> {
        spec.layers
            .iter()
            .zip(&self.precisions)
            .map(|(layer, &precision)| (layer.name.clone(), precision))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;

    #[test]
    fn sizes_are_exact() {
        let spec = spec();
        let plan = Plan::uniform(&spec, Precision::Q8_0).unwrap();
        let weights: u64 = spec.layers.iter().map(|layer| layer.parameters()).sum();
        assert_eq!(plan.size_bytes(&spec), weights / 32 * 34 + spec.fixed_bytes);
        assert!((plan.bits_per_weight(&spec) - 8.5).abs() < 1e-12);
        assert_eq!(plan.uniform_precision(), Some(Precision::Q8_0));
    }

    #[test]
    fn a_precision_that_does_not_fit_names_the_layer() {
        let spec = spec();
        let error = Plan::uniform(&spec, Precision::Q4K).unwrap_err();
        assert_eq!(
            error.to_string(),
            "layer `blk.0.ffn_down` cannot be held in q4_k: its rows have 96 weights, which is \
             not a multiple of 256"
        );
    }

    #[test]
    fn a_plan_file_reads_back_and_wrong_ones_say_why() {
        let spec = spec();
        let mut precisions = vec![Precision::Q4K; spec.layers.len()];
        precisions[2] = Precision::Q5_1;
        let plan = Plan::new(&spec, precisions).unwrap();
        let file = plan.to_file(&spec, None);
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(Plan::from_json(&spec, &json), Ok(plan.clone()));

        let mut missing = file.clone();
        missing.layers.remove("output");
        let mut unknown = file.clone();
        unknown
            .layers
            .insert("blk.9.attn_q".to_owned(), Precision::F16);
        let mut other = file.clone();
        other.model_digest = Digest::of("another model");
        for (file, expected) in [
            (missing, "the plan has no precision for layer `output`"),
            (
                unknown,
                "the plan names layer `blk.9.attn_q`, which the model does not have",
            ),
            (other, "the plan was made for model"),
        ] {
            let json = serde_json::to_string(&file).unwrap();
            let message = Plan::from_json(&spec, &json).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let broken = Plan::from_json(&spec, &json[..json.len() / 2]).unwrap_err();
        assert!(broken.to_string().starts_with("not a plan: "), "{broken}");
        let unknown_precision = json.replace("q5_1", "q5_7");
        let message = Plan::from_json(&spec, &unknown_precision)
            .unwrap_err()
            .to_string();
        assert!(message.contains("unknown precision `q5_7`"), "{message}");
    }

    #[test]
    fn the_digest_depends_on_every_layer() {
        let spec = spec();
        let base = Plan::uniform(&spec, Precision::Q8_0).unwrap();
        let digests: std::collections::HashSet<_> = (0..spec.layers.len())
            .map(|changed| {
                let mut precisions = base.precisions().to_vec();
                precisions[changed] = Precision::F16;
                Plan::new(&spec, precisions).unwrap().digest()
            })
            .chain([base.digest()])
            .collect();
        assert_eq!(digests.len(), spec.layers.len() + 1);
    }
}
