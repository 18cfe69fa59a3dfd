//! From blocks to the figures of a workload.

use std::time::Duration;

use bitfront_model::{AnchorTime, Digest, Interval, Latency, Paired, Percentile, Workload};

use super::paired::{Series, nanoseconds, turn_ns};
use crate::RuntimeError;
use crate::stats::{median, median_interval, quantile, quantile_interval};

/// The percentiles that are stored beside the median.
const PERCENTS: [u32; 3] = [50, 90, 99];

/// The figures of one candidate under one workload.
///
/// Its time is that of the anchor (`known`, or else as it was during these blocks) multiplied with
/// the ratio. Each factor's interval is made for half of the doubt, so that their product holds the
/// time with the confidence asked for, whatever the two have to do with each other (Bonferroni's
/// inequality). `waited` is what waiting for the core took, which no sample has in it.
pub(super) fn latency(
    workload: Workload,
    (anchor, known): (Digest, Option<AnchorTime>),
    series: &Series,
    waited: Duration,
    confidence: f64,
) -> Result<Latency, RuntimeError> {
    let nothing = || RuntimeError::Engine(format!("{workload} was timed without any block"));
    let per_figure = f64::from(workload.steps());
    let factor_confidence = 1.0 - (1.0 - confidence) / 2.0;
    let reference = match known {
        Some(known) => known,
        None => anchor_time(workload, series, per_figure, factor_confidence).ok_or_else(nothing)?,
    };
    let (ratio, ratio_interval) = series.ratio(confidence).ok_or_else(nothing)?;
    let (_, factor) = series.ratio(factor_confidence).ok_or_else(nothing)?;
    let doubt = (1.0 - reference.interval.confidence) + (1.0 - factor.confidence);
    let first = series.blocks.first().ok_or_else(nothing)?;
    let samples = |of: fn(&super::paired::Block) -> &Vec<u64>| {
        series
            .blocks
            .iter()
            .flat_map(of)
            .copied()
            .collect::<Vec<_>>()
    };
    let samples_ns = samples(|block| &block.candidate);
    let figures: Vec<_> = samples_ns
        .iter()
        .map(|&sample| sample as f64 / per_figure)
        .collect();
    Ok(Latency {
        workload,
        median_ns: reference.median_ns * ratio,
        interval: Interval {
            low: reference.interval.low * factor.low,
            high: reference.interval.high * factor.high,
            confidence: (1.0 - doubt).max(0.0),
        },
        warm_up_ns: nanoseconds(series.warm_up),
        percentiles: percentiles(&figures, confidence),
        paired: Some(Paired {
            anchor,
            ratio,
            ratio_interval,
            samples_per_block: first.candidate.len() as u32,
            anchor_samples_ns: samples(|block| &block.anchor),
            anchor_samples_per_block: first.anchor.len() as u32,
            discarded_blocks: series.discarded,
            waited_ns: nanoseconds(waited),
            reference,
            noisy: series.noisy,
        }),
        samples_ns,
    })
}

/// The anchor's time over the blocks of a series.
fn anchor_time(
    workload: Workload,
    series: &Series,
    per_figure: f64,
    confidence: f64,
) -> Option<AnchorTime> {
    let times: Vec<_> = series
        .blocks
        .iter()
        .map(|block| turn_ns(&block.anchor) / per_figure)
        .collect();
    Some(AnchorTime {
        workload,
        median_ns: median(&times)?,
        interval: median_interval(&times, confidence)?,
    })
}

fn percentiles(figures: &[f64], confidence: f64) -> Vec<Percentile> {
    PERCENTS
        .into_iter()
        .filter_map(|percent| {
            let share = f64::from(percent) / 100.0;
            Some(Percentile {
                percent,
                value_ns: quantile(figures, share)?,
                interval: quantile_interval(figures, share, confidence)?,
            })
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::super::paired::Block;
    use super::*;

    const DECODE: Workload = Workload::Decode {
        context: 4,
        tokens: 2,
        batch: 1,
    };

    /// A candidate that takes twice the anchor's time, while the device wavers by two percent.
    fn series() -> Series {
        let device = [100u64, 101, 99, 102, 98, 100, 101, 99, 100, 102, 98, 100];
        Series {
            blocks: device
                .map(|time| Block {
                    candidate: vec![2000 * time, 2100 * time, 1900 * time],
                    anchor: vec![1000 * time],
                })
                .to_vec(),
            discarded: 3,
            noisy: false,
            warm_up: Duration::from_millis(50),
        }
    }

    fn figures(known: Option<AnchorTime>) -> Latency {
        let anchor = (Digest::of("anchor"), known);
        latency(DECODE, anchor, &series(), Duration::from_nanos(55), 0.95).unwrap()
    }

    #[test]
    fn the_time_is_the_anchors_multiplied_with_the_ratio() {
        let own = figures(None);
        let paired = own.paired.as_ref().unwrap();
        // The wavering is in both sides, so the ratio does not have it; the anchor's time does.
        assert_eq!(
            (
                paired.ratio,
                paired.ratio_interval.low,
                paired.ratio_interval.high
            ),
            (2.0, 2.0, 2.0)
        );
        assert_eq!(own.median_ns, 100_000.0);
        assert!(own.interval.low < 100_000.0 && own.interval.high > 100_000.0);
        assert!(own.interval.confidence >= 0.949, "{:?}", own.interval);
        assert_eq!(
            (own.samples_ns.len(), paired.anchor_samples_ns.len()),
            (36, 12)
        );
        assert_eq!(
            (paired.samples_per_block, paired.anchor_samples_per_block),
            (3, 1)
        );
        assert_eq!((paired.discarded_blocks, paired.waited_ns), (3, 55));
    }

    #[test]
    fn a_known_time_of_the_anchor_puts_candidates_on_its_scale() {
        let known = AnchorTime {
            workload: DECODE,
            median_ns: 60_000.0,
            interval: Interval {
                low: 59_000.0,
                high: 61_000.0,
                confidence: 0.975,
            },
        };
        let found = figures(Some(known));
        assert_eq!(found.median_ns, 120_000.0);
        assert_eq!(
            (found.interval.low, found.interval.high),
            (118_000.0, 122_000.0)
        );
        assert_eq!(found.paired.unwrap().reference, known);
    }

    #[test]
    fn percentiles_are_of_single_samples_and_say_what_they_cover() {
        let found = figures(None).percentiles;
        assert_eq!(
            found.iter().map(|it| it.percent).collect::<Vec<_>>(),
            PERCENTS
        );
        assert!(found.is_sorted_by_key(|it| it.value_ns));
        assert!(found[0].interval.confidence >= 0.95);
        // 36 samples hold no upper end for a 99th percentile.
        assert!(found[2].interval.confidence < 0.5, "{:?}", found[2]);
    }

    #[test]
    fn a_series_without_blocks_is_an_error() {
        let empty = Series {
            blocks: Vec::new(),
            ..series()
        };
        let anchor = (Digest::of("anchor"), None);
        let error = latency(DECODE, anchor, &empty, Duration::ZERO, 0.95).unwrap_err();
        assert!(error.to_string().contains("decode@4x2"), "{error}");
    }
}
