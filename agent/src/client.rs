//! The connection to the coordinator, in words of `bitfront_model`. Wire types stop here.

use std::time::Duration;

use bitfront_model::{
    AnswerReport, Assignment, LeaseToken, QuestionAssignment, Receipt, Registration, Report,
};
use bitfront_proto::v1::agents_client::AgentsClient;
use bitfront_proto::{MAX_MESSAGE_BYTES, v1};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::Patience;

/// Timings that are taken in turns with a first one. The more, the fewer turns the anchor takes for
/// each; but a search has few candidates under way, and whoever waits for one waits for all.
const MOST_COMPANIONS: u32 = 3;

/// What the coordinator answers to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) device: i64,
    /// Time between heartbeats.
    pub(crate) heartbeat: Duration,
}

/// What came of waiting for a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Leased {
    /// A task, and its companions after it.
    Assignments(Vec<Assignment>),
    /// Products to time, or swaps to score.
    Question(QuestionAssignment),
    NoTask,
    /// A task was handed out that this version does not understand.
    Malformed {
        token: LeaseToken,
        reason: String,
    },
}

/// Why a lease is given back unmeasured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Release {
    /// This device could not measure the task, for this reason; the attempt counts.
    Failed(String),
    /// This device is busy with something else, as this tells; the attempt is forgotten.
    Busy(String),
    /// The agent ends; the attempt is forgotten.
    Stopping,
}

/// Why a call came to nothing, as far as it matters for what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The coordinator is away or cannot answer now: the same call may succeed later.
    #[error("the coordinator does not answer: {0}")]
    Away(String),
    /// The coordinator does not know what the call is about; for a lease or a heartbeat that is
    /// this device.
    #[error("the coordinator does not know it: {0}")]
    Unknown(String),
    /// The coordinator answers that the call is wrong; it will be wrong again.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let message = describe(&status);
        match status.code() {
            Code::NotFound | Code::FailedPrecondition => Self::Unknown(message),
            Code::InvalidArgument
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::Refused(message),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::DataLoss
            | Code::Unavailable => Self::Away(message),
        }
    }
}

/// The message of a status, or its code's where it brings none.
fn describe(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// The whole chain of causes: the transport's own errors say only `transport error`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// A handle on the connection, cheap to clone. Lost connections are made again with the next call.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agents: AgentsClient<Channel>,
    /// Tells this agent from another of the same name.
    instance: String,
    /// The digest of the hardware profile that was registered; empty before.
    profile: String,
    call: Duration,
    lease: Duration,
}

impl Client {
    /// Connects once; the error says what the transport met.
    pub(crate) async fn connect(url: &Uri, patience: &Patience) -> Result<Self, String> {
        // The pings notice a coordinator whose machine vanished without closing the connection,
        // which would otherwise hold a long poll until its time is over.
        let channel = Endpoint::from(url.clone())
            .connect_timeout(patience.call)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(|error| chain(&error))?;
        Ok(Self {
            agents: AgentsClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            instance: Uuid::now_v7().to_string(),
            profile: String::new(),
            call: patience.call,
            lease: patience.lease,
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.call);
        request
    }

    /// Says what this device is; `again` where the coordinator may have handed out a task whose
    /// answer was lost.
    pub(crate) async fn register(
        &mut self,
        registration: &Registration,
        again: bool,
    ) -> Result<Registered, CallError> {
        let request = self.request(v1::RegisterRequest {
            instance: self.instance.clone(),
            again,
            ..registration.into()
        });
        self.profile = registration.hardware_profile.digest().to_string();
        let answer = self.agents.register(request).await?.into_inner();
        Ok(Registered {
            device: answer.device_id,
            heartbeat: Duration::from_millis(answer.heartbeat_ms),
        })
    }

    /// Waits for a task, at most as long as [`Patience::lease`].
    pub(crate) async fn lease(&mut self, device: i64) -> Result<Leased, CallError> {
        let mut request = Request::new(v1::LeaseRequest {
            device_id: device,
            wait_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            hardware_profile_digest: self.profile.clone(),
            instance: self.instance.clone(),
            most_companions: MOST_COMPANIONS,
        });
        request.set_timeout(self.lease.saturating_add(self.call));
        let answer = self.agents.lease(request).await?.into_inner();
        if let Some(wire) = answer.question {
            let token = wire.token.unwrap_or_default().into();
            return Ok(match QuestionAssignment::try_from(wire) {
                Ok(question) => Leased::Question(question),
                Err(error) => Leased::Malformed {
                    token,
                    reason: error.to_string(),
                },
            });
        }
        let mut assignments = Vec::new();
        for wire in answer.assignment.into_iter().chain(answer.companions) {
            let token = wire.token;
            match (Assignment::try_from(wire), token) {
                (Ok(assignment), _) => assignments.push(assignment),
                // What came with it is given back too, when this device registers again.
                (Err(error), Some(token)) => {
                    return Ok(Leased::Malformed {
                        token: token.into(),
                        reason: error.to_string(),
                    });
                }
                (Err(error), None) => return Err(CallError::Refused(error.to_string())),
            }
        }
        Ok(match assignments.is_empty() {
            true => Leased::NoTask,
            false => Leased::Assignments(assignments),
        })
    }

    /// Keeps leases alive; answers with those that are no longer held.
    pub(crate) async fn heartbeat(
        &mut self,
        device: i64,
        held: &[LeaseToken],
    ) -> Result<Vec<LeaseToken>, CallError> {
        let request = self.request(v1::HeartbeatRequest {
            device_id: device,
            held: held.iter().copied().map(Into::into).collect(),
        });
        let answer = self.agents.heartbeat(request).await?.into_inner();
        Ok(answer.lost.into_iter().map(Into::into).collect())
    }

    pub(crate) async fn report(&mut self, report: &Report) -> Result<Receipt, CallError> {
        let request = self.request(v1::ReportRequest::from(report));
        let answer = self.agents.report(request).await?.into_inner();
        Receipt::try_from(answer).map_err(|error| CallError::Refused(error.to_string()))
    }

    pub(crate) async fn report_answer(
        &mut self,
        report: &AnswerReport,
    ) -> Result<Receipt, CallError> {
        let request = self.request(v1::ReportAnswerRequest::from(report));
        let answer = self.agents.report_answer(request).await?.into_inner();
        Receipt::try_from(answer).map_err(|error| CallError::Refused(error.to_string()))
    }

    pub(crate) async fn release(
        &mut self,
        token: LeaseToken,
        release: &Release,
    ) -> Result<(), CallError> {
        let (failed, reason) = match release {
            Release::Failed(reason) => (true, reason.as_str()),
            Release::Busy(reason) => (false, reason.as_str()),
            Release::Stopping => (false, "the agent is shutting down"),
        };
        let request = self.request(v1::ReleaseRequest {
            token: Some(token.into()),
            reason: reason.to_owned(),
            failed,
            crashed: false,
        });
        self.agents.release(request).await?;
        Ok(())
    }
}
