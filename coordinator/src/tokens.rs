//! Access tokens: how they come into being and end.
//!
//! A secret is 256 bits from the system's generator, after a beginning that tells people and
//! scanners of leaked secrets what it is. Its SHA-256 digest is stored. A digest that is slow to
//! compute protects what people think up, which can be guessed; of these nobody tries a share that
//! counts, and every call would pay for it.

use std::fmt::Write as _;
use std::time::Duration;

use bitfront_model::{AccessRole, AccessToken, Digest};
use tokio_rustls::rustls::crypto::ring;

use crate::audit::LOCAL;
use crate::clock::Clock;
use crate::store::{NewToken, Store, StoreError};

/// The most characters of a name.
pub(crate) const LONGEST_NAME: usize = 64;

/// Why an access token is not made or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "name: `{name}` cannot name an access token; up to {LONGEST_NAME} letters, digits and any \
         of `-_.` can, but `local` cannot"
    )]
    Name { name: String },
    #[error("name: there is an access token `{name}`; revoke it first, or take another name")]
    Taken { name: String },
    #[error(
        "name: no access token `{name}` is there to revoke; `bitfront token list` shows those \
         that are"
    )]
    Unknown { name: String },
    #[error("the system has no random numbers to make a secret of")]
    NoRandomness,
}

/// Makes an access token and tells its secret.
pub(crate) async fn add(
    store: &dyn Store,
    clock: &dyn Clock,
    name: &str,
    role: AccessRole,
    lasts: Option<Duration>,
) -> Result<String, TokenError> {
    if !is_name(name) || name == LOCAL {
        return Err(TokenError::Name {
            name: name.to_owned(),
        });
    }
    let secret = secret(role)?;
    let now_ms = clock.now_ms();
    let lasts_ms = lasts.map(|lasts| i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX));
    let token = NewToken {
        name: name.to_owned(),
        role,
        digest: Digest::of(&secret),
        expires_ms: lasts_ms.map(|lasts_ms| now_ms.saturating_add(lasts_ms)),
    };
    match store.add_token(&token, now_ms).await? {
        true => Ok(secret),
        false => Err(TokenError::Taken { name: token.name }),
    }
}

/// Whether a text can name what persons make: it stands in logs, listings and on command lines.
pub(crate) fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(known)
}

/// Revokes the access token of a name.
pub(crate) async fn revoke(
    store: &dyn Store,
    clock: &dyn Clock,
    name: &str,
) -> Result<(), TokenError> {
    match store.revoke_token(name, clock.now_ms()).await? {
        true => Ok(()),
        false => Err(TokenError::Unknown {
            name: name.to_owned(),
        }),
    }
}

/// Every access token, without what is secret of it.
pub(crate) async fn list(store: &dyn Store) -> Result<Vec<AccessToken>, StoreError> {
    let stored = store.tokens().await?.into_iter();
    Ok(stored.map(|stored| stored.token).collect())
}

fn secret(role: AccessRole) -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    let filled = ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| TokenError::NoRandomness)?;
    let mut secret = format!("bitfront_{role}_");
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(secret, "{byte:02x}");
    }
    Ok(secret)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::sqlite::SqliteStore;
    use crate::testing::folder;

    #[tokio::test]
    async fn a_secret_is_told_once_and_stored_nowhere() {
        let folder = folder();
        let file = folder.path().join("test.sqlite");
        let store = SqliteStore::open(&file).await.unwrap();
        let clock = ManualClock::new();
        let add = async |name: &str| add(&store, &clock, name, AccessRole::Agent, None).await;
        let secret = add("board-2.lab_1").await.unwrap();
        let (start, random) = secret.rsplit_once('_').unwrap();
        assert_eq!((start, random.len()), ("bitfront_agent", 64));
        assert_ne!(add("other").await.unwrap(), secret);

        let long = "x".repeat(65);
        for name in ["", "local", "two words", "a/b", "ü", &long] {
            let error = add(name).await.unwrap_err();
            assert!(matches!(error, TokenError::Name { .. }), "{error}");
        }
        let taken = add("other").await.unwrap_err();
        assert!(matches!(taken, TokenError::Taken { .. }), "{taken}");
        revoke(&store, &clock, "other").await.unwrap();
        let unknown = revoke(&store, &clock, "other").await.unwrap_err();
        assert!(matches!(unknown, TokenError::Unknown { .. }), "{unknown}");

        store.close().await;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let random = random.as_bytes();
            assert!(!bytes.windows(random.len()).any(|window| window == random));
        }
    }
}
