//! Under which number a coordinator uses its store.

use std::sync::atomic::{AtomicI64, Ordering};

/// The number of the coordinator that a store belongs to; none before it has joined.
#[derive(Debug, Default)]
pub(super) struct Term(AtomicI64);

impl Term {
    /// Numbers in the database begin at one.
    const NONE: i64 = 0;

    pub(super) fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|&term| term != Self::NONE)
    }

    pub(super) fn set(&self, term: i64) {
        self.0.store(term, Ordering::SeqCst);
    }
}
