//! Keeps candidates pending.

use std::time::Duration;

use bitfront_model::SPANS;
use tracing::field::Empty;
use tracing::{Instrument as _, info_span};

use super::step::{Hands, Running, Trouble};
use crate::store::StoredSearch;

/// Most candidates that are stored together.
const MOST_TOGETHER: usize = 32;

/// How long proposals are gathered to be stored together. A strategy that takes longer for one is
/// worth more than a commit, and devices may wait for the first.
const GATHER_FOR: Duration = Duration::from_millis(10);

impl Hands {
    /// Adds candidates until enough are pending; true where nothing is left to propose.
    pub(super) async fn propose(
        &self,
        stored: &StoredSearch,
        running: &mut Running,
        devices: usize,
    ) -> Result<bool, Trouble> {
        let world = &self.world;
        let most_pending = devices * world.config.pending_per_device;
        let budget = stored.request.budget.evaluations.unwrap_or(u64::MAX);
        loop {
            let replay = &mut running.replay;
            let pending = replay.pending();
            let affordable = budget.saturating_sub(replay.evaluated() + pending as u64);
            let wanted = most_pending.saturating_sub(pending);
            let wanted = wanted.min(usize::try_from(affordable).unwrap_or(usize::MAX));
            if wanted == 0 {
                return Ok(false);
            }
            let until = world.clock.elapsed() + GATHER_FOR;
            let span = info_span!(target: SPANS, "ask", search = self.search, candidates = Empty);
            let mut proposed = Vec::new();
            let asking = async {
                loop {
                    match replay.next().await? {
                        Some(candidate) => proposed.push(candidate),
                        None => return Ok::<_, Trouble>(true),
                    }
                    let enough = proposed.len() >= wanted.min(MOST_TOGETHER);
                    if enough || world.clock.elapsed() >= until {
                        return Ok(false);
                    }
                }
            };
            let exhausted = asking.instrument(span.clone()).await?;
            span.record("candidates", proposed.len());
            if !proposed.is_empty() {
                let now = world.clock.now_ms();
                let added = world.store.add_candidates(self.search, &proposed, now);
                if added.await?.is_none() {
                    // The search ended meanwhile; the next step finds out how.
                    return Ok(false);
                }
                self.learn(running).await?;
                world.wakeups.work();
                world.wakeups.search(self.search);
            }
            if exhausted {
                return Ok(true);
            }
        }
    }
}
