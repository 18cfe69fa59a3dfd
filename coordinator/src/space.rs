//! Where genes meet meaning, and the only file where they do: which layers share a gene, which
//! precisions its alleles are, and the way between genomes and plans.

use std::collections::{HashMap, HashSet};

use bitfront_model::{
    Exclusion, Grouping, Layer, LayerKind, ModelSpec, Plan, PlanError, Precision, SearchRequest,
    Shape,
};
use bitfront_search::space::{Genome, GenomeError, Space};

use crate::intake::listed;
use crate::store::StoredCandidate;

/// Layers that always have the same precision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gene {
    /// For people: `blk.0.attention`, `ffn_down`, `token_embd`.
    pub(crate) name: String,
    /// Positions of the layers in the spec.
    layers: Vec<usize>,
    /// From most to fewest bits: a step to the next number is a small change, which is what the
    /// strategies expect.
    alleles: Vec<Precision>,
}

/// The plans that a search can propose.
#[derive(Debug, Clone)]
pub(crate) struct SearchSpace {
    genes: Vec<Gene>,
    space: Space,
}

/// There is no space to search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpaceError {
    /// A gene cannot take any value.
    #[error(
        "none of the precisions {} can hold `{gene}`, whose rows have {columns} weights; \
         the precisions that can are {}",
        names(precisions),
        names(fitting)
    )]
    NoAllele {
        /// The gene.
        gene: String,
        /// The lengths of its layers' rows.
        columns: String,
        /// What was allowed.
        precisions: Vec<Precision>,
        /// What would fit.
        fitting: Vec<Precision>,
    },
    /// The genes make no space.
    #[error(transparent)]
    Space(#[from] bitfront_search::space::SpaceError),
}

/// A stored genome stands for something else than what was stored with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "its space is no longer the one that candidate {candidate} was stored in: {changed}; submit the \
     search again, its measurements stay where they are"
)]
pub(crate) struct SpaceChanged {
    candidate: i64,
    changed: String,
}

/// A stored genome does not belong to the space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// It is none of its members.
    #[error(transparent)]
    Genome(#[from] GenomeError),
    /// The plan does not fit the model.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl SearchSpace {
    /// The space over a model: the alleles of a gene are the precisions of the list that fit all
    /// of its layers.
    pub(crate) fn new(
        spec: &ModelSpec,
        precisions: &[Precision],
        grouping: Grouping,
    ) -> Result<Self, SpaceError> {
        Self::without(spec, precisions, &[], grouping)
    }

    /// The space without what a probe found not worth searching.
    fn without(
        spec: &ModelSpec,
        precisions: &[Precision],
        exclusions: &[Exclusion],
        grouping: Grouping,
    ) -> Result<Self, SpaceError> {
        let mut genes: Vec<Gene> = Vec::new();
        // Looked up by name, or a model of ten thousand layers would take seconds.
        let mut positions: HashMap<String, usize> = HashMap::new();
        for (position, layer) in spec.layers.iter().enumerate() {
            let name = gene_name(layer, grouping);
            match positions.get(&name) {
                Some(&known) => genes[known].layers.push(position),
                None => {
                    positions.insert(name.clone(), genes.len());
                    genes.push(Gene {
                        name,
                        layers: vec![position],
                        alleles: Vec::new(),
                    });
                }
            }
        }
        for gene in &mut genes {
            let fitting: Vec<_> = Precision::ALL
                .into_iter()
                .filter(|precision| {
                    gene.layers
                        .iter()
                        .all(|&layer| precision.fits(spec.layers[layer].columns))
                })
                .collect();
            gene.alleles = fitting
                .iter()
                .copied()
                .filter(|precision| precisions.contains(precision))
                .collect();
            let layers = gene.layers.iter().map(|&layer| &spec.layers[layer]);
            let left: Vec<_> = gene
                .alleles
                .iter()
                .copied()
                .filter(|&allele| leaves(layers.clone(), allele, &gene.alleles, exclusions))
                .collect();
            gene.alleles.retain(|allele| !left.contains(allele));
            if gene.alleles.is_empty() {
                let mut columns: Vec<_> = gene
                    .layers
                    .iter()
                    .map(|&layer| spec.layers[layer].columns)
                    .collect();
                columns.sort_unstable();
                columns.dedup();
                let columns: Vec<_> = columns.iter().map(u64::to_string).collect();
                return Err(SpaceError::NoAllele {
                    gene: gene.name.clone(),
                    columns: columns.join(" or "),
                    precisions: precisions.to_vec(),
                    fitting,
                });
            }
        }
        // Layers of one kind answer to bits alike, which the strategies may use.
        let space = Space::new(genes.iter().map(|gene| gene.alleles.len()))?.with_families(
            genes
                .iter()
                .map(|gene| spec.layers[gene.layers[0]].kind as usize),
        )?;
        Ok(Self { genes, space })
    }

    /// The space of a request on a device: over the precisions that were asked for and that the
    /// device executes, without what its probe excludes.
    pub(crate) fn bound(
        request: &SearchRequest,
        executed: &[Precision],
        exclusions: &[Exclusion],
    ) -> Result<Self, SpaceError> {
        let precisions: Vec<_> = request
            .precisions
            .iter()
            .copied()
            .filter(|precision| executed.contains(precision))
            .collect();
        Self::without(&request.spec, &precisions, exclusions, request.grouping)
    }

    /// The space as the strategies see it.
    pub(crate) fn as_numbers(&self) -> &Space {
        &self.space
    }

    /// The plan that a genome stands for.
    pub(crate) fn plan(&self, spec: &ModelSpec, genome: &Genome) -> Result<Plan, DecodeError> {
        self.space.check(genome)?;
        let mut precisions = vec![Precision::F32; spec.layers.len()];
        for (gene, &allele) in self.genes.iter().zip(&genome.0) {
            for &layer in &gene.layers {
                precisions[layer] = gene.alleles[usize::from(allele)];
            }
        }
        Ok(Plan::new(spec, precisions)?)
    }

    /// The genome of a plan, where the plan lies in the space: every gene's layers agree on one
    /// of its alleles.
    pub(crate) fn genome(&self, plan: &Plan) -> Option<Genome> {
        let alleles = self.genes.iter().map(|gene| {
            let mut precisions = gene.layers.iter().map(|&layer| plan.precisions()[layer]);
            let first = precisions.next()?;
            if precisions.any(|precision| precision != first) {
                return None;
            }
            let allele = gene.alleles.iter().position(|&allele| allele == first)?;
            u8::try_from(allele).ok()
        });
        alleles.collect::<Option<_>>().map(Genome)
    }

    /// Which genes another space does not have alike: of the same name, over layers of the same
    /// names and shapes. `spec` is this space's model, `other` comes with its own.
    pub(crate) fn differing_genes(
        &self,
        spec: &ModelSpec,
        (other, other_spec): (&Self, &ModelSpec),
    ) -> Vec<String> {
        let layers = |gene: &Gene, spec: &ModelSpec| -> Vec<(String, u64, u64)> {
            let layers = gene.layers.iter().map(|&layer| &spec.layers[layer]);
            layers
                .map(|layer| (layer.name.clone(), layer.rows, layer.columns))
                .collect()
        };
        let others: HashMap<_, _> = other
            .genes
            .iter()
            .map(|gene| (&gene.name, layers(gene, other_spec)))
            .collect();
        let mut differing = Vec::new();
        for gene in &self.genes {
            match others.get(&gene.name) {
                None => differing.push(format!("it has no gene `{}`", gene.name)),
                Some(other) if *other != layers(gene, spec) => {
                    differing.push(format!("its gene `{}` is other layers", gene.name));
                }
                Some(_) => {}
            }
        }
        let ours: HashSet<_> = self.genes.iter().map(|gene| &gene.name).collect();
        for gene in other.genes.iter().filter(|gene| !ours.contains(&gene.name)) {
            differing.push(format!("it has a gene `{}` more", gene.name));
        }
        // A plan is read by the order of layers.
        let order = |spec: &ModelSpec| -> Vec<String> {
            spec.layers.iter().map(|layer| layer.name.clone()).collect()
        };
        if differing.is_empty() && order(spec) != order(other_spec) {
            differing.push("its layers come in another order".to_owned());
        }
        differing
    }

    /// Whether a candidate's genome stands for what was stored with it.
    pub(crate) fn check(
        &self,
        candidate: &StoredCandidate,
        genome: &Genome,
    ) -> Result<(), SpaceChanged> {
        let changed = self.misread(genome, &candidate.precisions);
        if changed.is_empty() {
            return Ok(());
        }
        Err(SpaceChanged {
            candidate: candidate.id,
            changed: listed(&changed),
        })
    }

    /// How a stored genome stands for something else in this space than the precisions that were
    /// stored with it: one entry for every gene that changed.
    pub(crate) fn misread(&self, genome: &Genome, precisions: &[Precision]) -> Vec<String> {
        if genome.0.len() != self.genes.len() {
            return vec![format!(
                "it had {} genes, there are {} now",
                genome.0.len(),
                self.genes.len()
            )];
        }
        let changed = self
            .genes
            .iter()
            .zip(&genome.0)
            .filter_map(|(gene, &allele)| {
                let now = gene.alleles.get(usize::from(allele)).copied();
                let then = gene
                    .layers
                    .iter()
                    .map(|&layer| precisions.get(layer).copied());
                let other = then
                    .into_iter()
                    .find(|&then| then.is_none() || then != now)?;
                let name =
                    |precision: Option<Precision>| precision.map_or("nothing", Precision::name);
                Some(format!(
                    "`{}` was {} and is {}",
                    gene.name,
                    name(other),
                    name(now)
                ))
            });
        changed.collect()
    }

    /// For every allele of every gene, the sum of a part over the gene's layers.
    pub(crate) fn sums(
        &self,
        spec: &ModelSpec,
        part: impl Fn(&Layer, Precision) -> f64,
    ) -> Vec<Vec<f64>> {
        let of_gene = |gene: &Gene| {
            let sum = |precision: &Precision| {
                let layers = gene.layers.iter();
                layers
                    .map(|&layer| part(&spec.layers[layer], *precision))
                    .sum()
            };
            gene.alleles.iter().map(sum).collect()
        };
        self.genes.iter().map(of_gene).collect()
    }

    /// Bytes of the smallest plan of the space.
    pub(crate) fn smallest_bytes(&self, spec: &ModelSpec) -> u64 {
        let bytes = |gene: &Gene, precision: Precision| -> u64 {
            gene.layers
                .iter()
                .filter_map(|&layer| {
                    precision.bytes(spec.layers[layer].rows, spec.layers[layer].columns)
                })
                .sum()
        };
        let layers: u64 = self
            .genes
            .iter()
            .filter_map(|gene| {
                gene.alleles
                    .iter()
                    .map(|&precision| bytes(gene, precision))
                    .min()
            })
            .sum();
        layers + spec.fixed_bytes
    }
}

/// True where an allele is not worth searching for layers that share a gene: it cannot be executed
/// for one of their shapes, or one other allele replaces it for all of them.
fn leaves<'a>(
    layers: impl Iterator<Item = &'a Layer>,
    allele: Precision,
    alleles: &[Precision],
    exclusions: &[Exclusion],
) -> bool {
    let mut replacing: Vec<_> = alleles.to_vec();
    for layer in layers {
        let excluded = Shape::of(layer).and_then(|shape| {
            exclusions
                .iter()
                .find(|it| it.shape == shape && it.precision == allele)
        });
        match excluded {
            None => replacing.clear(),
            Some(excluded) if excluded.by.is_empty() => return true,
            Some(excluded) => replacing.retain(|other| excluded.by.contains(other)),
        }
    }
    !replacing.is_empty()
}

fn gene_name(layer: &Layer, grouping: Grouping) -> String {
    match (grouping, layer.block) {
        (Grouping::Tensor, _) | (Grouping::Block, None) => layer.name.clone(),
        (Grouping::Kind, _) => layer.kind.to_string(),
        (Grouping::Block, Some(block)) => {
            let part = match layer.kind {
                LayerKind::AttentionQuery
                | LayerKind::AttentionKey
                | LayerKind::AttentionValue
                | LayerKind::AttentionOutput => "attention",
                LayerKind::FeedForwardGate
                | LayerKind::FeedForwardUp
                | LayerKind::FeedForwardDown => "feed_forward",
                LayerKind::TokenEmbedding | LayerKind::Output => layer.kind.name(),
            };
            format!("blk.{block}.{part}")
        }
    }
}

fn names(precisions: &[Precision]) -> String {
    let names: Vec<_> = precisions
        .iter()
        .map(|precision| precision.name())
        .collect();
    names.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
