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
//! `pool` is the second and third step. Beside the proposals stand `belief`, what the model says of
//! any genome and how surely, with `exchange` and `closing`, which answer from it for one set of
//! limits, and `trust`, what its predictions were worth: where they rank badly, every second
//! proposal is a child by [`sms_emoa`](crate::sms_emoa).
//!
//! What other searches measured teaches the model as well, figure by figure
//! ([`Shared`](crate::Shared)), and is no part of the front: a genome is of this search only once
//! it is a candidate. Where its loss need not be measured again, asking it costs less, and what a
//! proposal adds is weighed against what it costs.
//!
//! The shape is that of surrogate-assisted evolutionary search as in NSGANetV2 (Lu et al., 2020)
//! and AMQ (Lee et al., 2025). What differs: the surrogate is additive and positive, begins at a
//! guess and learns from single results; proposals are taken one by one, and pending ones count as
//! present at the values that the model expects (Kriging believer; Ginsbourger et al., 2010).

mod additive;
mod belief;
mod closing;
mod descent;
mod design;
mod doubt;
mod evolution;
mod exchange;
mod improvement;
mod learned;
mod model;
mod peel;
mod pool;
mod scale;
mod trust;

use std::ops::Range;

use crate::archive::{Archive, Candidate};
use crate::event::{Evaluation, Event, EventError};
use crate::generator::Generator;
use crate::operators::sampling::mixed_level;
use crate::problem::Problem;
use crate::sms_emoa::Lineage;
use crate::space::Genome;
use crate::strategy::Strategy;
use additive::Effort;
pub use belief::{Belief, BeliefError, Believed, Solved};
use doubt::doubts;
pub use doubt::{Among, Doubt};
use evolution::Member;
use improvement::Front;
use learned::{beside, learned};
use model::{Model, Priors};
use pool::pool;
use scale::Scale;
pub use trust::Check;
use trust::{CHECKED, correlations};

/// Candidates between two fits of the model, and tellings of what other searches measured.
const REFIT: usize = 4;

/// What asking a genome costs whose loss another search measured, as a share of what another one
/// costs, where a timing takes two thirds of what scoring takes. A quarter did as well in
/// simulation, on instances from 1000 on of `examples/joint.rs`.
const TIMING_SHARE: f64 = 0.4;

/// Proposes what would add most to the front by the model's account.
#[derive(Debug)]
pub struct Surrogate {
    problem: Problem,
    archive: Archive,
    seed: u64,
    priors: Priors,
    /// Derived from the archive: the last fit.
    fitted: Option<Fitted>,
    /// Derived from the archive: the correlations of every checked run that were asked for.
    checked: Vec<Option<Vec<Option<f64>>>>,
    /// Derived from the archive: what is doubted among so many candidates; none after one was
    /// retold.
    doubted: Option<((Among, usize), Vec<Doubt>)>,
    /// Derived from the archive: whose children are proposed where the model is distrusted.
    lineage: Lineage,
}

/// What follows from the candidates that a model was fitted to.
#[derive(Debug)]
struct Fitted {
    /// How many they were.
    settled: usize,
    /// How many tellings of what other searches measured.
    tellings: usize,
    model: Model,
    scale: Scale,
    pool: Vec<Member>,
    /// The shared genomes whose loss need not be measured again, by so many tellings.
    reused: Vec<Member>,
    looked_at: usize,
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
            checked: Vec::new(),
            doubted: None,
            lineage: Lineage::default(),
        }
    }

    /// The candidates that a model may learn from: those of every run of [`REFIT`] candidates that
    /// is evaluated as a whole. The fit is then the same wherever the evaluations came in between,
    /// and is done once for all asks of a run.
    fn settled(&self) -> Vec<&Candidate> {
        let evaluated = self.evaluated_in_runs_of(REFIT);
        evaluated
            .filter(|candidate| is_measured(candidate))
            .collect()
    }

    /// The candidates of every run of so many that is evaluated as a whole.
    fn evaluated_in_runs_of(&self, length: usize) -> impl Iterator<Item = &Candidate> {
        let runs = self.archive.candidates().chunks_exact(length);
        let whole = |run: &&[Candidate]| run.iter().all(|candidate| candidate.fitness.is_some());
        runs.filter(whole).flatten()
    }

    /// The tellings of what other searches measured that a model may learn from: as many as make
    /// whole runs of [`REFIT`], so that it is not fitted anew for each.
    fn settled_tellings(&self) -> usize {
        let tellings = self.archive.tellings();
        tellings - tellings % REFIT
    }

    /// What is believed after all that was told so far. Costs one fit of the model, and changes
    /// nothing.
    pub fn belief(&self) -> Belief<'_> {
        let candidates = self.archive.candidates().iter();
        let measured: Vec<&Candidate> = candidates
            .filter(|candidate| is_measured(candidate))
            .collect();
        let learned = learned(&measured);
        let beside = beside(
            self.archive.shared_after(self.archive.tellings()),
            &measured,
        );
        let candidates = self.archive.candidates().iter();
        let infeasible = candidates
            .filter(|candidate| candidate.fitness.is_some() && !is_measured(candidate))
            .map(|candidate| &candidate.genome)
            .collect();
        let (problem, priors) = (&self.problem, &self.priors);
        let model = Model::fit_beside(priors, &learned, &beside, Effort::THOROUGH);
        Belief::new(problem, priors, self.seed, measured, infeasible, model)
    }

    /// Runs of candidates that are evaluated as a whole, and all before them.
    fn whole_runs(&self) -> usize {
        let candidates = self.archive.candidates().iter();
        let is_evaluated = |candidate: &&Candidate| candidate.fitness.is_some();
        candidates.take_while(is_evaluated).count() / CHECKED
    }

    /// By a model that has learned from candidates alone, and by what was told first. Which shared
    /// genomes had been told before a run, and what had been retold, depends on how the events
    /// interleave, which is not for a check to depend on; nor is what a prediction was worth for a
    /// later timing to change.
    fn check(&self, run: usize) -> Vec<Option<f64>> {
        let measured = |from: usize, count: usize| -> Vec<&Candidate> {
            let candidates = self.archive.first_told().skip(from).take(count);
            candidates.filter(|c| is_measured(c)).collect()
        };
        let (before, run) = (measured(0, run * CHECKED), measured(run * CHECKED, CHECKED));
        correlations(&self.priors, &learned(&before), &run)
    }

    /// Checks those of the runs that were not checked before.
    fn check_runs(&mut self, runs: Range<usize>) {
        self.checked.resize(self.whole_runs(), None);
        for run in runs {
            if self.checked[run].is_none() {
                self.checked[run] = Some(self.check(run));
            }
        }
    }

    /// Whether the last two runs say that the model is not to be followed.
    fn is_distrusted(&mut self) -> bool {
        let runs = self.whole_runs();
        self.check_runs(runs.saturating_sub(2).max(1)..runs);
        match &self.checked[..] {
            [.., Some(before), Some(now)] => Check::is_distrusted(before, now),
            _ => false,
        }
    }

    /// Drops what was derived from a candidate's figures before they changed. The checks stand:
    /// they are by what was told first.
    fn forget(&mut self) {
        self.fitted = None;
        self.doubted = None;
        self.lineage = Lineage::default();
    }

    fn fit(&self, settled: &[&Candidate], tellings: usize) -> Fitted {
        let beside = beside(self.archive.shared_after(tellings), settled);
        let model = Model::fit_beside(&self.priors, &learned(settled), &beside, Effort::QUICK);
        // From the other end of the numbers, so that no fit shares its stream with an ask.
        let known = settled.len() + tellings;
        let mut generator = Generator::new(self.seed, u64::MAX - known as u64);
        let (scale, pool) = pool(&self.problem, &model, settled, &[], &mut generator);
        Fitted {
            settled: settled.len(),
            tellings,
            model,
            scale,
            pool,
            reused: Vec::new(),
            looked_at: 0,
            front: None,
        }
    }

    /// What asking a genome costs, as a share of what it costs where nothing is known of it.
    fn cost(&self, genome: &Genome) -> f64 {
        match self.archive.shared_of(genome) {
            Some(shared) if shared.is_reused => TIMING_SHARE,
            _ => 1.0,
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
    /// Takes in what was shared since the last look.
    fn look_at(&mut self, archive: &Archive) {
        for genome in archive.reused_since(self.looked_at) {
            let member = Member::new(genome.clone(), &self.model, &self.scale);
            self.reused.push(member);
        }
        self.looked_at = archive.tellings();
    }

    /// Adds a pending genome to a front, at the values that the model expects. One that is
    /// expected to break a limit takes nothing from those that keep it.
    fn believe(&self, genome: &Genome, front: &mut Front) {
        let member = Member::new(genome.clone(), &self.model, &self.scale);
        if member.violation == 0.0 {
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

impl Strategy for Surrogate {
    fn tell(&mut self, event: &Event) -> Result<(), EventError> {
        if let Event::Told {
            candidate,
            evaluation: Evaluation::Measured { objectives, .. },
        }
        | Event::Retold {
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
        if let Event::Shared(shared) = event {
            let expected = self.problem.objectives().len() + self.problem.limited().len();
            let found = shared.figures.len();
            if found != expected {
                return Err(EventError::SharedFigures { expected, found });
            }
        }
        self.archive.record(event)?;
        if let Some(fitted) = &mut self.fitted
            && !matches!(event, Event::Shared(_))
            && let Some(mut front) = fitted.front.take()
            && let Event::Asked { genome, .. } = event
        {
            fitted.believe(genome, &mut front);
            fitted.front = Some(front);
        }
        if let Event::Retold { .. } = event {
            self.forget();
        }
        Ok(())
    }

    fn ask(&mut self, ask_number: u64) -> Option<Genome> {
        let is_every_second = self.archive.candidates().len() % 2 == 1;
        if is_every_second && self.is_distrusted() {
            let mut generator = Generator::new(self.seed, ask_number);
            let genome = self.lineage.child(&self.archive, &mut generator);
            return self.archive.next_new(genome);
        }
        let fitted = self.fitted.take();
        let (settled, tellings) = (self.settled(), self.settled_tellings());
        let known = (settled.len(), tellings);
        let mut fitted = match fitted {
            Some(fitted) if (fitted.settled, fitted.tellings) == known => fitted,
            _ => self.fit(&settled, tellings),
        };
        let mut front = fitted.front.take().unwrap_or_else(|| self.front(&fitted));
        fitted.look_at(&self.archive);
        let mut best: Option<(f64, &Member)> = None;
        // The pool is in the order of survival, so where nothing improves the front the first is
        // the nearest to it, or to keeping the limits.
        for member in fitted
            .pool
            .iter()
            .chain(&fitted.reused)
            .filter(|member| self.archive.is_new(&member.genome))
        {
            let worth = front.improvement(member) / self.cost(&member.genome);
            if best.is_none_or(|(most, _)| worth > most) {
                best = Some((worth, member));
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

    /// Run by run of 16 candidates: each by the model after all candidates before it, as soon as
    /// those and the run itself are evaluated, and all by what was told first. Of the first run
    /// there is none, since no model had learned anything. Costs a fit for every run that neither
    /// an ask nor an earlier call needed.
    fn trust(&mut self) -> Vec<Check> {
        self.check_runs(1..self.whole_runs());
        let mut checks: Vec<Check> = Vec::new();
        for (run, correlations) in self.checked.iter().enumerate() {
            let Some(correlations) = correlations else {
                continue;
            };
            let is_distrusted = checks
                .last()
                .is_some_and(|before| Check::is_distrusted(&before.correlations, correlations));
            checks.push(Check {
                candidates: run * CHECKED,
                correlations: correlations.clone(),
                is_distrusted,
            });
        }
        checks
    }

    /// Decided anew whenever there are more candidates among which it is decided, and whenever one
    /// is retold. Costs a fit then, and O(n² e + n³) for the deviations of the n candidates that it
    /// learned from and e effects.
    fn doubtful(&mut self, among: Among) -> Vec<Doubt> {
        let length = match among {
            Among::WholeRuns => CHECKED,
            Among::Evaluated => 1,
        };
        // What is evaluated stays so: as many of them are the same ones.
        let known = (among, self.evaluated_in_runs_of(length).count());
        let doubted = self.doubted.take().filter(|(looked, _)| *looked == known);
        let (_, doubts) = self.doubted.insert(doubted.unwrap_or_else(|| {
            let evaluated = self.evaluated_in_runs_of(length);
            let measured: Vec<&Candidate> = evaluated.filter(|c| is_measured(c)).collect();
            (known, doubts(&self.priors, &learned(&measured)))
        }));
        doubts.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::problem::{Law, Limited, Table};
    use crate::space::Space;

    /// A second timing changes what is proposed, and not what an earlier prediction was worth. A
    /// check that stands is not computed again.
    #[test]
    fn what_is_retold_changes_no_check_and_costs_none_a_fit() {
        let law = |part: fn(u8) -> f64| Law::Time(Table::new(vec![(0..4).map(part).collect(); 6]));
        let laws = vec![law(|it| 4.0 - f64::from(it)), law(|it| 1.0 + f64::from(it))];
        let problem = Problem::new(Space::new([4; 6]).unwrap(), laws).unwrap();
        let evaluation = |genome: &Genome, factor: f64| {
            let sum: f64 = genome.0.iter().map(|&it| f64::from(it)).sum();
            Evaluation::unlimited(vec![24.0 - sum, factor * (6.0 + sum)])
        };
        let mut living = Surrogate::new(problem.clone(), 1);
        let mut events = Vec::new();
        for candidate in 0..64 {
            let genome = living.ask(candidate).unwrap();
            let evaluation = evaluation(&genome, if candidate == 5 { 3.0 } else { 1.0 });
            let told = Event::Told {
                candidate,
                evaluation,
            };
            let both = [Event::Asked { candidate, genome }, told];
            for event in both {
                living.tell(&event).unwrap();
                events.push(event);
            }
        }
        let checks = living.trust();
        assert_eq!(checks.len(), 3);
        let genome = &living.archive.candidates()[5].genome;
        let retold = Event::Retold {
            candidate: 5,
            evaluation: evaluation(genome, 1.0),
        };
        living.tell(&retold).unwrap();
        assert!(living.fitted.is_none(), "a proposal learns of it");
        let known = living.checked[1..].iter().all(Option::is_some);
        assert!(known && living.checked.len() == 4, "{:?}", living.checked);
        assert_eq!(living.trust(), checks);
        // As a restart tells it, by which no check was asked for before.
        let mut replayed = Surrogate::new(problem, 1);
        events.sort_by_key(|event| !matches!(event, Event::Asked { .. }));
        for event in events.iter().chain([&retold]) {
            replayed.tell(event).unwrap();
        }
        assert_eq!(replayed.trust(), checks);
    }

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
