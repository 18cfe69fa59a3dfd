//! Intervals of a mean, by Student's t.

use bitfront_model::Quality;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// How surely an interval holds what it is about.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// Where the mean divergence of a text lies below, by the spread of its windows: the upper end of
/// Student's interval. Infinite for a single window, whose error is not known.
pub(crate) fn upper_kld(quality: &Quality) -> f64 {
    match quality.kld_windows.len() as u64 {
        0 | 1 => f64::INFINITY,
        windows => quality.kld + quantile(windows - 1) * quality.kld_standard_error,
    }
}

/// The two-sided quantile of Student's t.
pub(crate) fn quantile(freedom: u64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom as f64)
        // A sum without a single degree of freedom tells nothing apart.
        .map_or(f64::INFINITY, |student| {
            student.inverse_cdf(0.5 + CONFIDENCE / 2.0)
        })
}
