//! Everything that was asked and told, in a form that does not depend on how the two interleave.

use std::collections::BTreeMap;

use crate::dominance::Fitness;
use crate::event::{Evaluation, Event, EventError, Shared};
use crate::space::{Genome, Space};

/// A candidate and what is known of it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name.
    pub id: u64,
    /// What was asked.
    pub genome: Genome,
    /// What was told, or retold; none while the evaluation is pending.
    pub fitness: Option<Fitness>,
    /// Whether it was retold.
    pub is_retold: bool,
    /// What was told, or retold, of the figures that bear a limit and are no objectives.
    pub limited: Vec<f64>,
}

/// The candidates of a search in the order in which they were asked.
///
/// Two event sequences with the same asks in the same order, the same evaluations, and the same
/// tellings of what other searches measured in the same order leave equal archives, wherever
/// evaluations and tellings came in between. A coordinator that rebuilds a strategy may therefore
/// replay all asks first and all measurements after them.
#[derive(Debug, Clone)]
pub struct Archive {
    space: Space,
    candidates: Vec<Candidate>,
    // Ordered maps: a hash map would draw its keys from global randomness.
    position_of_id: BTreeMap<u64, usize>,
    position_of_genome: BTreeMap<Genome, usize>,
    /// Those that were retold, by their positions, as they were told.
    first_told: BTreeMap<usize, Candidate>,
    tellings: Vec<Telling>,
    last_telling: BTreeMap<Genome, usize>,
    objectives: Option<usize>,
}

/// One time that something was shared.
#[derive(Debug, Clone)]
struct Telling {
    /// All that was known of the genome after it.
    known: Shared,
    /// The telling of the same genome before it.
    earlier: Option<usize>,
    /// The one after it.
    later: Option<usize>,
}

impl Archive {
    /// An archive without candidates.
    pub fn new(space: Space) -> Self {
        Self {
            space,
            candidates: Vec::new(),
            position_of_id: BTreeMap::new(),
            position_of_genome: BTreeMap::new(),
            first_told: BTreeMap::new(),
            tellings: Vec::new(),
            last_telling: BTreeMap::new(),
            objectives: None,
        }
    }

    /// Records an event, or leaves the archive as it is and says what contradicts it.
    pub fn record(&mut self, event: &Event) -> Result<(), EventError> {
        match event {
            Event::Asked { candidate, genome } => self.record_asked(*candidate, genome),
            Event::Told {
                candidate,
                evaluation,
            } => self.record_told(*candidate, evaluation),
            Event::Shared(shared) => self.record_shared(shared),
            Event::Retold {
                candidate,
                evaluation,
            } => self.record_retold(*candidate, evaluation),
        }
    }

    /// Where a candidate stands in the order of the asks.
    pub(crate) fn position(&self, candidate: u64) -> Result<usize, EventError> {
        let position = self.position_of_id.get(&candidate).copied();
        position.ok_or(EventError::UnknownCandidate { candidate })
    }

    fn record_asked(&mut self, candidate: u64, genome: &Genome) -> Result<(), EventError> {
        self.space
            .check(genome)
            .map_err(|source| EventError::Outside { candidate, source })?;
        if self.position_of_id.contains_key(&candidate) {
            return Err(EventError::CandidateAskedTwice { candidate });
        }
        if let Some(&position) = self.position_of_genome.get(genome) {
            return Err(EventError::GenomeAskedTwice {
                candidate,
                first: self.candidates[position].id,
            });
        }
        let position = self.candidates.len();
        self.position_of_id.insert(candidate, position);
        self.position_of_genome.insert(genome.clone(), position);
        self.candidates.push(Candidate {
            id: candidate,
            genome: genome.clone(),
            fitness: None,
            is_retold: false,
            limited: Vec::new(),
        });
        Ok(())
    }

    fn record_told(&mut self, candidate: u64, evaluation: &Evaluation) -> Result<(), EventError> {
        let position = self.position(candidate)?;
        if self.candidates[position].fitness.is_some() {
            return Err(EventError::ToldTwice { candidate });
        }
        self.evaluate(position, evaluation)
    }

    fn record_retold(&mut self, candidate: u64, evaluation: &Evaluation) -> Result<(), EventError> {
        let position = self.position(candidate)?;
        if self.candidates[position].fitness.is_none() {
            return Err(EventError::NeverTold { candidate });
        }
        if self.candidates[position].is_retold {
            return Err(EventError::RetoldTwice { candidate });
        }
        let first_told = self.candidates[position].clone();
        self.evaluate(position, evaluation)?;
        self.candidates[position].is_retold = true;
        self.first_told.insert(position, first_told);
        Ok(())
    }

    /// Lets an evaluation count, whatever counted before.
    fn evaluate(&mut self, position: usize, evaluation: &Evaluation) -> Result<(), EventError> {
        let candidate = self.candidates[position].id;
        if let Evaluation::Measured {
            objectives,
            limited,
            violation,
        } = evaluation
        {
            let found = objectives.len();
            let expected = self.objectives.unwrap_or(found.max(1));
            if found != expected {
                return Err(EventError::ObjectiveCount {
                    candidate,
                    expected,
                    found,
                });
            }
            if *violation < 0.0 {
                return Err(EventError::NegativeViolation {
                    candidate,
                    violation: *violation,
                });
            }
            self.objectives = Some(found);
            self.candidates[position].limited = limited.clone();
        }
        self.candidates[position].fitness = Some(Fitness::of(evaluation));
        Ok(())
    }

    fn record_shared(&mut self, shared: &Shared) -> Result<(), EventError> {
        let genome = &shared.genome;
        self.space
            .check(genome)
            .map_err(|source| EventError::SharedOutside { source })?;
        let position = self.tellings.len();
        let mut known = shared.clone();
        let earlier = self.last_telling.get(genome).copied();
        if let Some(earlier) = earlier {
            let before = &mut self.tellings[earlier];
            let (expected, found) = (before.known.figures.len(), known.figures.len());
            if found != expected {
                return Err(EventError::SharedFigures { expected, found });
            }
            for (figure, before) in known.figures.iter_mut().zip(&before.known.figures) {
                *figure = figure.or(*before);
            }
            known.is_reused |= before.known.is_reused;
            before.later = Some(position);
        }
        self.last_telling.insert(genome.clone(), position);
        self.tellings.push(Telling {
            known,
            earlier,
            later: None,
        });
        Ok(())
    }

    /// The space that every candidate is a member of.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Every candidate, in the order in which they were asked.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Every candidate as it was told first, whatever was retold since, in the order in which they
    /// were asked.
    pub fn first_told(&self) -> impl Iterator<Item = &Candidate> {
        let candidates = self.candidates.iter().enumerate();
        candidates.map(|(position, candidate)| self.first_told.get(&position).unwrap_or(candidate))
    }

    /// How many times something was told that other searches measured.
    pub fn tellings(&self) -> usize {
        self.tellings.len()
    }

    /// What was known of other searches' measurements after the first so many tellings: each genome
    /// once, where it was last told.
    pub fn shared_after(&self, tellings: usize) -> impl Iterator<Item = &Shared> {
        let is_last = move |telling: &&Telling| telling.later.is_none_or(|it| it >= tellings);
        let first = self.tellings.iter().take(tellings).filter(is_last);
        first.map(|telling| &telling.known)
    }

    /// What other searches measured of a genome, by all tellings.
    pub fn shared_of(&self, genome: &Genome) -> Option<&Shared> {
        let &position = self.last_telling.get(genome)?;
        Some(&self.tellings.get(position)?.known)
    }

    /// The genomes of which the tellings after the first so many were the first to say that their
    /// loss need not be measured again.
    pub(crate) fn reused_since(&self, tellings: usize) -> impl Iterator<Item = &Genome> {
        let was_reused = |position: usize| self.tellings[position].known.is_reused;
        let since = self.tellings.iter().skip(tellings);
        since
            .filter(move |it| it.known.is_reused && !it.earlier.is_some_and(was_reused))
            .map(|it| &it.known.genome)
    }

    /// Whether the genome has never been asked.
    pub fn is_new(&self, genome: &Genome) -> bool {
        !self.position_of_genome.contains_key(genome)
    }

    /// Whether every genome of the space has been asked.
    pub fn is_exhausted(&self) -> bool {
        self.candidates.len() as u128 >= self.space.size()
    }

    /// The first genome from `start` on, in the space's counting order, that was never asked;
    /// none when the space is exhausted. `start` must be a member.
    ///
    /// At most as many genomes are skipped as have been asked, so this ends soon in any space.
    pub(crate) fn next_new(&self, start: Genome) -> Option<Genome> {
        if self.is_exhausted() {
            return None;
        }
        let mut genome = start;
        while !self.is_new(&genome) {
            self.space.advance(&mut genome);
        }
        Some(genome)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::space::GenomeError;

    fn asked(candidate: u64, alleles: &[u8]) -> Event {
        Event::Asked {
            candidate,
            genome: Genome(alleles.to_vec()),
        }
    }

    fn told(candidate: u64, objectives: &[f64], violation: f64) -> Event {
        Event::Told {
            candidate,
            evaluation: Evaluation::Measured {
                objectives: objectives.to_vec(),
                limited: Vec::new(),
                violation,
            },
        }
    }

    fn retold(candidate: u64, objectives: &[f64]) -> Event {
        Event::Retold {
            candidate,
            evaluation: Evaluation::unlimited(objectives.to_vec()),
        }
    }

    fn shared(alleles: &[u8], figures: &[Option<f64>], is_reused: bool) -> Event {
        Event::Shared(Shared {
            genome: Genome(alleles.to_vec()),
            figures: figures.to_vec(),
            is_reused,
        })
    }

    fn archive() -> Archive {
        let mut archive = Archive::new(Space::new([2, 2]).unwrap());
        archive.record(&asked(7, &[0, 1])).unwrap();
        archive.record(&asked(8, &[1, 1])).unwrap();
        archive.record(&told(7, &[1.0, 2.0], 0.0)).unwrap();
        archive
    }

    #[test]
    fn refuses_contradictions_and_stays_as_it_was() {
        let outside = GenomeError::Allele {
            gene: 0,
            allele: 2,
            alleles: 2,
        };
        let cases = [
            (
                asked(9, &[2, 0]),
                EventError::Outside {
                    candidate: 9,
                    source: outside,
                },
            ),
            (
                asked(7, &[0, 0]),
                EventError::CandidateAskedTwice { candidate: 7 },
            ),
            (
                asked(9, &[0, 1]),
                EventError::GenomeAskedTwice {
                    candidate: 9,
                    first: 7,
                },
            ),
            (
                told(9, &[1.0, 1.0], 0.0),
                EventError::UnknownCandidate { candidate: 9 },
            ),
            (
                told(7, &[1.0, 2.0], 0.0),
                EventError::ToldTwice { candidate: 7 },
            ),
            (
                told(8, &[1.0], 0.0),
                EventError::ObjectiveCount {
                    candidate: 8,
                    expected: 2,
                    found: 1,
                },
            ),
            (
                retold(9, &[1.0, 1.0]),
                EventError::UnknownCandidate { candidate: 9 },
            ),
            (
                retold(8, &[1.0, 1.0]),
                EventError::NeverTold { candidate: 8 },
            ),
            (
                retold(7, &[1.0]),
                EventError::ObjectiveCount {
                    candidate: 7,
                    expected: 2,
                    found: 1,
                },
            ),
            (
                told(8, &[1.0, 1.0], -0.5),
                EventError::NegativeViolation {
                    candidate: 8,
                    violation: -0.5,
                },
            ),
        ];
        let mut failures = Vec::new();
        for (event, expected) in cases {
            let mut archive = archive();
            let found = archive.record(&event);
            let unchanged =
                archive.candidates.len() == 2 && archive.candidates[1].fitness.is_none();
            if found != Err(expected.clone()) || !unchanged {
                failures.push((event, expected, found, unchanged));
            }
        }
        assert!(
            failures.is_empty(),
            "(event, expected, found, unchanged): {failures:#?}"
        );
    }

    #[test]
    fn what_another_search_measured_is_no_candidate() {
        let mut archive = archive();
        let shared = |alleles: &[u8]| shared(alleles, &[Some(0.5), None], true);
        archive.record(&shared(&[0, 0])).unwrap();
        // One that was asked here may be told as well.
        archive.record(&shared(&[1, 1])).unwrap();
        assert!(archive.is_new(&Genome(vec![0, 0])));
        assert_eq!(archive.candidates().len(), 2);
        let found = archive.shared_of(&Genome(vec![0, 0])).unwrap();
        assert_eq!(Some(found), archive.shared_after(1).next());
        assert_eq!(found.figures, [Some(0.5), None]);
        let outside = archive.record(&shared(&[0, 2]));
        assert!(matches!(outside, Err(EventError::SharedOutside { .. })));
        assert_eq!(archive.tellings(), 2);
        archive.record(&asked(9, &[0, 0])).unwrap();
        assert!(!archive.is_new(&Genome(vec![0, 0])));
    }

    #[test]
    fn later_tellings_add_to_what_is_known_of_a_genome_and_replace_it() {
        let mut archive = archive();
        let tellings = [
            shared(&[0, 0], &[Some(0.5), None], false),
            shared(&[1, 0], &[None, Some(9.0)], true),
            shared(&[0, 0], &[None, Some(7.0)], true),
            shared(&[0, 0], &[None, Some(8.0)], false),
        ];
        for telling in &tellings {
            archive.record(telling).unwrap();
        }
        let other_figures = archive.record(&shared(&[0, 0], &[None], false));
        let (expected, found) = (2, 1);
        assert_eq!(
            other_figures,
            Err(EventError::SharedFigures { expected, found })
        );
        let first = |alleles: &[u8], figures: &[Option<f64>], is_reused| Shared {
            genome: Genome(alleles.to_vec()),
            figures: figures.to_vec(),
            is_reused,
        };
        let alone = first(&[0, 0], &[Some(0.5), None], false);
        let other = first(&[1, 0], &[None, Some(9.0)], true);
        let more = first(&[0, 0], &[Some(0.5), Some(7.0)], true);
        let last = first(&[0, 0], &[Some(0.5), Some(8.0)], true);
        // Whatever was told since.
        let known: [&[&Shared]; 5] = [
            &[],
            &[&alone],
            &[&alone, &other],
            &[&other, &more],
            &[&other, &last],
        ];
        for (tellings, known) in known.into_iter().enumerate() {
            let found: Vec<_> = archive.shared_after(tellings).collect();
            assert_eq!(found, known, "after {tellings}");
        }
        assert_eq!(archive.shared_of(&last.genome), Some(&last));
        let reused = |since| -> Vec<_> { archive.reused_since(since).collect() };
        assert_eq!(reused(0), [&other.genome, &last.genome]);
        assert_eq!(reused(2), [&last.genome]);
        assert!(reused(3).is_empty());
    }

    #[test]
    fn what_was_retold_counts_and_is_retold_no_more() {
        let mut archive = archive();
        archive.record(&retold(7, &[3.0, 1.0])).unwrap();
        let objectives = |archive: &Archive| {
            let fitness = archive.candidates[0].fitness.clone();
            fitness.unwrap().objectives().to_vec()
        };
        assert_eq!(objectives(&archive), [3.0, 1.0]);
        assert_eq!(
            archive.record(&retold(7, &[4.0, 1.0])),
            Err(EventError::RetoldTwice { candidate: 7 })
        );
        assert_eq!(objectives(&archive), [3.0, 1.0]);
        let first: Vec<_> = archive.first_told().collect();
        assert_eq!(first.len(), archive.candidates.len());
        let fitness = first[0].fitness.as_ref().unwrap();
        assert_eq!((first[0].id, fitness.objectives()), (7, &[1.0, 2.0][..]));
    }

    #[test]
    fn the_first_candidate_needs_an_objective() {
        let mut archive = Archive::new(Space::new([2]).unwrap());
        archive.record(&asked(1, &[0])).unwrap();
        assert_eq!(
            archive.record(&told(1, &[], 0.0)),
            Err(EventError::ObjectiveCount {
                candidate: 1,
                expected: 1,
                found: 0
            })
        );
    }

    #[test]
    fn finds_the_last_new_genome_and_then_none() {
        let mut archive = archive();
        archive.record(&asked(9, &[0, 0])).unwrap();
        let last = archive.next_new(Genome(vec![1, 1]));
        assert_eq!(last, Some(Genome(vec![1, 0])));
        archive.record(&asked(10, &[1, 0])).unwrap();
        assert!(archive.is_exhausted());
        assert_eq!(archive.next_new(Genome(vec![1, 1])), None);
    }
}
