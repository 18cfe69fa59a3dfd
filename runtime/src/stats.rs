//! Means and medians with what is known of their error.

use bitfront_model::Interval;
use statrs::distribution::{Binomial, DiscreteCDF};

/// Mean and the standard error of the mean: `sqrt((E[x²] − E[x]²) / (n − 1))`, as llama.cpp's
/// `mean_and_uncertainty`.
///
/// The mean of no values is 0; the error of fewer than two is not known.
pub fn mean_and_standard_error(values: impl IntoIterator<Item = f64>) -> (f64, Option<f64>) {
    // Welford's recurrence: the sums of squares of small divergences would cancel otherwise.
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    let error = (count >= 2.0).then(|| (squares / count / (count - 1.0)).sqrt());
    (mean, error)
}

/// The median; the mean of the two middle values where their number is even. None without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// A distribution-free interval of the median from order statistics.
///
/// The number of samples below the median is binomial with probability one half, whatever the
/// samples' distribution; the interval runs from the `k`-th smallest to the `k`-th largest value
/// for the largest `k` that keeps the coverage. The `confidence` in the result is the coverage
/// that the interval really has; with too few samples for the one asked for it is the range of
/// the samples, and says so. None without values.
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let count = sorted.len() as u64;
    let below = Binomial::new(0.5, count).ok()?;
    // Ranks counted from one: P(x₍ₖ₎ ≤ median ≤ x₍ₙ₊₁₋ₖ₎) = 1 − 2·P(B ≤ k − 1).
    let coverage = |rank: u64| 1.0 - 2.0 * below.cdf(rank - 1);
    let rank = (1..=count / 2)
        .take_while(|&rank| coverage(rank) >= confidence)
        .last();
    Some(match rank {
        Some(rank) => Interval {
            low: sorted[rank as usize - 1],
            high: sorted[(count - rank) as usize],
            confidence: coverage(rank),
        },
        None => Interval {
            low: first,
            high: last,
            confidence: coverage(1).max(0.0),
        },
    })
}

/// A quantile: the smallest value that at least that share of the values does not exceed.
///
/// None without values.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// A distribution-free interval of a quantile from order statistics, as [`median_interval`].
///
/// The number of values below the quantile is binomial with `share` as its probability; each side
/// keeps half of the doubt. Where there are too few values for an end it is the outermost value,
/// and the `confidence` in the result is the coverage that is left. None without values.
pub fn quantile_interval(values: &[f64], share: f64, confidence: f64) -> Option<Interval> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as u64;
    if count == 0 {
        return None;
    }
    let below = Binomial::new(share, count).ok()?;
    let doubt = (1.0 - confidence) / 2.0;
    // Ranks counted from one: P(x₍ₗ₎ ≤ quantile ≤ x₍ᵤ₎) = P(B ≤ u − 1) − P(B ≤ l − 1).
    let before = |rank: u64| below.cdf(rank - 1);
    let low = (1..=count).take_while(|&rank| before(rank) <= doubt).last();
    let high = (1..=count).find(|&rank| before(rank) >= 1.0 - doubt);
    let (low, high) = (low.unwrap_or(1), high.unwrap_or(count));
    Some(Interval {
        low: sorted[low as usize - 1],
        high: sorted[high as usize - 1],
        confidence: (before(high) - before(low)).max(0.0),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_llama_cpp() {
        let values = [0.1, 0.4, 0.2, 0.9, 0.3];
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| value * value).sum::<f64>() / count;
        let expected = ((squares - mean * mean) / (count - 1.0)).sqrt();
        let (found_mean, found) = mean_and_standard_error(values);
        assert!((found_mean - mean).abs() < 1e-15);
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        assert_eq!(mean_and_standard_error([]), (0.0, None));
        assert_eq!(mean_and_standard_error([3.0]), (3.0, None));
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[5.0]), Some(5.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    /// The ranks of the usual tables of distribution-free intervals of the median at 95 %.
    #[test]
    fn intervals_have_the_ranks_of_the_tables() {
        for (count, low, high) in [
            (6, 1, 6),
            (10, 2, 9),
            (20, 6, 15),
            (30, 10, 21),
            (50, 18, 33),
        ] {
            let values = (1..=count).map(f64::from).collect::<Vec<_>>();
            let interval = median_interval(&values, 0.95).unwrap();
            assert_eq!(
                (interval.low, interval.high),
                (f64::from(low), f64::from(high)),
                "{count} samples"
            );
            assert!(interval.confidence >= 0.95);
        }
    }

    #[test]
    fn too_few_samples_say_the_confidence_that_they_have() {
        let interval = median_interval(&[2.0, 1.0, 3.0], 0.95).unwrap();
        assert_eq!((interval.low, interval.high), (1.0, 3.0));
        assert!((interval.confidence - 0.75).abs() < 1e-12);
        assert!(median_interval(&[1.0], 0.95).unwrap().confidence < 1e-12);
        assert!(median_interval(&[], 0.95).is_none());
    }

    /// Ranks from the binomial distribution by scipy: `binom(n, q).cdf`.
    #[test]
    fn quantiles_have_the_ranks_of_the_binomial_distribution() {
        for (count, share, low, high, confidence) in [
            (100, 0.9, 84, 96, 0.955_690),
            (500, 0.99, 490, 500, 0.980_186),
            (40, 0.5, 14, 27, 0.961_523),
        ] {
            let values = (1..=count).map(f64::from).collect::<Vec<_>>();
            let interval = quantile_interval(&values, share, 0.95).unwrap();
            assert_eq!(
                (interval.low, interval.high),
                (f64::from(low), f64::from(high)),
                "{share} of {count}"
            );
            let off = (interval.confidence - confidence).abs();
            assert!(off < 1e-5, "{share} of {count}: {interval:?}");
        }
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.99), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert!(quantile_interval(&[], 0.5, 0.95).is_none());
    }

    /// The stated coverage holds for a skewed distribution with a known median.
    #[test]
    fn the_interval_covers_the_median_as_often_as_it_says() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut uniform = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let covered = (0..2000)
            .filter(|_| {
                let values = (0..25).map(|_| -uniform().ln()).collect::<Vec<_>>();
                let interval = median_interval(&values, 0.95).unwrap();
                (interval.low..=interval.high).contains(&std::f64::consts::LN_2)
            })
            .count();
        assert!((1880..=1950).contains(&covered), "{covered} of 2000");
    }
}
