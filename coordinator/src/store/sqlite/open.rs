//! Opening a database file: one coordinator at a time, ours and not newer than we know.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

use super::{SqliteStore, StoreError, Writer};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Set by the first migration; see there.
pub(super) const APPLICATION_ID: i64 = 1_650_881_140;

/// Connections that read. Each takes a thread and some memory; reads are short.
const READERS: u32 = 4;

/// Memory for pages of the file, for the connection that writes and for each that reads, in KiB as
/// SQLite wants it (negative). Every measurement touches indices at random places, and those pages
/// would be read again for each with SQLite's own two MiB.
const WRITERS_CACHE: &str = "-65536";
const READERS_CACHE: &str = "-16384";

/// Pages of the log after which they are copied into the file: 32 MiB of it. A page that is changed
/// again before that is copied once, so with SQLite's own four MiB there would be more to copy.
const CHECKPOINT_AFTER: &str = "8192";

/// Keeps a second coordinator away from a database file.
///
/// The lock is on a file of its own beside the database, since SQLite's own locks are released
/// between transactions. The operating system drops it with the process, however that ends.
pub(super) struct Lock {
    /// Open for as long as the lock is held.
    _file: File,
    address: PathBuf,
}

impl Lock {
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = beside(database, "lock");
        let address = beside(database, "address");
        let failed = |error: io::Error| StoreError::Open {
            database: path.display().to_string(),
            reason: error.to_string(),
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                // A holder that was killed left its address behind.
                let _ = std::fs::remove_file(&address);
                Ok(Self {
                    _file: file,
                    address,
                })
            }
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
                database: database.display().to_string(),
                address: std::fs::read_to_string(&address).ok(),
            }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Writes down where the holder listens. Only a help for others, so a failure is no error.
    pub(super) fn announce(&self, address: &str) {
        if let Err(error) = std::fs::write(&self.address, address) {
            tracing::warn!(%error, file = %self.address.display(), "cannot note the address");
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.address);
    }
}

pub(super) fn beside(database: &Path, extension: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

pub(super) async fn open(
    path: PathBuf,
    synchronous: SqliteSynchronous,
) -> Result<SqliteStore, StoreError> {
    let path = path.as_path();
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|error| StoreError::Open {
            database: path.display().to_string(),
            reason: format!("the folder {}: {error}", folder.display()),
        })?;
    }
    let lock = Lock::take(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        // What a piece of work of a group changes is kept until it is done, to be undone alone. In
        // a file, which is the default, that would be written twice as often as the log.
        .pragma("temp_store", "memory")
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let mut connection = first_look(path, &options, synchronous).await?;
    migrate(path, &mut connection).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        // A connection to a file does not break.
        .test_before_acquire(false)
        .connect_with(options.read_only(true).pragma("cache_size", READERS_CACHE))
        .await
        .map_err(failed(path))?;
    Ok(SqliteStore {
        writer: Writer::start(connection),
        readers,
        lock: Mutex::new(Some(lock)),
        term: Default::default(),
    })
}

/// Opens the writing connection, but changes nothing in a file that is not ours: the settings
/// that are stored in the file come after the check.
async fn first_look(
    path: &Path,
    options: &SqliteConnectOptions,
    synchronous: SqliteSynchronous,
) -> Result<SqliteConnection, StoreError> {
    let looking = options
        .clone()
        .create_if_missing(true)
        .connect()
        .await
        .map_err(failed(path))?;
    let mut looking = looking;
    let application_id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut looking)
        .await
        .map_err(failed(path))?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master")
        .fetch_one(&mut looking)
        .await
        .map_err(failed(path))?;
    if tables > 0 && application_id != APPLICATION_ID {
        return Err(StoreError::NotOurs {
            database: path.display().to_string(),
            reason: "it is a database of another program".to_owned(),
        });
    }
    drop(looking);
    options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("cache_size", WRITERS_CACHE)
        .pragma("wal_autocheckpoint", CHECKPOINT_AFTER)
        .connect()
        .await
        .map_err(failed(path))
}

/// The latest version of the schema that this program knows.
pub(super) fn known_schema() -> i64 {
    let versions = MIGRATIONS.iter().map(|migration| migration.version);
    versions.max().unwrap_or(0)
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let known = known_schema();
    foreign_keys(path, connection, false).await?;
    // Hidden in sqlx's documentation, but the way around the generic `run`, whose future is not
    // `Send` for every lifetime of the connection.
    MIGRATIONS
        .run_direct(None, connection, false)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(found) if found > known => StoreError::Newer {
                database: path.display().to_string(),
                found,
                known,
            },
            MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => {
                StoreError::NotOurs {
                    database: path.display().to_string(),
                    reason: format!("its migration {version} differs from this program's"),
                }
            }
            other => StoreError::Open {
                database: path.display().to_string(),
                reason: other.to_string(),
            },
        })?;
    let broken: Option<(String,)> =
        sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1")
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed(path))?;
    if let Some((table,)) = broken {
        return Err(StoreError::Corrupt {
            what: format!("{}, table {table}", path.display()),
            reason: "a row refers to one that is missing".to_owned(),
        });
    }
    foreign_keys(path, connection, true).await
}

/// A table that is made anew under its old name takes none of the rows that refer to it along, so
/// migrations run without foreign keys; within a transaction the setting cannot be changed.
async fn foreign_keys(
    path: &Path,
    connection: &mut SqliteConnection,
    on: bool,
) -> Result<(), StoreError> {
    let setting = match on {
        true => "PRAGMA foreign_keys = ON",
        false => "PRAGMA foreign_keys = OFF",
    };
    sqlx::query(setting)
        .execute(connection)
        .await
        .map_err(failed(path))?;
    Ok(())
}

pub(super) fn failed(path: &Path) -> impl Fn(sqlx::Error) -> StoreError {
    /// SQLite's code for a file that is not a database.
    const NOT_A_DATABASE: &str = "26";
    let path = path.to_owned();
    move |error| {
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some(NOT_A_DATABASE) {
            return StoreError::NotOurs {
                database: path.display().to_string(),
                reason: "it is not an SQLite file".to_owned(),
            };
        }
        StoreError::Open {
            database: path.display().to_string(),
            reason: error.to_string(),
        }
    }
}
