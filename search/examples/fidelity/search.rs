//! A search that scores every candidate that is proposed, or the best of those that it screened.

use std::collections::BTreeSet;

use bitfront_search::{
    Evaluation, Event, Genome, Growth, Shared, Strategy, Surrogate, hypervolume,
};

use crate::race::given_up;
use crate::world::{WINDOW_DEVIATION, WINDOWS, World};

/// What a timing costs, as a share of an evaluation: nothing, which is as favourable to screening
/// as can be, and what the strategy takes it for.
pub(crate) const TIMINGS: [f64; 2] = [0.0, 0.4];

/// How many go on at once, after one fit of the model: one by one a run takes twice as long, for a
/// little less cost.
const TOGETHER: usize = 2;

/// Screened candidates that may go on later, the latest.
const WAITING: usize = 48;

/// How candidates are measured.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Whether one is given up that cannot come out better than its rival.
    is_staged: bool,
    screening: Option<Screening>,
}

/// How candidates are screened.
#[derive(Clone, Copy)]
pub(crate) struct Screening {
    /// New ones for each that goes on.
    pub(crate) candidates: usize,
    pub(crate) windows: usize,
    /// Whether their loss is told as that of the whole text.
    pub(crate) is_exact: bool,
    /// Whether the model learns from it, or it serves the choice alone.
    pub(crate) is_learned: bool,
}

impl Way {
    pub(crate) const fn scored(name: &'static str, is_staged: bool) -> Self {
        Self {
            name,
            is_staged,
            screening: None,
        }
    }

    pub(crate) const fn screened(name: &'static str, screening: Screening) -> Self {
        Self {
            name,
            is_staged: true,
            screening: Some(screening),
        }
    }
}

/// A candidate that was scored, on all windows or until it was given up.
pub(crate) struct Scored {
    pub(crate) genome: Genome,
    pub(crate) told: Vec<f64>,
    /// The loss on every window; none where it was given up.
    pub(crate) losses: Option<Vec<f64>>,
    /// Windows, as shares of a text, and timings of all candidates until then.
    spent: [f64; 2],
}

/// One search.
pub(crate) struct Search<'a> {
    world: &'a World,
    way: &'a Way,
    seed: u64,
    pub(crate) scored: Vec<Scored>,
    /// What was screened, as it was told, in order.
    screened: Vec<(Genome, f64)>,
    spent: [f64; 2],
    growth: Growth,
}

impl<'a> Search<'a> {
    /// Searches until as much is spent whatever a timing costs.
    pub(crate) fn run(world: &'a World, way: &'a Way, seed: u64, budget: f64) -> Self {
        let mut search = Self {
            world,
            way,
            seed,
            scored: Vec::new(),
            screened: Vec::new(),
            spent: [0.0; 2],
            growth: Growth::new(world.reference(), &[]).unwrap(),
        };
        for genome in world.uniform() {
            search.score(genome, 0, false);
        }
        let mut strategy = search.rebuilt();
        while TIMINGS
            .iter()
            .any(|&timing| cost(search.spent, timing) < budget)
        {
            let Some(screening) = way.screening else {
                let Some(genome) = strategy.ask(search.scored.len() as u64) else {
                    break;
                };
                search.score(genome, 0, way.is_staged);
                let number = search.scored.len() - 1;
                tell(&mut strategy, number, &search.scored[number]);
                continue;
            };
            // What was proposed and does not go on is no candidate.
            strategy = search.rebuilt();
            let chosen = search.screen(&mut strategy, screening);
            if chosen.is_empty() {
                break;
            }
            for genome in chosen {
                search.score(genome, screening.windows, way.is_staged);
            }
        }
        search
    }

    /// A strategy that knows what was scored and what was screened.
    fn rebuilt(&self) -> Surrogate {
        let mut strategy = Surrogate::new(self.world.problem(), self.seed);
        for (number, scored) in self.scored.iter().enumerate() {
            tell(&mut strategy, number, scored);
        }
        for (genome, loss) in &self.screened {
            self.teach(&mut strategy, genome, *loss);
        }
        strategy
    }

    fn teach(&self, strategy: &mut Surrogate, genome: &Genome, loss: f64) {
        if self.way.screening.is_some_and(|it| !it.is_learned) {
            return;
        }
        let mut figures = vec![None; self.world.reference().len()];
        figures[0] = Some(loss);
        let shared = Shared {
            genome: genome.clone(),
            figures,
            is_reused: false,
        };
        strategy.tell(&Event::Shared(shared)).unwrap();
    }

    /// Screens new proposals, each of which counts as present for the next, and returns which of
    /// all that were screened are expected to extend the front most; none where nothing is new.
    fn screen(&mut self, strategy: &mut Surrogate, screening: Screening) -> Vec<Genome> {
        let known: BTreeSet<Genome> = self.screened.iter().map(|(it, _)| it.clone()).collect();
        let mut new = Vec::new();
        let mut asked = self.scored.len() as u64;
        while new.len() < screening.candidates * TOGETHER {
            let Some(genome) = strategy.ask(asked) else {
                break;
            };
            let event = Event::Asked {
                candidate: asked,
                genome: genome.clone(),
            };
            strategy.tell(&event).unwrap();
            asked += 1;
            if !known.contains(&genome) {
                new.push(genome);
            }
        }
        for genome in new {
            let plan = self.world.measure(&genome, self.seed);
            let loss = if screening.is_exact {
                plan.told[0]
            } else {
                plan.first(screening.windows)
            };
            self.spent[0] += screening.windows as f64 / WINDOWS as f64;
            self.teach(strategy, &genome, loss);
            self.screened.push((genome, loss));
        }
        self.best_of_waiting(strategy, screening)
    }

    /// What was screened last and has not gone on is held against the front by what the model
    /// believes. Of its loss it also has a measurement of its own, which counts by how much of the
    /// distance from the model is the plan's and not of the few windows.
    fn best_of_waiting(&self, strategy: &Surrogate, screening: Screening) -> Vec<Genome> {
        let scored: BTreeSet<&Genome> = self.scored.iter().map(|it| &it.genome).collect();
        let waiting = self.screened.iter().rev();
        let waiting: Vec<&(Genome, f64)> = waiting
            .filter(|(genome, _)| !scored.contains(genome))
            .take(WAITING)
            .collect();
        let belief = strategy.belief();
        let whole: Vec<&Scored> = self
            .scored
            .iter()
            .filter(|it| it.losses.is_some())
            .collect();
        let genomes: Vec<Genome> = whole.iter().map(|it| it.genome.clone()).collect();
        let believed = belief.of(&genomes).unwrap();
        // As the strategy itself draws what was measured towards what it believes.
        let mut front: Vec<Vec<f64>> = believed
            .iter()
            .zip(&whole)
            .map(|(believed, scored)| {
                let pairs = believed.iter().zip(&scored.told);
                pairs.map(|(it, told)| 0.5 * (it.value + told)).collect()
            })
            .collect();
        let reference = self.world.reference();
        let genomes: Vec<Genome> = waiting.iter().map(|(genome, _)| genome.clone()).collect();
        let windows = screening.windows as f64;
        let deviation = if screening.is_exact {
            0.0
        } else {
            WINDOW_DEVIATION * (1.0 / windows - 1.0 / WINDOWS as f64).sqrt()
        };
        let believed = belief.of(&genomes).unwrap();
        let mut left: Vec<(Vec<f64>, &Genome)> = believed
            .iter()
            .zip(&waiting)
            .map(|(believed, (genome, loss))| {
                let mut point: Vec<f64> = believed.iter().map(|it| it.value).collect();
                let own = believed[0].scatter.powi(2);
                let share = own / (own + deviation.powi(2)).max(f64::MIN_POSITIVE);
                point[0] += share * (loss - point[0]);
                (point, genome)
            })
            .collect();
        let mut best = Vec::new();
        while best.len() < TOGETHER && !left.is_empty() {
            let worth = |(point, _): &(Vec<f64>, &Genome)| {
                let grown = front.iter().chain([point]);
                hypervolume(&grown.cloned().collect::<Vec<_>>(), &reference).unwrap()
            };
            let worths: Vec<f64> = left.iter().map(worth).collect();
            let places = 0..left.len();
            let first = places.max_by(|&one, &other| worths[one].total_cmp(&worths[other]));
            let (point, genome) = left.swap_remove(first.unwrap());
            front.push(point);
            best.push(genome.clone());
        }
        best
    }

    /// Times a candidate and scores what is left of its windows, all of them or in stages.
    fn score(&mut self, genome: Genome, screened: usize, is_staged: bool) {
        let plan = self.world.measure(&genome, self.seed);
        let given_up = is_staged
            .then(|| given_up(&self.scored, &plan, screened))
            .flatten();
        let windows = given_up.map_or(WINDOWS, |(windows, _)| windows);
        self.spent[0] += (windows - screened) as f64 / WINDOWS as f64;
        self.spent[1] += 1.0;
        let mut told = plan.told;
        if let Some((_, loss)) = given_up {
            told[0] = loss;
            self.growth.add(None);
        } else {
            self.growth.add(Some(&self.world.truth(&genome)));
        }
        self.scored.push(Scored {
            genome,
            told,
            losses: given_up.is_none().then_some(plan.losses),
            spent: self.spent,
        });
    }

    /// The cost until the hypervolume was this; none where it never was.
    pub(crate) fn cost_of(&self, wanted: f64, timing: f64) -> Option<f64> {
        let mut grown = self.growth.curve()[1..].iter().zip(&self.scored);
        let (_, scored) = grown.find(|(reached, _)| **reached >= wanted)?;
        Some(cost(scored.spent, timing))
    }
}

fn tell(strategy: &mut Surrogate, number: usize, scored: &Scored) {
    let candidate = number as u64;
    let genome = scored.genome.clone();
    strategy.tell(&Event::Asked { candidate, genome }).unwrap();
    let evaluation = Evaluation::unlimited(scored.told.clone());
    let told = Event::Told {
        candidate,
        evaluation,
    };
    strategy.tell(&told).unwrap();
}

fn cost([windows, timings]: [f64; 2], timing: f64) -> f64 {
    (1.0 - timing) * windows + timing * timings
}
