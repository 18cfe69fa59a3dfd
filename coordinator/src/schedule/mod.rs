//! Searches that start by themselves. A *schedule* says when, each of its times is a *slot*, and what
//! became of a slot is a *night*.
//!
//! - [`slots`]: which slots a cron line has;
//! - `run`: each slot that has come is decided once, by whichever coordinator is first;
//! - `notice`: the end of a night is told to whoever wants to know.
//!
//! Here is what persons do with schedules.

mod notice;
mod run;
mod slots;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use bitfront_model::{NewSchedule, Night, Schedule, ScheduleState};

use crate::audit::Unfinished;
use crate::error::ServiceError;
use crate::intake;
use crate::store::{StoreError, StoredSchedule};
use crate::world::World;
use crate::{submission, tokens};

pub(crate) use run::run;
use slots::{Slots, SlotsError};

/// Slots that are told when a schedule is added or listed.
const NEXT: usize = 3;

/// How late a slot may be started at the most and at the least.
const GRACE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(366 * 86_400)];

/// The most nights that are listed.
const MOST_LISTED: u32 = 10_000;

/// The longest cron line and the longest name of a time zone, in bytes.
const LONGEST_TEXT: usize = 200;

/// Characters that are shown of what is no name.
const MOST_SHOWN: usize = 100;

/// Why a schedule is not added or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScheduleError {
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// The request cannot be served, or the store failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(
        "name: `{name}` cannot name a schedule; up to {} letters, digits and any of `-_.` can",
        tokens::LONGEST_NAME
    )]
    Name { name: String },
    #[error("name: there is a schedule `{name}`; remove it first, or take another name")]
    Taken { name: String },
    #[error("there is no schedule `{name}`; `bitfront schedule list` shows those that there are")]
    Unknown { name: String },
    #[error("grace: is {grace:?}; 1 minute to a year are possible")]
    Grace { grace: Duration },
    #[error("webhook: {0}; give it as in https://host/path")]
    Webhook(String),
}

impl From<StoreError> for ScheduleError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

impl Unfinished for ScheduleError {
    fn may_have_happened(&self) -> bool {
        matches!(self, Self::Service(error) if error.may_have_happened())
    }
}

/// Refuses what cannot be a schedule's name, before it is noted anywhere.
pub(crate) fn check_name(name: &str) -> Result<(), ScheduleError> {
    match tokens::is_name(name) {
        true => Ok(()),
        false => Err(ScheduleError::Name {
            name: name.chars().take(MOST_SHOWN).collect(),
        }),
    }
}

/// Checks a schedule whole and adds it; gives its next slots.
pub(crate) async fn add(world: &World, schedule: &NewSchedule) -> Result<Vec<i64>, ScheduleError> {
    check_name(&schedule.name)?;
    for (field, text) in [("cron", &schedule.cron), ("time_zone", &schedule.time_zone)] {
        if text.len() > LONGEST_TEXT {
            let long = format!("it has {} bytes, of {LONGEST_TEXT} at most", text.len());
            return Err(ServiceError::from(intake::wrong(field, &long)).into());
        }
    }
    let slots = Slots::new(&schedule.cron, &schedule.time_zone)?;
    if !(GRACE[0]..=GRACE[1]).contains(&schedule.grace) {
        return Err(ScheduleError::Grace {
            grace: schedule.grace,
        });
    }
    if let Some(webhook) = &schedule.webhook {
        notice::shown(webhook).map_err(ScheduleError::Webhook)?;
    }
    if schedule.request.joint.is_some() {
        let several = "a schedule is for one device; name it, or add a schedule for each";
        return Err(ServiceError::from(intake::wrong("joint", several)).into());
    }
    // What would be refused every night is refused now.
    submission::prepare(world, schedule.request.clone(), None).await?;
    let now_ms = world.clock.now_ms();
    match world.store.add_schedule(schedule, now_ms).await? {
        true => Ok(next(&slots, now_ms)),
        false => Err(ScheduleError::Taken {
            name: schedule.name.clone(),
        }),
    }
}

/// Every schedule that is not removed.
pub(crate) async fn list(world: &World) -> Result<Vec<Schedule>, ScheduleError> {
    let mut listed = Vec::new();
    for stored in world.store.schedules().await? {
        if stored.state != ScheduleState::Removed {
            listed.push(shown(world, stored).await?);
        }
    }
    Ok(listed)
}

/// Pauses, resumes or removes a schedule. False where it was so before.
pub(crate) async fn set(
    world: &World,
    name: &str,
    state: ScheduleState,
) -> Result<bool, ScheduleError> {
    check_name(name)?;
    let now_ms = world.clock.now_ms();
    let set = world.store.set_schedule(name, state, now_ms).await?;
    set.ok_or_else(|| unknown(name))
}

/// What became of the latest slots of a schedule, the latest first. Of several of the name it is the
/// one that was added last, removed or not.
pub(crate) async fn nights(
    world: &World,
    name: &str,
    most: u32,
) -> Result<Vec<Night>, ScheduleError> {
    let mut schedules = world.store.schedules().await?.into_iter();
    let named = schedules.rfind(|schedule| schedule.name == name);
    let schedule = named.ok_or_else(|| unknown(name))?;
    let nights = world.store.nights(schedule.id, most.min(MOST_LISTED));
    let nights = nights.await?.into_iter();
    Ok(nights.map(|stored| stored.night).collect())
}

async fn shown(world: &World, stored: StoredSchedule) -> Result<Schedule, ScheduleError> {
    let request = world.store.scheduled(stored.id).await?;
    let request = request.ok_or_else(|| unknown(&stored.name))?;
    let (mut next_ms, mut problem) = (Vec::new(), None);
    if stored.state == ScheduleState::Active {
        match Slots::read(&stored.cron, &stored.time_zone) {
            Ok(slots) => next_ms = next(&slots, stored.decided_ms.max(world.clock.now_ms())),
            // The others are to be seen all the same.
            Err(error) => problem = Some(error.to_string()),
        }
    }
    let last = world.store.nights(stored.id, 1).await?.pop();
    let webhook = stored.webhook.as_ref().map(notice::shown).transpose();
    Ok(Schedule {
        model: request.spec.name,
        device: request.device,
        budget: request.budget,
        webhook: webhook.map_err(ScheduleError::Webhook)?,
        next_ms,
        problem,
        last: last.map(|last| last.night),
        name: stored.name,
        cron: stored.cron,
        time_zone: stored.time_zone,
        state: stored.state,
        grace: stored.grace,
        created_ms: stored.created_ms,
    })
}

fn next(slots: &Slots, after_ms: i64) -> Vec<i64> {
    let next = slots.next(after_ms, NEXT).into_iter();
    next.map(|slot| slot.at_ms).collect()
}

fn unknown(name: &str) -> ScheduleError {
    ScheduleError::Unknown {
        name: name.to_owned(),
    }
}
