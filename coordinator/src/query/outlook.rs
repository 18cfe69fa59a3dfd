//! What more budget would bring to a search that has ended.

use bitfront_model::{Expected, Outlook};
use bitfront_search::growth::outlook;

use crate::error::ServiceError;
use crate::evaluation;
use crate::space::SearchSpace;
use crate::store::StoredSearch;
use crate::world::World;

/// By how the front grew with the search's own first figures; confirmations and second timings are
/// not among them, since they are made of what was found and find nothing. Reads the search once
/// more, so a listing of all searches goes without.
pub(super) async fn of(
    world: &World,
    search: &StoredSearch,
) -> Result<Option<Outlook>, ServiceError> {
    let (Some(binding), Some(reference)) = (&search.binding, &search.reference_point) else {
        return Ok(None);
    };
    if !search.state.has_ended() {
        return Ok(None);
    }
    let scores = world.store.scores(search.id, 0).await?;
    let candidates = world.store.candidates(search.id, 0).await?;
    let in_space = candidates.iter().filter(|one| one.genome.is_some()).count();
    let request = &search.request;
    // A space that no longer is one has nothing to evaluate either.
    let space = SearchSpace::bound(request, &binding.precisions, &binding.exclusions).ok();
    if space.is_none_or(|space| in_space as u128 >= space.as_numbers().size()) {
        return Ok(None);
    }
    // A reference point that another version stored may not fit; there is no answer then.
    let growth = evaluation::growth(&request.objectives, reference, &candidates, &scores);
    let Some(growth) = growth else {
        return Ok(None);
    };
    let curve = growth.curve();
    Ok(Some(Outlook {
        evaluations: curve.len() as u64 - 1,
        expected: outlook(curve).map(|found| Expected {
            grew: found.grew,
            grows: found.expected,
        }),
    }))
}
