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
use crate::operators::selection::{Survivor, survivors};
use crate::operators::variation::{ATTEMPTS, child};
use crate::space::{Genome, Space};
use crate::strategy::Strategy;

/// Candidates that parents are drawn from. Until as many are evaluated, every second proposal is
/// a random mix of levels.
const POPULATION: usize = 32;

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
}

impl Strategy for Nsga2 {
    fn tell(&mut self, event: &Event) -> Result<(), EventError> {
        self.archive.record(event)?;
        if matches!(event, Event::Told { .. } | Event::Retold { .. }) {
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
        let space = self.archive.space();
        let mut genome = child(space, &survivors, POPULATION, &mut generator);
        for _ in 1..ATTEMPTS {
            if self.archive.is_new(&genome) {
                break;
            }
            genome = child(space, &survivors, POPULATION, &mut generator);
        }
        self.survivors = Some(survivors);
        self.archive.next_new(genome)
    }
}
