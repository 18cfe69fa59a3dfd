//! The best genomes by the model's account, spread along their front.

use super::descent::{descend, weighted, weights};
use super::evolution::{Member, evolve};
use super::model::Model;
use super::peel::first_front;
use super::scale::Scale;
use crate::archive::Candidate;
use crate::generator::Generator;
use crate::problem::Problem;
use crate::space::Genome;

/// Weightings of the objectives whose best genomes begin the evolution.
const WEIGHTINGS: usize = 48;

/// Genomes in the order of survival, and the box in which they were compared. `most` limits the
/// figures further, as they are told.
pub(super) fn pool(
    problem: &Problem,
    model: &Model,
    measured: &[&Candidate],
    most: &[Option<f64>],
    generator: &mut Generator,
) -> (Scale, Vec<Member>) {
    let space = problem.space();
    let mut seeds: Vec<Genome> = front_of(measured);
    for level in 0..=2 {
        // Without any measurement the ends and the middle of the space begin the front.
        seeds.push(Genome(
            space
                .alleles()
                .iter()
                .map(|&count| ((usize::from(count) - 1) * level / 2) as u8)
                .collect(),
        ));
    }
    let points: Vec<Vec<f64>> = seeds.iter().map(|genome| model.predict(genome)).collect();
    let scale = Scale::new(problem, &points).with_most(most);
    for _ in 0..WEIGHTINGS {
        let weights = weights(problem.objectives().len(), generator);
        let start = (0..points.len())
            .min_by(|&left, &right| {
                let value = |place: usize| weighted(&weights, &scale, &points[place]);
                value(left).total_cmp(&value(right))
            })
            .unwrap_or(0);
        let mut genome = seeds[start].clone();
        descend(space, model, &scale, &weights, &mut genome);
        seeds.push(genome);
    }
    let pool = evolve(space, model, &scale, seeds, generator);
    (scale, pool)
}

/// The genomes of the measured candidates that no other is better than.
fn front_of(measured: &[&Candidate]) -> Vec<Genome> {
    let point = |candidate: &&Candidate| {
        let mut point = [0.0; 3];
        let fitness = candidate.fitness.iter();
        let objectives = fitness.flat_map(|fitness| fitness.objectives());
        for (coordinate, value) in point.iter_mut().zip(objectives) {
            *coordinate = *value;
        }
        point
    };
    let points: Vec<[f64; 3]> = measured.iter().map(point).collect();
    let mut front = first_front(&points);
    front.sort_unstable();
    front
        .into_iter()
        .map(|place| measured[place].genome.clone())
        .collect()
}
