//! The forward pass and the runtime of accelerators, on the processor in the place of one.
//!
//! What is tested is everything but the kernels: that the same operations on a CUDA device give the
//! same numbers is shown by `examples/accelerator.rs`, which needs one.

use std::time::Duration;

use bitfront_model::{
    Anchor, ColdStart, Energy, ImatrixSource, Plan, Precision, ProbeQuestion, ProductResult,
    SensitivityQuestion, Shape, SwapResult, TaskPurpose,
};
use bitfront_runtime::candle::{
    AcceleratorDevice, AcceleratorRuntime, Arithmetic, Assembly, CandleRuntime, Decoder,
    DeviceDecoder, DeviceMatrices, DeviceMatrix, Positions,
};
use bitfront_runtime::latency::LatencySettings;
use bitfront_runtime::{CandleSettings, Runtime as _, RuntimeError, source};
use candle_core::Device;
use tempfile::TempDir;

use crate::golden_logits::Golden;
use crate::support;

/// Largest difference over largest magnitude where both sides add the same `f32` numbers in another
/// order.
const BOUND: f32 = 1e-4;

/// The same where activations are rounded to 8 bits on the way: a last bit before may tip one of
/// them, which moves it by a 127th of the largest in its block.
const BOUND_OF_ROUNDED: f32 = 0.02;

/// The same where they are rounded to `f16`: a last bit is a 2048th of a value, and there are some
/// dozens of roundings on the way.
const BOUND_OF_F16: f32 = 4e-3;

struct Model {
    decoder: DeviceDecoder,
    matrices: DeviceMatrices,
    vocabulary: usize,
    golden: Golden,
}

fn load(name: &str) -> Model {
    let folder = support::golden_model(name);
    let source = source::open(&folder).unwrap();
    let golden = std::fs::read_to_string(folder.join("golden.json")).unwrap();
    let matrix = |layer: usize| {
        let weights = source.layer(layer).unwrap();
        let bytes = weights.values.iter().flat_map(|value| value.to_le_bytes());
        let shape = (weights.rows, weights.columns);
        DeviceMatrix::from_bytes(&Device::Cpu, Precision::F32, bytes.collect(), shape)
    };
    let layers = 0..source.spec().layers.len();
    let decoder = Decoder::new(source.as_ref()).unwrap();
    Model {
        decoder: DeviceDecoder::new(&decoder, &Device::Cpu).unwrap(),
        matrices: layers.map(|layer| matrix(layer).unwrap().into()).collect(),
        vocabulary: source.spec().vocabulary_size as usize,
        golden: serde_json::from_str(&golden).unwrap(),
    }
}

impl Model {
    /// The logits of all positions, the tokens read `step` at a time.
    fn logits(&self, tokens: &[u32], step: usize) -> Vec<f32> {
        let mut cache = self.decoder.cache(1, tokens.len()).unwrap();
        let mut pass = |tokens: &[u32]| {
            let read = self
                .decoder
                .forward(&self.matrices, tokens, &mut cache, Positions::All);
            read.unwrap()
        };
        tokens.chunks(step).flat_map(&mut pass).collect()
    }
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let differences = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
    differences.fold(0.0, f32::max) / largest
}

#[test]
fn logits_are_those_of_transformers_at_once_and_piece_by_piece() {
    let mut failures = Vec::new();
    for name in crate::golden_logits::MODELS {
        let model = load(name);
        for prompt in &model.golden.prompts {
            for step in [prompt.tokens.len(), 5, 1] {
                let logits = model.logits(&prompt.tokens, step);
                let found = prompt
                    .positions
                    .iter()
                    .flat_map(|&position| {
                        &logits[position * model.vocabulary..][..model.vocabulary]
                    })
                    .copied()
                    .collect::<Vec<_>>();
                let error = error(&found, &prompt.logits.concat());
                if error.is_nan() || error > BOUND {
                    failures.push(format!("{name}, {step} tokens at a time: {error}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn sequences_of_a_batch_do_not_see_each_other_and_positions_can_be_chosen() {
    for name in crate::golden_logits::MODELS {
        let model = load(name);
        let tokens = &model.golden.prompts.last().unwrap().tokens;
        let (first, second) = tokens.split_at(tokens.len() / 2);
        let second = &second[..first.len()];
        let expected = [first, second].map(|tokens| model.logits(tokens, tokens.len()));
        let mut cache = model.decoder.cache(2, first.len()).unwrap();
        let batch = [first, second].concat();
        let length = first.len();
        for (positions, from, to) in [
            (Positions::Range { first: 3, count: 4 }, 3, 7),
            (Positions::Range { first: 3, count: 1 }, 3, 4),
            (Positions::Last, length - 1, length),
            (Positions::All, 0, length),
        ] {
            cache.reset();
            let found = model
                .decoder
                .forward(&model.matrices, &batch, &mut cache, positions)
                .unwrap();
            let expected = expected
                .each_ref()
                .map(|logits| logits[from * model.vocabulary..to * model.vocabulary].to_vec());
            let error = error(&found, &expected.concat());
            assert!(error < BOUND, "{name}, {positions:?}: {error}");
        }
    }
}

#[test]
fn a_cache_that_was_cut_back_is_as_good_as_new_and_one_that_is_full_says_so() {
    let model = load("llama");
    let tokens = &model.golden.prompts.last().unwrap().tokens;
    let expected = model.logits(tokens, tokens.len());
    let last = &expected[expected.len() - model.vocabulary..];
    let mut cache = model.decoder.cache(1, tokens.len()).unwrap();
    let pass = |tokens: &[u32], cache: &mut _| {
        let (decoder, matrices) = (&model.decoder, &model.matrices);
        decoder.forward(matrices, tokens, cache, Positions::Last)
    };
    assert!(error(&pass(tokens, &mut cache).unwrap(), last) < BOUND);
    cache.truncate(tokens.len() - 4);
    let again = pass(&tokens[tokens.len() - 4..], &mut cache).unwrap();
    assert!(error(&again, last) < BOUND);
    for (tokens, told) in [
        (&tokens[..1], "do not fit"),
        (&[][..], "cannot be read as 1 sequences"),
    ] {
        let message = pass(tokens, &mut cache).unwrap_err().to_string();
        assert!(message.contains(told), "{message}");
    }
    cache.reset();
    let message = pass(&[1, 400_000], &mut cache).unwrap_err().to_string();
    assert!(message.contains("400000"), "{message}");
}

fn settings(directory: &TempDir) -> CandleSettings {
    CandleSettings {
        latency: LatencySettings {
            warm_up: Duration::from_millis(1),
            most_time: Duration::from_millis(1),
            turn: Duration::from_micros(100),
            ..LatencySettings::default()
        },
        ..CandleSettings::new(directory.path().to_owned())
    }
}

fn runtime(directory: &TempDir) -> AcceleratorRuntime {
    AcceleratorRuntime::new(settings(directory), AcceleratorDevice::processor()).unwrap()
}

/// Both runtimes with the demo model open, over one cache.
fn both(directory: &TempDir) -> (CandleRuntime, AcceleratorRuntime) {
    let subject = support::demo(ImatrixSource::Calibration);
    let processor = support::opened(directory.path(), &subject);
    let mut accelerator = runtime(directory);
    accelerator.open(&subject, &mut |_| {}).unwrap();
    (processor, accelerator)
}

fn uniform(runtime: &CandleRuntime, precision: Precision) -> Plan {
    Plan::uniform(runtime.spec().unwrap(), precision).unwrap()
}

#[test]
fn every_precision_gives_the_logits_that_the_processors_forward_pass_gives() {
    let cache = TempDir::new().unwrap();
    let (mut processor, mut accelerator) = both(&cache);
    let text = processor.opened().unwrap().windows().evaluation.concat();
    let mut failures = Vec::new();
    for precision in Precision::ALL {
        let plan = uniform(&processor, precision);
        let Assembly { matrices, executed } = accelerator.assemble(&plan).unwrap();
        assert_eq!(executed, plan.precisions());
        let ours = processor.assemble(&plan).unwrap().matrices;
        let decoder = processor.opened().unwrap().decoder();
        let (mut our_cache, mut cache) = (
            decoder.cache(2, 21),
            accelerator.decoder().unwrap().cache(2, 21).unwrap(),
        );
        let bound = match precision {
            Precision::F32 | Precision::Bf16 => BOUND,
            Precision::F16 => BOUND_OF_F16,
            _ => BOUND_OF_ROUNDED,
        };
        // Two prompts, then a token of each.
        let prompts = [&text[..20], &text[300..320]].concat();
        for tokens in [prompts.as_slice(), &[text[20], text[320]]] {
            let (last, kernels) = (Positions::Last, Arithmetic::Kernels);
            let expected = decoder
                .forward(&ours, tokens, &mut our_cache, last, kernels)
                .unwrap();
            let found = accelerator
                .decoder()
                .unwrap()
                .forward(&matrices, tokens, &mut cache, last)
                .unwrap();
            let error = error(&found, &expected);
            if error.is_nan() || error > bound {
                failures.push(format!("{precision}, {} tokens: {error}", tokens.len()));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn qualities_are_held_against_the_one_reference_of_the_unquantized_model() {
    let cache = TempDir::new().unwrap();
    let (mut processor, mut accelerator) = both(&cache);
    let files = |end: &str| {
        let entries = std::fs::read_dir(cache.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(end)).count()
    };
    assert_eq!((files(".reference"), files(".imatrix.gguf")), (1, 1));
    let imatrix = processor.imatrix_digest();
    let mut score = |plan: &Plan, purpose| {
        let measured = accelerator.quality(plan, purpose, None).unwrap();
        assert_eq!(measured.executed, plan.precisions());
        assert_eq!(measured.imatrix_digest, imatrix);
        measured.value
    };
    let exact = score(&uniform(&processor, Precision::F32), TaskPurpose::Search);
    assert!(exact.kld.abs() < 1e-6, "{}", exact.kld);
    assert_eq!(exact.same_top_rate, 1.0);
    for precision in [Precision::Q4K, Precision::Q2K] {
        let plan = uniform(&processor, precision);
        let ours = processor.score(&plan, Arithmetic::Kernels).unwrap().value;
        let found = score(&plan, TaskPurpose::Search);
        assert_eq!(found.positions, ours.positions);
        let ratio = found.kld / ours.kld;
        assert!((ratio - 1.0).abs() < 0.02, "{precision}: {ratio}");
        let confirmed = score(&plan, TaskPurpose::Confirm);
        assert!(!confirmed.rescored.is_empty());
        for rescored in &confirmed.rescored {
            let searched = found.kld_windows[rescored.window as usize];
            assert_eq!(rescored.kld, searched, "{precision}");
        }
    }
}

#[test]
fn plans_are_timed_in_turns_and_what_is_not_measured_is_said() {
    let cache = TempDir::new().unwrap();
    let (processor, mut accelerator) = both(&cache);
    let anchor = Anchor {
        plan: uniform(&processor, Precision::Q8_0),
        times: Vec::new(),
    };
    let other = uniform(&processor, Precision::Q4K);
    let workloads = ["prefill@32", "decode@16x4b3"].map(|name| name.parse().unwrap());
    let plans = [&anchor.plan, &other];
    let timed = accelerator
        .latency(&anchor, &plans, &workloads, TaskPurpose::Confirm)
        .unwrap();
    assert_eq!(timed.len(), 2);
    for (timed, plan) in timed.into_iter().zip(plans) {
        let timed = timed.unwrap();
        assert_eq!(timed.executed, plan.precisions());
        let latencies = &timed.value.latencies;
        assert_eq!([0, 1].map(|at| latencies[at].workload), workloads);
        // The accelerator works on while the thread waits, so no waiting is taken out.
        for latency in latencies {
            assert!(latency.median_ns > 0.0);
            assert_eq!(latency.paired.as_ref().unwrap().waited_ns, 0);
        }
        let Some(ColdStart::NotMeasured { reason }) = &timed.value.cold else {
            panic!("{:?}", timed.value.cold)
        };
        assert!(reason.contains("accelerators"), "{reason}");
        assert!(
            matches!(&timed.value.energy, Some(Energy::NotMeasured { reason }) if
                reason.contains("accelerators"))
        );
    }
    let too_long = ["prefill@100000".parse().unwrap()];
    let refused = accelerator.latency(&anchor, &plans, &too_long, TaskPurpose::Search);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("100000 positions"), "{message}");
}

#[test]
fn products_are_timed_and_what_cannot_be_held_is_an_answer() {
    let cache = TempDir::new().unwrap();
    let shape = |rows, columns| Shape { rows, columns };
    let question = ProbeQuestion {
        shapes: vec![shape(64, 256), shape(64, 64)],
        precisions: Precision::ALL.to_vec(),
        few_rows: 1,
        many_rows: 16,
    };
    let products = runtime(&cache).probe(&question).unwrap();
    assert_eq!(products.len(), question.products().count());
    for product in products {
        assert!(
            matches!(product.result, ProductResult::Timed { .. }),
            "{product:?}"
        );
    }
}

#[test]
fn swaps_lose_what_their_plans_lose() {
    let cache = TempDir::new().unwrap();
    let windows = support::Windows {
        context: 32,
        evaluation: 4,
        calibration: 2,
    };
    let subject = support::subject(
        &support::golden_model("llama"),
        &windows,
        ImatrixSource::None,
    );
    let mut accelerator = runtime(&cache);
    accelerator.open(&subject, &mut |_| {}).unwrap();
    let spec = accelerator.subject().unwrap().source().spec().clone();
    let offered = accelerator.precisions();
    let question = SensitivityQuestion::new(&subject, &spec, &[Precision::Q4_0], &offered);
    let swaps = accelerator.sensitivity(&question, &mut |_| {}).unwrap();
    assert!(!swaps.is_empty());
    assert_eq!(swaps.len(), question.swaps().count());
    for (swap, asked) in swaps.iter().zip(question.swaps()) {
        assert_eq!((swap.layer, swap.precision), asked);
        let plan = question.plan(asked).unwrap();
        let whole = accelerator.quality(&plan, TaskPurpose::Search, None);
        let whole = whole.unwrap().value.kld_windows;
        let SwapResult::Scored { kld_windows } = &swap.result else {
            panic!("{swap:?}")
        };
        // Other windows in a pass are other rows of a product, which adds in another order.
        for (kld, place) in kld_windows.iter().zip(question.places()) {
            let apart = (kld - whole[place]).abs();
            assert!(apart < 1e-6 + 1e-3 * kld, "{kld} and {}", whole[place]);
        }
    }
}

#[test]
fn a_plan_whose_values_are_not_finite_is_infeasible_and_names_the_layer() {
    let directory = TempDir::new().unwrap();
    let model = support::breaking_in_f16(&directory);
    let windows = support::Windows {
        context: 32,
        evaluation: 2,
        calibration: 2,
    };
    let subject = support::subject(&model, &windows, ImatrixSource::None);
    let mut accelerator = runtime(&directory);
    let plan = Plan::uniform(source::open(&model).unwrap().spec(), Precision::F16).unwrap();
    let unopened = accelerator.quality(&plan, TaskPurpose::Search, None);
    assert!(matches!(unopened, Err(RuntimeError::NotOpen)));
    accelerator.open(&subject, &mut |_| {}).unwrap();
    let refused = accelerator.quality(&plan, TaskPurpose::Search, None);
    let Err(RuntimeError::Infeasible { reason }) = refused else {
        panic!("{refused:?}")
    };
    for told in ["not finite", support::BREAKING, "f16"] {
        assert!(reason.contains(told), "{reason}");
    }
}

#[test]
fn an_accelerator_is_another_numerics_class_and_offers_what_it_multiplies() {
    let cache = TempDir::new().unwrap();
    let accelerator = runtime(&cache);
    let (found, processor) = (
        accelerator.identity(),
        support::runtime(cache.path()).identity(),
    );
    assert_eq!(
        (&found.name, &found.version),
        (&processor.name, &processor.version)
    );
    assert_ne!(found.numerics_class, processor.numerics_class);
    assert!(found.numerics_class.0.starts_with("candle/"));
    // The processor's backend has no product in bf16, so plans in it would be widened.
    assert!(!accelerator.precisions().contains(&Precision::Bf16));
    assert_eq!(accelerator.precisions().len(), Precision::ALL.len() - 1);
}
