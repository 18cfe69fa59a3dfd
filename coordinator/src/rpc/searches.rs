//! The service that people and programs talk to.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{Budget, Limits, SearchRequest};
use bitfront_proto::v1;
use bitfront_proto::v1::searches_server::Searches;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::admission::{audit, visitor};
use super::status::malformed;
use crate::audit::Changed;
use crate::driver::Drivers;
use crate::error::ServiceError;
use crate::leasing::Leasing;
use crate::store::StoreError;
use crate::world::World;
use crate::{intake, query, submission};

/// Least time between two statuses of a watched search. Every status reads all figures of the
/// search, on a machine that may be timing candidates at that moment.
const BETWEEN_STATUSES: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub(crate) struct SearchesService {
    pub(crate) world: Arc<World>,
    pub(crate) leasing: Arc<Leasing>,
    pub(crate) drivers: Arc<Drivers>,
    pub(crate) shutdown: CancellationToken,
}

impl SearchesService {
    async fn submit_checked(
        &self,
        request: SearchRequest,
        idempotency_key: String,
    ) -> Result<i64, ServiceError> {
        let key = Some(idempotency_key).filter(|key| !key.is_empty());
        let search = submission::prepare(&self.world, request, key).await?;
        let (world, drivers) = (self.world.clone(), self.drivers.clone());
        to_its_end(async move {
            let search = world.store.submit(&search, world.clock.now_ms()).await?;
            // One that was submitted before, to another coordinator, is driven there.
            if world.store.take_search(search).await? {
                tracing::info!(search, "submitted");
                drivers.start(search);
            }
            Ok(search)
        })
        .await
    }

    pub(crate) async fn cancel_search(&self, search: i64) -> Result<bool, ServiceError> {
        let store = &self.world.store;
        if store.search(search).await?.is_none() {
            return Err(ServiceError::UnknownSearch { search });
        }
        let (world, leasing) = (self.world.clone(), self.leasing.clone());
        to_its_end(async move {
            let ended = world.store.cancel(search, world.clock.now_ms()).await?;
            for token in ended.iter().flatten() {
                leasing.forget(*token);
            }
            world.wakeups.search(search);
            Ok(ended.is_some())
        })
        .await
    }

    pub(crate) async fn continue_search(
        &self,
        search: i64,
        more: Budget,
    ) -> Result<(), ServiceError> {
        intake::check_budget(&more)?;
        let status = query::status(&self.world, search).await?;
        let budget = Budget {
            evaluations: more
                .evaluations
                .map(|more| status.evaluated.saturating_add(more)),
            time: more.time.map(|more| status.active.saturating_add(more)),
        };
        let (world, drivers) = (self.world.clone(), self.drivers.clone());
        to_its_end(async move {
            if !world
                .store
                .resume(search, &budget, status.evaluated)
                .await?
            {
                return Err(ServiceError::SearchFailed {
                    search,
                    reason: status.reason,
                });
            }
            if world.store.take_search(search).await? {
                drivers.start(search);
            } else {
                world.wakeups.search(search);
            }
            world.wakeups.work();
            Ok(())
        })
        .await
    }

    async fn status(&self, search: i64) -> Result<v1::SearchStatus, ServiceError> {
        let status = query::status(&self.world, search).await?;
        Ok((&status).into())
    }
}

/// Does a write and what must follow it on a task of its own: a caller that goes away between the
/// two drops its call, and would leave a search that nobody drives.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(ServiceError::Store(StoreError::Failed {
            doing: "carry out a call",
            reason: error.to_string(),
            may_have_happened: true,
        })),
    }
}

/// Notes what a call is about.
fn about(search: i64) {
    Span::current().record("search", search);
}

#[tonic::async_trait]
impl Searches for SearchesService {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let audit = audit(&request, &self.world);
        let wire = request.into_inner();
        let request = wire
            .request
            .ok_or_else(|| Status::invalid_argument("request: is missing"))?;
        let request =
            SearchRequest::try_from(request).map_err(|error| malformed(error.within("request")))?;
        let service = self.clone();
        let search = to_its_end(async move {
            let submitting = service.submit_checked(request, wire.idempotency_key);
            let changed = |search: &i64| Changed::Into(search.to_string());
            audit.noting("submit", "", submitting, changed).await
        })
        .await?;
        about(search);
        Ok(Response::new(v1::SubmitResponse { search }))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let search = request.into_inner().search;
        about(search);
        Ok(Response::new(self.status(search).await?))
    }

    async fn list(
        &self,
        _request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let searches = query::list(&self.world).await?;
        Ok(Response::new(v1::ListResponse {
            searches: searches.iter().map(Into::into).collect(),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::SearchStatus, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let visitor = visitor(&request);
        let search = request.into_inner().search;
        // A search that does not exist is an error of the call, not of its stream.
        query::status(&self.world, search).await?;
        let (statuses, stream) = mpsc::channel(1);
        let (world, gate) = (self.world.clone(), self.world.gate.clone());
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = watch(world, search, statuses.clone(), shutdown) => {}
                refusal = gate.dismissed(&visitor) => {
                    // Nobody is left to tell where this fails.
                    let _ = statuses.send(Err(refusal.into())).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let audit = audit(&request, &self.world);
        let search = request.into_inner().search;
        about(search);
        let service = self.clone();
        let cancelled = to_its_end(async move {
            let changed = |cancelled: &bool| match cancelled {
                true => Changed::It,
                false => Changed::Nothing,
            };
            let cancelling = service.cancel_search(search);
            audit.noting("cancel", search, cancelling, changed).await
        })
        .await?;
        Ok(Response::new(v1::CancelResponse { cancelled }))
    }

    async fn r#continue(
        &self,
        request: Request<v1::ContinueRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let audit = audit(&request, &self.world);
        let request = request.into_inner();
        let budget = request
            .budget
            .ok_or_else(|| Status::invalid_argument("budget: is missing"))?;
        let (service, search) = (self.clone(), request.search);
        about(search);
        to_its_end(async move {
            let continuing = service.continue_search(search, budget.into());
            let continued = audit.noting("continue", search, continuing, |()| Changed::It);
            continued.await
        })
        .await?;
        let status = self.status(search).await?;
        Ok(Response::new(status))
    }

    async fn front(
        &self,
        request: Request<v1::FrontRequest>,
    ) -> Result<Response<v1::FrontResponse>, Status> {
        let request = request.into_inner();
        about(request.search);
        let device = request.device.as_deref();
        let mut front = if request.believed {
            query::believed_front(&self.world, request.search, device).await?
        } else {
            query::front(&self.world, request.search, device).await?
        };
        // A front is shown also where a later search cannot be read.
        front.stale = match query::stale(&self.world, request.search).await {
            Ok(stale) => stale,
            Err(error) => {
                tracing::warn!(search = request.search, %error, "whether a front is stale is not told");
                None
            }
        };
        Ok(Response::new((&front).into()))
    }

    async fn best(
        &self,
        request: Request<v1::BestRequest>,
    ) -> Result<Response<v1::BestResponse>, Status> {
        let request = request.into_inner();
        let limits: Limits = request.limits.unwrap_or_default().into();
        let best = query::best(
            &self.world,
            &request.model,
            request.device.as_deref(),
            &limits,
            &request.by,
        )
        .await?;
        Ok(Response::new((&best).into()))
    }

    async fn predict(
        &self,
        request: Request<v1::PredictRequest>,
    ) -> Result<Response<v1::PredictResponse>, Status> {
        let request = request.into_inner();
        about(request.search);
        let limits: Limits = request.limits.unwrap_or_default().into();
        let prediction = query::predict(&self.world, request.search, &limits, &request.by).await?;
        Ok(Response::new((&prediction).into()))
    }

    async fn fleet(
        &self,
        request: Request<v1::FleetRequest>,
    ) -> Result<Response<v1::FleetResponse>, Status> {
        let request = request.into_inner();
        let question = query::FleetQuestion {
            model: &request.model,
            devices: &request.devices,
            limits: request.limits.unwrap_or_default().into(),
            by: &request.by,
            predict: request.predict,
        };
        let pick = query::fleet(&self.world, &question).await?;
        Ok(Response::new((&pick).into()))
    }

    async fn compare(
        &self,
        request: Request<v1::CompareRequest>,
    ) -> Result<Response<v1::CompareResponse>, Status> {
        let request = request.into_inner();
        let comparison = query::compare(&self.world, request.first, request.second).await?;
        Ok(Response::new((&comparison).into()))
    }

    async fn diff(
        &self,
        request: Request<v1::DiffRequest>,
    ) -> Result<Response<v1::DiffResponse>, Status> {
        let request = request.into_inner();
        let drift = query::drift(&self.world, request.before, request.after).await?;
        Ok(Response::new((&drift).into()))
    }

    async fn devices(
        &self,
        _request: Request<v1::DevicesRequest>,
    ) -> Result<Response<v1::DevicesResponse>, Status> {
        let devices = query::devices(&self.world).await?;
        Ok(Response::new(v1::DevicesResponse {
            devices: devices.iter().map(Into::into).collect(),
        }))
    }

    async fn device(
        &self,
        request: Request<v1::DeviceRequest>,
    ) -> Result<Response<v1::DeviceResponse>, Status> {
        let device = query::device(&self.world, &request.into_inner().name).await?;
        Ok(Response::new((&device).into()))
    }

    async fn sensitivity(
        &self,
        request: Request<v1::SensitivityRequest>,
    ) -> Result<Response<v1::SensitivityResponse>, Status> {
        let search = request.into_inner().search;
        about(search);
        let sensitivity = query::sensitivity(&self.world, search).await?;
        Ok(Response::new((&sensitivity).into()))
    }
}

/// Sends the status now and after every change, until the search has ended or nobody listens.
/// Changes that come faster than they can be told are told together.
async fn watch(
    world: Arc<World>,
    search: i64,
    statuses: mpsc::Sender<Result<v1::SearchStatus, Status>>,
    shutdown: CancellationToken,
) {
    let mut changes = world.wakeups.on_search(search);
    let mut last: Option<v1::SearchStatus> = None;
    loop {
        let status = match query::status(&world, search).await {
            Ok(status) => status,
            Err(error) => {
                // Nobody is left to tell where this fails.
                let _ = statuses.send(Err(error.into())).await;
                return;
            }
        };
        let state = status.state;
        let wire = v1::SearchStatus::from(&status);
        if last.as_ref() != Some(&wire) {
            if statuses.send(Ok(wire.clone())).await.is_err() {
                return;
            }
            last = Some(wire);
        }
        if state.has_ended() {
            return;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = statuses.closed() => return,
            _ = changes.changed() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = statuses.closed() => return,
            () = world.clock.sleep(BETWEEN_STATUSES) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
