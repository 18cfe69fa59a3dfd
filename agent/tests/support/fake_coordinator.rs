//! A coordinator that hands out what it is told to and remembers all that it hears.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitfront_model::{Assignment, Digest, LeaseToken, ModelSpec, QuestionAssignment};
use bitfront_proto::v1::agents_server::{Agents, AgentsServer};
use bitfront_proto::v1::blobs_server::{Blobs, BlobsServer};
use bitfront_proto::{DATABASE_HEADER, v1};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tonic::transport::Uri;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What was heard, and what is to be answered.
#[derive(Default)]
pub struct State {
    pub registrations: Vec<v1::RegisterRequest>,
    /// Each a task with its companions.
    pub queue: VecDeque<Vec<v1::Assignment>>,
    /// Every report as it came, repeated ones too.
    pub reports: Vec<v1::ReportRequest>,
    pub questions: VecDeque<v1::QuestionAssignment>,
    pub answers: Vec<v1::ReportAnswerRequest>,
    pub releases: Vec<v1::ReleaseRequest>,
    pub heartbeats: Vec<v1::HeartbeatRequest>,
    /// Answered to the next reports after they were heard, as if the answer was lost.
    pub report_errors: VecDeque<Status>,
    pub register_error: Option<Status>,
    /// Leases that every heartbeat is told to be lost.
    pub lost: Vec<LeaseToken>,
    /// Which database it says it has; the same one everywhere where a test does not say.
    pub database: Option<String>,
    /// What is sent of blobs, which need not be what they should be.
    pub blobs: HashMap<Digest, Vec<u8>>,
    /// Every blob that was asked for, and from which byte on.
    pub fetches: Vec<(Digest, u64)>,
    /// How many bytes the next answers to that send before they break.
    pub cuts: VecDeque<usize>,
    /// Nothing of a blob is sent for as long as this is set.
    pub fetches_wait: bool,
    /// The names of all calls but heartbeats that were answered, in order.
    pub calls: Vec<&'static str>,
}

impl State {
    fn database(&self) -> String {
        self.database.clone().unwrap_or_else(|| "a".to_owned())
    }
}

#[derive(Clone, Default)]
struct Service {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

/// A running coordinator; dropping it closes every connection at once, as a kill would.
pub struct FakeCoordinator {
    service: Service,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl FakeCoordinator {
    /// Starts on a free port.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// Starts on a given port, with nothing in its memory.
    pub fn start_at(address: SocketAddr) -> Self {
        let service = Service::default();
        // Its own async runtime makes it mortal: shutting that down ends all connections.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // One that was dropped just before may not have let go of its address yet.
        let begun = Instant::now();
        let listener = loop {
            match std::net::TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = AgentsServer::new(service.clone());
        let blobs = BlobsServer::new(service.clone());
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(server)
                .add_service(blobs)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
                .await
                .unwrap();
        });
        Self {
            service,
            address,
            runtime: Some(runtime),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> Uri {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.service.state()
    }

    /// Queues a task.
    pub fn queue(&self, assignment: &Assignment, spec: &ModelSpec) {
        self.queue_together(std::slice::from_ref(assignment), spec);
    }

    /// Queues a task with companions, which are handed out together.
    pub fn queue_together(&self, assignments: &[Assignment], spec: &ModelSpec) {
        let wire = assignments.iter();
        let wire = wire.map(|assignment| v1::Assignment::of(assignment, spec));
        self.state().queue.push_back(wire.collect());
        self.service.changed.notify_waiters();
    }

    /// Queues a question.
    pub fn queue_question(&self, assignment: &QuestionAssignment) {
        self.state().questions.push_back(assignment.into());
        self.service.changed.notify_waiters();
    }

    /// Waits until the state is as wanted, and fails after ten seconds.
    pub async fn wait(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let reached = async {
            while !reached(&self.state()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), reached).await;
        assert!(in_time.is_ok(), "waited in vain for {what}");
    }
}

impl Drop for FakeCoordinator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a real coordinator does with calls that are meant for another database.
    fn check_database<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match request.metadata().get(DATABASE_HEADER) {
            Some(meant) if *meant == *self.state().database() => Ok(()),
            meant => Err(Status::aborted(format!("database {meant:?} is meant"))),
        }
    }

    /// Only a device that registered with this very coordinator is known.
    fn check_device(&self, device: i64) -> Result<(), Status> {
        if self.state().registrations.is_empty() {
            return Err(Status::not_found(format!("device {device} is not known")));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Agents for Service {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let mut state = self.state();
        if let Some(error) = &state.register_error {
            return Err(error.clone());
        }
        state.calls.push("register");
        state.registrations.push(request.into_inner());
        Ok(Response::new(v1::RegisterResponse {
            device_id: 7,
            heartbeat_ms: 20,
            database: state.database(),
        }))
    }

    async fn lease(
        &self,
        request: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseResponse>, Status> {
        self.check_database(&request)?;
        self.state().calls.push("lease");
        let request = request.into_inner();
        let wait = tokio::time::sleep(Duration::from_millis(request.wait_ms));
        tokio::pin!(wait);
        loop {
            let changed = self.changed.notified();
            self.check_device(request.device_id)?;
            let question = self.state().questions.pop_front();
            if question.is_some() {
                return Ok(Response::new(v1::LeaseResponse {
                    question,
                    ..Default::default()
                }));
            }
            let together = self.state().queue.pop_front();
            if let Some(mut together) = together {
                assert!(together.len() <= 1 + request.most_companions as usize);
                return Ok(Response::new(v1::LeaseResponse {
                    companions: together.split_off(1),
                    assignment: together.pop(),
                    question: None,
                }));
            }
            tokio::select! {
                () = changed => {}
                () = &mut wait => {
                    return Ok(Response::new(v1::LeaseResponse::default()));
                }
            }
        }
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        self.check_database(&request)?;
        let request = request.into_inner();
        self.check_device(request.device_id)?;
        let mut state = self.state();
        state.heartbeats.push(request);
        let lost = state.lost.iter().map(|&token| token.into()).collect();
        Ok(Response::new(v1::HeartbeatResponse { lost }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        self.check_database(&request)?;
        self.state().calls.push("report");
        let request = request.into_inner();
        let mut state = self.state();
        let again = state
            .reports
            .iter()
            .any(|report| report.idempotency_key == request.idempotency_key);
        state.reports.push(request);
        if let Some(error) = state.report_errors.pop_front() {
            return Err(error);
        }
        let receipt = if again {
            v1::report_response::Receipt::AlreadyReported
        } else {
            v1::report_response::Receipt::Recorded
        };
        Ok(Response::new(v1::ReportResponse {
            receipt: receipt.into(),
        }))
    }

    async fn report_answer(
        &self,
        request: Request<v1::ReportAnswerRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        self.check_database(&request)?;
        self.state().calls.push("report_answer");
        let mut state = self.state();
        state.answers.push(request.into_inner());
        if let Some(error) = state.report_errors.pop_front() {
            return Err(error);
        }
        Ok(Response::new(v1::ReportResponse {
            receipt: v1::report_response::Receipt::Recorded.into(),
        }))
    }

    async fn report_probe(
        &self,
        _request: Request<v1::ReportAnswerRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        Err(Status::unimplemented(
            "only agents of earlier versions call it",
        ))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        self.check_database(&request)?;
        self.state().calls.push("release");
        self.state().releases.push(request.into_inner());
        Ok(Response::new(v1::ReleaseResponse {}))
    }
}

#[tonic::async_trait]
impl Blobs for Service {
    async fn find(
        &self,
        _request: Request<v1::FindRequest>,
    ) -> Result<Response<v1::FindResponse>, Status> {
        Err(Status::unimplemented("agents do not ask"))
    }

    type FetchStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::FetchResponse, Status>>>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let v1::FetchRequest { digest, offset } = request.into_inner();
        let digest: Digest = digest.parse().unwrap();
        self.state().fetches.push((digest, offset));
        while self.state().fetches_wait {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut state = self.state();
        let cut = state.cuts.pop_front();
        let bytes = state.blobs.get(&digest);
        let bytes = bytes.ok_or_else(|| Status::not_found("no such blob"))?;
        let rest = bytes[offset as usize..].to_vec();
        let chunks = rest.chunks(3).map(|chunk| {
            Ok(v1::FetchResponse {
                chunk: chunk.to_vec(),
            })
        });
        let mut chunks: Vec<_> = chunks.collect();
        if let Some(bytes) = cut {
            chunks.truncate(bytes / 3);
            chunks.push(Err(Status::unavailable("cut")));
        }
        Ok(Response::new(tokio_stream::iter(chunks)))
    }

    async fn put(
        &self,
        _request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        Err(Status::unimplemented("agents hand nothing in"))
    }
}
