//! The store in one SQLite file.
//!
//! All writes go through one connection, owned by the writer task ([`writer`]): SQLite has one
//! writer at a time in any case, and here it never waits for a lock. Writes that arrive while a
//! commit is on its way to the disk share the next one. `synchronous=FULL`: a commit that was
//! answered survives a power loss. Reads have a pool of their own and, in WAL mode, wait for
//! nobody.

#[macro_use]
mod dialect;
pub(crate) mod backup;
mod open;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use sqlx::sqlite::SqliteSynchronous;
use sqlx::{Sqlite, SqlitePool, pool::PoolConnection};

use super::StoreError;
use super::failure::Failure;
use super::term::Term;
use writer::Writer;

type Driver = Sqlite;
type Connection = sqlx::SqliteConnection;
type Row = sqlx::sqlite::SqliteRow;
type ThisStore = SqliteStore;

/// The store in one SQLite file; see the module's documentation.
pub(crate) struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    /// Held until the store is closed: it keeps a second coordinator out. Behind a std mutex, held
    /// for a look only.
    lock: Mutex<Option<open::Lock>>,
    /// Of the coordinator that uses it.
    term: Term,
}

impl SqliteStore {
    /// A lock beside the file keeps other coordinators out.
    const IS_EXCLUSIVE: bool = true;

    /// Opens the file, making it where it does not exist, and brings its schema up to date.
    pub(crate) async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        open::open(path.into(), SqliteSynchronous::Full).await
    }

    /// The same, without waiting for the disk: for tests that lose no power.
    #[cfg(test)]
    pub(crate) async fn open_without_waiting(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        open::open(path.into(), SqliteSynchronous::Off).await
    }

    fn known_schema() -> i64 {
        open::known_schema()
    }

    /// Leaves a note of where this coordinator listens, for others that find the file in use.
    pub(crate) fn announce(&self, address: &str) {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = lock.as_ref() {
            lock.announce(address);
        }
    }

    /// Ends the writer after what it was given, closes the file and lets others have it. Whoever
    /// still asks gets an error.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// The store as another coordinator would have it, were there no lock: under a term of its own.
    #[cfg(test)]
    fn shared(&self) -> Self {
        Self {
            writer: self.writer.shared(),
            readers: self.readers.clone(),
            lock: Mutex::default(),
            term: Term::default(),
        }
    }

    async fn reader(&self, doing: &'static str) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers
            .acquire()
            .await
            .map_err(|error| Failure::from(error).while_asked_to(doing))
    }
}

/// Runs a function on a reading connection.
macro_rules! read {
    ($store:expr, $doing:literal, $function:path $(, $argument:expr)*) => {{
        let mut connection = $store.reader($doing).await?;
        $function(&mut connection $(, $argument)*)
            .await
            .map_err(|failure| failure.while_asked_to($doing))
    }};
}

/// Runs a function in a transaction of the writer, with arguments of its own.
macro_rules! write {
    ($store:expr, $doing:literal, |$connection:ident| $work:expr) => {
        $store
            .writer
            .write($doing, move |$connection| {
                Box::pin(async move { $work.await })
            })
            .await
    };
}

// After the macros that it uses.
#[allow(
    clippy::duplicate_mod,
    reason = "compiled for the types of each driver"
)]
#[path = "../sql/mod.rs"]
mod sql;
