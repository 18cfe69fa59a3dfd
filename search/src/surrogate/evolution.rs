//! NSGA-II on the surrogate, where evaluations cost next to nothing.
//!
//! Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.

use super::model::Model;
use super::scale::Scale;
use crate::dominance::{Fitness, crowding_distances, non_dominated_sort};
use crate::event::Evaluation;
use crate::generator::Generator;
use crate::operators::crossover::uniform;
use crate::space::{Genome, Space};

/// Members of a generation.
const POPULATION: usize = 200;

/// Generations.
const GENERATIONS: usize = 60;

/// A genome and what the surrogate says of it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) genome: Genome,
    /// Within the box of the scale.
    pub(super) point: Vec<f64>,
    pub(super) fitness: Fitness,
}

impl Member {
    pub(super) fn new(genome: Genome, model: &Model, scale: &Scale) -> Self {
        let figures = model.predict(&genome);
        let point = scale.normalised(&figures);
        let violation = scale.violation(&point, &figures);
        let evaluation = Evaluation::Measured {
            objectives: point.clone(),
            limited: Vec::new(),
            violation,
        };
        Self {
            genome,
            point,
            fitness: Fitness::of(&evaluation),
        }
    }
}

/// The members of the last generation, those of the first front foremost.
pub(super) fn evolve(
    space: &Space,
    model: &Model,
    scale: &Scale,
    seeds: Vec<Genome>,
    generator: &mut Generator,
) -> Vec<Member> {
    let member = |genome| Member::new(genome, model, scale);
    let mut members = distinct(seeds.into_iter().map(member).collect());
    members = survive(members);
    for _ in 0..GENERATIONS {
        if members.is_empty() {
            break;
        }
        let children: Vec<_> = (0..POPULATION)
            .map(|_| member(child(space, &members, generator)))
            .collect();
        members.extend(children);
        members = survive(distinct(members));
    }
    members
}

fn child(space: &Space, members: &[Member], generator: &mut Generator) -> Genome {
    // Members stand in the order of survival, so the earlier of two is the better.
    let mut parent = || {
        &members[generator
            .below(members.len())
            .min(generator.below(members.len()))]
    };
    let (first, second) = (parent(), parent());
    let mut genome = if generator.chance(9, 10) {
        uniform(&first.genome, &second.genome, generator)
    } else {
        first.genome.clone()
    };
    let genes = space.genes();
    for (allele, &alleles) in genome.0.iter_mut().zip(space.alleles()) {
        if generator.chance(1, genes) {
            *allele = mutated(*allele, alleles, generator);
        }
    }
    genome
}

/// Half of the time a neighbouring allele, half of the time any.
fn mutated(allele: u8, alleles: u8, generator: &mut Generator) -> u8 {
    match generator.below(4) {
        0 => allele.saturating_sub(1),
        1 => (allele + 1).min(alleles - 1),
        _ => generator.below(usize::from(alleles)) as u8,
    }
}

/// The members without repeats.
fn distinct(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by(|left, right| left.genome.cmp(&right.genome));
    members.dedup_by(|left, right| left.genome == right.genome);
    members
}

/// The best members by front and then by crowding.
fn survive(members: Vec<Member>) -> Vec<Member> {
    let fitnesses: Vec<Fitness> = members
        .iter()
        .map(|member| member.fitness.clone())
        .collect();
    let mut order = Vec::with_capacity(POPULATION);
    for front in non_dominated_sort(&fitnesses) {
        let distances = crowding_distances(&fitnesses, &front);
        let mut ranked: Vec<(usize, f64)> = front.into_iter().zip(distances).collect();
        ranked.sort_by(|left, right| right.1.total_cmp(&left.1));
        ranked.truncate(POPULATION - order.len());
        order.extend(ranked.into_iter().map(|(place, _)| place));
        if order.len() == POPULATION {
            break;
        }
    }
    let mut members: Vec<Option<Member>> = members.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|place| members[place].take())
        .collect()
}
