//! `bitfront schedule`: searches that start by themselves.

use bitfront_model::{Budget, NewSchedule, Night, Notice, NoticeState, Schedule, ScheduleState};

use crate::args::{AddScheduleArguments, NightsArguments, ScheduleArguments, ScheduleVerb};
use crate::figures::{count, moment, span};
use crate::listing::{Cell, Column, Listing};
use crate::problem::{ExitStatus, Problem};
use crate::settings::{SearchSettings, duration};
use crate::view::time;

use super::session::{Agent, Session};
use super::submit::requested;

pub(super) async fn schedule(
    typed: ScheduleArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    match typed.verb {
        ScheduleVerb::Add(typed) => add(*typed, &session).await?,
        ScheduleVerb::List(typed) => {
            let mut connection = session.connect(Agent::NotNeeded).await?;
            let schedules = connection.client.schedules().await?;
            connection.close().await?;
            session.list(&listing(&schedules), typed)?;
            for (name, problem) in problems(&schedules) {
                let said =
                    format_args!("`{name}` starts nothing: {problem}; remove it, and add it anew");
                session.printer.say(said);
            }
        }
        ScheduleVerb::Nights(typed) => nights(typed, &session).await?,
        ScheduleVerb::Pause(typed) => set(&typed.name, ScheduleState::Paused, &session).await?,
        ScheduleVerb::Resume(typed) => set(&typed.name, ScheduleState::Active, &session).await?,
        ScheduleVerb::Remove(typed) => set(&typed.name, ScheduleState::Removed, &session).await?,
    }
    Ok(ExitStatus::Success)
}

/// Prints the next times.
async fn add(typed: AddScheduleArguments, session: &Session) -> anyhow::Result<()> {
    let grace = duration("--grace", &typed.grace)?;
    let settings = SearchSettings::new(typed.search)?;
    one_device(&settings.devices)?;
    let (mut connection, requests) = requested(settings, session).await?;
    let mut times = Vec::new();
    // For one device there is one.
    for request in requests {
        let schedule = NewSchedule {
            name: typed.name.clone(),
            cron: typed.cron.clone(),
            time_zone: typed.time_zone.clone(),
            grace,
            webhook: typed.webhook.clone(),
            request,
        };
        times = connection.client.add_schedule(&schedule).await?;
    }
    connection.close().await?;
    for at_ms in times {
        let at = moment(time(at_ms));
        session.printer.data(format_args!("{at}\n"))?;
    }
    if session.is_embedded() {
        session.printer.say(
            "the schedule waits in this machine's own database, and starts searches while \
             `bitfront serve` serves that",
        );
    }
    Ok(())
}

/// Figures of several devices are several series of nights.
fn one_device(devices: &[String]) -> Result<(), Problem> {
    match devices {
        [] => Ok(()),
        [one] if !one.contains('=') => Ok(()),
        _ => Err(
            Problem::usage("--device: a schedule is for one device, by its name")
                .with_hint("add a schedule for each; `bitfront devices` lists them"),
        ),
    }
}

async fn set(name: &str, state: ScheduleState, session: &Session) -> anyhow::Result<()> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let changed = connection.client.set_schedule(name, state).await?;
    connection.close().await?;
    let already = if changed { "now" } else { "already" };
    let said = format_args!("`{name}` is {already} {state}");
    session.printer.say(said);
    Ok(())
}

async fn nights(typed: NightsArguments, session: &Session) -> anyhow::Result<()> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let nights = connection.client.nights(&typed.name, typed.most).await?;
    connection.close().await?;
    session.list(&listing_of_nights(&nights), typed.listing)
}

fn listing(schedules: &[Schedule]) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("name", "name"),
        Column::text("state", "state"),
        Column::text("cron", "when"),
        Column::text("time_zone", "zone"),
        Column::text("model", "model"),
        Column::text("device", "device"),
        Column::text("budget", "budget").for_people(),
        Column::for_programs("budget_evaluations"),
        Column::for_programs("budget_ms"),
        Column::for_programs("grace_ms"),
        Column::for_programs("created_at"),
        Column::text("next", "next"),
        Column::for_programs("problem"),
        Column::text("last_slot", "last"),
        Column::text("last_state", "ended as"),
        Column::for_programs("last_search"),
        Column::for_programs("last_reason"),
        Column::text("webhook", "webhook"),
    ]);
    for schedule in schedules {
        let Budget {
            evaluations,
            time: lasts,
        } = schedule.budget;
        let last = schedule.last.as_ref();
        let at = |ms: Option<i64>| Cell::from(ms.map(|ms| moment(time(ms))));
        listing.row(vec![
            Cell::plain(schedule.name.as_str()),
            Cell::plain(schedule.state.to_string()),
            Cell::plain(schedule.cron.as_str()),
            Cell::plain(schedule.time_zone.as_str()),
            Cell::plain(schedule.model.as_str()),
            Cell::from(schedule.device.clone()),
            Cell::people(budget(&schedule.budget)),
            Cell::from(evaluations),
            Cell::from(lasts.map(|lasts| lasts.as_millis() as u64)),
            Cell::plain(schedule.grace.as_millis() as u64),
            at(Some(schedule.created_ms)),
            at(schedule.next_ms.first().copied()),
            Cell::from(schedule.problem.clone()),
            at(last.map(|night| night.slot_ms)),
            Cell::from(last.map(came_of)),
            Cell::from(last.and_then(|night| night.search)),
            Cell::from(last.map(|night| night.reason.clone())),
            Cell::from(schedule.webhook.clone()),
        ]);
    }
    listing
}

/// The schedules that start nothing although they are active, with the reason.
fn problems(schedules: &[Schedule]) -> impl Iterator<Item = (&str, &str)> {
    let schedules = schedules.iter();
    schedules.filter_map(|it| Some((it.name.as_str(), it.problem.as_deref()?)))
}

fn listing_of_nights(nights: &[Night]) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("slot", "slot"),
        Column::text("state", "state"),
        Column::number("search", "search"),
        Column::text("search_state", "which is"),
        Column::text("reason", "reason"),
        Column::text("told", "told").for_people(),
        Column::for_programs("notice"),
        Column::for_programs("notice_attempts"),
        Column::for_programs("notice_ended_at"),
        Column::for_programs("notice_error"),
    ]);
    for night in nights {
        let notice = &night.notice;
        listing.row(vec![
            Cell::plain(moment(time(night.slot_ms))),
            Cell::plain(night.state.to_string()),
            Cell::from(night.search),
            Cell::from(night.search_state.map(|state| state.to_string())),
            Cell::plain(night.reason.as_str()),
            Cell::people(told(notice)),
            Cell::plain(notice.state.to_string()),
            Cell::plain(notice.attempts),
            Cell::from(notice.ended_ms.map(|ms| moment(time(ms)))),
            Cell::from(notice.error.clone()),
        ]);
    }
    listing
}

/// How far a night has come, in a word.
fn came_of(night: &Night) -> String {
    match night.search_state {
        Some(state) => state.to_string(),
        None => night.state.to_string(),
    }
}

fn budget(budget: &Budget) -> String {
    let evaluations = budget.evaluations.map(|number| count(number, "evaluation"));
    let parts = [evaluations, budget.time.map(span)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.join(" or ")
}

/// Who knows of a night, for people.
fn told(notice: &Notice) -> String {
    let error = notice.error.as_deref().unwrap_or_default();
    let attempts = count(notice.attempts, "attempt");
    match (notice.state, notice.attempts) {
        (NoticeState::None, _) => "–".to_owned(),
        (NoticeState::Wanted, 0) => "not yet".to_owned(),
        (NoticeState::Wanted, _) if error.is_empty() => format!("not yet, after {attempts}"),
        (NoticeState::Wanted, _) => format!("not yet, after {attempts}: {error}"),
        (NoticeState::Delivered, _) => "yes".to_owned(),
        (NoticeState::GivenUp, _) => format!("given up after {attempts}: {error}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use bitfront_model::{NightState, SearchState};

    use super::*;
    use crate::args::Format;

    const SLOT: i64 = 1_780_000_000_000;

    fn night(days: i64, state: NightState, search: Option<i64>, notice: NoticeState) -> Night {
        let is_told = matches!(notice, NoticeState::Delivered | NoticeState::GivenUp);
        Night {
            slot_ms: SLOT + days * 86_400_000,
            state,
            search,
            search_state: search.map(|_| SearchState::Done),
            reason: match state {
                NightState::Missed => "no coordinator served within 3600s of it".to_owned(),
                _ => "120 evaluations were made".to_owned(),
            },
            notice: Notice {
                state: notice,
                attempts: u64::from(notice != NoticeState::None) * 3,
                ended_ms: is_told.then_some(SLOT + days * 86_400_000 + 5_000),
                error: (notice == NoticeState::GivenUp).then(|| "it answers 500".to_owned()),
            },
        }
    }

    #[test]
    fn a_schedule_is_a_row() {
        let schedule = |name: &str, state, next_ms: &[i64], last| Schedule {
            name: name.to_owned(),
            cron: "0 2 * * *".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            state,
            grace: Duration::from_secs(3600),
            webhook: Some("https://hooks.example.org".to_owned()),
            model: "tiny".to_owned(),
            device: Some("board".to_owned()),
            budget: Budget {
                evaluations: Some(120),
                time: Some(Duration::from_secs(3600)),
            },
            created_ms: SLOT,
            next_ms: next_ms.to_vec(),
            problem: None,
            last,
        };
        let last = night(0, NightState::Started, Some(12), NoticeState::Delivered);
        let schedules = [
            schedule(
                "nightly",
                ScheduleState::Active,
                &[SLOT + 86_400_000],
                Some(last),
            ),
            schedule("later", ScheduleState::Paused, &[], None),
            Schedule {
                problem: Some("time_zone: there is no `Mars/Olympus`".to_owned()),
                ..schedule("unread", ScheduleState::Active, &[], None)
            },
        ];
        let unread: Vec<_> = problems(&schedules).collect();
        assert_eq!(
            unread,
            [("unread", "time_zone: there is no `Mars/Olympus`")]
        );
        insta::assert_snapshot!(listing(&schedules).render(Format::Table, 160).unwrap());
        insta::assert_snapshot!(listing(&schedules).render(Format::Json, 160).unwrap());
    }

    #[test]
    fn a_night_is_a_row_with_whether_it_was_told() {
        let nights = [
            night(2, NightState::Started, Some(13), NoticeState::GivenUp),
            night(1, NightState::Missed, None, NoticeState::Wanted),
            night(0, NightState::Started, Some(12), NoticeState::None),
        ];
        let listing = listing_of_nights(&nights);
        insta::assert_snapshot!(listing.render(Format::Table, 140).unwrap());
        insta::assert_snapshot!(listing.render(Format::Csv, 140).unwrap());
    }

    #[test]
    fn a_schedule_is_for_one_device() {
        let typed = |devices: &[&str]| {
            let devices: Vec<_> = devices.iter().map(|name| (*name).to_owned()).collect();
            one_device(&devices)
        };
        assert!(typed(&[]).is_ok() && typed(&["board"]).is_ok());
        assert!(typed(&["one", "two"]).is_err() && typed(&["arch=x86_64"]).is_err());
    }
}
