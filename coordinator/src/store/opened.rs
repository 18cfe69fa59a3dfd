//! An open database, whichever it is.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreError};
use crate::database::Database;
use crate::wakeups::Wakeups;

/// An open database, whichever it is.
pub(crate) enum Opened {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl Opened {
    /// Opens a database and keeps other coordinators out of it.
    pub(crate) async fn open(database: &Database) -> Result<Self, StoreError> {
        Ok(match database {
            Database::File(path) => Self::Sqlite(Arc::new(SqliteStore::open(path).await?)),
            Database::Postgres(url) => Self::Postgres(Arc::new(PostgresStore::open(url).await?)),
        })
    }

    /// What is stored in it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// Leaves a note of where this coordinator listens, for others that find the database in use,
    /// and where several may use it, exchanges wake-ups with them until the shutdown.
    pub(crate) async fn stand_beside_others(
        self: Arc<Self>,
        address: String,
        wakeups: Arc<Wakeups>,
        shutdown: CancellationToken,
    ) {
        match &*self {
            Self::Sqlite(store) => store.announce(&address),
            Self::Postgres(store) => store.relay(wakeups, shutdown).await,
        }
    }

    /// Ends after what is under way, and lets others have the database. Whoever still asks gets an
    /// error.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}
