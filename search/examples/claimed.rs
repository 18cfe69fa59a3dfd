//! How honest a front is that noise has chosen: the hypervolume that it claims, against the true
//! one of the same genomes, by what was measured and by what the model believes; and how often the
//! truth lies in the model's intervals.
//!
//!     cargo run --release -p bitfront-search --example claimed

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/synthetic/mod.rs"]
#[allow(dead_code)]
mod synthetic;

use bitfront_search::{Believed, Genome, Surrogate, non_dominated};
use synthetic::{Synthetic, Variant};

const INSTANCES: u64 = 5;
const EVALUATIONS: usize = 600;
const VARIANT: Variant = Variant {
    has_floats: false,
    has_families: true,
};

fn main() {
    println!("after {EVALUATIONS} evaluations; least to greatest of {INSTANCES} instances\n");
    println!(
        "{:<22}{:<16}{:>20}{:>20}   share of truths within 1.96 deviations, loss and latency:\n\
         {:<78}   of the sum, measured | others; with scatter, measured | others",
        "problem", "noise", "raw claims / true", "smoothed / true", ""
    );
    for interacts in [false, true] {
        for noise in [[0.01, 0.02], [0.05, 0.08]] {
            let (mut raw, mut smoothed) = (Vec::new(), Vec::new());
            let mut covered = [[[0.0; 2]; 2]; 2];
            for instance in 0..INSTANCES {
                let mut problem = Synthetic::new(instance, VARIANT);
                if interacts {
                    problem = problem.with_interactions();
                }
                let mut strategy = Surrogate::new(problem.problem(), instance);
                let (genomes, told) = problem.run_with_noise(&mut strategy, EVALUATIONS, noise);
                raw.push(claim(&problem, &genomes, &told));
                let belief = strategy.belief();
                let believed = belief.of(&genomes).unwrap();
                let values: Vec<[f64; 3]> = believed
                    .iter()
                    .map(|figures| [0, 1, 2].map(|figure| figures[figure].value))
                    .collect();
                smoothed.push(claim(&problem, &genomes, &values));
                let others: Vec<Genome> = belief
                    .solve(&[None; 3])
                    .unwrap()
                    .into_iter()
                    .map(|solved| solved.genome)
                    .filter(|genome| !genomes.contains(genome))
                    .collect();
                let of_others = belief.of(&others).unwrap();
                for (place, (genomes, believed)) in [(&genomes, &believed), (&others, &of_others)]
                    .into_iter()
                    .enumerate()
                {
                    for figure in 0..2 {
                        for (with_scatter, covered) in covered.iter_mut().enumerate() {
                            covered[place][figure] +=
                                share(&problem, genomes, believed, figure, with_scatter == 1)
                                    / INSTANCES as f64;
                        }
                    }
                }
            }
            let range = |ratios: &[f64]| {
                let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
                let most = ratios.iter().copied().fold(0.0, f64::max);
                format!("{least:.3} to {most:.3}")
            };
            let cells = covered.map(|[measured, others]| {
                let pair = |pair: [f64; 2]| format!("{:.2} {:.2}", pair[0], pair[1]);
                format!("{} | {}", pair(measured), pair(others))
            });
            println!(
                "{:<22}{:<16}{:>20}{:>20}   {}",
                if interacts {
                    "with interactions"
                } else {
                    "additive"
                },
                format!("{:.0} %, {:.0} %", 100.0 * noise[0], 100.0 * noise[1]),
                range(&raw),
                range(&smoothed),
                cells.join("; ")
            );
        }
    }
}

/// The hypervolume that the front of these objectives claims, over the true one of its genomes.
fn claim(problem: &Synthetic, genomes: &[Genome], objectives: &[[f64; 3]]) -> f64 {
    let front = non_dominated(objectives);
    let claimed: Vec<[f64; 3]> = front.iter().map(|&place| objectives[place]).collect();
    let front: Vec<Genome> = front.iter().map(|&place| genomes[place].clone()).collect();
    problem.hypervolume_of(&claimed) / problem.hypervolume(&front)
}

/// The share of genomes whose true figure lies within 1.96 deviations.
fn share(
    problem: &Synthetic,
    genomes: &[Genome],
    believed: &[Vec<Believed>],
    figure: usize,
    with_scatter: bool,
) -> f64 {
    let is_within = |(genome, figures): &(&Genome, &Vec<Believed>)| {
        let Believed {
            value,
            deviation,
            scatter,
        } = figures[figure];
        let scatter = if with_scatter { scatter } else { 0.0 };
        (problem.objectives(genome)[figure] - value).abs() <= 1.96 * deviation.hypot(scatter)
    };
    let within = genomes.iter().zip(believed).filter(is_within).count();
    within as f64 / genomes.len().max(1) as f64
}
