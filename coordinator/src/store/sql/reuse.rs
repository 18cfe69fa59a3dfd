//! What another search measured is not measured again.
//!
//! Each look-up is a statement over one table: there is one way to run it, however little the server
//! knows of the tables yet, and mostly the first of them finds nothing.

use std::collections::{HashMap, HashSet};

use super::decode::json;
use super::{Connection, Failure, NewCandidate};

/// Ends the quality tasks of new candidates at once where another search knows their outcome: the
/// quality of one plan of one subject is the same wherever the numerics class is, if all windows
/// were scored. A time never is: it is measured anew beside the times that it is compared with.
/// Confirmations neither give nor take: they are there to be measured afresh.
///
/// The candidates' numbers are in their order.
pub(super) async fn qualities(
    connection: &mut Connection,
    search: i64,
    numbers: &[i64],
    candidates: &[NewCandidate],
) -> Result<(), Failure> {
    let digests = candidates.iter().map(|one| one.plan.digest().to_string());
    let digests: Vec<_> = digests.collect();
    let same = others(connection, search, &digests).await?;
    if same.is_empty() {
        return Ok(());
    }
    // By plan and target, what knows its quality, and what wants to.
    let plans = same.iter().map(|(id, digest)| (*id, digest.as_str()));
    let plans: HashMap<_, _> = { plans }
        .chain(
            numbers
                .iter()
                .copied()
                .zip(digests.iter().map(String::as_str)),
        )
        .collect();
    let is_new: HashSet<_> = numbers.iter().copied().collect();
    let (mut known, mut wanted) = (HashMap::new(), Vec::new());
    for (task, candidate, target) in quality_tasks(connection, plans.keys()).await? {
        let Some(plan) = plans.get(&candidate) else {
            continue;
        };
        match is_new.contains(&candidate) {
            true => wanted.push((task, (*plan, target))),
            false => {
                known.insert(task, (*plan, target));
            }
        }
    }
    let mut first = HashMap::<_, i64>::new();
    for (measurement, task) in whole(connection, known.keys()).await? {
        let place = first.entry(&known[&task]).or_insert(measurement);
        *place = measurement.min(*place);
    }
    let reused = wanted.iter();
    let reused = reused.filter_map(|(task, of)| Some([*task, *first.get(of)?]));
    take_over(connection, search, &reused.collect::<Vec<_>>()).await
}

/// The candidates of other searches over the same subject that have one of these plans.
async fn others(
    connection: &mut Connection,
    search: i64,
    digests: &[String],
) -> Result<Vec<(i64, String)>, Failure> {
    let digests: Vec<_> = digests.iter().map(|digest| [digest]).collect();
    let same: Vec<(i64, String, i64)> = sqlx::query_as(concat!(
        "SELECT id, plan_digest, search FROM candidates
         WHERE plan_digest IN (SELECT value ->> 0 FROM ",
        rows!("$1"),
        ") AND search <> $2",
    ))
    .bind(json("plans", &digests)?)
    .bind(search)
    .fetch_all(&mut *connection)
    .await?;
    if same.is_empty() {
        return Ok(Vec::new());
    }
    let searches: HashSet<_> = same.iter().map(|(_, _, search)| [search]).collect();
    let alike: Vec<i64> = sqlx::query_scalar(concat!(
        "SELECT id FROM searches
         WHERE id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
        rows!("$1"),
        ") AND subject_digest = (SELECT subject_digest FROM searches WHERE id = $2)",
    ))
    .bind(json("searches", &searches)?)
    .bind(search)
    .fetch_all(connection)
    .await?;
    let same = same.into_iter();
    Ok(same
        .filter(|(_, _, search)| alike.contains(search))
        .map(|(id, digest, _)| (id, digest))
        .collect())
}

/// The tasks that score candidates for their searches, with candidate and target.
async fn quality_tasks(
    connection: &mut Connection,
    candidates: impl Iterator<Item = &i64>,
) -> Result<Vec<(i64, i64, String)>, Failure> {
    let candidates: Vec<_> = candidates.map(|candidate| [candidate]).collect();
    let tasks = sqlx::query_as(concat!(
        "SELECT id, candidate, target FROM tasks
         WHERE candidate IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
        rows!("$1"),
        ") AND kind = 'quality' AND purpose = 'search'",
    ))
    .bind(json("candidates", &candidates)?);
    Ok(tasks.fetch_all(connection).await?)
}

/// The measurements that ended tasks, with the task, as far as others may take them over.
async fn whole(
    connection: &mut Connection,
    tasks: impl Iterator<Item = &i64>,
) -> Result<Vec<(i64, i64)>, Failure> {
    let tasks: Vec<_> = tasks.map(|task| [task]).collect();
    let whole = sqlx::query_as(concat!(
        "SELECT id, task FROM measurements
         WHERE task IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
        rows!("$1"),
        ") AND accepted = 1 AND outcome = 'quality' AND executed_as_planned = 1 AND stopped = 0
           AND reused_from IS NULL",
    ))
    .bind(json("tasks", &tasks)?);
    Ok(whole.fetch_all(connection).await?)
}

/// Ends tasks with what was measured for others: the task first, and then the measurement.
async fn take_over(
    connection: &mut Connection,
    search: i64,
    reused: &[[i64; 2]],
) -> Result<(), Failure> {
    if reused.is_empty() {
        return Ok(());
    }
    let reused = json("measurements", &reused)?;
    sqlx::query(concat!(
        "INSERT INTO measurements (task, epoch, idempotency_key, outcome, accepted, kld, mismatch,
                                   executed_as_planned, payload, device, received_at, reused_from,
                                   search)
         SELECT CAST(it.value ->> 0 AS BIGINT), 0, 'reused:' || (it.value ->> 0), m.outcome, 1,
                m.kld, m.mismatch, m.executed_as_planned, m.payload, m.device, m.received_at, m.id,
                $2
         FROM ",
        rows!("$1"),
        " it JOIN measurements m ON m.id = CAST(it.value ->> 1 AS BIGINT)",
    ))
    .bind(&reused)
    .bind(search)
    .execute(&mut *connection)
    .await?;
    sqlx::query(concat!(
        "UPDATE tasks SET state = 'done' WHERE id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
        rows!("$1"),
        ")",
    ))
    .bind(reused)
    .execute(connection)
    .await?;
    Ok(())
}
