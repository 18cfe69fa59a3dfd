//! Claims: queued tasks become leases, as many as there are devices that wait for the same ones.

use std::collections::HashMap;

use bitfront_model::{LeaseToken, TaskKind, TaskPurpose};
use sqlx::Row as _;

use super::decode::{corrupt, json, milliseconds, split, unsigned, word};
use super::{Claimant, Claimed, Connection, Failure};

pub(super) async fn claim(
    connection: &mut Connection,
    claimant: &Claimant,
    me: Option<i64>,
    now_ms: i64,
) -> Result<Option<Claimed>, Failure> {
    let claimants = std::slice::from_ref(claimant);
    let mut claimed = claim_each(connection, claimants, me, now_ms).await?;
    Ok(claimed.pop())
}

/// A task each for claimants who may all measure the same, to those who come first; the statements
/// are as many for all of them as for one, but for qualities that confirm, which are taken one by one
/// and after what else is queued.
pub(super) async fn claim_each(
    connection: &mut Connection,
    claimants: &[Claimant],
    me: Option<i64>,
    now_ms: i64,
) -> Result<Vec<Claimed>, Failure> {
    let mut all = Vec::new();
    while let [first, ..] = &claimants[all.len()..] {
        let left = claimants.len() - all.len();
        let tasks = choose(connection, first, left).await?;
        if tasks.is_empty() {
            break;
        }
        let claimants = &claimants[all.len()..];
        all.extend(lease(connection, &tasks, claimants, me, now_ms).await?);
    }
    Ok(all)
}

/// Queued tasks that a claimant may measure, whose candidates were asked for first: at least one
/// where there is any, and at most that many. Nobody else takes them before the end of the
/// transaction, and nobody waits for them.
async fn choose(
    connection: &mut Connection,
    claimant: &Claimant,
    most: usize,
) -> Result<Vec<i64>, Failure> {
    let profile = claimant.hardware_profile.to_string();
    if let Some((search, purpose)) = claimant.companion_in {
        let companion = sqlx::query_scalar(concat!(
            "SELECT t.id FROM tasks t JOIN candidates c ON c.id = t.candidate
             WHERE t.state = 'queued' AND t.kind = 'latency' AND t.target = $1
                   AND t.attempts = 0 AND c.search = $2
                   AND (t.purpose = $3 OR ($3 = 'search' AND t.purpose = 'retime'))
             ORDER BY ",
            in_turn!("t"),
            " LIMIT 1",
            taking!("t"),
        ));
        let companion = companion.bind(profile).bind(search);
        let companion = companion.bind(purpose.to_string());
        return Ok(companion.fetch_all(connection).await?);
    }
    // What is locked and not taken would be passed over by others, who may find nothing else. So the
    // first one is only looked at, and qualities that confirm are left out where many are taken.
    let first = sqlx::query(first_queued!("0"))
        .bind(&claimant.numerics_class.0)
        .bind(&profile)
        .bind(1_i64)
        .bind(i64::from(claimant.left_to_faster))
        .bind(1_i64)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(first) = first else {
        return Ok(Vec::new());
    };
    let confirms = word::<TaskKind>(&first, "kind")? == TaskKind::Quality
        && word::<TaskPurpose>(&first, "purpose")? == TaskPurpose::Confirm;
    if confirms {
        let shares = sharing_most(connection, first.try_get("id")?).await?;
        if !shares.is_empty() {
            return Ok(shares);
        }
    }
    let many = (i64::try_from(most).unwrap_or(i64::MAX), 0_i64);
    let one_of_all = (1, 1);
    let choices: &[_] = match confirms {
        true => &[one_of_all],
        // What was seen may be another's by now, and confirmations may be all that is left.
        false => &[many, one_of_all],
    };
    for (most, with_confirming) in choices {
        let queued = sqlx::query_scalar(concat!(first_queued!("256"), taking!("first")))
            .bind(&claimant.numerics_class.0)
            .bind(&profile)
            .bind(most)
            .bind(i64::from(claimant.left_to_faster))
            .bind(with_confirming);
        let queued: Vec<i64> = queued.fetch_all(&mut *connection).await?;
        if !queued.is_empty() {
            return Ok(queued);
        }
    }
    Ok(Vec::new())
}

/// In place of a quality that confirms, the one of its search that comes first by the precisions of
/// the layers: neighbours in that order begin with the same layers, whose hidden states the device
/// still has. All confirmations of a search are queued at once, so none of them waits for long.
async fn sharing_most(connection: &mut Connection, task: i64) -> Result<Vec<i64>, Failure> {
    let sharing_most = sqlx::query_scalar(concat!(
        "SELECT other.id
         FROM tasks t JOIN candidates c ON c.id = t.candidate
                      JOIN tasks other ON other.state = 'queued' AND other.kind = t.kind
                           AND other.target = t.target AND other.purpose = t.purpose
                      JOIN candidates o ON o.id = other.candidate AND o.search = c.search
         WHERE t.id = $1 ORDER BY o.plan, o.id LIMIT 1",
        taking!("other"),
    ));
    Ok(sharing_most.bind(task).fetch_all(connection).await?)
}

/// Leases tasks to claimants, in the order of both. There are no more tasks than claimants.
async fn lease(
    connection: &mut Connection,
    tasks: &[i64],
    claimants: &[Claimant],
    me: Option<i64>,
    now_ms: i64,
) -> Result<Vec<Claimed>, Failure> {
    let mut chosen = HashMap::new();
    let wanted: Vec<_> = tasks.iter().map(|task| [task]).collect();
    let wanted = json("the chosen tasks", &wanted)?;
    let rows = sqlx::query(concat!(
        "SELECT c.search, c.id AS candidate, c.plan, t.id, t.kind, t.purpose
         FROM ",
        rows!("$1"),
        " chosen JOIN tasks t ON t.id = CAST(chosen.value ->> 0 AS BIGINT)
                 JOIN candidates c ON c.id = t.candidate",
    ))
    .bind(&wanted)
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        chosen.insert(row.try_get::<i64, _>("id")?, row);
    }
    let leased = sqlx::query(concat!(
        "UPDATE tasks
         SET state = 'leased', epoch = epoch + 1, attempts = attempts + 1, lease_until = $2,
             keeper = $3
         WHERE id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
        rows!("$1"),
        ") RETURNING id, epoch, attempts",
    ));
    let longest = claimants.iter().map(|claimant| claimant.lease_time).max();
    let until = now_ms.saturating_add(milliseconds(longest.unwrap_or_default()));
    let rows = leased.bind(&wanted).bind(until).bind(me);
    let mut leased = HashMap::new();
    for row in rows.fetch_all(&mut *connection).await? {
        leased.insert(row.try_get::<i64, _>("id")?, row);
    }
    let mut all = Vec::new();
    let mut handed_out = Vec::new();
    for (task, claimant) in tasks.iter().zip(claimants) {
        let missing = || corrupt(format!("task {task}"), "it went away while it was leased");
        let row = chosen.get(task).ok_or_else(missing)?;
        let lease = leased.get(task).ok_or_else(missing)?;
        let token = LeaseToken {
            task: *task,
            epoch: lease.try_get("epoch")?,
        };
        handed_out.push([token.task, token.epoch, claimant.device]);
        all.push(Claimed {
            token,
            search: row.try_get("search")?,
            candidate: row.try_get("candidate")?,
            kind: word(row, "kind")?,
            purpose: word(row, "purpose")?,
            precisions: split("candidates.plan", row.try_get("plan")?)?,
            attempts: u32::try_from(unsigned(lease, "attempts")?)
                .map_err(|error| corrupt("tasks.attempts", error))?,
        });
    }
    sqlx::query(concat!(
        "INSERT INTO leases (task, epoch, device, leased_at)
         SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT),
                CAST(value ->> 2 AS BIGINT), $2
         FROM ",
        rows!("$1"),
    ))
    .bind(json("the leases", &handed_out)?)
    .bind(now_ms)
    .execute(connection)
    .await?;
    Ok(all)
}
