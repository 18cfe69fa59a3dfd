//! How long plans take, beside an anchor.
//!
//! [`measure`] prepares one workload (`inputs`), has candidates and anchor take turns ([`paired`]),
//! each sample at another `place`, until the ratios are known well enough (`stopping`), and
//! sums up (`summary`).

mod inputs;
pub mod paired;
mod place;
pub(crate) mod products;
mod stopping;
mod stopwatch;
mod summary;

use std::time::{Duration, Instant};

use bitfront_model::{Anchor, Latency, Workload};

use crate::RuntimeError;
use crate::candle::Engine;
use inputs::Prepared;
pub(crate) use paired::nanoseconds;

/// How long to warm up and to measure each workload.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencySettings {
    /// Warm up at least this long: frequencies settle and candle packs its tensors.
    pub warm_up: Duration,
    /// Warm up at least this often.
    pub warm_up_runs: u32,
    /// Warm up no longer than this, whether or not two successive windows agree.
    pub most_warm_up: Duration,
    /// How long a turn of a candidate lasts at least: long enough for the clock, and for a
    /// disturbance of a millisecond to be outvoted, short enough for the device to stay the same
    /// from one turn to the next.
    pub turn: Duration,
    /// Half the width of the interval of the ratio to reach, as a share of the ratio.
    pub target: f64,
    /// Stop after this long for every plan that is timed, the anchor among them, once there are as
    /// many blocks as an interval of 95 % can be made of. Samples that are not counted take part of
    /// it, as does waiting for a core; what prepares a sample does not.
    pub most_time: Duration,
    /// The probability with which intervals should hold their figures.
    pub confidence: f64,
    /// Distinct inputs that are taken in turn, so that no cache or branch predictor learns one;
    /// each has the sequences of a whole batch.
    pub inputs: usize,
    /// Bytes that the filled caches of the decode inputs may take together; a model whose cache
    /// is larger decodes fewer distinct inputs.
    pub cache_bytes: u64,
    /// What the order of turns is drawn from.
    pub seed: u64,
}

impl Default for LatencySettings {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_millis(50),
            warm_up_runs: 5,
            most_warm_up: Duration::from_millis(500),
            turn: Duration::from_millis(5),
            target: 0.01,
            most_time: Duration::from_secs(1),
            confidence: 0.95,
            inputs: 16,
            cache_bytes: 256 << 20,
            seed: 0,
        }
    }
}

impl LatencySettings {
    /// What steers a search: half as exact, for at most half of the time. A search compares many
    /// plans once; those that it ends with are timed again with the settings as they are.
    pub fn for_search(&self) -> Self {
        Self {
            target: 2.0 * self.target,
            most_time: self.most_time / 2,
            ..self.clone()
        }
    }

    /// What a probe is timed by: a fifth of the exactness of what is published, at a fraction of
    /// the time, since it times every shape in every precision and is to tell apart what differs by
    /// much.
    pub fn for_probe(&self) -> Self {
        Self {
            warm_up: self.warm_up / 25,
            warm_up_runs: self.warm_up_runs.min(3),
            most_warm_up: self.most_warm_up / 50,
            turn: self.turn / 5,
            target: 5.0 * self.target,
            most_time: self.most_time / 50,
            ..self.clone()
        }
    }
}

/// Bytes of the caches that workloads, one after the other, are timed with at most.
pub(crate) fn cache_bytes<E: Engine>(
    engine: &E,
    workloads: &[Workload],
    settings: &LatencySettings,
) -> u64 {
    let bytes = workloads
        .iter()
        .map(|&workload| inputs::cache_bytes(engine, workload, settings));
    bytes.max().unwrap_or(0)
}

/// The prompts of a prefill, sequence after sequence.
///
/// # Errors
///
/// The text is too short for it.
pub(crate) fn prompts(prefill: Workload, text: &[u32]) -> Result<Vec<u32>, RuntimeError> {
    Ok(inputs::batches(prefill, text, 1)?.concat().concat())
}

/// Works on a workload for at least `time`; says for how long, and on how many tokens.
///
/// # Errors
///
/// What a sample fails with, and a clock that stands still.
pub(crate) fn work<E: Engine>(
    engine: &E,
    matrices: &E::Matrices,
    workload: Workload,
    text: &[u32],
    settings: &LatencySettings,
    time: Duration,
) -> Result<(Duration, u64), RuntimeError> {
    let mut prepared = Prepared::new(engine, matrices, workload, text, settings)?;
    let tokens = u64::from(workload.tokens()) * u64::from(workload.batch());
    let (begun, mut samples) = (Instant::now(), 0);
    while begun.elapsed() < time {
        paired::moved_on(prepared.sample(matrices, samples)?.elapsed)?;
        samples += 1;
    }
    let spent = begun.elapsed();
    Ok((spent, samples as u64 * tokens))
}

/// Times candidates under one workload, beside the anchor; `text` is what the inputs are cut from.
///
/// The calling thread does nothing else meanwhile. What is read is real text, what is computed is
/// kept from being optimised away, and the cache is reset by name before every sample.
pub fn measure<E: Engine>(
    engine: &E,
    anchor: (&Anchor, &E::Matrices),
    candidates: &[&E::Matrices],
    workload: Workload,
    text: &[u32],
    settings: &LatencySettings,
) -> Result<Vec<Latency>, RuntimeError> {
    let (anchor, anchor_matrices) = anchor;
    let mut prepared = Prepared::new(engine, anchor_matrices, workload, text, settings)?;
    let series = paired::time(candidates.len(), settings, &mut |member, taken| {
        let matrices = match member {
            0 => anchor_matrices,
            _ => candidates[member - 1],
        };
        prepared.sample(matrices, taken)
    })?;
    series
        .into_iter()
        .map(|series| {
            let (digest, known) = (anchor.plan.digest(), anchor.time(workload));
            let waited = prepared.waited();
            summary::latency(
                workload,
                (digest, known),
                &series,
                waited,
                settings.confidence,
            )
        })
        .collect()
}
