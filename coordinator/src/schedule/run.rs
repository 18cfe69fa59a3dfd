//! Decides what becomes of slots, and has it told how nights ended.
//!
//! Every coordinator looks every few seconds at which slots have come. What becomes of one is a row
//! that is written once, in one transaction with its search, so it does not matter how many look, which
//! of them is first, or that one is killed right after.

use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{ScheduleState, SearchState};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use super::notice::Notices;
use super::slots::{Slot, Slots};
use crate::driver::Drivers;
use crate::error::ServiceError;
use crate::store::{Begun, Decision, NewNight, NewSearch, StoreError, StoredSchedule};
use crate::world::World;
use crate::{query, submission};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// Slots of one schedule that are decided in one look: of one that nobody served for long there may be
/// thousands, all missed.
const MOST_AT_ONCE: usize = 100;

/// Earlier searches of a schedule that are asked for a front to start from.
const MOST_ASKED: u32 = 7;

/// Runs until the shutdown.
pub(crate) async fn run(world: Arc<World>, drivers: Arc<Drivers>, shutdown: CancellationToken) {
    let scheduler = Scheduler::new(world.clone(), drivers);
    let notices = Notices::new(world.clone());
    // What is told takes as long as others let it; no slot waits for that.
    let starting = async {
        loop {
            scheduler.look().await;
            world.clock.sleep(LOOK).await;
        }
    };
    let telling = async {
        loop {
            notices.look().await;
            world.clock.sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = starting => {}
        () = telling => {}
    }
}

/// Starts the searches of schedules.
pub(super) struct Scheduler {
    world: Arc<World>,
    drivers: Arc<Drivers>,
}

impl Scheduler {
    pub(super) fn new(world: Arc<World>, drivers: Arc<Drivers>) -> Self {
        Self { world, drivers }
    }

    /// Decides the slots that have come. What cannot be decided now is looked at again.
    pub(super) async fn look(&self) {
        let schedules = match self.world.store.schedules().await {
            Ok(schedules) => schedules,
            Err(error) => {
                tracing::warn!(%error, "schedules are not looked after");
                return;
            }
        };
        let active = schedules.iter();
        for schedule in active.filter(|schedule| schedule.state == ScheduleState::Active) {
            if let Err(error) = self.look_at(schedule).await {
                let name = &schedule.name;
                tracing::warn!(schedule = name, %error, "its slots are not decided yet");
            }
        }
    }

    async fn look_at(&self, schedule: &StoredSchedule) -> Result<(), StoreError> {
        let slots = Slots::read(&schedule.cron, &schedule.time_zone);
        let slots = slots.map_err(|error| StoreError::Corrupt {
            what: format!("the schedule `{}`", schedule.name),
            reason: error.to_string(),
        })?;
        let now_ms = self.world.clock.now_ms();
        for slot in slots.between(schedule.decided_ms, now_ms, MOST_AT_ONCE) {
            let span = info_span!(
                target: bitfront_model::SPANS,
                "night",
                schedule = schedule.name,
                slot_ms = slot.at_ms,
                state = Empty,
                search = Empty,
            );
            self.decide(schedule, slot, now_ms).instrument(span).await?;
        }
        Ok(())
    }

    async fn decide(
        &self,
        schedule: &StoredSchedule,
        slot: Slot,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let late = now_ms.saturating_sub(slot.at_ms);
        let is_missed = u128::try_from(late).unwrap_or(0) > schedule.grace.as_millis();
        let (decision, reason) = match is_missed {
            true => (
                Decision::Missed,
                format!("no coordinator served within {:?} of it", schedule.grace),
            ),
            false => match self.search(schedule, slot.at_ms).await {
                Ok(search) => (Decision::Start(Box::new(search)), String::new()),
                Err(ServiceError::Store(error)) if !error.is_about_what_was_given() => {
                    return Err(error);
                }
                // It would be refused again.
                Err(error) => (Decision::Failed, error.to_string()),
            },
        };
        let said = [slot.moved.unwrap_or_default(), reason];
        let said: Vec<_> = said.into_iter().filter(|part| !part.is_empty()).collect();
        let night = NewNight {
            schedule: schedule.id,
            slot_ms: slot.at_ms,
            decision,
            reason: said.join("; "),
        };
        let begun = self.world.store.begin_night(&night, now_ms).await?;
        let (schedule, slot_ms, reason) = (&schedule.name, night.slot_ms, &night.reason);
        let span = Span::current();
        match begun {
            // Another coordinator was first, or somebody paused it.
            None => {}
            Some(Begun::Started { search }) => {
                if self.world.store.take_search(search).await? {
                    self.drivers.start(search);
                }
                span.record("state", "started").record("search", search);
                tracing::info!(schedule, slot_ms, search, reason, "a night began");
            }
            Some(Begun::Skipped { running }) => {
                span.record("state", "skipped").record("search", running);
                tracing::warn!(schedule, slot_ms, running, "skipped: an earlier night runs");
            }
            Some(Begun::Noted) => {
                let outcome = if is_missed { "missed" } else { "failed" };
                span.record("state", outcome);
                tracing::warn!(schedule, slot_ms, reason, "{outcome}");
            }
        }
        Ok(())
    }

    /// What a night searches: the plans of an earlier night's front first, whose times are measured
    /// afresh. It is the latest night that came to its end with one, else the latest with one.
    async fn search(
        &self,
        schedule: &StoredSchedule,
        slot_ms: i64,
    ) -> Result<NewSearch, ServiceError> {
        let store = &self.world.store;
        let request = store.scheduled(schedule.id).await?;
        let mut request = request.ok_or_else(|| StoreError::Corrupt {
            what: format!("the schedule `{}`", schedule.name),
            reason: "it has no request".to_owned(),
        })?;
        // The same draws every night would propose the same plans every night.
        let minutes = u64::try_from(slot_ms / 60_000).unwrap_or(0);
        request.seed = request.seed.wrapping_add(minutes);
        for search in store.searches_of_nights(schedule.id, MOST_ASKED).await? {
            // What a night did not confirm, little can be held against.
            let stored = store.search(search).await?;
            let is_done = stored.is_some_and(|it| it.state == SearchState::Done);
            if !is_done && request.start_from.is_some() {
                continue;
            }
            match query::starts(&self.world, &request, search).await {
                Ok(_) => request.start_from = Some(search),
                Err(ServiceError::Store(error)) => return Err(error.into()),
                // One that was cancelled before its baselines has nothing to start from.
                Err(_) => continue,
            }
            if is_done {
                break;
            }
        }
        submission::prepare(&self.world, request, None).await
    }
}
