//! Who may do what at a coordinator: access tokens and their roles.

use std::fmt;
use std::str::FromStr;

use crate::UnknownName;

/// What the holder of an access token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessRole {
    /// Serve as a device: lease tasks, report, fetch files.
    Agent,
    /// What `Read` may, and start, cancel and continue searches and hand files in.
    Submit,
    /// Ask where searches stand and what they found, and which devices there are.
    Read,
    /// What `Submit` may, and make and revoke access tokens.
    Admin,
}

impl AccessRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Submit, Self::Read, Self::Admin];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for AccessRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for AccessRole {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| UnknownName {
            what: "role",
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// An access token as a coordinator knows it: all but the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// Unique among those that are not revoked.
    pub name: String,
    /// What its holder may do.
    pub role: AccessRole,
    /// When it was made, in milliseconds since 1970, as all of these.
    pub created_ms: i64,
    /// From when on it counts no more by itself; never where it is absent.
    pub expires_ms: Option<i64>,
    /// From when on it counts no more since somebody said so.
    pub revoked_ms: Option<i64>,
}
