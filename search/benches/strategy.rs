//! What a search costs by itself: the hypervolume, and the asks of the surrogate strategy.
//!
//! To solve is NSGA-II on the surrogate, with its seeds and the deviations of its front. The first
//! ask is a refit, the same without the deviations, and what another ask costs; the refit is what
//! those leave of it. A belief is a more thorough refit.
//!
//!     cargo bench -p bitfront-search

use std::hint::black_box;

use bitfront_search::{
    Evaluation, Event, Genome, Law, Problem, Space, Strategy, Surrogate, Table, hypervolume,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn unit(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Points on a sphere, so that none dominates another.
fn sphere(count: usize) -> Vec<Vec<f64>> {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let point = |generator: &mut ChaCha8Rng| {
        let point: Vec<f64> = (0..3).map(|_| unit(generator) + 1e-9).collect();
        let length = point.iter().map(|value| value * value).sum::<f64>().sqrt();
        point.iter().map(|value| 1.0 - value / length).collect()
    };
    (0..count).map(|_| point(&mut generator)).collect()
}

/// A model whose layers have 6 precisions each, and what `count` random plans measured.
struct Measured {
    problem: Problem,
    events: Vec<Event>,
}

impl Measured {
    fn new(count: u64, genes: usize) -> Self {
        let bits = [8.5, 6.5625, 5.5, 4.5, 3.4375, 2.625_f64];
        let mut generator = ChaCha8Rng::seed_from_u64(2);
        let mut table = |part: fn(f64) -> f64, spread: f64| {
            let gene = |generator: &mut ChaCha8Rng| {
                let factor = (spread * (2.0 * unit(generator) - 1.0)).exp();
                bits.iter().map(|bits| factor * part(*bits)).collect()
            };
            Table::new((0..genes).map(|_| gene(&mut generator)))
        };
        let loss: fn(f64) -> f64 = |bits| 0.25_f64.powf(bits);
        let cost: fn(f64) -> f64 = |bits| bits;
        let (true_loss, true_time, size) = (table(loss, 1.5), table(cost, 0.2), table(cost, 0.0));
        let laws = vec![
            Law::LogSum(table(loss, 0.0)),
            Law::Time(table(cost, 0.0)),
            Law::Exact {
                constant: 0.0,
                table: size.clone(),
            },
        ];
        let space = Space::new(vec![6; genes]).unwrap_or_else(|error| panic!("{error}"));
        let problem = Problem::new(space, laws).unwrap_or_else(|error| panic!("{error}"));
        let mut events = Vec::new();
        for candidate in 0..count {
            // The mix of levels differs between plans, as it does in a search.
            let middle = 6.0 * unit(&mut generator);
            let allele = |generator: &mut ChaCha8Rng| {
                (middle + 3.0 * (unit(generator) - 0.5)).clamp(0.0, 5.9) as u8
            };
            let genome = Genome((0..genes).map(|_| allele(&mut generator)).collect());
            let noise = 1.0 + 0.02 * (unit(&mut generator) - 0.5);
            let objectives = vec![
                true_loss.sum(&genome).ln(),
                noise * true_time.sum(&genome),
                size.sum(&genome),
            ];
            let evaluation = Evaluation::unlimited(objectives);
            events.push(Event::Asked { candidate, genome });
            events.push(Event::Told {
                candidate,
                evaluation,
            });
        }
        Self { problem, events }
    }

    fn strategy(&self) -> Surrogate {
        let mut strategy = Surrogate::new(self.problem.clone(), 1);
        for event in &self.events {
            strategy
                .tell(event)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        strategy
    }
}

fn benches(criterion: &mut Criterion) {
    let points = sphere(1_000);
    criterion.bench_function("hypervolume of 1,000 points in 3 dimensions", |bencher| {
        bencher.iter(|| hypervolume(black_box(&points), &[1.0; 3]));
    });
    let mut group = criterion.benchmark_group("surrogate, 200 genes of 6 alleles");
    group.sample_size(10);
    for count in [100, 1_000, 10_000] {
        let measured = Measured::new(count, 200);
        group.bench_function(format!("belief, {count} results"), |bencher| {
            let strategy = measured.strategy();
            bencher.iter(|| black_box(strategy.belief()));
        });
        group.bench_function(
            format!("fit and first ask after {count} results"),
            |bencher| {
                bencher.iter_batched_ref(
                    || measured.strategy(),
                    |strategy| strategy.ask(0),
                    BatchSize::LargeInput,
                );
            },
        );
        group.bench_function(format!("solve, {count} results"), |bencher| {
            let strategy = measured.strategy();
            let belief = strategy.belief();
            bencher.iter(|| belief.solve(&[None; 3]));
        });
        group.bench_function(format!("another ask after {count} results"), |bencher| {
            let mut strategy = measured.strategy();
            strategy.ask(0);
            bencher.iter(|| strategy.ask(1));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("the best plan for a limit, 1,000 results");
    group.sample_size(10);
    for genes in [44, 200] {
        let measured = Measured::new(1_000, genes);
        let strategy = measured.strategy();
        group.bench_function(format!("fit and solve, {genes} genes"), |bencher| {
            // What a plan of 4.5 bits has.
            let most = [None, None, Some(4.5 * genes as f64)];
            bencher.iter(|| black_box(strategy.belief().best(0, &most).map(drop)));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("surrogate, 10,000 genes of 6 alleles, 8 results");
    group.sample_size(10);
    let measured = Measured::new(8, 10_000);
    group.bench_function("fit and first ask", |bencher| {
        bencher.iter_batched_ref(
            || measured.strategy(),
            |strategy| strategy.ask(0),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("fit and solve the best plan for a limit", |bencher| {
        let strategy = measured.strategy();
        let most = [None, None, Some(45_000.0)];
        bencher.iter(|| black_box(strategy.belief().best(0, &most).map(drop)));
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
