//! Devices and hardware profiles.

use bitfront_model::{Digest, HardwareProfile, HeldTask, NumericsClass, Registration, Work};
use sqlx::Row as _;

use super::decode::{flag, joined, json, parsed, split, unsigned, word};
use super::{Connection, DeviceMeasurement, Failure, Row, StoredDevice};

/// Devices with their profiles, how much they measured, and which of them.
macro_rules! stored {
    ($measurements:literal, $which:literal) => {
        concat!(
            "SELECT d.*, p.profile AS profile_json, k.address AS coordinator_address, ",
            $measurements,
            " AS measurements
             FROM devices d
             JOIN hardware_profiles p ON p.digest = d.profile
             LEFT JOIN coordinators k ON k.id = d.coordinator AND k.state = 'serving' ",
            $which
        )
    };
}

/// What devices know this database by.
pub(super) async fn identity(connection: &mut Connection) -> Result<String, Failure> {
    Ok(sqlx::query_scalar("SELECT id FROM identity")
        .fetch_one(connection)
        .await?)
}

pub(in super::super) async fn register(
    connection: &mut Connection,
    device: &Registration,
    now_ms: i64,
) -> Result<i64, Failure> {
    let digest = device.hardware_profile.digest().to_string();
    sqlx::query(
        "INSERT INTO hardware_profiles (digest, profile) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(&digest)
    .bind(json("the hardware profile", &device.hardware_profile)?)
    .execute(&mut *connection)
    .await?;
    Ok(sqlx::query_scalar(
        "INSERT INTO devices (name, profile, numerics_class, precisions, agent_version,
                              first_seen_at, last_seen_at, can_probe, can_score_swaps)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)
         ON CONFLICT (name) DO UPDATE SET
             profile = excluded.profile,
             numerics_class = excluded.numerics_class,
             precisions = excluded.precisions,
             agent_version = excluded.agent_version,
             can_probe = excluded.can_probe,
             can_score_swaps = excluded.can_score_swaps,
             last_seen_at = excluded.last_seen_at
         RETURNING id",
    )
    .bind(&device.device)
    .bind(&digest)
    .bind(&device.numerics_class.0)
    .bind(joined(&device.precisions))
    .bind(&device.agent_version)
    .bind(now_ms)
    .bind(i64::from(device.can_probe))
    .bind(i64::from(device.can_score_swaps))
    .fetch_one(connection)
    .await?)
}

pub(super) async fn all(connection: &mut Connection) -> Result<Vec<StoredDevice>, Failure> {
    let rows = sqlx::query(stored!(
        "(SELECT count(*) FROM measurements m
          WHERE m.device = d.id AND m.outcome <> 'abandoned' AND m.reused_from IS NULL)",
        "ORDER BY d.id"
    ))
    .fetch_all(connection)
    .await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn one(
    connection: &mut Connection,
    device: i64,
) -> Result<Option<StoredDevice>, Failure> {
    let row = sqlx::query(stored!("CAST(0 AS BIGINT)", "WHERE d.id = $1"))
        .bind(device)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(stored).transpose()
}

/// Those whose agents speak to another coordinator than `me`; how much they measured is left out.
pub(super) async fn served_elsewhere(
    connection: &mut Connection,
    me: Option<i64>,
) -> Result<Vec<StoredDevice>, Failure> {
    let rows = sqlx::query(stored!(
        "CAST(0 AS BIGINT)",
        "WHERE d.coordinator <> $1
           AND d.coordinator IN (SELECT id FROM coordinators WHERE state = 'serving')
         ORDER BY d.id"
    ))
    .bind(me)
    .fetch_all(connection)
    .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<StoredDevice, Failure> {
    Ok(StoredDevice {
        id: row.try_get("id")?,
        registration: Registration {
            device: row.try_get("name")?,
            hardware_profile: parsed("a hardware profile", row.try_get("profile_json")?)?,
            numerics_class: NumericsClass(row.try_get("numerics_class")?),
            precisions: split("devices.precisions", row.try_get("precisions")?)?,
            agent_version: row.try_get("agent_version")?,
            can_probe: flag(row, "can_probe")?,
            can_score_swaps: flag(row, "can_score_swaps")?,
        },
        instance: row.try_get("instance")?,
        coordinator: row.try_get("coordinator_address")?,
        first_seen_ms: row.try_get("first_seen_at")?,
        last_seen_ms: row.try_get("last_seen_at")?,
        measurements: unsigned(row, "measurements")?,
    })
}

pub(super) async fn profile(
    connection: &mut Connection,
    digest: Digest,
) -> Result<Option<HardwareProfile>, Failure> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT profile FROM hardware_profiles WHERE digest = $1")
            .bind(digest.to_string())
            .fetch_optional(connection)
            .await?;
    text.map(|text| parsed("a hardware profile", &text))
        .transpose()
}

/// What devices hold, each with the device, in the order of the tasks.
pub(super) async fn held(connection: &mut Connection) -> Result<Vec<(i64, HeldTask)>, Failure> {
    let rows = sqlx::query(
        "SELECT l.device, l.leased_at, t.kind, t.purpose, t.candidate, t.question, c.search
         FROM tasks t JOIN leases l ON l.task = t.id AND l.epoch = t.epoch
                      LEFT JOIN candidates c ON c.id = t.candidate
         WHERE t.state = 'leased' ORDER BY t.id",
    )
    .fetch_all(connection)
    .await?;
    let held = |row: &Row| {
        let work = match row.try_get::<Option<i64>, _>("question")? {
            Some(question) => Work::Question {
                question,
                kind: word(row, "kind")?,
            },
            None => Work::Candidate {
                search: row.try_get("search")?,
                candidate: row.try_get("candidate")?,
                kind: word(row, "kind")?,
                purpose: word(row, "purpose")?,
            },
        };
        let since_ms = row.try_get("leased_at")?;
        Ok((row.try_get("device")?, HeldTask { work, since_ms }))
    };
    rows.iter().map(held).collect()
}

/// The latest measurements that each of some devices handed in, by device, the newest first.
pub(super) async fn latest(
    connection: &mut Connection,
    devices: &[i64],
    most: u32,
) -> Result<Vec<DeviceMeasurement>, Failure> {
    let devices: Vec<_> = devices.iter().map(|&device| [device]).collect();
    let rows = sqlx::query(concat!(
        "SELECT m.id, m.device, m.search, m.payload FROM ",
        latest_of_each!(),
        " ORDER BY m.device, m.id DESC",
    ))
    .bind(json("devices", &devices)?)
    .bind(i64::from(most))
    .fetch_all(connection)
    .await?;
    let measurement = |row: &Row| {
        let id: i64 = row.try_get("id")?;
        Ok(DeviceMeasurement {
            device: row.try_get("device")?,
            search: row.try_get("search")?,
            measurement: parsed(&format!("measurement {id}"), row.try_get("payload")?)?,
        })
    };
    rows.iter().map(measurement).collect()
}

pub(super) async fn seen(
    connection: &mut Connection,
    devices: &[(i64, i64)],
) -> Result<(), Failure> {
    sqlx::query(concat!(
        "UPDATE devices SET last_seen_at = it.moment
         FROM (SELECT CAST(value ->> 0 AS BIGINT) AS device, CAST(value ->> 1 AS BIGINT) AS moment
               FROM ",
        rows!("$1"),
        ") AS it
         WHERE id = it.device AND last_seen_at < it.moment",
    ))
    .bind(json("when devices were heard from", &devices)?)
    .execute(connection)
    .await?;
    Ok(())
}
