//! Which database a coordinator serves.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// Which database a coordinator serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file; made where it does not exist.
    File(PathBuf),
    /// A Postgres database, which must exist.
    Postgres(PostgresUrl),
}

impl Database {
    /// What is typed: a Postgres URL by its scheme, `postgres` or `postgresql`, and otherwise a
    /// file.
    pub fn named(typed: &OsStr) -> Self {
        match typed.to_str().and_then(PostgresUrl::new) {
            Some(url) => Self::Postgres(url),
            None => Self::File(PathBuf::from(typed)),
        }
    }
}

impl From<PathBuf> for Database {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}

impl From<&Path> for Database {
    fn from(file: &Path) -> Self {
        Self::File(file.to_owned())
    }
}

impl From<&PathBuf> for Database {
    fn from(file: &PathBuf) -> Self {
        Self::File(file.clone())
    }
}

/// Where a Postgres database is, as a URL, which may hold a password. Shown without it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// How such a URL begins.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

impl PostgresUrl {
    /// A text that begins as such a URL does; whether it can be meant is found out by opening.
    pub fn new(text: &str) -> Option<Self> {
        let begins = SCHEMES.iter().any(|scheme| {
            let start = text.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        begins.then(|| Self(text.to_owned()))
    }

    /// The whole text, with the password. Not for people.
    pub(crate) fn with_secrets(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return formatter.write_str("postgres://");
        };
        // The last `@`, since a password may have been typed as it is. What stands before it is
        // shown up to the first mark that a user's name cannot have in a URL.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        write!(formatter, "{scheme}://")?;
        if let Some(user) = user {
            let name = user.split([':', '/', '?', '#', '@']).next();
            write!(formatter, "{}@", name.unwrap_or_default())?;
        }
        // Parameters may hold a password too.
        let place = place.split(['?', '#']).next();
        formatter.write_str(place.unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let cases = [
            (
                "postgres://user:secret@host:5432/fleet?sslmode=require",
                "postgres://user@host:5432/fleet",
            ),
            (
                "postgresql://host/fleet?user=user&password=secret",
                "postgresql://host/fleet",
            ),
            (
                "postgres://user:sec/r@e?t@host/fleet",
                "postgres://user@host/fleet",
            ),
            ("postgres:///fleet?host=/run", "postgres:///fleet"),
            ("POSTGRES://:secret@host", "POSTGRES://@host"),
        ];
        let mut wrong = Vec::new();
        for (typed, shown) in cases {
            let url = PostgresUrl::new(typed).expect("it is a URL");
            if url.to_string() != shown || format!("{url:?}") != shown {
                wrong.push(format!("{typed}: {url}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn what_is_typed_is_a_url_by_its_scheme_and_otherwise_a_file() {
        for url in ["postgres://host", "postgresql:///fleet", "Postgres://host"] {
            let named = Database::named(OsStr::new(url));
            assert!(matches!(named, Database::Postgres(_)), "{url}");
        }
        for file in [
            "fleet.sqlite",
            "/var/postgres://",
            "postgres:",
            "postgre",
            "möglich",
        ] {
            let named = Database::named(OsStr::new(file));
            assert_eq!(named, Database::File(PathBuf::from(file)));
        }
    }
}
