//! How two plans differ beyond the noise of their measurements, and what that makes of a front.
//!
//! Everything here is said of a first plan against a second one. Every figure is better the smaller
//! it is, so an [`Ordering`] reads as elsewhere: `Less` where the first plan is better beyond the
//! noise, `Greater` where it is worse, `Equal` where the two cannot be told apart. The last is not
//! transitive: of three plans the outer two may be told apart although neither is from the middle
//! one.

use std::cmp::Ordering;

use crate::{FrontPoint, Interval, ModelSpec};

impl Interval {
    /// On which side of a value the whole interval lies; `Equal` where it holds the value.
    pub fn side_of(&self, value: f64) -> Ordering {
        if self.high < value {
            Ordering::Less
        } else if self.low > value {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }
}

/// The difference of two mean divergences in nats, the first less the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The mean over the windows of the differences of both plans on the same window.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Where the true difference lies.
    pub interval: Interval,
    /// Windows that were paired; 0 where there are too few, so that the errors of both plans over
    /// their positions stand in for the spread over windows.
    pub windows: u64,
}

impl Difference {
    /// Which plan loses less beyond the noise.
    pub fn ordering(&self) -> Ordering {
        self.interval.side_of(0.0)
    }
}

/// The ratio of two times, the first over the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The ratio of the medians.
    pub value: f64,
    /// Where the true ratio lies.
    pub interval: Interval,
}

impl Ratio {
    /// The confidence that is left of two intervals of 95 % each where both must hold: below it
    /// the interval of a ratio separates nothing.
    pub const LEAST_CONFIDENCE: f64 = 0.95 + 0.95 - 1.0;

    /// Which plan is faster beyond the noise.
    pub fn ordering(&self) -> Ordering {
        if self.interval.confidence < Self::LEAST_CONFIDENCE {
            return Ordering::Equal;
        }
        self.interval.side_of(1.0)
    }
}

/// How one plan differs from another in every figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Differences {
    /// Exact bytes of the first less those of the second.
    pub size_bytes: i64,
    /// Exact bytes of the first over those of the second.
    pub size_ratio: f64,
    /// Divergence.
    pub kld: Difference,
    /// Time of one decode step; none where the two were timed on different hardware.
    pub decode: Option<Ratio>,
    /// Time of one pass over the prompts; none where the two were timed on different hardware.
    pub prefill: Option<Ratio>,
}

/// Two measured plans beside each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The first plan.
    pub first: FrontPoint,
    /// The second plan, over the same model.
    pub second: FrontPoint,
    /// The model.
    pub spec: ModelSpec,
    /// The first against the second.
    pub differences: Differences,
}

/// A point that another one is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    /// The other candidate, of the same search.
    pub candidate: i64,
    /// The point at hand, as the first, against the other one.
    pub differences: Differences,
}

/// Why a point is on the published front, or why not. What cannot enter a front has none of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placing {
    /// Of a point that is shown: the candidates that cannot be told apart from it in any measured
    /// objective and are no smaller, ascending.
    pub class: Vec<i64>,
    /// Of a point in the class of another one: the candidate that is shown for both.
    pub class_of: Option<i64>,
    /// Of a point that is shown: how many candidates it beats, which is to say it is better beyond
    /// the noise in a measured objective and not worse in any objective.
    pub beats: u64,
    /// Of a shown point: against the next smaller one that is shown, which is what its bytes buy.
    pub gain: Option<Against>,
    /// The comparison that says most. Of a shown point: with one that it beats, a preset where it
    /// beats one. Of a point of a class: with the one that is shown. Of any other: with a shown one
    /// that beats it.
    pub against: Option<Against>,
}
