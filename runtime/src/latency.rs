//! How long a plan takes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bitfront_model::{Interval, Latency, Workload};

use crate::RuntimeError;
use crate::candle::{Arithmetic, Decoder, KvCache, Matrices, Positions};
use crate::stats::{median, median_interval};

/// The fewest samples, however long one takes: from six on the range of the samples holds the
/// median with at least 95 % probability (1 − 2/2⁶ = 96.9 %); fewer would make a figure whose
/// interval says little.
const FEWEST: usize = 6;

/// How long to warm up and to measure each workload.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencySettings {
    /// Warm up at least this long: frequencies settle and candle packs its tensors.
    pub warm_up: Duration,
    /// Warm up at least this often.
    pub warm_up_runs: u32,
    /// Measure at least this long.
    pub least_time: Duration,
    /// Take at least this many samples.
    pub least_samples: u32,
    /// Stop after this long once there are six samples, which is as few as an interval of 95 %
    /// can be made of.
    pub most_time: Duration,
    /// The probability with which the interval should hold the median.
    pub confidence: f64,
    /// Distinct inputs that are taken in turn, so that no cache or branch predictor learns one.
    pub inputs: usize,
    /// Bytes that the filled caches of the decode inputs may take together; a model whose cache
    /// is larger decodes fewer distinct inputs.
    pub cache_bytes: u64,
}

impl Default for LatencySettings {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_millis(50),
            warm_up_runs: 5,
            least_time: Duration::from_millis(60),
            least_samples: 20,
            most_time: Duration::from_millis(250),
            confidence: 0.95,
            inputs: 16,
            cache_bytes: 256 << 20,
        }
    }
}

/// Times one workload; `text` is what the inputs are cut from.
///
/// The calling thread does nothing else meanwhile. What is read is real text, what is computed is
/// kept from being optimised away, and the cache is reset by name before every sample.
pub fn measure(
    decoder: &Decoder,
    matrices: &Matrices,
    workload: Workload,
    text: &[u32],
    settings: &LatencySettings,
) -> Result<Latency, RuntimeError> {
    let (context, tokens) = match workload {
        Workload::Prefill { tokens } => (0, tokens as usize),
        Workload::Decode { context, tokens } => (context as usize, tokens as usize),
    };
    if tokens == 0 {
        return Err(RuntimeError::Workload {
            workload: workload.to_string(),
            reason: "has no tokens to time".to_owned(),
        });
    }
    let inputs =
        inputs(text, context + tokens, settings.inputs).ok_or_else(|| RuntimeError::Workload {
            workload: workload.to_string(),
            reason: format!(
                "needs {} tokens, the evaluation windows have {}",
                context + tokens,
                text.len()
            ),
        })?;
    match workload {
        Workload::Prefill { .. } => {
            let mut cache = decoder.cache(1, tokens);
            let mut turn = inputs.iter().cycle();
            let mut sample = || {
                let input = turn.next().copied().unwrap_or_default();
                cache.reset();
                let start = Instant::now();
                black_box(decoder.forward(
                    matrices,
                    input,
                    &mut cache,
                    Positions::Last,
                    Arithmetic::Kernels,
                )?);
                Ok(start.elapsed())
            };
            collect(workload, 1, settings, &mut sample)
        }
        Workload::Decode { .. } => {
            let mut filled = fill(decoder, matrices, &inputs, context, tokens, settings)?;
            let mut turn = 0;
            let mut sample = || {
                turn = (turn + 1) % filled.len();
                let (cache, next) = &mut filled[turn];
                cache.truncate(context);
                let start = Instant::now();
                for token in next.chunks(1) {
                    black_box(decoder.forward(
                        matrices,
                        token,
                        cache,
                        Positions::Last,
                        Arithmetic::Kernels,
                    )?);
                }
                Ok(start.elapsed())
            };
            collect(workload, tokens, settings, &mut sample)
        }
    }
}

/// `count` inputs of `length` tokens, evenly spread over the text; fewer where it is too short for
/// that many distinct ones, none where it is too short for one.
fn inputs(text: &[u32], length: usize, count: usize) -> Option<Vec<&[u32]>> {
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

/// A cache that holds the first `context` tokens of each input, and the tokens to decode after
/// them.
fn fill<'a>(
    decoder: &Decoder,
    matrices: &Matrices,
    inputs: &[&'a [u32]],
    context: usize,
    tokens: usize,
    settings: &LatencySettings,
) -> Result<Vec<(KvCache, &'a [u32])>, RuntimeError> {
    let one = decoder.cache(1, context + tokens).bytes().max(1);
    let affordable = usize::try_from(settings.cache_bytes / one).unwrap_or(usize::MAX);
    inputs
        .iter()
        .take(affordable.max(1))
        .map(|input| {
            let (before, next) = input.split_at(context);
            let mut cache = decoder.cache(1, context + tokens);
            if !before.is_empty() {
                decoder.forward(
                    matrices,
                    before,
                    &mut cache,
                    Positions::Last,
                    Arithmetic::Kernels,
                )?;
            }
            Ok((cache, next))
        })
        .collect()
}

/// Warms up, takes samples and sums them up; `per_sample` is what one sample is divided by for
/// the figures.
fn collect(
    workload: Workload,
    per_sample: usize,
    settings: &LatencySettings,
    sample: &mut dyn FnMut() -> Result<Duration, RuntimeError>,
) -> Result<Latency, RuntimeError> {
    let warm_up = Instant::now();
    let mut runs = 0;
    while runs < settings.warm_up_runs || warm_up.elapsed() < settings.warm_up {
        sample()?;
        runs += 1;
        if warm_up.elapsed() > settings.most_time {
            break;
        }
    }
    let warm_up_ns = nanoseconds(warm_up.elapsed());

    let begin = Instant::now();
    let mut samples_ns = Vec::new();
    loop {
        samples_ns.push(nanoseconds(sample()?));
        let enough = samples_ns.len() >= settings.least_samples as usize
            && begin.elapsed() >= settings.least_time;
        let late = samples_ns.len() >= FEWEST && begin.elapsed() >= settings.most_time;
        if enough || late {
            break;
        }
    }
    let figures = samples_ns
        .iter()
        .map(|&sample| sample as f64 / per_sample as f64)
        .collect::<Vec<_>>();
    let only = figures[0];
    Ok(Latency {
        workload,
        median_ns: median(&figures).unwrap_or(only),
        interval: median_interval(&figures, settings.confidence).unwrap_or(Interval {
            low: only,
            high: only,
            confidence: 0.0,
        }),
        samples_ns,
        warm_up_ns,
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_distinct_and_of_the_length_asked_for() {
        let text = (0..1000).collect::<Vec<u32>>();
        let found = inputs(&text, 100, 16).unwrap();
        assert_eq!(found.len(), 16);
        let starts = found
            .iter()
            .map(|input| input[0])
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(starts.len(), 16);
        assert!(found.iter().all(|input| input.len() == 100));
        assert_eq!((found[0][0], found[15][99]), (0, 999));
        assert_eq!(inputs(&text, 999, 16).unwrap().len(), 2);
        assert!(inputs(&text, 1001, 16).is_none());
    }

    fn workload() -> Workload {
        Workload::Decode {
            context: 1,
            tokens: 4,
        }
    }

    #[test]
    fn a_figure_is_per_token_and_the_samples_are_raw() {
        let mut durations = [8u64, 4, 12].map(Duration::from_nanos).into_iter().cycle();
        let settings = LatencySettings {
            warm_up: Duration::ZERO,
            warm_up_runs: 3,
            least_time: Duration::ZERO,
            least_samples: 9,
            ..LatencySettings::default()
        };
        let latency = collect(workload(), 4, &settings, &mut || {
            Ok(durations.next().unwrap())
        });
        let latency = latency.unwrap();
        assert_eq!(latency.samples_ns, [8, 4, 12].repeat(3));
        assert_eq!(latency.median_ns, 2.0);
        assert_eq!((latency.interval.low, latency.interval.high), (1.0, 3.0));
        assert!(latency.interval.confidence >= 0.95);
    }

    #[test]
    fn measuring_ends_after_the_most_time_but_not_without_an_interval() {
        let settings = LatencySettings {
            most_time: Duration::from_millis(20),
            ..LatencySettings::default()
        };
        let mut slow = || {
            std::thread::sleep(Duration::from_millis(15));
            Ok(Duration::from_millis(15))
        };
        let begin = Instant::now();
        let latency = collect(workload(), 1, &settings, &mut slow).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert_eq!(latency.samples_ns.len(), FEWEST);
        assert!(latency.interval.confidence >= 0.95);
    }
}
