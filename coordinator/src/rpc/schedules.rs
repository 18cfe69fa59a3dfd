//! The service for searches that start by themselves.

use std::sync::Arc;

use bitfront_model::{NewSchedule, ScheduleState};
use bitfront_proto::v1;
use bitfront_proto::v1::schedules_server::Schedules;
use tonic::{Request, Response, Status};

use super::admission::audit;
use super::status::malformed;
use crate::audit::Changed;
use crate::schedule;
use crate::world::World;

pub(super) struct SchedulesService {
    pub(super) world: Arc<World>,
}

impl SchedulesService {
    async fn set(
        &self,
        request: Request<v1::ChangeScheduleRequest>,
        (action, state): (&str, ScheduleState),
    ) -> Result<Response<v1::ChangeScheduleResponse>, Status> {
        let audit = audit(&request, &self.world);
        let name = request.into_inner().name;
        schedule::check_name(&name)?;
        let setting = schedule::set(&self.world, &name, state);
        let changed = |changed: &bool| match changed {
            true => Changed::It,
            false => Changed::Nothing,
        };
        let changed = audit.noting(action, &name, setting, changed).await?;
        Ok(Response::new(v1::ChangeScheduleResponse { changed }))
    }
}

#[tonic::async_trait]
impl Schedules for SchedulesService {
    async fn add(
        &self,
        request: Request<v1::AddScheduleRequest>,
    ) -> Result<Response<v1::AddScheduleResponse>, Status> {
        let audit = audit(&request, &self.world);
        let schedule = NewSchedule::try_from(request.into_inner()).map_err(malformed)?;
        schedule::check_name(&schedule.name)?;
        let adding = schedule::add(&self.world, &schedule);
        let added = audit.noting("add schedule", &schedule.name, adding, |_| Changed::It);
        let next_ms = added.await?;
        Ok(Response::new(v1::AddScheduleResponse { next_ms }))
    }

    async fn list(
        &self,
        _request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let schedules = schedule::list(&self.world).await?;
        Ok(Response::new(v1::ListSchedulesResponse {
            schedules: schedules.iter().map(Into::into).collect(),
        }))
    }

    async fn pause(
        &self,
        request: Request<v1::ChangeScheduleRequest>,
    ) -> Result<Response<v1::ChangeScheduleResponse>, Status> {
        let to = ("pause schedule", ScheduleState::Paused);
        self.set(request, to).await
    }

    async fn resume(
        &self,
        request: Request<v1::ChangeScheduleRequest>,
    ) -> Result<Response<v1::ChangeScheduleResponse>, Status> {
        let to = ("resume schedule", ScheduleState::Active);
        self.set(request, to).await
    }

    async fn remove(
        &self,
        request: Request<v1::ChangeScheduleRequest>,
    ) -> Result<Response<v1::ChangeScheduleResponse>, Status> {
        let to = ("remove schedule", ScheduleState::Removed);
        self.set(request, to).await
    }

    async fn nights(
        &self,
        request: Request<v1::NightsRequest>,
    ) -> Result<Response<v1::NightsResponse>, Status> {
        let v1::NightsRequest { schedule, most } = request.into_inner();
        let nights = schedule::nights(&self.world, &schedule, most).await?;
        Ok(Response::new(v1::NightsResponse {
            nights: nights.iter().map(Into::into).collect(),
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixtures;
    use crate::testing::{Bench, folder};

    #[tokio::test]
    async fn what_persons_do_with_schedules_is_noted() {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let service = SchedulesService {
            world: bench.world.clone(),
        };
        let new = NewSchedule {
            name: "nightly".to_owned(),
            cron: "0 2 * * *".to_owned(),
            time_zone: "UTC".to_owned(),
            grace: Duration::from_secs(3600),
            webhook: None,
            request: fixtures::request(),
        };
        for is_new in [true, false] {
            let added = service.add(Request::new((&new).into())).await;
            assert_eq!(added.is_ok(), is_new);
        }
        let name = || {
            let name = "nightly".to_owned();
            Request::new(v1::ChangeScheduleRequest { name })
        };
        // What cannot be a name is noted nowhere.
        let long = v1::ChangeScheduleRequest {
            name: "x".repeat(1 << 20),
        };
        assert!(service.pause(Request::new(long)).await.is_err());
        let nameless = NewSchedule {
            name: "a\0b".to_owned(),
            ..new.clone()
        };
        assert!(service.add(Request::new((&nameless).into())).await.is_err());
        for is_new in [true, false] {
            let paused = service.pause(name()).await.unwrap().into_inner();
            assert_eq!(paused.changed, is_new);
        }
        let listed = service.list(Request::new(v1::ListSchedulesRequest {}));
        let listed = listed.await.unwrap().into_inner().schedules;
        assert_eq!((listed.len(), &*listed[0].state), (1, "paused"));
        assert!(service.resume(name()).await.unwrap().into_inner().changed);
        assert!(service.remove(name()).await.unwrap().into_inner().changed);
        assert!(service.remove(name()).await.is_err(), "it is gone");
        let nights = v1::NightsRequest {
            schedule: "nightly".to_owned(),
            most: 10,
        };
        let nights = service.nights(Request::new(nights)).await.unwrap();
        assert_eq!(nights.into_inner().nights, []);

        let deeds = bench.world.store.deeds(0, 100).await.unwrap();
        let found: Vec<_> = deeds
            .iter()
            .map(|deed| format!("{} {} {}", deed.action, deed.subject, deed.outcome))
            .collect();
        let expected = [
            "add schedule nightly done",
            "add schedule nightly nothing",
            "pause schedule nightly done",
            "pause schedule nightly nothing",
            "resume schedule nightly done",
            "remove schedule nightly done",
            "remove schedule nightly nothing",
        ];
        assert_eq!(found, expected);
    }
}
