//! Who survives and who becomes a parent.

use std::cmp::Ordering;

use crate::archive::Archive;
use crate::dominance::{Fitness, crowding_distances, non_dominated_sort};
use crate::generator::Generator;
use crate::space::Genome;

/// A candidate that may become a parent.
#[derive(Debug, Clone)]
pub(crate) struct Survivor {
    /// What it is.
    pub(crate) genome: Genome,
    /// The front that it lies on, 0 for the best.
    pub(crate) rank: usize,
    /// Its crowding distance within its front.
    pub(crate) crowding: f64,
    /// For every objective, how many survivors are better in it; empty when infeasible.
    pub(crate) places: Vec<usize>,
}

impl Survivor {
    /// NSGA-II's crowded comparison: `Less` when this one is preferred.
    pub(crate) fn crowded(&self, other: &Self) -> Ordering {
        let by_rank = self.rank.cmp(&other.rank);
        by_rank.then_with(|| other.crowding.total_cmp(&self.crowding))
    }

    /// How far apart two survivors stand in the orders of the objectives. Places and not values,
    /// so that the scales of the objectives do not matter.
    pub(crate) fn distance(&self, other: &Self) -> usize {
        let pairs = self.places.iter().zip(&other.places);
        pairs.map(|(left, right)| left.abs_diff(*right)).sum()
    }
}

/// The `population` best of all evaluated candidates, best first: by front, then by crowding, then
/// by the order in which they were asked.
pub(crate) fn survivors(archive: &Archive, population: usize) -> Vec<Survivor> {
    let (genomes, fitnesses): (Vec<&Genome>, Vec<Fitness>) = archive
        .candidates()
        .iter()
        .filter_map(|candidate| Some((&candidate.genome, candidate.fitness.clone()?)))
        .unzip();
    let mut kept: Vec<(usize, Survivor)> = Vec::with_capacity(population);
    for (rank, front) in non_dominated_sort(&fitnesses).iter().enumerate() {
        let distances = crowding_distances(&fitnesses, front);
        let mut members: Vec<(usize, Survivor)> = front
            .iter()
            .zip(distances)
            .map(|(&member, crowding)| {
                let genome = genomes[member].clone();
                let places = Vec::new();
                (
                    member,
                    Survivor {
                        genome,
                        rank,
                        crowding,
                        places,
                    },
                )
            })
            .collect();
        // A stable sort: equally crowded members stay in the order in which they were asked.
        members.sort_by(|left, right| left.1.crowded(&right.1));
        members.truncate(population - kept.len());
        kept.append(&mut members);
        if kept.len() == population {
            break;
        }
    }
    let objectives: Vec<&[f64]> = kept
        .iter()
        .map(|(member, _)| fitnesses[*member].objectives())
        .collect();
    for ((_, survivor), places) in kept.iter_mut().zip(places(&objectives)) {
        survivor.places = places;
    }
    kept.into_iter().map(|(_, survivor)| survivor).collect()
}

/// For every point and objective, how many of the points are better in it; none of a point without
/// objectives.
pub(crate) fn places(points: &[&[f64]]) -> Vec<Vec<usize>> {
    let places = |point: &&[f64]| {
        let axes = point.iter().enumerate();
        axes.map(|(axis, value)| {
            let is_better = |other: &&&[f64]| other.get(axis).is_some_and(|theirs| theirs < value);
            points.iter().filter(is_better).count()
        })
        .collect()
    };
    points.iter().map(places).collect()
}

/// The better of two drawn survivors by rank and then crowding, the first one where neither is;
/// `survivors` is not empty.
pub(crate) fn tournament<'a>(survivors: &'a [Survivor], generator: &mut Generator) -> &'a Survivor {
    let (first, second) = draw_two(survivors, generator);
    if second.crowded(first).is_lt() {
        second
    } else {
        first
    }
}

/// The better of two drawn survivors by rank alone, the first one where neither is; `survivors`
/// is not empty.
pub(crate) fn ranked_tournament<'a>(
    survivors: &'a [Survivor],
    generator: &mut Generator,
) -> &'a Survivor {
    let (first, second) = draw_two(survivors, generator);
    if second.rank < first.rank {
        second
    } else {
        first
    }
}

fn draw_two<'a>(
    survivors: &'a [Survivor],
    generator: &mut Generator,
) -> (&'a Survivor, &'a Survivor) {
    let mut draw = || &survivors[generator.below(survivors.len())];
    (draw(), draw())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::{Evaluation, Event};
    use crate::space::Space;

    /// Candidates 0, 1, … with the genome of their number; none stays pending.
    fn archive(evaluations: &[Option<[f64; 2]>]) -> Archive {
        let mut archive = Archive::new(Space::new([100]).unwrap());
        for (position, evaluation) in evaluations.iter().enumerate() {
            let candidate = position as u64;
            let genome = Genome(vec![position as u8]);
            archive.record(&Event::Asked { candidate, genome }).unwrap();
            if let Some(objectives) = evaluation {
                let evaluation = Evaluation::unlimited(objectives.to_vec());
                archive
                    .record(&Event::Told {
                        candidate,
                        evaluation,
                    })
                    .unwrap();
            }
        }
        archive
    }

    fn numbers(survivors: &[Survivor]) -> Vec<u8> {
        survivors
            .iter()
            .map(|survivor| survivor.genome.0[0])
            .collect()
    }

    #[test]
    fn the_best_survive_by_rank_and_then_by_room() {
        let archive = archive(&[
            Some([9.0, 9.0]),
            Some([0.0, 10.0]),
            None,
            Some([1.0, 8.9]),
            Some([1.1, 8.8]),
            Some([4.0, 4.0]),
            Some([10.0, 0.0]),
            Some([f64::NAN, 0.0]),
        ]);
        let all = survivors(&archive, 32);
        assert_eq!(numbers(&all), [1, 6, 5, 4, 3, 0, 7]);
        let ranks: Vec<usize> = all.iter().map(|survivor| survivor.rank).collect();
        assert_eq!(ranks, [0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(numbers(&survivors(&archive, 3)), [1, 6, 5]);
        assert!(survivors(&archive, 0).is_empty());
    }

    #[test]
    fn nearness_is_counted_in_places() {
        let archive = archive(&[Some([0.0, 1e9]), Some([1e-9, 3.0]), Some([1.0, 2.0])]);
        let all = survivors(&archive, 32);
        let of = |number: u8| {
            let mut found = all.iter().filter(|survivor| survivor.genome.0[0] == number);
            found.next().unwrap()
        };
        assert_eq!(of(0).places, [0, 2]);
        assert_eq!(of(0).distance(of(1)), 2);
        assert_eq!(of(0).distance(of(2)), 4);
    }

    #[test]
    fn tournaments_prefer_the_better() {
        let archive = archive(&[Some([0.0, 1.0]), Some([1.0, 0.0]), Some([2.0, 2.0])]);
        let all = survivors(&archive, 32);
        let wins = |select: fn(&[Survivor], &mut Generator) -> u8| {
            let mut wins = [0_u32; 3];
            for ask in 0..900 {
                wins[usize::from(select(&all, &mut Generator::new(4, ask)))] += 1;
            }
            wins
        };
        // The dominated one wins only against itself, in one of nine tournaments.
        for wins in [
            wins(|all, generator| tournament(all, generator).genome.0[0]),
            wins(|all, generator| ranked_tournament(all, generator).genome.0[0]),
        ] {
            assert!((60..140).contains(&wins[2]), "{wins:?}");
            assert!(wins[0] > 300 && wins[1] > 300, "{wins:?}");
        }
    }
}
