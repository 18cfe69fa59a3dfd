//! One workload ready to be timed: what is read, and the caches that it is read into.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bitfront_model::Workload;

use super::LatencySettings;
use crate::RuntimeError;
use crate::candle::{Arithmetic, Decoder, KvCache, Matrices, Positions};

/// One workload ready to be timed, for plans of one model.
pub(super) struct Prepared<'a> {
    decoder: &'a Decoder,
    /// Tokens in the caches before a sample begins.
    context: usize,
    /// Tokens that are read in one pass.
    step: usize,
    /// The tokens of each input that a sample reads, and the cache that it reads them into. Inputs
    /// of a prefill share the one cache that they begin empty.
    inputs: Vec<(&'a [u32], usize)>,
    caches: Vec<KvCache>,
}

impl<'a> Prepared<'a> {
    /// Cuts the inputs from `text` and fills the caches of a decode, by the anchor: how long a
    /// token takes depends on how many keys and values there are, not on what they are.
    pub(super) fn new(
        decoder: &'a Decoder,
        anchor: &Matrices,
        workload: Workload,
        text: &'a [u32],
        settings: &LatencySettings,
    ) -> Result<Self, RuntimeError> {
        let (context, tokens) = match workload {
            Workload::Prefill { tokens } => (0, tokens as usize),
            Workload::Decode { context, tokens } => (context as usize, tokens as usize),
        };
        let refused = |reason: String| RuntimeError::Workload {
            workload: workload.to_string(),
            reason,
        };
        if tokens == 0 {
            return Err(refused("has no tokens to time".to_owned()));
        }
        let length = context + tokens;
        let mut inputs = cut(text, length, settings.inputs).ok_or_else(|| {
            refused(format!(
                "needs {length} tokens, the evaluation windows have {}",
                text.len()
            ))
        })?;
        let mut caches = Vec::new();
        match workload {
            Workload::Prefill { .. } => caches.push(decoder.cache(1, tokens)),
            Workload::Decode { .. } => {
                let one = decoder.cache(1, length).bytes().max(1);
                let affordable = usize::try_from(settings.cache_bytes / one).unwrap_or(usize::MAX);
                inputs.truncate(affordable.max(1));
                for input in &inputs {
                    let mut cache = decoder.cache(1, length);
                    if context > 0 {
                        decoder.forward(
                            anchor,
                            &input[..context],
                            &mut cache,
                            Positions::Last,
                            Arithmetic::Kernels,
                        )?;
                    }
                    caches.push(cache);
                }
            }
        }
        let caches_used = caches.len();
        Ok(Self {
            decoder,
            context,
            step: if workload.is_decode() { 1 } else { tokens },
            inputs: inputs
                .into_iter()
                .enumerate()
                .map(|(index, input)| (&input[context..], index % caches_used))
                .collect(),
            caches,
        })
    }

    /// Times one sample; `turn` chooses the input.
    pub(super) fn sample(
        &mut self,
        matrices: &Matrices,
        turn: usize,
    ) -> Result<Duration, RuntimeError> {
        let (tokens, cache) = self.inputs[turn % self.inputs.len()];
        let cache = &mut self.caches[cache];
        cache.truncate(self.context);
        let start = Instant::now();
        for step in tokens.chunks(self.step) {
            black_box(self.decoder.forward(
                matrices,
                step,
                cache,
                Positions::Last,
                Arithmetic::Kernels,
            )?);
        }
        Ok(start.elapsed())
    }
}

/// `count` inputs of `length` tokens, evenly spread over the text; fewer where it is too short for
/// that many distinct ones, none where it is too short for one.
fn cut(text: &[u32], length: usize, count: usize) -> Option<Vec<&[u32]>> {
    let last = text.len().checked_sub(length)?;
    let count = count.clamp(1, last + 1);
    let start = |index: usize| match count {
        1 => 0,
        _ => index * last / (count - 1),
    };
    Some(
        (0..count)
            .map(|index| &text[start(index)..][..length])
            .collect(),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_distinct_and_of_the_length_asked_for() {
        let text = (0..1000).collect::<Vec<u32>>();
        let found = cut(&text, 100, 16).unwrap();
        assert_eq!(found.len(), 16);
        let starts = found
            .iter()
            .map(|input| input[0])
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(starts.len(), 16);
        assert!(found.iter().all(|input| input.len() == 100));
        assert_eq!((found[0][0], found[15][99]), (0, 999));
        assert_eq!(cut(&text, 999, 16).unwrap().len(), 2);
        assert!(cut(&text, 1001, 16).is_none());
    }
}
