//! How the database stands to those who use it, and how much there is in it.

use bitfront_model::Digest;
use sqlx::Row as _;

use super::decode::word;
use super::{Connection, Failure, Load, QueuedTasks, Standing};

pub(super) async fn standing(
    connection: &mut Connection,
    me: Option<i64>,
    known_schema: i64,
) -> Result<Standing, Failure> {
    let standing = sqlx::query(
        "SELECT (SELECT max(version) FROM _sqlx_migrations) AS version,
                (SELECT count(*) FROM coordinators WHERE id = $1 AND state = 'serving') AS serving",
    );
    let row = standing.bind(me).fetch_one(connection).await?;
    let serving: i64 = row.try_get("serving")?;
    Ok(Standing {
        schema: row.try_get("version")?,
        known_schema,
        serves: serving == 1,
    })
}

/// Counts by the indexes over states alone: no row is read, however long searches are.
pub(super) async fn load(connection: &mut Connection) -> Result<Load, Failure> {
    let rows = sqlx::query(
        "SELECT kind, target, NULL AS state, count(*) AS amount
         FROM tasks WHERE state = 'queued' GROUP BY kind, target
         UNION ALL
         SELECT NULL, NULL, state, count(*) FROM searches GROUP BY state",
    );
    let mut load = Load::default();
    for row in rows.fetch_all(connection).await? {
        let count = row.try_get("amount")?;
        match row.try_get::<Option<String>, _>("kind")? {
            Some(kind) => {
                let target: String = row.try_get("target")?;
                let profile = target.parse::<Digest>();
                load.queued.push(QueuedTasks {
                    target: profile.map_or(target, |digest| digest.short()),
                    kind,
                    count,
                });
            }
            None => load.searches.push((word(&row, "state")?, count)),
        }
    }
    Ok(load)
}
