//! The learning of a search that no driver runs, by a strategy that is rebuilt from the store and
//! dropped again.

use super::replay::Replay;
use super::step::Trouble;
use crate::checks::Learning;
use crate::guesses::Known;
use crate::store::{StoreError, StoredSearch};
use crate::world::World;

/// What the predictions of a search's model were worth, and what it learned from its siblings.
/// Costs a fit of the model for every 16 candidates. Of a search that can no longer be replayed
/// there is nothing.
pub(crate) async fn checks(world: &World, search: &StoredSearch) -> Result<Learning, StoreError> {
    let Some(binding) = &search.binding else {
        return Ok(Learning::default());
    };
    let Ok(known) = Known::of(&*world.store, binding).await? else {
        return Ok(Learning::default());
    };
    let scores = world.store.scores(search.id, 0).await?;
    let candidates = world.store.candidates(search.id, 0).await?;
    let rebuilt = async {
        let mut replay = Replay::new(&search.request, binding, &known)?;
        replay.learn(candidates, &scores)?;
        let heard = match replay.siblings(search) {
            // What siblings measured after its end taught it nothing.
            Some(siblings) => {
                let mut siblings = siblings.until(search.ended_at_ms);
                siblings.listen(&*world.store).await?
            }
            None => Vec::new(),
        };
        replay.hear(heard)?;
        Ok(replay.learning().await?)
    };
    match rebuilt.await {
        Ok(learning) => Ok(learning),
        Err(Trouble::Store(error)) => Err(error),
        Err(Trouble::Replay(error)) => {
            tracing::debug!(search = search.id, %error, "cannot be replayed");
            Ok(Learning::default())
        }
    }
}
