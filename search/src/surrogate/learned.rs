//! Which of all that was measured a model is fitted to.

use std::collections::BTreeSet;

use crate::archive::Candidate;
use crate::event::Shared;
use crate::space::Genome;

/// The most genomes that a model is fitted to: the time of a fit grows with their cube.
const MOST_VALUES: usize = 600;

/// Those that a model is fitted to: the latest, which are nearest to the front, and as many at
/// equal distances from before them. What was measured has no say in it: the best of many would be
/// those whose noise was lucky, and the model would believe in their luck.
pub(super) fn learned<'a>(measured: &[&'a Candidate]) -> Vec<&'a Candidate> {
    thinned(measured, MOST_VALUES)
}

/// What a model is fitted to beside these candidates: what was shared of other genomes, thinned in
/// the same way to the room that the candidates leave. They come first, since each teaches every
/// figure, and times for the most part nothing else does.
pub(super) fn beside<'a>(
    shared: impl Iterator<Item = &'a Shared>,
    measured: &[&Candidate],
) -> Vec<&'a Shared> {
    let own: BTreeSet<&Genome> = measured.iter().map(|candidate| &candidate.genome).collect();
    let others: Vec<&Shared> = shared
        .filter(|shared| !own.contains(&shared.genome))
        .collect();
    thinned(&others, MOST_VALUES.saturating_sub(measured.len()))
}

/// At most so many of all: the latest half, and the others at equal distances.
fn thinned<'a, T>(all: &[&'a T], most: usize) -> Vec<&'a T> {
    let count = all.len();
    if count <= most {
        return all.to_vec();
    }
    let latest = most / 2;
    let (earlier, late) = all.split_at(count - latest);
    let kept = most - latest;
    let spread = (0..kept).map(|place| earlier[place * earlier.len() / kept]);
    spread.chain(late.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: usize) -> Candidate {
        Candidate {
            id: number as u64,
            genome: genome(number),
            fitness: None,
            is_retold: false,
            limited: Vec::new(),
        }
    }

    fn genome(number: usize) -> Genome {
        Genome(vec![(number / 256) as u8, (number % 256) as u8])
    }

    #[test]
    fn candidates_come_first_and_a_genome_counts_once() {
        let shared: Vec<Shared> = (0..1_000)
            .map(|number| Shared {
                genome: genome(number),
                figures: Vec::new(),
                is_reused: false,
            })
            .collect();
        // Every second candidate is a genome that was shared as well.
        for (own, beside_them) in [(0, 600), (200, 400), (599, 1), (600, 0), (900, 0)] {
            let candidates: Vec<Candidate> = (0..own).map(|it| candidate(500 + 2 * it)).collect();
            let candidates: Vec<&Candidate> = candidates.iter().collect();
            let learned = learned(&candidates);
            let beside = beside(shared.iter(), &candidates);
            assert_eq!((learned.len(), beside.len()), (own.min(600), beside_them));
            let mut genomes: BTreeSet<&Genome> = learned.iter().map(|it| &it.genome).collect();
            genomes.extend(beside.iter().map(|it| &it.genome));
            assert_eq!(
                genomes.len(),
                learned.len() + beside.len(),
                "{own} candidates"
            );
        }
    }

    #[test]
    fn the_latest_half_is_kept_and_the_rest_is_spread() {
        let numbers: Vec<usize> = (0..100).collect();
        let numbers: Vec<&usize> = numbers.iter().collect();
        let kept: Vec<usize> = thinned(&numbers, 10).into_iter().copied().collect();
        assert_eq!(kept, [0, 19, 38, 57, 76, 95, 96, 97, 98, 99]);
        assert_eq!(thinned(&numbers, 0), [&0; 0]);
        assert_eq!(thinned(&numbers, 1), [&0]);
        assert_eq!(thinned(&numbers, 100), numbers);
    }
}
