//! When a schedule's searches start: a cron line read in a time zone. Pure: no clock is asked.
//!
//! The line names times of the wall, and each of them is one slot, whatever the clocks are set to
//! meanwhile. A time that comes twice, where clocks go back, is the first of the two. One that does not
//! exist, where they go forward, is as far after the gap as it would have been after its beginning.

use chrono::{
    DateTime, Days, LocalResult, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc,
};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The least time between two slots of a line. A search needs minutes for its baselines alone.
const LEAST_BETWEEN: TimeDelta = TimeDelta::minutes(5);

/// Slots of a line that are looked at before it is taken: a week of the densest one.
const LOOKED_AT: usize = 7 * 288;

/// No clock was ever set by more than a day at once (Samoa left one out in 2011), so within this of a
/// moment all times of the wall are that can mean it.
const AROUND: Days = Days::new(2);

/// Times of the wall that [`AROUND`] adds, of the densest line.
const MOST_AROUND: usize = 4 * 288;

/// How many names of time zones are shown that are near to one that does not exist.
const NEAR: usize = 3;

/// A cron line or a time zone cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SlotsError {
    #[error(
        "cron: `{line}` has {fields} fields; five are expected: minute, hour, day of the month, \
         month, day of the week, as in `0 2 * * *`"
    )]
    Fields { line: String, fields: usize },
    #[error("cron: `{line}` is no cron line: {problem}")]
    Line { line: String, problem: String },
    #[error("cron: `{line}` never comes: there is no such day; name one that there is")]
    Never { line: String },
    #[error(
        "cron: `{line}` comes more often than every {} minutes (at {first} and {second}); leave more \
         time between two, and give each search a budget that fits in", LEAST_BETWEEN.num_minutes()
    )]
    TooOften {
        line: String,
        first: String,
        second: String,
    },
    #[error("time_zone: there is no `{name}`; {near}")]
    Zone { name: String, near: String },
}

/// The slots of a schedule.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    cron: Cron,
    zone: Tz,
}

/// A time at which a search starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// In milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Where the line names a time that does not exist that day: what is to be said of it.
    pub(crate) moved: Option<String>,
}

impl Slots {
    /// Reads a line and the name of a zone, and looks whether the line comes at all and how often.
    ///
    /// # Errors
    ///
    /// One of the two cannot be used.
    pub(crate) fn new(line: &str, zone: &str) -> Result<Self, SlotsError> {
        let slots = Self::read(line, zone)?;
        slots.check(line)?;
        Ok(slots)
    }

    /// Reads a line and the name of a zone that were found to be good before.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], of what can be seen at a glance.
    pub(crate) fn read(line: &str, zone: &str) -> Result<Self, SlotsError> {
        let zone = zone.parse::<Tz>().map_err(|_| SlotsError::Zone {
            name: zone.to_owned(),
            near: near(zone),
        })?;
        let fields = line.split_whitespace().count();
        if fields != 5 && !line.trim_start().starts_with('@') {
            return Err(SlotsError::Fields {
                line: line.to_owned(),
                fields,
            });
        }
        let parser = CronParser::builder();
        let parser = parser.seconds(Seconds::Disallowed).year(Year::Disallowed);
        let parsed = parser.build().parse(line);
        Ok(Self {
            zone,
            cron: parsed.map_err(|error| SlotsError::Line {
                line: line.to_owned(),
                problem: error.to_string(),
            })?,
        })
    }

    fn check(&self, line: &str) -> Result<(), SlotsError> {
        // Any day does, since a line has no years.
        let mut last = None;
        for time in self.times(DateTime::UNIX_EPOCH.naive_utc()).take(LOOKED_AT) {
            let before = last.replace(time);
            let too_often = before.filter(|before| time - *before < LEAST_BETWEEN);
            if let Some(before) = too_often {
                let shown = |time: NaiveDateTime| time.format("%H:%M").to_string();
                return Err(SlotsError::TooOften {
                    line: line.to_owned(),
                    first: shown(before),
                    second: shown(time),
                });
            }
        }
        match last {
            Some(_) => Ok(()),
            None => Err(SlotsError::Never {
                line: line.to_owned(),
            }),
        }
    }

    /// The first slots after a moment and up to another one, `most` at the most, in their order.
    pub(crate) fn between(&self, after_ms: i64, until_ms: i64, most: usize) -> Vec<Slot> {
        let (Some(after), Some(until)) = (self.local(after_ms), self.local(until_ms)) else {
            return Vec::new();
        };
        let from = after.checked_sub_days(AROUND).unwrap_or(after);
        let to = until.checked_add_days(AROUND);
        let times = self.times(from);
        let times = times.take_while(|time| to.is_none_or(|to| *time <= to));
        let slots = times.take(most.saturating_add(MOST_AROUND));
        let slots = slots.map(|time| self.slot(time));
        let mut slots: Vec<_> = slots
            .filter(|slot| after_ms < slot.at_ms && slot.at_ms <= until_ms)
            .collect();
        // Of two at one moment that one stays which was meant for it.
        slots.sort_by_key(|slot| (slot.at_ms, slot.moved.is_some()));
        slots.dedup_by_key(|slot| slot.at_ms);
        slots.truncate(most);
        slots
    }

    /// The next slots after a moment.
    pub(crate) fn next(&self, after_ms: i64, most: usize) -> Vec<Slot> {
        // A 29th of February is eight years from the one before it at the most.
        const TEN_YEARS_MS: i64 = 10 * 366 * 86_400_000;
        let each = i64::try_from(most).unwrap_or(i64::MAX);
        let until_ms = after_ms.saturating_add(TEN_YEARS_MS.saturating_mul(each));
        self.between(after_ms, until_ms, most)
    }

    /// The times of the wall that the line names from one on, as if no clock were ever set.
    fn times(&self, from: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> + '_ {
        let find = |from: NaiveDateTime, inclusive| {
            let found = self.cron.find_next_occurrence(&from.and_utc(), inclusive);
            found.ok().map(|time| time.naive_utc())
        };
        std::iter::successors(find(from, true), move |last| find(*last, false))
    }

    fn local(&self, moment_ms: i64) -> Option<NaiveDateTime> {
        let moment = DateTime::<Utc>::from_timestamp_millis(moment_ms)?;
        Some(moment.with_timezone(&self.zone).naive_local())
    }

    fn slot(&self, time: NaiveDateTime) -> Slot {
        let (at, moved) = match self.zone.from_local_datetime(&time) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => (at, None),
            LocalResult::None => {
                // What counted before the gap still does, as long after its beginning.
                let before = self.zone.offset_from_utc_datetime(&(time - AROUND));
                let at = self.zone.from_utc_datetime(&(time - before.fix()));
                let moved = format!(
                    "{} does not exist in {}, where clocks go forward; started at {} instead",
                    time.format("%Y-%m-%d %H:%M"),
                    self.zone.name(),
                    at.format("%H:%M")
                );
                (at, Some(moved))
            }
        };
        Slot {
            at_ms: at.timestamp_millis(),
            moved,
        }
    }
}

/// What is said of a name that no zone has.
fn near(name: &str) -> String {
    let city = |name: &str| {
        let city = name.rsplit('/').next().unwrap_or_default();
        city.to_lowercase().replace(' ', "_")
    };
    let wanted = city(name);
    let mut zones: Vec<_> = TZ_VARIANTS
        .iter()
        .map(|zone| {
            (
                strsim::jaro_winkler(&wanted, &city(zone.name())),
                zone.name(),
            )
        })
        .collect();
    zones.sort_by(|first, second| second.0.total_cmp(&first.0));
    let names: Vec<_> = zones[..NEAR].iter().map(|(_, name)| *name).collect();
    format!(
        "near to it are {}; a name of the IANA database is expected",
        names.join(", ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_millis()
    }

    /// The slots between two moments, in UTC, a moved one with `!`.
    fn slots(line: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
        let slots = Slots::new(line, zone).unwrap();
        let between = slots.between(ms(after), ms(until), 1000);
        let shown = between.iter().map(|slot| {
            let at = DateTime::from_timestamp_millis(slot.at_ms).unwrap();
            let moved = if slot.moved.is_some() { "!" } else { "" };
            format!("{}{moved}", at.format("%m-%d %H:%M"))
        });
        shown.collect()
    }

    #[test]
    fn a_line_is_read_in_its_zone() {
        let found = slots(
            "0 2 * * *",
            "Europe/Berlin",
            "2026-01-10T00:59:00Z",
            "2026-01-12T01:00:00Z",
        );
        assert_eq!(found, ["01-10 01:00", "01-11 01:00", "01-12 01:00"]);
        let summer = slots(
            "0 2 * * *",
            "Europe/Berlin",
            "2026-07-10T00:00:00Z",
            "2026-07-11T00:00:00Z",
        );
        // The moment after which they are counted is none of them, and the one up to which is.
        assert_eq!(summer, ["07-11 00:00"]);
        let weekly = slots(
            "30 23 * * MON-FRI",
            "UTC",
            "2026-11-26T00:00:00Z",
            "2026-11-30T23:59:00Z",
        );
        assert_eq!(weekly, ["11-26 23:30", "11-27 23:30", "11-30 23:30"]);
        let daily = slots(
            "@daily",
            "UTC",
            "2026-11-26T00:00:00Z",
            "2026-11-27T00:00:00Z",
        );
        assert_eq!(daily, ["11-27 00:00"]);
    }

    #[test]
    fn a_time_that_comes_twice_is_one_slot() {
        // Clocks go back on 2026-10-25 from 03:00 to 02:00 summer time, at 01:00 UTC.
        let zone = "Europe/Berlin";
        let (day, next) = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_eq!(slots("30 2 * * *", zone, day, next), ["10-25 00:30"]);
        // Asked in the second of the two hours, it has been.
        let second = slots("30 2 * * *", zone, "2026-10-25T01:15:00Z", next);
        assert_eq!(second, [""; 0]);
        let hourly = slots(
            "0 * * * *",
            zone,
            "2026-10-24T23:30:00Z",
            "2026-10-25T03:00:00Z",
        );
        assert_eq!(hourly, ["10-25 00:00", "10-25 02:00", "10-25 03:00"]);
    }

    #[test]
    fn a_time_that_does_not_exist_is_moved_and_said() {
        // Clocks go forward on 2026-03-29 from 02:00 to 03:00, at 01:00 UTC.
        let zone = "Europe/Berlin";
        let (day, next) = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        assert_eq!(slots("30 2 * * *", zone, day, next), ["03-29 01:30!"]);
        // From between the gap and where it is moved to it is still to come.
        let late = slots("30 2 * * *", zone, "2026-03-29T01:10:00Z", next);
        assert_eq!(late, ["03-29 01:30!"]);
        // Where the line names the time that it is moved to, both are one.
        assert_eq!(slots("30 2,3 * * *", zone, day, next), ["03-29 01:30"]);
        let slot = Slots::new("30 2 * * *", zone)
            .unwrap()
            .next(ms(day), 1)
            .remove(0);
        let said = slot.moved.unwrap();
        let expected = "2026-03-29 02:30 does not exist in Europe/Berlin, where clocks go forward; \
                        started at 03:30 instead";
        assert_eq!(said, expected);
        // A whole day that was left out.
        let (day, next) = ("2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z");
        let samoa = slots("0 12 * * *", "Pacific/Apia", day, next);
        assert_eq!(samoa, ["12-29 22:00", "12-30 22:00"]);
    }

    #[test]
    fn the_next_ones_are_found_however_far_they_are() {
        let slots = Slots::new("0 0 29 2 *", "UTC").unwrap();
        let next = slots.next(ms("2026-11-26T00:00:00Z"), 2);
        let next: Vec<_> = next.iter().map(|slot| slot.at_ms).collect();
        assert_eq!(
            next,
            [ms("2028-02-29T00:00:00Z"), ms("2032-02-29T00:00:00Z")]
        );
        let dense = Slots::new("*/5 * * * *", "UTC").unwrap();
        assert_eq!(dense.between(0, ms("2026-11-26T00:00:00Z"), 100).len(), 100);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_do() {
        let said = |line: &str, zone: &str| Slots::new(line, zone).unwrap_err().to_string();
        let cases = [
            ("0 2 30 2 *", "UTC", "never comes"),
            (
                "* * * * *",
                "UTC",
                "more often than every 5 minutes (at 00:00 and 00:01)",
            ),
            ("0,2 2 * * *", "UTC", "(at 02:00 and 02:02)"),
            ("58 23,0 * * 1", "Mars/Base", "there is no `Mars/Base`"),
            ("* * * * * *", "UTC", "has 6 fields; five are expected"),
            ("", "UTC", "has 0 fields"),
            ("0 25 * * *", "UTC", "is no cron line"),
            ("@sometimes", "UTC", "is no cron line"),
            ("0 2 * * *", "Europe/Berln", "near to it are Europe/Berlin"),
            ("0 2 * * *", "berlin", "near to it are Europe/Berlin"),
        ];
        for (line, zone, expected) in cases {
            let said = said(line, zone);
            assert!(said.contains(expected), "{line} {zone}: {said}");
        }
        // Around midnight too.
        let wrapped = said("0,58 0,23 * * *", "UTC");
        assert!(wrapped.contains("(at 23:58 and 00:00)"), "{wrapped}");
    }
}
