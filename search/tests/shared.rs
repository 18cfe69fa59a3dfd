//! What the surrogate strategy makes of what other searches measured.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod fleet;

use bitfront_search::{Belief, Evaluation, Event, EventError, Genome, Shared, Strategy, Surrogate};
use fleet::{Dice, Fleet, Kinship};

fn fleet() -> Fleet {
    Fleet::new(20, 2, Kinship::Unlike, 3)
}

fn strategy(fleet: &Fleet) -> Surrogate {
    Surrogate::new(fleet.problem(0), 5)
}

/// Genomes of every size, each different.
fn genomes(count: usize) -> Vec<Genome> {
    let mut dice = Dice::new(11);
    let mut found: Vec<Genome> = Vec::new();
    while found.len() < count {
        let level = 5.0 * dice.unit();
        let gene = |_| (level + 2.0 * dice.unit() - 1.0).clamp(0.0, 4.0) as u8;
        let genome = Genome((0..20).map(gene).collect());
        if !found.contains(&genome) {
            found.push(genome);
        }
    }
    found
}

/// What the search of the other device measured.
fn shared(fleet: &Fleet, genome: &Genome) -> Event {
    let [loss, _, size] = fleet.truth(genome, 1);
    Event::Shared(Shared {
        genome: genome.clone(),
        figures: vec![Some(loss), None, Some(size)],
        is_reused: false,
    })
}

/// A candidate of one's own, with its evaluation.
fn own(fleet: &Fleet, candidate: u64, genome: &Genome) -> [Event; 2] {
    let evaluation = Evaluation::unlimited(fleet.truth(genome, 0).to_vec());
    let genome = genome.clone();
    [
        Event::Asked { candidate, genome },
        Event::Told {
            candidate,
            evaluation,
        },
    ]
}

fn tell<'a>(strategy: &mut Surrogate, events: impl IntoIterator<Item = &'a Event>) {
    for event in events {
        strategy.tell(event).unwrap();
    }
}

/// How far what is believed of a figure lies from the truth on average, as a share of it.
fn error(fleet: &Fleet, belief: &Belief<'_>, figure: usize, genomes: &[Genome]) -> f64 {
    let believed = belief.of(genomes).unwrap();
    let of_genome = |(genome, believed): (&Genome, &Vec<bitfront_search::Believed>)| {
        let truth = fleet.truth(genome, 0)[figure];
        let error = believed[figure].value - truth;
        // The loss is told as a logarithm, in which a difference is a share already.
        error.abs() / if figure == 0 { 1.0 } else { truth }
    };
    let errors = genomes.iter().zip(&believed).map(of_genome);
    errors.sum::<f64>() / genomes.len() as f64
}

#[test]
fn a_figure_that_was_shared_is_learned_and_no_other() {
    let fleet = fleet();
    let genomes = genomes(120);
    let (measured, others) = genomes.split_at(80);
    let mut alone = strategy(&fleet);
    for (candidate, genome) in (0..).zip(&measured[..16]) {
        tell(&mut alone, &own(&fleet, candidate, genome));
    }
    let mut taught = strategy(&fleet);
    for genome in &measured[16..] {
        tell(&mut taught, &[shared(&fleet, genome)]);
    }
    for (candidate, genome) in (0..).zip(&measured[..16]) {
        tell(&mut taught, &own(&fleet, candidate, genome));
    }
    let (alone, taught) = (alone.belief(), taught.belief());
    let losses = [&alone, &taught].map(|belief| error(&fleet, belief, 0, others));
    assert!(losses[1] < 0.5 * losses[0], "{losses:?}");
    let times = [&alone, &taught].map(|belief| error(&fleet, belief, 1, others));
    assert_eq!(times[0], times[1]);
    // What was shared is known, and is no candidate.
    let deviation = |belief: &Belief<'_>| belief.of(&measured[70..71]).unwrap()[0][0].deviation;
    assert!(deviation(&taught) < deviation(&alone));
}

#[test]
fn times_that_hold_here_are_learned_as_well() {
    let fleet = fleet();
    let genomes = genomes(120);
    let (measured, others) = genomes.split_at(80);
    let mut taught = strategy(&fleet);
    for genome in measured {
        let figures = fleet.truth(genome, 0).map(Some).to_vec();
        let genome = genome.clone();
        let is_reused = true;
        let shared = Shared {
            genome,
            figures,
            is_reused,
        };
        tell(&mut taught, &[Event::Shared(shared)]);
    }
    let error_before = error(&fleet, &strategy(&fleet).belief(), 1, others);
    let error_after = error(&fleet, &taught.belief(), 1, others);
    assert!(
        error_after < 0.5 * error_before,
        "{error_after} after {error_before}"
    );
}

/// The loss by one search, then wrong times and their correction by another.
#[test]
fn what_is_told_of_a_genome_piece_by_piece_is_learned_as_a_whole() {
    let fleet = fleet();
    let genomes = genomes(80);
    let told = |of_figure: fn(usize, f64) -> Option<f64>, is_reused| -> Vec<Event> {
        let shared = |genome: &Genome| {
            let truth = fleet.truth(genome, 0).into_iter().enumerate();
            Event::Shared(Shared {
                genome: genome.clone(),
                figures: truth.map(|(figure, it)| of_figure(figure, it)).collect(),
                is_reused,
            })
        };
        genomes.iter().map(shared).collect()
    };
    let mut whole = strategy(&fleet);
    tell(&mut whole, &told(|_, it| Some(it), true));
    let mut pieces = strategy(&fleet);
    for (place, event) in told(|figure, it| (figure != 1).then_some(it), true)
        .iter()
        .chain(&told(|figure, it| (figure == 1).then_some(3.0 * it), false))
        .chain(&told(|figure, it| (figure == 1).then_some(it), false))
        .enumerate()
    {
        tell(&mut pieces, [event]);
        if place % 50 == 0 {
            pieces.ask(place as u64);
        }
    }
    let believed = |strategy: &Surrogate| strategy.belief().of(&genomes).unwrap();
    assert_eq!(believed(&whole), believed(&pieces));
}

/// Whatever another search found of it, before or after.
#[test]
fn a_candidate_of_ones_own_wins_over_what_was_shared_of_it() {
    let fleet = fleet();
    let genomes = genomes(48);
    let wrong = |genome: &Genome| {
        Event::Shared(Shared {
            genome: genome.clone(),
            figures: vec![Some(-30.0), Some(1e9), Some(0.0)],
            is_reused: true,
        })
    };
    let mut alone = strategy(&fleet);
    let mut disturbed = strategy(&fleet);
    for (candidate, genome) in (0..).zip(&genomes) {
        let is_before = candidate % 2 == 0;
        if is_before {
            tell(&mut disturbed, &[wrong(genome)]);
        }
        let events = own(&fleet, candidate, genome);
        tell(&mut alone, &events);
        tell(&mut disturbed, &events);
        if !is_before {
            tell(&mut disturbed, &[wrong(genome)]);
        }
    }
    let believed = |strategy: &Surrogate| strategy.belief().of(&genomes).unwrap();
    assert_eq!(believed(&alone), believed(&disturbed));
}

#[test]
fn proposals_follow_from_what_was_shared_and_not_from_when() {
    let fleet = fleet();
    let genomes = genomes(72);
    let own: Vec<[Event; 2]> = (0..)
        .zip(&genomes[..24])
        .map(|(candidate, genome)| own(&fleet, candidate, genome))
        .collect();
    let shared: Vec<Event> = genomes[24..]
        .iter()
        .map(|genome| shared(&fleet, genome))
        .collect();
    let mut alone = strategy(&fleet);
    tell(&mut alone, own.iter().flatten());
    let mut first = strategy(&fleet);
    tell(&mut first, shared.iter().chain(own.iter().flatten()));
    let mut last = strategy(&fleet);
    tell(&mut last, own.iter().flatten().chain(&shared));
    // One that asks all the while, as a search does.
    let mut between = strategy(&fleet);
    for (place, events) in own.iter().enumerate() {
        tell(&mut between, &events[..1]);
        between.ask(place as u64);
        tell(&mut between, &shared[2 * place..2 * place + 1]);
        between.ask(place as u64);
        tell(&mut between, &events[1..]);
        tell(&mut between, &shared[2 * place + 1..2 * place + 2]);
    }
    let proposal = first.ask(24);
    assert_ne!(proposal, alone.ask(24));
    assert_eq!(proposal, last.ask(24));
    assert_eq!(proposal, between.ask(24));
    let believed = |strategy: &Surrogate| strategy.belief().of(&genomes).unwrap();
    assert_eq!(believed(&first), believed(&last));
    assert_eq!(believed(&first), believed(&between));
    // A check is of what a search has learned by itself: when it learned the rest is not told.
    assert_eq!(alone.trust().len(), 0);
    assert_eq!(first.trust(), alone.trust());
}

#[test]
fn more_than_a_model_is_fitted_to_may_be_shared() {
    let fleet = fleet();
    let mut strategy = strategy(&fleet);
    for genome in genomes(700) {
        tell(&mut strategy, &[shared(&fleet, &genome)]);
    }
    let genome = strategy.ask(0).unwrap();
    fleet.problem(0).space().check(&genome).unwrap();
}

/// Of the genomes that the search of the other device asked, those that this one asks within 30,
/// and those that it asks of as many random ones; all shared, and reused or not.
fn asked_of_shared(is_reused: bool) -> [usize; 2] {
    let fleet = fleet();
    let mut other = Surrogate::new(fleet.problem(1), 5);
    let mut good = fleet.uniform();
    for candidate in 0..60 {
        if candidate >= good.len() {
            good.push(other.ask(candidate as u64).unwrap());
        }
        let evaluation = Evaluation::unlimited(fleet.truth(&good[candidate], 1).to_vec());
        let genome = good[candidate].clone();
        let candidate = candidate as u64;
        tell(
            &mut other,
            &[
                Event::Asked { candidate, genome },
                Event::Told {
                    candidate,
                    evaluation,
                },
            ],
        );
    }
    let random: Vec<Genome> = genomes(80)
        .into_iter()
        .filter(|genome| !good.contains(genome))
        .take(60)
        .collect();
    let mut strategy = strategy(&fleet);
    let mut count = 0;
    for genome in fleet.uniform() {
        tell(&mut strategy, &own(&fleet, count, &genome));
        count += 1;
    }
    for genome in good.iter().chain(&random) {
        let Event::Shared(mut shared) = shared(&fleet, genome) else {
            unreachable!("it is no other event");
        };
        shared.is_reused = is_reused;
        tell(&mut strategy, &[Event::Shared(shared)]);
    }
    let mut found = [0; 2];
    for ask in 0..30 {
        let genome = strategy.ask(ask).unwrap();
        found[0] += usize::from(good.contains(&genome));
        found[1] += usize::from(random.contains(&genome));
        tell(&mut strategy, &own(&fleet, count, &genome));
        count += 1;
    }
    found
}

#[test]
fn what_is_cheap_to_ask_is_asked_more_often_where_it_is_good() {
    let [reused, others] = [true, false].map(asked_of_shared);
    assert!(reused[0] >= 10 && reused[1] <= 3, "{reused:?}");
    assert!(others[0] <= 3, "{others:?}");
}

#[test]
fn figures_of_another_problem_are_refused_and_teach_nothing() {
    let fleet = fleet();
    let mut strategy = strategy(&fleet);
    let genome = genomes(1).remove(0);
    let figures = vec![Some(1.0), None];
    let is_reused = false;
    let found = strategy.tell(&Event::Shared(Shared {
        genome: genome.clone(),
        figures,
        is_reused,
    }));
    let refused = EventError::SharedFigures {
        expected: 3,
        found: 2,
    };
    assert_eq!(found, Err(refused));
    tell(&mut strategy, &[shared(&fleet, &genome)]);
}
