//! How long a step may take, by how long such steps took.

use std::collections::HashMap;
use std::time::Duration;

use bitfront_model::{Assignment, Outcome, TaskKind, TaskPurpose};

use super::Found;

/// A step that takes so many times as long as any before it has come to a stop. Plans of one search
/// differ by a small factor, but the first one in a precision quantizes every layer, and whoever
/// else uses the machine makes all of it slower.
const TIMES: u32 = 20;

/// What any step may take: where steps are short, so is what is lost by waiting.
const LEAST: Duration = Duration::from_secs(600);

/// Tasks that take about as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Alike {
    search: i64,
    kind: TaskKind,
    purpose: TaskPurpose,
}

/// One or several tasks that are measured in turns, which are alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    alike: Alike,
    tasks: u32,
}

impl Step {
    /// Of no tasks there is none.
    pub(super) fn of(assignments: &[Assignment]) -> Option<Self> {
        let first = assignments.first()?;
        Some(Self {
            alike: Alike {
                search: first.search,
                kind: first.kind,
                purpose: first.purpose,
            },
            tasks: u32::try_from(assignments.len()).ok()?,
        })
    }
}

/// How long tasks took at most. Of the worker that runs: one that is started anew prepares
/// everything once more, so nothing is known of it.
#[derive(Debug, Default)]
pub(super) struct Expected {
    longest: HashMap<Alike, Duration>,
}

impl Expected {
    /// How long a step may take, where none may take longer than `most`.
    pub(super) fn limit(&self, step: Step, most: Duration) -> Duration {
        self.longest.get(&step.alike).map_or(most, |longest| {
            let times = TIMES.saturating_mul(step.tasks);
            longest.saturating_mul(times).max(LEAST).min(most)
        })
    }

    /// Learns how long a step took.
    pub(super) fn learn(&mut self, step: Step, took: Duration) {
        let longest = self.longest.entry(step.alike).or_default();
        *longest = (*longest).max(took / step.tasks);
    }

    /// Another worker runs.
    pub(super) fn forget(&mut self) {
        self.longest.clear();
    }
}

/// Whether every task was measured to its end, so that another one takes about as long.
pub(super) fn is_whole(found: &[Found]) -> bool {
    found.iter().all(|found| match found {
        Ok(measurement) => match &measurement.outcome {
            Outcome::Quality(quality) => quality.stopped.is_none(),
            Outcome::Latency { .. } => true,
            Outcome::Infeasible { .. } => false,
        },
        Err(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use bitfront_model::{Environment, Evidence, Measurement, Quality, Stopped};

    use super::super::Failure;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn step(kind: TaskKind, tasks: u32) -> Step {
        let alike = Alike {
            search: 1,
            kind,
            purpose: TaskPurpose::Search,
        };
        Step { alike, tasks }
    }

    #[test]
    fn a_step_may_take_twenty_times_the_longest_like_it() {
        let (quality, latency) = (step(TaskKind::Quality, 1), step(TaskKind::Latency, 1));
        let mut expected = Expected::default();
        assert_eq!(expected.limit(quality, HOUR), HOUR, "nothing is known");
        expected.learn(quality, Duration::from_secs(90));
        expected.learn(quality, Duration::from_secs(40));
        assert_eq!(expected.limit(quality, HOUR), Duration::from_secs(1800));
        assert_eq!(expected.limit(latency, HOUR), HOUR, "of another kind");
        let minute = Duration::from_secs(60);
        assert_eq!(
            expected.limit(quality, minute),
            minute,
            "no more than may be"
        );
        // Of four in turns each took a quarter.
        expected.learn(step(TaskKind::Latency, 4), Duration::from_secs(160));
        assert_eq!(expected.limit(latency, HOUR), Duration::from_secs(800));
        let two = step(TaskKind::Latency, 2);
        assert_eq!(expected.limit(two, HOUR), Duration::from_secs(1600));
        expected.forget();
        assert_eq!(expected.limit(quality, HOUR), HOUR);
    }

    #[test]
    fn where_steps_are_short_one_may_still_take_ten_minutes() {
        let mut expected = Expected::default();
        let quality = step(TaskKind::Quality, 1);
        expected.learn(quality, Duration::from_millis(5));
        assert_eq!(expected.limit(quality, HOUR), Duration::from_secs(600));
    }

    /// What says nothing about the next one: a plan that was given up after some of its windows, one
    /// that does not run, a task that failed.
    #[test]
    fn only_what_was_measured_to_its_end_says_how_long_others_take() {
        let found = |outcome| {
            Ok(Measurement {
                outcome,
                evidence: Evidence {
                    executed: Vec::new(),
                    imatrix_digest: None,
                    environment: Environment::default(),
                    cold: None,
                    energy: None,
                    duration_ns: 1,
                },
            })
        };
        let quality = |stopped| {
            found(Outcome::Quality(Quality {
                kld: 0.1,
                kld_standard_error: 0.01,
                kld_windows: vec![0.1; 4],
                perplexity: 2.0,
                reference_perplexity: 2.0,
                same_top_rate: 1.0,
                same_top_windows: Vec::new(),
                positions: 4,
                stopped,
                rescored: Vec::new(),
            }))
        };
        let whole = || quality(None);
        let given_up = quality(Some(Stopped {
            windows: 16,
            behind: 3,
        }));
        let workloads = Vec::new();
        let reason = "no room".to_owned();
        let rows = [
            (whole(), true),
            (found(Outcome::Latency { workloads }), true),
            (given_up, false),
            (found(Outcome::Infeasible { reason }), false),
            (Err(Failure::Failed("lost".to_owned())), false),
        ];
        for (one, expected) in rows {
            let described = format!("{one:?}");
            assert_eq!(is_whole(&[whole(), one]), expected, "{described}");
        }
    }
}
