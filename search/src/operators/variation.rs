//! A child of candidates that survived.

use crate::generator::Generator;
use crate::operators::crossover::{by_family, two_point, uniform};
use crate::operators::mutation::{Direction, reset, step_family, step_gene};
use crate::operators::sampling::mixed_level;
use crate::operators::selection::{Survivor, ranked_tournament, tournament};
use crate::space::{Genome, Space};

/// Children after which a space counts as nearly exhausted.
pub(crate) const ATTEMPTS: usize = 64;

/// Tournament winners among which the nearest becomes the second parent.
const MATES: usize = 4;

/// A child of the survivors; until there are as many as `population`, every second one is a random
/// mix of levels.
pub(crate) fn child(
    space: &Space,
    survivors: &[Survivor],
    population: usize,
    generator: &mut Generator,
) -> Genome {
    let is_beginning = survivors.len() < population;
    if survivors.is_empty() || (is_beginning && generator.chance(1, 2)) {
        return mixed_level(space, generator);
    }
    let parent = select(survivors, generator);
    let crossed = if generator.chance(9, 10) {
        cross(space, parent, survivors, generator)
    } else {
        None
    };
    match crossed {
        Some(child) if generator.chance(9, 10) => child,
        Some(child) => mutate(space, child, generator),
        None => mutate(space, parent.genome.clone(), generator),
    }
}

/// A parent. NSGA-II's tournament prefers the ends of the front, whose crowding is infinite, above
/// all others: at this population every third parent would be one of the few ends. Two of five
/// tournaments therefore look at the rank alone, which keeps the middle of the front improving.
fn select<'a>(survivors: &'a [Survivor], generator: &mut Generator) -> &'a Survivor {
    if generator.chance(3, 5) {
        tournament(survivors, generator)
    } else {
        ranked_tournament(survivors, generator)
    }
}

/// A child of `first` and a mate near it; none when no other mate was drawn.
fn cross(
    space: &Space,
    first: &Survivor,
    survivors: &[Survivor],
    generator: &mut Generator,
) -> Option<Genome> {
    let second = (0..MATES)
        .map(|_| select(survivors, generator))
        .filter(|mate| mate.genome != first.genome)
        .min_by_key(|mate| mate.distance(first))?;
    let (first, second) = (&first.genome, &second.genome);
    Some(match generator.below(20) {
        0..14 => by_family(space, first, second, generator),
        14..17 => uniform(first, second, generator),
        _ => two_point(first, second, generator),
    })
}

/// One to a few changes, each half as likely as the one before: a reset of one gene, or a step of
/// a gene or a family, every second one traded against an opposite step elsewhere. Steps of one
/// mutation go the same way, so that they add up along the axis between small and exact, while a
/// trade moves across it, towards a better mix of the same cost.
fn mutate(space: &Space, mut genome: Genome, generator: &mut Generator) -> Genome {
    let direction = Direction::draw(generator);
    loop {
        if generator.chance(1, 5) {
            reset(space, &mut genome, generator);
        } else {
            let step = if generator.chance(1, 2) {
                step_gene
            } else {
                step_family
            };
            step(space, &mut genome, direction, generator);
            if generator.chance(1, 2) {
                step(space, &mut genome, direction.opposite(), generator);
            }
        }
        if generator.chance(1, 2) {
            return genome;
        }
    }
}
