//! The measuring thread in the agent's own process. It takes one assignment after another from a
//! channel and answers each once.

use std::any::Any;
use std::sync::mpsc;
use std::thread::JoinHandle;

use bitfront_model::{Assignment, Question};
use bitfront_runtime::{Runtime, RuntimeError};
use tokio::sync::oneshot;

use super::measuring::{Measuring, Settings};
use super::{Answered, Crash, Facts, Found, tell};
use crate::AgentError;
use crate::pinning::MEASURING_THREAD;

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

/// The handle on the measuring thread. Dropping it ends the thread after its current assignment.
pub(crate) struct Thread {
    jobs: mpsc::Sender<Job>,
    /// Taken once, to learn how the thread ended.
    thread: Option<JoinHandle<()>>,
    /// How it ended, once it has.
    crash: Option<Crash>,
    pub(super) facts: Facts,
}

impl Thread {
    /// Starts the thread, makes the runtime on it and holds both to cores.
    pub(crate) async fn start(
        runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError> + Send + 'static,
        settings: Settings,
    ) -> Result<Self, AgentError> {
        let (jobs, queue) = mpsc::channel();
        let (started, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(MEASURING_THREAD.to_owned())
            .spawn(move || {
                // Where nobody waits any more the agent is already ending.
                match Measuring::start(runtime, &settings) {
                    Ok((measuring, facts)) => {
                        if started.send(Ok(facts)).is_ok() {
                            serve(measuring, &queue);
                        }
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })
            .map_err(AgentError::Thread)?;
        match ready.await {
            Ok(Ok(facts)) => Ok(Self {
                jobs,
                thread: Some(thread),
                crash: None,
                facts,
            }),
            Ok(Err(error)) => Err(*error),
            Err(_) => Err(AgentError::WorkerEnded(last_words(Some(thread)))),
        }
    }

    /// How the thread ended, where it has.
    pub(super) fn crash(&self) -> Option<&Crash> {
        self.crash.as_ref()
    }

    pub(super) async fn measure(
        &mut self,
        assignments: Vec<Assignment>,
    ) -> Result<Vec<Found>, Crash> {
        let (answer, found) = oneshot::channel();
        let job = Job::Measure {
            assignments,
            answer,
        };
        self.ask(job, found).await
    }

    pub(super) async fn answer(&mut self, question: Question) -> Result<Answered, Crash> {
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Answer { question, answer }, answered).await
    }

    async fn ask<T>(&mut self, job: Job, answer: oneshot::Receiver<T>) -> Result<T, Crash> {
        if self.jobs.send(job).is_ok()
            && let Ok(answer) = answer.await
        {
            return Ok(answer);
        }
        // Its channels are closed, so that joining it hardly waits.
        let reason = last_words(self.thread.take());
        let crash = self.crash.get_or_insert(Crash(reason)).clone();
        Err(Crash(format!("the measuring thread ended: {crash}")))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.facts.pinning.release();
    }
}

fn serve(mut measuring: Measuring, queue: &mpsc::Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        // An agent that was told to end no longer waits for the answer.
        match job {
            Job::Measure {
                assignments,
                answer,
            } => drop(answer.send(measuring.measure(&assignments, &mut tell))),
            Job::Answer { question, answer } => {
                drop(answer.send(measuring.answer(&question, &mut tell)));
            }
        }
    }
}

/// How the thread ended.
fn last_words(thread: Option<JoinHandle<()>>) -> String {
    match thread.map(JoinHandle::join) {
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
