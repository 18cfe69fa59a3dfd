//! Coordinate descent on a weighted sum of the objectives.

use super::model::Model;
use super::scale::Scale;
use crate::generator::Generator;
use crate::space::{Genome, Space};

/// Passes over the genes. Evolution refines what they leave.
const PASSES: usize = 2;

/// What going beyond the worst of interest costs, against what stays within.
const BEYOND: f64 = 10.0;

/// Weights of the objectives that sum to one, most of them near a corner or an edge of the simplex
/// rather than its middle.
pub(super) fn weights(objectives: usize, generator: &mut Generator) -> Vec<f64> {
    let draws: Vec<f64> = (0..objectives)
        .map(|_| (-generator.unit().ln()).max(1e-9) * generator.unit())
        .collect();
    let sum: f64 = draws.iter().sum();
    draws.iter().map(|draw| draw / sum).collect()
}

/// The weighted sum of a genome's objectives in the box, and what lies beyond it or its limits.
pub(super) fn weighted(weights: &[f64], scale: &Scale, figures: &[f64]) -> f64 {
    let point = scale.normalised(figures);
    let sum: f64 = weights
        .iter()
        .zip(&point)
        .map(|(weight, value)| weight * value)
        .sum();
    sum + BEYOND * scale.violation(&point, figures)
}

/// Gives every gene in turn the allele with the least weighted sum. O(genes · alleles).
pub(super) fn descend(
    space: &Space,
    model: &Model,
    scale: &Scale,
    weights: &[f64],
    genome: &mut Genome,
) {
    let mut sums: Vec<f64> = model
        .predictors
        .iter()
        .map(|predictor| predictor.sum(genome))
        .collect();
    let objective = |sums: &[f64]| {
        let told: Vec<f64> = model
            .predictors
            .iter()
            .zip(sums)
            .map(|(predictor, &sum)| predictor.told(sum))
            .collect();
        weighted(weights, scale, &told)
    };
    for _ in 0..PASSES {
        for (gene, &alleles) in space.alleles().iter().enumerate() {
            let reached = |allele: u8| -> Vec<f64> {
                let pairs = model.predictors.iter().zip(&sums);
                pairs
                    .map(|(predictor, sum)| sum + predictor.difference(genome, gene, allele))
                    .collect()
            };
            let best = (0..alleles)
                .map(|allele| (allele, reached(allele)))
                .map(|(allele, sums)| (objective(&sums), allele, sums))
                .min_by(|left, right| left.0.total_cmp(&right.0));
            if let Some((_, allele, reached)) = best {
                sums = reached;
                genome.0[gene] = allele;
            }
        }
    }
}
