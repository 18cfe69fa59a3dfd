//! How busy one search keeps workers of very different speed, and what it costs in candidates that
//! its strategy knows less when it proposes: in simulated time, with each ask at the time that it
//! takes here.
//!
//!     cargo run --release -p bitfront-search --example asynchronous

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/fleet/mod.rs"]
#[allow(dead_code)]
mod fleet;
#[path = "../tests/workers/mod.rs"]
#[allow(dead_code)]
mod workers;

use fleet::{Fleet, Kinship};
use workers::{Manner, Outcome, Workers, simulate};

const GENES: usize = 30;
const BUDGETS: [usize; 3] = [60, 120, 200];
const INSTANCES: u64 = 5;
const SPREAD: f64 = 10.0;

fn main() {
    println!(
        "{GENES} genes, the slowest worker takes {SPREAD} times as long as the fastest; the true \
         hypervolume after so many candidates, over that of the same search one by one; medians \
         (least to greatest) of {INSTANCES} instances\n\n\
         {:>7}  {:<22}{:<24}{:>9}  {}",
        "workers",
        "manner",
        "busy",
        "seconds",
        BUDGETS
            .map(|budget| format!("{:<24}", format!("{budget} candidates")))
            .concat()
    );
    let instances: Vec<(Fleet, Outcome)> = (0..INSTANCES)
        .map(|seed| {
            let fleet = Fleet::new(GENES, 1, Kinship::Unlike, seed);
            let outcome = run(&fleet, 1, Manner::Pending(1), seed);
            (fleet, outcome)
        })
        .collect();
    for count in [8, 32] {
        let manners = [1, 2, 3, 4].map(Manner::Pending);
        for manner in manners.into_iter().chain([Manner::Batches]) {
            let (mut busy, mut seconds) = (Vec::new(), Vec::new());
            let mut shares = [const { Vec::new() }; BUDGETS.len()];
            for (seed, (fleet, one_by_one)) in (0..).zip(&instances) {
                let outcome = run(fleet, count, manner, seed);
                busy.push(outcome.busy);
                seconds.push(outcome.seconds);
                for (shares, budget) in shares.iter_mut().zip(BUDGETS) {
                    let of = |outcome: &Outcome| fleet.hypervolume(&outcome.genomes[..budget], 0);
                    shares.push(of(&outcome) / of(one_by_one));
                }
            }
            let name = match manner {
                Manner::Batches => "in batches".to_owned(),
                Manner::Pending(each) => format!("{each} pending for each"),
            };
            println!(
                "{count:>7}  {name:<22}{:<24}{:>9.0}  {}",
                range(busy),
                median(&mut seconds),
                shares
                    .map(|shares| format!("{:<24}", range(shares)))
                    .concat()
            );
        }
    }
}

fn run(fleet: &Fleet, count: usize, manner: Manner, seed: u64) -> Outcome {
    let workers = Workers {
        count,
        spread: SPREAD,
        manner,
        ask: None,
    };
    simulate(fleet, workers, BUDGETS[BUDGETS.len() - 1], seed)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn range(mut values: Vec<f64>) -> String {
    let median = median(&mut values);
    format!(
        "{median:.3} ({:.3} to {:.3})",
        values[0],
        values[values.len() - 1]
    )
}
