//! What persons do that changes something, noted before it is done and again when it is known what
//! came of it: whatever ends the coordinator between the two, nothing was done that is not noted.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{Deed, DeedOutcome};

use crate::clock::Clock;
use crate::store::{Store, StoreError};

/// The most deeds that are listed.
const MOST_LISTED: u32 = 10_000;

/// What a caller is called who needs no access token; none has this name.
pub(crate) const LOCAL: &str = "local";

/// Where deeds are noted, and who did them.
#[derive(Clone)]
pub(crate) struct Audit {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The name of an access token, or `local`.
    pub(crate) by: String,
}

/// What a deed changed.
pub(crate) enum Changed {
    Nothing,
    /// What it was about, as it was meant.
    It,
    /// What came into being.
    Into(String),
}

/// An error of something that changes something.
pub(crate) trait Unfinished {
    /// It is not known whether it was done all the same.
    fn may_have_happened(&self) -> bool;
}

impl Unfinished for StoreError {
    fn may_have_happened(&self) -> bool {
        StoreError::may_have_happened(self)
    }
}

impl Audit {
    /// Of a caller who needs no access token.
    pub(crate) fn local(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            by: LOCAL.to_owned(),
        }
    }

    /// Does something and notes it; `changed` says what by its answer. Nothing is done that cannot
    /// be noted first, and what may have been done although it failed stays noted as begun.
    pub(crate) async fn noting<T, E: From<StoreError> + Unfinished>(
        &self,
        action: &str,
        subject: impl Display,
        work: impl Future<Output = Result<T, E>>,
        changed: impl FnOnce(&T) -> Changed,
    ) -> Result<T, E> {
        let deed = Deed {
            at_ms: self.clock.now_ms(),
            by: self.by.clone(),
            action: action.to_owned(),
            subject: subject.to_string(),
            outcome: DeedOutcome::Begun,
        };
        let begun = self.store.begin_deed(&deed).await?;
        let done = work.await;
        let (subject, outcome) = match done.as_ref().map(changed) {
            Ok(Changed::Into(subject)) => (Some(subject), DeedOutcome::Done),
            Ok(Changed::It) => (None, DeedOutcome::Done),
            Err(error) if error.may_have_happened() => return done,
            Ok(Changed::Nothing) | Err(_) => (None, DeedOutcome::Nothing),
        };
        let concluded = self.store.conclude_deed(begun, subject.as_deref(), outcome);
        // It is done, whatever becomes of this; the deed stays noted as begun.
        if let Err(error) = concluded.await {
            tracing::warn!(%error, "what came of a {action} by {} is not noted", self.by);
        }
        done
    }
}

/// What persons did within a time, the latest last.
pub(crate) async fn list(
    store: &dyn Store,
    clock: &dyn Clock,
    within: Option<Duration>,
) -> Result<Vec<Deed>, StoreError> {
    let since_ms = within.map_or(0, |within| {
        let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        clock.now_ms().saturating_sub(within_ms)
    });
    store.deeds(since_ms, MOST_LISTED).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::sqlite::SqliteStore;
    use crate::store::unreliable::Unreliable;
    use crate::testing::folder;

    #[tokio::test]
    async fn nothing_is_done_that_is_not_noted() {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let clock = Arc::new(ManualClock::new());
        let audit = Audit::local(store.clone(), clock.clone());

        // Whoever ends amid it leaves it begun.
        let endless = std::future::pending::<Result<(), StoreError>>();
        let endless = audit.noting("cancel", 1, endless, |()| Changed::It);
        let ended = tokio::time::timeout(Duration::from_millis(100), endless).await;
        assert!(ended.is_err());
        let deeds = list(&*store, &*clock, None).await.unwrap();
        let found: Vec<_> = deeds
            .iter()
            .map(|deed| (&*deed.by, &*deed.subject, deed.outcome))
            .collect();
        assert_eq!(found, [("local", "1", DeedOutcome::Begun)]);

        // What cannot be noted is not begun.
        let silent = Unreliable::new(store.clone(), 0, 1000, 0);
        let unheard = Audit::local(Arc::new(silent), clock.clone());
        let mut done = false;
        let work = async {
            done = true;
            Ok::<_, StoreError>(())
        };
        assert!(
            unheard
                .noting("cancel", 2, work, |()| Changed::It)
                .await
                .is_err()
        );
        assert!(!done);

        // What may have been done although nobody heard so stays begun; what certainly was not is nothing.
        let failing = async |may_have_happened| {
            let reason = "the connection is lost".to_owned();
            let doing = "end a search";
            let failed = StoreError::Failed {
                doing,
                reason,
                may_have_happened,
            };
            let work = async { Err::<(), _>(failed) };
            assert!(
                audit
                    .noting("cancel", 3, work, |()| Changed::It)
                    .await
                    .is_err()
            );
            list(&*store, &*clock, None)
                .await
                .unwrap()
                .pop()
                .unwrap()
                .outcome
        };
        assert_eq!(failing(true).await, DeedOutcome::Begun);
        assert_eq!(failing(false).await, DeedOutcome::Nothing);

        clock.advance(Duration::from_secs(10));
        let work = async { Ok::<_, StoreError>(7) };
        let into = |search: &i32| Changed::Into(search.to_string());
        assert_eq!(audit.noting("submit", "", work, into).await.unwrap(), 7);
        let recent = list(&*store, &*clock, Some(Duration::from_secs(9))).await;
        let recent = recent.unwrap();
        assert_eq!(recent.len(), 1);
        assert_eq!(
            (&*recent[0].subject, recent[0].outcome),
            ("7", DeedOutcome::Done)
        );
    }
}
