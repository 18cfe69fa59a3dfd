//! Why a piece of work on a connection failed.

use super::StoreError;

/// Why a piece of work on a connection failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database says so.
    Database(sqlx::Error),
    /// It was found out here.
    Store(StoreError),
    /// Somebody else wrote, at the same time, what this work had found missing. Done again, it
    /// finds it.
    Overtaken,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// The error of work that was rolled back, or that only read.
    pub(super) fn while_asked_to(self, doing: &'static str) -> StoreError {
        let reason = match self {
            Self::Store(error) => return error,
            Self::Database(error) => said(&error),
            Self::Overtaken => "somebody else did the same at the same time".to_owned(),
        };
        StoreError::Failed {
            doing,
            reason,
            may_have_happened: false,
        }
    }
}

/// What the database says, without where in its own source it says so.
pub(super) fn said(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    }
}
