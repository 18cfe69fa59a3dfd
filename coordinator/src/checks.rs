//! What the predictions of running searches' models were worth, and what these searches learned
//! from their siblings. In memory: the drivers tell it as they learn, and it is a function of what
//! is stored, so that it is told anew after a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitfront_model::{Check, Objective, Rank, SearchRequest, SharedPlans};
use bitfront_search::surrogate;

use crate::evaluation::limited;

/// What is known of a search's learning.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Learning {
    pub(crate) checks: Vec<Check>,
    pub(crate) shared: SharedPlans,
}

/// The learning of every search that was driven or asked about since this coordinator started.
#[derive(Default)]
pub(crate) struct Checks(Mutex<BTreeMap<i64, Learning>>);

impl Checks {
    /// Takes the learning of a search for the latest. True where it is another than before.
    pub(crate) fn tell(&self, search: i64, learning: Learning) -> bool {
        let before = self.lock().insert(search, learning.clone());
        before.unwrap_or_default() != learning
    }

    /// The learning of a search; none where nothing was told of it.
    pub(crate) fn of(&self, search: i64) -> Option<Learning> {
        self.lock().get(&search).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Learning>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A strategy's checks with the names of the figures that it was told: the objectives, then the
/// others that bear a limit.
pub(crate) fn named(request: &SearchRequest, checks: Vec<surrogate::Check>) -> Vec<Check> {
    let others = limited(&request.objectives, &request.limits).map(|(figure, _)| figure);
    let figures: Vec<Objective> = request.objectives.iter().copied().chain(others).collect();
    let named = |check: surrogate::Check| Check {
        candidates: check.candidates as u64,
        ranks: figures
            .iter()
            .zip(check.correlations)
            .map(|(&figure, correlation)| Rank {
                figure,
                correlation,
            })
            .collect(),
        is_distrusted: check.is_distrusted,
    };
    checks.into_iter().map(named).collect()
}
