//! NSGA-II on the surrogate, where evaluations cost next to nothing.
//!
//! Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.

use super::model::Model;
use super::peel::peel;
use super::scale::Scale;
use crate::generator::Generator;
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
    pub(super) point: [f64; 3],
    /// By how much it is expected to lie beyond the box or a limit.
    pub(super) violation: f64,
}

impl Member {
    pub(super) fn new(genome: Genome, model: &Model, scale: &Scale) -> Self {
        let figures = model.predict(&genome);
        let point = scale.normalised(&figures);
        Self {
            genome,
            violation: scale.violation(&point, &figures),
            point,
        }
    }
}

/// The members of the last generation, those of the first front foremost.
///
/// Time is O(generations · (population · genes + n log n)) for n members and children, times the
/// fronts that a generation falls into.
pub(super) fn evolve(
    space: &Space,
    model: &Model,
    scale: &Scale,
    seeds: Vec<Genome>,
    generator: &mut Generator,
) -> Vec<Member> {
    let member = |genome| Member::new(genome, model, scale);
    let variation = Variation::new(space);
    let mut members = survive(seeds.into_iter().map(member).collect());
    for _ in 0..GENERATIONS {
        if members.is_empty() {
            break;
        }
        let children: Vec<_> = (0..POPULATION)
            .map(|_| member(variation.child(&members, generator)))
            .collect();
        members.extend(children);
        members = survive(members);
    }
    members
}

/// How children are made.
struct Variation<'a> {
    space: &'a Space,
    /// The logarithm of the chance that a gene is left as it is.
    stays: f64,
}

impl<'a> Variation<'a> {
    fn new(space: &'a Space) -> Self {
        Self {
            space,
            stays: (1.0 - 1.0 / space.genes() as f64).ln(),
        }
    }

    fn child(&self, members: &[Member], generator: &mut Generator) -> Genome {
        // Members stand in the order of survival, so the earlier of two is the better.
        let mut parent = || {
            &members[generator
                .below(members.len())
                .min(generator.below(members.len()))]
        };
        let (first, second) = (parent(), parent());
        let mut genome = first.genome.clone();
        if generator.chance(9, 10) {
            cross(&mut genome, &second.genome, generator);
        }
        // One gene in all changes, on average. The number of genes from one change to the next is
        // drawn instead of a decision for each.
        let mut gene = self.skip(generator);
        while let Some(allele) = genome.0.get_mut(gene) {
            *allele = mutated(*allele, self.space.alleles()[gene], generator);
            gene += 1 + self.skip(generator);
        }
        genome
    }

    /// Genes before the next change: geometrically distributed.
    fn skip(&self, generator: &mut Generator) -> usize {
        (generator.unit().ln() / self.stays) as usize
    }
}

/// Every gene from either parent with equal chance.
fn cross(genome: &mut Genome, other: &Genome, generator: &mut Generator) {
    for (alleles, others) in genome.0.chunks_mut(64).zip(other.0.chunks(64)) {
        let mut bits = generator.word();
        for (allele, &other) in alleles.iter_mut().zip(others) {
            if bits & 1 == 1 {
                *allele = other;
            }
            bits >>= 1;
        }
    }
}

/// Half of the time a neighbouring allele, half of the time any.
fn mutated(allele: u8, alleles: u8, generator: &mut Generator) -> u8 {
    match generator.below(4) {
        0 => allele.saturating_sub(1),
        1 => (allele + 1).min(alleles - 1),
        _ => generator.below(usize::from(alleles)) as u8,
    }
}

/// The best members by front and then by crowding, without repeats; those that keep the limits
/// before those that do not, and these by how far they are from it.
fn survive(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_unstable_by(|left, right| {
        let by_violation = left.violation.total_cmp(&right.violation);
        let by_axis = |axis: usize| left.point[axis].total_cmp(&right.point[axis]);
        by_violation
            .then_with(|| by_axis(0).then_with(|| by_axis(1)).then_with(|| by_axis(2)))
            .then_with(|| left.genome.cmp(&right.genome))
    });
    members.dedup_by(|left, right| left.genome == right.genome);
    let feasible = members.partition_point(|member| member.violation == 0.0);
    let points: Vec<[f64; 3]> = members[..feasible]
        .iter()
        .map(|member| member.point)
        .collect();
    let mut order: Vec<usize> = Vec::with_capacity(POPULATION);
    let mut left: Vec<usize> = (0..feasible).collect();
    while !left.is_empty() && order.len() < POPULATION {
        let (front, rest) = peel(&points, &left);
        let distances = crowding(&points, &front);
        let mut ranked: Vec<(usize, f64)> = front.into_iter().zip(distances).collect();
        ranked.sort_by(|left, right| right.1.total_cmp(&left.1));
        ranked.truncate(POPULATION - order.len());
        order.extend(ranked.into_iter().map(|(place, _)| place));
        left = rest;
    }
    order.extend((feasible..members.len()).take(POPULATION - order.len()));
    let mut members: Vec<Option<Member>> = members.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|place| members[place].take())
        .collect()
}

/// The crowding distance of every member of a front: the sum over the axes of the gap between its
/// neighbours, as a share of the front's range; infinite at the ends.
fn crowding(points: &[[f64; 3]], front: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0; front.len()];
    let axes: [fn(&[f64; 3]) -> f64; 3] = [|point| point[0], |point| point[1], |point| point[2]];
    for axis in axes {
        let values = front.iter().map(|&place| axis(&points[place]));
        let mut order: Vec<(f64, usize)> = values.zip(0..).collect();
        order.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        let (Some(first), Some(last)) = (order.first().copied(), order.last().copied()) else {
            continue;
        };
        let range = last.0 - first.0;
        if range > 0.0 {
            distances[first.1] = f64::INFINITY;
            distances[last.1] = f64::INFINITY;
            for triple in order.windows(3) {
                distances[triple[1].1] += (triple[2].0 - triple[0].0) / range;
            }
        }
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dominance::{Fitness, crowding_distances, non_dominated_sort};
    use crate::event::Evaluation;

    /// The same survivors as by the slow and plain procedures that `nsga2` uses.
    #[test]
    fn survival_is_that_of_nsga2() {
        let mut generator = Generator::new(8, 0);
        for objectives in [2, 3] {
            let mut members = Vec::new();
            for number in 0..600_u16 {
                let mut point = [0.0; 3];
                for axis in &mut point[..objectives] {
                    *axis = generator.unit();
                }
                let violation = if generator.chance(1, 3) {
                    generator.unit()
                } else {
                    0.0
                };
                members.push(Member {
                    genome: Genome(number.to_le_bytes().to_vec()),
                    point,
                    violation,
                });
            }
            let fitness = |member: &Member| {
                Fitness::of(&Evaluation::Measured {
                    objectives: member.point[..objectives].to_vec(),
                    limited: Vec::new(),
                    violation: member.violation,
                })
            };
            let fitnesses: Vec<Fitness> = members.iter().map(fitness).collect();
            let mut expected: Vec<Genome> = Vec::new();
            for front in non_dominated_sort(&fitnesses) {
                let distances = crowding_distances(&fitnesses, &front);
                let mut ranked: Vec<(usize, f64)> = front.into_iter().zip(distances).collect();
                ranked.sort_by(|left, right| right.1.total_cmp(&left.1));
                ranked.truncate(POPULATION - expected.len());
                expected.extend(
                    ranked
                        .iter()
                        .map(|(place, _)| members[*place].genome.clone()),
                );
            }
            let survivors = survive(members);
            let mut found: Vec<Genome> =
                survivors.into_iter().map(|member| member.genome).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{objectives} objectives");
        }
    }
}
