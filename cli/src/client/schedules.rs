//! Searches that start by themselves, at a coordinator.

use bitfront_model::{NewSchedule, Night, Schedule, ScheduleState};
use bitfront_proto::v1;

use super::Client;

impl Client {
    /// Adds a schedule and gives its next times, in milliseconds since 1970.
    pub(crate) async fn add_schedule(
        &mut self,
        schedule: &NewSchedule,
    ) -> anyhow::Result<Vec<i64>> {
        let request = v1::AddScheduleRequest::from(schedule);
        let answer = self.schedules.add(request).await;
        Ok(self.answer(answer)?.next_ms)
    }

    /// Every schedule that is not removed.
    pub(crate) async fn schedules(&mut self) -> anyhow::Result<Vec<Schedule>> {
        let answer = self.schedules.list(v1::ListSchedulesRequest {}).await;
        let schedules = self.answer(answer)?.schedules.into_iter();
        Ok(schedules
            .map(Schedule::try_from)
            .collect::<Result<_, _>>()?)
    }

    /// Pauses, resumes or removes a schedule; false where it was so before.
    pub(crate) async fn set_schedule(
        &mut self,
        name: &str,
        state: ScheduleState,
    ) -> anyhow::Result<bool> {
        let request = v1::ChangeScheduleRequest {
            name: name.to_owned(),
        };
        let answer = match state {
            ScheduleState::Active => self.schedules.resume(request).await,
            ScheduleState::Paused => self.schedules.pause(request).await,
            ScheduleState::Removed => self.schedules.remove(request).await,
        };
        Ok(self.answer(answer)?.changed)
    }

    /// What became of the latest times of a schedule, the latest first.
    pub(crate) async fn nights(&mut self, schedule: &str, most: u32) -> anyhow::Result<Vec<Night>> {
        let request = v1::NightsRequest {
            schedule: schedule.to_owned(),
            most,
        };
        let answer = self.schedules.nights(request).await;
        let nights = self.answer(answer)?.nights.into_iter();
        Ok(nights.map(Night::try_from).collect::<Result<_, _>>()?)
    }
}
