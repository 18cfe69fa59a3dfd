//! How honest a front is that noise has chosen: the hypervolume that it claims, against the true
//! one of the same genomes, by what was measured and by what the model believes; and how often the
//! truth lies in the model's intervals.
//!
//!     cargo run --release -p bitfront-search --example claimed

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/synthetic/mod.rs"]
#[allow(dead_code)]
mod synthetic;

use bitfront_search::{Believed, Genome, Surrogate};
use synthetic::{Synthetic, Variant};

const INSTANCES: u64 = 5;
const EVALUATIONS: usize = 600;
const VARIANT: Variant = Variant {
    has_floats: false,
    has_families: true,
};

/// Of the sum, and with what a single measurement has beside it.
const DEVIATIONS: [fn(&Believed) -> f64; 2] = [
    |figure| figure.deviation,
    |figure| figure.deviation.hypot(figure.scatter),
];

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
                raw.push(problem.claim(&genomes, &told));
                let belief = strategy.belief();
                let believed = belief.of(&genomes).unwrap();
                let values: Vec<[f64; 3]> = believed
                    .iter()
                    .map(|figures| [0, 1, 2].map(|figure| figures[figure].value))
                    .collect();
                smoothed.push(problem.claim(&genomes, &values));
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
                        for (covered, deviation) in covered.iter_mut().zip(DEVIATIONS) {
                            let within = problem.within(genomes, believed, figure, deviation);
                            covered[place][figure] += within / INSTANCES as f64;
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
