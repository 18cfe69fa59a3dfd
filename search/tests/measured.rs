//! The table of real measurements that is shipped is whole and sound, and what is claimed of
//! strategies on it holds.

#![allow(clippy::unwrap_used)]

#[path = "measured/mod.rs"]
mod measured;

use bitfront_search::{Evaluation, Event, Genome, Growth, Law, build};
use measured::{Figure, Measured, bits};

#[test]
fn every_plan_of_the_space_is_there_once_in_order() {
    let measured = Measured::read();
    let plans = measured.alleles.len().pow(measured.genes.len() as u32);
    assert_eq!((measured.rows.len(), plans), (6561, 6561));
    for (index, row) in measured.rows.iter().enumerate() {
        assert_eq!(row.genome.0.len(), measured.genes.len(), "plan {index}");
        assert!(std::ptr::eq(measured.row(&row.genome), row), "plan {index}");
    }
    assert_eq!(measured.profiles, ["as-found", "avx2"]);
}

#[test]
fn every_figure_is_a_positive_number() {
    let measured = Measured::read();
    for row in &measured.rows {
        let profiles = measured.profiles.len();
        assert_eq!(row.times.len(), profiles, "{:?}", row.genome);
        let times = row
            .times
            .iter()
            .flat_map(|times| [&times.decode, &times.prefill]);
        for time in times.clone() {
            assert!(
                time.spread.is_finite() && time.spread >= 0.0,
                "{:?}",
                row.genome
            );
        }
        for figure in times.map(|time| time.ratio).chain([row.kld]) {
            assert!(
                figure.is_finite() && figure > 0.0,
                "{:?}: {figure}",
                row.genome
            );
        }
    }
}

/// By the shapes of the layers and the layouts of ggml, and 13 norms of 256 floats.
#[test]
fn sizes_are_exact() {
    let measured = Measured::read();
    let precisions: Vec<f64> = measured.alleles.iter().map(|it| bits(it)).collect();
    let Law::Exact { constant, table } = &law_of_sizes(&measured) else {
        panic!("a size is exact");
    };
    for row in &measured.rows {
        let layers = measured.genes.iter().zip(&row.genome.0);
        let of_gene = |(layers, &allele): (&Vec<(u64, u64)>, &u8)| {
            let weights: u64 = layers.iter().map(|(rows, columns)| rows * columns).sum();
            weights as f64 * precisions[usize::from(allele)] / 8.0
        };
        let bytes = 13.0 * 256.0 * 4.0 + layers.map(of_gene).sum::<f64>();
        assert_eq!(row.bytes as f64, bytes, "{:?}", row.genome);
        assert_eq!(constant + table.sum(&row.genome), bytes, "{:?}", row.genome);
    }
}

fn law_of_sizes(measured: &Measured) -> Law {
    let problem = measured.problem(0, &[Figure::Kld, Figure::Size], true);
    problem.objectives()[1].clone()
}

/// A profile and the objectives.
type Question<'a> = (usize, &'a [Figure]);

/// Evaluations to a share of the true front's hypervolume, the baselines among them.
fn needed(measured: &Measured, (profile, figures): Question<'_>, name: &str, seed: u64) -> usize {
    let goal = 0.95 * measured.whole(profile, figures);
    let problem = measured.problem(profile, figures, true);
    let mut strategy = build(name, problem, seed).unwrap();
    let mut growth = Growth::new(measured.reference(profile, figures), &[]).unwrap();
    let baselines = measured.uniform();
    for count in 0..measured.rows.len() {
        let asked = || strategy.ask((count - baselines.len()) as u64).unwrap();
        let genome: Genome = baselines.get(count).cloned().unwrap_or_else(asked);
        let told = figures
            .iter()
            .map(|&figure| measured.told(&genome, profile, figure));
        let told: Vec<f64> = told.collect();
        growth.add(Some(&told));
        if growth.curve()[count + 1] >= goal {
            return count + 1;
        }
        let candidate = count as u64;
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        let evaluation = Evaluation::unlimited(told);
        let told = Event::Told {
            candidate,
            evaluation,
        };
        strategy.tell(&told).unwrap();
    }
    measured.rows.len()
}

/// Beside each question by how much the surrogate needs fewer, at least.
#[test]
fn the_surrogate_needs_a_fraction_of_what_evolution_needs() {
    const QUESTIONS: [([Figure; 3], usize); 2] = [
        ([Figure::Kld, Figure::Size, Figure::Decode], 3),
        ([Figure::Kld, Figure::Decode, Figure::Prefill], 1),
    ];
    let measured = Measured::read();
    for profile in 0..measured.profiles.len() {
        for (figures, factor) in &QUESTIONS {
            let median = |name: &str| {
                let runs = (0..5).map(|seed| needed(&measured, (profile, figures), name, seed));
                let mut runs: Vec<_> = runs.collect();
                runs.sort_unstable();
                runs[2]
            };
            let (surrogate, nsga2) = (median("surrogate"), median("nsga2"));
            assert!(
                factor * surrogate < nsga2,
                "profile {profile}, {figures:?}: {surrogate} and {nsga2}"
            );
        }
    }
}
