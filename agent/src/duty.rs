//! The loop that leases, measures and reports.

use std::time::Duration;

use bitfront_model::{
    AnswerReport, Assignment, Digest, Environment, Evidence, LeaseToken, Measurement,
    QuestionAssignment, Receipt, Registration, Report,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::client::{CallError, Client, Leased, Registered, Release};
use crate::environment::Readings;
use crate::heartbeat::{self, Held};
use crate::worker::{Found, TaskFailure, Worker};
use crate::{AgentError, Patience};

/// All that the loop works with.
pub(crate) struct Duty {
    pub(crate) client: Client,
    pub(crate) registered: Registered,
    /// What is said of this device, again to a coordinator that forgot it.
    pub(crate) registration: Registration,
    pub(crate) host: String,
    pub(crate) worker: Worker,
    /// Tells the heartbeats what to keep alive.
    pub(crate) held: watch::Sender<Option<Held>>,
    pub(crate) url: Uri,
    pub(crate) patience: Patience,
    pub(crate) shutdown: CancellationToken,
}

/// How far the work on one task got; of several tasks the last one here counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    /// Measured, and the coordinator has said what became of it.
    Reported,
    /// This device could not measure it, and gave it back.
    GivenBack,
    /// Shutdown came first.
    Stopped,
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
}

/// What is to be reported.
enum Finished<'a> {
    Measurement(&'a Report),
    Answer(&'a AnswerReport),
}

impl Finished<'_> {
    fn named(&self) -> (LeaseToken, String) {
        match self {
            Self::Measurement(report) => (report.token, report.idempotency_key.clone()),
            Self::Answer(report) => (report.token, report.idempotency_key.clone()),
        }
    }
}

impl Duty {
    /// Leases, measures and reports, one task with its companions at a time, until shutdown.
    pub(crate) async fn serve(mut self) -> Result<(), AgentError> {
        let pause = self.patience.failure_pause;
        let mut failures = Backoff::new(pause, pause.saturating_mul(30));
        while let Some(work) = self.next_work().await? {
            let (tokens, lease) = work.leases();
            self.held.send_replace(Some(Held {
                device: self.registered.device,
                tokens,
                period: heartbeat::period(self.registered.heartbeat, lease),
            }));
            let done = match work {
                Work::Measure(assignments) => self.work(assignments).await,
                Work::Answer(assignment) => self.answer(assignment).await,
            };
            self.held.send_replace(None);
            match done? {
                Done::Reported => failures.reset(),
                Done::GivenBack => tokio::select! {
                    () = sleep(failures.pause()) => {}
                    () = self.shutdown.cancelled() => break,
                },
                Done::Stopped => break,
            }
        }
        Ok(())
    }

    /// The next task and its companions, or a question; none at shutdown. Waits for a coordinator
    /// that is away, and registers again with one that does not know this device.
    ///
    /// Also after a call that broke, since it may have handed out a task that nobody heard of:
    /// registering gives back whatever this device still holds, which at this point it does not
    /// know of, and the task need not wait for the end of its lease.
    async fn next_work(&mut self) -> Result<Option<Work>, AgentError> {
        let mut backoff = self.backoff();
        let mut register = false;
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
                    tracing::error!(task = token.task, "a task that cannot be read: {reason}");
                    self.release(token, Release::Failed(reason.clone())).await;
                    register = true;
                    reason
                }
                Err(CallError::Refused(reason)) => {
                    return Err(AgentError::Refused {
                        url: self.url.clone(),
                        what: "hand out tasks",
                        reason,
                    });
                }
                Err(error @ (CallError::Away(_) | CallError::Unknown(_))) => {
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
            self.registered = self.client.register(&self.registration, true).await?;
            tracing::info!(id = self.registered.device, "registered again");
        }
        self.client.lease(self.registered.device).await
    }

    async fn work(&mut self, assignments: Vec<Assignment>) -> Result<Done, AgentError> {
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
        let readings = Readings::before();
        let found = tokio::select! {
            biased;
            found = self.worker.measure(assignments) => found,
            () = self.shutdown.cancelled() => {
                self.release_all(&held, &Release::Stopping).await;
                return Ok(Done::Stopped);
            }
        };
        let found = match found {
            Ok(found) => found,
            Err(reason) => {
                let told = format!("the measuring thread ended: {reason}");
                self.release_all(&held, &Release::Failed(told)).await;
                return Err(AgentError::WorkerEnded(reason));
            }
        };
        let environment = readings.finish(&self.host, &self.worker.pinning);
        let mut worst = Done::Reported;
        for ((token, plan_digest), found) in held.into_iter().zip(found) {
            let done = self.hand_in(token, plan_digest, found, &environment).await;
            worst = worst.max(done);
        }
        Ok(worst)
    }

    async fn answer(&mut self, assignment: QuestionAssignment) -> Result<Done, AgentError> {
        let QuestionAssignment {
            token, question, ..
        } = assignment;
        let (kind, question_digest) = (question.kind(), question.digest());
        tracing::info!(task = token.task, epoch = token.epoch, "measuring a {kind}");
        let readings = Readings::before();
        let answered = tokio::select! {
            biased;
            answered = self.worker.answer(question) => answered,
            () = self.shutdown.cancelled() => {
                self.release(token, Release::Stopping).await;
                return Ok(Done::Stopped);
            }
        };
        match answered {
            Ok(Ok((told, duration))) => {
                let environment = readings.finish(&self.host, &self.worker.pinning);
                let report = AnswerReport {
                    token,
                    idempotency_key: Uuid::now_v7().to_string(),
                    question_digest,
                    answer: told.within(environment, nanoseconds(duration)),
                };
                Ok(self.deliver(Finished::Answer(&report)).await)
            }
            Ok(Err(failure)) => {
                let reason = failure.to_string();
                tracing::error!(task = token.task, "the {kind} failed: {reason}");
                self.release(token, Release::Failed(reason)).await;
                Ok(Done::GivenBack)
            }
            Err(reason) => {
                let told = format!("the measuring thread ended: {reason}");
                self.release(token, Release::Failed(told)).await;
                Err(AgentError::WorkerEnded(reason))
            }
        }
    }

    /// Reports what came of one assignment, or gives it back.
    async fn hand_in(
        &mut self,
        token: LeaseToken,
        plan_digest: Digest,
        found: Found,
        environment: &Environment,
    ) -> Done {
        match found {
            Ok(finding) => {
                let environment = match finding.around {
                    Some(around) => around.add_to(environment.clone()),
                    None => environment.clone(),
                };
                let measurement = Measurement {
                    outcome: finding.outcome,
                    evidence: Evidence {
                        executed: finding.executed,
                        imatrix_digest: finding.imatrix_digest,
                        environment,
                        cold: finding.cold,
                        energy: finding.energy,
                        duration_ns: nanoseconds(finding.duration),
                    },
                };
                let report = Report {
                    token,
                    idempotency_key: Uuid::now_v7().to_string(),
                    plan_digest,
                    measurement,
                };
                self.deliver(Finished::Measurement(&report)).await
            }
            Err(TaskFailure::Busy(busy)) => {
                let reason = busy.to_string();
                tracing::warn!(task = token.task, "the task goes back: {reason}");
                self.release(token, Release::Busy(reason)).await;
                Done::GivenBack
            }
            Err(failure) => {
                let reason = failure.to_string();
                tracing::error!(
                    task = token.task,
                    "this device cannot measure the task and gives it back: {reason}"
                );
                self.release(token, Release::Failed(reason)).await;
                Done::GivenBack
            }
        }
    }

    async fn release_all(&mut self, held: &[(LeaseToken, Digest)], release: &Release) {
        for &(token, _) in held {
            self.release(token, release.clone()).await;
        }
    }

    /// Sends a report until the coordinator has said what becomes of it. The key stays the same,
    /// so it does not matter which of the calls were heard.
    async fn deliver(&mut self, finished: Finished<'_>) -> Done {
        let (token, key) = finished.named();
        let mut backoff = self.backoff();
        let grace = self.patience.shutdown;
        let shutdown = self.shutdown.clone();
        let too_late = async {
            shutdown.cancelled().await;
            sleep(grace).await;
        };
        tokio::pin!(too_late);
        loop {
            let answer = tokio::select! {
                biased;
                answer = self.send(&finished) => answer,
                () = &mut too_late => break,
            };
            match answer {
                Ok(receipt) => {
                    let receipt = match receipt {
                        Receipt::Recorded => "recorded",
                        Receipt::AlreadyReported => "already reported",
                        Receipt::KeptAsRepeat => "kept as a repeat",
                    };
                    tracing::info!(task = token.task, epoch = token.epoch, key, "{receipt}");
                    return Done::Reported;
                }
                Err(CallError::Away(reason)) => {
                    let pause = backoff.pause();
                    tracing::warn!(task = token.task, "reporting again in {pause:?}: {reason}");
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = &mut too_late => break,
                    }
                }
                Err(error @ (CallError::Unknown(_) | CallError::Refused(_))) => {
                    tracing::error!(
                        task = token.task,
                        "a measurement was turned away and is dropped: {error}"
                    );
                    self.release(token, Release::Failed(error.to_string()))
                        .await;
                    return Done::GivenBack;
                }
            }
        }
        tracing::error!(
            task = token.task,
            "the agent ends before the coordinator has acknowledged a measurement; the task will \
             be measured again"
        );
        Done::Stopped
    }

    async fn send(&mut self, finished: &Finished<'_>) -> Result<Receipt, CallError> {
        match finished {
            Finished::Measurement(report) => self.client.report(report).await,
            Finished::Answer(report) => self.client.report_answer(report).await,
        }
    }

    /// Gives a lease back, with a few attempts: where none is heard, the lease's end does the same
    /// later.
    async fn release(&mut self, token: LeaseToken, release: Release) {
        let mut backoff = self.backoff();
        let attempts = async {
            loop {
                match self.client.release(token, &release).await {
                    Ok(()) => return,
                    // The lease had ended already, which is what was wanted.
                    Err(CallError::Unknown(_) | CallError::Refused(_)) => return,
                    Err(CallError::Away(reason)) => {
                        tracing::warn!(task = token.task, "a lease is not given back: {reason}");
                        sleep(backoff.pause()).await;
                    }
                }
            }
        };
        if timeout(self.patience.shutdown, attempts).await.is_err() {
            tracing::warn!(task = token.task, "a lease is left to its end");
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.patience.first_retry, self.patience.last_retry)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
