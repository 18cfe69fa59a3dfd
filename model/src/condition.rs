//! What the device makes of the figures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnknownName;

/// A reason to trust a figure less: it was taken all the same, and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The measuring threads were not held to fixed cores.
    NotPinned,
    /// The other threads of the agent had no cores of their own.
    CoresShared,
}

impl Mark {
    /// Every mark, in order.
    pub const ALL: [Self; 2] = [Self::NotPinned, Self::CoresShared];

    /// The mark's name on the wire, in JSON and in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotPinned => "not_pinned",
            Self::CoresShared => "cores_shared",
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Mark {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mark| mark.name() == text);
        found.ok_or_else(|| UnknownName {
            what: "mark",
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_has_one_name_everywhere() {
        for mark in Mark::ALL {
            assert_eq!(mark.name().parse(), Ok(mark));
            let json = serde_json::to_value(mark).expect("a mark is JSON");
            assert_eq!(json, mark.name());
        }
        let wrong = "tired".parse::<Mark>().expect_err("no such mark");
        assert!(wrong.to_string().contains("not_pinned"), "{wrong}");
    }
}
