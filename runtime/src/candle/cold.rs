//! What a process of its own does for one plan: load it, and have it say its first token.

use std::hint::black_box;
use std::time::Instant;

use bitfront_model::{Cold, Precision};

use super::{Arithmetic, CandleRuntime, CandleSettings, Decoder, Matrices, Positions};
use crate::cold::Question;
use crate::latency::nanoseconds;
use crate::memory::Memory;
use crate::quantize::quantize;
use crate::source::{self, Source};
use crate::tensor_store::{TensorKey, TensorStore};
use crate::{Runtime as _, RuntimeError, RuntimeIdentity};

/// The figures of a plan; this process must hold nothing else.
///
/// # Errors
///
/// This process would execute something else than the one that asks, a tensor is not where it
/// should be, or the pass itself fails.
pub(crate) fn cold_start(question: &Question) -> Result<Cold, RuntimeError> {
    let settings = CandleSettings::new(question.tensor_directory.clone());
    let identity = CandleRuntime::new(settings)?.identity();
    refuse_other(&identity, &question.identity)?;
    let source = source::reopen(&question.model_path, question.model)?;
    let layers = source.spec().layers.len();
    if question.tensors.len() != layers {
        return Err(RuntimeError::OtherPlan {
            expected: layers,
            found: question.tensors.len(),
        });
    }
    let decoder = Decoder::new(source.as_ref())?;
    let memory = Memory::new(&question.root);
    // Where the plan does not fit, the agent and all else that runs here are to live.
    memory.be_ended_first();

    let memory_before_bytes = memory.resident_bytes();
    let start = Instant::now();
    let matrices = load(source.as_ref(), question)?;
    let load = start.elapsed();
    let (batch, tokens) = (question.batch as usize, question.prompts.len());
    let mut cache = decoder.cache(batch, tokens / batch.max(1));
    let start = Instant::now();
    black_box(decoder.forward(
        &matrices,
        &question.prompts,
        &mut cache,
        Positions::Last,
        Arithmetic::Kernels,
    )?);
    let first_token = start.elapsed();
    Ok(Cold {
        load_ns: nanoseconds(load),
        prompt_tokens: (tokens / batch.max(1)) as u32,
        batch: question.batch,
        first_token_ns: nanoseconds(first_token),
        memory_before_bytes,
        peak_memory_bytes: memory.peak_resident_bytes(),
        weight_bytes: matrices.iter().map(|it| it.stored_bytes()).sum(),
    })
}

/// Refuses where this process executes otherwise than the one that asks: another engine or version
/// of it, other kernels, threads or switches.
fn refuse_other(own: &RuntimeIdentity, asked: &RuntimeIdentity) -> Result<(), RuntimeError> {
    let executes = |identity: &RuntimeIdentity| {
        let RuntimeIdentity {
            numerics_class,
            threads,
            switches,
            ..
        } = identity;
        format!("{numerics_class} on {threads} threads, switches {switches:?}")
    };
    match own == asked {
        true => Ok(()),
        false => Err(RuntimeError::Engine(format!(
            "this process executes {}, other than the one that asks: {}",
            executes(own),
            executes(asked)
        ))),
    }
}

fn load(source: &dyn Source, question: &Question) -> Result<Matrices, RuntimeError> {
    // Without a budget the store keeps nothing beside what the plan holds.
    let mut store = TensorStore::new(question.tensor_directory.clone(), 0);
    let layers = source.spec().layers.iter().zip(&question.tensors);
    layers
        .enumerate()
        .map(|(index, (layer, key))| {
            let TensorKey { precision, .. } = *key;
            let shape = (layer.rows as usize, layer.columns as usize);
            let matrix = store.get(key.clone(), shape, || match precision.is_float() {
                true => quantize(layer, precision, &source.layer(index)?, None),
                // Quantizing would take more memory than the plan.
                false => Err(missing(&layer.name, precision, question)),
            })?;
            match matrix.executed() == precision {
                true => Ok(matrix),
                false => Err(RuntimeError::Engine(format!(
                    "layer `{}` is executed in {} instead of {precision}",
                    layer.name,
                    matrix.executed()
                ))),
            }
        })
        .collect()
}

fn missing(layer: &str, precision: Precision, question: &Question) -> RuntimeError {
    RuntimeError::Engine(format!(
        "layer `{layer}` in {precision} is not, or not whole, in `{}`",
        question.tensor_directory.display()
    ))
}
