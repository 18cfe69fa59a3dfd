//! From columns to words: what is read may have been written by anyone.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use bitfront_model::Precision;
use sqlx::Row as _;

use super::{Failure, Row, StoreError};

/// A row that cannot have been written by this program.
pub(super) fn corrupt(what: impl Display, reason: impl Display) -> Failure {
    Failure::Store(StoreError::Corrupt {
        what: what.to_string(),
        reason: reason.to_string(),
    })
}

/// A word by its name.
pub(super) fn word<T>(row: &Row, column: &str) -> Result<T, Failure>
where
    T: FromStr,
    T::Err: Display,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| corrupt(column, error))
}

/// A word that may be absent.
pub(super) fn optional_word<T>(row: &Row, column: &str) -> Result<Option<T>, Failure>
where
    T: FromStr,
    T::Err: Display,
{
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|error| corrupt(column, error)))
        .transpose()
}

/// A count or a size, stored as a signed integer: neither database has another one.
pub(super) fn unsigned(row: &Row, column: &str) -> Result<u64, Failure> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| corrupt(column, format!("{value} is negative")))
}

/// A count that may be absent.
pub(super) fn optional_unsigned(row: &Row, column: &str) -> Result<Option<u64>, Failure> {
    let value: Option<i64> = row.try_get(column)?;
    value
        .map(|value| {
            u64::try_from(value).map_err(|_| corrupt(column, format!("{value} is negative")))
        })
        .transpose()
}

/// A flag, stored as 0 or 1.
pub(super) fn flag(row: &Row, column: &str) -> Result<bool, Failure> {
    match row.try_get::<i64, _>(column)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(corrupt(column, format!("{other} is neither 0 nor 1"))),
    }
}

/// A count as it is stored. What is larger than the databases can hold is stored as the largest:
/// sizes and budgets that large are out of reach in any case.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A duration as it is stored.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Precisions as they are stored.
pub(super) fn joined(precisions: &[Precision]) -> String {
    let names: Vec<_> = precisions
        .iter()
        .map(|precision| precision.name())
        .collect();
    names.join(",")
}

/// Precisions that were stored by [`joined`].
pub(super) fn split(column: &str, text: &str) -> Result<Vec<Precision>, Failure> {
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.parse().map_err(|error| corrupt(column, error)))
        .collect()
}

/// A value as JSON.
pub(super) fn json<T: serde::Serialize>(what: &str, value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

/// How many of the rows that are left are inserted by the next statement: a power of two, so that
/// there are few statements to prepare and to keep. There is at least one left.
pub(super) fn rows_at_once(left: usize, most: usize) -> usize {
    1 << left.min(most).ilog2()
}

/// A value that was stored by [`json`].
pub(super) fn parsed<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}
