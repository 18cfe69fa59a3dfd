//! What it would save to screen more candidates than are measured: a few windows of each are
//! scored, the model learns from that, and the one that then promises most goes on to its timing
//! and to all windows.
//!
//! Compared are candidates that are all scored whole, ones that are given up in stages as a search
//! does it, and screenings of several candidates for each that goes on, which is then scored in
//! stages as well. A screening that is told the loss of the whole text is the ceiling of what any
//! weight of the few windows could bring.
//!
//! What is counted: an evaluation costs 1, of which its timing is a share and the rest is its
//! windows, each the same; nothing else costs anything. A screened candidate that goes on has its
//! first windows already. Shown is the cost until the true hypervolume of what was scored whole
//! reaches a share of the best, median (quartiles): on the table of measurements that of all its
//! plans, on instances that of all plans which any way scored whole. The uniform plans come first
//! and cost 1 each.
//!
//! Where a text has 16 windows, the divergence of 4 of them lies 3 % off that of all between plans,
//! whether two differ in a few genes or in all (docs/searching.md says of what). So every window of
//! a plan has a deviation of its own here, and those of a plan add up to nothing.
//!
//! ```text
//! cargo run --release -p bitfront-search --example fidelity -- [--instances DIR] [--seeds 5]
//!     [--budget 240]
//! ```
//!
//! On the instances of a folder, one run each, as `instances` says what they are; without a folder
//! on the table of measurements, so many seeds.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../instances/mod.rs"]
#[allow(dead_code)]
mod instances;
#[path = "../../tests/measured/mod.rs"]
#[allow(dead_code)]
mod measured;
mod race;
mod search;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bitfront_search::{Genome, hypervolume};
use measured::{Figure, Measured};
use search::{Screening, Search, Way};
use world::World;

const SHARES: [f64; 4] = [0.90, 0.95, 0.97, 0.99];

const QUARTER: Screening = Screening {
    candidates: 4,
    windows: 4,
    is_exact: false,
    is_learned: true,
};

const WAYS: [Way; 7] = [
    Way::scored("whole", false),
    Way::scored("in stages", true),
    Way::screened(
        "2, a quarter",
        Screening {
            candidates: 2,
            ..QUARTER
        },
    ),
    Way::screened("4, a quarter", QUARTER),
    Way::screened(
        "4, not learned",
        Screening {
            is_learned: false,
            ..QUARTER
        },
    ),
    Way::screened(
        "4, an eighth",
        Screening {
            windows: 2,
            ..QUARTER
        },
    ),
    Way::screened(
        "4, exact",
        Screening {
            is_exact: true,
            ..QUARTER
        },
    ),
];

/// The objectives of a search over the table.
const QUESTIONS: [&[Figure]; 2] = [
    &[Figure::Kld, Figure::Size, Figure::Decode],
    &[Figure::Kld, Figure::Decode, Figure::Prefill],
];

struct Options {
    instances: Option<PathBuf>,
    seeds: u64,
    budget: f64,
}

fn options() -> Options {
    let mut options = Options {
        instances: None,
        seeds: 5,
        budget: 240.0,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--instances" => options.instances = Some(value.into()),
            "--seeds" => options.seeds = value.parse().unwrap(),
            "--budget" => options.budget = value.parse().unwrap(),
            _ => panic!("unknown option {word}"),
        }
    }
    options
}

/// The costs of every run, by way, what a timing costs, and share; none where it never got there.
#[derive(Default)]
struct Costs(BTreeMap<(usize, usize, usize), Vec<Option<f64>>>);

fn main() {
    let options = options();
    println!("| problem | a timing costs | screened | 90 % | 95 % | 97 % | 99 % |");
    println!("|---|---|---|---|---|---|---|");
    if let Some(folder) = &options.instances {
        let mut families: BTreeMap<String, Costs> = BTreeMap::new();
        for instance in instances::all(folder) {
            let (family, _) = instance.name.rsplit_once('-').unwrap();
            let costs = families.entry(family.to_owned()).or_default();
            costs.add(&World::Instance(Box::new(instance)), 0, options.budget);
        }
        for (family, costs) in &families {
            costs.print(family);
        }
        return;
    }
    for profile in 0..Measured::read().profiles.len() {
        for figures in QUESTIONS {
            let table = Measured::read();
            let name = format!("{}: {figures:?}", table.profiles[profile]);
            let world = World::Table {
                table,
                profile,
                figures,
            };
            let mut costs = Costs::default();
            for seed in 0..options.seeds {
                costs.add(&world, seed, options.budget);
            }
            costs.print(&name);
        }
    }
}

impl Costs {
    /// Runs a search in every way.
    fn add(&mut self, world: &World, seed: u64, budget: f64) {
        let runs: Vec<Search> = WAYS
            .iter()
            .map(|way| Search::run(world, way, seed, budget))
            .collect();
        let best = match world {
            World::Table {
                table,
                profile,
                figures,
            } => table.whole(*profile, figures),
            World::Instance(_) => {
                let scored = runs.iter().flat_map(|run| &run.scored);
                let whole = scored.filter(|it| it.losses.is_some());
                let genomes: BTreeSet<&Genome> = whole.map(|it| &it.genome).collect();
                let points: Vec<_> = genomes.iter().map(|it| world.truth(it)).collect();
                hypervolume(&points, &world.reference()).unwrap()
            }
        };
        for (way, run) in runs.iter().enumerate() {
            for (place, &timing) in search::TIMINGS.iter().enumerate() {
                for (share, wanted) in SHARES.iter().enumerate() {
                    let costs = self.0.entry((place, way, share)).or_default();
                    costs.push(run.cost_of(wanted * best, timing));
                }
            }
        }
    }

    fn print(&self, name: &str) {
        for (place, timing) in search::TIMINGS.iter().enumerate() {
            for (way, Way { name: screened, .. }) in WAYS.iter().enumerate() {
                let cell = |share: usize| quartiles(&self.0[&(place, way, share)]);
                let cells = [0, 1, 2, 3].map(cell).join(" | ");
                println!("| {name} | {timing} | {screened} | {cells} |");
            }
        }
    }
}

/// The median and the quartiles; what never got there counts as more than all.
fn quartiles(costs: &[Option<f64>]) -> String {
    let costs = costs.iter().map(|cost| cost.unwrap_or(f64::INFINITY));
    let mut costs: Vec<f64> = costs.collect();
    costs.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let cost = costs[(quarter * (costs.len() - 1) + 2) / 4];
        if cost.is_finite() {
            format!("{cost:.0}")
        } else {
            "—".to_owned()
        }
    };
    format!("{} ({} to {})", at(2), at(1), at(3))
}
