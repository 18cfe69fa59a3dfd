//! The strategy to beat: random mixes of levels.

use crate::archive::Archive;
use crate::event::{Event, EventError};
use crate::generator::Generator;
use crate::operators::sampling::mixed_level;
use crate::space::{Genome, Space};
use crate::strategy::Strategy;

/// Draws after which a space counts as nearly exhausted.
const ATTEMPTS: usize = 32;

/// Proposes genomes with a random mix of levels and never looks at an evaluation.
///
/// Where 32 draws found nothing new, the first genome from the last draw on, in counting
/// order, is taken, so that a small space is covered completely.
#[derive(Debug)]
pub struct Random {
    archive: Archive,
    seed: u64,
}

impl Random {
    /// A strategy before any event.
    pub fn new(space: Space, seed: u64) -> Self {
        Self {
            archive: Archive::new(space),
            seed,
        }
    }
}

impl Strategy for Random {
    fn tell(&mut self, event: &Event) -> Result<(), EventError> {
        self.archive.record(event)
    }

    fn ask(&mut self, ask_number: u64) -> Option<Genome> {
        let mut generator = Generator::new(self.seed, ask_number);
        let mut genome = mixed_level(self.archive.space(), &mut generator);
        for _ in 1..ATTEMPTS {
            if self.archive.is_new(&genome) {
                break;
            }
            genome = mixed_level(self.archive.space(), &mut generator);
        }
        self.archive.next_new(genome)
    }
}
