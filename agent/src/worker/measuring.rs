//! What the measuring thread does, wherever it runs: in the agent's process or in one of its own.
//!
//! It owns the runtime from its first moment to its last, so a runtime need not be `Send`. It
//! blocks: no async runtime polls anything on it while a figure is taken.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bitfront_model::{
    Answer, Assignment, Environment, Evidence, Executed, Measurement, Outcome, Probe, Question,
    Sensitivity, TaskKind,
};
use bitfront_runtime::{Measured, Runtime, RuntimeError, Timed};
use serde::{Deserialize, Serialize};

use super::{Answered, Facts, Failure, Found};
use crate::calm::{Around, Busy, Watch};
use crate::condition::Sensors;
use crate::environment::Readings;
use crate::pinning::Pinning;
use crate::{AgentError, Calm, Config, CoreChoice, hardware};

/// How a device measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    cores: CoreChoice,
    calm: Calm,
    root: PathBuf,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            cores: config.cores.clone(),
            calm: config.calm.clone(),
            root: config.root.clone(),
        }
    }
}

/// Hears what is about to be done, in lines for people; never while a figure is taken.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(&str);

/// What the measuring thread holds.
pub(crate) struct Measuring {
    runtime: Box<dyn Runtime>,
    watch: Watch,
    host: String,
    pinning: Pinning,
}

/// Why an assignment could not be measured.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Busy(busy) => Self::Busy(busy.to_string()),
            Problem::Runtime(error) if error.is_about_files() => {
                Self::OtherFiles(error.to_string())
            }
            Problem::Runtime(error) => Self::Failed(error.to_string()),
        }
    }
}

impl Measuring {
    /// Makes the runtime on the calling thread and holds both to cores.
    pub(crate) fn start(
        runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
        settings: &Settings,
    ) -> Result<(Self, Facts), Box<AgentError>> {
        // Asked first: afterwards this thread has no more than the cores that measure.
        let cores = hardware::cores();
        let runtime = runtime().map_err(AgentError::Runtime)?;
        let identity = runtime.identity();
        let pinning = Pinning::hold(&settings.cores, &identity).map_err(AgentError::Cores)?;
        let facts = Facts {
            hardware_profile: hardware::profile(&identity, cores, pinning.placement()),
            numerics_class: identity.numerics_class.clone(),
            precisions: runtime.precisions(),
            pinning: pinning.clone(),
        };
        let sensors = Sensors::new(&settings.root, &pinning, &identity.name);
        let measuring = Self {
            runtime,
            watch: Watch::new(sensors, pinning.clone(), settings.calm.clone()),
            host: hardware::host_name(),
            pinning,
        };
        Ok((measuring, facts))
    }

    /// Measures one assignment, or several timings of one subject in turns; answers in their order.
    pub(crate) fn measure(
        &mut self,
        assignments: &[Assignment],
        progress: Progress<'_>,
    ) -> Vec<Found> {
        let readings = Readings::before();
        let measured = self.measure_together(assignments, progress);
        let environment = readings.finish(&self.host, &self.pinning);
        match measured {
            Ok(measured) => measured
                .into_iter()
                .map(|one| Ok(one?.within(environment.clone())))
                .collect(),
            Err(problem) => vec![Err(problem.into()); assignments.len()],
        }
    }

    fn measure_together(
        &mut self,
        assignments: &[Assignment],
        progress: Progress<'_>,
    ) -> Result<Vec<Result<Taken, Failure>>, Problem> {
        let Some(first) = assignments.first() else {
            return Ok(Vec::new());
        };
        let begun = Instant::now();
        self.runtime.open(&first.subject, progress)?;
        match first.kind {
            TaskKind::Quality => Ok(assignments
                .iter()
                .map(|assignment| {
                    let rival = assignment.rival.as_ref();
                    let measured =
                        (self.runtime).quality(&assignment.plan, assignment.purpose, rival);
                    taken(measured, begun.elapsed(), |value, taken| {
                        taken.outcome = Outcome::Quality(value);
                    })
                })
                .collect()),
            TaskKind::Latency => {
                let (timed, around) = self.time(first, assignments)?;
                // What the plans took together, since they took turns.
                let duration = begun.elapsed();
                let one = |timed: Timed| {
                    taken(timed, duration, |timing, taken| {
                        taken.outcome = Outcome::Latency {
                            workloads: timing.latencies,
                        };
                        taken.evidence.cold = timing.cold;
                        taken.evidence.energy = timing.energy;
                    })
                    .map(|taken| Taken {
                        around: Some(around.clone()),
                        ..taken
                    })
                };
                Ok(timed.into_iter().map(one).collect())
            }
        }
    }

    /// Answers a question.
    pub(crate) fn answer(&mut self, question: &Question, progress: Progress<'_>) -> Answered {
        let readings = Readings::before();
        let begun = Instant::now();
        Ok(match question {
            Question::Probe(question) => {
                let products = self.runtime.probe(question).map_err(Problem::from)?;
                Answer::Probe(Probe {
                    products,
                    environment: readings.finish(&self.host, &self.pinning),
                    duration_ns: nanoseconds(begun.elapsed()),
                })
            }
            Question::Sensitivity(question) => {
                let opened = self.runtime.open(&question.subject, progress);
                opened.map_err(Problem::from)?;
                let swaps = self.runtime.sensitivity(question, progress);
                Answer::Sensitivity(Sensitivity {
                    swaps: swaps.map_err(Problem::from)?,
                    environment: readings.finish(&self.host, &self.pinning),
                    duration_ns: nanoseconds(begun.elapsed()),
                })
            }
        })
    }

    fn time(
        &mut self,
        first: &Assignment,
        assignments: &[Assignment],
    ) -> Result<(Vec<Timed>, Around), Problem> {
        let anchor = first.anchor.as_ref().ok_or(RuntimeError::NoAnchor)?;
        let plans: Vec<_> = assignments
            .iter()
            .map(|assignment| &assignment.plan)
            .collect();
        let begun = self.watch.begin(&mut std::thread::sleep)?;
        let timed = self
            .runtime
            .latency(anchor, &plans, &first.workloads, first.purpose)?;
        Ok((timed, self.watch.end(begun)))
    }
}

/// What came out of one assignment, before the readings of the environment are added.
struct Taken {
    outcome: Outcome,
    evidence: Evidence,
    /// What the device was like around a timing.
    around: Option<Around>,
}

impl Taken {
    fn within(self, environment: Environment) -> Measurement {
        let environment = match self.around {
            Some(around) => around.add_to(environment),
            None => environment,
        };
        Measurement {
            outcome: self.outcome,
            evidence: Evidence {
                environment,
                ..self.evidence
            },
        }
    }
}

/// A plan that cannot be executed is a finding; every other error says nothing about the plan.
fn taken<T>(
    measured: Result<Measured<T>, RuntimeError>,
    duration: Duration,
    fill: impl FnOnce(T, &mut Taken),
) -> Result<Taken, Failure> {
    let bare = |executed: Executed, outcome| Taken {
        outcome,
        evidence: Evidence {
            executed,
            imatrix_digest: None,
            environment: Environment::default(),
            cold: None,
            energy: None,
            duration_ns: nanoseconds(duration),
        },
        around: None,
    };
    match measured {
        Ok(measured) => {
            let nothing = Outcome::Infeasible {
                reason: String::new(),
            };
            let mut taken = bare(measured.executed, nothing);
            taken.evidence.imatrix_digest = measured.imatrix_digest;
            fill(measured.value, &mut taken);
            Ok(taken)
        }
        Err(RuntimeError::Infeasible { reason }) => {
            Ok(bare(Executed::new(), Outcome::Infeasible { reason }))
        }
        Err(error) => Err(Problem::Runtime(error).into()),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
