//! How figures are written for people. Programs get the numbers themselves.

use std::time::{Duration, SystemTime};

use bitfront_model::{Latency, Quality, Workload};

/// Bytes with three digits: `3.57 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{} {unit}", three_digits(value))
    }
}

/// Three significant digits without an exponent, as far as that is readable.
pub(crate) fn three_digits(value: f64) -> String {
    significant(value, 3)
}

fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // Rounding first: 9.996 has as many digits before the point as 10.0 once it is written.
    let exponent = format!("{:.*e}", (digits - 1) as usize, value.abs())
        .rsplit('e')
        .next()
        .and_then(|exponent| exponent.parse::<i32>().ok())
        .unwrap_or(0);
    if (-6..=9).contains(&exponent) {
        format!("{value:.*}", (digits - 1 - exponent).max(0) as usize)
    } else {
        format!("{value:.*e}", (digits - 1) as usize)
    }
}

/// A divergence with its standard error: `0.00626 ± 0.00004`. The error has one digit, and the
/// value as many as the error makes sense of.
pub(crate) fn kld(quality: &Quality) -> String {
    let (value, error) = (quality.kld, quality.kld_standard_error);
    if !(error.is_finite() && error > 0.0 && value.is_finite()) {
        return three_digits(value);
    }
    let decimals = (-error.log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$} ± {error:.decimals$}")
}

/// What a time of a batch is the time of; none for a single sequence, whose time says that itself.
pub(crate) fn batch(workload: Workload) -> Option<String> {
    let batch = workload.batch();
    (batch > 1).then(|| match workload.is_decode() {
        true => format!(
            "{workload} is the time of one step, which gives each of {batch} sequences a token"
        ),
        false => {
            format!("{workload} is the time of one pass over the prompts of {batch} sequences")
        }
    })
}

/// Of how many windows a divergence is, where scoring stopped early: `(8 of 16 windows)`.
pub(crate) fn scored(quality: &Quality) -> Option<String> {
    let stopped = quality.stopped?;
    Some(format!(
        "({} of {} windows)",
        quality.kld_windows.len(),
        stopped.windows
    ))
}

/// A time in nanoseconds: `2.41 ms`.
pub(crate) fn nanoseconds(nanoseconds: f64) -> String {
    let (mut value, mut unit) = (nanoseconds, "ns");
    for next in ["µs", "ms", "s"] {
        if value.abs() < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{} {unit}", three_digits(value))
}

/// What an interval is said to hold where nothing else stands with it.
const USUAL_CONFIDENCE: f64 = 0.95;

/// A median with its interval: `2.41 ms [2.38, 2.47]`, all in the median's unit. An interval that
/// holds the median with less than 95 % says with how much, `2.41 ms [2.38, 2.47: 87.5 %]`; one
/// sample is no interval.
pub(crate) fn latency(latency: &Latency) -> String {
    let median = nanoseconds(latency.median_ns);
    let scale = match median.rsplit(' ').next() {
        Some("s") => 1e9,
        Some("ms") => 1e6,
        Some("µs") => 1e3,
        _ => 1.0,
    };
    let confidence = latency.interval.confidence;
    if confidence <= 0.0 {
        return format!("{median} [one sample]");
    }
    let mark = if confidence < USUAL_CONFIDENCE {
        format!(": {}", percent(confidence))
    } else {
        String::new()
    };
    format!(
        "{median} [{}, {}{mark}]",
        three_digits(latency.interval.low / scale),
        three_digits(latency.interval.high / scale)
    )
}

/// A share: `95.1 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A moment: `2026-05-04T12:00:00Z`.
pub(crate) fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A length of time in whole seconds: `1m 30s`.
pub(crate) fn span(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// `1 candidate`, `2 candidates`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_they_deserve() {
        let cases = [
            (bytes(999), "999 B"),
            (bytes(3_573_056), "3.57 MB"),
            (bytes(999_600), "1.00 MB"),
            (bytes(12_345_678_901), "12.3 GB"),
            (three_digits(9.996), "10.0"),
            (three_digits(0.0), "0"),
            (three_digits(0.000_182_3), "0.000182"),
            (three_digits(1.5e-9), "1.50e-9"),
            (nanoseconds(2_412_000.0), "2.41 ms"),
            (nanoseconds(999.7), "1.00 µs"),
            (percent(0.951), "95.1 %"),
            (span(Duration::from_millis(90_400)), "1m 30s"),
        ];
        let wrong: Vec<_> = cases.iter().filter(|(got, want)| got != want).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_divergence_shows_what_its_error_leaves() {
        let quality = |kld, kld_standard_error| Quality {
            kld,
            kld_standard_error,
            kld_windows: Vec::new(),
            perplexity: 1.0,
            reference_perplexity: 1.0,
            same_top_rate: 1.0,
            same_top_windows: Vec::new(),
            positions: 1,
            stopped: None,
            rescored: Vec::new(),
        };
        assert_eq!(kld(&quality(0.006_263, 0.000_041)), "0.00626 ± 0.00004");
        assert_eq!(kld(&quality(0.079_81, 0.000_52)), "0.0798 ± 0.0005");
        assert_eq!(kld(&quality(0.0, 0.0)), "0");
    }

    #[test]
    fn a_batch_says_what_its_time_is_of() {
        let told = |name: &str| batch(name.parse().unwrap());
        assert_eq!(told("decode@64x16"), None);
        let decode = told("decode@64x16b4").unwrap();
        assert!(decode.contains("each of 4 sequences"), "{decode}");
        let prefill = told("prefill@64b2").unwrap();
        assert!(prefill.contains("the prompts of 2"), "{prefill}");
    }
}
