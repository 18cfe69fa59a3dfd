//! Reports become measurements, many of them in one transaction: the statements are as many for all
//! of them as for one.

use std::collections::{HashMap, HashSet};

use bitfront_model::{LeaseToken, Measurement, Outcome, Quality, Receipt, Report};
use sqlx::{QueryBuilder, Row as _};

use super::decode::{corrupt, json, rows_at_once, split};
use super::{Connection, Driver, Failure, Row, StoreError, dialect, tasks};

/// Most rows that one statement inserts.
const MOST_ROWS: usize = 32;

/// Takes reports in, each as if the ones before it had been taken in alone.
pub(super) async fn record_each(
    connection: &mut Connection,
    reports: &[Report],
    now_ms: i64,
) -> Result<Vec<Result<Receipt, StoreError>>, Failure> {
    let mut receipts: Vec<_> = reports.iter().map(|_| None).collect();
    let mut left: Vec<usize> = (0..reports.len()).collect();
    while !left.is_empty() {
        // Two reports about one task, or under one key, are told apart by what the first one wrote.
        let (mut tasks, mut keys) = (HashSet::new(), HashSet::new());
        let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(|&place: &usize| {
            let report = &reports[place];
            tasks.insert(report.token.task) & keys.insert(report.idempotency_key.as_str())
        });
        let together: Vec<_> = now.iter().map(|&place| &reports[place]).collect();
        let taken_in = record_together(connection, &together, now_ms).await?;
        for (place, receipt) in now.into_iter().zip(taken_in) {
            receipts[place] = Some(receipt);
        }
        left = later;
    }
    Ok(receipts.into_iter().flatten().collect())
}

/// Takes reports in that are about different tasks and under different keys.
async fn record_together(
    connection: &mut Connection,
    reports: &[&Report],
    now_ms: i64,
) -> Result<Vec<Result<Receipt, StoreError>>, Failure> {
    dialect::measuring(connection).await?;
    let infeasible = reports
        .iter()
        .filter(|report| matches!(report.measurement.outcome, Outcome::Infeasible { .. }))
        .map(|report| report.token);
    hold_searches(connection, &infeasible.collect::<Vec<_>>()).await?;
    let known = stored_for(connection, reports).await?;
    let known = reports.iter().map(|report| {
        let task = known.get(report.idempotency_key.as_str()).copied();
        tasks::is_known(task, report.token, &report.idempotency_key)
    });
    let mut receipts = Vec::new();
    let mut new = Vec::new();
    for (report, is_known) in reports.iter().zip(known) {
        receipts.push(match is_known {
            Ok(true) => Some(Ok(Receipt::AlreadyReported)),
            Ok(false) => {
                new.push(*report);
                None
            }
            Err(Failure::Store(error)) => Some(Err(error)),
            Err(other) => return Err(other),
        });
    }
    let tokens: Vec<_> = new.iter().map(|report| report.token).collect();
    let ended = tasks::end_each(connection, &tokens).await?;
    let appended: Vec<_> = new
        .iter()
        .map(|report| Appended {
            token: report.token,
            idempotency_key: &report.idempotency_key,
            measurement: &report.measurement,
            abandoned: false,
            accepted: ended.contains(&report.token.task),
        })
        .collect();
    append(connection, &appended, now_ms).await?;
    let mut new = appended.iter().map(|row| tasks::receipt(row.accepted));
    Ok(receipts
        .into_iter()
        .filter_map(|receipt| receipt.or_else(|| new.next().map(Ok)))
        .collect())
}

/// Holds the searches of infeasible reports: each cancels the candidate's other task, which more
/// budget may be about to queue.
async fn hold_searches(connection: &mut Connection, tokens: &[LeaseToken]) -> Result<(), Failure> {
    if tokens.is_empty() {
        return Ok(());
    }
    sqlx::query(concat!(
        "SELECT s.id FROM searches s WHERE s.id IN (
             SELECT c.search FROM ",
        rows!("$1"),
        " it JOIN tasks t ON t.id = CAST(it.value ->> 0 AS BIGINT)
             JOIN candidates c ON c.id = t.candidate)
         ORDER BY s.id",
        holding!("s"),
    ))
    .bind(rows_of(tokens)?)
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// The tasks that the keys of reports were stored for.
async fn stored_for(
    connection: &mut Connection,
    reports: &[&Report],
) -> Result<HashMap<String, i64>, Failure> {
    let keys = reports.iter().map(|report| [&report.idempotency_key]);
    let keys = json("the keys of reports", &keys.collect::<Vec<_>>())?;
    let known: Vec<(String, i64)> = sqlx::query_as(concat!(
        "SELECT idempotency_key, task FROM measurements
         WHERE idempotency_key IN (SELECT value ->> 0 FROM ",
        rows!("$1"),
        ")",
    ))
    .bind(keys)
    .fetch_all(connection)
    .await?;
    Ok(known.into_iter().collect())
}

/// One row of the table.
pub(super) struct Appended<'a> {
    pub(super) token: LeaseToken,
    pub(super) idempotency_key: &'a str,
    pub(super) measurement: &'a Measurement,
    /// Written for a task that was given up.
    pub(super) abandoned: bool,
    /// It ended the task.
    pub(super) accepted: bool,
}

impl Appended<'_> {
    fn infeasible(&self) -> Option<&str> {
        match &self.measurement.outcome {
            Outcome::Infeasible { reason } => Some(reason),
            Outcome::Quality(_) | Outcome::Latency { .. } => None,
        }
    }
}

/// Appends measurements of tasks, which were ended before or not.
pub(super) async fn append(
    connection: &mut Connection,
    rows: &[Appended<'_>],
    now_ms: i64,
) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let tokens: Vec<_> = rows.iter().map(|row| row.token).collect();
    let leases = leases(connection, &tokens).await?;
    let mut left = rows;
    while !left.is_empty() {
        let (now, later) = left.split_at(rows_at_once(left.len(), MOST_ROWS));
        insert(connection, now, &leases, now_ms).await?;
        left = later;
    }
    for row in rows {
        if row.accepted && row.infeasible().is_some() {
            cancel_rest(connection, &leases[&row.token]).await?;
        }
    }
    Ok(())
}

/// What is known of a lease under which something was measured.
struct About {
    device: i64,
    search: i64,
    candidate: i64,
    purpose: String,
    plan: String,
}

/// What is known of the leases of these tokens: of every one of them.
async fn leases(
    connection: &mut Connection,
    tokens: &[LeaseToken],
) -> Result<HashMap<LeaseToken, About>, Failure> {
    let rows = sqlx::query(concat!(
        "SELECT l.task, l.epoch, l.device, c.search, c.id AS candidate, c.plan, t.purpose
         FROM ",
        rows!("$1"),
        " it JOIN leases l ON l.task = CAST(it.value ->> 0 AS BIGINT)
                          AND l.epoch = CAST(it.value ->> 1 AS BIGINT)
             JOIN tasks t ON t.id = l.task JOIN candidates c ON c.id = t.candidate",
    ))
    .bind(rows_of(tokens)?)
    .fetch_all(connection)
    .await?;
    let about = |row: &Row| -> Result<_, Failure> {
        let token = LeaseToken {
            task: row.try_get("task")?,
            epoch: row.try_get("epoch")?,
        };
        let about = About {
            device: row.try_get("device")?,
            search: row.try_get("search")?,
            candidate: row.try_get("candidate")?,
            purpose: row.try_get("purpose")?,
            plan: row.try_get("plan")?,
        };
        Ok((token, about))
    };
    let known = rows
        .iter()
        .map(about)
        .collect::<Result<HashMap<_, _>, _>>()?;
    match tokens.iter().find(|token| !known.contains_key(token)) {
        None => Ok(known),
        Some(token) => Err(corrupt(
            format!("task {}", token.task),
            format!("it was never handed out under epoch {}", token.epoch),
        )),
    }
}

async fn insert(
    connection: &mut Connection,
    rows: &[Appended<'_>],
    leases: &HashMap<LeaseToken, About>,
    now_ms: i64,
) -> Result<(), Failure> {
    let values = rows
        .iter()
        .map(|row| Values::of(row, &leases[&row.token]))
        .collect::<Result<Vec<_>, _>>()?;
    let mut insert = QueryBuilder::<Driver>::new(
        "INSERT INTO measurements (task, epoch, idempotency_key, outcome, accepted, kld, mismatch,
                                   decode_ns, prefill_ns, infeasible, executed_as_planned, stopped,
                                   payload, device, received_at, search) ",
    );
    insert.push_values(rows.iter().zip(values), |mut one, (row, values)| {
        one.push_bind(row.token.task)
            .push_bind(row.token.epoch)
            .push_bind(row.idempotency_key.to_owned())
            .push_bind(values.outcome)
            .push_bind(i64::from(row.accepted))
            .push_bind(values.kld)
            .push_bind(values.mismatch)
            .push_bind(values.decode_ns)
            .push_bind(values.prefill_ns)
            .push_bind(row.infeasible().map(str::to_owned))
            .push_bind(values.as_planned)
            .push_bind(values.stopped)
            .push_bind(values.payload)
            .push_bind(leases[&row.token].device)
            .push_bind(now_ms)
            .push_bind(leases[&row.token].search);
    });
    insert.push(" ON CONFLICT (idempotency_key) DO NOTHING");
    let inserted = insert.build().execute(connection).await?;
    match inserted.rows_affected() == rows.len() as u64 {
        true => Ok(()),
        false => Err(Failure::Overtaken),
    }
}

/// What is read of a measurement without its payload, and the payload.
#[derive(Default)]
struct Values {
    outcome: &'static str,
    kld: Option<f64>,
    mismatch: Option<f64>,
    decode_ns: Option<f64>,
    prefill_ns: Option<f64>,
    as_planned: i64,
    stopped: i64,
    payload: String,
}

impl Values {
    fn of(row: &Appended<'_>, about: &About) -> Result<Self, Failure> {
        let planned = split("candidates.plan", &about.plan)?;
        let as_planned = row.infeasible().is_some() || row.measurement.evidence.executed == planned;
        let values = Self {
            as_planned: i64::from(as_planned),
            payload: json("the measurement", row.measurement)?,
            ..Self::default()
        };
        Ok(match &row.measurement.outcome {
            Outcome::Quality(quality) => Self {
                outcome: "quality",
                kld: Some(quality.kld),
                mismatch: Some(Quality::mismatch(quality)),
                stopped: i64::from(quality.stopped.is_some()),
                ..values
            },
            Outcome::Latency { workloads } => {
                let median = |decode: bool| {
                    workloads
                        .iter()
                        .find(|latency| latency.workload.is_decode() == decode)
                        .map(|latency| latency.median_ns)
                };
                Self {
                    outcome: "latency",
                    decode_ns: median(true),
                    prefill_ns: median(false),
                    ..values
                }
            }
            Outcome::Infeasible { .. } => Self {
                outcome: if row.abandoned {
                    "abandoned"
                } else {
                    "infeasible"
                },
                ..values
            },
        })
    }
}

/// What cannot be executed need not be measured in another way.
async fn cancel_rest(connection: &mut Connection, about: &About) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE tasks SET state = 'cancelled'
         WHERE candidate = $1 AND purpose = $2 AND state = 'queued'",
    )
    .bind(about.candidate)
    .bind(&about.purpose)
    .execute(connection)
    .await?;
    Ok(())
}

/// Tokens as rows of a statement: the task, and the epoch.
pub(super) fn rows_of(tokens: &[LeaseToken]) -> Result<String, Failure> {
    let rows: Vec<_> = tokens.iter().map(|it| [it.task, it.epoch]).collect();
    json("tokens", &rows)
}
