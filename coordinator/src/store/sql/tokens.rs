//! Access tokens.

use bitfront_model::AccessToken;
use sqlx::Row as _;

use super::decode::word;
use super::{Connection, Failure, NewToken, StoredToken};

pub(super) async fn add(
    connection: &mut Connection,
    token: &NewToken,
    now_ms: i64,
) -> Result<bool, Failure> {
    let added = sqlx::query(
        "INSERT INTO access_tokens (name, role, digest, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING",
    )
    .bind(&token.name)
    .bind(token.role.name())
    .bind(token.digest.to_string())
    .bind(now_ms)
    .bind(token.expires_ms)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

pub(super) async fn all(connection: &mut Connection) -> Result<Vec<StoredToken>, Failure> {
    let rows = sqlx::query(
        "SELECT name, role, digest, created_at, expires_at, revoked_at
         FROM access_tokens ORDER BY id",
    );
    let rows = rows.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredToken {
                digest: word(row, "digest")?,
                token: AccessToken {
                    name: row.try_get("name")?,
                    role: word(row, "role")?,
                    created_ms: row.try_get("created_at")?,
                    expires_ms: row.try_get("expires_at")?,
                    revoked_ms: row.try_get("revoked_at")?,
                },
            })
        })
        .collect()
}

pub(super) async fn revoke(
    connection: &mut Connection,
    name: &str,
    now_ms: i64,
) -> Result<bool, Failure> {
    let revoked = sqlx::query(
        "UPDATE access_tokens SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL",
    );
    let revoked = revoked.bind(name).bind(now_ms).execute(connection).await?;
    Ok(revoked.rows_affected() == 1)
}
