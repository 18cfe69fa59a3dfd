//! NSGA-II in its steady-state form, for budgets of a few hundred evaluations.
//!
//! Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002. What
//! is NSGA-II here: survival by non-dominated rank and then crowding, binary tournaments, crossover
//! and mutation, constraint-dominance. What differs, and why:
//!
//! - No generations. Every ask takes its parents from the 32 best of *all* evaluated
//!   candidates, so no device waits for another, and a candidate that was crowded out may return.
//!   Pending candidates are known only so that they are not asked again.
//! - No duplicates: a child that has been asked is made anew, and after 64 such children the
//!   next new genome in counting order is taken, so that a small space is covered completely.
//! - Mates are neighbours: of four tournament winners the one nearest to the first parent is
//!   taken (Ishibuchi et al., similarity-based mating, 2004). Children of distant parents fall
//!   between them, where something better is usually known by then.
//! - Whole families of genes cross over and move together; see [`Space::with_families`].
//! - A child is crossed or mutated, seldom both. With so few evaluations most random changes of a
//!   good child spoil it.
//!
//! The shares below were chosen on ten instances of the synthetic problem in `tests/synthetic`
//! (numbers 1000 to 1009), which no test uses. Around them the result is flat.

use crate::archive::Archive;
use crate::event::{Event, EventError};
use crate::generator::Generator;
use crate::operators::crossover::{by_family, two_point, uniform};
use crate::operators::mutation::{Direction, reset, step_family, step_gene};
use crate::operators::sampling::mixed_level;
use crate::operators::selection::{Survivor, ranked_tournament, survivors, tournament};
use crate::space::{Genome, Space};
use crate::strategy::Strategy;

/// Candidates that parents are drawn from. Until as many are evaluated, every second proposal is
/// a random mix of levels.
const POPULATION: usize = 32;

/// Children after which a space counts as nearly exhausted.
const ATTEMPTS: usize = 64;

/// Tournament winners among which the nearest becomes the second parent.
const MATES: usize = 4;

/// Proposes children of the best candidates.
#[derive(Debug)]
pub struct Nsga2 {
    archive: Archive,
    seed: u64,
    /// Derived from the archive; none after an evaluation was told.
    survivors: Option<Vec<Survivor>>,
}

impl Nsga2 {
    /// A strategy before any event.
    pub fn new(space: Space, seed: u64) -> Self {
        Self {
            archive: Archive::new(space),
            seed,
            survivors: None,
        }
    }

    fn child(&self, survivors: &[Survivor], generator: &mut Generator) -> Genome {
        let space = self.archive.space();
        let is_beginning = survivors.len() < POPULATION;
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

impl Strategy for Nsga2 {
    fn tell(&mut self, event: &Event) -> Result<(), EventError> {
        self.archive.record(event)?;
        if matches!(event, Event::Told { .. }) {
            self.survivors = None;
        }
        Ok(())
    }

    fn ask(&mut self, ask_number: u64) -> Option<Genome> {
        let survivors = self
            .survivors
            .take()
            .unwrap_or_else(|| survivors(&self.archive, POPULATION));
        let mut generator = Generator::new(self.seed, ask_number);
        let mut genome = self.child(&survivors, &mut generator);
        for _ in 1..ATTEMPTS {
            if self.archive.is_new(&genome) {
                break;
            }
            genome = self.child(&survivors, &mut generator);
        }
        self.survivors = Some(survivors);
        self.archive.next_new(genome)
    }
}
