//! Whether the device that confirmed a quality computes what the search's own was computed by.
//!
//! A quality is measured once for a numerics class, since its devices compute the same. What a
//! device gets on held-back windows cannot show that it does: they are another text, and easier or
//! harder for every plan. So it scores a few of the search's own windows once more, which leaves
//! the device alone to differ.

use bitfront_model::{Interval, Quality, Rescoring, stages};

use crate::student::{CONFIDENCE, mean_and_error, quantile};

/// What the order of summing changes a mean divergence by at most, as a share.
///
/// Devices of one class multiply with the same kernels, but how a product is cut into parts follows
/// their caches, and each part is a sum of its own. A last bit that differs moves single roundings
/// of activations to the neighbouring value. Between kernels and their widened form, which share
/// nothing but the terms of their sums, uniform plans of the demo model differed by 2.6 % at most
/// in the mean of any four of eight windows.
pub(super) const TOLERANCE: f64 = 0.05;

/// The same of a single window: the furthest was 3.4 % there.
const WINDOW_TOLERANCE: f64 = 0.25;

/// Added to every divergence, in nats: a plan that loses less, such as one in `f16`, loses by the
/// rounding of its sums alone, of which any order is as good as another.
const LEAST: f64 = 1e-4;

/// The windows that a confirmation scored once more against the search's own score of them; none
/// where they have none in common.
pub(super) fn compare(confirmed: &Quality, searched: &Quality) -> Option<Rescoring> {
    of_windows(confirmed.rescored.iter().filter_map(|rescored| {
        let own = of_window(searched, rescored.window)?;
        Some((rescored.kld, own))
    }))
}

/// Divergences of the same windows under the same plan, each with the earlier one; none of no
/// windows.
///
/// Divergences of two windows may be far apart, and so are their differences, while what another
/// arithmetic does to them is much the same share of each. Compared are therefore the logarithms,
/// window by window, with Student's t for paired observations as in [`super::paired`]. The two
/// deviate where their ratio is further from one than [`TOLERANCE`] and its interval does not hold
/// one; or where a single window is further from it than [`WINDOW_TOLERANCE`], which no order of
/// summing explains and no interval need confirm.
pub(super) fn of_windows(windows: impl Iterator<Item = (f64, f64)>) -> Option<Rescoring> {
    let logarithm = |kld: f64| (kld.max(0.0) + LEAST).ln();
    let pairs = windows.map(|(kld, earlier)| logarithm(kld) - logarithm(earlier));
    let pairs: Vec<f64> = pairs.collect();
    if pairs.is_empty() {
        return None;
    }
    let (mean, error) = mean_and_error(&pairs);
    let interval = (pairs.len() > 1).then(|| {
        let half = quantile(pairs.len() as u64 - 1) * error;
        Interval {
            low: (mean - half).exp(),
            high: (mean + half).exp(),
            confidence: CONFIDENCE,
        }
    });
    let is_beyond = |share: f64, difference: f64| difference.abs() > share.ln_1p();
    let excludes_one = interval.is_some_and(|interval| interval.side_of(1.0).is_ne());
    let on_average = is_beyond(TOLERANCE, mean) && excludes_one;
    let somewhere = pairs.iter().any(|&pair| is_beyond(WINDOW_TOLERANCE, pair));
    Some(Rescoring {
        windows: pairs.len() as u64,
        ratio: mean.exp(),
        interval,
        deviates: on_average || somewhere,
    })
}

/// The divergence of one window, by its place in the text; none where it was not scored.
fn of_window(quality: &Quality, place: u64) -> Option<f64> {
    let place = usize::try_from(place).ok()?;
    let position = match quality.stopped {
        None => place,
        Some(stopped) => {
            let order = stages::order(usize::try_from(stopped.windows).ok()?);
            order.iter().position(|&scored| scored == place)?
        }
    };
    quality.kld_windows.get(position).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
