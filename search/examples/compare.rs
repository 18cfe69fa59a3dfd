//! Compares the strategies on the synthetic problem: how much of the way from the baselines'
//! hypervolume to the oracle's each has gone, over several instances.
//!
//!     cargo run --release -p bitfront-search --example compare

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/synthetic/mod.rs"]
#[allow(dead_code)]
mod synthetic;

use bitfront_search::build;
use bitfront_search::strategy::NAMES;
use synthetic::{Synthetic, Variant};

const BUDGETS: [usize; 3] = [100, 200, 500];
const INSTANCES: u64 = 15;

fn main() {
    println!(
        "share of the gap between baselines and oracle closed; median (least to greatest) of {INSTANCES} instances\n"
    );
    println!(
        "{:<34}{:<10}{}",
        "problem",
        "strategy",
        BUDGETS.map(|budget| format!("{budget:>24}")).concat()
    );
    for (has_floats, has_families) in [(true, true), (true, false), (false, true), (false, false)] {
        let variant = Variant {
            has_floats,
            has_families,
        };
        let problem = format!(
            "{}, {}",
            if has_floats {
                "2.6 to 16 bits"
            } else {
                "2.6 to 8.5 bits"
            },
            if has_families {
                "families"
            } else {
                "no families"
            }
        );
        for name in NAMES {
            let shares: Vec<[f64; 3]> = (0..INSTANCES)
                .map(|instance| gaps(name, instance, variant))
                .collect();
            let cells = [0, 1, 2].map(|place| {
                let mut column: Vec<f64> = shares.iter().map(|row| row[place]).collect();
                column.sort_by(f64::total_cmp);
                let (least, greatest) = (column[0], column[column.len() - 1]);
                format!(
                    "{:>9.3} ({least:.3} to {greatest:.3})",
                    column[column.len() / 2]
                )
            });
            println!("{problem:<34}{name:<10}{}", cells.concat());
        }
    }
}

/// The share of the gap that is closed after each budget.
fn gaps(name: &str, instance: u64, variant: Variant) -> [f64; 3] {
    let problem = Synthetic::new(instance, variant);
    let start = problem.hypervolume(&problem.baselines);
    let best = problem.hypervolume(&problem.oracle());
    let mut strategy = build(name, problem.problem(), instance).unwrap();
    let genomes = problem.run(strategy.as_mut(), BUDGETS[BUDGETS.len() - 1]);
    BUDGETS.map(|budget| (problem.hypervolume(&genomes[..budget]) - start) / (best - start))
}
