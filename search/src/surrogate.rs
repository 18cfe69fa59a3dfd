//! Surrogate-assisted search: a model of every objective proposes what is worth a measurement.
//!
//! Measurements are few and the parts of a model add up, so each objective is learned as a sum
//! over the genes, from guesses that cost no measurement. Each proposal is the genome that would
//! add most to the hypervolume if the model were right:
//!
//! 1. `model`: fit every objective to what was measured,
//! 2. `descent`: find the best genomes of many weightings of the objectives,
//! 3. `evolution`: spread them along the front with NSGA-II, both on the model alone,
//! 4. `improvement`: take the one that adds most to the front of all that was measured and is
//!    pending.
//!
//! The shape is that of surrogate-assisted evolutionary search as in NSGANetV2 (Lu et al., 2020)
//! and AMQ (Lee et al., 2025). What differs: the surrogate is additive and positive, begins at a
//! guess and learns from single results; proposals are taken one by one, and pending ones count as
//! present at the values that the model expects (Kriging believer; Ginsbourger et al., 2010).

mod additive;
mod descent;
mod design;
mod evolution;
mod improvement;
mod model;
mod scale;

use crate::archive::{Archive, Candidate};
use crate::event::{Evaluation, Event, EventError};
use crate::front::non_dominated;
use crate::generator::Generator;
use crate::operators::sampling::mixed_level;
use crate::problem::Problem;
use crate::space::Genome;
use crate::strategy::Strategy;
use descent::{descend, weighted, weights};
use evolution::{Member, evolve};
use improvement::Front;
use model::{Model, Priors};
use scale::Scale;

/// Candidates between two fits of the model.
const REFIT: usize = 4;

/// Weightings of the objectives whose best genomes begin the evolution.
const WEIGHTINGS: usize = 48;

/// The most candidates that a model is fitted to, the latest ones: the time of a fit grows with
/// their cube.
const MOST_VALUES: usize = 800;

/// Proposes what would add most to the front by the model's account.
#[derive(Debug)]
pub struct Surrogate {
    problem: Problem,
    archive: Archive,
    seed: u64,
    priors: Priors,
    /// Derived from the archive: the last fit.
    fitted: Option<Fitted>,
}

/// What follows from the candidates that a model was fitted to.
#[derive(Debug)]
struct Fitted {
    /// How many they were.
    settled: usize,
    model: Model,
    scale: Scale,
    pool: Vec<Member>,
    /// The front of all that was measured and is pending; none after an evaluation was told.
    front: Option<Front>,
}

impl Surrogate {
    /// A strategy before any event, for a problem with a law for every objective.
    pub fn new(problem: Problem, seed: u64) -> Self {
        Self {
            archive: Archive::new(problem.space().clone()),
            priors: Priors::new(&problem),
            problem,
            seed,
            fitted: None,
        }
    }

    /// The candidates that a model may learn from: those of every run of [`REFIT`] candidates that
    /// is evaluated as a whole. The fit is then the same wherever the evaluations came in between,
    /// and is done once for all asks of a run.
    fn settled(&self) -> Vec<&Candidate> {
        let runs = self.archive.candidates().chunks_exact(REFIT);
        let whole = |run: &&[Candidate]| run.iter().all(|candidate| candidate.fitness.is_some());
        runs.filter(whole)
            .flatten()
            .filter(|candidate| is_measured(candidate))
            .collect()
    }

    fn fit(&self, settled: &[&Candidate]) -> Fitted {
        let latest = &settled[settled.len().saturating_sub(MOST_VALUES)..];
        let model = Model::fit(&self.priors, latest);
        let space = self.problem.space();
        // From the other end of the numbers, so that no fit shares its stream with an ask.
        let mut generator = Generator::new(self.seed, u64::MAX - settled.len() as u64);
        let mut seeds: Vec<Genome> = front_of(settled);
        for level in 0..=2 {
            // Without any measurement the ends and the middle of the space begin the front.
            seeds.push(Genome(
                space
                    .alleles()
                    .iter()
                    .map(|&count| ((usize::from(count) - 1) * level / 2) as u8)
                    .collect(),
            ));
        }
        let points: Vec<Vec<f64>> = seeds.iter().map(|genome| model.predict(genome)).collect();
        let scale = Scale::new(&self.problem, &points);
        let objectives = self.problem.objectives().len();
        for _ in 0..WEIGHTINGS {
            let weights = weights(objectives, &mut generator);
            let start = (0..points.len())
                .min_by(|&left, &right| {
                    let value = |place: usize| weighted(&weights, &scale, &points[place]);
                    value(left).total_cmp(&value(right))
                })
                .unwrap_or(0);
            let mut genome = seeds[start].clone();
            descend(space, &model, &scale, &weights, &mut genome);
            seeds.push(genome);
        }
        let pool = evolve(space, &model, &scale, seeds, &mut generator);
        Fitted {
            settled: settled.len(),
            model,
            scale,
            pool,
            front: None,
        }
    }

    /// What was measured, drawn towards what the model says, and what is pending, as it says; in
    /// the order of the asks, so that candidates asked since can be added to it.
    fn front(&self, fitted: &Fitted) -> Front {
        let mut front = Front::default();
        for candidate in self.archive.candidates() {
            match &candidate.fitness {
                None => fitted.believe(&candidate.genome, &mut front),
                Some(fitness) if is_measured(candidate) && fitness.violation() == 0.0 => {
                    let mut point = fitted.model.predict(&candidate.genome);
                    for (predicted, measured) in point.iter_mut().zip(fitness.objectives()) {
                        *predicted = 0.5 * (*predicted + measured);
                    }
                    front.add(fitted.scale.normalised(&point));
                }
                Some(_) => {}
            }
        }
        front
    }
}

impl Fitted {
    /// Adds a pending genome to a front, at the values that the model expects. One that is
    /// expected to break a limit takes nothing from those that keep it.
    fn believe(&self, genome: &Genome, front: &mut Front) {
        let member = Member::new(genome.clone(), &self.model, &self.scale);
        if member.fitness.violation() == 0.0 {
            front.add(member.point);
        }
    }
}

fn is_measured(candidate: &Candidate) -> bool {
    candidate
        .fitness
        .as_ref()
        .is_some_and(|fitness| !fitness.objectives().is_empty())
}

/// The genomes of the candidates that no other is better than.
fn front_of(candidates: &[&Candidate]) -> Vec<Genome> {
    let points: Vec<&[f64]> = candidates
        .iter()
        .map(|candidate| {
            candidate
                .fitness
                .as_ref()
                .map_or(&[][..], |fitness| fitness.objectives())
        })
        .collect();
    let front = non_dominated(&points);
    front
        .into_iter()
        .map(|place| candidates[place].genome.clone())
        .collect()
}

impl Strategy for Surrogate {
    fn tell(&mut self, event: &Event) -> Result<(), EventError> {
        if let Event::Told {
            candidate,
            evaluation: Evaluation::Measured { objectives, .. },
        } = event
        {
            let expected = self.problem.objectives().len();
            let found = objectives.len();
            if found != expected {
                return Err(EventError::ObjectiveCount {
                    candidate: *candidate,
                    expected,
                    found,
                });
            }
        }
        self.archive.record(event)?;
        if let Some(fitted) = &mut self.fitted
            && let Some(mut front) = fitted.front.take()
            && let Event::Asked { genome, .. } = event
        {
            fitted.believe(genome, &mut front);
            fitted.front = Some(front);
        }
        Ok(())
    }

    fn ask(&mut self, ask_number: u64) -> Option<Genome> {
        let fitted = self.fitted.take();
        let settled = self.settled();
        let mut fitted = match fitted {
            Some(fitted) if fitted.settled == settled.len() => fitted,
            _ => self.fit(&settled),
        };
        let front = fitted.front.take().unwrap_or_else(|| self.front(&fitted));
        let mut best: Option<(f64, &Member)> = None;
        for member in fitted
            .pool
            .iter()
            .filter(|member| self.archive.is_new(&member.genome))
        {
            let improvement = front.improvement(member);
            // The pool is in the order of survival, so where nothing improves the front the first
            // is the nearest to it, or to keeping the limits.
            if best.is_none_or(|(most, _)| improvement > most) {
                best = Some((improvement, member));
            }
        }
        let genome = match best {
            Some((_, member)) => member.genome.clone(),
            None => {
                let mut generator = Generator::new(self.seed, ask_number);
                mixed_level(self.problem.space(), &mut generator)
            }
        };
        fitted.front = Some(front);
        self.fitted = Some(fitted);
        self.archive.next_new(genome)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::problem::{Law, Limited, Table};
    use crate::space::Space;

    /// Otherwise what cannot be shipped would stand in the way of what can.
    #[test]
    fn a_pending_genome_that_breaks_a_limit_is_not_on_the_front() {
        let space = Space::new([3; 4]).unwrap();
        let table = || Table::new(vec![vec![3.0, 2.0, 1.0]; 4]);
        let rising = Table::new(vec![vec![1.0, 2.0, 3.0]; 4]);
        for (limit, is_on_front) in [(100.0, true), (1.0, false)] {
            let law = |table| Law::Exact {
                constant: 0.0,
                table,
            };
            let limited = Limited {
                law: law(table()),
                limit,
            };
            let problem = Problem::new(space.clone(), vec![law(table()), law(rising.clone())]);
            let problem = problem.unwrap().with_limited(vec![limited]).unwrap();
            let mut strategy = Surrogate::new(problem, 1);
            let genome = strategy.ask(0).unwrap();
            let candidate = 0;
            strategy.tell(&Event::Asked { candidate, genome }).unwrap();
            let front = strategy.fitted.unwrap().front.unwrap();
            assert_eq!(front.is_empty(), !is_on_front, "limit {limit}");
        }
    }
}
