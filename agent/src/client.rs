//! The connection to the coordinator, in words of `bitfront_model`. Wire types stop here.

mod blobs;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitfront_model::{
    AnswerReport, Assignment, LeaseToken, QuestionAssignment, Receipt, Registration, Report,
};
pub use bitfront_proto::access::Access;
use bitfront_proto::access::{AccessError, Connection};
use bitfront_proto::v1::agents_client::AgentsClient;
use bitfront_proto::v1::blobs_client::BlobsClient;
use bitfront_proto::{DATABASE_HEADER, MAX_MESSAGE_BYTES, v1};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Endpoint, Uri};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::Patience;

pub(crate) use blobs::Chunks;

/// Timings that are taken in turns with a first one. The more, the fewer turns the anchor takes for
/// each; but a search has few candidates under way, and whoever waits for one waits for all.
const MOST_COMPANIONS: u32 = 3;

/// What the coordinator answers to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) device: i64,
    /// The database that leases are of.
    pub(crate) database: String,
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
    /// Measuring it brought down whoever measured it, as this tells; the attempt counts, and few of
    /// these are enough.
    Crashed(String),
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
    /// One of the two does not trust the other, until somebody does something about it: the same
    /// call may succeed later.
    #[error("{0}")]
    Untrusted(String),
    /// The coordinator does not know what the call is about; for a lease or a heartbeat that is
    /// this device.
    #[error("the coordinator does not know it: {0}")]
    Unknown(String),
    /// The coordinator serves another database than the one that this device registered with.
    #[error("the coordinator serves another database: {0}")]
    OtherDatabase(String),
    /// The coordinator answers that the call is wrong; it will be wrong again.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let message = describe(&status);
        match status.code() {
            Code::NotFound | Code::FailedPrecondition => Self::Unknown(message),
            Code::Aborted => Self::OtherDatabase(message),
            Code::Unauthenticated | Code::PermissionDenied => Self::Untrusted(message),
            Code::InvalidArgument
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Unimplemented => Self::Refused(message),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
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

impl From<AccessError> for CallError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Away(reason) => Self::Away(reason),
            AccessError::Refused(reason) => Self::Untrusted(reason),
        }
    }
}

/// A handle on the connections, cheap to clone. Lost connections are made again with the next call.
///
/// Of several addresses one is talked to for as long as it answers; then the next one, by all
/// clones.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    addresses: Arc<[Address]>,
    shared: Arc<Shared>,
    /// Tells this agent from another of the same name.
    instance: String,
    /// The digest of the hardware profile that was registered; empty before.
    profile: String,
    call: Duration,
    lease: Duration,
}

#[derive(Debug)]
struct Address {
    url: Uri,
    agents: AgentsClient<Connection>,
    blobs: BlobsClient<Connection>,
}

/// What a database is called in a header, where that can be.
fn header(database: &str) -> Option<MetadataValue<Ascii>> {
    (!database.is_empty())
        .then(|| database.parse().ok())
        .flatten()
}

/// What all clones share.
#[derive(Debug)]
struct Shared {
    /// The address that is talked to.
    current: AtomicUsize,
    /// Sent with every call but a registration; none before the first one. Behind a std mutex, held
    /// for a look only.
    database: Mutex<Option<MetadataValue<Ascii>>>,
}

impl Client {
    /// Connects to one of several addresses. The others are connected to when they are needed.
    pub(crate) async fn connect(
        urls: &[Uri],
        first: usize,
        access: &Access,
        patience: &Patience,
    ) -> Result<Self, CallError> {
        let mut addresses = Vec::with_capacity(urls.len());
        for (index, url) in urls.iter().enumerate() {
            // The pings notice a coordinator whose machine vanished without closing the connection,
            // which would otherwise hold a long poll until its time is over.
            let endpoint = Endpoint::from(url.clone())
                .connect_timeout(patience.call)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(10));
            let channel = match index == first {
                true => access.connect(endpoint).await?,
                false => access.connect_lazy(endpoint)?,
            };
            addresses.push(Address {
                url: url.clone(),
                blobs: BlobsClient::new(channel.clone()),
                agents: AgentsClient::new(channel)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES),
            });
        }
        Ok(Self {
            addresses: addresses.into(),
            shared: Arc::new(Shared {
                current: AtomicUsize::new(first),
                database: Mutex::default(),
            }),
            instance: Uuid::now_v7().to_string(),
            profile: String::new(),
            call: patience.call,
            lease: patience.lease,
        })
    }

    /// The address that is talked to.
    pub(crate) fn url(&self) -> &Uri {
        let current = self.shared.current.load(Ordering::Relaxed);
        &self.addresses[current].url
    }

    /// Makes a call at the address that is talked to, and turns to the next one where it does not
    /// answer. The call is not made again: what else it takes to make it again its caller knows.
    async fn call<T, A, F>(
        &self,
        request: Request<T>,
        method: impl FnOnce(AgentsClient<Connection>, Request<T>) -> F,
    ) -> Result<A, CallError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let current = self.shared.current.load(Ordering::Relaxed);
        let address = &self.addresses[current];
        let answer = method(address.agents.clone(), request).await;
        let error = match answer {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => CallError::from(status),
        };
        match error {
            CallError::Away(reason) if self.addresses.len() > 1 => {
                let next = (current + 1) % self.addresses.len();
                let turned = self.shared.current.compare_exchange(
                    current,
                    next,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if turned.is_ok() {
                    tracing::warn!("turning to {}", self.addresses[next].url);
                }
                Err(CallError::Away(format!("{reason} (at {})", address.url)))
            }
            error => Err(error),
        }
    }

    /// A request that is about leases, which are those of one database.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.call);
        if let Some(database) = self.database().clone() {
            request.metadata_mut().insert(DATABASE_HEADER, database);
        }
        request
    }

    /// A request about a lease of a database, registered with or not.
    fn request_about<T>(&self, database: &str, message: T) -> Request<T> {
        let mut request = self.request(message);
        if let Some(database) = header(database) {
            request.metadata_mut().insert(DATABASE_HEADER, database);
        }
        request
    }

    fn database(&self) -> MutexGuard<'_, Option<MetadataValue<Ascii>>> {
        let database = self.shared.database.lock();
        database.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what this device is; `again` where the coordinator may have handed out a task whose
    /// answer was lost.
    pub(crate) async fn register(
        &mut self,
        registration: &Registration,
        again: bool,
    ) -> Result<Registered, CallError> {
        let mut request = Request::new(v1::RegisterRequest {
            instance: self.instance.clone(),
            again,
            ..registration.into()
        });
        request.set_timeout(self.call);
        self.profile = registration.hardware_profile.digest().to_string();
        let answer = self
            .call(request, |mut agents, request| async move {
                agents.register(request).await
            })
            .await?;
        let wrong = || {
            let told = &answer.database;
            CallError::Refused(format!(
                "it names its database `{told}`, so it is of an earlier version; replace the \
                 coordinator before its agents"
            ))
        };
        let database = header(&answer.database).ok_or_else(wrong)?;
        *self.database() = Some(database);
        Ok(Registered {
            device: answer.device_id,
            database: answer.database,
            heartbeat: Duration::from_millis(answer.heartbeat_ms),
        })
    }

    /// Waits for a task, at most as long as [`Patience::lease`].
    pub(crate) async fn lease(&mut self, device: i64) -> Result<Leased, CallError> {
        let mut request = self.request(v1::LeaseRequest {
            device_id: device,
            wait_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            hardware_profile_digest: self.profile.clone(),
            instance: self.instance.clone(),
            most_companions: MOST_COMPANIONS,
        });
        request.set_timeout(self.lease.saturating_add(self.call));
        let answer = self
            .call(request, |mut agents, request| async move {
                agents.lease(request).await
            })
            .await?;
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
        let answer = self
            .call(request, |mut agents, request| async move {
                agents.heartbeat(request).await
            })
            .await?;
        Ok(answer.lost.into_iter().map(Into::into).collect())
    }

    /// Hands in a measurement under a lease of a database.
    pub(crate) async fn report(
        &mut self,
        database: &str,
        report: &Report,
    ) -> Result<Receipt, CallError> {
        let request = self.request_about(database, v1::ReportRequest::from(report));
        let answer = self
            .call(request, |mut agents, request| async move {
                agents.report(request).await
            })
            .await?;
        Receipt::try_from(answer).map_err(|error| CallError::Refused(error.to_string()))
    }

    /// Hands in the answer to a question, as [`Self::report`] does a measurement.
    pub(crate) async fn report_answer(
        &mut self,
        database: &str,
        report: &AnswerReport,
    ) -> Result<Receipt, CallError> {
        let request = self.request_about(database, v1::ReportAnswerRequest::from(report));
        let answer = self
            .call(request, |mut agents, request| async move {
                agents.report_answer(request).await
            })
            .await?;
        Receipt::try_from(answer).map_err(|error| CallError::Refused(error.to_string()))
    }

    pub(crate) async fn release(
        &mut self,
        token: LeaseToken,
        release: &Release,
    ) -> Result<(), CallError> {
        let (failed, reason) = match release {
            Release::Failed(reason) | Release::Crashed(reason) => (true, reason.as_str()),
            Release::Busy(reason) => (false, reason.as_str()),
            Release::Stopping => (false, "the agent is shutting down"),
        };
        let request = self.request(v1::ReleaseRequest {
            token: Some(token.into()),
            reason: reason.to_owned(),
            failed,
            crashed: matches!(release, Release::Crashed(_)),
        });
        self.call(request, |mut agents, request| async move {
            agents.release(request).await
        })
        .await?;
        Ok(())
    }
}
