//! The best plan for a model, over all searches whose figures can be compared.

use std::collections::BTreeMap;

use bitfront_model::shortfall::{self, Shortfall};
use bitfront_model::{Best, Digest, FrontPoint, HardwareProfile, Limits, Objective};

use super::paired::Paired;
use super::{Standing, points};
use crate::error::{ServiceError, unknown_device};
use crate::evaluation::Figures;
use crate::intake;
use crate::store::{StoreError, StoredDevice, StoredSearch};
use crate::world::World;

/// Fewest characters of a digest that name a model.
const LEAST_PREFIX: usize = 4;

/// The candidates of one search that are measured whole.
pub(super) struct Measured<'a> {
    pub(super) search: &'a StoredSearch,
    /// The hardware profile that it is bound to.
    pub(super) profile: Digest,
    pub(super) standing: Standing,
    /// Positions in the standing.
    pub(super) positions: Vec<usize>,
}

/// The best plan for a model by one figure, of all that keeps the limits and was measured alike:
/// on one hardware profile, with one text and imatrix, under one pair of workloads. The device
/// chooses the profile, and may be left out where there is one only; of texts and workloads the
/// latest count. Where smaller plans cannot be told apart from that one it is the smallest of them.
pub(crate) async fn best(
    world: &World,
    model: &str,
    device: Option<&str>,
    limits: &Limits,
    by: &str,
) -> Result<Best, ServiceError> {
    intake::check_limits(limits)?;
    let by: Objective = by.parse()?;
    let devices = world.store.devices().await?;
    let all = world.store.searches().await?;
    let mut searches = of_model(&all, model)?;
    if let Some(name) = device {
        searches = on_device(world, searches, model, &devices, name).await?;
    }
    let mut measured = measured(world, &searches).await?;
    if device.is_none() {
        check_one_profile(world, &measured, model, &devices).await?;
    }
    keep_alike(&mut measured, &searches)?;
    let chosen = choose(&measured, model, limits, by)?;
    let (one, point) = smallest_alike(world, &measured, chosen, limits).await?;
    Ok(Best {
        point,
        hardware_profile: profile(world, one.profile).await?,
        spec: one.search.request.spec.clone(),
        subject: one.search.request.subject.clone(),
    })
}

/// The chosen plan; or the smallest within the limits that cannot be told apart from it in any
/// measured figure, since a lead within the noise is no reason to ship more bytes.
async fn smallest_alike<'a, 'b>(
    world: &World,
    measured: &'b [Measured<'a>],
    (chosen, position): (&'b Measured<'a>, usize),
    limits: &Limits,
) -> Result<(&'b Measured<'a>, FrontPoint), ServiceError> {
    let mut within = Vec::new();
    for one in measured {
        let points = points(world, one.search, &one.standing).await?;
        let points = points.into_iter().enumerate();
        within.extend(
            points
                .filter(|(position, _)| one.positions.contains(position))
                .filter(|&(position, _)| one.standing.figures[position].violation(limits) == 0.0)
                .map(|(_, point)| (one, point)),
        );
    }
    within.sort_by_key(|(_, point)| (point.size_bytes, point.candidate));
    let number = chosen.standing.candidates[position].id;
    let is_chosen = |(_, point): &(&Measured<'_>, FrontPoint)| point.candidate == number;
    let found = within
        .iter()
        .position(is_chosen)
        .ok_or_else(|| StoreError::Corrupt {
            what: format!("candidate {number}"),
            reason: "its measurements changed between two readings".to_owned(),
        })?;
    let paired = Paired::default();
    let best = &within[found].1;
    let alike = within[..found]
        .iter()
        .position(|(_, point)| point.size_bytes < best.size_bytes && paired.alike(point, best));
    Ok(within.swap_remove(alike.unwrap_or(found)))
}

/// The searches over the model that a name or the beginning of a digest means.
pub(super) fn of_model<'a>(
    all: &'a [StoredSearch],
    model: &str,
) -> Result<Vec<&'a StoredSearch>, ServiceError> {
    let searches: Vec<_> = all
        .iter()
        .filter(|search| is_about(search, model))
        .collect();
    let meant: BTreeMap<_, _> = searches
        .iter()
        .map(|search| (search.request.spec.digest.to_string(), &search.request.spec))
        .collect();
    match meant.len() {
        0 => {
            let mut known: Vec<_> = all
                .iter()
                .map(|search| search.request.spec.name.clone())
                .collect();
            known.sort();
            known.dedup();
            Err(ServiceError::UnknownModel {
                model: model.to_owned(),
                known,
            })
        }
        1 => Ok(searches),
        _ => Err(ServiceError::SeveralModels {
            model: model.to_owned(),
            models: meant
                .values()
                .map(|spec| format!("{} ({})", spec.name, spec.digest.short()))
                .collect(),
        }),
    }
}

/// Those of the searches that are bound to a device's hardware profile.
async fn on_device<'a>(
    world: &World,
    searches: Vec<&'a StoredSearch>,
    model: &str,
    devices: &[StoredDevice],
    name: &str,
) -> Result<Vec<&'a StoredSearch>, ServiceError> {
    let device = devices
        .iter()
        .find(|device| device.registration.device == name)
        .ok_or_else(|| unknown_device(name, devices))?;
    let wanted = &device.registration.hardware_profile;
    let bound = |search: &StoredSearch| {
        let binding = search.binding.as_ref()?;
        Some(binding.hardware_profile)
    };
    let there: Vec<_> = searches
        .iter()
        .copied()
        .filter(|search| bound(search) == Some(wanted.digest()))
        .collect();
    let mut others: Vec<_> = searches.iter().filter_map(|search| bound(search)).collect();
    if !there.is_empty() || others.is_empty() {
        return Ok(if there.is_empty() { searches } else { there });
    }
    others.sort();
    others.dedup();
    let mut measured = Vec::new();
    for other in others {
        measured.push(profile(world, other).await?.summary());
    }
    Err(ServiceError::OtherHardware {
        model: model.to_owned(),
        measured,
        name: name.to_owned(),
        profile: wanted.summary(),
    })
}

/// What is measured of the searches: the loss, the times and the size must all be known, whatever
/// a search looked for.
pub(super) async fn measured<'a>(
    world: &World,
    searches: &[&'a StoredSearch],
) -> Result<Vec<Measured<'a>>, ServiceError> {
    let mut measured = Vec::new();
    for &search in searches {
        let Some(binding) = &search.binding else {
            continue;
        };
        let standing = Standing::of(world, search).await?;
        let figures = standing.figures.iter().enumerate();
        let positions: Vec<_> = figures
            .filter(|(_, figures)| figures.point(&Objective::ALL).is_some())
            .map(|(position, _)| position)
            .collect();
        if !positions.is_empty() {
            measured.push(Measured {
                search,
                profile: binding.hardware_profile,
                standing,
                positions,
            });
        }
    }
    Ok(measured)
}

/// Keeps those that were measured as the latest one: with one text and imatrix, under one pair of
/// workloads.
pub(super) fn keep_alike(
    measured: &mut Vec<Measured<'_>>,
    searches: &[&StoredSearch],
) -> Result<(), ServiceError> {
    let Some(latest) = measured.last() else {
        return Err(ServiceError::NothingMeasured {
            searches: searches.iter().map(|search| search.id).collect(),
        });
    };
    let told_apart = |search: &StoredSearch| {
        let request = &search.request;
        (request.subject.digest(), request.workloads.clone())
    };
    let latest = told_apart(latest.search);
    measured.retain(|measured| told_apart(measured.search) == latest);
    Ok(())
}

/// Times of two hardware profiles cannot be compared, so one must be chosen where there are more.
async fn check_one_profile(
    world: &World,
    measured: &[Measured<'_>],
    model: &str,
    devices: &[StoredDevice],
) -> Result<(), ServiceError> {
    let mut profiles: Vec<_> = measured.iter().map(|measured| measured.profile).collect();
    profiles.sort();
    profiles.dedup();
    if profiles.len() < 2 {
        return Ok(());
    }
    let mut described = Vec::new();
    for digest in profiles {
        let names: Vec<_> = devices
            .iter()
            .map(|device| &device.registration)
            .filter(|device| device.hardware_profile.digest() == digest)
            .map(|device| format!("`{}`", device.device))
            .collect();
        let names = match names.len() {
            0 => "no device any more".to_owned(),
            _ => names.join(", "),
        };
        let summary = profile(world, digest).await?.summary();
        described.push(format!("{summary} ({names})"));
    }
    Err(ServiceError::SeveralProfiles {
        model: model.to_owned(),
        profiles: described,
    })
}

/// The least by one figure within the limits, and where it is. Figures that were confirmed are
/// preferred: the others are of another text, and of chosen plans they are too kind.
pub(super) fn choose<'a, 'b>(
    measured: &'b [Measured<'a>],
    model: &str,
    limits: &Limits,
    by: Objective,
) -> Result<(&'b Measured<'a>, usize), ServiceError> {
    let mut beyond = Vec::new();
    // Not confirmed is worse than any figure.
    let mut least = (true, f64::INFINITY);
    let mut best: Option<(&Measured<'_>, usize)> = None;
    for one in measured {
        for &position in &one.positions {
            let figures = &one.standing.figures[position];
            if figures.violation(limits) > 0.0 {
                let candidate = one.standing.candidates[position].id;
                beyond.extend(by_limits(candidate, figures));
            } else if let Some(figure) = figures.figure(by) {
                let rank = (!one.standing.confirmed.contains(position), figure);
                if best.is_none() || rank < least {
                    (least, best) = (rank, Some((one, position)));
                }
            }
        }
    }
    match (best, Shortfall::of(limits, &beyond)) {
        (Some(best), _) => Ok(best),
        (None, Some(shortfall)) => Err(ServiceError::NothingWithin {
            model: model.to_owned(),
            shortfall: Box::new(shortfall),
        }),
        // Nothing is beyond the limits and nothing within, so nothing is measured.
        (None, None) => Err(ServiceError::NothingMeasured {
            searches: measured.iter().map(|one| one.search.id).collect(),
        }),
    }
}

pub(super) async fn profile(
    world: &World,
    digest: Digest,
) -> Result<HardwareProfile, ServiceError> {
    let profile = world.store.profile(digest).await?;
    Ok(profile.ok_or_else(|| StoreError::Corrupt {
        what: format!("hardware profile {}", digest.short()),
        reason: "a search is bound to it, but it is missing".to_owned(),
    })?)
}

/// A model is named by its name or by the beginning of its digest.
fn is_about(search: &StoredSearch, model: &str) -> bool {
    let spec = &search.request.spec;
    spec.name == model
        || (model.len() >= LEAST_PREFIX && spec.digest.to_string().starts_with(model))
}

/// What limits are about, of a candidate that is measured whole.
pub(super) fn by_limits(candidate: i64, figures: &Figures) -> Option<shortfall::Measured> {
    Some(shortfall::Measured {
        candidate,
        kld: figures.kld?,
        decode_ns: figures.decode_ns?,
        size_bytes: figures.size_bytes,
        mismatch: figures.mismatch?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
