//! What searches over several devices save by sharing what they measure, in simulation.
//!
//! Every device has a search of its own over the same model: the same losses and sizes, times of
//! its own. A measured loss costs 1, a timing a share of it. Compared are searches that know
//! nothing of each other, ones that share within one numerics class (a loss that another measured
//! is never measured again), ones that share across classes (it teaches, and is measured again),
//! and one search of which every candidate is measured on every device, proposed by the devices in
//! turn.
//!
//! Counted is what all searches have spent, each until the true hypervolume of its own candidates
//! reaches a share of the best known: that of all plans which any run of the instance evaluated, on
//! any device. In brackets what all have spent by the time the last is there, had none stopped
//! before.
//!
//!     cargo run --release -p bitfront-search --example joint -- [--genes 30,100] [--devices 3,5]
//!         [--timing 0.3,1] [--seeds 5] [--first-seed 0] [--budget 250]

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/fleet/mod.rs"]
#[allow(dead_code)]
mod fleet;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use bitfront_search::{Evaluation, Event, Genome, Shared, Strategy, Surrogate};
use fleet::{Dice, Fleet, Kinship};

const TARGETS: [f64; 3] = [0.90, 0.95, 0.97];

/// Instances that are run at once.
const THREADS: usize = 2;

/// How searches have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Separate,
    OneClass,
    OtherClasses,
    EachOnAll,
}

const WAYS: [Way; 4] = [
    Way::Separate,
    Way::OneClass,
    Way::OtherClasses,
    Way::EachOnAll,
];

#[derive(Debug, Clone)]
struct Options {
    genes: Vec<usize>,
    devices: Vec<usize>,
    timing: Vec<f64>,
    seeds: u64,
    first_seed: u64,
    budget: usize,
}

/// One question of the table.
#[derive(Debug, Clone, Copy)]
struct Setting {
    genes: usize,
    devices: usize,
    kinship: Kinship,
    budget: usize,
}

/// The search of one device.
struct Search {
    strategy: Surrogate,
    dice: Dice,
    genomes: Vec<Genome>,
    /// Losses and timings that the search has measured once it knows each of them. Its device never
    /// waits, so this is also the time.
    spent: Vec<[f64; 2]>,
    /// Losses that are known here without a measurement.
    reused: BTreeSet<Genome>,
    shared: BTreeSet<Genome>,
}

fn options() -> Options {
    let mut options = Options {
        genes: vec![30, 100],
        devices: vec![3, 5],
        timing: vec![0.3, 1.0],
        seeds: 5,
        first_seed: 0,
        budget: 250,
    };
    fn list<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
        text.split(',').map(|item| item.parse().unwrap()).collect()
    }
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--genes" => options.genes = list(&value),
            "--devices" => options.devices = list(&value),
            "--timing" => options.timing = list(&value),
            "--seeds" => options.seeds = value.parse().unwrap(),
            "--first-seed" => options.first_seed = value.parse().unwrap(),
            "--budget" => options.budget = value.parse().unwrap(),
            _ => panic!("unknown option {word}"),
        }
    }
    options
}

fn main() {
    let options = options();
    println!(
        "cost until every device has its share of the best known hypervolume; median (quartiles) of \
         {} instances; [spent by the time the last is there]\n",
        options.seeds
    );
    for &genes in &options.genes {
        for &devices in &options.devices {
            for kinship in [Kinship::Alike, Kinship::Unlike] {
                let setting = Setting {
                    genes,
                    devices,
                    kinship,
                    budget: options.budget,
                };
                report(setting, &options);
            }
        }
    }
}

/// What it took until every device was there.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Of all searches, each until its own device was there.
    own: f64,
    /// Of all searches until the last device was there.
    until_last: f64,
    /// Candidates, counted as `own` is.
    evaluations: f64,
}

/// By way and target; none where the budget did not suffice.
type Costs = [[Option<Cost>; TARGETS.len()]; WAYS.len()];

fn report(setting: Setting, options: &Options) {
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= options.seeds {
                        break;
                    }
                    let seed = options.first_seed + number;
                    let costs = costs(setting, &options.timing, seed);
                    sender.send((number, costs)).unwrap();
                }
            });
        }
    });
    drop(sender);
    let mut instances: Vec<(u64, Vec<Costs>)> = receiver.iter().collect();
    instances.sort_by_key(|(number, _)| *number);
    for (place, timing) in options.timing.iter().enumerate() {
        let costs: Vec<&Costs> = instances.iter().map(|(_, costs)| &costs[place]).collect();
        println!(
            "{} genes, {} devices {:?}, a timing costs {timing}",
            setting.genes, setting.devices, setting.kinship
        );
        for (place, target) in TARGETS.iter().enumerate() {
            for (way, name) in WAYS.iter().enumerate() {
                let column = |way: usize, value: fn(Cost) -> f64| -> Vec<Option<f64>> {
                    costs
                        .iter()
                        .map(|costs| costs[way][place].map(value))
                        .collect()
                };
                let separate = column(0, |cost| cost.own);
                let factor = |costs: Vec<Option<f64>>| {
                    let pairs = separate.iter().zip(costs);
                    // Who did not get there is no better than who did.
                    let ratios = pairs.map(|(separate, cost)| match (separate, cost) {
                        (_, None) => Some(0.0),
                        (separate, Some(cost)) => separate.map(|separate| separate / cost),
                    });
                    quartiles(ratios.collect(), 2)
                };
                println!(
                    "  {:>3.0} %  {:<13} cost {:<22} evaluations {:<20} factor {:<21} [{}]",
                    100.0 * target,
                    format!("{name:?}"),
                    quartiles(column(way, |cost| cost.own), 0),
                    quartiles(column(way, |cost| cost.evaluations), 0),
                    factor(column(way, |cost| cost.own)),
                    factor(column(way, |cost| cost.until_last)),
                );
            }
        }
    }
}

/// The median and the quartiles; what never got there counts as more than all.
fn quartiles(values: Vec<Option<f64>>, digits: usize) -> String {
    let mut values: Vec<f64> = values
        .into_iter()
        .map(|value| value.unwrap_or(f64::INFINITY))
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let value = values[(quarter * (values.len() - 1) + 2) / 4];
        if value.is_finite() {
            format!("{value:.digits$}")
        } else {
            "—".to_owned()
        }
    };
    format!("{} ({} to {})", at(2), at(1), at(3))
}

/// Of one instance, by what a timing costs.
fn costs(setting: Setting, timings: &[f64], seed: u64) -> Vec<Costs> {
    let fleet = Fleet::new(setting.genes, setting.devices, setting.kinship, seed);
    let run = |way, timing| match way {
        Way::EachOnAll => each_on_all(&fleet, setting, seed),
        way => side_by_side(&fleet, way, setting, timing, seed),
    };
    // Only where some candidates cost less than others does what a timing costs change a run.
    let fixed = WAYS.map(|way| {
        if way == Way::OneClass {
            Vec::new()
        } else {
            run(way, 1.0)
        }
    });
    let one_class: Vec<Vec<Search>> = timings
        .iter()
        .map(|&timing| run(Way::OneClass, timing))
        .collect();
    let searches = fixed.iter().chain(&one_class).flatten();
    let evaluated: BTreeSet<&Genome> = searches.flat_map(|search| &search.genomes).collect();
    let best: Vec<f64> = (0..setting.devices)
        .map(|device| fleet.hypervolume(evaluated.iter().copied(), device))
        .collect();
    let of_timing = |(&timing, one_class): (&f64, &Vec<Search>)| {
        let mut costs: Costs = [[None; TARGETS.len()]; WAYS.len()];
        for (way, fixed) in fixed.iter().enumerate() {
            let searches = if fixed.is_empty() { one_class } else { fixed };
            costs[way] = costs_of(&fleet, searches, &best, timing);
        }
        costs
    };
    timings.iter().zip(&one_class).map(of_timing).collect()
}

/// What it took these searches to get to every target.
fn costs_of(
    fleet: &Fleet,
    searches: &[Search],
    best: &[f64],
    timing: f64,
) -> [Option<Cost>; TARGETS.len()] {
    let of_search = |(device, search): (usize, &Search)| -> Vec<f64> {
        let counts = 1..=search.genomes.len();
        counts
            .map(|count| fleet.hypervolume(&search.genomes[..count], device))
            .collect()
    };
    let growth: Vec<Vec<f64>> = searches.iter().enumerate().map(of_search).collect();
    let spent: Vec<Vec<f64>> = searches
        .iter()
        .map(|search| {
            let spent = search.spent.iter();
            spent
                .map(|[losses, timings]| losses + timing * timings)
                .collect()
        })
        .collect();
    TARGETS.map(|target| {
        let reached: Option<Vec<usize>> = growth
            .iter()
            .zip(best)
            .map(|(growth, best)| growth.iter().position(|reached| *reached >= target * best))
            .collect();
        let reached = reached?;
        let own: Vec<f64> = spent
            .iter()
            .zip(&reached)
            .map(|(spent, &place)| spent[place])
            .collect();
        let end = own.iter().copied().fold(0.0, f64::max);
        let until_end = |spent: &Vec<f64>| spent[spent.partition_point(|at| *at <= end) - 1];
        Some(Cost {
            own: own.iter().sum(),
            until_last: spent.iter().map(until_end).sum(),
            evaluations: reached.iter().map(|place| place + 1).sum::<usize>() as f64,
        })
    })
}

fn searches(fleet: &Fleet, setting: Setting, seed: u64) -> Vec<Search> {
    (0..setting.devices)
        .map(|device| Search {
            strategy: Surrogate::new(fleet.problem(device), seed),
            dice: Dice::new(seed ^ ((device as u64 + 1) << 32)),
            genomes: Vec::new(),
            spent: Vec::new(),
            reused: BTreeSet::new(),
            shared: BTreeSet::new(),
        })
        .collect()
}

impl Search {
    /// Takes up another candidate: a plan that every search begins with, or a proposal.
    fn take_up(&mut self, uniform: &[Genome]) {
        let number = self.genomes.len();
        let genome = match uniform.get(number) {
            Some(genome) => genome.clone(),
            None => self.strategy.ask((number - uniform.len()) as u64).unwrap(),
        };
        self.asked(genome);
    }

    fn asked(&mut self, genome: Genome) {
        let candidate = self.genomes.len() as u64;
        self.genomes.push(genome.clone());
        self.strategy
            .tell(&Event::Asked { candidate, genome })
            .unwrap();
    }

    /// Learns what the latest candidate is like.
    fn told(&mut self, figures: [f64; 3], [losses, timings]: [f64; 2]) {
        let candidate = self.genomes.len() as u64 - 1;
        let evaluation = Evaluation::unlimited(figures.to_vec());
        self.strategy
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
        let before = self.spent.last().unwrap_or(&[0.0; 2]);
        self.spent.push([before[0] + losses, before[1] + timings]);
    }

    /// Learns what another search has measured.
    fn learn(&mut self, genome: &Genome, [loss, _, size]: [f64; 3], is_reused: bool) {
        if self.genomes.contains(genome) || !self.shared.insert(genome.clone()) {
            return;
        }
        if is_reused {
            self.reused.insert(genome.clone());
        }
        let shared = Shared {
            genome: genome.clone(),
            figures: vec![Some(loss), None, Some(size)],
            is_reused,
        };
        self.strategy.tell(&Event::Shared(shared)).unwrap();
    }
}

/// A search for every device, each with one candidate at a time.
fn side_by_side(fleet: &Fleet, way: Way, setting: Setting, timing: f64, seed: u64) -> Vec<Search> {
    let uniform = fleet.uniform();
    let mut searches = searches(fleet, setting, seed);
    let class = |device: usize| {
        if way == Way::OtherClasses {
            device as u64
        } else {
            0
        }
    };
    // When each is ready, and the losses that it measures until then.
    let mut ready = vec![(1.0 + timing, 1.0); searches.len()];
    for search in &mut searches {
        search.take_up(&uniform);
    }
    loop {
        let working = (0..searches.len()).filter(|&device| ready[device].0.is_finite());
        let Some(device) = working.min_by(|&left, &right| ready[left].0.total_cmp(&ready[right].0))
        else {
            return searches;
        };
        let (at, losses) = ready[device];
        let search = &mut searches[device];
        let genome = search.genomes[search.genomes.len() - 1].clone();
        let figures = fleet.measured(&genome, device, class(device), &mut search.dice);
        search.told(figures, [losses, 1.0]);
        if way != Way::Separate {
            for (other, search) in searches.iter_mut().enumerate() {
                if other != device {
                    search.learn(&genome, figures, way == Way::OneClass);
                }
            }
        }
        let search = &mut searches[device];
        if search.genomes.len() == setting.budget {
            ready[device].0 = f64::INFINITY;
            continue;
        }
        search.take_up(&uniform);
        let is_reused = search
            .reused
            .contains(&search.genomes[search.genomes.len() - 1]);
        let losses = if is_reused { 0.0 } else { 1.0 };
        ready[device] = (at + losses + timing, losses);
    }
}

/// One search whose candidates are measured on every device, proposed by each device in turn.
fn each_on_all(fleet: &Fleet, setting: Setting, seed: u64) -> Vec<Search> {
    let uniform = fleet.uniform();
    let mut searches = searches(fleet, setting, seed);
    let devices = searches.len();
    for number in 0..setting.budget {
        let proposer = number % devices;
        searches[proposer].take_up(&uniform);
        let genome = searches[proposer].genomes[number].clone();
        for (device, search) in searches.iter_mut().enumerate() {
            if device != proposer {
                search.asked(genome.clone());
            }
            let figures = fleet.measured(&genome, device, 0, &mut search.dice);
            // A loss is measured once for all; each bears its part.
            search.told(figures, [1.0 / devices as f64, 1.0]);
        }
    }
    searches
}
