//! Times that the surrogate's model contradicts, on problems with a known truth.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod synthetic;

use std::collections::BTreeSet;

use bitfront_search::{
    Among, Doubt, Evaluation, Event, Genome, Law, Limited, Problem, Space, Strategy, Surrogate,
    Table,
};
use synthetic::{Dice, Synthetic, Variant};

const VARIANT: Variant = Variant {
    has_floats: false,
    has_families: true,
};

/// The events of a run over a synthetic problem whose times have 2 % of noise and take `factor`
/// times as long where `is_spike` says so, and which candidates those were.
fn run(instance: u64, evaluations: u64, factor: f64) -> (Surrogate, BTreeSet<u64>) {
    let problem = Synthetic::new(instance, VARIANT);
    let mut strategy = Surrogate::new(problem.problem(), instance);
    let mut dice = Dice::new(instance);
    let mut spikes = BTreeSet::new();
    for candidate in 0..evaluations {
        let place = candidate as usize;
        let genome = match problem.baselines.get(place) {
            Some(baseline) => baseline.clone(),
            None => {
                let asks = candidate - problem.baselines.len() as u64;
                strategy.ask(asks).unwrap()
            }
        };
        let [loss, time, size] = problem.objectives(&genome);
        let (mut time, _) = dice.time(time, 0.02, (0.0, 1.0));
        // Not a baseline: of the two ends of the space the model has nothing else to go by.
        if place > problem.baselines.len() && candidate % 25 == 3 {
            time *= factor;
            spikes.insert(candidate);
        }
        let evaluation = Evaluation::unlimited(vec![loss, time, size]);
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        strategy
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
    }
    (strategy, spikes)
}

fn farthest(doubts: &[Doubt]) -> Option<Doubt> {
    let doubts = doubts.iter().copied();
    doubts.max_by(|left, right| left.deviations.total_cmp(&right.deviations))
}

fn candidates(doubts: &[Doubt]) -> BTreeSet<u64> {
    doubts.iter().map(|doubt| doubt.candidate).collect()
}

#[test]
fn times_that_are_far_off_are_doubted_and_others_hardly_ever() {
    let (mut found, mut all, mut others) = (0, 0, 0);
    for instance in 0..3 {
        for factor in [1.3, 1.0 / 1.3] {
            let (mut strategy, spikes) = run(instance, 160, factor);
            let doubts = strategy.doubtful(Among::WholeRuns);
            assert!(doubts.iter().all(|doubt| doubt.figure == 1), "{doubts:?}");
            assert!(doubts.iter().all(|doubt| doubt.deviations > 4.0));
            assert!(
                doubts.is_sorted_by_key(|doubt| doubt.candidate),
                "{doubts:?}"
            );
            let named = candidates(&doubts);
            found += named.intersection(&spikes).count();
            all += spikes.len();
            others += named.difference(&spikes).count();
        }
    }
    assert!(found * 10 >= all * 9, "{found} of {all} found");
    assert!(others <= 6, "{others} others of {}", 6 * 160 - all);
}

#[test]
fn a_table_without_outliers_is_hardly_doubted() {
    let doubted: usize = (0..3)
        .map(|instance| run(instance, 160, 1.0).0.doubtful(Among::WholeRuns).len())
        .sum();
    assert!(doubted <= 3, "{doubted} of 480");
}

/// What is told is the sum exactly, so everything lies many deviations off, and nothing far enough
/// to be worth a measurement.
#[test]
fn what_another_timing_would_not_tell_apart_is_not_doubted() {
    let space = Space::new([4; 12]).unwrap();
    let mut strategy = Surrogate::new(exact_times(&space), 1);
    tell_all(
        &mut strategy,
        64,
        |candidate| {
            if candidate == 20 { 1.02 } else { 1.0 }
        },
    );
    assert_eq!(strategy.doubtful(Among::WholeRuns), []);
    let mut strategy = Surrogate::new(exact_times(&space), 1);
    tell_all(
        &mut strategy,
        64,
        |candidate| {
            if candidate == 20 { 1.1 } else { 1.0 }
        },
    );
    assert_eq!(
        candidates(&strategy.doubtful(Among::WholeRuns)),
        BTreeSet::from([20])
    );
}

/// Loss against size, and a time that bears a limit and is no objective.
fn exact_times(space: &Space) -> Problem {
    let table = |part: fn(f64) -> f64| {
        let alleles = |&alleles: &u8| (0..alleles).map(|allele| part(f64::from(allele))).collect();
        Table::new(space.alleles().iter().map(alleles))
    };
    let laws = vec![
        Law::LogSum(table(|allele| 4.0_f64.powf(allele))),
        Law::Exact {
            constant: 0.0,
            table: table(|allele| 8.0 - allele),
        },
    ];
    let limited = Limited {
        law: Law::Time(table(|allele| 8.0 - allele)),
        limit: 1e9,
    };
    let problem = Problem::new(space.clone(), laws).unwrap();
    problem.with_limited(vec![limited]).unwrap()
}

/// The genomes that were asked.
fn tell_all(
    strategy: &mut Surrogate,
    evaluations: u64,
    factor: impl Fn(u64) -> f64,
) -> Vec<Genome> {
    let mut genomes = Vec::new();
    for candidate in 0..evaluations {
        let genome = strategy.ask(candidate).unwrap();
        genomes.push(genome.clone());
        let evaluation = evaluation(&genome, factor(candidate));
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        strategy
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
    }
    genomes
}

fn evaluation(genome: &Genome, factor: f64) -> Evaluation {
    let sum = |part: fn(f64) -> f64| -> f64 {
        genome.0.iter().map(|&allele| part(f64::from(allele))).sum()
    };
    let size = sum(|allele| 8.0 - allele);
    Evaluation::Measured {
        objectives: vec![sum(|allele| 4.0_f64.powf(allele)).ln(), size],
        limited: vec![factor * size],
        violation: 0.0,
    }
}

/// Whole runs decide, so that what is doubted is the same wherever evaluations came in between; and
/// what was retold is what counts for the next proposal. The checks are by what was told first.
#[test]
fn doubts_follow_from_what_was_told_and_a_retold_time_is_doubted_no_more() {
    let space = Space::new([4; 12]).unwrap();
    let spiked = |candidate: u64| if candidate % 16 == 5 { 1.3 } else { 1.0 };
    let mut living = Surrogate::new(exact_times(&space), 1);
    let mut genomes = Vec::new();
    let mut retold = BTreeSet::new();
    for candidate in 0..71 {
        let genome = living.ask(candidate).unwrap();
        genomes.push(genome.clone());
        let evaluation = evaluation(&genome, spiked(candidate));
        living.tell(&Event::Asked { candidate, genome }).unwrap();
        living
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
        living.trust();
        // One after the other, as a search does it: one error draws others into doubt.
        while let Some(doubt) = farthest(&living.doubtful(Among::WholeRuns)) {
            assert!(candidate >= 31, "{doubt:?} after {candidate}");
            assert!(retold.insert(doubt.candidate), "{doubt:?} was retold");
            let candidate = doubt.candidate;
            let evaluation = self::evaluation(&genomes[candidate as usize], 1.0);
            living
                .tell(&Event::Retold {
                    candidate,
                    evaluation,
                })
                .unwrap();
        }
    }
    assert!(
        retold.is_superset(&BTreeSet::from([5, 21, 37, 53])),
        "{retold:?}"
    );
    assert!(retold.len() <= 6, "{retold:?}");
    let mut replayed = Surrogate::new(exact_times(&space), 1);
    for (candidate, genome) in (0..).zip(&genomes) {
        let genome = genome.clone();
        replayed.tell(&Event::Asked { candidate, genome }).unwrap();
    }
    for (candidate, genome) in genomes.iter().enumerate().rev() {
        let candidate = candidate as u64;
        let evaluation = evaluation(genome, spiked(candidate));
        replayed
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
    }
    for &candidate in &retold {
        let evaluation = evaluation(&genomes[candidate as usize], 1.0);
        replayed
            .tell(&Event::Retold {
                candidate,
                evaluation,
            })
            .unwrap();
    }
    assert_eq!(replayed.ask(71), living.ask(71));
    assert_eq!(replayed.trust(), living.trust());
    assert_eq!(
        replayed.doubtful(Among::WholeRuns),
        living.doubtful(Among::WholeRuns)
    );
}

/// The last candidates of a search lie nearest to its front. None that stays pending keeps what is
/// asked after it from being doubted.
#[test]
fn at_the_end_the_last_candidates_are_doubted_too_and_what_is_pending_holds_back_none() {
    let space = Space::new([4; 12]).unwrap();
    let spiked = |candidate: u64| {
        if [5, 21, 68].contains(&candidate) {
            1.3
        } else {
            1.0
        }
    };
    let mut whole = Surrogate::new(exact_times(&space), 1);
    let genomes = tell_all(&mut whole, 71, spiked);
    let mut held = Surrogate::new(exact_times(&space), 1);
    for (candidate, genome) in (0..).zip(&genomes) {
        let genome = genome.clone();
        held.tell(&Event::Asked { candidate, genome }).unwrap();
    }
    for candidate in (0..71).rev() {
        if candidate != 7 {
            let evaluation = evaluation(&genomes[candidate as usize], spiked(candidate));
            held.tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
        }
    }
    for (strategy, in_runs) in [(&mut whole, vec![5, 21]), (&mut held, vec![21])] {
        let mut named = |among| candidates(&strategy.doubtful(among));
        let in_runs = BTreeSet::from_iter(in_runs);
        // What is never retold may draw others into doubt.
        for _ in 0..2 {
            let whole_runs = named(Among::WholeRuns);
            assert!(whole_runs.is_superset(&in_runs), "{whole_runs:?}");
            assert!(!whole_runs.contains(&68));
            let all = named(Among::Evaluated);
            assert!(all.is_superset(&BTreeSet::from([5, 21, 68])), "{all:?}");
        }
    }
    let (candidate, evaluation) = (7, evaluation(&genomes[7], 1.0));
    let told = Event::Told {
        candidate,
        evaluation,
    };
    held.tell(&told).unwrap();
    for among in [Among::WholeRuns, Among::Evaluated] {
        assert_eq!(held.doubtful(among), whole.doubtful(among));
    }
}
