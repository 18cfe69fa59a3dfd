//! When an interval of a median is narrow enough, looked at seldom.

use super::LatencySettings;
use super::paired::ratio_interval;
use crate::stats::median;

/// The fewest blocks: from six on the range of the values holds the median with at least 95 %
/// probability (1 − 2/2⁶ = 96.9 %); fewer would make an interval that says little.
pub(super) const FEWEST: usize = 6;

/// Numbers of blocks at which the interval is looked at. The ranks of an interval from order
/// statistics are whole numbers; at these counts their coverage is nearest above the 96 % that
/// [`ratio_interval`] makes of 95 %, so that no block is spent on confidence that nobody asked
/// for.
const COUNTS: [usize; 9] = [12, 40, 61, 84, 104, 135, 170, 209, 256];

/// Blocks after which a device is too restless, those that were measured again included.
pub(super) const MOST_BLOCKS: usize = 4 * COUNTS[COUNTS.len() - 1];

/// The next count aims below the target by this factor, so that the second look mostly is the
/// last: every further look costs confidence.
const AIM: f64 = 0.8;

/// What to do with a candidate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Continue,
    /// The interval is as narrow as asked for.
    Enough,
    /// It is not, and will not be.
    GiveUp,
}

/// When one candidate's interval is looked at next.
pub(super) struct Looks {
    next: usize,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { next: COUNTS[0] }
    }

    /// Decides over the ratios of the blocks that count so far; `late` where no more may come.
    ///
    /// The first look is a pilot: the half-width falls with the square root of the count, which
    /// says at what count to look again.
    pub(super) fn decide(
        &mut self,
        ratios: &[f64],
        late: bool,
        settings: &LatencySettings,
    ) -> Decision {
        if ratios.len() < self.next && !late {
            return Decision::Continue;
        }
        let half_width = half_width(ratios, settings.confidence);
        if ratios.len() >= FEWEST && half_width <= settings.target {
            return Decision::Enough;
        }
        let later = COUNTS.into_iter().filter(|&count| count > ratios.len());
        let later: Vec<_> = later.collect();
        let Some(&last) = later.last().filter(|_| !late) else {
            return Decision::GiveUp;
        };
        let wanted = ratios.len() as f64 * (half_width / (AIM * settings.target)).powi(2);
        let enough = later.into_iter().find(|&count| count as f64 >= wanted);
        self.next = enough.unwrap_or(last);
        Decision::Continue
    }
}

/// Half the width of the interval of the median, as a share of the median.
fn half_width(ratios: &[f64], confidence: f64) -> f64 {
    match (ratio_interval(ratios, confidence), median(ratios)) {
        (Some(interval), Some(median)) => (interval.high - interval.low) / 2.0 / median,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ratios around one whose spread is `spread`.
    fn ratios(count: usize, spread: f64) -> Vec<f64> {
        let place = |index: usize| index as f64 / (count - 1) as f64 - 0.5;
        (0..count)
            .map(|index| 1.0 + spread * place(index))
            .collect()
    }

    #[test]
    fn the_second_look_comes_when_the_first_says_that_it_pays() {
        let settings = LatencySettings::default();
        let mut looks = Looks::new();
        assert_eq!(
            looks.decide(&ratios(11, 0.5), false, &settings),
            Decision::Continue
        );
        assert_eq!(looks.next, 12);
        assert_eq!(
            looks.decide(&ratios(12, 0.05), false, &settings),
            Decision::Continue
        );
        assert_eq!(looks.next, 61);
        assert_eq!(
            looks.decide(&ratios(61, 0.05), false, &settings),
            Decision::Enough
        );
    }

    #[test]
    fn what_cannot_be_reached_is_given_up_after_the_last_count_or_when_it_is_late() {
        let settings = LatencySettings::default();
        let mut looks = Looks::new();
        assert_eq!(
            looks.decide(&ratios(12, 1.0), false, &settings),
            Decision::Continue
        );
        assert_eq!(looks.next, 256);
        assert_eq!(
            looks.decide(&ratios(30, 1.0), true, &settings),
            Decision::GiveUp
        );
        assert_eq!(
            looks.decide(&ratios(256, 1.0), false, &settings),
            Decision::GiveUp
        );
    }
}
