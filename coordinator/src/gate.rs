//! Who is let in: access tokens, as callers show them.
//!
//! What is stored is read again every two seconds, so that what another coordinator revokes counts
//! here too, and what cannot be read lets nobody in.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bitfront_model::{AccessRole, Digest};
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::config::{Admission, Config};
use crate::metrics::Counts;
use crate::store::{Store, StoreError, StoredToken};

/// How long a store that could not be read is not asked again: whoever waited for it meanwhile would
/// wait as long once more, one after the other.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// How long what was read of the store counts.
const RECHECKED_AFTER: Duration = Duration::from_secs(2);

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// The name of the access token; none for a caller who shows none where none is asked for.
    pub(crate) name: Option<String>,
    /// What it may do; everything where there is none.
    pub(crate) role: Option<AccessRole>,
    /// Of what it showed.
    digest: Option<Digest>,
}

impl Visitor {
    /// One who need not show anything.
    pub(crate) const LOCAL: Self = Self {
        name: None,
        role: None,
        digest: None,
    };
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "this coordinator asks for an access token: name a file with one by --token-file, or set \
         BITFRONT_TOKEN; `bitfront token add` makes one"
    )]
    NothingShown,
    #[error("the access token is not one of this coordinator's; `bitfront token add` makes one")]
    Unknown,
    #[error("the access token `{name}` has expired; have another one made by `bitfront token add`")]
    Expired { name: String },
    #[error("the access token `{name}` is revoked; have another one made by `bitfront token add`")]
    Revoked { name: String },
    #[error("too many calls with the access token `{name}`: more than {a_second} a second")]
    TooMany { name: String, a_second: u32 },
    #[error("whether the access token counts is not known now: {0}")]
    Store(Arc<StoreError>),
}

impl Refusal {
    /// Why, in one word, as it is counted.
    fn cause(&self) -> &'static str {
        match self {
            Self::NothingShown => "nothing_shown",
            Self::Unknown => "unknown",
            Self::Expired { .. } => "expired",
            Self::Revoked { .. } => "revoked",
            Self::TooMany { .. } => "too_many",
            Self::Store(_) => "database",
        }
    }
}

/// Lets callers in.
pub(crate) struct Gate {
    /// Who was not let in, by why.
    pub(crate) refused: Counts,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    admission: Admission,
    /// Held while the store is read, so that of many callers one reads.
    known: Mutex<Known>,
    /// Calls a second with one access token.
    a_second: u32,
    /// By what was shown; none of whoever is not known. Behind a std mutex, held for a count only.
    buckets: std::sync::Mutex<HashMap<Digest, Bucket>>,
}

/// The calls that somebody may still make, and when they were counted.
#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
}

#[derive(Default)]
struct Known {
    /// By the clock's elapsed time; none where it is to be read again.
    read_at: Option<Duration>,
    tokens: Arc<[StoredToken]>,
    /// When it could not be read, and why.
    failed: Option<(Duration, Arc<StoreError>)>,
}

impl Gate {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: &Config) -> Self {
        Self {
            refused: Counts::default(),
            store,
            clock,
            admission: config.admission,
            known: Mutex::default(),
            a_second: config.bounds.calls_per_token,
            buckets: std::sync::Mutex::default(),
        }
    }

    /// Who it is that shows this.
    pub(crate) async fn admit(&self, secret: Option<&[u8]>) -> Result<Visitor, Refusal> {
        let admitted = self.recognize(secret).await;
        if let Err(refusal) = &admitted {
            self.note_refusal(refusal.cause());
        }
        admitted
    }

    /// Somebody was not let in.
    pub(crate) fn note_refusal(&self, cause: &'static str) {
        self.refused.get_or_create(&[("cause", cause)]).inc();
    }

    async fn recognize(&self, secret: Option<&[u8]>) -> Result<Visitor, Refusal> {
        match (secret, self.admission) {
            (Some(secret), _) => {
                let digest = Digest::of(secret);
                let visitor = self.find(digest).await?;
                self.count(digest, visitor)
            }
            (None, Admission::Open) => Ok(Visitor::LOCAL),
            (None, Admission::Tokens) => Err(Refusal::NothingShown),
        }
    }

    /// Whether there is a token that counts.
    pub(crate) async fn has_tokens(&self) -> Result<bool, Refusal> {
        let tokens = self.tokens().await.map_err(Refusal::Store)?;
        let now_ms = self.clock.now_ms();
        let has_ended = |end: Option<i64>| end.is_some_and(|end| end <= now_ms);
        Ok(tokens
            .iter()
            .map(|stored| &stored.token)
            .any(|token| token.revoked_ms.is_none() && !has_ended(token.expires_ms)))
    }

    /// Ends when somebody who was let in would not be let in any more.
    pub(crate) async fn dismissed(&self, visitor: &Visitor) -> Refusal {
        let Some(digest) = visitor.digest else {
            return std::future::pending().await;
        };
        loop {
            self.clock.sleep(RECHECKED_AFTER).await;
            match self.find(digest).await {
                // What goes on is not ended by a store that is away.
                Ok(_) | Err(Refusal::Store(_)) => {}
                Err(refusal) => return refusal,
            }
        }
    }

    /// Reads the store again with the next caller.
    pub(crate) async fn recheck(&self) {
        let mut known = self.known.lock().await;
        known.read_at = None;
        known.failed = None;
    }

    /// Takes one call off what somebody may still make: so many a second, and what was left of them
    /// for one more.
    fn count(&self, digest: Digest, visitor: Visitor) -> Result<Visitor, Refusal> {
        let now = self.clock.elapsed();
        let most = 2.0 * f64::from(self.a_second);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(digest);
        let bucket = bucket.or_insert(Bucket {
            left: most,
            at: now,
        });
        let since = now.saturating_sub(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + since * f64::from(self.a_second)).min(most);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Refusal::TooMany {
                name: visitor.name.unwrap_or_default(),
                a_second: self.a_second,
            });
        }
        bucket.left -= 1.0;
        Ok(visitor)
    }

    async fn find(&self, digest: Digest) -> Result<Visitor, Refusal> {
        let tokens = self.tokens().await.map_err(Refusal::Store)?;
        // Each is looked at, and each whole: how long it takes tells nothing of any.
        let found = tokens.iter().fold(None, |found, stored| {
            match bool::from(stored.digest.bytes().ct_eq(digest.bytes())) {
                true => Some(&stored.token),
                false => found,
            }
        });
        let token = found.ok_or(Refusal::Unknown)?;
        let name = token.name.clone();
        if token.revoked_ms.is_some() {
            return Err(Refusal::Revoked { name });
        }
        if token
            .expires_ms
            .is_some_and(|end| end <= self.clock.now_ms())
        {
            return Err(Refusal::Expired { name });
        }
        Ok(Visitor {
            name: Some(name),
            role: Some(token.role),
            digest: Some(digest),
        })
    }

    async fn tokens(&self) -> Result<Arc<[StoredToken]>, Arc<StoreError>> {
        let mut known = self.known.lock().await;
        let now = self.clock.elapsed();
        if known
            .read_at
            .is_some_and(|read_at| now < read_at + RECHECKED_AFTER)
        {
            return Ok(known.tokens.clone());
        }
        if let Some((at, error)) = &known.failed
            && now < *at + FAILED_FOR
        {
            return Err(error.clone());
        }
        match self.store.tokens().await {
            Ok(tokens) => {
                known.tokens = tokens.into();
                known.read_at = Some(now);
                known.failed = None;
                Ok(known.tokens.clone())
            }
            Err(error) => {
                let error = Arc::new(error);
                // It may have taken long to fail.
                known.failed = Some((self.clock.elapsed(), error.clone()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::sqlite::SqliteStore;
    use crate::store::unreliable::Unreliable;
    use crate::testing::folder;
    use crate::tokens;

    fn asking() -> Config {
        Config {
            admission: Admission::Tokens,
            ..Config::new(Path::new("unused"))
        }
    }

    #[tokio::test]
    async fn a_token_makes_so_many_calls_a_second() {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let clock = Arc::new(ManualClock::new());
        let mut config = asking();
        config.bounds.calls_per_token = 2;
        let gate = Gate::new(store.clone(), clock.clone(), &config);
        let add =
            async |name: &str| tokens::add(&*store, &*clock, name, AccessRole::Read, None).await;
        let (busy, other) = (add("busy").await.unwrap(), add("other").await.unwrap());
        let let_in = async |secret: &str| {
            let mut let_in = 0;
            loop {
                match gate.admit(Some(secret.as_bytes())).await {
                    Ok(_) => let_in += 1,
                    Err(Refusal::TooMany { name, a_second: 2 }) if name != "other" => break,
                    Err(refusal) => panic!("{refusal}"),
                }
            }
            let_in
        };
        assert_eq!(let_in(&busy).await, 4);
        assert!(gate.admit(Some(other.as_bytes())).await.is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!(let_in(&busy).await, 2);
        clock.advance(Duration::from_secs(60));
        assert_eq!(let_in(&busy).await, 4);
    }

    #[tokio::test]
    async fn what_is_revoked_anywhere_counts_no_more_within_seconds() {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let clock = Arc::new(ManualClock::new());
        let gate = Gate::new(store.clone(), clock.clone(), &asking());
        let add = async |name: &str, lasts: Option<Duration>| {
            let added = tokens::add(&*store, &*clock, name, AccessRole::Read, lasts).await;
            added.unwrap()
        };
        let forever = add("forever", None).await;
        let short = add("short", Some(Duration::from_secs(60))).await;
        let name = |visitor: Result<Visitor, Refusal>| visitor.unwrap().name.unwrap();
        assert_eq!(name(gate.admit(Some(forever.as_bytes())).await), "forever");
        assert_eq!(name(gate.admit(Some(short.as_bytes())).await), "short");
        let unknown = gate.admit(Some(b"bitfront_read_0")).await;
        assert!(matches!(unknown, Err(Refusal::Unknown)));
        assert!(matches!(gate.admit(None).await, Err(Refusal::NothingShown)));

        // Somebody else makes and revokes, of whom nothing tells this coordinator.
        let visitor = gate.admit(Some(forever.as_bytes())).await.unwrap();
        store.revoke_token("forever", 1).await.unwrap();
        let later = add("later", None).await;
        assert_eq!(name(gate.admit(Some(forever.as_bytes())).await), "forever");
        clock.advance(RECHECKED_AFTER);
        let revoked = gate.admit(Some(forever.as_bytes())).await;
        assert!(matches!(revoked, Err(Refusal::Revoked { .. })));
        assert_eq!(name(gate.admit(Some(later.as_bytes())).await), "later");
        // Who came in before is dismissed.
        let time = async {
            loop {
                clock.advance(RECHECKED_AFTER);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let refusal = tokio::select! {
            refusal = gate.dismissed(&visitor) => refusal,
            () = time => unreachable!(),
        };
        assert!(matches!(refusal, Refusal::Revoked { name } if name == "forever"));

        clock.advance(Duration::from_secs(60));
        let expired = gate.admit(Some(short.as_bytes())).await;
        assert!(matches!(expired, Err(Refusal::Expired { name }) if name == "short"));
    }

    #[tokio::test]
    async fn a_store_that_says_nothing_lets_nobody_in_and_is_not_asked_by_each() {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let clock = Arc::new(ManualClock::new());
        let secret = tokens::add(&*store, &*clock, "one", AccessRole::Read, None).await;
        let secret = secret.unwrap();
        let silent = Arc::new(Unreliable::new(store, 0, 1000, 0));
        let gate = Gate::new(silent.clone(), clock.clone(), &asking());
        for calls in [1, 1, 2] {
            let refusal = gate.admit(Some(secret.as_bytes())).await;
            assert!(matches!(refusal, Err(Refusal::Store(_))));
            assert_eq!(silent.calls(), calls);
            clock.advance(FAILED_FOR.mul_f64(0.6));
        }
    }
}
