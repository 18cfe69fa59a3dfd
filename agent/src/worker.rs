//! The one thread that measures; nothing else runs on it.
//!
//! The thread owns the runtime from its first moment to its last, so a runtime need not be `Send`.
//! It takes one assignment after another from a channel and answers each once. It blocks: no async
//! runtime polls anything on it while a figure is taken.

use std::any::Any;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bitfront_model::{
    Answer, Assignment, ColdStart, Digest, Energy, Environment, Executed, Outcome, Precision,
    Probe, Product, Question, Sensitivity, Subject, Swap, TaskKind,
};
use bitfront_runtime::{Measured, Runtime, RuntimeError, RuntimeIdentity, Timed};
use tokio::sync::oneshot;

use crate::calm::{Around, Busy, Watch};
use crate::condition::Sensors;
use crate::pinning::{MEASURING_THREAD, Pinning};
use crate::weights::{self, WeightsError};
use crate::{AgentError, Config, CoreChoice};

/// What came out of one assignment, before the readings of the environment are added.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) outcome: Outcome,
    pub(crate) executed: Executed,
    pub(crate) imatrix_digest: Option<Digest>,
    pub(crate) duration: Duration,
    /// What the device was like around a timing.
    pub(crate) around: Option<Around>,
    pub(crate) cold: Option<ColdStart>,
    pub(crate) energy: Option<Energy>,
}

/// Why this device could not measure an assignment. Says nothing about the plan, so it is never
/// reported as a measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskFailure {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Busy(#[from] Busy),
    /// What stood in the way of timing any of several plans.
    #[error("{0}")]
    Together(String),
}

impl TaskFailure {
    /// The same for a plan that was to be timed together with the one at hand.
    fn for_another(&self) -> Self {
        match self {
            Self::Busy(busy) => Self::Busy(busy.clone()),
            failure => Self::Together(failure.to_string()),
        }
    }
}

/// What came of one assignment.
pub(crate) type Found = Result<Finding, TaskFailure>;

enum Job {
    Measure {
        /// One assignment, or several timings of one subject that are taken in turns.
        assignments: Vec<Assignment>,
        answer: oneshot::Sender<Vec<Found>>,
    },
    Answer {
        question: Question,
        answer: oneshot::Sender<Answered>,
    },
}

/// What came of a question, before the readings of the environment are added.
pub(crate) enum Told {
    Products(Vec<Product>),
    Swaps(Vec<Swap>),
}

impl Told {
    /// The answer, with what the device was like and how long it took.
    pub(crate) fn within(self, environment: Environment, duration_ns: u64) -> Answer {
        match self {
            Self::Products(products) => Answer::Probe(Probe {
                products,
                environment,
                duration_ns,
            }),
            Self::Swaps(swaps) => Answer::Sensitivity(Sensitivity {
                swaps,
                environment,
                duration_ns,
            }),
        }
    }
}

/// What came of a question, and how long it took.
pub(crate) type Answered = Result<(Told, Duration), TaskFailure>;

/// The handle on the measuring thread. Dropping it ends the thread after its current assignment.
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
    /// Taken once, to learn how the thread ended; a mutex only because a handle can be joined but
    /// once while the worker is shared.
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) identity: RuntimeIdentity,
    pub(crate) precisions: Vec<Precision>,
    /// Where the thread and its engine's are held to.
    pub(crate) pinning: Pinning,
}

impl Worker {
    /// Starts the thread, makes the runtime on it and holds both to cores.
    pub(crate) async fn start(
        runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError> + Send + 'static,
        config: &Config,
    ) -> Result<Self, AgentError> {
        let (cores, calm, root) = (
            config.cores.clone(),
            config.calm.clone(),
            config.root.clone(),
        );
        let (jobs, queue) = mpsc::channel();
        let (started, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(MEASURING_THREAD.to_owned())
            .spawn(move || {
                let made = start(runtime, &cores);
                // Where nobody waits any more the agent is already ending.
                match made {
                    Ok((mut runtime, facts)) => {
                        let (identity, _, pinning) = &facts;
                        let sensors = Sensors::new(&root, pinning, &identity.name);
                        let mut watch = Watch::new(sensors, pinning.clone(), calm);
                        if started.send(Ok(facts)).is_ok() {
                            serve(runtime.as_mut(), &mut watch, &queue);
                        }
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })
            .map_err(AgentError::Thread)?;
        let thread = Mutex::new(Some(thread));
        match ready.await {
            Ok(Ok((identity, precisions, pinning))) => Ok(Self {
                jobs,
                thread,
                identity,
                precisions,
                pinning,
            }),
            Ok(Err(error)) => Err(*error),
            Err(_) => Err(AgentError::WorkerEnded(last_words(&thread))),
        }
    }

    /// Measures an assignment with its companions, and answers in their order. Dropping the future
    /// does not stop the measurement, which no runtime could be interrupted in; its result is then
    /// discarded. The error is that the thread has ended.
    pub(crate) async fn measure(&self, assignments: Vec<Assignment>) -> Result<Vec<Found>, String> {
        let (answer, findings) = oneshot::channel();
        let ended = || last_words(&self.thread);
        let job = Job::Measure {
            assignments,
            answer,
        };
        self.jobs.send(job).map_err(|_| ended())?;
        findings.await.map_err(|_| ended())
    }

    /// Answers a question, as [`Self::measure`] measures. The error is that the thread has ended.
    pub(crate) async fn answer(&self, question: Question) -> Result<Answered, String> {
        let (answer, answered) = oneshot::channel();
        let ended = || last_words(&self.thread);
        let job = Job::Answer { question, answer };
        self.jobs.send(job).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.pinning.release();
    }
}

/// How the thread ended; called once its channels are closed, so that joining hardly waits.
fn last_words(thread: &Mutex<Option<JoinHandle<()>>>) -> String {
    let handle = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    match handle.map(JoinHandle::join) {
        Some(Err(panic)) => panic_message(panic.as_ref()),
        _ => "it stopped without a word".to_owned(),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked without a message").to_owned()
}

/// What the agent is told of a runtime, and where its threads are held.
type Facts = (RuntimeIdentity, Vec<Precision>, Pinning);

fn start(
    runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    cores: &CoreChoice,
) -> Result<(Box<dyn Runtime>, Facts), Box<AgentError>> {
    let runtime = runtime().map_err(AgentError::Runtime)?;
    let identity = runtime.identity();
    let pinning = Pinning::hold(cores, &identity).map_err(AgentError::Cores)?;
    let facts = (identity, runtime.precisions(), pinning);
    Ok((runtime, facts))
}

fn serve(runtime: &mut dyn Runtime, watch: &mut Watch, queue: &mpsc::Receiver<Job>) {
    let mut resolved = None;
    while let Ok(job) = queue.recv() {
        // An agent that was told to end no longer waits for the answer.
        match job {
            Job::Measure {
                assignments,
                answer,
            } => drop(answer.send(measure(runtime, watch, &mut resolved, &assignments))),
            Job::Answer { question, answer } => {
                let begun = Instant::now();
                let told = tell(runtime, &mut resolved, &question);
                drop(answer.send(told.map(|told| (told, begun.elapsed()))));
            }
        }
    }
}

fn tell(
    runtime: &mut dyn Runtime,
    resolved: &mut Option<(Subject, Subject)>,
    question: &Question,
) -> Result<Told, TaskFailure> {
    match question {
        Question::Probe(question) => Ok(Told::Products(runtime.probe(question)?)),
        Question::Sensitivity(question) => {
            open(runtime, resolved, &question.subject)?;
            let swaps = runtime.sensitivity(question, &mut |line| tracing::info!("{line}"));
            // As after a measurement that failed: the files are looked for anew.
            Ok(Told::Swaps(swaps.inspect_err(|_| *resolved = None)?))
        }
    }
}

/// `resolved` is the subject whose files were last found, as submitted: as long as it stays, they
/// are not looked for again.
fn measure(
    runtime: &mut dyn Runtime,
    watch: &mut Watch,
    resolved: &mut Option<(Subject, Subject)>,
    assignments: &[Assignment],
) -> Vec<Found> {
    let Some(first) = assignments.first() else {
        return Vec::new();
    };
    let begun = Instant::now();
    let measured = open(runtime, resolved, &first.subject).and_then(|()| match first.kind {
        TaskKind::Quality => Ok(assignments
            .iter()
            .map(|assignment| {
                let rival = assignment.rival.as_ref();
                let measured = runtime.quality(&assignment.plan, assignment.purpose, rival);
                finding(measured, begun.elapsed(), Outcome::Quality)
            })
            .collect()),
        TaskKind::Latency => time(runtime, watch, first, assignments).map(|(timed, around)| {
            // What the plans took together, since they took turns.
            let duration = begun.elapsed();
            timed
                .into_iter()
                .map(|timed| {
                    let (mut cold, mut energy) = (None, None);
                    let found = finding(timed, duration, |timing| {
                        (cold, energy) = (timing.cold, timing.energy);
                        let workloads = timing.latencies;
                        Outcome::Latency { workloads }
                    })?;
                    Ok(Finding {
                        around: Some(around.clone()),
                        cold,
                        energy,
                        ..found
                    })
                })
                .collect()
        }),
    });
    measured.unwrap_or_else(|failure| {
        // The next assignment looks for its files anew, whatever this failed by.
        *resolved = None;
        let others = assignments[1..]
            .iter()
            .map(|_| failure.for_another())
            .collect::<Vec<_>>();
        let failures = std::iter::once(failure).chain(others);
        failures.map(Err).collect()
    })
}

fn open(
    runtime: &mut dyn Runtime,
    resolved: &mut Option<(Subject, Subject)>,
    subject: &Subject,
) -> Result<(), TaskFailure> {
    let local = match resolved.take() {
        Some((submitted, local)) if submitted == *subject => local,
        _ => weights::resolve(subject)?,
    };
    runtime.open(&local, &mut |line| tracing::info!("{line}"))?;
    *resolved = Some((subject.clone(), local));
    Ok(())
}

fn time(
    runtime: &mut dyn Runtime,
    watch: &mut Watch,
    first: &Assignment,
    assignments: &[Assignment],
) -> Result<(Vec<Timed>, Around), TaskFailure> {
    let anchor = first.anchor.as_ref().ok_or(RuntimeError::NoAnchor)?;
    let plans: Vec<_> = assignments
        .iter()
        .map(|assignment| &assignment.plan)
        .collect();
    let begun = watch.begin(&mut std::thread::sleep)?;
    let timed = runtime.latency(anchor, &plans, &first.workloads, first.purpose)?;
    Ok((timed, watch.end(begun)))
}

/// A plan that cannot be executed is a finding; every other error says nothing about the plan.
fn finding<T>(
    measured: Result<Measured<T>, RuntimeError>,
    duration: Duration,
    outcome: impl FnOnce(T) -> Outcome,
) -> Found {
    match measured {
        Ok(measured) => Ok(Finding {
            outcome: outcome(measured.value),
            executed: measured.executed,
            imatrix_digest: measured.imatrix_digest,
            duration,
            around: None,
            cold: None,
            energy: None,
        }),
        Err(RuntimeError::Infeasible { reason }) => Ok(Finding {
            outcome: Outcome::Infeasible { reason },
            executed: Executed::new(),
            imatrix_digest: None,
            duration,
            around: None,
            cold: None,
            energy: None,
        }),
        Err(error) => Err(error.into()),
    }
}
