//! What the surrogate answers for one set of limits, against the best that there is.

#![allow(clippy::unwrap_used)]

use bitfront_search::{
    BeliefError, Evaluation, Event, Genome, Law, Limited, Problem, Space, Strategy, Surrogate,
    Table,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const BITS: [f64; 6] = [8.5, 6.5625, 5.5, 4.5, 3.4375, 2.625];

/// Uniform in 0..1.
fn unit(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Tables of layers as different as those of a model: loss, time, and size in whole units.
struct Tables {
    loss: Vec<Vec<f64>>,
    time: Vec<Vec<f64>>,
    size: Vec<Vec<f64>>,
}

impl Tables {
    fn new(instance: u64, genes: usize) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(instance);
        let mut tables = Self {
            loss: Vec::new(),
            time: Vec::new(),
            size: Vec::new(),
        };
        for _ in 0..genes {
            let weights = 10.0 + 150.0 * unit(&mut generator).powi(2);
            let sensitivity = (4.0 * unit(&mut generator) - 2.0).exp();
            let mut row = |value: &dyn Fn(f64) -> f64, spread: f64| -> Vec<f64> {
                let of_bits =
                    |bits: &f64| value(*bits) * (spread * (2.0 * unit(&mut generator) - 1.0)).exp();
                BITS.iter().map(of_bits).collect()
            };
            tables
                .loss
                .push(row(&|bits| sensitivity * 4.0_f64.powf(-bits), 0.3));
            tables.time.push(row(&|bits| weights * bits, 0.2));
            tables.size.push(row(&|bits| (weights * bits).round(), 0.0));
        }
        tables
    }

    fn problem(&self, limited: Vec<Limited>) -> Problem {
        let space = Space::new(self.loss.iter().map(Vec::len)).unwrap();
        let size = Law::Exact {
            constant: 0.0,
            table: Table::new(self.size.clone()),
        };
        let laws = vec![Law::LogSum(Table::new(self.loss.clone())), size];
        let problem = Problem::new(space, laws).unwrap();
        problem.with_limited(limited).unwrap()
    }

    fn sum(table: &[Vec<f64>], genome: &Genome) -> f64 {
        Table::new(table.to_vec()).sum(genome)
    }

    /// The least loss of every size up to `most`, by dynamic programming: of the genes so far, the
    /// least loss that fits in so many units.
    fn least_losses(&self, most: usize) -> Vec<f64> {
        let mut least = vec![0.0; most + 1];
        for (losses, sizes) in self.loss.iter().zip(&self.size) {
            let mut with_gene = vec![f64::INFINITY; most + 1];
            for (loss, size) in losses.iter().zip(sizes) {
                let size = *size as usize;
                for units in size..=most {
                    with_gene[units] = with_gene[units].min(least[units - size] + loss);
                }
            }
            least = with_gene;
        }
        least
    }
}

/// Before anything is measured the model is its guesses, here the truth: what is left is how well
/// it is solved.
#[test]
fn the_least_loss_of_every_size_is_that_of_dynamic_programming() {
    for instance in 0..3 {
        let tables = Tables::new(instance, 44);
        let end = |allele: usize| tables.size.iter().map(|gene| gene[allele]).sum::<f64>();
        let (largest, smallest) = (end(0), end(5));
        let least = tables.least_losses(largest as usize);
        let strategy = Surrogate::new(tables.problem(Vec::new()), instance);
        let belief = strategy.belief();
        for share in [0.003, 0.03, 0.1, 0.25, 0.4, 0.6, 0.8, 0.97] {
            let limit = (smallest + share * (largest - smallest)).floor();
            let solved = belief.best(0, &[None, Some(limit)]).unwrap();
            assert_eq!(solved.violation, 0.0);
            let size = Tables::sum(&tables.size, &solved.genome);
            assert!(size <= limit, "{size} against {limit}");
            let ratio = Tables::sum(&tables.loss, &solved.genome) / least[limit as usize];
            assert!(
                (1.0 - 1e-9..1.0 + 1e-4).contains(&ratio),
                "instance {instance}, share {share}: {ratio}"
            );
        }
    }
}

/// Small enough to try every genome: two limits, one of them on a figure that is no objective and
/// that is no plain sum, since changes between neighbours cost something.
#[test]
fn every_figure_is_made_least_under_limits_on_the_others() {
    for instance in 0..3 {
        let tables = Tables::new(instance, 7);
        let time = Limited {
            law: Law::Time(Table::new(tables.time.clone())),
            limit: f64::MAX,
        };
        let strategy = Surrogate::new(tables.problem(vec![time]), instance);
        let belief = strategy.belief();
        let genomes: Vec<Genome> = (0..6_usize.pow(7))
            .map(|number| {
                Genome(
                    (0..7)
                        .map(|gene| (number / 6_usize.pow(gene) % 6) as u8)
                        .collect(),
                )
            })
            .collect();
        let figures: Vec<Vec<f64>> = genomes
            .chunks(4096)
            .flat_map(|genomes| belief.of(genomes).unwrap())
            .map(|figures| figures.iter().map(|figure| figure.value).collect())
            .collect();
        let middle = |figure: usize, place: f64| {
            let mut values: Vec<f64> = figures.iter().map(|values| values[figure]).collect();
            values.sort_by(f64::total_cmp);
            values[(place * values.len() as f64) as usize]
        };
        for (figure, most) in [
            (0, [None, Some(middle(1, 0.3)), Some(middle(2, 0.3))]),
            (1, [Some(middle(0, 0.2)), None, Some(middle(2, 0.6))]),
            (2, [Some(middle(0, 0.2)), Some(middle(1, 0.6)), None]),
        ] {
            let keeps = |values: &&Vec<f64>| {
                let mut pairs = values.iter().zip(&most);
                pairs.all(|(value, most)| most.is_none_or(|most| *value <= most))
            };
            let within = figures.iter().filter(keeps);
            let least = within.map(|values| values[figure]).min_by(f64::total_cmp);
            let solved = belief.best(figure, &most).unwrap();
            assert_eq!(solved.violation, 0.0);
            let found = solved.figures[figure].value;
            // A difference of logarithms is a share.
            let unit = if figure == 0 { 1.0 } else { found };
            let beyond = (found - least.unwrap()) / unit;
            assert!(
                beyond < 0.005,
                "instance {instance}, figure {figure}: {beyond}"
            );
        }
    }
}

#[test]
fn what_nothing_keeps_is_answered_by_the_nearest_and_bad_questions_are_refused() {
    let tables = Tables::new(1, 12);
    let strategy = Surrogate::new(tables.problem(Vec::new()), 1);
    let belief = strategy.belief();
    let smallest: f64 = tables.size.iter().map(|gene| gene[5]).sum();
    let solved = belief.best(0, &[None, Some(0.9 * smallest)]).unwrap();
    assert_eq!(solved.genome, Genome(vec![5; 12]));
    assert!(
        (solved.violation - 1.0 / 9.0).abs() < 1e-9,
        "{}",
        solved.violation
    );
    let stranger = belief.best(2, &[None; 2]);
    assert_eq!(
        stranger,
        Err(BeliefError::Figure {
            figure: 2,
            figures: 2
        })
    );
    let infinite = belief.best(0, &[None, Some(f64::INFINITY)]);
    assert!(matches!(infinite, Err(BeliefError::Most { .. })));
}

/// What cannot be executed has taught the model nothing, so the model would name it again.
#[test]
fn what_is_known_to_be_infeasible_is_no_answer() {
    let tables = Tables::new(3, 12);
    let limit = (0.5 * tables.size.iter().map(|gene| gene[0]).sum::<f64>()).round();
    let mut strategy = Surrogate::new(tables.problem(Vec::new()), 3);
    let loss = |genome: &Genome| Tables::sum(&tables.loss, genome);
    let mut answers: Vec<Genome> = Vec::new();
    for candidate in 0..5 {
        let genome = strategy
            .belief()
            .best(0, &[None, Some(limit)])
            .unwrap()
            .genome;
        assert!(!answers.contains(&genome), "{genome:?}");
        assert!(Tables::sum(&tables.size, &genome) <= limit);
        if let Some(first) = answers.first() {
            let ratio = loss(&genome) / loss(first);
            assert!((1.0..1.2).contains(&ratio), "{ratio}");
        }
        answers.push(genome.clone());
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        let evaluation = Evaluation::Infeasible;
        strategy
            .tell(&Event::Told {
                candidate,
                evaluation,
            })
            .unwrap();
    }
    // Where nothing else is left, that is said.
    let space = Space::new([1, 1]).unwrap();
    let table = || Table::new(vec![vec![1.0]; 2]);
    let laws = vec![Law::LogSum(table()), Law::Time(table())];
    let mut strategy = Surrogate::new(Problem::new(space, laws).unwrap(), 1);
    let genome = Genome(vec![0, 0]);
    strategy
        .tell(&Event::Asked {
            candidate: 0,
            genome,
        })
        .unwrap();
    let evaluation = Evaluation::Infeasible;
    strategy
        .tell(&Event::Told {
            candidate: 0,
            evaluation,
        })
        .unwrap();
    let nothing = strategy.belief().best(0, &[None; 2]);
    assert_eq!(nothing, Err(BeliefError::Infeasible));
}

/// The problem's own limits hold whatever further ones allow.
#[test]
fn the_limits_of_the_problem_hold() {
    let tables = Tables::new(2, 12);
    let largest: f64 = tables.size.iter().map(|gene| gene[0]).sum();
    let limit = (0.5 * largest).round();
    let problem = tables.problem(Vec::new());
    let problem = problem
        .with_worst(vec![None, Some(limit.next_up())])
        .unwrap();
    let strategy = Surrogate::new(problem, 1);
    for most in [None, Some(largest)] {
        let solved = strategy.belief().best(0, &[None, most]).unwrap();
        assert!(solved.figures[1].value <= limit, "{:?}", solved.figures);
        assert!(
            solved.figures[1].value > 0.95 * limit,
            "{:?}",
            solved.figures
        );
    }
}

/// What was measured takes part by what is believed of it, and is no worse than the answer.
#[test]
fn no_measured_genome_is_expected_to_be_better() {
    let tables = Tables::new(4, 12);
    let mut strategy = Surrogate::new(tables.problem(Vec::new()), 4);
    let mut genomes = Vec::new();
    for candidate in 0..40 {
        let genome = strategy.ask(candidate).unwrap();
        genomes.push(genome.clone());
        let loss = Tables::sum(&tables.loss, &genome).ln();
        let objectives = vec![loss, Tables::sum(&tables.size, &genome)];
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        let evaluation = Evaluation::unlimited(objectives);
        let told = Event::Told {
            candidate,
            evaluation,
        };
        strategy.tell(&told).unwrap();
    }
    let belief = strategy.belief();
    for (genome, figures) in genomes.iter().zip(belief.of(&genomes).unwrap()) {
        // A limit that this one just keeps.
        let solved = belief.best(0, &[None, Some(figures[1].value)]).unwrap();
        assert!(
            solved.figures[0].value <= figures[0].value + 1e-9,
            "{genome:?}"
        );
    }
}
