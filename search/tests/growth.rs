//! What more budget is said to bring against what it brings: on curves that follow a law, and on a
//! problem with a known truth.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod synthetic;

use bitfront_search::{build, outlook};
use synthetic::{Synthetic, Variant};

/// A curve of that many evaluations whose steps are as far apart as chance has them.
fn chancy(evaluations: usize, seed: u64, at: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut unit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut curve = vec![at(1.0)];
    for evaluation in 1..=evaluations {
        let growth = at(evaluation as f64 + 1.0) - at(evaluation as f64);
        // One evaluation in three extends the front, by three times the mean on average.
        let chance = if unit() < 1.0 / 3.0 {
            -3.0 * unit().max(1e-9).ln()
        } else {
            0.0
        };
        curve.push(curve[evaluation - 1] + growth * chance);
    }
    curve
}

/// The estimate at half a curve over what its other half brought.
fn ratio_at_half(curve: &[f64]) -> f64 {
    let half = curve.len() / 2;
    let brought = (curve[curve.len() - 1] - curve[half]) / curve[half];
    outlook(&curve[..=half]).unwrap().expected / brought
}

type Law = fn(f64) -> f64;
const STEADY: [(&str, Law); 4] = [
    ("logarithm", |n| 3.0 + 0.2 * n.ln()),
    ("slow power", |n| 5.0 - 2.0 * n.powf(-0.3)),
    ("power", |n| 5.0 - 3.0 * n.powf(-0.7)),
    ("fast power", |n| 5.0 - 4.0 * n.powf(-1.0)),
];

#[test]
fn growth_that_slows_steadily_is_foreseen_within_a_tenth() {
    for (name, law) in STEADY {
        for evaluations in [64, 200, 1000] {
            let curve: Vec<_> = (0..=evaluations).map(|n| law(f64::from(n) + 1.0)).collect();
            let ratio = ratio_at_half(&curve);
            assert!(
                (0.9..1.1).contains(&ratio),
                "{name}, {evaluations}: {ratio}"
            );
        }
    }
}

#[test]
fn growth_in_chance_steps_is_mostly_foreseen_within_a_factor_of_two() {
    for (name, law) in STEADY {
        for evaluations in [400, 1000] {
            let within = |seed: &u64| {
                let ratio = ratio_at_half(&chancy(evaluations, *seed, law));
                (0.5..2.0).contains(&ratio)
            };
            let right = (1..=200).filter(within).count();
            assert!(right >= 140, "{name}, {evaluations}: {right} of 200");
        }
    }
}

#[test]
fn growth_that_ends_is_said_to_bring_too_much_and_one_that_goes_on_half_of_it() {
    for (pace, least) in [
        (20.0, 1.0),
        (50.0, 1.0),
        (100.0, 0.9),
        (400.0, 0.5),
        (1e6, 0.5),
    ] {
        let at = |n: i32| 5.0 - 2.0 * (-f64::from(n) / pace).exp();
        let curve: Vec<_> = (0..=400).map(at).collect();
        assert!(
            ratio_at_half(&curve) >= least - 1e-6,
            "{pace}: {}",
            ratio_at_half(&curve)
        );
    }
    let stands = outlook(&[2.0; 65]).unwrap();
    assert_eq!((stands.grew, stands.expected), (0.0, 0.0));
}

/// The expected over the true growth from each number of proposals to twice as many.
fn ratios(name: &str, instance: u64, proposals: &[usize]) -> Vec<f64> {
    let variant = Variant {
        has_floats: false,
        has_families: true,
    };
    let problem = Synthetic::new(instance, variant);
    let start = problem.baselines.len();
    let most = 2 * proposals.iter().max().unwrap();
    let mut strategy = build(name, problem.problem(), instance).unwrap();
    let genomes = problem.run(strategy.as_mut(), start + most);
    let curve: Vec<_> = (0..=most)
        .map(|count| problem.hypervolume(&genomes[..start + count]))
        .collect();
    let ratio = |&at: &usize| {
        let brought = (curve[2 * at] - curve[at]) / curve[at];
        outlook(&curve[..=at]).unwrap().expected / brought
    };
    proposals.iter().map(ratio).collect()
}

fn within(factor: f64, ratios: &[f64]) -> usize {
    let is_within = |ratio: &&f64| (1.0 / factor..factor).contains(*ratio);
    ratios.iter().filter(is_within).count()
}

/// The default strategy, whose growth is what most users ask about.
#[test]
fn the_surrogate_brings_within_a_factor_of_two_of_what_is_expected() {
    let ratios: Vec<_> = (0..3)
        .flat_map(|instance| ratios("surrogate", instance, &[64, 100]))
        .collect();
    assert_eq!(within(2.0, &ratios), ratios.len(), "{ratios:?}");
}

/// Evolution finds by chance and in bursts.
#[test]
fn evolution_mostly_brings_within_a_factor_of_two_of_what_is_expected() {
    let ratios: Vec<_> = (0..6)
        .flat_map(|instance| ratios("nsga2", instance, &[64, 128, 256]))
        .collect();
    assert!(within(2.0, &ratios) >= 12, "{ratios:?}");
    assert!(within(3.0, &ratios) >= 17, "{ratios:?}");
}
