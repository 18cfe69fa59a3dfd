//! An open database, whichever it is.

use std::sync::Arc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreError};
use crate::database::Database;

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

    /// Leaves a note of where this coordinator listens, for others that find the database in use.
    pub(crate) async fn announce(&self, address: &str) {
        match self {
            Self::Sqlite(store) => store.announce(address),
            Self::Postgres(store) => store.announce(address).await,
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
