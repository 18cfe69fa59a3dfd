//! The checks of a search that no driver runs, by a strategy that is rebuilt from the store and
//! dropped again.

use bitfront_model::Check;

use super::replay::{Replay, ReplayError};
use crate::guesses::Known;
use crate::store::{StoreError, StoredSearch};
use crate::world::World;

/// What the predictions of a search's model were worth. Costs a fit of the model for every 16
/// candidates. Of a search that can no longer be replayed there are none.
pub(crate) async fn checks(world: &World, search: &StoredSearch) -> Result<Vec<Check>, StoreError> {
    let Some(binding) = &search.binding else {
        return Ok(Vec::new());
    };
    let Ok(known) = Known::of(&*world.store, binding).await? else {
        return Ok(Vec::new());
    };
    let scores = world.store.scores(search.id, 0).await?;
    let candidates = world.store.candidates(search.id, 0).await?;
    let checks = async {
        let mut replay = Replay::new(&search.request, binding, &known)?;
        replay.learn(candidates, &scores)?;
        replay.checks().await
    };
    Ok(checks.await.unwrap_or_else(|error: ReplayError| {
        tracing::debug!(search = search.id, %error, "cannot be replayed");
        Vec::new()
    }))
}
