//! Where searches stand and what they found, from the database alone: the same answers come from
//! any coordinator over the same database, whether or not anything runs.

mod belief;
mod best;
mod compare;
mod confirmation;
mod devices;
mod drift;
mod fleet;
mod noise;
mod outlook;
mod paired;
mod predict;
mod published;
mod repeatability;
mod rescoring;
mod sensitivity;
mod standing;
mod starts;
mod turns;

use std::collections::HashMap;

use bitfront_model::{
    Figure, Front, FrontPoint, Outcome, Placing, SearchStatus, SharedPlans, TaskPurpose,
};

use crate::checks::Learning;
use crate::driver;
use crate::error::{ServiceError, unknown_device};
use crate::store::{StoredCandidate, StoredMeasurement, StoredSearch};
use crate::world::World;

pub(crate) use best::best;
pub(crate) use compare::compare;
use confirmation::Measured;
pub(crate) use devices::{device, devices};
pub(crate) use drift::{drift, since, stale};
pub(crate) use fleet::{FleetQuestion, fleet};
pub(crate) use predict::predict;
pub(crate) use sensitivity::sensitivity;
use standing::Standing;
pub(crate) use starts::{found, starts};

/// Where one search stands.
pub(crate) async fn status(world: &World, search: i64) -> Result<SearchStatus, ServiceError> {
    let stored = find(world, search).await?;
    let outlook = outlook::of(world, &stored).await?;
    let Learning { checks, shared } = learning(world, &stored).await?;
    Ok(SearchStatus {
        outlook,
        trust: checks,
        shared,
        ..status_of(world, stored).await?
    })
}

/// Where all searches stand, by number, without their outlooks, checks and what they learned from
/// siblings.
pub(crate) async fn list(world: &World) -> Result<Vec<SearchStatus>, ServiceError> {
    let mut statuses = Vec::new();
    for stored in world.store.searches().await? {
        statuses.push(status_of(world, stored).await?);
    }
    Ok(statuses)
}

/// Everything measured in one search, without whether it is [`stale`]. A device may be named to make
/// sure that the front holds for it.
pub(crate) async fn front(
    world: &World,
    search: i64,
    device: Option<&str>,
) -> Result<Front, ServiceError> {
    front_with(world, search, device, false).await
}

/// The same, with what is believed of every point: costs a fit of the model.
pub(crate) async fn believed_front(
    world: &World,
    search: i64,
    device: Option<&str>,
) -> Result<Front, ServiceError> {
    front_with(world, search, device, true).await
}

async fn front_with(
    world: &World,
    search: i64,
    device: Option<&str>,
    with_beliefs: bool,
) -> Result<Front, ServiceError> {
    let stored = find(world, search).await?;
    if let Some(name) = device {
        check_device(world, &stored, name).await?;
    }
    let standing = Standing::of(world, &stored).await?;
    let mut points = points(world, &stored, &standing).await?;
    if with_beliefs {
        belief::believe(world, &stored, &standing, &mut points).await?;
    }
    let hardware_profile = match &stored.binding {
        Some(binding) => world.store.profile(binding.hardware_profile).await?,
        None => None,
    };
    let outlook = outlook::of(world, &stored).await?;
    let Learning { checks, shared } = learning(world, &stored).await?;
    Ok(Front {
        status: SearchStatus {
            outlook,
            trust: checks,
            shared,
            ..status_with(world, stored, &standing).await?
        },
        points,
        hardware_profile,
        stale: None,
    })
}

/// The checks of a search, and what it learned from siblings: as its driver told them last or,
/// where it ended before this coordinator started, rebuilt once.
async fn learning(world: &World, stored: &StoredSearch) -> Result<Learning, ServiceError> {
    if let Some(known) = world.checks.of(stored.id) {
        return Ok(known);
    }
    if !stored.state.has_ended() {
        return Ok(Learning::default());
    }
    let rebuilt = driver::checks(world, stored).await?;
    world.checks.tell(stored.id, rebuilt.clone());
    Ok(rebuilt)
}

async fn find(world: &World, search: i64) -> Result<StoredSearch, ServiceError> {
    world
        .store
        .search(search)
        .await?
        .ok_or(ServiceError::UnknownSearch { search })
}

async fn check_device(
    world: &World,
    stored: &StoredSearch,
    name: &str,
) -> Result<(), ServiceError> {
    let devices = world.store.devices().await?;
    let device = devices
        .iter()
        .find(|device| device.registration.device == name)
        .ok_or_else(|| unknown_device(name, &devices))?;
    let profile = &device.registration.hardware_profile;
    match &stored.binding {
        Some(binding) if binding.hardware_profile != profile.digest() => {
            let measured = world.store.profile(binding.hardware_profile).await?;
            Err(ServiceError::OtherProfile {
                search: stored.id,
                measured: measured.map_or_else(String::new, |profile| profile.summary()),
                name: name.to_owned(),
                profile: profile.summary(),
            })
        }
        _ => Ok(()),
    }
}

async fn status_of(world: &World, stored: StoredSearch) -> Result<SearchStatus, ServiceError> {
    let standing = Standing::of(world, &stored).await?;
    status_with(world, stored, &standing).await
}

async fn status_with(
    world: &World,
    stored: StoredSearch,
    standing: &Standing,
) -> Result<SearchStatus, ServiceError> {
    let profile = match &stored.binding {
        Some(binding) => world.store.profile(binding.hardware_profile).await?,
        None => None,
    };
    Ok(SearchStatus {
        search: stored.id,
        state: stored.state,
        reason: stored.reason,
        created_at_ms: stored.created_at_ms,
        ended_at_ms: stored.ended_at_ms,
        active: stored.active,
        candidates: standing.candidates.len() as u64,
        evaluated: standing.evaluated(),
        infeasible: standing.infeasible(),
        front_size: standing.front.len() as u64,
        hypervolume: standing.hypervolume,
        reference_point: stored.reference_point.unwrap_or_default(),
        outlook: None,
        trust: Vec::new(),
        shared: SharedPlans::default(),
        hardware_profile: stored
            .binding
            .as_ref()
            .map(|binding| binding.hardware_profile),
        hardware_summary: profile.map_or_else(String::new, |profile| profile.summary()),
        numerics_class: stored.binding.map(|binding| binding.numerics_class),
        request: stored.request,
    })
}

/// Every candidate of a search with all that is known of it, and its place on the front.
async fn points(
    world: &World,
    stored: &StoredSearch,
    standing: &Standing,
) -> Result<Vec<FrontPoint>, ServiceError> {
    let mut measurements: HashMap<i64, Vec<StoredMeasurement>> = HashMap::new();
    for measurement in world.store.measurements(stored.id, None).await? {
        measurements
            .entry(measurement.candidate)
            .or_default()
            .push(measurement);
    }
    let mut points: Vec<_> = (0..standing.candidates.len())
        .map(|position| {
            let candidate = standing.candidates[position].id;
            let measured = measurements.remove(&candidate).unwrap_or_default();
            point(stored, standing, position, measured)
        })
        .collect::<Result<_, _>>()?;
    confirmation::mark_qualities(&mut points);
    let request = &stored.request;
    repeatability::widen(&mut points, &request.workloads);
    published::publish(&mut points, &standing.eligible, &request.objectives);
    let shown: Vec<_> = (0..points.len())
        .filter(|&position| points[position].on_front)
        .collect();
    if let Some(knee) = standing.knee(&shown, &request.objectives, &request.limits) {
        points[knee].is_knee = true;
    }
    Ok(points)
}

/// One candidate with all that is known of it by itself.
fn point(
    stored: &StoredSearch,
    standing: &Standing,
    position: usize,
    measured: Vec<StoredMeasurement>,
) -> Result<FrontPoint, ServiceError> {
    let candidate: &StoredCandidate = &standing.candidates[position];
    let figures = &standing.figures[position];
    let spec = &stored.request.spec;
    let plan = candidate.plan(spec)?;
    let (mut searched, mut fresh) = (Measured::default(), Measured::default());
    let mut first_latency = None;
    for one in measured {
        let is_retiming = one.purpose == TaskPurpose::Retime;
        if is_retiming && !one.executed_as_planned {
            continue;
        }
        let Measured { quality, latency } = match one.purpose {
            TaskPurpose::Search | TaskPurpose::Retime => &mut searched,
            TaskPurpose::Confirm => &mut fresh,
        };
        match one.measurement.outcome {
            Outcome::Quality(value) => {
                *quality = Some(Figure {
                    measurement: one.id,
                    value,
                    evidence: one.measurement.evidence,
                    device: one.device,
                    measured_at_ms: one.received_at_ms,
                });
            }
            Outcome::Latency { workloads } => {
                if is_retiming {
                    first_latency = latency.take();
                }
                *latency = Some(Figure {
                    measurement: one.id,
                    value: workloads,
                    evidence: one.measurement.evidence,
                    device: one.device,
                    measured_at_ms: one.received_at_ms,
                });
            }
            Outcome::Infeasible { .. } => {}
        }
    }
    let (published, confirmation) = if standing.confirmed.contains(position) {
        let (published, confirmation) = confirmation::replace(searched, fresh);
        (published, Some(confirmation))
    } else {
        (searched, None)
    };
    Ok(FrontPoint {
        search: stored.id,
        candidate: candidate.id,
        baseline: candidate.baseline.clone(),
        size_bytes: candidate.size_bytes,
        bits_per_weight: plan.bits_per_weight(spec),
        plan,
        on_front: false,
        is_knee: false,
        within_limits: standing.is_within(position, &stored.request.limits),
        executed_as_planned: figures.as_planned,
        quality: published.quality,
        latency: published.latency,
        first_latency,
        infeasible: figures.infeasible.clone(),
        placing: Placing::default(),
        was_on_front: standing.was_on_front(position),
        confirmation,
        unconfirmed: standing.confirmed.failure(position).cloned(),
        believed: Vec::new(),
    })
}
