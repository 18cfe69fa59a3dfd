//! What persons did at a coordinator, as it is audited.

use std::fmt;
use std::str::FromStr;

use crate::UnknownName;

/// What came of a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeedOutcome {
    /// It was begun. Where it stays so the coordinator was ended amid it, or its database did not
    /// answer, and it may have been done.
    Begun,
    /// Something changed.
    Done,
    /// Nothing changed: it was refused, failed, or had been done before.
    Nothing,
}

impl DeedOutcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Begun, Self::Done, Self::Nothing];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Nothing => "nothing",
        }
    }
}

impl fmt::Display for DeedOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for DeedOutcome {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|outcome| outcome.name() == text);
        known.ok_or_else(|| UnknownName {
            what: "outcome",
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Something that a person did, or meant to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// When, in milliseconds since 1970, by the coordinator's clock.
    pub at_ms: i64,
    /// The name of the access token, or `local` of a caller who needed none.
    pub by: String,
    /// What: `submit`, `cancel`, `continue`, `hand in`, `add token`, `revoke token`.
    pub action: String,
    /// To what: the number of a search, the digest of a blob, the name of an access token.
    pub subject: String,
    /// What came of it.
    pub outcome: DeedOutcome,
}
