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
/// rather than its middle; zero beyond the objectives that there are.
pub(super) fn weights(objectives: usize, generator: &mut Generator) -> [f64; 3] {
    let mut draws = [0.0; 3];
    for draw in &mut draws[..objectives] {
        *draw = (-generator.unit().ln()).max(1e-9) * generator.unit();
    }
    let sum: f64 = draws.iter().sum();
    draws.map(|draw| draw / sum)
}

/// The weighted sum of a genome's objectives in the box, and what lies beyond it or its limits.
pub(super) fn weighted(weights: &[f64; 3], scale: &Scale, figures: &[f64]) -> f64 {
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
    weights: &[f64; 3],
    genome: &mut Genome,
) {
    let predictors = &model.predictors;
    let mut sums: Vec<f64> = predictors
        .iter()
        .map(|predictor| predictor.sum(genome))
        .collect();
    let mut told = sums.clone();
    for _ in 0..PASSES {
        for (gene, &alleles) in space.alleles().iter().enumerate() {
            let (mut least, mut best) = (f64::INFINITY, genome.0[gene]);
            for allele in 0..alleles {
                for ((told, sum), predictor) in told.iter_mut().zip(&sums).zip(predictors) {
                    *told = predictor.told(sum + predictor.difference(genome, gene, allele));
                }
                let reached = weighted(weights, scale, &told);
                if reached < least {
                    (least, best) = (reached, allele);
                }
            }
            for (sum, predictor) in sums.iter_mut().zip(predictors) {
                *sum += predictor.difference(genome, gene, best);
            }
            genome.0[gene] = best;
        }
    }
}
