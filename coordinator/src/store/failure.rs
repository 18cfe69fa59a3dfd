//! Why a piece of work on a connection failed.

use sqlx::error::ErrorKind;

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
            Self::Database(sqlx::Error::ColumnDecode { index, source }) => {
                return StoreError::Corrupt {
                    what: format!("the column {index}"),
                    reason: source.to_string(),
                };
            }
            Self::Database(error) if is_about_values(&error) => {
                return StoreError::Refused {
                    doing,
                    reason: said(&error),
                };
            }
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

/// Whether it is the values that the database will not have: however often they are sent, it says so
/// again.
fn is_about_values(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else {
        return matches!(error, sqlx::Error::Encode(_));
    };
    // Class 22 of SQL's states, of five characters: what is no value of its type. SQLite's codes have
    // another length.
    let is_no_value = |code: &str| code.len() == 5 && code.starts_with("22");
    error.code().is_some_and(|code| is_no_value(&code))
        || matches!(
            error.kind(),
            ErrorKind::CheckViolation
                | ErrorKind::NotNullViolation
                | ErrorKind::ForeignKeyViolation
        )
}

/// What the database says, without where in its own source it says so.
pub(super) fn said(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    }
}
