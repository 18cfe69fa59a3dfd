//! The plan that is expected to be best under limits, from what one search measured.

use bitfront_model::shortfall::{self, Shortfall};
use bitfront_model::{FrontPoint, Limits, Objective, Prediction};

use super::belief::{Learned, computed};
use super::best::{Measured, choose};
use super::{Standing, find, point};
use crate::error::ServiceError;
use crate::intake;
use crate::store::{StoreError, StoredCandidate, StoredSearch};
use crate::world::World;

/// The plan that is expected to be best by one figure under limits, measured or not. Reads the
/// search, fits the model and solves it; nothing is measured and nothing stored. The search's own
/// limits do not count, as they do not for `best`. A measured plan takes part by what is believed
/// of it, which is no luckier than the rest.
pub(crate) async fn predict(
    world: &World,
    search: i64,
    limits: &Limits,
    by: &str,
) -> Result<Prediction, ServiceError> {
    intake::check_limits(limits)?;
    let by: Objective = by.parse()?;
    let stored = find(world, search).await?;
    let standing = Standing::of(world, &stored).await?;
    let nothing_measured = ServiceError::NothingMeasured {
        searches: vec![search],
    };
    let (Some(binding), Some(learned)) = (
        &stored.binding,
        Learned::of(world, &stored, &standing).await?,
    ) else {
        return Err(nothing_measured);
    };
    let figures = standing.figures.iter().enumerate();
    let positions: Vec<_> = figures
        .filter(|(_, figures)| figures.point(&Objective::ALL).is_some())
        .map(|(position, _)| position)
        .collect();
    if positions.is_empty() || learned.measured == 0 {
        return Err(nothing_measured);
    }
    let most = learned.most(limits);
    let (learned, solved) = computed(move || {
        let solved = learned
            .place(by)
            .map(|place| learned.belief().best(place, &most));
        (learned, solved)
    })
    .await?;
    let refused = |reason: String| ServiceError::NoBelief { search, reason };
    let solved = solved
        .ok_or_else(|| refused(format!("nothing is known of {by}")))?
        .map_err(|error| refused(error.to_string()))?;
    let spec = stored.request.spec.clone();
    let plan = learned.space.plan(&spec, &solved.genome);
    let plan = plan.map_err(|error| refused(error.to_string()))?;
    let digest = plan.digest();
    let mut candidates = standing.candidates.iter().enumerate();
    let measured = candidates
        .find(|(_, stored)| stored.plan_digest == digest)
        .map(|(position, stored)| (stored.id, standing.searched(position)))
        .filter(|(_, figures)| figures.is_complete());
    let candidate = measured.map(|(id, _)| id);
    let measured = measured.map(|(_, figures)| figures);
    let figures = learned.told(&solved.figures, measured);
    let size_bytes = plan.size_bytes(&spec);
    if solved.violation > 0.0 {
        let value = |figure| {
            let mut believed = figures.iter();
            believed.find_map(|it| (it.figure == figure).then_some(it.value))
        };
        let expected = shortfall::Measured {
            candidate: 0,
            kld: value(Objective::Kld).unwrap_or(f64::NAN),
            decode_ns: value(Objective::Decode).unwrap_or(f64::NAN),
            size_bytes,
            mismatch: value(Objective::Mismatch).unwrap_or(f64::NAN),
        };
        if let Some(shortfall) = Shortfall::of(limits, &[expected]) {
            return Err(ServiceError::NothingExpected {
                search,
                shortfall: Box::new(shortfall),
            });
        }
    }
    let measured = Measured {
        search: &stored,
        profile: binding.hardware_profile,
        standing,
        positions,
    };
    let (nearest, nearest_keeps) = nearest(&measured, limits, by)?;
    let standing = &measured.standing;
    let nearest = alone(world, &stored, standing, nearest).await?;
    let profile = world.store.profile(binding.hardware_profile).await?;
    Ok(Prediction {
        search,
        measured: learned.measured,
        shared: learned.shared(standing),
        candidate,
        size_bytes,
        bits_per_weight: plan.bits_per_weight(&spec),
        plan,
        figures,
        nearest,
        nearest_keeps,
        hardware_profile: profile.ok_or_else(|| StoreError::Corrupt {
            what: format!("hardware profile {}", binding.hardware_profile.short()),
            reason: "a search is bound to it, but it is missing".to_owned(),
        })?,
        spec,
        subject: stored.request.subject.clone(),
    })
}

/// The measured candidate that `best` would take under the limits, or the one that exceeds them
/// least; and whether it keeps them.
fn nearest(
    measured: &Measured<'_>,
    limits: &Limits,
    by: Objective,
) -> Result<(i64, bool), ServiceError> {
    let model = &measured.search.request.spec.name;
    match choose(std::slice::from_ref(measured), model, limits, by) {
        Ok((_, position)) => Ok((measured.standing.candidates[position].id, true)),
        Err(ServiceError::NothingWithin { shortfall, .. }) => {
            Ok((shortfall.nearest.candidate, false))
        }
        Err(error) => Err(error),
    }
}

/// One candidate with its figures; its place on the front takes all the others to tell, and is not
/// told.
async fn alone(
    world: &World,
    search: &StoredSearch,
    standing: &Standing,
    candidate: i64,
) -> Result<FrontPoint, ServiceError> {
    let is_it = |stored: &StoredCandidate| stored.id == candidate;
    let position = standing.candidates.iter().position(is_it);
    let position = position.ok_or(ServiceError::UnknownCandidate { candidate })?;
    let measured = world.store.measurements(search.id, Some(candidate)).await?;
    point(search, standing, position, measured)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
