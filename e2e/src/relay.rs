//! Stands between agents and coordinator, remembers what was acknowledged and loses answers on
//! purpose.
//!
//! Agents reach it at an address that stays, whatever becomes of the coordinator behind it. What
//! the coordinator answered to a report was committed before the answer went out, so what is
//! remembered here as acknowledged must be in the store for ever, whether the agent heard of it or
//! not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitfront_model::{Assignment, LeaseToken, Receipt, Report};
use bitfront_proto::v1::agents_client::AgentsClient;
use bitfront_proto::v1::agents_server::{Agents, AgentsServer};
use bitfront_proto::{MAX_MESSAGE_BYTES, v1};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every hand-out, in order.
    pub handed_out: Vec<Assignment>,
    /// Every report that an agent sent, also those that no coordinator heard.
    pub sent: Vec<Report>,
    /// Every report that the coordinator acknowledged, with its receipt, in order.
    pub acknowledged: Vec<(Report, Receipt)>,
    /// Answers to reports that were kept from the agent.
    pub lost_answers: usize,
    /// Leases that were given back as failed, with the reason.
    pub failed: Vec<(LeaseToken, String)>,
    /// Leases that were given back for another reason.
    pub given_back: Vec<(LeaseToken, String)>,
}

impl Seen {
    /// What several relays saw, each in its own order.
    pub fn of_all(relays: &[&Relay]) -> Self {
        let mut all = Self::default();
        for relay in relays {
            relay.seen(|seen| {
                all.handed_out.extend(seen.handed_out.iter().cloned());
                all.sent.extend(seen.sent.iter().cloned());
                all.acknowledged.extend(seen.acknowledged.iter().cloned());
                all.lost_answers += seen.lost_answers;
                all.failed.extend(seen.failed.iter().cloned());
            });
        }
        // Hand-outs of one task have epochs, which are their order whoever made them.
        all.handed_out
            .sort_by_key(|it| (it.token.task, it.token.epoch));
        all
    }
}

#[derive(Clone)]
struct Service {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    upstream: String,
    /// One in so many answers to reports is lost; none where zero.
    lose_one_in: usize,
    dice: fastrand::Rng,
    /// Until when nothing passes.
    cut_until: Option<Instant>,
    seen: Seen,
}

impl Inner {
    /// Refuses while the connection is cut.
    fn pass(&self) -> Result<(), Status> {
        match self.cut_until {
            Some(until) if Instant::now() < until => {
                Err(Status::unavailable("the relay is cut off"))
            }
            _ => Ok(()),
        }
    }

    /// Throws the dice for an answer to a report.
    fn lose(&mut self) -> Result<(), Status> {
        self.pass()?;
        if self.lose_one_in > 0 && self.dice.usize(..self.lose_one_in) == 0 {
            self.seen.lost_answers += 1;
            return Err(Status::unavailable("the relay lost the answer"));
        }
        Ok(())
    }
}

/// A running relay.
pub struct Relay {
    service: Service,
    address: SocketAddr,
}

impl Relay {
    /// Starts a relay to nobody yet, which loses one answer to a report in `lose_one_in`.
    pub async fn start(seed: u64, lose_one_in: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service {
            inner: Arc::new(Mutex::new(Inner {
                upstream: String::new(),
                lose_one_in,
                dice: fastrand::Rng::with_seed(seed),
                cut_until: None,
                seen: Seen::default(),
            })),
        };
        let server = AgentsServer::new(service.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        Self { service, address }
    }

    /// Where agents reach it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends everything to this coordinator from now on.
    pub fn point_to(&self, url: &str) {
        self.service.lock().upstream = url.to_owned();
    }

    /// Lets nothing pass for that long: no call gets to the coordinator, and no answer of one that
    /// did gets back.
    pub fn cut_for(&self, time: Duration) {
        self.service.lock().cut_until = Some(Instant::now() + time);
    }

    /// Looks at what was seen.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.service.lock().seen)
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn upstream(&self) -> Result<AgentsClient<Channel>, Status> {
        let url = {
            let inner = self.lock();
            inner.pass()?;
            inner.upstream.clone()
        };
        let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let channel = Endpoint::from_shared(url)
            .map_err(unavailable)?
            .connect()
            .await
            .map_err(unavailable)?;
        Ok(AgentsClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

/// The coordinator's own statuses pass; those of a broken connection become what an agent would
/// have met itself.
fn passed_on(status: Status) -> Status {
    match status.code() {
        tonic::Code::Unknown | tonic::Code::Cancelled => Status::unavailable(status.message()),
        _ => status,
    }
}

#[tonic::async_trait]
impl Agents for Service {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let mut upstream = self.upstream().await?;
        upstream
            .register(request.into_inner())
            .await
            .map_err(passed_on)
    }

    async fn lease(
        &self,
        request: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseResponse>, Status> {
        let mut upstream = self.upstream().await?;
        let answer = upstream
            .lease(request.into_inner())
            .await
            .map_err(passed_on)?;
        let handed_out = answer.get_ref();
        for assignment in handed_out.assignment.iter().chain(&handed_out.companions) {
            let assignment = Assignment::try_from(assignment.clone())
                .map_err(|error| Status::internal(error.to_string()))?;
            self.lock().seen.handed_out.push(assignment);
        }
        self.lock().pass()?;
        Ok(answer)
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let mut upstream = self.upstream().await?;
        upstream
            .heartbeat(request.into_inner())
            .await
            .map_err(passed_on)
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let request = request.into_inner();
        let report = Report::try_from(request.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.lock().seen.sent.push(report.clone());
        // Noted on a task of its own: an agent that is killed while it waits must not keep an
        // acknowledgement that was given from being remembered.
        let this = self.clone();
        let acknowledged = tokio::spawn(async move {
            let answer = this.upstream().await?.report(request).await;
            let answer = answer.map_err(passed_on)?;
            let receipt = Receipt::try_from(*answer.get_ref())
                .map_err(|error| Status::internal(error.to_string()))?;
            this.lock().seen.acknowledged.push((report, receipt));
            Ok::<_, Status>(answer)
        });
        let answer = acknowledged
            .await
            .map_err(|error| Status::internal(error.to_string()))??;
        self.lock().lose()?;
        Ok(answer)
    }

    async fn report_answer(
        &self,
        request: Request<v1::ReportAnswerRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let mut upstream = self.upstream().await?;
        let answer = upstream.report_answer(request.into_inner()).await;
        let answer = answer.map_err(passed_on)?;
        self.lock().lose()?;
        Ok(answer)
    }

    async fn report_probe(
        &self,
        request: Request<v1::ReportAnswerRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let mut upstream = self.upstream().await?;
        upstream
            .report_probe(request.into_inner())
            .await
            .map_err(passed_on)
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let request = request.into_inner();
        if let Some(token) = request.token {
            let given_back = (token.into(), request.reason.clone());
            let seen = &mut self.lock().seen;
            match request.failed {
                true => seen.failed.push(given_back),
                false => seen.given_back.push(given_back),
            }
        }
        let mut upstream = self.upstream().await?;
        upstream.release(request).await.map_err(passed_on)
    }
}
