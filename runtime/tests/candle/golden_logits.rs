//! The forward pass against `transformers`: logits of tiny random models of every architecture.

use bitfront_runtime::candle::{Arithmetic, Decoder, Matrices, Positions, float_matrices};
use bitfront_runtime::source;
use serde::Deserialize;

use crate::support;

pub(crate) const MODELS: [&str; 5] = ["llama", "llama-linear", "mistral", "qwen2", "qwen3"];

/// Largest difference over largest magnitude, for each prompt.
const BOUND: f32 = 1e-4;

/// What `transformers` gave for a model.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
pub(crate) struct Prompt {
    pub(crate) tokens: Vec<u32>,
    pub(crate) positions: Vec<usize>,
    pub(crate) logits: Vec<Vec<f32>>,
}

struct Model {
    decoder: Decoder,
    matrices: Matrices,
    vocabulary: usize,
    golden: Golden,
}

fn load(name: &str) -> Model {
    let folder = support::golden_model(name);
    let source = source::open(&folder).unwrap();
    let golden = std::fs::read_to_string(folder.join("golden.json")).unwrap();
    Model {
        decoder: Decoder::new(source.as_ref()).unwrap(),
        matrices: float_matrices(source.as_ref()).unwrap(),
        vocabulary: source.spec().vocabulary_size as usize,
        golden: serde_json::from_str(&golden).unwrap(),
    }
}

impl Model {
    /// The logits of all positions, the tokens read `step` at a time.
    fn logits(&self, tokens: &[u32], step: usize) -> Vec<f32> {
        let mut cache = self.decoder.cache(1, tokens.len());
        let mut pass = |tokens: &[u32]| {
            let (all, kernels) = (Positions::All, Arithmetic::Kernels);
            self.decoder
                .forward(&self.matrices, tokens, &mut cache, all, kernels)
                .unwrap()
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
fn logits_are_those_of_transformers() {
    let mut failures = Vec::new();
    for name in MODELS {
        let model = load(name);
        for prompt in &model.golden.prompts {
            let logits = model.logits(&prompt.tokens, prompt.tokens.len());
            let found = prompt
                .positions
                .iter()
                .flat_map(|&position| &logits[position * model.vocabulary..][..model.vocabulary])
                .copied()
                .collect::<Vec<_>>();
            let error = error(&found, &prompt.logits.concat());
            if error.is_nan() || error > BOUND {
                failures.push(format!("{name}, {} tokens: {error}", prompt.tokens.len()));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn reading_piece_by_piece_gives_the_logits_of_reading_at_once() {
    let mut failures = Vec::new();
    for name in MODELS {
        let model = load(name);
        let tokens = &model.golden.prompts.last().unwrap().tokens;
        let whole = model.logits(tokens, tokens.len());
        for step in [1, 5] {
            let error = error(&model.logits(tokens, step), &whole);
            if error.is_nan() || error > BOUND {
                failures.push(format!("{name}, {step} at a time: {error}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn sequences_of_a_batch_do_not_see_each_other_and_positions_can_be_chosen() {
    for name in MODELS {
        let model = load(name);
        let tokens = &model.golden.prompts.last().unwrap().tokens;
        let (first, second) = tokens.split_at(tokens.len() / 2);
        let second = &second[..first.len()];
        let mut cache = model.decoder.cache(2, first.len());
        let positions = Positions::Range { first: 3, count: 4 };
        let batch = [first, second].concat();
        let (matrices, kernels) = (&model.matrices, Arithmetic::Kernels);
        let found = model
            .decoder
            .forward(matrices, &batch, &mut cache, positions, kernels)
            .unwrap();
        let expected = [first, second].map(|tokens| {
            model.logits(tokens, tokens.len())[3 * model.vocabulary..7 * model.vocabulary].to_vec()
        });
        assert!(error(&found, &expected.concat()) < BOUND, "{name}");
    }
}

#[test]
fn a_cache_that_was_reset_or_cut_back_is_as_good_as_new() {
    let model = load("llama");
    let tokens = &model.golden.prompts.last().unwrap().tokens;
    let expected = model.logits(tokens, tokens.len());
    let last = &expected[expected.len() - model.vocabulary..];
    let mut cache = model.decoder.cache(1, tokens.len());
    let pass = |tokens: &[u32], cache: &mut _| {
        let (last, kernels) = (Positions::Last, Arithmetic::Kernels);
        model
            .decoder
            .forward(&model.matrices, tokens, cache, last, kernels)
    };
    pass(&tokens[10..30], &mut cache).unwrap();
    cache.reset();
    assert!(error(&pass(tokens, &mut cache).unwrap(), last) < BOUND);
    cache.truncate(tokens.len() - 4);
    let again = pass(&tokens[tokens.len() - 4..], &mut cache).unwrap();
    assert!(error(&again, last) < BOUND);
    let message = pass(&tokens[..1], &mut cache).unwrap_err().to_string();
    assert!(message.contains("do not fit"), "{message}");
}

#[test]
fn a_token_outside_the_vocabulary_is_refused() {
    let model = load("qwen2");
    let mut cache = model.decoder.cache(1, 4);
    let (all, kernels) = (Positions::All, Arithmetic::Kernels);
    let refused = model
        .decoder
        .forward(&model.matrices, &[1, 400_000], &mut cache, all, kernels);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("400000"), "{message}");
}
