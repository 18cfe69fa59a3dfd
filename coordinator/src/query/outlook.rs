//! What more budget would bring to a search that has ended.

use bitfront_model::{Expected, Objective, Outlook};
use bitfront_search::growth::{Growth, outlook};

use crate::error::ServiceError;
use crate::evaluation::{self, scaled_point};
use crate::space::SearchSpace;
use crate::store::StoredSearch;
use crate::world::World;

/// By how the front grew with the search's own figures; confirmations are not among them, since
/// they are made of what was found and find nothing. Reads the search once more, so a listing of
/// all searches goes without.
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
    let objectives: &[Objective] = &request.objectives;
    let (figures, order) = evaluation::figures_in_order(&candidates, &scores);
    let of_baselines = |is_baseline: bool| {
        let candidates = &candidates;
        let order = order.iter().copied();
        order.filter(move |&position| candidates[position].baseline.is_some() == is_baseline)
    };
    let known: Vec<_> = of_baselines(true)
        .filter_map(|position| figures[position].scaled_point(objectives))
        .collect();
    // A reference point that another version stored may not fit; there is no answer then.
    let Ok(mut growth) = Growth::new(scaled_point(objectives, reference), &known) else {
        return Ok(None);
    };
    for position in of_baselines(false) {
        growth.add(figures[position].scaled_point(objectives).as_deref());
    }
    let curve = growth.curve();
    Ok(Some(Outlook {
        evaluations: curve.len() as u64 - 1,
        expected: outlook(curve).map(|found| Expected {
            grew: found.grew,
            grows: found.expected,
        }),
    }))
}
