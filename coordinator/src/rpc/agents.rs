//! The service that agents talk to.

use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{AnswerReport, LeaseToken, Registration, Report};
use bitfront_proto::v1::agents_server::Agents;
use bitfront_proto::{ConvertError, DATABASE_HEADER, v1};
use tokio_util::sync::CancellationToken;
use tonic::service::Interceptor;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::status::malformed;
use crate::error::ServiceError;
use crate::leasing::{Caller, HandOut, Handed, Leasing};
use crate::measurements;
use crate::world::World;

pub(super) struct AgentsService {
    pub(super) world: Arc<World>,
    pub(super) leasing: Arc<Leasing>,
    pub(super) shutdown: CancellationToken,
    /// Which database it is.
    pub(super) database: String,
}

/// Refuses what an agent has to say of leases of another database, whose tasks have the same
/// numbers: it kept a report over the end of that one, or goes from coordinator to coordinator.
/// Agents of earlier versions do not say which one they mean.
#[derive(Clone)]
pub(super) struct Fence {
    pub(super) database: String,
}

impl Interceptor for Fence {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match request.metadata().get(DATABASE_HEADER) {
            Some(meant) if meant.as_bytes() != self.database.as_bytes() => {
                Err(ServiceError::OtherDatabase.into())
            }
            _ => Ok(request),
        }
    }
}

#[tonic::async_trait]
impl Agents for AgentsService {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let mut wire = request.into_inner();
        let instance = instance(std::mem::take(&mut wire.instance))?;
        let again = wire.again;
        let device = Registration::try_from(wire).map_err(malformed)?;
        if device.device.trim().is_empty() {
            return Err(Status::invalid_argument("device: is empty; give it a name"));
        }
        let span = Span::current();
        span.record("agent", &device.device);
        let device_id = self.leasing.register(device, &instance, again).await?;
        span.record("device", device_id);
        let heartbeat = self.world.config.heartbeat().as_millis();
        Ok(Response::new(v1::RegisterResponse {
            device_id,
            heartbeat_ms: u64::try_from(heartbeat).unwrap_or(u64::MAX),
            database: self.database.clone(),
        }))
    }

    async fn lease(
        &self,
        request: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseResponse>, Status> {
        let request = request.into_inner();
        let wait = Duration::from_millis(request.wait_ms);
        let digest = request.hardware_profile_digest.parse();
        let caller = Caller {
            hardware_profile: digest.map_err(|error| {
                malformed(ConvertError::invalid("hardware_profile_digest", error))
            })?,
            instance: instance(request.instance)?,
        };
        let leased = self
            .leasing
            .lease(request.device_id, &caller, wait, &self.shutdown)
            .await?;
        let most = request.most_companions as usize;
        let first = match leased {
            Some(Handed::Task(first)) => *first,
            Some(Handed::Question(question)) => {
                return Ok(Response::new(v1::LeaseResponse {
                    question: Some((&question).into()),
                    ..Default::default()
                }));
            }
            None => return Ok(Response::new(v1::LeaseResponse::default())),
        };
        let device = request.device_id;
        let companions = self.leasing.companions(device, &first, most).await;
        let wire = |hand_out: HandOut| v1::Assignment::of(&hand_out.assignment, &hand_out.spec);
        Ok(Response::new(v1::LeaseResponse {
            assignment: Some(wire(first)),
            companions: companions.into_iter().map(wire).collect(),
            question: None,
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let held: Vec<LeaseToken> = request.held.into_iter().map(Into::into).collect();
        let lost = self.leasing.heartbeat(request.device_id, &held).await?;
        Ok(Response::new(v1::HeartbeatResponse {
            lost: lost.into_iter().map(Into::into).collect(),
        }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let report = Report::try_from(request.into_inner()).map_err(malformed)?;
        about(report.token);
        let receipt = measurements::report(&self.world, &self.leasing, &report).await?;
        Ok(Response::new(receipt.into()))
    }

    async fn report_answer(
        &self,
        request: Request<v1::ReportAnswerRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let report = AnswerReport::try_from(request.into_inner()).map_err(malformed)?;
        about(report.token);
        let receipt = measurements::answer(&self.world, &self.leasing, &report).await?;
        Ok(Response::new(receipt.into()))
    }

    async fn report_probe(
        &self,
        request: Request<v1::ReportAnswerRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        self.report_answer(request).await
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let request = request.into_inner();
        let token = request
            .token
            .ok_or_else(|| Status::invalid_argument("token: is missing"))?;
        let token = token.into();
        about(token);
        let given_back = match request.crashed {
            true => self.leasing.crashed(token, &request.reason).await,
            false => {
                let leasing = &self.leasing;
                leasing
                    .give_back(token, &request.reason, request.failed)
                    .await
            }
        };
        given_back.map_err(ServiceError::from)?;
        Ok(Response::new(v1::ReleaseResponse {}))
    }
}

/// Notes what a call is about.
fn about(lease: LeaseToken) {
    Span::current()
        .record("task", lease.task)
        .record("epoch", lease.epoch);
}

/// What tells this agent from another of the same name.
fn instance(text: String) -> Result<String, Status> {
    if text.is_empty() {
        return Err(Status::invalid_argument(
            "instance: is empty; mint one at every start of an agent",
        ));
    }
    Ok(text)
}
