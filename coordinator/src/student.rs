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

/// Where the mismatch lies below in the same way. Infinite where the shares of the windows are not
/// known.
pub(crate) fn upper_mismatch(quality: &Quality) -> f64 {
    let windows = &quality.same_top_windows;
    if windows.len() < 2 {
        return f64::INFINITY;
    }
    let (_, error) = mean_and_error(windows);
    quality.mismatch() + quantile(windows.len() as u64 - 1) * error
}

/// The mean of some samples and its standard error, which is no number for a single one.
pub(crate) fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares = samples.iter().map(|it| (it - mean) * (it - mean));
    (mean, (squares.sum::<f64>() / (count - 1.0) / count).sqrt())
}

/// The two-sided quantile of Student's t.
pub(crate) fn quantile(freedom: u64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom as f64)
        // A sum without a single degree of freedom tells nothing apart.
        .map_or(f64::INFINITY, |student| {
            student.inverse_cdf(0.5 + CONFIDENCE / 2.0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_end_of_a_mismatch_is_students_over_the_windows() {
        let mut quality = Quality {
            kld: 0.1,
            kld_standard_error: 0.01,
            kld_windows: vec![0.1; 4],
            perplexity: 10.0,
            reference_perplexity: 10.0,
            same_top_rate: 0.9,
            same_top_windows: vec![0.85, 0.95, 0.85, 0.95],
            positions: 512,
            stopped: None,
            rescored: Vec::new(),
        };
        // The standard error is 0.05 · √(4/3) / 2, the quantile for three degrees 3.182446.
        let expected = 0.1 + 3.182_446 * 0.05 * (4.0_f64 / 3.0).sqrt() / 2.0;
        assert!((upper_mismatch(&quality) - expected).abs() < 1e-6);
        for unknown in [Vec::new(), vec![0.9]] {
            quality.same_top_windows = unknown;
            assert_eq!(upper_mismatch(&quality), f64::INFINITY);
        }
    }
}
