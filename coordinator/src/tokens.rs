//! Access tokens: how they come into being and end.
//!
//! A secret is 256 bits from the system's generator, after a beginning that tells people and
//! scanners of leaked secrets what it is. Its SHA-256 digest is stored. A digest that is slow to
//! compute protects what people think up, which can be guessed; of these nobody tries a share that
//! counts, and every call would pay for it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{AccessRole, AccessToken, Digest};
use chrono::{DateTime, SecondsFormat};
use tokio_rustls::rustls::crypto::ring;
use tokio_util::sync::CancellationToken;

use crate::audit::{LOCAL, Unfinished};
use crate::clock::Clock;
use crate::config::Admission;
use crate::store::{NewToken, Store, StoreError};
use crate::world::World;

/// The most characters of a name.
pub(crate) const LONGEST_NAME: usize = 64;

/// Between two looks at which access tokens end soon, and between two warnings of one.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3600);
const BETWEEN_WARNINGS: Duration = Duration::from_secs(86_400);

/// How long before its end an access token is warned about at the most: one that lasts for less than
/// ten times as long is for a tenth of its time.
const WARNED_BEFORE_MS: i64 = 14 * 86_400_000;

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

impl Unfinished for TokenError {
    fn may_have_happened(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_have_happened())
    }
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

/// Warns of access tokens that end soon, at once and daily until the shutdown, where they are asked for.
pub(crate) async fn tend(world: Arc<World>, shutdown: CancellationToken) {
    if world.config.admission == Admission::Open {
        return;
    }
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch(&*world.store, &*world.clock, |warning| tracing::warn!("{warning}")) => {}
    }
}

async fn watch(store: &dyn Store, clock: &dyn Clock, mut warn: impl FnMut(String)) {
    let mut warned = HashMap::new();
    loop {
        let now = clock.elapsed();
        match list(store).await {
            Ok(tokens) => {
                for token in tokens {
                    let it = (token.name.clone(), token.created_ms);
                    let last = warned.get(&it);
                    let is_due = last.is_none_or(|last| now >= *last + BETWEEN_WARNINGS);
                    if is_due && let Some(warning) = warning(&token, clock.now_ms()) {
                        warn(warning);
                        warned.insert(it, now);
                    }
                }
            }
            Err(error) => warn(format!(
                "which access tokens end soon is not known: {error}"
            )),
        }
        clock.sleep(BETWEEN_LOOKS).await;
    }
}

/// That an access token ends soon, where it does.
fn warning(token: &AccessToken, now_ms: i64) -> Option<String> {
    let AccessToken { name, role, .. } = token;
    let end_ms = token.expires_ms.filter(|_| token.revoked_ms.is_none())?;
    let left_ms = end_ms - now_ms;
    let before_ms = WARNED_BEFORE_MS.min((end_ms - token.created_ms) / 10);
    (1..=before_ms).contains(&left_ms).then(|| {
        let end = DateTime::from_timestamp_millis(end_ms).unwrap_or_default();
        let end = end.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!(
            "the access token `{name}` of role {role} counts until {end}: make another one by `bitfront \
             token add`, and revoke this one once nothing shows it"
        )
    })
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

    #[tokio::test]
    async fn access_tokens_that_end_soon_are_warned_about_once_a_day() {
        const DAY: Duration = Duration::from_secs(86_400);
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let (store, clock) = (store.unwrap(), ManualClock::new());
        let add = async |name: &str, lasts: Option<Duration>| {
            let added = add(&store, &clock, name, AccessRole::Agent, lasts).await;
            added.unwrap();
        };
        add("forever", None).await;
        add("year", Some(365 * DAY)).await;
        add("month", Some(30 * DAY)).await;
        add("revoked", Some(30 * DAY)).await;
        revoke(&store, &clock, "revoked").await.unwrap();
        let warnings = std::sync::Mutex::new(Vec::new());
        let hours = async |hours: u32| {
            for _ in 0..hours {
                clock.advance(Duration::from_secs(3600));
                // The store answers from a thread of its own.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            warnings.lock().unwrap().split_off(0)
        };
        let told = async {
            let before = hours(26 * 24).await;
            let soon = hours(5 * 24).await;
            (before, soon)
        };
        let (before, soon) = tokio::select! {
            told = told => told,
            () = watch(&store, &clock, |said| warnings.lock().unwrap().push(said)) => unreachable!(),
        };
        assert_eq!(before, [] as [&str; 0]);
        // It was made on the second of January, and lasts for thirty days.
        let said = "the access token `month` of role agent counts until 1970-02-01T00:00:00Z: make \
                    another one by `bitfront token add`, and revoke this one once nothing shows it";
        // A busy machine may make the watch pass over some hours.
        assert!(
            (2..=3).contains(&soon.len()) && soon.iter().all(|it| it == said),
            "{soon:?}"
        );
    }
}
