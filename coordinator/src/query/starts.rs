//! The plans that a new search takes over from the front of another one.

use bitfront_model::{FrontPoint, Precision, SearchRequest};
use bitfront_search::by_growth;

use super::{Standing, find, front};
use crate::error::ServiceError;
use crate::evaluation::scaled_point;
use crate::intake::{self, IntakeError};
use crate::space::SearchSpace;
use crate::store::StoredSearch;
use crate::world::World;

/// The front of a search without its baselines, which every search measures anyway: the plans that
/// lie in the space of a checked request, by the precisions of their layers. Those come first that
/// told most, so that whatever ends the new search early has the best of them. Refused where the
/// genes of the two are not the same, or nothing is left.
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
    let is_usable = |point: &&&FrontPoint| space.genome(&point.plan).is_some();
    let starts: Vec<_> = found.iter().filter(is_usable).collect();
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
    let stored = find(world, search).await?;
    let standing = Standing::of(world, &stored).await?;
    let candidates: Vec<_> = starts.iter().map(|point| point.candidate).collect();
    let order = by_worth(&stored, &standing, &candidates).into_iter();
    Ok(order
        .map(|place| starts[place].plan.precisions().to_vec())
        .collect())
}

/// The order in which candidates of a search add most to the hypervolume of its baselines and of those
/// before them, by its own figures. It is the given one where these give no hypervolume, as where
/// another version stored the reference point.
fn by_worth(search: &StoredSearch, standing: &Standing, candidates: &[i64]) -> Vec<usize> {
    let objectives = &search.request.objectives;
    let point = |position: usize| standing.figures[position].scaled_point(objectives);
    let all = || standing.candidates.iter().enumerate();
    let baselines = all().filter(|(_, candidate)| candidate.baseline.is_some());
    let baselines: Vec<_> = baselines.filter_map(|(at, _)| point(at)).collect();
    let of_candidate = |id: i64| point(all().find(|(_, candidate)| candidate.id == id)?.0);
    let points: Option<Vec<_>> = candidates.iter().map(|&id| of_candidate(id)).collect();
    let reference = search.reference_point.as_deref();
    let order = reference.zip(points).and_then(|(reference, points)| {
        by_growth(&baselines, &points, &scaled_point(objectives, reference)).ok()
    });
    order.unwrap_or_else(|| (0..candidates.len()).collect())
}

/// What several searches over one space have found: the plans on their fronts, baselines left out,
/// each once, by the precisions of their layers. As many of the first ones as one likes spread over
/// all of them.
pub(crate) async fn found(
    world: &World,
    searches: &[StoredSearch],
) -> Result<Vec<Vec<Precision>>, ServiceError> {
    let mut plans: Vec<Vec<Precision>> = Vec::new();
    let mut places = Vec::new();
    for search in searches {
        let points = front(world, search.id, None).await?.points.into_iter();
        for point in points.filter(|point| point.on_front && point.baseline.is_none()) {
            let precisions = point.plan.precisions();
            if let Some(kld) = point.kld()
                && !plans.iter().any(|known| known == precisions)
            {
                plans.push(precisions.to_vec());
                // What loses nothing is as far from the rest as anything.
                places.push([
                    kld.max(f64::MIN_POSITIVE).ln(),
                    (point.size_bytes as f64).ln(),
                ]);
            }
        }
    }
    let order = spread(places).into_iter();
    Ok(order.map(|place| plans[place].clone()).collect())
}

/// An order of points in which each comes farthest from those before it, each axis being as long as
/// the points are apart on it; the smallest on the second axis comes first. Quadratic in the points.
fn spread(mut points: Vec<[f64; 2]>) -> Vec<usize> {
    for axis in 0..2 {
        let values = || points.iter().map(|point| point[axis]);
        let (low, high) = (
            values().fold(f64::INFINITY, f64::min),
            values().fold(f64::NEG_INFINITY, f64::max),
        );
        let length = if high > low { high - low } else { 1.0 };
        for point in &mut points {
            point[axis] = (point[axis] - low) / length;
        }
    }
    let mut left: Vec<_> = (0..points.len()).collect();
    let mut order: Vec<usize> = Vec::new();
    let mut nearest = vec![f64::INFINITY; points.len()];
    while !left.is_empty() {
        // Of equals the first one, so that the order is one of the points alone.
        let better = |&one: &usize, &other: &usize| match order.is_empty() {
            true => points[one][1] < points[other][1],
            false => nearest[one] > nearest[other],
        };
        let mut best = 0;
        for place in 1..left.len() {
            if better(&left[place], &left[best]) {
                best = place;
            }
        }
        let chosen = left.remove(best);
        for &other in &left {
            let apart = points[chosen].iter().zip(points[other]);
            let apart = apart.map(|(one, other)| (one - other).powi(2)).sum::<f64>();
            nearest[other] = nearest[other].min(apart);
        }
        order.push(chosen);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_first_of_a_spread_order_lie_far_apart() {
        let line: Vec<_> = (0..9)
            .map(|at| [f64::from(8 - at), f64::from(at)])
            .collect();
        assert_eq!(spread(line)[..5], [0, 8, 4, 2, 6]);
        assert_eq!(spread(vec![[1.0, 2.0]; 3]), [0, 1, 2]);
        assert!(spread(Vec::new()).is_empty());
    }
}
