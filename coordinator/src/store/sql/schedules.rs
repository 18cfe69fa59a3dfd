//! Schedules, and what became of their slots.

use std::time::Duration;

use async_trait::async_trait;
use bitfront_model::{
    NewSchedule, Night, NightState, Notice, NoticeState, ScheduleState, SearchRequest, Webhook,
};
use sqlx::Row as _;

use super::decode::{json, milliseconds, optional_word, parsed, signed, unsigned, word};
use super::{
    Begun, Connection, Decision, Failure, NewNight, Row, Schedules, StoreError, StoredNight,
    StoredSchedule, ThisStore, Untold, searches,
};

/// A night with its search and its schedule.
macro_rules! nights {
    ($rest:literal) => {
        concat!(
            "SELECT n.*, s.state AS search_state, s.reason AS search_reason, h.name, h.webhook
             FROM nights n JOIN schedules h ON h.id = n.schedule
                           LEFT JOIN searches s ON s.id = n.search ",
            $rest
        )
    };
}

#[async_trait]
impl Schedules for ThisStore {
    async fn add_schedule(&self, schedule: &NewSchedule, now_ms: i64) -> Result<bool, StoreError> {
        let schedule = schedule.clone();
        write!(self, "store a schedule", |connection| add(
            connection, &schedule, now_ms
        ))
    }

    async fn schedules(&self) -> Result<Vec<StoredSchedule>, StoreError> {
        read!(self, "list the schedules", all)
    }

    async fn scheduled(&self, schedule: i64) -> Result<Option<SearchRequest>, StoreError> {
        read!(self, "find the request of a schedule", request, schedule)
    }

    async fn set_schedule(
        &self,
        name: &str,
        state: ScheduleState,
        now_ms: i64,
    ) -> Result<Option<bool>, StoreError> {
        let name = name.to_owned();
        write!(self, "change a schedule", |connection| set(
            connection, &name, state, now_ms
        ))
    }

    async fn begin_night(
        &self,
        night: &NewNight,
        now_ms: i64,
    ) -> Result<Option<Begun>, StoreError> {
        let (night, me) = (night.clone(), self.term.get());
        write!(self, "decide what becomes of a slot", |connection| {
            begin_night(connection, &night, me, now_ms)
        })
    }

    async fn nights(&self, schedule: i64, most: u32) -> Result<Vec<StoredNight>, StoreError> {
        read!(
            self,
            "list the nights of a schedule",
            latest,
            schedule,
            most
        )
    }

    async fn searches_of_nights(&self, schedule: i64, most: u32) -> Result<Vec<i64>, StoreError> {
        read!(
            self,
            "list the searches of a schedule",
            latest_searches,
            schedule,
            most
        )
    }

    async fn to_tell(&self, now_ms: i64, most: u32) -> Result<Vec<Untold>, StoreError> {
        read!(self, "list the notices to be sent", to_tell, now_ms, most)
    }

    async fn begin_notice(
        &self,
        night: i64,
        attempts: u64,
        now_ms: i64,
        next_ms: i64,
    ) -> Result<bool, StoreError> {
        write!(self, "begin to send a notice", |connection| begin_notice(
            connection, night, attempts, now_ms, next_ms
        ))
    }

    async fn conclude_notice(
        &self,
        night: i64,
        state: NoticeState,
        error: Option<&str>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let error = error.map(str::to_owned);
        write!(self, "note what came of a notice", |connection| {
            conclude_notice(connection, night, state, error.as_deref(), now_ms)
        })
    }
}

async fn add(
    connection: &mut Connection,
    schedule: &NewSchedule,
    now_ms: i64,
) -> Result<bool, Failure> {
    let added = sqlx::query(
        "INSERT INTO schedules (name, cron, time_zone, grace_ms, request, webhook, created_at, since,
                                state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 'active')
         ON CONFLICT (name) WHERE state <> 'removed' DO NOTHING",
    )
    .bind(&schedule.name)
    .bind(&schedule.cron)
    .bind(&schedule.time_zone)
    .bind(milliseconds(schedule.grace))
    .bind(json("the request of a schedule", &schedule.request)?)
    .bind(schedule.webhook.as_ref().map(|webhook| &webhook.0))
    .bind(now_ms)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

async fn all(connection: &mut Connection) -> Result<Vec<StoredSchedule>, Failure> {
    let rows = sqlx::query(
        "SELECT id, name, cron, time_zone, grace_ms, webhook, created_at, state, since,
                (SELECT max(slot_at) FROM nights WHERE schedule = schedules.id) AS last_slot
         FROM schedules ORDER BY id",
    );
    let rows = rows.fetch_all(connection).await?;
    let schedules = rows.iter().map(|row| {
        let since: i64 = row.try_get("since")?;
        let last: Option<i64> = row.try_get("last_slot")?;
        Ok(StoredSchedule {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            cron: row.try_get("cron")?,
            time_zone: row.try_get("time_zone")?,
            grace: Duration::from_millis(unsigned(row, "grace_ms")?),
            webhook: row.try_get::<Option<String>, _>("webhook")?.map(Webhook),
            created_ms: row.try_get("created_at")?,
            state: word(row, "state")?,
            decided_ms: last.map_or(since, |last| last.max(since)),
        })
    });
    schedules.collect()
}

async fn request(
    connection: &mut Connection,
    schedule: i64,
) -> Result<Option<SearchRequest>, Failure> {
    let request: Option<String> = sqlx::query_scalar("SELECT request FROM schedules WHERE id = $1")
        .bind(schedule)
        .fetch_optional(connection)
        .await?;
    let request = request.map(|text| parsed(&format!("schedule {schedule}"), &text));
    request.transpose()
}

async fn set(
    connection: &mut Connection,
    name: &str,
    state: ScheduleState,
    now_ms: i64,
) -> Result<Option<bool>, Failure> {
    let set = sqlx::query(
        "UPDATE schedules SET since = CASE WHEN $2 = 'active' THEN $3 ELSE since END, state = $2
         WHERE name = $1 AND state NOT IN ($2, 'removed')",
    );
    let set = set.bind(name).bind(state.to_string()).bind(now_ms);
    if set.execute(&mut *connection).await?.rows_affected() == 1 {
        return Ok(Some(true));
    }
    let there: Option<i64> =
        sqlx::query_scalar("SELECT id FROM schedules WHERE name = $1 AND state <> 'removed'")
            .bind(name)
            .fetch_optional(connection)
            .await?;
    Ok(there.map(|_| false))
}

async fn begin_night(
    connection: &mut Connection,
    night: &NewNight,
    me: Option<i64>,
    now_ms: i64,
) -> Result<Option<Begun>, Failure> {
    // Held, so that of two coordinators the later one sees what the first one started.
    let held: Option<(i64, Option<String>)> = sqlx::query_as(concat!(
        "SELECT h.id, h.webhook FROM schedules h
         WHERE h.id = $1 AND h.state = 'active'
               AND NOT EXISTS (SELECT 1 FROM nights WHERE schedule = $1 AND slot_at >= $2)",
        holding!("h"),
    ))
    .bind(night.schedule)
    .bind(night.slot_ms)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((_, webhook)) = held else {
        return Ok(None);
    };
    let mut reason = night.reason.clone();
    let (state, begun) = match &night.decision {
        Decision::Missed => (NightState::Missed, Begun::Noted),
        Decision::Failed => (NightState::Failed, Begun::Noted),
        Decision::Start(search) => match running(connection, night.schedule).await? {
            Some(running) => {
                reason = format!("search {running} of an earlier night had not ended");
                (NightState::Skipped, Begun::Skipped { running })
            }
            None => {
                let search = searches::submit(connection, search, me, now_ms).await?;
                (NightState::Started, Begun::Started { search })
            }
        },
    };
    let search = match begun {
        Begun::Started { search } => Some(search),
        Begun::Skipped { .. } | Begun::Noted => None,
    };
    let added = sqlx::query(
        "INSERT INTO nights (schedule, slot_at, state, search, reason, decided_at, notice,
                             notice_next_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $6) ON CONFLICT (schedule, slot_at) DO NOTHING",
    )
    .bind(night.schedule)
    .bind(night.slot_ms)
    .bind(state.to_string())
    .bind(search)
    .bind(reason)
    .bind(now_ms)
    .bind(match webhook {
        None => NoticeState::None.to_string(),
        Some(_) => NoticeState::Wanted.to_string(),
    })
    .execute(connection)
    .await?;
    match added.rows_affected() {
        1 => Ok(Some(begun)),
        // What was begun is taken back, and the next try finds it decided.
        _ => Err(Failure::Overtaken),
    }
}

/// The search of a schedule that has not ended.
async fn running(connection: &mut Connection, schedule: i64) -> Result<Option<i64>, Failure> {
    let running = sqlx::query_scalar(
        "SELECT s.id FROM nights n JOIN searches s ON s.id = n.search
         WHERE n.schedule = $1 AND s.state IN ('queued', 'running') ORDER BY s.id DESC LIMIT 1",
    );
    Ok(running.bind(schedule).fetch_optional(connection).await?)
}

async fn latest(
    connection: &mut Connection,
    schedule: i64,
    most: u32,
) -> Result<Vec<StoredNight>, Failure> {
    let rows = sqlx::query(nights!(
        "WHERE n.schedule = $1 ORDER BY n.slot_at DESC LIMIT $2"
    ));
    let rows = rows.bind(schedule).bind(i64::from(most));
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(stored).collect()
}

async fn latest_searches(
    connection: &mut Connection,
    schedule: i64,
    most: u32,
) -> Result<Vec<i64>, Failure> {
    let searches = sqlx::query_scalar(
        "SELECT search FROM nights WHERE schedule = $1 AND search IS NOT NULL
         ORDER BY search DESC LIMIT $2",
    );
    let searches = searches.bind(schedule).bind(i64::from(most));
    Ok(searches.fetch_all(connection).await?)
}

async fn to_tell(
    connection: &mut Connection,
    now_ms: i64,
    most: u32,
) -> Result<Vec<Untold>, Failure> {
    let rows = sqlx::query(nights!(
        "WHERE n.notice = 'wanted' AND n.notice_next_at <= $1 AND h.webhook IS NOT NULL
               AND (n.search IS NULL OR s.state NOT IN ('queued', 'running'))
         ORDER BY n.notice_next_at, n.id LIMIT $2"
    ));
    let rows = rows.bind(now_ms).bind(i64::from(most));
    let rows = rows.fetch_all(connection).await?;
    let untold = rows.iter().map(|row| {
        Ok(Untold {
            schedule: row.try_get("name")?,
            webhook: Webhook(row.try_get("webhook")?),
            night: stored(row)?,
            first_ms: row.try_get("notice_first_at")?,
        })
    });
    untold.collect()
}

fn stored(row: &Row) -> Result<StoredNight, Failure> {
    let own: String = row.try_get("reason")?;
    let of_search: Option<String> = row.try_get("search_reason")?;
    let said = [own, of_search.unwrap_or_default()];
    let said: Vec<_> = said.into_iter().filter(|part| !part.is_empty()).collect();
    Ok(StoredNight {
        id: row.try_get("id")?,
        night: Night {
            slot_ms: row.try_get("slot_at")?,
            state: word(row, "state")?,
            search: row.try_get("search")?,
            search_state: optional_word(row, "search_state")?,
            reason: said.join("; "),
            notice: Notice {
                state: word(row, "notice")?,
                attempts: unsigned(row, "notice_attempts")?,
                ended_ms: row.try_get("notice_ended_at")?,
                error: row.try_get("notice_error")?,
            },
        },
    })
}

async fn begin_notice(
    connection: &mut Connection,
    night: i64,
    attempts: u64,
    now_ms: i64,
    next_ms: i64,
) -> Result<bool, Failure> {
    let begun = sqlx::query(
        "UPDATE nights SET notice_attempts = notice_attempts + 1, notice_next_at = $4,
                           notice_first_at = coalesce(notice_first_at, $3)
         WHERE id = $1 AND notice = 'wanted' AND notice_attempts = $2",
    );
    let begun = begun.bind(night).bind(signed(attempts));
    let begun = begun.bind(now_ms).bind(next_ms).execute(connection).await?;
    Ok(begun.rows_affected() == 1)
}

async fn conclude_notice(
    connection: &mut Connection,
    night: i64,
    state: NoticeState,
    error: Option<&str>,
    now_ms: i64,
) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE nights SET notice = $2, notice_error = $3,
                           notice_ended_at = CASE WHEN $2 = 'wanted' THEN NULL ELSE $4 END
         WHERE id = $1 AND notice = 'wanted'",
    )
    .bind(night)
    .bind(state.to_string())
    .bind(error)
    .bind(now_ms)
    .execute(connection)
    .await?;
    Ok(())
}
