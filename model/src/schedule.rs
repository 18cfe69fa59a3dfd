//! Searches that start by themselves: schedules, and what became of their slots.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::request::named;
use crate::{Budget, SearchRequest, SearchState, UnknownName};

/// Whether a schedule starts searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScheduleState {
    /// Each of its slots becomes a night.
    Active,
    /// Its slots pass unseen until it is resumed.
    Paused,
    /// It is over; its nights stay.
    Removed,
}

named!(ScheduleState, "state of a schedule",
    ScheduleState::Active => "active",
    ScheduleState::Paused => "paused",
    ScheduleState::Removed => "removed");

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NightState {
    /// A search was started.
    Started,
    /// No coordinator served in time.
    Missed,
    /// The search of an earlier night had not ended.
    Skipped,
    /// The request was refused.
    Failed,
}

named!(NightState, "state of a night",
    NightState::Started => "started",
    NightState::Missed => "missed",
    NightState::Skipped => "skipped",
    NightState::Failed => "failed");

/// How far the notice of a night has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeState {
    /// Nobody is to be told.
    None,
    /// It is sent once the night is over, and again until it is taken.
    Wanted,
    /// It was taken.
    Delivered,
    /// It was sent for too long in vain.
    GivenUp,
}

named!(NoticeState, "state of a notice",
    NoticeState::None => "none",
    NoticeState::Wanted => "wanted",
    NoticeState::Delivered => "delivered",
    NoticeState::GivenUp => "given_up");

/// Where the end of a night is told: an `http` or `https` URL. Mostly whoever knows it may use it, so
/// nothing of it but the host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook(pub String);

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Webhook(not shown)")
    }
}

/// A schedule to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSchedule {
    /// Unique among those that are not removed.
    pub name: String,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The zone in which the line is read, by its name in the IANA database.
    pub time_zone: String,
    /// How late a slot may be started; later it is missed.
    pub grace: Duration,
    /// Where the end of a night is told.
    pub webhook: Option<Webhook>,
    /// What every night searches, with the budget of one.
    pub request: SearchRequest,
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The zone in which the line is read.
    pub time_zone: String,
    /// Whether it starts searches.
    pub state: ScheduleState,
    /// How late a slot may be started.
    pub grace: Duration,
    /// The scheme and the host of its webhook (`https://hooks.example.org`).
    pub webhook: Option<String>,
    /// The name of the model that it searches.
    pub model: String,
    /// The device that it searches for; none takes the first one that serves.
    pub device: Option<String>,
    /// The budget of one night.
    pub budget: Budget,
    /// In milliseconds since 1970, as all moments here are.
    pub created_ms: i64,
    /// Its next slots, the first one first; none unless it is active.
    pub next_ms: Vec<i64>,
    /// Why it starts nothing although it is active: what an earlier version took and this one does not.
    pub problem: Option<String>,
    /// Its latest night.
    pub last: Option<Night>,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Night {
    /// The slot.
    pub slot_ms: i64,
    /// What became of it.
    pub state: NightState,
    /// The search that was started.
    pub search: Option<i64>,
    /// How that stands.
    pub search_state: Option<SearchState>,
    /// Why there is none, or why the search ended or what it waits for, and what else is worth saying.
    pub reason: String,
    /// Whether its end was told.
    pub notice: Notice,
}

/// How far the notice of a night has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How far.
    pub state: NoticeState,
    /// How often it was sent.
    pub attempts: u64,
    /// When it was taken or given up.
    pub ended_ms: Option<i64>,
    /// What the last attempt failed of, where it did.
    pub error: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back_and_unknown_ones_are_listed_with_the_known() {
        use {NightState as Night, NoticeState as Notice, ScheduleState as Schedule};
        for state in [Schedule::Active, Schedule::Paused, Schedule::Removed] {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        for state in [Night::Started, Night::Missed, Night::Skipped, Night::Failed] {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        for state in [
            Notice::None,
            Notice::Wanted,
            Notice::Delivered,
            Notice::GivenUp,
        ] {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        let unknown = "late".parse::<NightState>().unwrap_err().to_string();
        let known = "started, missed, skipped, failed";
        assert_eq!(
            unknown,
            format!("unknown state of a night `late`; known are {known}")
        );
    }

    #[test]
    fn a_webhook_is_not_shown() {
        let webhook = Webhook("https://hooks.example.org/T0/secret".to_owned());
        assert!(!format!("{webhook:?}").contains("secret"));
    }
}
