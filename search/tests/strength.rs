//! The strategies against each other on a problem with a known truth, at the budgets that real
//! searches have.

#![allow(clippy::unwrap_used)]

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

#[test]
fn nsga2_beats_random_on_every_instance() {
    let variant = Variant {
        has_floats: true,
        has_families: true,
    };
    let failures: Vec<_> = (0..6)
        .map(|instance| {
            let random = gaps("random", instance, variant);
            (instance, random, gaps("nsga2", instance, variant))
        })
        .filter(|(_, random, nsga2)| nsga2[0] <= 1.2 * random[0] || nsga2[1] <= 1.2 * random[1])
        .collect();
    assert!(
        failures.is_empty(),
        "(instance, random at 200 and 500, nsga2): {failures:#?}"
    );
}

/// Without the wide empty part that 16 bits leave, random mixes are a harder match.
#[test]
fn nsga2_beats_random_on_quantized_precisions_alone() {
    let variant = Variant {
        has_floats: false,
        has_families: true,
    };
    let failures: Vec<_> = (0..6)
        .map(|instance| {
            let random = gaps("random", instance, variant);
            (instance, random, gaps("nsga2", instance, variant))
        })
        .filter(|(_, random, nsga2)| nsga2[0] <= random[0] || nsga2[1] <= random[1])
        .collect();
    assert!(
        failures.is_empty(),
        "(instance, random at 200 and 500, nsga2): {failures:#?}"
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
