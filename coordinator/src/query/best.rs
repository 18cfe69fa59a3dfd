//! The best plan for a model, over all searches.

use bitfront_model::{Best, Limits, Objective};

use super::{Standing, point};
use crate::error::ServiceError;
use crate::intake;
use crate::store::{StoreError, StoredSearch};
use crate::world::World;

/// Fewest characters of a digest that name a model.
const LEAST_PREFIX: usize = 4;

/// The best plan for a model by one figure, of all that was measured on a device's hardware
/// profile (or on any) and keeps the limits.
pub(crate) async fn best(
    world: &World,
    model: &str,
    device: Option<&str>,
    limits: &Limits,
    by: &str,
) -> Result<Best, ServiceError> {
    intake::check_limits(limits)?;
    let by: Objective = by.parse()?;
    let profile = match device {
        Some(name) => Some(profile_of(world, name).await?),
        None => None,
    };
    let searches = world.store.searches().await?;
    let of_model: Vec<_> = searches
        .iter()
        .filter(|search| is_about(search, model) && search.binding.is_some())
        .filter(|search| {
            profile.is_none()
                || search
                    .binding
                    .as_ref()
                    .map(|binding| binding.hardware_profile)
                    == profile
        })
        .collect();
    let mut measured = 0;
    let mut best: Option<(f64, &StoredSearch, Standing, usize)> = None;
    let mut nearest: Option<(f64, String)> = None;
    for &search in &of_model {
        let standing = Standing::of(world, search).await?;
        let mut leader = None;
        for (position, figures) in standing.figures.iter().enumerate() {
            // The loss, the time and the size must all be known, whatever the search looked for.
            let Some(figure) = figures
                .point(&Objective::ALL)
                .and_then(|_| figures.figure(by))
            else {
                continue;
            };
            measured += 1;
            let violation = figures.violation(limits);
            if violation > 0.0 {
                if nearest.as_ref().is_none_or(|(least, _)| violation < *least) {
                    nearest = Some((violation, describe(figures)));
                }
            } else if best.as_ref().is_none_or(|best| figure < best.0)
                && leader.is_none_or(|(least, _)| figure < least)
            {
                leader = Some((figure, position));
            }
        }
        if let Some((figure, position)) = leader {
            best = Some((figure, search, standing, position));
        }
    }
    let Some((_, search, standing, position)) = best else {
        return Err(nothing(model, &searches, measured, nearest));
    };
    let candidate = standing.candidates[position].id;
    let evidence = world.store.measurements(search.id, Some(candidate)).await?;
    let hardware_profile = match &search.binding {
        Some(binding) => world.store.profile(binding.hardware_profile).await?,
        None => None,
    };
    Ok(Best {
        point: point(search, &standing, position, evidence)?,
        hardware_profile: hardware_profile.ok_or_else(|| StoreError::Corrupt {
            what: format!("search {}", search.id),
            reason: "its hardware profile is missing".to_owned(),
        })?,
        spec: search.request.spec.clone(),
        subject: search.request.subject.clone(),
    })
}

async fn profile_of(world: &World, name: &str) -> Result<bitfront_model::Digest, ServiceError> {
    let devices = world.store.devices().await?;
    devices
        .iter()
        .find(|device| device.registration.device == name)
        .map(|device| device.registration.hardware_profile.digest())
        .ok_or_else(|| ServiceError::UnknownDevice {
            name: name.to_owned(),
            known: devices
                .iter()
                .map(|device| device.registration.device.clone())
                .collect(),
        })
}

/// A model is named by its name or by the beginning of its digest.
fn is_about(search: &StoredSearch, model: &str) -> bool {
    let spec = &search.request.spec;
    spec.name == model
        || (model.len() >= LEAST_PREFIX && spec.digest.to_string().starts_with(model))
}

fn describe(figures: &crate::evaluation::Figures) -> String {
    format!(
        "; the nearest has a KLD of {:.4}, {} bytes and {:.3} ms per token",
        figures.kld.unwrap_or(f64::NAN),
        figures.size_bytes,
        figures.decode_ns.unwrap_or(f64::NAN) / 1e6
    )
}

fn nothing(
    model: &str,
    searches: &[StoredSearch],
    measured: usize,
    nearest: Option<(f64, String)>,
) -> ServiceError {
    if measured > 0 {
        return ServiceError::NothingWithin {
            model: model.to_owned(),
            measured,
            nearest: nearest.map(|(_, text)| text).unwrap_or_default(),
        };
    }
    let mut known: Vec<_> = searches
        .iter()
        .map(|search| search.request.spec.name.clone())
        .collect();
    known.sort();
    known.dedup();
    ServiceError::UnknownModel {
        model: model.to_owned(),
        known,
    }
}
