//! The strategies against each other on a problem with a known truth, at the budgets that real
//! searches have.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod synthetic;

use bitfront_search::build;
use synthetic::{Synthetic, Variant};

/// The share of the way from the baselines' hypervolume to the oracle's, after 200 and 500.
fn gaps(name: &str, instance: u64, variant: Variant) -> [f64; 2] {
    let problem = Synthetic::new(instance, variant);
    let start = problem.hypervolume(&problem.baselines);
    let best = problem.hypervolume(&problem.oracle());
    let mut strategy = build(name, problem.problem(), instance).unwrap();
    let genomes = problem.run(strategy.as_mut(), 500);
    [200, 500].map(|budget| (problem.hypervolume(&genomes[..budget]) - start) / (best - start))
}

/// Instances on which NSGA-II's gaps are not more than `factor` times random search's.
fn nsga2_against_random(variant: Variant, factor: f64) -> Vec<(u64, [f64; 2], [f64; 2])> {
    let pairs = (0..6).map(|instance| {
        let random = gaps("random", instance, variant);
        (instance, random, gaps("nsga2", instance, variant))
    });
    let is_no_better = |(_, random, nsga2): &(u64, [f64; 2], [f64; 2])| {
        nsga2
            .iter()
            .zip(random)
            .any(|(nsga2, random)| *nsga2 <= factor * random)
    };
    pairs.filter(is_no_better).collect()
}

#[test]
fn nsga2_beats_random_on_every_instance() {
    // Without the wide empty part that 16 bits leave, random mixes are a harder match.
    for (has_floats, factor) in [(true, 1.2), (false, 1.0)] {
        let variant = Variant {
            has_floats,
            has_families: true,
        };
        let failures = nsga2_against_random(variant, factor);
        assert!(
            failures.is_empty(),
            "16 bits: {has_floats}; (instance, random at 200 and 500, nsga2): {failures:#?}"
        );
    }
}

#[test]
fn sms_emoa_beats_nsga2_on_every_instance() {
    let variant = Variant {
        has_floats: false,
        has_families: true,
    };
    let pairs = (0..6).map(|instance| {
        let nsga2 = gaps("nsga2", instance, variant)[1];
        (instance, nsga2, gaps("sms-emoa", instance, variant)[1])
    });
    let failures: Vec<_> = pairs
        .filter(|(_, nsga2, sms_emoa)| sms_emoa <= nsga2)
        .collect();
    assert!(
        failures.is_empty(),
        "(instance, nsga2 at 500, sms-emoa): {failures:#?}"
    );
}

/// With nothing known but bits and shapes.
#[test]
fn the_surrogate_needs_a_fifth_of_nsga2s_evaluations() {
    let variant = Variant {
        has_floats: false,
        has_families: true,
    };
    let failures: Vec<_> = (0..6)
        .map(|instance| {
            let problem = Synthetic::new(instance, variant);
            let start = problem.hypervolume(&problem.baselines);
            let best = problem.hypervolume(&problem.oracle());
            let mut strategy = build("surrogate", problem.problem(), instance).unwrap();
            let genomes = problem.run(strategy.as_mut(), 100);
            let share = (problem.hypervolume(&genomes) - start) / (best - start);
            (instance, gaps("nsga2", instance, variant)[1], share)
        })
        .filter(|(_, nsga2, surrogate)| surrogate <= nsga2)
        .collect();
    assert!(
        failures.is_empty(),
        "(instance, nsga2 at 500, surrogate at 100): {failures:#?}"
    );
}
