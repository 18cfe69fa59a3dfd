//! `bitfront token`: who may do what at a coordinator.

use std::time::{Duration, SystemTime};

#[cfg(feature = "local")]
use bitfront_coordinator::Database;
use bitfront_model::{AccessRole, AccessToken};

use crate::args::{TokenArguments, TokenPlaceArguments, TokenVerb};
use crate::figures::moment;
use crate::listing::{Cell, Column, Listing};
#[cfg(feature = "local")]
use crate::local::Place;
use crate::problem::ExitStatus;
use crate::settings::{duration, role};
use crate::view::time;

use super::session::{Agent, Connection, Session};

pub(super) async fn token(typed: TokenArguments, session: Session) -> anyhow::Result<ExitStatus> {
    match typed.verb {
        TokenVerb::Add(typed) => {
            let role = role(&typed.role)?;
            let lasts = typed.expires.map(|lasts| duration("--expires", &lasts));
            let tokens = Tokens::at(typed.place, &session).await?;
            let secret = tokens.add(&typed.name, role, lasts.transpose()?).await?;
            session.printer.data(format!("{secret}\n"))?;
            session.printer.say(format_args!(
                "`{}` is made; its secret is told this once, and kept in a file for --token-file",
                typed.name
            ));
        }
        TokenVerb::List(typed) => {
            let tokens = Tokens::at(typed.place, &session).await?.list().await?;
            session.list(&listing(&tokens, now()), typed.listing)?;
        }
        TokenVerb::Revoke(typed) => {
            let tokens = Tokens::at(typed.place, &session).await?;
            tokens.revoke(&typed.name).await?;
            session
                .printer
                .say(format_args!("`{}` is revoked", typed.name));
        }
    }
    Ok(ExitStatus::Success)
}

/// Where access tokens are.
enum Tokens {
    /// With a coordinator, which asks for one of an administrator.
    Coordinator(Box<Connection>),
    /// In a database that one has still to serve, or serves beside others.
    #[cfg(feature = "local")]
    Database(Database),
}

impl Tokens {
    #[cfg(feature = "local")]
    async fn at(typed: TokenPlaceArguments, session: &Session) -> anyhow::Result<Self> {
        Ok(match typed.database {
            Some(typed) => Self::Database(Database::named(&typed.0)),
            None if session.is_embedded() => Self::Database(Place::new(&session.config).database),
            None => Self::Coordinator(Box::new(session.connect(Agent::NotNeeded).await?)),
        })
    }

    #[cfg(not(feature = "local"))]
    async fn at(_typed: TokenPlaceArguments, session: &Session) -> anyhow::Result<Self> {
        let connection = session.connect(Agent::NotNeeded).await?;
        Ok(Self::Coordinator(Box::new(connection)))
    }

    async fn add(
        self,
        name: &str,
        role: AccessRole,
        lasts: Option<Duration>,
    ) -> anyhow::Result<String> {
        match self {
            Self::Coordinator(mut connection) => {
                let secret = connection.client.add_token(name, role, lasts).await?;
                connection.close().await?;
                Ok(secret)
            }
            #[cfg(feature = "local")]
            Self::Database(database) => {
                Ok(bitfront_coordinator::add_token(&database, name, role, lasts).await?)
            }
        }
    }

    async fn list(self) -> anyhow::Result<Vec<AccessToken>> {
        match self {
            Self::Coordinator(mut connection) => {
                let tokens = connection.client.tokens().await?;
                connection.close().await?;
                Ok(tokens)
            }
            #[cfg(feature = "local")]
            Self::Database(database) => Ok(bitfront_coordinator::list_tokens(&database).await?),
        }
    }

    async fn revoke(self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Coordinator(mut connection) => {
                connection.client.revoke_token(name).await?;
                connection.close().await
            }
            #[cfg(feature = "local")]
            Self::Database(database) => {
                Ok(bitfront_coordinator::revoke_token(&database, name).await?)
            }
        }
    }
}

/// In milliseconds since 1970, to say of an access token whether it has expired.
#[allow(clippy::disallowed_methods)] // Nothing is decided by it; a coordinator goes by its own clock.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

fn listing(tokens: &[AccessToken], now_ms: i64) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("name", "name"),
        Column::text("role", "role"),
        Column::text("state", "state"),
        Column::text("created_at", "created"),
        Column::text("expires_at", "expires"),
        Column::text("revoked_at", "revoked"),
    ]);
    for token in tokens {
        let state = match (token.revoked_ms, token.expires_ms) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now_ms => "expired",
            (None, _) => "valid",
        };
        let at = |ms: Option<i64>| Cell::from(ms.map(|ms| moment(time(ms))));
        listing.row(vec![
            Cell::plain(token.name.as_str()),
            Cell::plain(token.role.name()),
            Cell::plain(state),
            at(Some(token.created_ms)),
            at(token.expires_ms),
            at(token.revoked_ms),
        ]);
    }
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::Format;

    #[test]
    fn a_token_is_a_row_with_whether_it_counts() {
        let token = |name: &str, expires_ms, revoked_ms| AccessToken {
            name: name.to_owned(),
            role: AccessRole::Submit,
            created_ms: 1_780_000_000_000,
            expires_ms,
            revoked_ms,
        };
        let tokens = [
            token("one", None, None),
            token("two", Some(1_790_000_000_000), None),
            token("three", Some(1_790_000_000_000), Some(1_785_000_000_000)),
        ];
        let listing = listing(&tokens, 1_790_000_000_000);
        insta::assert_snapshot!(listing.render(Format::Table, 140).unwrap());
        insta::assert_snapshot!(listing.render(Format::Csv, 140).unwrap());
    }
}
