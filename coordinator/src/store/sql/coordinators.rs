//! Coordinators, and what each of them is in charge of.
//!
//! `me` is the term of the coordinator that asks; none before it has joined, when it is in charge of
//! everything.

use std::collections::BTreeSet;

use bitfront_model::LeaseToken;
use sqlx::Row as _;

use super::{Connection, Failure, HeldLease, StoreError, StoredCoordinator};

/// Nobody is in charge, or one who does not serve any more.
macro_rules! nobodys {
    ($column:literal) => {
        concat!(
            "(",
            $column,
            " IS NULL OR ",
            $column,
            " NOT IN (SELECT id FROM coordinators WHERE state = 'serving'))",
        )
    };
}

pub(super) async fn join(
    connection: &mut Connection,
    address: &str,
    now_ms: i64,
) -> Result<i64, Failure> {
    let joined = sqlx::query_scalar(
        "INSERT INTO coordinators (address, started_at, beat, state)
         VALUES ($1, $2, 0, 'serving') RETURNING id",
    );
    Ok(joined
        .bind(address)
        .bind(now_ms)
        .fetch_one(connection)
        .await?)
}

pub(super) async fn beat(connection: &mut Connection, coordinator: i64) -> Result<bool, Failure> {
    let beaten =
        sqlx::query("UPDATE coordinators SET beat = beat + 1 WHERE id = $1 AND state = 'serving'");
    let beaten = beaten.bind(coordinator).execute(connection).await?;
    Ok(beaten.rows_affected() == 1)
}

pub(super) async fn serving(
    connection: &mut Connection,
) -> Result<Vec<StoredCoordinator>, Failure> {
    let rows = sqlx::query(
        "SELECT id, address, beat FROM coordinators WHERE state = 'serving' ORDER BY id",
    );
    let rows = rows.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredCoordinator {
                id: row.try_get("id")?,
                address: row.try_get("address")?,
                beat: row.try_get("beat")?,
            })
        })
        .collect()
}

pub(super) async fn retire(
    connection: &mut Connection,
    coordinator: i64,
    beat: Option<i64>,
) -> Result<bool, Failure> {
    let retired = sqlx::query(
        "UPDATE coordinators SET state = 'retired'
         WHERE id = $1 AND state = 'serving' AND beat = coalesce($2, beat)",
    );
    let retired = retired.bind(coordinator).bind(beat);
    Ok(retired.execute(connection).await?.rows_affected() == 1)
}

pub(super) async fn take_searches(
    connection: &mut Connection,
    me: Option<i64>,
) -> Result<Vec<i64>, Failure> {
    let mut taken: Vec<i64> = match me {
        None => {
            let all = "SELECT id FROM searches WHERE state IN ('queued', 'running')";
            sqlx::query_scalar(all).fetch_all(connection).await?
        }
        Some(me) => {
            sqlx::query(concat!(
                "UPDATE searches SET driver = $1 WHERE state IN ('queued', 'running') AND ",
                nobodys!("driver"),
            ))
            .bind(me)
            .execute(&mut *connection)
            .await?;
            // Those too that were taken before, since the answer may not have been heard.
            let driven = sqlx::query_scalar(
                "SELECT id FROM searches WHERE driver = $1 AND state IN ('queued', 'running')",
            );
            driven.bind(me).fetch_all(connection).await?
        }
    };
    taken.sort_unstable();
    Ok(taken)
}

pub(super) async fn take_search(
    connection: &mut Connection,
    search: i64,
    me: Option<i64>,
) -> Result<bool, Failure> {
    let Some(me) = me else {
        return Ok(true);
    };
    let taken = sqlx::query(concat!(
        "UPDATE searches SET driver = $2 WHERE id = $1 AND (driver = $2 OR ",
        nobodys!("driver"),
        ")",
    ));
    let taken = taken.bind(search).bind(me).execute(connection).await?;
    Ok(taken.rows_affected() == 1)
}

/// Refuses what a driver writes whose coordinator does not drive the search any more, or was
/// retired. Until the end of the transaction nobody takes the search over.
pub(super) async fn check_driver(
    connection: &mut Connection,
    search: i64,
    me: Option<i64>,
) -> Result<(), Failure> {
    let Some(me) = me else {
        return Ok(());
    };
    let driven: Option<i64> = sqlx::query_scalar(concat!(
        "SELECT s.id FROM searches s
         WHERE s.id = $1 AND s.driver = $2
           AND EXISTS (SELECT 1 FROM coordinators WHERE id = $2 AND state = 'serving')",
        holding!("s"),
    ))
    .bind(search)
    .bind(me)
    .fetch_optional(connection)
    .await?;
    match driven {
        Some(_) => Ok(()),
        None => Err(Failure::Store(StoreError::NotDriven { search })),
    }
}

pub(super) async fn take_leases(
    connection: &mut Connection,
    me: Option<i64>,
) -> Result<Vec<HeldLease>, Failure> {
    let Some(me) = me else {
        return super::tasks::leased(connection, None).await;
    };
    let taken: Vec<(i64, i64, i64)> = sqlx::query_as(concat!(
        "UPDATE tasks SET keeper = $1 WHERE state = 'leased' AND ",
        nobodys!("keeper"),
        " RETURNING id, epoch, (SELECT l.device FROM leases l
                                WHERE l.task = tasks.id AND l.epoch = tasks.epoch)",
    ))
    .bind(me)
    .fetch_all(connection)
    .await?;
    let taken = taken.into_iter().map(|(task, epoch, device)| HeldLease {
        token: LeaseToken { task, epoch },
        device,
    });
    let mut leases: Vec<_> = taken.collect();
    leases.sort_by_key(|lease| lease.token.task);
    Ok(leases)
}

pub(super) async fn keep(
    connection: &mut Connection,
    token: LeaseToken,
    device: i64,
    me: Option<i64>,
) -> Result<bool, Failure> {
    let kept = sqlx::query(
        "UPDATE tasks SET keeper = $4
         WHERE id = $1 AND epoch = $2 AND state = 'leased'
               AND EXISTS (SELECT 1 FROM leases l
                           WHERE l.task = $1 AND l.epoch = $2 AND l.device = $3)",
    )
    .bind(token.task)
    .bind(token.epoch)
    .bind(device)
    .bind(me)
    .execute(connection)
    .await?;
    Ok(kept.rows_affected() == 1)
}

pub(super) async fn serve(
    connection: &mut Connection,
    device: i64,
    instance: &str,
    me: Option<i64>,
) -> Result<(), Failure> {
    sqlx::query("UPDATE devices SET instance = $2, coordinator = $3 WHERE id = $1")
        .bind(device)
        .bind(instance)
        .bind(me)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn serve_only(
    connection: &mut Connection,
    devices: &[i64],
    me: Option<i64>,
) -> Result<(), Failure> {
    let served: Vec<i64> = sqlx::query_scalar("SELECT id FROM devices WHERE coordinator = $1")
        .bind(me)
        .fetch_all(&mut *connection)
        .await?;
    let served: BTreeSet<i64> = served.into_iter().collect();
    let here: BTreeSet<i64> = devices.iter().copied().collect();
    for device in served.difference(&here) {
        sqlx::query("UPDATE devices SET coordinator = NULL WHERE id = $1 AND coordinator = $2")
            .bind(device)
            .bind(me)
            .execute(&mut *connection)
            .await?;
    }
    // One that came back, or was heard of while somebody looked, is not served anew by anything else.
    for device in here.difference(&served) {
        sqlx::query(concat!(
            "UPDATE devices SET coordinator = $2 WHERE id = $1 AND ",
            nobodys!("coordinator"),
        ))
        .bind(device)
        .bind(me)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
