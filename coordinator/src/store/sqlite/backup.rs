//! Copies of a database file: made while it is served, and put where nobody serves one.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::StoreError;
use super::open::{APPLICATION_ID, Lock, MIGRATIONS, beside, failed};

/// Copies a database as it is at one moment into a new file. Whoever serves it goes on.
pub(crate) async fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut connection = open_for_reading(from).await?;
    copy(&mut connection, from, to).await?;
    connection.close().await.map_err(failed(from))
}

/// Copies a backup to where a database is to be. Nobody may serve one there, and nothing that is
/// there is overwritten.
pub(crate) async fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut connection = open_for_reading(from).await?;
    check(&mut connection, from).await?;
    if let Some(folder) = to.parent().filter(|it| !it.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(cannot_write(to))?;
    }
    let _lock = Lock::take(to)?;
    copy(&mut connection, from, to).await?;
    connection.close().await.map_err(failed(from))
}

/// Opens a file that is there and ours, and changes nothing in it.
async fn open_for_reading(path: &Path) -> Result<SqliteConnection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Open {
            database: path.display().to_string(),
            reason: "there is no such file".to_owned(),
        });
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let options = options.disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed(path))?;
    let application_id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut connection)
        .await
        .map_err(failed(path))?;
    if application_id != APPLICATION_ID {
        return Err(StoreError::NotOurs {
            database: path.display().to_string(),
            reason: "it is empty, or a database of another program".to_owned(),
        });
    }
    Ok(connection)
}

/// Refuses a backup that is damaged, or that this program could not serve.
async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed(path))?;
    let versions = MIGRATIONS.iter().map(|migration| migration.version);
    let known = versions.max().unwrap_or(0);
    if found > known {
        return Err(StoreError::Newer {
            database: path.display().to_string(),
            found,
            known,
        });
    }
    let problem: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(connection)
        .await
        .map_err(failed(path))?;
    match problem.as_str() {
        "ok" => Ok(()),
        problem => Err(StoreError::Corrupt {
            what: path.display().to_string(),
            reason: problem.to_owned(),
        }),
    }
}

/// Writes a new file under another name, forces it to the disk and only then gives it its own.
async fn copy(connection: &mut SqliteConnection, from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Open {
            database: to.display().to_string(),
            reason: "it exists; name another file, or move that one away".to_owned(),
        });
    }
    // What a killed coordinator left would be taken for a part of the new file.
    for suffix in ["-wal", "-journal"] {
        let mut left = to.as_os_str().to_owned();
        left.push(suffix);
        if Path::new(&left).exists() {
            return Err(StoreError::Open {
                database: to.display().to_string(),
                reason: format!(
                    "{} is left of another database; move it away too",
                    Path::new(&left).display()
                ),
            });
        }
    }
    // Two that run at once do not share it.
    let partial = beside(to, &format!("{}.partial", std::process::id()));
    let _ = fs::remove_file(&partial);
    let name = partial.to_str().ok_or_else(|| StoreError::Open {
        database: to.display().to_string(),
        reason: "its path is not UTF-8".to_owned(),
    })?;
    // One reading transaction: what others write meanwhile is not in it.
    let copied = sqlx::query("VACUUM INTO $1").bind(name);
    let copied = copied.execute(connection).await.map_err(failed(from));
    let kept = copied.and_then(|_| keep(&partial, to).map_err(cannot_write(to)));
    if kept.is_err() {
        let _ = fs::remove_file(&partial);
    }
    kept
}

fn keep(partial: &Path, to: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, to)?;
    let folder = to.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn cannot_write(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |error| StoreError::Open {
        database: path.display().to_string(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use bitfront_model::Precision;

    use super::*;
    use crate::store::conformance::{claim, report, running};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Store, StoredMeasurement};
    use crate::testing::folder;

    async fn measurements(store: &dyn Store, search: i64) -> Vec<StoredMeasurement> {
        store.measurements(search, None).await.unwrap()
    }

    fn partials(folder: &Path) -> usize {
        let files = fs::read_dir(folder).unwrap().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".partial")).count()
    }

    #[tokio::test]
    async fn a_copy_is_what_was_there_while_others_went_on() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path("live")).await.unwrap());
        let (device, search) = running(&store, &[Precision::Q8_0, Precision::Q4K]).await;
        let first = claim(&store, device).await;
        report(&store, &first, "first").await;
        let then = measurements(&*store, search).await;

        backup(&path("live"), &path("copy")).await.unwrap();
        let second = claim(&store, device).await;
        report(&store, &second, "second").await;
        assert_eq!(measurements(&*store, search).await.len(), 2);
        assert_eq!(partials(folder.path()), 0);

        restore(&path("copy"), &path("again/live")).await.unwrap();
        let again = SqliteStore::open(path("again/live")).await.unwrap();
        assert_eq!(measurements(&again, search).await, then);
        assert_eq!(
            again.identity().await.unwrap(),
            store.identity().await.unwrap()
        );
        // What is restored goes on as any other.
        let again: Arc<dyn Store> = Arc::new(again);
        let claimed = claim(&again, device).await;
        report(&again, &claimed, "second").await;
    }

    #[tokio::test]
    async fn nothing_is_overwritten_and_nothing_strange_is_copied() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let store = SqliteStore::open(path("live")).await.unwrap();
        fs::write(path("text"), "no database").unwrap();
        fs::write(path("empty"), "").unwrap();
        let cases = [
            (
                backup(&path("none"), &path("copy")).await,
                "there is no such file",
            ),
            (
                backup(&path("text"), &path("copy")).await,
                "not an SQLite file",
            ),
            (backup(&path("empty"), &path("copy")).await, "it is empty"),
            (backup(&path("live"), &path("text")).await, "it exists"),
            (
                backup(&path("live"), &path("missing/copy")).await,
                "missing/copy",
            ),
        ];
        for (refused, part) in cases {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!path("copy").exists());
        assert_eq!(fs::read(path("text")).unwrap(), b"no database");

        backup(&path("live"), &path("copy")).await.unwrap();
        let refused = restore(&path("copy"), &path("live")).await.unwrap_err();
        assert!(
            refused.to_string().contains("served by another"),
            "{refused}"
        );
        store.close().await;
        let refused = restore(&path("copy"), &path("live")).await.unwrap_err();
        assert!(refused.to_string().contains("it exists"), "{refused}");
        // A backup of which a part was lost.
        let whole = fs::read(path("copy")).unwrap();
        fs::write(path("torn"), &whole[..whole.len() / 2]).unwrap();
        assert!(restore(&path("torn"), &path("new")).await.is_err());
        assert!(!path("new").exists());
        assert_eq!(partials(folder.path()), 0);
        // A coordinator that was killed left its log, which belongs to no other file.
        fs::write(path("moved-wal"), "frames").unwrap();
        let refused = restore(&path("copy"), &path("moved")).await.unwrap_err();
        assert!(
            refused.to_string().contains("moved-wal is left"),
            "{refused}"
        );
    }
}
