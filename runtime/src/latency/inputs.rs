//! One workload ready to be timed: what is read, and the caches that it is read into.

use std::hint::black_box;
use std::time::Duration;

use bitfront_model::Workload;

use super::LatencySettings;
use super::paired::Taken;
use super::stopwatch::Stopwatch;
use crate::RuntimeError;
use crate::candle::{Engine, Positions};

/// One workload ready to be timed, for plans of one model.
pub(super) struct Prepared<'a, E: Engine> {
    engine: &'a E,
    /// Tokens of every sequence in the caches before a sample begins.
    context: usize,
    inputs: Vec<Input>,
    caches: Vec<E::Cache>,
    watch: Stopwatch,
}

/// What one sample reads.
struct Input {
    /// The tokens of each pass, sequence after sequence.
    passes: Vec<Vec<u32>>,
    /// The cache that they are read into. Inputs of a prefill share the one cache that they begin
    /// empty.
    cache: usize,
}

impl<'a, E: Engine> Prepared<'a, E> {
    /// Cuts the inputs from `text` and fills the caches of a decode, by the anchor: how long a
    /// token takes depends on how many keys and values there are, not on what they are.
    pub(super) fn new(
        engine: &'a E,
        anchor: &E::Matrices,
        workload: Workload,
        text: &[u32],
        settings: &LatencySettings,
    ) -> Result<Self, RuntimeError> {
        let batches = batches(workload, text, inputs(engine, workload, settings))?;
        let (context, tokens) = (workload.context() as usize, workload.tokens() as usize);
        let length = context + tokens;
        let per_pass = tokens / workload.steps() as usize;
        let steps = (context..length).step_by(per_pass);
        let steps: Vec<_> = steps.map(|at| at..at + per_pass).collect();
        let mut caches = Vec::new();
        let mut inputs = Vec::with_capacity(batches.len());
        for batch in &batches {
            if workload.is_decode() || caches.is_empty() {
                let mut cache = engine.empty_cache(batch.len(), length)?;
                if context > 0 {
                    let read = side_by_side(batch, 0..context);
                    engine.read(anchor, &read, &mut cache, Positions::Last)?;
                }
                caches.push(cache);
            }
            let passes = steps.iter().map(|step| side_by_side(batch, step.clone()));
            inputs.push(Input {
                passes: passes.collect(),
                cache: caches.len() - 1,
            });
        }
        Ok(Self {
            engine,
            context,
            inputs,
            caches,
            watch: Stopwatch::new(engine.works_alone()),
        })
    }

    /// Times one sample, on the thread that prepared it; `turn` chooses the input.
    pub(super) fn sample(
        &mut self,
        matrices: &E::Matrices,
        turn: usize,
    ) -> Result<Taken, RuntimeError> {
        let input = &self.inputs[turn % self.inputs.len()];
        let cache = &mut self.caches[input.cache];
        E::truncate(cache, self.context);
        let (passed, taken) = self.watch.time(|| {
            input.passes.iter().try_for_each(|pass| {
                let logits = self.engine.read(matrices, pass, cache, Positions::Last)?;
                black_box(logits);
                Ok(())
            })
        });
        passed.map(|()| taken)
    }

    /// For how long others kept the samples so far from their core.
    pub(super) fn waited(&self) -> Duration {
        self.watch.waited()
    }
}

/// Bytes of the caches that a workload is timed with.
pub(super) fn cache_bytes<E: Engine>(
    engine: &E,
    workload: Workload,
    settings: &LatencySettings,
) -> u64 {
    let caches = match workload {
        Workload::Prefill { .. } => 1,
        Workload::Decode { .. } => inputs(engine, workload, settings),
    };
    one_cache_bytes(engine, workload).saturating_mul(caches as u64)
}

fn one_cache_bytes<E: Engine>(engine: &E, workload: Workload) -> u64 {
    let positions = usize::try_from(workload.positions()).unwrap_or(usize::MAX);
    engine.cache_bytes(workload.batch() as usize, positions)
}

/// Inputs that are taken in turn: fewer where each has a cache of its own and they would take too
/// much memory.
fn inputs<E: Engine>(engine: &E, workload: Workload, settings: &LatencySettings) -> usize {
    let affordable = match workload {
        Workload::Prefill { .. } => usize::MAX,
        Workload::Decode { .. } => {
            let one = one_cache_bytes(engine, workload).max(1);
            usize::try_from(settings.cache_bytes / one).unwrap_or(usize::MAX)
        }
    };
    settings.inputs.min(affordable).max(1)
}

/// What a workload reads: at most `count` batches of sequences.
pub(super) fn batches(
    workload: Workload,
    text: &[u32],
    count: usize,
) -> Result<Vec<Vec<&[u32]>>, RuntimeError> {
    let refused = |reason: String| RuntimeError::Workload {
        workload: workload.to_string(),
        reason,
    };
    let (tokens, batch) = (workload.tokens() as usize, workload.batch() as usize);
    if tokens == 0 || batch == 0 {
        return Err(refused("has no tokens to time".to_owned()));
    }
    let length = workload.context() as usize + tokens;
    cut(text, length, batch, count).ok_or_else(|| {
        refused(format!(
            "needs {} tokens, the evaluation windows have {}",
            length + batch - 1,
            text.len()
        ))
    })
}

/// The same positions of every sequence, sequence after sequence.
fn side_by_side(batch: &[&[u32]], positions: std::ops::Range<usize>) -> Vec<u32> {
    let sequences = batch
        .iter()
        .flat_map(|sequence| &sequence[positions.clone()]);
    sequences.copied().collect()
}

/// `count` batches of `batch` sequences of `length` tokens, no two of which begin at the same
/// place; their beginnings are evenly spread over the text, and those of one batch lie far apart.
/// Fewer batches where the text is too short for that many, none where it is too short for one.
fn cut(text: &[u32], length: usize, batch: usize, count: usize) -> Option<Vec<Vec<&[u32]>>> {
    let last = text.len().checked_sub(length)?;
    let count = count.min((last + 1) / batch).max(1);
    let sequences = count * batch;
    if sequences > last + 1 {
        return None;
    }
    let sequence = |index: usize| {
        let start = match sequences {
            1 => 0,
            _ => index * last / (sequences - 1),
        };
        &text[start..][..length]
    };
    let of_batch = |first: usize| (0..batch).map(|at| sequence(first + at * count)).collect();
    Some((0..count).map(of_batch).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_distinct_and_of_the_length_asked_for() {
        let text = (0..1000).collect::<Vec<u32>>();
        for batch in [1, 4, 7] {
            let found = cut(&text, 100, batch, 16).unwrap();
            assert_eq!(found.len(), 16);
            assert!(found.iter().all(|sequences| sequences.len() == batch));
            let sequences = found.concat();
            let starts = sequences
                .iter()
                .map(|sequence| sequence[0])
                .collect::<std::collections::BTreeSet<_>>();
            assert_eq!(starts.len(), 16 * batch);
            assert!(sequences.iter().all(|sequence| sequence.len() == 100));
            assert_eq!(found[0][0][0], 0);
            assert_eq!(found[15][batch - 1][99], 999);
        }
        // A short text has fewer batches, and too short a one none.
        assert_eq!(cut(&text, 999, 1, 16).unwrap().len(), 2);
        assert_eq!(cut(&text, 999, 2, 16).unwrap().len(), 1);
        assert!(cut(&text, 999, 3, 16).is_none());
        assert!(cut(&text, 1001, 1, 16).is_none());
    }

    #[test]
    fn a_pass_has_the_same_positions_of_every_sequence() {
        let (first, second) = ([1, 2, 3], [4, 5, 6]);
        assert_eq!(side_by_side(&[&first, &second], 1..3), [2, 3, 5, 6]);
    }
}
