//! Hardware profiles, measurements and their evidence.

use bitfront_model::{
    AnchorTime, Evidence, HardwareProfile, Interval, Latency, Measurement, Outcome, Paired,
    Percentile, Quality, Rescored, Stopped,
};

use super::{
    ConvertError, finite, message, messages, names, optional, optional_word, present, word, words,
};
use crate::v1;
use crate::v1::measurement::Outcome as WireOutcome;

impl From<v1::HardwareProfile> for HardwareProfile {
    fn from(wire: v1::HardwareProfile) -> Self {
        Self {
            cpu_model: wire.cpu_model,
            cpu_architecture: wire.cpu_architecture,
            isa_features: wire.isa_features,
            cores: wire.cores,
            gpu: wire.gpu,
            driver: wire.driver,
            runtime: wire.runtime,
            runtime_version: wire.runtime_version,
            threads: wire.threads,
            governor: wire.governor,
            placement: wire.placement,
            switches: wire.switches.into_iter().collect(),
        }
    }
}

impl From<&HardwareProfile> for v1::HardwareProfile {
    fn from(profile: &HardwareProfile) -> Self {
        Self {
            cpu_model: profile.cpu_model.clone(),
            cpu_architecture: profile.cpu_architecture.clone(),
            isa_features: profile.isa_features.clone(),
            cores: profile.cores,
            gpu: profile.gpu.clone(),
            driver: profile.driver.clone(),
            runtime: profile.runtime.clone(),
            runtime_version: profile.runtime_version.clone(),
            threads: profile.threads,
            governor: profile.governor.clone(),
            placement: profile.placement.clone(),
            switches: profile.switches.clone().into_iter().collect(),
        }
    }
}

impl TryFrom<v1::Interval> for Interval {
    type Error = ConvertError;

    fn try_from(wire: v1::Interval) -> Result<Self, Self::Error> {
        Ok(Self {
            low: finite("low", wire.low)?,
            high: finite("high", wire.high)?,
            confidence: finite("confidence", wire.confidence)?,
        })
    }
}

impl From<&Interval> for v1::Interval {
    fn from(interval: &Interval) -> Self {
        Self {
            low: interval.low,
            high: interval.high,
            confidence: interval.confidence,
        }
    }
}

impl TryFrom<v1::Quality> for Quality {
    type Error = ConvertError;

    fn try_from(wire: v1::Quality) -> Result<Self, Self::Error> {
        for (index, &kld) in wire.kld_windows.iter().enumerate() {
            finite(&format!("kld_windows[{index}]"), kld)?;
        }
        let scored = wire.kld_windows.len() as u64;
        let stopped = wire.stopped.map(|wire| match wire.windows {
            windows if windows > scored => Ok(Stopped {
                windows,
                behind: wire.behind,
            }),
            windows => Err(ConvertError::invalid(
                "stopped.windows",
                format!("is {windows}, and {scored} windows were scored before it stopped"),
            )),
        });
        Ok(Self {
            kld: finite("kld", wire.kld)?,
            kld_standard_error: finite("kld_standard_error", wire.kld_standard_error)?,
            kld_windows: wire.kld_windows,
            perplexity: finite("perplexity", wire.perplexity)?,
            reference_perplexity: finite("reference_perplexity", wire.reference_perplexity)?,
            same_top_rate: share("same_top_rate", wire.same_top_rate)?,
            same_top_windows: same_top_windows(&wire.same_top_windows, scored)?,
            positions: wire.positions,
            stopped: stopped.transpose()?,
            rescored: messages("rescored", wire.rescored)?,
        })
    }
}

/// Shares, one for each scored window or none at all.
fn same_top_windows(wire: &[f64], scored: u64) -> Result<Vec<f64>, ConvertError> {
    let field = "same_top_windows";
    if !wire.is_empty() && wire.len() as u64 != scored {
        let reason = format!("has {} windows, and {scored} were scored", wire.len());
        return Err(ConvertError::invalid(field, reason));
    }
    wire.iter().map(|&one| share(field, one)).collect()
}

fn share(field: &'static str, wire: f64) -> Result<f64, ConvertError> {
    if (0.0..=1.0).contains(&wire) {
        return Ok(wire);
    }
    let reason = format!("has {wire}, which is no share from 0 to 1");
    Err(ConvertError::invalid(field, reason))
}

impl From<&Quality> for v1::Quality {
    fn from(quality: &Quality) -> Self {
        Self {
            kld: quality.kld,
            kld_standard_error: quality.kld_standard_error,
            kld_windows: quality.kld_windows.clone(),
            perplexity: quality.perplexity,
            reference_perplexity: quality.reference_perplexity,
            same_top_rate: quality.same_top_rate,
            same_top_windows: quality.same_top_windows.clone(),
            positions: quality.positions,
            stopped: quality.stopped.map(|stopped| v1::Stopped {
                windows: stopped.windows,
                behind: stopped.behind,
            }),
            rescored: quality.rescored.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Rescored> for Rescored {
    type Error = ConvertError;

    fn try_from(wire: v1::Rescored) -> Result<Self, Self::Error> {
        Ok(Self {
            window: wire.window,
            kld: finite("kld", wire.kld)?,
        })
    }
}

impl From<&Rescored> for v1::Rescored {
    fn from(rescored: &Rescored) -> Self {
        Self {
            window: rescored.window,
            kld: rescored.kld,
        }
    }
}

impl TryFrom<v1::Latency> for Latency {
    type Error = ConvertError;

    fn try_from(wire: v1::Latency) -> Result<Self, Self::Error> {
        Ok(Self {
            workload: word("workload", &wire.workload)?,
            samples_ns: wire.samples_ns,
            median_ns: finite("median_ns", wire.median_ns)?,
            interval: message("interval", wire.interval)?,
            warm_up_ns: wire.warm_up_ns,
            percentiles: messages("percentiles", wire.percentiles)?,
            paired: wire
                .paired
                .map(|paired| Paired::try_from(paired).map_err(|error| error.within("paired")))
                .transpose()?,
        })
    }
}

impl From<&Latency> for v1::Latency {
    fn from(latency: &Latency) -> Self {
        Self {
            workload: latency.workload.to_string(),
            samples_ns: latency.samples_ns.clone(),
            median_ns: latency.median_ns,
            interval: Some((&latency.interval).into()),
            warm_up_ns: latency.warm_up_ns,
            percentiles: latency.percentiles.iter().map(Into::into).collect(),
            paired: latency.paired.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Percentile> for Percentile {
    type Error = ConvertError;

    fn try_from(wire: v1::Percentile) -> Result<Self, Self::Error> {
        Ok(Self {
            percent: wire.percent,
            value_ns: finite("value_ns", wire.value_ns)?,
            interval: message("interval", wire.interval)?,
        })
    }
}

impl From<&Percentile> for v1::Percentile {
    fn from(percentile: &Percentile) -> Self {
        Self {
            percent: percentile.percent,
            value_ns: percentile.value_ns,
            interval: Some((&percentile.interval).into()),
        }
    }
}

impl TryFrom<v1::Paired> for Paired {
    type Error = ConvertError;

    fn try_from(wire: v1::Paired) -> Result<Self, Self::Error> {
        Ok(Self {
            anchor: word("anchor_digest", &wire.anchor_digest)?,
            ratio: finite("ratio", wire.ratio)?,
            ratio_interval: message("ratio_interval", wire.ratio_interval)?,
            samples_per_block: wire.samples_per_block,
            anchor_samples_ns: wire.anchor_samples_ns,
            anchor_samples_per_block: wire.anchor_samples_per_block,
            discarded_blocks: wire.discarded_blocks,
            waited_ns: wire.waited_ns,
            reference: message("reference", wire.reference)?,
            noisy: wire.noisy,
        })
    }
}

impl From<&Paired> for v1::Paired {
    fn from(paired: &Paired) -> Self {
        Self {
            anchor_digest: paired.anchor.to_string(),
            ratio: paired.ratio,
            ratio_interval: Some((&paired.ratio_interval).into()),
            samples_per_block: paired.samples_per_block,
            anchor_samples_ns: paired.anchor_samples_ns.clone(),
            anchor_samples_per_block: paired.anchor_samples_per_block,
            discarded_blocks: paired.discarded_blocks,
            waited_ns: paired.waited_ns,
            reference: Some((&paired.reference).into()),
            noisy: paired.noisy,
        }
    }
}

impl TryFrom<v1::AnchorTime> for AnchorTime {
    type Error = ConvertError;

    fn try_from(wire: v1::AnchorTime) -> Result<Self, Self::Error> {
        Ok(Self {
            workload: word("workload", &wire.workload)?,
            median_ns: finite("median_ns", wire.median_ns)?,
            interval: message("interval", wire.interval)?,
        })
    }
}

impl From<&AnchorTime> for v1::AnchorTime {
    fn from(time: &AnchorTime) -> Self {
        Self {
            workload: time.workload.to_string(),
            median_ns: time.median_ns,
            interval: Some((&time.interval).into()),
        }
    }
}

impl TryFrom<v1::Evidence> for Evidence {
    type Error = ConvertError;

    fn try_from(wire: v1::Evidence) -> Result<Self, Self::Error> {
        Ok(Self {
            executed: words("executed", &wire.executed)?,
            imatrix_digest: optional_word("imatrix_digest", wire.imatrix_digest)?,
            environment: message("environment", wire.environment)?,
            cold: optional("cold_start", wire.cold_start)?,
            energy: optional("energy", wire.energy)?,
            duration_ns: wire.duration_ns,
        })
    }
}

impl From<&Evidence> for v1::Evidence {
    fn from(evidence: &Evidence) -> Self {
        Self {
            executed: names(&evidence.executed),
            imatrix_digest: evidence.imatrix_digest.map(|digest| digest.to_string()),
            environment: Some((&evidence.environment).into()),
            cold_start: evidence.cold.as_ref().map(Into::into),
            energy: evidence.energy.as_ref().map(Into::into),
            duration_ns: evidence.duration_ns,
        }
    }
}

impl TryFrom<v1::Measurement> for Measurement {
    type Error = ConvertError;

    fn try_from(wire: v1::Measurement) -> Result<Self, Self::Error> {
        let outcome = match present("outcome", wire.outcome)? {
            WireOutcome::Quality(quality) => Outcome::Quality(
                quality
                    .try_into()
                    .map_err(|error: ConvertError| error.within("quality"))?,
            ),
            WireOutcome::Latency(latencies) => Outcome::Latency {
                workloads: messages("latency.workloads", latencies.workloads)?,
            },
            WireOutcome::Infeasible(infeasible) => Outcome::Infeasible {
                reason: infeasible.reason,
            },
        };
        Ok(Self {
            outcome,
            evidence: message("evidence", wire.evidence)?,
        })
    }
}

impl From<&Measurement> for v1::Measurement {
    fn from(measurement: &Measurement) -> Self {
        let outcome = match &measurement.outcome {
            Outcome::Quality(quality) => WireOutcome::Quality(quality.into()),
            Outcome::Latency { workloads } => WireOutcome::Latency(v1::Latencies {
                workloads: workloads.iter().map(Into::into).collect(),
            }),
            Outcome::Infeasible { reason } => WireOutcome::Infeasible(v1::Infeasible {
                reason: reason.clone(),
            }),
        };
        Self {
            outcome: Some(outcome),
            evidence: Some((&measurement.evidence).into()),
        }
    }
}
