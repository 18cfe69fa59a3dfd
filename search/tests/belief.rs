//! What the surrogate's belief is worth, on problems with a known truth.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod synthetic;

use bitfront_search::{
    BeliefError, Believed, Evaluation, Event, Genome, Law, Problem, Space, Strategy, Surrogate,
    Table,
};
use synthetic::{Synthetic, Variant};

const VARIANT: Variant = Variant {
    has_floats: false,
    has_families: true,
};

#[test]
fn a_smoothed_front_claims_what_it_has() {
    for instance in 0..2 {
        let problem = Synthetic::new(instance, VARIANT);
        let mut strategy = Surrogate::new(problem.problem(), instance);
        let (genomes, told) = problem.run_with_noise(&mut strategy, 600, [0.05, 0.08]);
        let raw = problem.claim(&genomes, &told);
        let believed = strategy.belief().of(&genomes).unwrap();
        let values: Vec<[f64; 3]> = believed
            .iter()
            .map(|figures| [0, 1, 2].map(|figure| figures[figure].value))
            .collect();
        let smoothed = problem.claim(&genomes, &values);
        assert!(raw > 1.15, "raw {raw}");
        assert!((0.97..1.03).contains(&smoothed), "smoothed {smoothed}");
    }
}

/// The truth of a sum lies within the sum's own deviations; that of a problem with interactions
/// within those that also take in the scatter.
#[test]
fn intervals_hold_the_truth() {
    for (interacts, least) in [(false, 0.85), (true, 0.9)] {
        let mut problem = Synthetic::new(3, VARIANT);
        if interacts {
            problem = problem.with_interactions();
        }
        let mut strategy = Surrogate::new(problem.problem(), 3);
        let (measured, _) = problem.run_with_noise(&mut strategy, 400, [0.02, 0.03]);
        let belief = strategy.belief();
        let others: Vec<Genome> = belief
            .solve(&[None; 3])
            .unwrap()
            .into_iter()
            .map(|solved| solved.genome)
            .filter(|genome| !measured.contains(genome))
            .collect();
        assert!(others.len() > 50, "{}", others.len());
        for (name, genomes) in [("measured", &measured), ("others", &others)] {
            let believed = belief.of(genomes).unwrap();
            for figure in 0..3 {
                let deviation: fn(&Believed) -> f64 = match (figure, interacts) {
                    // The size is known exactly, to the rounding of its sum.
                    (2, _) => |figure| {
                        assert_eq!((figure.deviation, figure.scatter), (0.0, 0.0));
                        1e-9
                    },
                    (_, true) => |figure| figure.deviation.hypot(figure.scatter),
                    (_, false) => |figure| figure.deviation,
                };
                let share = problem.within(genomes, &believed, figure, deviation);
                assert!(
                    share >= least,
                    "interactions: {interacts}; {name}, figure {figure}: {share}"
                );
            }
        }
    }
}

#[test]
fn deviations_shrink_with_what_is_learned_and_grow_away_from_it() {
    let problem = Synthetic::new(1, VARIANT);
    let mut strategy = Surrogate::new(problem.problem(), 1);
    let genome = problem.baselines[0].clone();
    let deviation = |strategy: &Surrogate, genome: &Genome| {
        strategy.belief().of(std::slice::from_ref(genome)).unwrap()[0][0].deviation
    };
    let unknown = deviation(&strategy, &genome);
    assert!(unknown > 0.1, "{unknown}");
    let (genomes, _) = problem.run_with_noise(&mut strategy, 100, [0.01, 0.02]);
    let measured = deviation(&strategy, &genomes[90]);
    assert!(measured < unknown / 5.0, "{measured} after {unknown}");
    // No proposal was like this one: the alleles of every gene in turn.
    let odd = Genome(
        (0..)
            .zip(problem.space.alleles())
            .map(|(gene, alleles)| (gene % u32::from(*alleles)) as u8)
            .collect(),
    );
    let odd = deviation(&strategy, &odd);
    assert!(odd > measured, "{odd} against {measured}");
}

#[test]
fn a_solved_front_keeps_the_limits_and_the_nearest_is_said_where_none_does() {
    let problem = Synthetic::new(2, VARIANT);
    let mut strategy = Surrogate::new(problem.problem(), 2);
    problem.run_with_noise(&mut strategy, 100, [0.0, 0.0]);
    let belief = strategy.belief();
    let all = belief.solve(&[None; 3]).unwrap();
    let mut sizes: Vec<f64> = all.iter().map(|solved| solved.figures[2].value).collect();
    sizes.sort_by(f64::total_cmp);
    let most = sizes[sizes.len() / 4];
    let limited = belief.solve(&[None, None, Some(most)]).unwrap();
    assert!(limited.len() > 20, "{}", limited.len());
    for solved in &limited {
        assert_eq!(solved.violation, 0.0);
        assert!(solved.figures[2].value <= most, "{solved:?}");
    }
    let none = belief.solve(&[None, None, Some(sizes[0] / 2.0)]).unwrap();
    assert_eq!(none.len(), 1);
    assert!(none[0].violation > 0.0);
    for most in [vec![None; 2], vec![None, None, Some(f64::NAN)]] {
        let found = belief.solve(&most);
        assert!(matches!(found, Err(BeliefError::Most { .. })), "{found:?}");
    }
    let stranger = belief.of(&[problem.baselines[0].clone(), Genome(vec![0])]);
    let error = stranger.unwrap_err().to_string();
    assert_eq!(
        error,
        "genome 1 lies outside the space: the genome has 1 genes, the space has 44"
    );
}

/// Spaces and objectives that leave little to believe in.
#[test]
fn bad_shapes_are_believed_without_a_panic() {
    for (name, alleles, objectives) in [
        ("one allele everywhere", vec![1; 30], [1.0, 2.0]),
        ("one gene", vec![6], [1.0, 2.0]),
        ("constant", vec![4; 12], [0.0, 0.0]),
        ("negative", vec![4; 12], [-1.0, -5.0]),
        ("infinite", vec![4; 12], [f64::INFINITY, 1.0]),
        ("not a number", vec![4; 12], [f64::NAN, f64::NAN]),
    ] {
        let space = Space::new(alleles.clone()).unwrap();
        let table = || {
            let numbers = |&count: &usize| (1..=count).map(|part| part as f64).collect();
            Table::new(alleles.iter().map(numbers))
        };
        let laws = vec![Law::LogSum(table()), Law::Time(table())];
        let mut strategy = Surrogate::new(Problem::new(space.clone(), laws).unwrap(), 1);
        let mut genomes = Vec::new();
        for candidate in 0..40 {
            let Some(genome) = strategy.ask(candidate) else {
                break;
            };
            genomes.push(genome.clone());
            let evaluation = Evaluation::unlimited(objectives.to_vec());
            strategy.tell(&Event::Asked { candidate, genome }).unwrap();
            strategy
                .tell(&Event::Told {
                    candidate,
                    evaluation,
                })
                .unwrap();
        }
        assert_eq!(genomes.len() as u128, space.size().min(40), "{name}");
        let belief = strategy.belief();
        for figures in belief.of(&genomes).unwrap() {
            for figure in figures {
                let is_sound = figure.value.is_finite() && figure.deviation >= 0.0;
                assert!(is_sound, "{name}: {figure:?}");
            }
        }
        assert!(!belief.solve(&[None; 2]).unwrap().is_empty(), "{name}");
        for (figure, most) in [(0, [None, Some(2.0)]), (1, [Some(-1.0), None])] {
            let solved = belief.best(figure, &most).unwrap();
            assert!(space.check(&solved.genome).is_ok(), "{name}: {solved:?}");
        }
        strategy.trust();
    }
}

/// A question about a stored search of a large model ends by the count of its steps, where every
/// improvement opens others. What an ask takes there is timed by the benchmarks.
#[test]
fn ten_thousand_genes_are_answered_for() {
    let space = Space::new([5; 10_000]).unwrap();
    let table = || Table::new(vec![vec![5.0, 4.0, 3.0, 2.0, 1.0]; 10_000]);
    // What loses less takes longer, and no two genes alike, so that exchanges look for long.
    let rising = |gene: u32| {
        let weight = 1.0 + f64::from(gene % 97) / 97.0;
        [1.0, 2.0, 3.0, 4.0, 5.0].map(|part| weight * part).to_vec()
    };
    let times = || Table::new((0..10_000).map(rising));
    let laws = vec![Law::LogSum(table()), Law::Time(times())];
    let mut strategy = Surrogate::new(Problem::new(space, laws).unwrap(), 1);
    for candidate in 0..8 {
        let genome = strategy.ask(candidate).unwrap();
        let evaluation =
            Evaluation::unlimited(vec![table().sum(&genome).ln(), times().sum(&genome)]);
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        strategy
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
    }
    let belief = strategy.belief();
    assert!(!belief.solve(&[None; 2]).unwrap().is_empty());
    let solved = belief.best(1, &[Some(25_000_f64.ln()), None]).unwrap();
    assert_eq!(solved.violation, 0.0);
}
