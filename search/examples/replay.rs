//! Replays the strategies against the table of real measurements, of which everything is known: how
//! many evaluations each needs for a share of the hypervolume of the true front.
//!
//! ```text
//! cargo run --release -p bitfront-search --example replay -- [SEEDS] [BUDGET]
//! ```
//!
//! An evaluation is a lookup, told before the next is asked; the uniform plans come first and
//! count. Shown are the median and the quartiles over the seeds, and how many evaluations of
//! NSGA-II one of the surrogate's is worth. A run that does not get there within the budget counts
//! as one that takes longer than any.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/measured/mod.rs"]
#[allow(dead_code)]
mod measured;

use bitfront_search::{Evaluation, Event, Genome, Growth, Problem, build};
use measured::{Figure, Measured};

const SHARES: [f64; 4] = [0.90, 0.95, 0.97, 0.99];

/// A strategy, and whether it has the priors.
const WAYS: [(&str, &str, bool); 5] = [
    ("surrogate", "surrogate", true),
    ("surrogate, no priors", "surrogate", false),
    ("sms-emoa", "sms-emoa", false),
    ("nsga2", "nsga2", false),
    ("random", "random", false),
];

/// The objectives of a search.
const QUESTIONS: [(&str, &[Figure]); 2] = [
    (
        "kld, size, decode",
        &[Figure::Kld, Figure::Size, Figure::Decode],
    ),
    (
        "kld, decode, prefill",
        &[Figure::Kld, Figure::Decode, Figure::Prefill],
    ),
];

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse().unwrap());
    let seeds = numbers.next().unwrap_or(15) as u64;
    let budget = numbers.next().unwrap_or(3000);
    let measured = Measured::read();
    println!(
        "{} plans; evaluations to a share of the true front's hypervolume, median [quartiles] of {seeds} \
         seeds",
        measured.rows.len()
    );
    for (profile, name) in measured.profiles.iter().enumerate() {
        for (question, figures) in QUESTIONS {
            println!("\n{name}: {question}");
            let head = SHARES.map(|share| format!("{:>22}", format!("{:.0} %", 100.0 * share)));
            println!("{:<22}{}", "", head.concat());
            let of_way = |&(way, strategy, has_priors): &(&str, &str, bool)| {
                let problem = measured.problem(profile, figures, has_priors);
                let runs = (0..seeds).map(|seed| {
                    let problem = problem.clone();
                    run(
                        &measured,
                        (profile, figures),
                        (strategy, problem),
                        seed,
                        budget,
                    )
                });
                let needed = Needed(runs.collect());
                let cells = [0, 1, 2, 3].map(|share| format!("{:>22}", needed.cell(share)));
                println!("{way:<22}{}", cells.concat());
                needed
            };
            let needed: Vec<Needed> = WAYS.iter().map(of_way).collect();
            let ratio = |share: usize| match (needed[0].median(share), needed[3].median(share)) {
                (Some(surrogate), Some(nsga2)) => nsga2 as f64 / surrogate as f64,
                (Some(surrogate), None) => budget as f64 / surrogate as f64,
                _ => f64::NAN,
            };
            let ratios = [0, 1, 2, 3].map(|share| format!("{:>22.1}", ratio(share)));
            println!("{:<22}{}", "nsga2 / surrogate", ratios.concat());
        }
    }
}

/// The evaluations that each run needed for each share; none where the budget did not suffice.
struct Needed(Vec<[Option<usize>; SHARES.len()]>);

impl Needed {
    fn sorted(&self, share: usize) -> Vec<Option<usize>> {
        let mut column: Vec<_> = self.0.iter().map(|run| run[share]).collect();
        column.sort_by_key(|needed| needed.unwrap_or(usize::MAX));
        column
    }

    fn median(&self, share: usize) -> Option<usize> {
        self.sorted(share)[self.0.len() / 2]
    }

    fn cell(&self, share: usize) -> String {
        let sorted = self.sorted(share);
        let say = |place: usize| sorted[place].map_or("-".to_owned(), |needed| needed.to_string());
        let (last, low) = (sorted.len() - 1, sorted.len() / 4);
        format!(
            "{} [{}, {}]",
            say(sorted.len() / 2),
            say(low),
            say(last - low)
        )
    }
}

/// Runs a strategy until it has the last share, or the budget is spent.
fn run(
    measured: &Measured,
    (profile, figures): (usize, &[Figure]),
    (strategy, problem): (&str, Problem),
    seed: u64,
    budget: usize,
) -> [Option<usize>; SHARES.len()] {
    let whole = measured.whole(profile, figures);
    let baselines = measured.uniform();
    let mut strategy = build(strategy, problem, seed).unwrap();
    let mut growth = Growth::new(measured.reference(profile, figures), &[]).unwrap();
    let mut needed = [None; SHARES.len()];
    for count in 0..budget.min(measured.rows.len()) {
        let genome: Genome = match baselines.get(count) {
            Some(baseline) => baseline.clone(),
            None => strategy.ask((count - baselines.len()) as u64).unwrap(),
        };
        let told = figures
            .iter()
            .map(|&figure| measured.told(&genome, profile, figure));
        let told: Vec<f64> = told.collect();
        growth.add(Some(&told));
        let has = growth.curve()[count + 1] / whole;
        for (needed, share) in needed.iter_mut().zip(SHARES) {
            if has >= share {
                needed.get_or_insert(count + 1);
            }
        }
        if needed[SHARES.len() - 1].is_some() {
            break;
        }
        let candidate = count as u64;
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        let evaluation = Evaluation::unlimited(told);
        strategy
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
    }
    needed
}
