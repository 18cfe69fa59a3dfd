//! What the coordinator remembers of schedules and of what became of their slots.

use std::time::Duration;

use async_trait::async_trait;
use bitfront_model::{NewSchedule, Night, NoticeState, ScheduleState, SearchRequest, Webhook};

use super::{NewSearch, StoreError};

/// The part of a [`Store`](super::Store) that is about schedules; what holds there holds here.
#[async_trait]
pub(crate) trait Schedules: Send + Sync + 'static {
    /// Stores an active schedule, whose slots are those after now. False where there is one of that
    /// name that is not removed.
    async fn add_schedule(&self, schedule: &NewSchedule, now_ms: i64) -> Result<bool, StoreError>;
    /// Every schedule, removed ones too, in the order in which they were added.
    async fn schedules(&self) -> Result<Vec<StoredSchedule>, StoreError>;
    /// What every night of a schedule searches.
    async fn scheduled(&self, schedule: i64) -> Result<Option<SearchRequest>, StoreError>;
    /// Pauses, resumes or removes the schedule of a name. The slots of one that is resumed are those
    /// after now. False where that changes nothing; none where none of that name is not removed.
    async fn set_schedule(
        &self,
        name: &str,
        state: ScheduleState,
        now_ms: i64,
    ) -> Result<Option<bool>, StoreError>;
    /// Decides what becomes of a slot, once: with a search to start it is skipped where the one of an
    /// earlier night has not ended. None where it has been decided, or the schedule is not active.
    async fn begin_night(&self, night: &NewNight, now_ms: i64)
    -> Result<Option<Begun>, StoreError>;
    /// The latest nights of a schedule, the latest first.
    async fn nights(&self, schedule: i64, most: u32) -> Result<Vec<StoredNight>, StoreError>;
    /// The latest searches of a schedule, the latest first.
    async fn searches_of_nights(&self, schedule: i64, most: u32) -> Result<Vec<i64>, StoreError>;
    /// Nights that are over, and whose notice may be sent now, the first ones first.
    async fn to_tell(&self, now_ms: i64, most: u32) -> Result<Vec<Untold>, StoreError>;
    /// Begins the next attempt to send a notice, and says when the one after it may begin. False where
    /// somebody else has begun it.
    async fn begin_notice(
        &self,
        night: i64,
        attempts: u64,
        now_ms: i64,
        next_ms: i64,
    ) -> Result<bool, StoreError>;
    /// Notes what came of an attempt.
    async fn conclude_notice(
        &self,
        night: i64,
        state: NoticeState,
        error: Option<&str>,
        now_ms: i64,
    ) -> Result<(), StoreError>;
}

/// A schedule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSchedule {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) cron: String,
    pub(crate) time_zone: String,
    pub(crate) grace: Duration,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) created_ms: i64,
    pub(crate) state: ScheduleState,
    /// The slots that are not decided are those after this.
    pub(crate) decided_ms: i64,
}

/// What is to become of a slot.
#[derive(Debug, Clone)]
pub(crate) struct NewNight {
    pub(crate) schedule: i64,
    pub(crate) slot_ms: i64,
    pub(crate) decision: Decision,
    /// What is worth saying of it; of one that is started mostly nothing.
    pub(crate) reason: String,
}

/// What is to become of a slot.
#[derive(Debug, Clone)]
pub(crate) enum Decision {
    Start(Box<NewSearch>),
    Missed,
    Failed,
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Started {
        search: i64,
    },
    Skipped {
        running: i64,
    },
    /// As it was to be.
    Noted,
}

/// A night, with how its search stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredNight {
    pub(crate) id: i64,
    pub(crate) night: Night,
}

/// A night whose end is to be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Untold {
    pub(crate) schedule: String,
    pub(crate) webhook: Webhook,
    pub(crate) night: StoredNight,
    /// When the first attempt began.
    pub(crate) first_ms: Option<i64>,
}
