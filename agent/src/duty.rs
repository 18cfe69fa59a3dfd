//! The loop that leases, measures and reports.
//!
//! - [`with_files`]: measures once the files of the subject are here, and with others where they are
//!   not the right ones.

mod with_files;

use std::time::Duration;

use bitfront_model::{
    AnswerReport, Assignment, LeaseToken, QuestionAssignment, Registration, Report,
};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::AgentError;
use crate::backoff::Backoff;
use crate::client::{CallError, Leased, Registered, Release};
use crate::delivery::{self, Delivered, Delivery};
use crate::heartbeat::{self, Held};
use crate::spans::{self, Whose};
use crate::spool::{Finished, Unsent};
use crate::weights::Weights;
use crate::worker::{Crash, Facts, Failure, Worker};
use with_files::{Came, answered, measured};

/// All that the loop works with.
pub(crate) struct Duty {
    pub(crate) delivery: Delivery,
    pub(crate) registered: Registered,
    /// What is said of this device, again to a coordinator that forgot it.
    pub(crate) registration: Registration,
    pub(crate) worker: Worker,
    pub(crate) weights: Weights,
    /// Tells the heartbeats what to keep alive.
    pub(crate) held: watch::Sender<Option<Held>>,
    pub(crate) shutdown: CancellationToken,
}

/// How far the work on one task got; of several tasks the last one here counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    /// Measured, and the coordinator has said what became of it.
    Reported,
    /// Somebody else has it before it was measured.
    Lost,
    /// This device could not measure it, and gave it back.
    GivenBack,
    /// Shutdown came first.
    Stopped,
}

impl Done {
    /// As it is told of a span.
    fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Lost => "lost",
            Self::GivenBack => "given_back",
            Self::Stopped => "stopped",
        }
    }
}

/// What was leased.
enum Work {
    /// A task and its companions.
    Measure(Vec<Assignment>),
    Answer(QuestionAssignment),
}

impl Work {
    /// What is held, and how long without a heartbeat.
    fn leases(&self) -> (Vec<LeaseToken>, Duration) {
        match self {
            Self::Measure(assignments) => {
                let tokens = assignments.iter().map(|assignment| assignment.token);
                let lease = assignments.iter().map(|assignment| assignment.lease_time);
                (tokens.collect(), lease.min().unwrap_or_default())
            }
            Self::Answer(assignment) => (vec![assignment.token], assignment.lease_time),
        }
    }

    /// A span of each task.
    fn spans(&self, whose: Whose<'_>) -> Vec<Span> {
        match self {
            Self::Measure(assignments) => spans::tasks(whose, assignments),
            Self::Answer(assignment) => vec![spans::question(whose, assignment)],
        }
    }
}

/// Tells of each span how far its task got; the one that got the least far counts.
fn told(spans: Vec<Span>, done: Vec<Done>) -> Done {
    for (span, done) in spans.iter().zip(&done) {
        span.record("outcome", done.name());
    }
    done.into_iter().max().unwrap_or(Done::Reported)
}

/// What is said of a device.
pub(crate) fn registration(device: &str, facts: &Facts) -> Registration {
    Registration {
        device: device.to_owned(),
        hardware_profile: facts.hardware_profile.clone(),
        numerics_class: facts.numerics_class.clone(),
        precisions: facts.precisions.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        can_probe: true,
        can_score_swaps: true,
    }
}

impl Duty {
    /// Leases, measures and reports, one task with its companions at a time, until shutdown.
    pub(crate) async fn serve(mut self) -> Result<(), AgentError> {
        let pause = self.delivery.patience.failure_pause;
        let mut failures = Backoff::new(pause, pause.saturating_mul(30));
        let shutdown = self.shutdown.clone();
        loop {
            // Work is asked for where somebody is there to do it, so that others get it meanwhile.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                ready = self.worker.ready() => ready?,
            }
            let registration = registration(&self.registration.device, self.worker.facts());
            let is_another = registration != self.registration;
            self.registration = registration;
            let Some(work) = self.next_work(is_another).await? else {
                break;
            };
            let (tokens, lease) = work.leases();
            let lost = CancellationToken::new();
            self.held.send_replace(Some(Held {
                device: self.registered.device,
                tokens,
                period: heartbeat::period(self.registered.heartbeat, lease),
                lost: lost.clone(),
            }));
            let spans = work.spans(Whose {
                agent: &self.registration.device,
                device: self.registered.device,
            });
            let first = spans.first().cloned().unwrap_or_else(Span::none);
            let working = async {
                match work {
                    Work::Measure(assignments) => self.work(assignments, &spans, &lost).await,
                    Work::Answer(assignment) => vec![self.answer(assignment, &lost).await],
                }
            };
            let done = working.instrument(first).await;
            self.held.send_replace(None);
            let done = told(spans, done);
            match done {
                Done::Reported => failures.reset(),
                Done::Lost => {}
                Done::GivenBack => tokio::select! {
                    () = sleep(failures.pause()) => {}
                    () = self.shutdown.cancelled() => break,
                },
                Done::Stopped => break,
            }
        }
        Ok(())
    }

    /// The next task and its companions, or a question; none at shutdown. Registers first where
    /// asked to, waits for a coordinator
    /// that is away, and registers again with one that does not know this device.
    ///
    /// Also after a call that broke, since it may have handed out a task that nobody heard of:
    /// registering gives back whatever this device still holds, which at this point it does not
    /// know of, and the task need not wait for the end of its lease.
    async fn next_work(&mut self, register: bool) -> Result<Option<Work>, AgentError> {
        let mut backoff = self.delivery.backoff();
        let mut register = register;
        let shutdown = self.shutdown.clone();
        loop {
            let leased = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                leased = self.lease(register) => leased,
            };
            let error = match leased {
                Ok(Leased::Assignments(assignments)) => {
                    return Ok(Some(Work::Measure(assignments)));
                }
                Ok(Leased::Question(assignment)) => {
                    return Ok(Some(Work::Answer(assignment)));
                }
                Ok(Leased::NoTask) => {
                    register = false;
                    backoff.reset();
                    continue;
                }
                Ok(Leased::Malformed { token, reason }) => {
                    tracing::error!(
                        task = token.task,
                        epoch = token.epoch,
                        "a task that cannot be read: {reason}"
                    );
                    let release = Release::Failed(reason.clone());
                    self.delivery.release(token, release).await;
                    register = true;
                    reason
                }
                Err(CallError::Refused(reason)) => {
                    return Err(AgentError::Refused {
                        url: self.delivery.client.url().clone(),
                        what: "hand out tasks",
                        reason,
                    });
                }
                Err(
                    error @ (CallError::Away(_)
                    | CallError::Untrusted(_)
                    | CallError::Unknown(_)
                    | CallError::OtherDatabase(_)),
                ) => {
                    register = true;
                    error.to_string()
                }
            };
            let pause = backoff.pause();
            tracing::warn!("asking again in {pause:?}: {error}");
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(None),
            }
        }
    }

    /// Asks for a task, where needed after registering again.
    async fn lease(&mut self, register: bool) -> Result<Leased, CallError> {
        if register {
            let Delivery { client, spool, .. } = &mut self.delivery;
            delivery::flush(client, spool).await?;
            let registered = client.register(&self.registration, true).await?;
            if registered.database != self.registered.database {
                let url = client.url();
                tracing::warn!("{url} keeps its state in another database than before");
            }
            self.registered = registered;
            tracing::info!(device = self.registered.device, "registered again");
        }
        self.delivery.client.lease(self.registered.device).await
    }

    /// Measures a task and its companions; says how far each got.
    async fn work(
        &mut self,
        assignments: Vec<Assignment>,
        spans: &[Span],
        lost: &CancellationToken,
    ) -> Vec<Done> {
        for assignment in &assignments {
            tracing::info!(
                task = assignment.token.task,
                epoch = assignment.token.epoch,
                search = assignment.search,
                candidate = assignment.candidate,
                "measuring {}",
                assignment.kind
            );
        }
        let held: Vec<_> = assignments
            .iter()
            .map(|assignment| (assignment.token, assignment.plan.digest()))
            .collect();
        let tokens: Vec<_> = held.iter().map(|&(token, _)| token).collect();
        let found = tokio::select! {
            biased;
            found = measured(&mut self.weights, &mut self.worker, lost, assignments) => found,
            () = self.shutdown.cancelled() => {
                return vec![self.stop(&tokens).await; tokens.len()];
            }
        };
        let found = match found {
            Ok(Came::Of(found)) => found,
            Ok(Came::TooLate) => return vec![Done::Lost; tokens.len()],
            Err(crash) => return vec![self.crashed(&tokens, &crash).await; tokens.len()],
        };
        let reports: Vec<_> = held
            .into_iter()
            .zip(found)
            .map(|((token, plan_digest), found)| {
                let report = found.map(|measurement| {
                    self.unsent(Finished::Measurement(Box::new(Report {
                        token,
                        idempotency_key: Uuid::now_v7().to_string(),
                        plan_digest,
                        measurement,
                    })))
                });
                (token, report)
            })
            .collect();
        // All of them before the first is sent, which may take as long as the coordinator is away.
        for (_, report) in &reports {
            if let Ok(unsent) = report {
                self.delivery.spool.keep(unsent);
            }
        }
        let mut done = Vec::with_capacity(reports.len());
        for ((token, report), span) in reports.into_iter().zip(spans) {
            let ending = async {
                match report {
                    Ok(unsent) => self.hand_in(&unsent).await,
                    Err(failure) => self.give_back(token, failure).await,
                }
            };
            done.push(ending.instrument(span.clone()).await);
        }
        done
    }

    async fn answer(&mut self, assignment: QuestionAssignment, lost: &CancellationToken) -> Done {
        let QuestionAssignment {
            token, question, ..
        } = assignment;
        let (kind, question_digest) = (question.kind(), question.digest());
        tracing::info!(task = token.task, epoch = token.epoch, "measuring a {kind}");
        let answered = tokio::select! {
            biased;
            answered = answered(&mut self.weights, &mut self.worker, lost, question) => answered,
            () = self.shutdown.cancelled() => return self.stop(&[token]).await,
        };
        match answered {
            Ok(Came::TooLate) => Done::Lost,
            Ok(Came::Of(Ok(answer))) => {
                let unsent = self.unsent(Finished::Answer(Box::new(AnswerReport {
                    token,
                    idempotency_key: Uuid::now_v7().to_string(),
                    question_digest,
                    answer,
                })));
                self.delivery.spool.keep(&unsent);
                self.hand_in(&unsent).await
            }
            Ok(Came::Of(Err(failure))) => self.give_back(token, failure).await,
            Err(crash) => self.crashed(&[token], &crash).await,
        }
    }

    /// Gives back what is held, since the agent ends.
    async fn stop(&mut self, held: &[LeaseToken]) -> Done {
        for &token in held {
            self.delivery.release(token, Release::Stopping).await;
        }
        Done::Stopped
    }

    /// Gives back what was being measured when whoever measured it ended. Which of several it was
    /// is not known; they are handed out one by one from now on.
    async fn crashed(&mut self, held: &[LeaseToken], crash: &Crash) -> Done {
        for &token in held {
            tracing::error!(
                task = token.task,
                epoch = token.epoch,
                "a task goes back: {crash}"
            );
            let release = Release::Crashed(crash.to_string());
            self.delivery.release(token, release).await;
        }
        Done::GivenBack
    }

    fn unsent(&self, report: Finished) -> Unsent {
        Unsent {
            database: self.registered.database.clone(),
            report,
        }
    }

    /// Hands in a report that is kept already.
    async fn hand_in(&mut self, unsent: &Unsent) -> Done {
        let delivering = self.delivery.deliver(unsent);
        match delivering.instrument(spans::report()).await {
            Delivered::Acknowledged => Done::Reported,
            Delivered::Stopped => Done::Stopped,
            Delivered::Waiting => Done::GivenBack,
            Delivered::Refused(reason) => {
                let token = unsent.token();
                self.delivery.release(token, Release::Failed(reason)).await;
                Done::GivenBack
            }
        }
    }

    /// Gives back what could not be measured here.
    async fn give_back(&mut self, token: LeaseToken, failure: Failure) -> Done {
        let release = match failure {
            Failure::Busy(reason) => {
                tracing::warn!(
                    task = token.task,
                    epoch = token.epoch,
                    "the task goes back: {reason}"
                );
                Release::Busy(reason)
            }
            Failure::Failed(reason) | Failure::OtherFiles(reason) => {
                tracing::error!(
                    task = token.task,
                    epoch = token.epoch,
                    "this device cannot measure the task and gives it back: {reason}"
                );
                Release::Failed(reason)
            }
        };
        self.delivery.release(token, release).await;
        Done::GivenBack
    }
}
