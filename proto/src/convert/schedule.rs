//! Schedules, and what became of their slots.

use std::time::Duration;

use bitfront_model::{NewSchedule, Night, Notice, Schedule, Webhook};

use super::{ConvertError, message, milliseconds, optional, optional_word, present, word};
use crate::v1;

impl TryFrom<v1::AddScheduleRequest> for NewSchedule {
    type Error = ConvertError;

    fn try_from(wire: v1::AddScheduleRequest) -> Result<Self, Self::Error> {
        Ok(Self {
            request: message("request", wire.request)?,
            name: wire.name,
            cron: wire.cron,
            time_zone: wire.time_zone,
            grace: Duration::from_millis(wire.grace_ms),
            webhook: wire.webhook.map(Webhook),
        })
    }
}

impl From<&NewSchedule> for v1::AddScheduleRequest {
    fn from(schedule: &NewSchedule) -> Self {
        Self {
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
            grace_ms: milliseconds(schedule.grace),
            webhook: schedule.webhook.as_ref().map(|webhook| webhook.0.clone()),
            request: Some((&schedule.request).into()),
        }
    }
}

impl TryFrom<v1::Schedule> for Schedule {
    type Error = ConvertError;

    fn try_from(wire: v1::Schedule) -> Result<Self, Self::Error> {
        Ok(Self {
            state: word("state", &wire.state)?,
            budget: present("budget", wire.budget)?.into(),
            last: optional("last", wire.last)?,
            name: wire.name,
            cron: wire.cron,
            time_zone: wire.time_zone,
            grace: Duration::from_millis(wire.grace_ms),
            webhook: wire.webhook,
            model: wire.model,
            device: wire.device,
            created_ms: wire.created_at_ms,
            next_ms: wire.next_ms,
            problem: wire.problem,
        })
    }
}

impl From<&Schedule> for v1::Schedule {
    fn from(schedule: &Schedule) -> Self {
        Self {
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
            state: schedule.state.to_string(),
            grace_ms: milliseconds(schedule.grace),
            webhook: schedule.webhook.clone(),
            model: schedule.model.clone(),
            device: schedule.device.clone(),
            budget: Some((&schedule.budget).into()),
            created_at_ms: schedule.created_ms,
            next_ms: schedule.next_ms.clone(),
            problem: schedule.problem.clone(),
            last: schedule.last.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Night> for Night {
    type Error = ConvertError;

    fn try_from(wire: v1::Night) -> Result<Self, Self::Error> {
        Ok(Self {
            slot_ms: wire.slot_ms,
            state: word("state", &wire.state)?,
            search: wire.search,
            search_state: optional_word("search_state", wire.search_state)?,
            reason: wire.reason,
            notice: Notice {
                state: word("notice", &wire.notice)?,
                attempts: wire.notice_attempts,
                ended_ms: wire.notice_ended_at_ms,
                error: wire.notice_error,
            },
        })
    }
}

impl From<&Night> for v1::Night {
    fn from(night: &Night) -> Self {
        Self {
            slot_ms: night.slot_ms,
            state: night.state.to_string(),
            search: night.search,
            search_state: night.search_state.map(|state| state.to_string()),
            reason: night.reason.clone(),
            notice: night.notice.state.to_string(),
            notice_attempts: night.notice.attempts,
            notice_ended_at_ms: night.notice.ended_ms,
            notice_error: night.notice.error.clone(),
        }
    }
}
