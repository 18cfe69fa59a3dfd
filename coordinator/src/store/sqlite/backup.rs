//! Copies of a database file: made while it is served, and put where nobody serves one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::{TempDir, TempPath};

use super::StoreError;
use super::open::{APPLICATION_ID, Lock, MIGRATIONS, failed};

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
    let partial = Partial::beside(to).map_err(cannot_write(to))?;
    let copy = partial.copy();
    let name = copy.to_str().ok_or_else(|| StoreError::Open {
        database: to.display().to_string(),
        reason: "its path is not UTF-8".to_owned(),
    })?;
    // One reading transaction: what others write meanwhile is not in it.
    let copied = sqlx::query("VACUUM INTO $1").bind(name);
    copied.execute(connection).await.map_err(failed(from))?;
    partial.keep(to).map_err(cannot_write(to))
}

/// A copy that is being written: a folder beside its place, with a lock that the operating system
/// drops with the process. It goes away with this; one of a process that was killed, with the next
/// copy to the same place.
struct Partial {
    _lock: File,
    folder: TempDir,
}

impl Partial {
    const END: &str = ".partial";

    fn beside(to: &Path) -> io::Result<Self> {
        let (folder, begin) = (parent(to), Self::begin(to));
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&begin) && name.ends_with(Self::END) {
                remove_abandoned(&path)?;
            }
        }
        let mut folder_beside = tempfile::Builder::new();
        let folder_beside = folder_beside.prefix(&begin).suffix(Self::END);
        let folder = folder_beside.tempdir_in(folder)?;
        let lock = File::create(lock_of(folder.path()))?;
        lock.lock()?;
        Ok(Self {
            _lock: lock,
            folder,
        })
    }

    /// What the folders of copies to a place begin with.
    fn begin(to: &Path) -> String {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}.")
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    /// Forces the copy to the disk and gives it its name, unless somebody has taken that meanwhile.
    fn keep(self, to: &Path) -> io::Result<()> {
        let copy = self.copy();
        File::open(&copy)?.sync_all()?;
        TempPath::try_from_path(copy)?.persist_noclobber(to)?;
        File::open(parent(to))?.sync_all()
    }
}

fn lock_of(partial: &Path) -> PathBuf {
    partial.join("lock")
}

/// Removes the folder of a copy that nobody writes any more. One without a lock is not ours, or is
/// just being made.
fn remove_abandoned(partial: &Path) -> io::Result<()> {
    let Ok(lock) = File::open(lock_of(partial)) else {
        return Ok(());
    };
    match lock.try_lock() {
        Ok(()) => fs::remove_dir_all(partial),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
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

    #[tokio::test]
    async fn what_appears_while_a_copy_is_written_stays() {
        let folder = folder();
        let to = folder.path().join("copy");
        let partial = Partial::beside(&to).unwrap();
        fs::write(partial.copy(), "a copy").unwrap();
        fs::write(&to, "of somebody else").unwrap();
        let error = partial.keep(&to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(fs::read(&to).unwrap(), b"of somebody else");
        assert_eq!(partials(folder.path()), 0);
    }

    #[tokio::test]
    async fn what_a_killed_copy_left_goes_with_the_next_one_and_what_is_being_written_stays() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let store = SqliteStore::open(path("live")).await.unwrap();
        let written = Partial::beside(&path("copy")).unwrap();
        let left = path("copy.abcdef.partial");
        fs::create_dir(&left).unwrap();
        for file in ["lock", "copy", "copy-journal"] {
            fs::write(left.join(file), "some of it").unwrap();
        }
        let not_ours = path("copy.notes.partial");
        fs::create_dir(&not_ours).unwrap();
        backup(&path("live"), &path("copy")).await.unwrap();
        assert!(!left.exists());
        assert!(written.folder.path().exists() && not_ours.exists());
        drop(written);
        assert_eq!(partials(folder.path()), 1);
        store.close().await;
    }
}
