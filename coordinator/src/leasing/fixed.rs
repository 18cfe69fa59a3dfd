//! What is fixed about the searches whose tasks are handed out, kept in memory: reading it again for
//! every task would cost more than the hand-out itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bitfront_model::Anchor;

use crate::anchor;
use crate::store::{Store, StoreError, StoredSearch};

/// Most searches that are kept. More are seldom served at once.
const MOST_KEPT: usize = 64;

/// What is fixed about a bound search: its request but for the budget, its binding and, once it was
/// timed, its anchor.
pub(super) struct Fixed {
    pub(super) search: StoredSearch,
    anchor: OnceLock<Anchor>,
}

impl Fixed {
    /// The anchor, with the times of the search's first timing as soon as there is one.
    pub(super) async fn anchor(&self, store: &dyn Store) -> Result<Anchor, StoreError> {
        if let Some(anchor) = self.anchor.get() {
            return Ok(anchor.clone());
        }
        let anchor = anchor::of(store, &self.search).await?;
        if !anchor.times.is_empty() {
            // Whoever comes second found the same.
            let _ = self.anchor.set(anchor.clone());
        }
        Ok(anchor)
    }
}

/// The searches whose tasks were handed out lately.
#[derive(Default)]
pub(super) struct FixedSearches {
    /// Behind a std mutex, which is held for a lookup only.
    kept: Mutex<HashMap<i64, Arc<Fixed>>>,
}

impl FixedSearches {
    /// A search that has tasks, and so is bound; none that does not exist.
    pub(super) async fn find(
        &self,
        store: &dyn Store,
        search: i64,
    ) -> Result<Option<Arc<Fixed>>, StoreError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fixed) = kept().get(&search) {
            return Ok(Some(fixed.clone()));
        }
        let Some(stored) = store.search(search).await? else {
            return Ok(None);
        };
        let fixed = Arc::new(Fixed {
            search: stored,
            anchor: OnceLock::new(),
        });
        let mut kept = kept();
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(search, fixed.clone());
        Ok(Some(fixed))
    }
}
