//! Plans that start from stored hidden states, against the same plans computed whole.

use bitfront_model::{ImatrixSource, ModelSpec, Plan, Precision, Quality, TaskPurpose};
use bitfront_runtime::candle::{Arithmetic, CandleRuntime, PrefixCounts, order_for_reuse};
use bitfront_runtime::{CandleSettings, Runtime as _};
use tempfile::TempDir;

use crate::support;

/// Hidden states of the whole text after one part: 4 windows of 256 positions of 256 values.
const STATES: u64 = 4 * 256 * 256 * 4;

fn runtime(directory: &TempDir, prefix_budget_bytes: u64) -> CandleRuntime {
    let settings = CandleSettings {
        prefix_budget_bytes,
        ..CandleSettings::new(directory.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    let subject = support::demo(ImatrixSource::None);
    runtime.open(&subject, &mut |_| {}).unwrap();
    runtime
}

/// A parent, then children that differ from it in one layer each: the embedding, one of every kind
/// in some block, the head; then the parent again.
fn family(spec: &ModelSpec) -> Vec<Plan> {
    let choices = [
        Precision::Q4K,
        Precision::Q8_0,
        Precision::Q3K,
        Precision::F16,
    ];
    let parent = (0..spec.layers.len()).map(|layer| choices[layer % choices.len()]);
    let parent = parent.collect::<Vec<_>>();
    let mut plans = vec![Plan::new(spec, parent.clone()).unwrap()];
    for layer in [43, 0, 6, 11, 20, 42, 38, 29, 1, 43] {
        let mut child = parent.clone();
        child[layer] = Precision::Q6K;
        plans.push(Plan::new(spec, child).unwrap());
    }
    plans.push(plans[0].clone());
    plans
}

fn bits(quality: &Quality) -> Vec<u64> {
    let figures = [
        quality.kld,
        quality.kld_standard_error,
        quality.perplexity,
        quality.reference_perplexity,
        quality.same_top_rate,
    ];
    let all = figures.iter().chain(&quality.kld_windows);
    all.map(|figure| figure.to_bits()).collect()
}

#[test]
fn reuse_changes_no_bit() {
    let directory = TempDir::new().unwrap();
    let mut whole = runtime(&directory, 0);
    let plans = family(whole.spec().unwrap());
    let expected = plans
        .iter()
        .map(|plan| whole.quality(plan, TaskPurpose::Search, None).unwrap());
    let expected = expected.collect::<Vec<_>>();
    assert_eq!((whole.prefix_counts().hits, whole.prefix_bytes()), (0, 0));
    let mut failures = Vec::new();
    // Room for everything; for less than two plans, so that states leave; for one state.
    for (budget, least_hits) in [(1 << 30, 9), (14 * STATES, 6), (STATES, 1)] {
        let mut reusing = runtime(&directory, budget);
        for (index, plan) in plans.iter().enumerate() {
            let found = reusing.quality(plan, TaskPurpose::Search, None).unwrap();
            assert_eq!(found.executed, expected[index].executed);
            if bits(&found.value) != bits(&expected[index].value) {
                failures.push(format!("plan {index} with {budget} bytes"));
            }
            assert!(reusing.prefix_bytes() <= budget, "{budget}");
        }
        let counts = reusing.prefix_counts();
        if counts.hits < least_hits {
            failures.push(format!("{budget} bytes: {counts:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn what_lies_before_the_changed_layer_is_not_computed_again() {
    let directory = TempDir::new().unwrap();
    let mut runtime = runtime(&directory, 1 << 30);
    let plans = family(runtime.spec().unwrap());
    let mut failures = Vec::new();
    let mut before = PrefixCounts::default();
    // In the order of the family: the part that holds the changed layer, of six blocks' twelve.
    let reused = [0, 12, 0, 1, 2, 5, 11, 10, 8, 0, 12, 12];
    for (index, (plan, reused)) in plans.iter().zip(reused).enumerate() {
        runtime.quality(plan, TaskPurpose::Search, None).unwrap();
        let counts = runtime.prefix_counts();
        let found = counts.reused_parts - before.reused_parts;
        if (found, counts.parts - before.parts) != (reused, 12) {
            failures.push(format!("plan {index}: {found} instead of {reused}"));
        }
        before = counts;
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn other_arithmetic_and_other_text_share_nothing() {
    let directory = TempDir::new().unwrap();
    let mut runtime = runtime(&directory, 1 << 30);
    let plan = family(runtime.spec().unwrap()).remove(0);
    for arithmetic in [Arithmetic::Scoring, Arithmetic::LlamaCpp] {
        runtime.score(&plan, arithmetic).unwrap();
    }
    assert_eq!(runtime.prefix_counts().hits, 0);
    let windows = support::Windows {
        context: 128,
        evaluation: 4,
        calibration: 8,
    };
    let subject = support::subject(&support::demo_model(), &windows, ImatrixSource::None);
    runtime.open(&subject, &mut |_| {}).unwrap();
    assert_eq!(runtime.prefix_bytes(), 0, "another subject needs the room");
    runtime.quality(&plan, TaskPurpose::Search, None).unwrap();
    assert_eq!(runtime.prefix_counts().hits, 0);
}

#[test]
fn plans_in_order_share_more_than_their_order_of_birth() {
    let directory = TempDir::new().unwrap();
    let plans = family(runtime(&directory, 0).spec().unwrap());
    let order = order_for_reuse(&plans);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..plans.len()), "every plan once");
    // So little room that only neighbours help each other.
    let reused = |order: &[usize]| {
        let mut runtime = runtime(&directory, 13 * STATES);
        for &index in order {
            runtime
                .quality(&plans[index], TaskPurpose::Search, None)
                .unwrap();
        }
        runtime.prefix_counts().reused_parts
    };
    let born = (0..plans.len()).collect::<Vec<_>>();
    let (ordered, born) = (reused(&order), reused(&born));
    assert!(ordered > born, "{ordered} and {born}");
}
