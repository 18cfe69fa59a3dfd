//! When a search has done enough. The caller measures and passes the numbers in.

use std::fmt;
use std::time::Duration;

/// When to stop; a rule that is none never does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StopRules {
    /// Candidates evaluated, baselines included.
    pub evaluations: Option<u64>,
    /// Time spent searching.
    pub time: Option<Duration>,
    /// No more progress.
    pub stall: Option<Stall>,
    /// A candidate that may be shipped is enough.
    pub within_limits: bool,
}

/// The hypervolume has stopped growing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stall {
    /// How many evaluations in a row are looked at; at least one.
    pub evaluations: usize,
    /// The least growth over them that still counts, as a share of the hypervolume before them.
    pub least_gain: f64,
}

/// Where a search stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress<'a> {
    /// Candidates evaluated so far, baselines included.
    pub evaluations: u64,
    /// Time spent searching so far.
    pub elapsed: Duration,
    /// Whether the strategy has nothing left to ask and nothing is pending.
    pub exhausted: bool,
    /// The hypervolume after each evaluation, under one fixed reference point. May be empty where
    /// no stall rule is set.
    pub hypervolumes: &'a [f64],
    /// The first candidate that keeps all limits whatever the noise, where there is one.
    pub within_limits: Option<u64>,
}

/// Why a search stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StopReason {
    /// Every genome of the space has been evaluated.
    Exhausted,
    /// What was wanted is found.
    WithinLimits {
        /// The first that was found.
        candidate: u64,
    },
    /// The budget of evaluations is spent.
    Evaluations {
        /// The budget.
        budget: u64,
    },
    /// The budget of time is spent.
    Time {
        /// The budget.
        budget: Duration,
    },
    /// The front no longer grows.
    Stalled {
        /// The evaluations that were looked at.
        evaluations: usize,
        /// Their gain as a share of the hypervolume before them.
        gain: f64,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => formatter.write_str("every plan of the space has been evaluated"),
            Self::WithinLimits { candidate } => write!(
                formatter,
                "candidate {candidate} keeps all the limits, and so do its intervals"
            ),
            Self::Evaluations { budget } => {
                write!(formatter, "the budget of {budget} evaluations is spent")
            }
            Self::Time { budget } => write!(formatter, "the time of {budget:?} is spent"),
            Self::Stalled { evaluations, gain } => write!(
                formatter,
                "{evaluations} evaluations in a row grew the front by only {:.3} %",
                gain * 100.0
            ),
        }
    }
}

/// The first rule that says stop, in the order of [`StopReason`]'s variants.
pub fn stop(rules: &StopRules, progress: &Progress<'_>) -> Option<StopReason> {
    if progress.exhausted {
        return Some(StopReason::Exhausted);
    }
    if let Some(candidate) = progress.within_limits
        && rules.within_limits
    {
        return Some(StopReason::WithinLimits { candidate });
    }
    if let Some(budget) = rules.evaluations
        && progress.evaluations >= budget
    {
        return Some(StopReason::Evaluations { budget });
    }
    if let Some(budget) = rules.time
        && progress.elapsed >= budget
    {
        return Some(StopReason::Time { budget });
    }
    rules
        .stall
        .and_then(|stall| stalled(stall, progress.hypervolumes))
}

/// The first stall there was: one that is over counts too, so that what is evaluated after a search
/// was found to have stalled does not set it going again.
fn stalled(stall: Stall, hypervolumes: &[f64]) -> Option<StopReason> {
    let evaluations = stall.evaluations.max(1);
    let later = hypervolumes.get(evaluations..)?;
    hypervolumes.iter().zip(later).find_map(|(before, after)| {
        // Before anything lies below the reference point there is nothing that growth could be
        // compared with, so the search has not stalled but not started.
        let gain = (after - before) / before;
        (*before > 0.0 && gain < stall.least_gain)
            .then_some(StopReason::Stalled { evaluations, gain })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: StopRules = StopRules {
        evaluations: Some(100),
        time: Some(Duration::from_secs(60)),
        stall: Some(Stall {
            evaluations: 2,
            least_gain: 0.01,
        }),
        within_limits: true,
    };

    fn progress(evaluations: u64, seconds: u64, hypervolumes: &[f64]) -> Progress<'_> {
        Progress {
            evaluations,
            elapsed: Duration::from_secs(seconds),
            exhausted: false,
            hypervolumes,
            within_limits: None,
        }
    }

    #[test]
    fn every_rule_stops_at_its_bound_and_not_before() {
        let exhausted = Progress {
            exhausted: true,
            ..progress(3, 1, &[])
        };
        let found = |evaluations| Progress {
            within_limits: Some(7),
            ..progress(evaluations, 1, &[])
        };
        let rows = [
            ("nothing reached", RULES, progress(99, 59, &[]), None),
            (
                "evaluations",
                RULES,
                progress(100, 59, &[]),
                Some(StopReason::Evaluations { budget: 100 }),
            ),
            (
                "time",
                RULES,
                progress(99, 60, &[]),
                Some(StopReason::Time {
                    budget: Duration::from_secs(60),
                }),
            ),
            (
                "evaluations before time",
                RULES,
                progress(100, 60, &[]),
                Some(StopReason::Evaluations { budget: 100 }),
            ),
            (
                "exhausted",
                StopRules::default(),
                exhausted,
                Some(StopReason::Exhausted),
            ),
            (
                "no rules",
                StopRules::default(),
                progress(u64::MAX, u64::MAX, &[1.0; 9]),
                None,
            ),
            (
                "too few to have stalled",
                RULES,
                progress(2, 0, &[1.0, 1.0]),
                None,
            ),
            (
                "stalled",
                RULES,
                progress(3, 0, &[2.0, 2.0, 2.01]),
                Some(StopReason::Stalled {
                    evaluations: 2,
                    gain: (2.01 - 2.0) / 2.0,
                }),
            ),
            (
                "stalled for a while",
                RULES,
                progress(4, 0, &[2.0, 2.0, 2.01, 3.0]),
                Some(StopReason::Stalled {
                    evaluations: 2,
                    gain: (2.01 - 2.0) / 2.0,
                }),
            ),
            (
                "what was wanted is found, before the budget",
                RULES,
                found(100),
                Some(StopReason::WithinLimits { candidate: 7 }),
            ),
            (
                "what was not asked for is found",
                StopRules::default(),
                found(100),
                None,
            ),
            ("growing", RULES, progress(3, 0, &[2.0, 2.0, 2.02]), None),
            ("not started", RULES, progress(3, 0, &[0.0, 0.0, 0.0]), None),
        ];
        let failures: Vec<_> = rows
            .iter()
            .filter_map(|(name, rules, progress, expected)| {
                let found = stop(rules, progress);
                (found != *expected).then_some((name, expected, found))
            })
            .collect();
        assert!(failures.is_empty(), "(row, expected, found): {failures:#?}");
    }

    #[test]
    fn reasons_read_as_sentences() {
        let stalled = StopReason::Stalled {
            evaluations: 50,
            gain: 0.00123,
        };
        assert_eq!(
            stalled.to_string(),
            "50 evaluations in a row grew the front by only 0.123 %"
        );
    }
}
