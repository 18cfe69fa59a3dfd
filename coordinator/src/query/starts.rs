//! The plans that a new search takes over from the front of another one.

use bitfront_model::{Precision, SearchRequest};

use super::front;
use crate::error::ServiceError;
use crate::intake::{self, IntakeError};
use crate::space::SearchSpace;
use crate::world::World;

/// The front of a search without its baselines, which every search measures anyway, in the order of
/// asking: the plans that lie in the space of a checked request, by the precisions of their layers.
/// Refused where the genes of the two are not the same, or nothing is left.
pub(crate) async fn starts(
    world: &World,
    request: &SearchRequest,
    search: i64,
) -> Result<Vec<Vec<Precision>>, ServiceError> {
    let front = front(world, search, None).await?;
    let stored = &front.status.request;
    let refused = |problem: String| intake::wrong("start_from", problem);
    let space = SearchSpace::new(&request.spec, &request.precisions, request.grouping)
        .map_err(IntakeError::from)?;
    let from = SearchSpace::new(&stored.spec, &stored.precisions, stored.grouping)
        .map_err(|error| refused(format!("search {search} has no space any more: {error}")))?;
    let differing = space.differing_genes(&request.spec, (&from, &stored.spec));
    if !differing.is_empty() {
        return Err(refused(format!(
            "search {search} is over another space: {}; start from one over the same layers with \
             --group {}",
            intake::listed(&differing),
            request.grouping
        ))
        .into());
    }
    let found = front.points.iter();
    let found: Vec<_> = found
        .filter(|point| point.on_front && point.baseline.is_none())
        .collect();
    let starts: Vec<_> = found
        .iter()
        .filter(|point| space.genome(&point.plan).is_some())
        .map(|point| point.plan.precisions().to_vec())
        .collect();
    if starts.is_empty() {
        return Err(refused(match found.len() {
            0 => format!("the front of search {search} has nothing but baselines"),
            count => format!(
                "none of the {count} plans on the front of search {search} is made of the \
                 precisions that are to be chosen from; name those of that search"
            ),
        })
        .into());
    }
    Ok(starts)
}
