//! What it is worth to time again what the model contradicts, on the synthetic problem whose truth
//! is known: one timing in fifty takes 1.3 times as long as it should, as where another program ran
//! meanwhile.
//!
//! Prints, for every way to make one figure of two timings, how many of the times that were far off
//! were found and how many others were taken again, and what that did to the figures and the front.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use bitfront_search::{Among, Evaluation, Event, Genome, Strategy, Surrogate, non_dominated};
use synthetic::{Dice, Synthetic, Variant};

const INSTANCES: u64 = 5;

/// The share of timings that something happens to, and the factor that they take longer by.
const SPIKES: (f64, f64) = (0.02, 1.3);

const VARIANT: Variant = Variant {
    has_floats: false,
    has_families: true,
};

/// What counts where a plan was timed twice.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Nothing is timed twice.
    Once,
    /// The geometric mean of both.
    Mean,
    /// The second timing: it was not chosen for what it is.
    Second,
    /// Whichever of the two lies nearer to what the model believes.
    Model,
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    spikes: usize,
    found: usize,
    retimed: usize,
    /// Squares of the logarithm of told through true time, of those retimed and of all.
    of_retimed: f64,
    of_all: f64,
    /// The true hypervolume of the plans on the front that was told.
    front: f64,
    /// The hypervolume that this front claims, over the true one.
    claim: f64,
}

fn run(problem: &Synthetic, seed: u64, evaluations: usize, noise: [f64; 2], rule: Rule) -> Outcome {
    let mut strategy = Surrogate::new(problem.problem(), seed);
    let mut dice = Dice::new(seed);
    let mut outcome = Outcome::default();
    let (mut genomes, mut told): (Vec<Genome>, Vec<[f64; 3]>) = Default::default();
    let (mut spiked, mut is_retimed) = (Vec::new(), Vec::new());
    while genomes.len() < evaluations {
        let place = genomes.len();
        let genome = match problem.baselines.get(place) {
            Some(baseline) => baseline.clone(),
            None => strategy
                .ask((place - problem.baselines.len()) as u64)
                .unwrap(),
        };
        let candidate = place as u64;
        let truth = problem.objectives(&genome);
        let loss = truth[0] + noise[0] * dice.normal();
        let (time, is_spike) = dice.time(truth[1], noise[1], SPIKES);
        told.push([loss, time, truth[2]]);
        spiked.push(is_spike);
        is_retimed.push(false);
        genomes.push(genome.clone());
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        let evaluation = Evaluation::unlimited(told[place].to_vec());
        strategy
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
        if rule == Rule::Once {
            continue;
        }
        // One after the other, the farthest first, and one in ten at most.
        while (outcome.retimed + 1) * 10 <= genomes.len() {
            let doubts = strategy.doubtful(Among::WholeRuns).into_iter();
            let farthest =
                doubts.max_by(|left, right| left.deviations.total_cmp(&right.deviations));
            let Some(doubt) = farthest else {
                break;
            };
            let place = doubt.candidate as usize;
            let first = told[place][1];
            let (second, _) = dice.time(problem.objectives(&genomes[place])[1], noise[1], SPIKES);
            told[place][1] = match rule {
                Rule::Once => first,
                Rule::Mean => (first * second).sqrt(),
                Rule::Second => second,
                Rule::Model => {
                    let believed = strategy.belief().of(&genomes[place..=place]).unwrap();
                    let away = |time: f64| (time / believed[0][1].value).ln().abs();
                    if away(first) < away(second) {
                        first
                    } else {
                        second
                    }
                }
            };
            outcome.retimed += 1;
            outcome.found += usize::from(spiked[place]);
            is_retimed[place] = true;
            let (candidate, evaluation) =
                (doubt.candidate, Evaluation::unlimited(told[place].to_vec()));
            strategy
                .tell(&Event::Retold {
                    candidate,
                    evaluation,
                })
                .unwrap();
        }
    }
    outcome.spikes = spiked.iter().filter(|&&it| it).count();
    for (place, genome) in genomes.iter().enumerate() {
        let square = (told[place][1] / problem.objectives(genome)[1])
            .ln()
            .powi(2);
        outcome.of_all += square;
        if is_retimed[place] {
            outcome.of_retimed += square;
        }
    }
    let front = non_dominated(&told);
    let plans: Vec<Genome> = front.iter().map(|&place| genomes[place].clone()).collect();
    outcome.front = problem.hypervolume(&plans);
    outcome.claim = problem.claim(&genomes, &told);
    outcome
}

fn main() {
    let evaluations: usize = std::env::args()
        .nth(1)
        .map_or(200, |it| it.parse().unwrap());
    println!("{evaluations} evaluations, {INSTANCES} instances");
    for interacts in [false, true] {
        for noise in [[0.01, 0.02], [0.05, 0.08]] {
            for rule in [Rule::Once, Rule::Mean, Rule::Second, Rule::Model] {
                let outcomes: Vec<Outcome> = (0..INSTANCES)
                    .map(|instance| {
                        let mut problem = Synthetic::new(instance, VARIANT);
                        if interacts {
                            problem = problem.with_interactions();
                        }
                        run(&problem, instance, evaluations, noise, rule)
                    })
                    .collect();
                let sum = |part: fn(&Outcome) -> f64| outcomes.iter().map(part).sum::<f64>();
                let count = INSTANCES as f64;
                println!(
                    "{} {noise:?} {rule:?}: spikes {}, found {}, other {}, rms retimed {:.4}, \
                     rms all {:.4}, front {:.4}, claim {:.4}",
                    if interacts {
                        "interactions"
                    } else {
                        "additive"
                    },
                    sum(|it| it.spikes as f64),
                    sum(|it| it.found as f64),
                    sum(|it| (it.retimed - it.found) as f64),
                    (sum(|it| it.of_retimed) / sum(|it| it.retimed as f64)).sqrt(),
                    (sum(|it| it.of_all) / (count * evaluations as f64)).sqrt(),
                    sum(|it| it.front) / count,
                    sum(|it| it.claim) / count,
                );
            }
        }
    }
}
