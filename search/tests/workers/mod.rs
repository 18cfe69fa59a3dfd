//! Workers that measure the candidates of one search at speeds of their own, in simulated time, for
//! tests and examples.

use std::collections::VecDeque;
use std::time::Instant;

use bitfront_search::{Evaluation, Event, Genome, Strategy, Surrogate};

use super::fleet::{Dice, Fleet};

/// What the fastest worker takes for the slowest plan, in seconds.
const FASTEST: f64 = 2.0;

/// Who takes a candidate when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As many candidates as there are workers, and no other before all are measured.
    Batches,
    /// Whenever fewer are pending, measured or waiting, than so many for every worker.
    Pending(usize),
}

/// The workers of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workers {
    pub(crate) count: usize,
    /// How many times as long the slowest takes as the fastest; the others lie between at equal
    /// ratios.
    pub(crate) spread: f64,
    pub(crate) manner: Manner,
    /// Seconds of an ask; those that it takes here where there are none.
    pub(crate) ask: Option<f64>,
}

/// What came of it.
pub(crate) struct Outcome {
    /// In the order in which they were measured.
    pub(crate) genomes: Vec<Genome>,
    /// The share of the workers' time in which they measured, until there was nothing more to
    /// propose.
    pub(crate) busy: f64,
    /// Seconds of simulated time until then.
    pub(crate) seconds: f64,
}

/// A search in progress.
struct Simulation<'a> {
    workers: Workers,
    fleet: &'a Fleet,
    strategy: Surrogate,
    dice: Dice,
    now: f64,
    /// Every candidate.
    asked: Vec<Genome>,
    waiting: VecDeque<usize>,
    /// What each worker measures, and until when.
    measured: Vec<Option<(f64, usize)>>,
    /// The proposal that is being made, and until when.
    proposed: Option<(f64, Genome)>,
    is_filling: bool,
    /// From when to when someone measured.
    work: Vec<(f64, f64)>,
    last_start: f64,
    told: Vec<Genome>,
}

/// Runs a search of the first device's problem for so many candidates.
pub(crate) fn simulate(fleet: &Fleet, workers: Workers, budget: usize, seed: u64) -> Outcome {
    let mut simulation = Simulation {
        workers,
        fleet,
        strategy: Surrogate::new(fleet.problem(0), seed),
        dice: Dice::new(seed ^ 0xa5),
        now: 0.0,
        asked: Vec::new(),
        waiting: VecDeque::new(),
        measured: vec![None; workers.count],
        proposed: None,
        is_filling: true,
        work: Vec::new(),
        last_start: 0.0,
        told: Vec::new(),
    };
    while simulation.told.len() < budget {
        simulation.propose(budget);
        simulation.start();
        simulation.proceed();
    }
    let end = simulation.last_start;
    let work = simulation.work.iter();
    let busy: f64 = work.map(|(from, to)| to.min(end) - from.min(end)).sum();
    Outcome {
        genomes: simulation.told,
        busy: busy / (end * workers.count as f64),
        seconds: end,
    }
}

impl Simulation<'_> {
    fn pending(&self) -> usize {
        self.asked.len() - self.told.len()
    }

    /// Begins a proposal where one is due.
    fn propose(&mut self, budget: usize) {
        let is_due = match self.workers.manner {
            Manner::Batches => {
                self.is_filling = match self.pending() {
                    0 => true,
                    pending => self.is_filling && pending < self.workers.count,
                };
                self.is_filling
            }
            Manner::Pending(each) => self.pending() < each * self.workers.count,
        };
        if !is_due || self.proposed.is_some() || self.asked.len() >= budget {
            return;
        }
        let uniform = self.fleet.uniform();
        let number = self.asked.len();
        if let Some(genome) = uniform.get(number) {
            self.proposed = Some((self.now, genome.clone()));
            return;
        }
        let start = Instant::now();
        let genome = self.strategy.ask((number - uniform.len()) as u64).unwrap();
        let seconds = self.workers.ask.unwrap_or(start.elapsed().as_secs_f64());
        self.proposed = Some((self.now + seconds, genome));
    }

    /// Lets idle workers take what waits.
    fn start(&mut self) {
        for worker in 0..self.workers.count {
            if self.measured[worker].is_some() {
                continue;
            }
            let Some(candidate) = self.waiting.pop_front() else {
                break;
            };
            let others = (self.workers.count - 1).max(1) as f64;
            let slower = self.workers.spread.powf(worker as f64 / others);
            // Slow plans take longer to time, and all about as long to score.
            let [_, time, _] = self.fleet.place(&self.asked[candidate], 0);
            let plan = 0.5 + 0.5 * time.clamp(0.0, 1.0);
            let seconds = FASTEST * slower * plan * (0.1 * self.dice.normal()).exp();
            self.measured[worker] = Some((self.now + seconds, candidate));
            self.work.push((self.now, self.now + seconds));
            self.last_start = self.now;
        }
    }

    /// Goes on to what happens next.
    fn proceed(&mut self) {
        let working = self.measured.iter().enumerate();
        let finished = working
            .filter_map(|(worker, work)| Some(((*work)?.0, worker)))
            .min_by(|left, right| left.0.total_cmp(&right.0));
        let proposed = self.proposed.as_ref().map(|(at, _)| *at);
        match (finished, proposed) {
            (Some((at, worker)), proposed) if proposed.is_none_or(|proposed| at < proposed) => {
                self.now = at;
                let (_, candidate) = self.measured[worker].take().unwrap();
                self.tell(candidate);
            }
            _ => {
                let (at, genome) = self.proposed.take().unwrap();
                self.now = at;
                let candidate = self.asked.len();
                self.asked.push(genome.clone());
                self.waiting.push_back(candidate);
                let candidate = candidate as u64;
                let asked = Event::Asked { candidate, genome };
                self.strategy.tell(&asked).unwrap();
            }
        }
    }

    fn tell(&mut self, candidate: usize) {
        let genome = self.asked[candidate].clone();
        let figures = self.fleet.measured(&genome, 0, 0, &mut self.dice);
        self.told.push(genome);
        let told = Event::Told {
            candidate: candidate as u64,
            evaluation: Evaluation::unlimited(figures.to_vec()),
        };
        self.strategy.tell(&told).unwrap();
    }
}
