//! What every strategy promises, held against each by name.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bitfront_search::strategy::NAMES;
use bitfront_search::{
    Evaluation, Event, Genome, Law, Problem, Shared, Space, Strategy, Table, build,
};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn asked(candidate: u64, genome: &Genome) -> Event {
    Event::Asked {
        candidate,
        genome: genome.clone(),
    }
}

/// Two objectives that trade against each other, with some candidates over a limit and some
/// that cannot be measured.
fn told(candidate: u64, genome: &Genome) -> Event {
    let (mut cost, mut loss) = (0.0, 0.0);
    for (gene, &allele) in genome.0.iter().enumerate() {
        let weight = 1.0 + (gene % 5) as f64;
        cost += weight * f64::from(255 - allele);
        loss += f64::from(allele) * f64::from(allele) / weight;
    }
    let evaluation = if genome
        .0
        .iter()
        .map(|&allele| u32::from(allele))
        .sum::<u32>()
        % 11
        == 0
    {
        Evaluation::Infeasible
    } else {
        Evaluation::Measured {
            objectives: vec![cost, loss],
            limited: Vec::new(),
            violation: (loss - 900.0).max(0.0),
        }
    };
    Event::Told {
        candidate,
        evaluation,
    }
}

/// The laws of [`told`], with rough guesses.
fn problem(space: &Space) -> Problem {
    let table = |guess: fn(f64) -> f64| {
        let numbers = |&alleles: &u8| {
            (0..alleles)
                .map(|allele| guess(f64::from(allele)))
                .collect()
        };
        Table::new(space.alleles().iter().map(numbers))
    };
    let laws = vec![
        Law::Time(table(|allele| 255.0 - allele)),
        Law::Time(table(|allele| allele * allele)),
    ];
    Problem::new(space.clone(), laws).unwrap()
}

fn model_space() -> Space {
    let space = Space::new((0..44).map(|gene| 8 + gene % 5)).unwrap();
    space.with_families((0..44).map(|gene| gene % 7)).unwrap()
}

/// The event log of a search that asks `asks` times and keeps up to `pending` evaluations open.
fn search(strategy: &mut dyn Strategy, asks: u64, pending: usize) -> Vec<Event> {
    let (mut events, mut open) = (Vec::new(), Vec::new());
    for ask_number in 0..asks {
        let Some(genome) = strategy.ask(ask_number) else {
            break;
        };
        let event = asked(ask_number, &genome);
        strategy.tell(&event).unwrap();
        events.push(event);
        open.push((ask_number, genome));
        while open.len() > pending {
            // Not the first that was asked: evaluations come back in any order.
            let (candidate, genome) = open.swap_remove((ask_number % open.len() as u64) as usize);
            let event = told(candidate, &genome);
            strategy.tell(&event).unwrap();
            events.push(event);
        }
    }
    events
}

fn replay(name: &str, space: &Space, seed: u64, events: &[Event]) -> Box<dyn Strategy> {
    let mut strategy = build(name, problem(space), seed).unwrap();
    for event in events {
        strategy.tell(event).unwrap();
    }
    strategy
}

#[test]
fn ten_thousand_asks_never_repeat_and_stay_inside() {
    for name in NAMES {
        let space = model_space();
        let mut strategy = build(name, problem(&space), 1).unwrap();
        let mut seen = BTreeSet::new();
        for ask_number in 0..10_000 {
            let genome = strategy.ask(ask_number).unwrap();
            space.check(&genome).unwrap();
            assert!(seen.insert(genome.clone()), "{name} repeated {genome:?}");
            strategy.tell(&asked(ask_number, &genome)).unwrap();
            // The rest stay pending, which must keep them from being asked all the same.
            if ask_number < 500 {
                strategy.tell(&told(ask_number, &genome)).unwrap();
            }
        }
    }
}

#[test]
fn small_spaces_are_covered_completely_and_then_end() {
    for name in NAMES {
        for alleles in [vec![1], vec![7], vec![255], vec![3, 1, 4, 2], vec![2; 9]] {
            let space = Space::new(alleles.clone()).unwrap();
            let size = space.size() as usize;
            for pending in [0, 3, size] {
                let mut strategy = build(name, problem(&space), 5).unwrap();
                let events = search(strategy.as_mut(), 10_000, pending);
                let genomes: BTreeSet<&Genome> = events
                    .iter()
                    .filter_map(|event| match event {
                        Event::Asked { genome, .. } => Some(genome),
                        Event::Told { .. } | Event::Retold { .. } | Event::Shared(_) => None,
                    })
                    .collect();
                assert_eq!(genomes.len(), size, "{name} on {alleles:?}");
                assert_eq!(strategy.ask(99_999), None, "{name} on {alleles:?}");
            }
        }
    }
}

#[test]
fn the_same_seed_and_events_give_the_same_asks() {
    for name in NAMES {
        let space = model_space();
        let run = |seed| search(build(name, problem(&space), seed).unwrap().as_mut(), 120, 3);
        assert_eq!(run(7), run(7), "{name}");
        assert_ne!(run(7), run(8), "{name} ignores its seed");
    }
}

#[test]
fn asking_changes_nothing() {
    for name in NAMES {
        let space = model_space();
        let mut strategy = build(name, problem(&space), 7).unwrap();
        search(strategy.as_mut(), 60, 2);
        let first = strategy.ask(60);
        let second = strategy.ask(61);
        // The surrogate's best proposal is the same at every ask number until something happens.
        assert_eq!(second == first, name == "surrogate", "{name}");
        assert_eq!(strategy.ask(60), first, "{name}");
    }
}

#[test]
fn a_replayed_strategy_continues_as_the_first_would_have() {
    for name in NAMES {
        let space = model_space();
        let mut first = build(name, problem(&space), 3).unwrap();
        let events = search(first.as_mut(), 100, 4);
        let cuts = [0, 1, 17, events.len() / 2, events.len()];
        for cut in cuts {
            let mut resumed = replay(name, &space, 3, &events[..cut]);
            let mut ask_number = events[..cut]
                .iter()
                .filter(|event| matches!(event, Event::Asked { .. }))
                .count() as u64;
            for event in &events[cut..] {
                if let Event::Asked { genome, .. } = event {
                    assert_eq!(
                        resumed.ask(ask_number).as_ref(),
                        Some(genome),
                        "{name} at {cut}"
                    );
                    ask_number += 1;
                }
                resumed.tell(event).unwrap();
            }
            assert_eq!(resumed.ask(100), first.ask(100), "{name} at {cut}");
        }
    }
}

/// A genome as another search measured it: some of its figures, where it has them, to such a
/// factor.
fn shared(genome: &Genome, which: [bool; 2], factor: f64, is_reused: bool) -> Event {
    let figures = match told(0, genome) {
        Event::Told {
            evaluation: Evaluation::Measured { objectives, .. },
            ..
        } => (0..2)
            .map(|figure| which[figure].then_some(objectives[figure] * factor))
            .collect(),
        _ => vec![None; 2],
    };
    Event::Shared(Shared {
        genome: genome.clone(),
        figures,
        is_reused,
    })
}

/// Asks, evaluations and what other searches share in a random order, restarts at random points and
/// at the end: the events as they were stored, or the asks before all others, lead to what the
/// strategy asks that lived through all of it.
#[test]
fn a_thousand_event_orders_are_replayed_to_the_same_asks() {
    let space = Space::new([3, 4, 3, 2]).unwrap();
    for name in NAMES {
        for order in 0..1_000 {
            let mut dice = ChaCha8Rng::seed_from_u64(order);
            let mut below = |bound: usize| (dice.next_u64() % bound as u64) as usize;
            let mut strategy = build(name, problem(&space), order).unwrap();
            let (mut events, mut open) = (Vec::new(), Vec::new());
            let mut asks = 0;
            // A few long enough for the self-check of the surrogate.
            let steps = if order % 100 == 0 { 140 } else { 16 };
            for step in 0..=steps {
                let chance = if step == steps { 0 } else { below(20) };
                let event = match chance {
                    0 => {
                        let mut stored: Vec<Event> = events.clone();
                        if below(2) == 0 {
                            stored.sort_by_key(|event| !matches!(event, Event::Asked { .. }));
                        }
                        let mut replayed = replay(name, &space, order, &stored);
                        let context = format!("{name}, order {order}, after {step} steps");
                        assert_eq!(replayed.ask(asks), strategy.ask(asks), "{context}");
                        assert_eq!(replayed.trust(), strategy.trust(), "{context}");
                        if below(2) == 0 {
                            strategy = replayed;
                        }
                        continue;
                    }
                    1..=6 if !open.is_empty() => {
                        let (candidate, genome) = open.swap_remove(below(open.len()));
                        told(candidate, &genome)
                    }
                    7..=10 => {
                        let alleles = space.alleles().iter();
                        let alleles = alleles.map(|&count| below(usize::from(count)) as u8);
                        let genome = Genome(alleles.collect());
                        // Of 72 genomes some are told again, with other figures.
                        let which = [below(2) == 0, below(2) == 0];
                        let factor = 1.0 + below(4) as f64 / 10.0;
                        shared(&genome, which, factor, below(2) == 0)
                    }
                    _ => {
                        let Some(genome) = strategy.ask(asks) else {
                            continue;
                        };
                        open.push((asks, genome.clone()));
                        asks += 1;
                        asked(asks - 1, &genome)
                    }
                };
                strategy.tell(&event).unwrap();
                events.push(event);
            }
        }
    }
}

#[test]
fn baselines_are_events_like_any_other() {
    for name in NAMES {
        let space = model_space();
        let mut strategy = build(name, problem(&space), 3).unwrap();
        let baselines: Vec<Genome> = (0..8).map(|allele| Genome(vec![allele; 44])).collect();
        for (candidate, genome) in (1_000..).zip(&baselines) {
            strategy.tell(&asked(candidate, genome)).unwrap();
            strategy.tell(&told(candidate, genome)).unwrap();
        }
        let events = search(strategy.as_mut(), 200, 0);
        let is_baseline = |event: &Event| matches!(event, Event::Asked { genome, .. } if baselines.contains(genome));
        assert!(
            !events.iter().any(is_baseline),
            "{name} asked a baseline again"
        );
    }
}

#[test]
fn nothing_but_infeasible_candidates_is_survived() {
    for name in NAMES {
        let space = model_space();
        let mut strategy = build(name, problem(&space), 3).unwrap();
        for ask_number in 0..80 {
            let genome = strategy.ask(ask_number).unwrap();
            strategy.tell(&asked(ask_number, &genome)).unwrap();
            let evaluation = match ask_number % 3 {
                0 => Evaluation::Infeasible,
                1 => Evaluation::unlimited(vec![f64::NAN, 1.0]),
                _ => Evaluation::Measured {
                    objectives: vec![1.0, 1.0],
                    limited: Vec::new(),
                    violation: f64::INFINITY,
                },
            };
            let event = Event::Told {
                candidate: ask_number,
                evaluation,
            };
            strategy.tell(&event).unwrap();
        }
        assert!(strategy.ask(80).is_some(), "{name}");
    }
}

/// What is retold decides as if it had been told so. What it replaced is remembered by the checks
/// of predictions alone, which say nothing so early.
#[test]
fn what_was_retold_counts_wherever_it_is_told() {
    for name in NAMES {
        let space = model_space();
        let other = |candidate: u64| Event::Retold {
            candidate,
            evaluation: Evaluation::unlimited(vec![900.0 + candidate as f64, 400.0]),
        };
        let mut living = build(name, problem(&space), 3).unwrap();
        let events = search(living.as_mut(), 60, 0);
        for candidate in [50, 7] {
            living.tell(&other(candidate)).unwrap();
            living.ask(60);
        }
        let told_so = events.iter().map(|event| match event {
            Event::Told {
                candidate: candidate @ (7 | 50),
                ..
            } => {
                let Event::Retold {
                    candidate,
                    evaluation,
                } = other(*candidate)
                else {
                    unreachable!()
                };
                Event::Told {
                    candidate,
                    evaluation,
                }
            }
            event => event.clone(),
        });
        let mut told = replay(name, &space, 3, &told_so.collect::<Vec<_>>());
        assert_eq!(living.ask(60), told.ask(60), "{name}");
        let twice = living.tell(&other(7)).unwrap_err();
        assert_eq!(twice.to_string(), "candidate 7 was retold before", "{name}");
        assert_eq!(living.ask(60), told.ask(60), "{name}");
    }
}

/// Kept so that a change of what a seed means is noticed: it would part a resumed search from
/// its own past.
#[test]
fn the_asks_of_a_seed_are_pinned() {
    let space = Space::new([5, 8, 3, 12, 12, 2]).unwrap();
    let space = space.with_families([0, 1, 0, 1, 2, 2]).unwrap();
    let asks = |name| -> Vec<Vec<u8>> {
        let mut strategy = build(name, problem(&space), 42).unwrap();
        let events = search(strategy.as_mut(), 60, 1);
        let genomes = events.into_iter().filter_map(|event| match event {
            Event::Asked { genome, .. } => Some(genome.0),
            Event::Told { .. } | Event::Retold { .. } | Event::Shared(_) => None,
        });
        genomes.skip(57).collect()
    };
    assert_eq!(
        asks("random"),
        [[0, 0, 1, 6, 0, 0], [0, 7, 1, 1, 1, 0], [0, 5, 0, 0, 0, 0]]
    );
    assert_eq!(
        asks("nsga2"),
        [[2, 3, 1, 9, 3, 0], [2, 1, 1, 7, 4, 0], [2, 1, 0, 7, 6, 0]]
    );
    assert_eq!(
        asks("sms-emoa"),
        [[4, 5, 2, 8, 8, 1], [4, 5, 0, 8, 8, 0], [2, 3, 2, 6, 5, 0]]
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let error = build("annealing", model_space(), 0).err().unwrap();
    assert_eq!(
        error.to_string(),
        "unknown strategy `annealing`; known are random, nsga2, sms-emoa, surrogate"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Only the order of the asks and what is told of each decide, not where it is told.
    #[test]
    fn evaluations_may_be_replayed_in_any_order(
        seed in any::<u64>(),
        order in Just((0_u64..50).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        for name in NAMES {
            let space = model_space();
            let events = search(build(name, problem(&space), seed).unwrap().as_mut(), 50, 0);
            let mut in_turn = replay(name, &space, seed, &events);
            let (asks, tells): (Vec<Event>, Vec<Event>) = events
                .into_iter()
                .partition(|event| matches!(event, Event::Asked { .. }));
            let mut asks_first = replay(name, &space, seed, &asks);
            for candidate in &order {
                asks_first.tell(&tells[*candidate as usize]).unwrap();
            }
            prop_assert_eq!(in_turn.ask(50), asks_first.ask(50));
        }
    }
}
