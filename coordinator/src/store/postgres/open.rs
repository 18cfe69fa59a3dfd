//! Opening a Postgres database: ours and not newer than we know.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, PgConnection, PgPool};

use super::super::StoreError;
use super::super::failure::said;
use super::super::term::Term;
use super::PostgresStore;
use crate::database::PostgresUrl;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// Connections for reads and writes. A commit waits for the disk and not for the processor, so more
/// of them share its way there; each costs the server a process.
const CONNECTIONS: u32 = 24;

/// Longest wait for one of them.
const PATIENCE: Duration = Duration::from_secs(15);

/// The oldest version that is still looked after.
const OLDEST_VERSION: i32 = 140_000;

/// What every session is set to, whatever the server's or the role's defaults are.
///
/// - The reasons in `mod.rs` are about READ COMMITTED.
/// - A commit that was answered survives a power loss; a stricter setting stays as it is.
/// - A coordinator that was stopped in the middle of a transaction holds up others for ten seconds
///   and no longer, and one whose machine is gone is noticed within a minute.
/// - No statement is worth compiling, nor planning more than once for a connection: every one of them
///   goes by an index, whatever the values. So that this holds of plans that were made while the
///   tables were empty as well, the server is to join row by row and to read no table from end to end
///   where it need not.
const SETTINGS: &str = "
    SELECT set_config('default_transaction_isolation', 'read committed', false),
           set_config('synchronous_commit',
               CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
               ELSE current_setting('synchronous_commit') END, false),
           set_config('idle_in_transaction_session_timeout', '10s', false),
           set_config('jit', 'off', false),
           set_config('plan_cache_mode', 'force_generic_plan', false),
           set_config('enable_seqscan', 'off', false),
           set_config('enable_hashjoin', 'off', false),
           set_config('enable_mergejoin', 'off', false),
           set_config('tcp_keepalives_idle', '30', false),
           set_config('tcp_keepalives_interval', '10', false),
           set_config('tcp_keepalives_count', '3', false)";

pub(super) async fn open(url: &PostgresUrl) -> Result<PostgresStore, StoreError> {
    let at = Place { url };
    let options = at.options()?;
    let mut connection = options.connect().await.map_err(at.failed())?;
    look(&at, &mut connection).await?;
    // Coordinators that start at once wait for each other here, by a lock of sqlx's own.
    migrate(&at, &mut connection).await?;
    connection.close().await.map_err(at.failed())?;
    let pool = pool(&at, options).await?;
    Ok(PostgresStore {
        pool,
        term: Term::default(),
    })
}

async fn pool(at: &Place<'_>, options: PgConnectOptions) -> Result<PgPool, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query(SETTINGS).execute(connection).await?;
                Ok(())
            })
        });
    pool.connect_with(options).await.map_err(at.failed())
}

/// Finds out whether the database can be used, and changes nothing.
async fn look(at: &Place<'_>, connection: &mut PgConnection) -> Result<(), StoreError> {
    let (version, encoding, read_only): (i32, String, bool) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int4, current_setting('server_encoding'),
                pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(at.failed())?;
    if version < OLDEST_VERSION {
        let (found, oldest) = (version / 10_000, OLDEST_VERSION / 10_000);
        return Err(at.open(format!(
            "the server is Postgres {found}, and {oldest} or later is needed"
        )));
    }
    if encoding != "UTF8" {
        return Err(at.open(format!(
            "its encoding is {encoding}; make it anew with ENCODING 'UTF8'"
        )));
    }
    if read_only {
        return Err(at.open(
            "it is read-only: a standby, or `default_transaction_read_only` is set; name the \
             primary, or a role that may write",
        ));
    }
    // Tables of extensions do not count.
    let (tables, ours): (i64, bool) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_class c
                 WHERE c.relnamespace = current_schema()::regnamespace
                   AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations'
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                                   AND d.classid = 'pg_class'::regclass AND d.objid = c.oid)),
                to_regclass('bitfront') IS NOT NULL",
    )
    .fetch_one(connection)
    .await
    .map_err(at.failed())?;
    if tables > 0 && !ours {
        return Err(at.not_ours("it is a database of another program".to_owned()));
    }
    Ok(())
}

/// The latest version of the schema that this program knows.
pub(super) fn known_schema() -> i64 {
    let versions = MIGRATIONS.iter().map(|migration| migration.version);
    versions.max().unwrap_or(0)
}

async fn migrate(at: &Place<'_>, connection: &mut PgConnection) -> Result<(), StoreError> {
    let known = known_schema();
    // Hidden in sqlx's documentation, but the way around the generic `run`, whose future is not
    // `Send` for every lifetime of the connection.
    let run = MIGRATIONS.run_direct(None, connection, false).await;
    run.map_err(|error| match error {
        MigrateError::VersionMissing(found) if found > known => StoreError::Newer {
            database: at.url.to_string(),
            found,
            known,
        },
        MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => at
            .not_ours(format!(
                "its migration {version} differs from this program's"
            )),
        other if other.to_string().contains("permission denied") => at.open(format!(
            "{other}; the role must own the database, or be allowed to create tables in it"
        )),
        other => at.open(other),
    })
}

fn is_not_found(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
}

/// The database that is opened, for what is said of it.
struct Place<'u> {
    url: &'u PostgresUrl,
}

impl Place<'_> {
    fn options(&self) -> Result<PgConnectOptions, StoreError> {
        let options = PgConnectOptions::from_str(self.url.with_secrets());
        let options = options.map_err(|error| self.open(error))?;
        Ok(options
            .application_name("bitfront")
            .disable_statement_logging())
    }

    fn open(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Open {
            database: self.url.to_string(),
            reason: reason.to_string(),
        }
    }

    fn not_ours(&self, reason: String) -> StoreError {
        StoreError::NotOurs {
            database: self.url.to_string(),
            reason,
        }
    }

    fn failed(&self) -> impl Fn(sqlx::Error) -> StoreError {
        const NO_SUCH_DATABASE: &str = "3D000";
        |error| {
            let code = error.as_database_error().and_then(|error| error.code());
            let reason = said(&error);
            self.open(match code.as_deref() {
                Some(NO_SUCH_DATABASE) => {
                    format!("{reason}; make it with `createdb`, owned by the role of the URL")
                }
                // How rustls begins, from within an error of the connection.
                _ if reason.contains("invalid peer certificate") => format!(
                    "{reason}; the name of the server in the URL must be in its certificate, and \
                     `sslrootcert=FILE` names the authority that signed that"
                ),
                _ if is_not_found(&error) => format!(
                    "{reason}: a file that the URL names, such as `sslrootcert`, or the folder of a \
                     socket in `host`"
                ),
                _ => reason,
            })
        }
    }
}
