//! SMS-EMOA in its steady-state form: who adds least to the hypervolume leaves.
//!
//! Source: Beume, Naujoks and Emmerich, "SMS-EMOA: multiobjective selection based on dominated
//! hypervolume", 2007. A new member enters a population of fixed size, and of the worst front the
//! member leaves whose exclusive contribution to the hypervolume is the least. What differs:
//!
//! - Candidates enter in the order in which they were asked, whenever their evaluations came, so
//!   that the population is the same however the two interleaved.
//! - A pending candidate counts as present where the evaluated candidate lies whose genome is the
//!   nearest, which mostly is its parent: what is being tried already is tried less.
//! - Parents and children are made as in [`nsga2`](crate::nsga2), with the contribution in place of
//!   the crowding distance.

use crate::archive::{Archive, Candidate};
use crate::dominance::{Fitness, non_dominated_sort};
use crate::event::{Evaluation, Event, EventError};
use crate::generator::Generator;
use crate::operators::selection::{Survivor, places};
use crate::operators::variation::{ATTEMPTS, child};
use crate::space::{Genome, Space};
use crate::strategy::Strategy;
use crate::sweep::Sweep;

/// Members of the population.
const POPULATION: usize = 40;

/// The most objectives whose hypervolume is exact.
pub(crate) const MOST_OBJECTIVES: usize = 3;

/// The reference point, as a share of a front's range beyond its worst: the ends then count for
/// something.
const REFERENCE: f64 = 1.1;

/// Pending candidates that count as present, the latest ones.
const PENDING: usize = 64;

/// Proposes children of a population that holds as much hypervolume as it can.
#[derive(Debug)]
pub struct SmsEmoa {
    archive: Archive,
    seed: u64,
    lineage: Lineage,
}

impl SmsEmoa {
    /// A strategy before any event.
    pub fn new(space: Space, seed: u64) -> Self {
        Self {
            archive: Archive::new(space),
            seed,
            lineage: Lineage::default(),
        }
    }
}

impl Strategy for SmsEmoa {
    fn tell(&mut self, event: &Event) -> Result<(), EventError> {
        if let Event::Told {
            candidate,
            evaluation: Evaluation::Measured { objectives, .. },
        }
        | Event::Retold {
            candidate,
            evaluation: Evaluation::Measured { objectives, .. },
        } = event
            && objectives.len() > MOST_OBJECTIVES
        {
            return Err(EventError::ObjectiveCount {
                candidate: *candidate,
                expected: MOST_OBJECTIVES,
                found: objectives.len(),
            });
        }
        self.archive.record(event)?;
        if matches!(event, Event::Retold { .. }) {
            // Whoever left the population may have left for what is no longer so.
            self.lineage = Lineage::default();
        }
        Ok(())
    }

    fn ask(&mut self, ask_number: u64) -> Option<Genome> {
        let mut generator = Generator::new(self.seed, ask_number);
        let genome = self.lineage.child(&self.archive, &mut generator);
        self.archive.next_new(genome)
    }
}

/// The population as far as it is settled: after the leading candidates that are all evaluated.
/// Derived from the archive, so that an ask need not begin at the first candidate.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// Candidates that have entered.
    entered: usize,
    /// Positions in the archive, ascending.
    members: Vec<usize>,
}

impl Lineage {
    /// A child that was not asked yet, or after many attempts any child.
    pub(crate) fn child(&mut self, archive: &Archive, generator: &mut Generator) -> Genome {
        let parents = self.parents(archive);
        let mut genome = child(archive.space(), &parents, POPULATION, generator);
        for _ in 1..ATTEMPTS {
            if archive.is_new(&genome) {
                break;
            }
            genome = child(archive.space(), &parents, POPULATION, generator);
        }
        genome
    }

    fn parents(&mut self, archive: &Archive) -> Vec<Survivor> {
        let candidates = archive.candidates();
        while let Some(candidate) = candidates.get(self.entered)
            && candidate.fitness.is_some()
        {
            enter(candidates, &mut self.members, self.entered);
            self.entered += 1;
        }
        let mut members = self.members.clone();
        for position in self.entered..candidates.len() {
            if candidates[position].fitness.is_some() {
                enter(candidates, &mut members, position);
            }
        }
        survivors(candidates, &members)
    }
}

/// Adds a candidate to the population; where it was full, the least of it leaves.
fn enter(candidates: &[Candidate], members: &mut Vec<usize>, position: usize) {
    members.push(position);
    if members.len() <= POPULATION {
        return;
    }
    let fitnesses: Vec<Fitness> = members
        .iter()
        .filter_map(|&member| candidates[member].fitness.clone())
        .collect();
    let fronts = non_dominated_sort(&fitnesses);
    let Some(worst) = fronts.last() else {
        return;
    };
    let points: Vec<&[f64]> = worst
        .iter()
        .map(|&place| fitnesses[place].objectives())
        .collect();
    let contributions = contributions(&points, &[]);
    // Of equals the latest leaves.
    let least = (0..worst.len())
        .rev()
        .min_by(|&left, &right| contributions[left].total_cmp(&contributions[right]));
    if let Some(least) = least {
        members.remove(worst[least]);
    }
}

/// The members as parents, by front and then by contribution.
fn survivors(candidates: &[Candidate], members: &[usize]) -> Vec<Survivor> {
    let fitnesses: Vec<Fitness> = members
        .iter()
        .filter_map(|&member| candidates[member].fitness.clone())
        .collect();
    let pending = pending(candidates, members, &fitnesses);
    let mut survivors = Vec::with_capacity(members.len());
    for (rank, front) in non_dominated_sort(&fitnesses).iter().enumerate() {
        let points: Vec<&[f64]> = front
            .iter()
            .map(|&place| fitnesses[place].objectives())
            .collect();
        for (&place, contribution) in front.iter().zip(contributions(&points, &pending)) {
            survivors.push((place, rank, contribution));
        }
    }
    let objectives: Vec<&[f64]> = survivors
        .iter()
        .map(|&(place, ..)| fitnesses[place].objectives())
        .collect();
    let places = places(&objectives);
    let pairs = survivors.iter().zip(places);
    let mut survivors: Vec<Survivor> = pairs
        .map(|(&(place, rank, crowding), places)| Survivor {
            genome: candidates[members[place]].genome.clone(),
            rank,
            crowding,
            places,
        })
        .collect();
    survivors.sort_by(Survivor::crowded);
    survivors
}

/// Where the pending candidates are believed to lie: at the member whose genome is the nearest,
/// the earlier of equals. Those near an infeasible one lie nowhere.
fn pending<'a>(
    candidates: &[Candidate],
    members: &[usize],
    fitnesses: &'a [Fitness],
) -> Vec<&'a [f64]> {
    let nearest = |candidate: &Candidate| {
        let distance = |place: &usize| {
            let alleles = candidates[members[*place]].genome.0.iter();
            let pairs = alleles.zip(&candidate.genome.0);
            pairs.filter(|(left, right)| left != right).count()
        };
        let place = (0..members.len()).min_by_key(distance)?;
        let objectives = fitnesses[place].objectives();
        (!objectives.is_empty()).then_some(objectives)
    };
    let pending = candidates.iter().rev();
    pending
        .filter(|candidate| candidate.fitness.is_none())
        .take(PENDING)
        .filter_map(nearest)
        .collect()
}

/// What each point of a front alone dominates, beside the others and those that are `present`, in
/// the box that the front spans; all zero where they have no objectives. O(n (n + present) log n).
fn contributions(front: &[&[f64]], present: &[&[f64]]) -> Vec<f64> {
    let axes = front.first().map_or(0, |point| point.len());
    let bounds: Vec<(f64, f64)> = (0..axes)
        .map(|axis| {
            let values = || front.iter().map(|point| point[axis]);
            let least = values().fold(f64::INFINITY, f64::min);
            let range = values().fold(f64::NEG_INFINITY, f64::max) - least;
            (least, if range > 0.0 { range } else { 1.0 })
        })
        .collect();
    if bounds.is_empty() {
        return vec![0.0; front.len()];
    }
    let points: Vec<[f64; 3]> = front
        .iter()
        .chain(present)
        .map(|values| {
            let mut point = [0.0; MOST_OBJECTIVES];
            for ((coordinate, value), (least, range)) in point.iter_mut().zip(*values).zip(&bounds)
            {
                *coordinate = (value - least) / range;
            }
            point
        })
        .collect();
    let sweep = Sweep::new(&points);
    let of_front = points[..front.len()].iter().enumerate();
    of_front
        .map(|(place, point)| sweep.growth(*point, [REFERENCE; 3], place))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// One gene of as many alleles as there are evaluations.
    fn archive(evaluations: &[Option<[f64; 2]>]) -> Archive {
        let mut archive = Archive::new(Space::new([255]).unwrap());
        for (candidate, evaluation) in (0..).zip(evaluations) {
            let genome = Genome(vec![candidate as u8]);
            archive.record(&Event::Asked { candidate, genome }).unwrap();
            if let Some(objectives) = evaluation {
                let evaluation = Evaluation::unlimited(objectives.to_vec());
                let told = Event::Told {
                    candidate,
                    evaluation,
                };
                archive.record(&told).unwrap();
            }
        }
        archive
    }

    #[test]
    fn who_adds_least_to_the_worst_front_leaves() {
        // A line with steps of one, and two that crowd each other on it.
        let mut evaluations: Vec<_> = (0..POPULATION - 1)
            .map(|step| Some([step as f64, 100.0 - step as f64]))
            .collect();
        evaluations.push(Some([5.1, 94.95]));
        evaluations.push(Some([90.0, 1.0]));
        let parents = Lineage::default().parents(&archive(&evaluations));
        assert_eq!(parents.len(), POPULATION);
        let left = |number: u8| !parents.iter().any(|parent| parent.genome.0[0] == number);
        assert!(left(POPULATION as u8 - 1), "{parents:?}");
        // What is dominated leaves before anything on the front does.
        evaluations.push(Some([200.0, 200.0]));
        let parents = Lineage::default().parents(&archive(&evaluations));
        assert!(parents.iter().all(|parent| parent.rank == 0), "{parents:?}");
    }

    #[test]
    fn what_is_being_tried_counts_as_present() {
        // The fourth differs from all in its one gene; the earliest then is the nearest.
        let evaluations = [Some([1.0, 1.0]), Some([0.0, 2.0]), Some([2.0, 0.0]), None];
        let parents = Lineage::default().parents(&archive(&evaluations));
        let of = |number: u8| {
            let found = parents.iter().find(|parent| parent.genome.0[0] == number);
            found.unwrap().crowding
        };
        assert!(of(0).abs() < 1e-12 && of(1) > 0.0, "{parents:?}");
    }
}
