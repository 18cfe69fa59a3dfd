//! Coordinators, and what each of them is in charge of.
//!
//! `me` is the term of the coordinator that asks; none before it has joined, when it is in charge of
//! everything.

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
            let taken = sqlx::query_scalar(concat!(
                "UPDATE searches SET driver = $1 WHERE state IN ('queued', 'running') AND ",
                nobodys!("driver"),
                " RETURNING id",
            ));
            taken.bind(me).fetch_all(connection).await?
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
    let taken: Vec<(i64, i64)> = sqlx::query_as(concat!(
        "UPDATE tasks SET keeper = $1 WHERE state = 'leased' AND ",
        nobodys!("keeper"),
        " RETURNING id, epoch",
    ))
    .bind(me)
    .fetch_all(&mut *connection)
    .await?;
    let mut leases = Vec::new();
    for (task, epoch) in taken {
        let device = sqlx::query_scalar("SELECT device FROM leases WHERE task = $1 AND epoch = $2")
            .bind(task)
            .bind(epoch)
            .fetch_one(&mut *connection)
            .await?;
        leases.push(HeldLease {
            token: LeaseToken { task, epoch },
            device,
        });
    }
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
    for device in served.into_iter().filter(|it| !devices.contains(it)) {
        sqlx::query("UPDATE devices SET coordinator = NULL WHERE id = $1 AND coordinator = $2")
            .bind(device)
            .bind(me)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
