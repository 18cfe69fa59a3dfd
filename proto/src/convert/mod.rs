//! From the wire to the domain, checked; from the domain to the wire, total.
//!
//! `TryFrom<v1::X>` reads a message and fails with a [`ConvertError`] that names the field, such as
//! `request.spec.layers[3].rows`; `From<&X>` (or `From<X>`) writes one and cannot fail. A plan
//! lists precisions in its model spec's order of layers and means nothing without it, so the
//! messages that hold a plan are read by functions that are given the spec: [`front_point`],
//! [`plan`].
//!
//! Conversions check form (present, parses, finite, fits) and nothing else: whether a limit makes
//! sense is for the coordinator's intake to say.

mod access;
mod answer;
mod belief;
mod comparison;
mod deed;
mod device;
mod drift;
mod environment;
mod fleet;
mod manifest;
mod measurement;
mod passes;
mod probe;
mod question;
mod request;
mod schedule;
mod sensitivity;
mod spec;
mod stopping;
mod task;

pub use answer::front_point;
pub use spec::plan;

use std::fmt::Display;
use std::str::FromStr;

/// A message holds what its type allows but its meaning does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConvertError {
    /// The path of the field, from the outermost message in.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field that must be there is not.
    #[error("is missing")]
    Missing,
    /// The value is not one of those that the field can hold.
    #[error("{0}")]
    Invalid(String),
    /// A figure is NaN or infinite.
    #[error("is {0}, a finite number is expected")]
    NotFinite(String),
}

impl ConvertError {
    /// An error in the field `name` of the message at hand.
    pub fn invalid(name: &str, reason: impl Display) -> Self {
        Self {
            path: name.to_owned(),
            problem: Problem::Invalid(reason.to_string()),
        }
    }

    /// The same error, seen from the message that holds the one at fault in its field `name`.
    pub fn within(self, name: &str) -> Self {
        Self {
            path: format!("{name}.{}", self.path),
            ..self
        }
    }
}

/// Reads a message that must be there.
pub(crate) fn message<W, D>(name: &str, wire: Option<W>) -> Result<D, ConvertError>
where
    D: TryFrom<W, Error = ConvertError>,
{
    D::try_from(present(name, wire)?).map_err(|error| error.within(name))
}

/// Reads a message that may be absent.
pub(crate) fn optional<W, D>(name: &str, wire: Option<W>) -> Result<Option<D>, ConvertError>
where
    D: TryFrom<W, Error = ConvertError>,
{
    wire.map(|wire| D::try_from(wire).map_err(|error| error.within(name)))
        .transpose()
}

/// Reads a list of messages.
pub(crate) fn messages<W, D>(name: &str, wires: Vec<W>) -> Result<Vec<D>, ConvertError>
where
    D: TryFrom<W, Error = ConvertError>,
{
    wires
        .into_iter()
        .enumerate()
        .map(|(index, wire)| {
            D::try_from(wire).map_err(|error| error.within(&format!("{name}[{index}]")))
        })
        .collect()
}

/// A field that must be there.
pub(crate) fn present<W>(name: &str, wire: Option<W>) -> Result<W, ConvertError> {
    wire.ok_or_else(|| ConvertError {
        path: name.to_owned(),
        problem: Problem::Missing,
    })
}

/// Reads a word by its name.
pub(crate) fn word<D>(name: &str, text: &str) -> Result<D, ConvertError>
where
    D: FromStr,
    D::Err: Display,
{
    text.parse()
        .map_err(|error| ConvertError::invalid(name, error))
}

/// Reads a word that may be absent.
pub(crate) fn optional_word<D>(name: &str, text: Option<String>) -> Result<Option<D>, ConvertError>
where
    D: FromStr,
    D::Err: Display,
{
    text.map(|text| word(name, &text)).transpose()
}

/// Reads a list of words by their names.
pub(crate) fn words<D>(name: &str, texts: &[String]) -> Result<Vec<D>, ConvertError>
where
    D: FromStr,
    D::Err: Display,
{
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            text.parse()
                .map_err(|error| ConvertError::invalid(&format!("{name}[{index}]"), error))
        })
        .collect()
}

/// Checks a figure: NaN and infinities can neither be compared nor stored.
pub(crate) fn finite(name: &str, value: f64) -> Result<f64, ConvertError> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(ConvertError {
        path: name.to_owned(),
        problem: Problem::NotFinite(value.to_string()),
    })
}

/// Writes words by their names.
pub(crate) fn names<D: Display>(words: &[D]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Milliseconds of a duration; longer than half a billion years is cut.
pub(crate) fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds of a duration; longer than half a millennium is cut.
pub(crate) fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
