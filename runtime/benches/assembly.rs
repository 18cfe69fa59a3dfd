//! Putting a candidate together from tensors that are all in the cache: the promise is under 5 ms
//! for the demo model.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use std::hint::black_box;

use bitfront_model::{ImatrixSource, Plan, Precision};
use criterion::{Criterion, criterion_group, criterion_main};

fn assembly(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let mut runtime = support::opened(directory.path(), &support::demo(ImatrixSource::None));
    let spec = runtime.spec().unwrap().clone();
    let choices = [
        Precision::Q2K,
        Precision::Q4K,
        Precision::Q6K,
        Precision::Q8_0,
    ];
    let plans = (0..choices.len())
        .map(|shift| {
            let layers = 0..spec.layers.len();
            let chosen = layers.map(|layer| choices[(layer + shift) % choices.len()]);
            Plan::new(&spec, chosen.collect()).unwrap()
        })
        .collect::<Vec<_>>();
    for plan in &plans {
        runtime.assemble(plan).unwrap();
    }
    let mut turn = plans.iter().cycle();
    criterion.bench_function("assemble a cached candidate", |bencher| {
        bencher.iter(|| black_box(runtime.assemble(turn.next().unwrap()).unwrap()));
    });
}

criterion_group!(benches, assembly);
criterion_main!(benches);
