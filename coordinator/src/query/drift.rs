//! What moved between two searches over one subject on one device: between two nights.

mod figures;
mod overall;
mod scale;

use std::collections::{BTreeSet, HashMap};

use bitfront_model::{
    Digest, Drift, FrontPoint, HardwareProfile, Hypervolumes, NowInfeasible, ProfileChange, Stale,
    Watched, Workload,
};

use self::figures::{Night, moved};
use self::overall::overall;
use super::best::profile;
use super::compare::subjects;
use super::{Standing, find, points};
use crate::error::ServiceError;
use crate::store::StoredSearch;
use crate::world::World;

/// What the search `after` says of the plans of `before`. Both must have ended, over one subject
/// and under the same workloads, on one device: another driver or runtime there is what this is to
/// show, another processor or accelerator is another device. Costs reading all measurements of
/// both.
pub(crate) async fn drift(world: &World, before: i64, after: i64) -> Result<Drift, ServiceError> {
    let (before, after) = (
        Side::of(world, before).await?,
        Side::of(world, after).await?,
    );
    check(&before, &after)?;
    let request = &before.search.request;
    let held_back = &request.subject.data.held_back;
    let night = |side: &Side| Night::of(&side.points, &request.workloads);
    let (then, now) = (night(&before), night(&after));
    let same_held_back =
        held_back.is_some() && *held_back == after.search.request.subject.data.held_back;
    let points = moved(
        (&before.points, &then),
        (&after.points, &now),
        same_held_back,
    );
    let watched = |workload: &Workload| Watched::Time(*workload);
    let figures = [Watched::Kld].into_iter();
    let figures = figures.chain(request.workloads.iter().map(watched));
    let named = (before.search.id, &then, after.search.id, &now);
    let overall = figures.map(|figure| overall(figure, &points, named));
    let overall = overall.collect();
    let fronts = Fronts::of(&before.points, &after.points);
    Ok(Drift {
        before: before.search.id,
        after: after.search.id,
        hardware_before: before.profile.summary(),
        hardware_after: after.profile.summary(),
        profile: ProfileChange::between(&before.profile, &after.profile),
        overall,
        infeasible: fronts.infeasible,
        entered: fronts.entered,
        left: fronts.left,
        missing: fronts.missing,
        hypervolumes: hypervolumes(&before, &after),
        points,
    })
}

/// What a search says of the one that it was started from; nothing where it was started from none,
/// or the two cannot be held against each other.
pub(crate) async fn since(world: &World, after: i64) -> Result<Option<Drift>, ServiceError> {
    let stored = find(world, after).await?;
    let Some(before) = stored.request.start_from else {
        return Ok(None);
    };
    match drift(world, before, after).await {
        Ok(drift) => Ok(Some(drift)),
        Err(ServiceError::NotOneDevice { .. } | ServiceError::NothingToHold { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was found to have moved since a search by the latest of those that were started from it and
/// can say something; nothing where that is nothing.
pub(crate) async fn stale(world: &World, search: i64) -> Result<Option<Stale>, ServiceError> {
    let stored = find(world, search).await?;
    let subject = stored.request.subject.digest();
    let over = world.store.searches_over(subject).await?;
    let later = over.into_iter().rev().filter(|later| {
        later.request.start_from == Some(search) && later.id > search && later.state.has_ended()
    });
    for later in later {
        match drift(world, search, later.id).await {
            Ok(drift) if drift.says_anything() => return Ok(drift.stale()),
            // One on another device, or that measured too little, says nothing of this front.
            Ok(_) | Err(ServiceError::NotOneDevice { .. } | ServiceError::NothingToHold { .. }) => {
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A search that has ended, with all that it measured.
struct Side {
    search: StoredSearch,
    profile: HardwareProfile,
    standing: Standing,
    points: Vec<FrontPoint>,
}

impl Side {
    async fn of(world: &World, search: i64) -> Result<Self, ServiceError> {
        let stored = find(world, search).await?;
        let nothing = |why: &str| ServiceError::NothingToHold {
            search,
            why: why.to_owned(),
        };
        if !stored.state.has_ended() {
            return Err(nothing(
                "it has not ended; `bitfront watch` follows it until then",
            ));
        }
        let Some(binding) = &stored.binding else {
            return Err(nothing("no device served it"));
        };
        let profile = profile(world, binding.hardware_profile).await?;
        let standing = Standing::of(world, &stored).await?;
        let points = points(world, &stored, &standing).await?;
        Ok(Self {
            search: stored,
            profile,
            standing,
            points,
        })
    }

    /// The names of the devices that timed for it.
    fn devices(&self) -> BTreeSet<&str> {
        let timings = self.points.iter().flat_map(figures::timings);
        timings.map(|timing| timing.device.as_str()).collect()
    }
}

/// Refuses what does not mean the same, or was measured on another device.
fn check(before: &Side, after: &Side) -> Result<(), ServiceError> {
    let (first, second) = (before.search.id, after.search.id);
    if first == second {
        return Err(ServiceError::NotOneDevice {
            first,
            second,
            differing: vec!["nothing: it is one search".to_owned()],
        });
    }
    let (ours, theirs) = (&before.search.request, &after.search.request);
    let workloads = |workloads: &[Workload]| {
        let mut names: Vec<_> = workloads.iter().map(ToString::to_string).collect();
        names.sort();
        names.join(" and ")
    };
    let kind = |profile: &HardwareProfile| {
        let gpu = profile.gpu.as_ref();
        let gpu = gpu.map_or_else(String::new, |gpu| format!(" with {gpu}"));
        format!("{} ({}){gpu}", profile.cpu_model, profile.cpu_architecture)
    };
    let mut compared = subjects(&ours.subject, &theirs.subject);
    compared.extend([
        (
            "the workloads",
            workloads(&ours.workloads),
            workloads(&theirs.workloads),
        ),
        ("the hardware", kind(&before.profile), kind(&after.profile)),
    ]);
    // Devices of one hardware profile are interchangeable; where it changed, it must be known to
    // have changed under one and the same device.
    if before.profile.digest() != after.profile.digest()
        && before.devices().is_disjoint(&after.devices())
    {
        let names = |side: &Side| {
            let devices = side.devices();
            let names: Vec<_> = devices.iter().map(|name| format!("`{name}`")).collect();
            match names.len() {
                0 => "none that timed anything".to_owned(),
                _ => names.join(", "),
            }
        };
        compared.push(("the device", names(before), names(after)));
    }
    let differing: Vec<_> = compared
        .into_iter()
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(what, ours, theirs)| format!("{what} ({ours} and {theirs})"))
        .collect();
    match differing.is_empty() {
        true => Ok(()),
        false => Err(ServiceError::NotOneDevice {
            first,
            second,
            differing,
        }),
    }
}

/// Which plans the two fronts have.
struct Fronts {
    infeasible: Vec<NowInfeasible>,
    entered: Vec<i64>,
    left: Vec<i64>,
    missing: u64,
}

impl Fronts {
    fn of(before: &[FrontPoint], after: &[FrontPoint]) -> Self {
        let (then, now) = (by_plan(before), by_plan(after));
        // Whoever cannot be told apart from a shown plan is on the front as well as that one.
        let is_on = |point: &FrontPoint| point.on_front || point.placing.class_of.is_some();
        let mut fronts = Self {
            infeasible: Vec::new(),
            entered: Vec::new(),
            left: Vec::new(),
            missing: 0,
        };
        for point in before {
            let is_kept = point.on_front || point.baseline.is_some();
            if !is_kept || point.infeasible.is_some() {
                continue;
            }
            match now.get(&point.plan.digest()) {
                Some(later) if later.infeasible.is_some() => {
                    fronts.infeasible.push(NowInfeasible {
                        before: point.candidate,
                        after: later.candidate,
                        reason: later.infeasible.clone().unwrap_or_default(),
                    });
                }
                Some(later) if later.quality.is_some() && later.latency.is_some() => {
                    if point.on_front && !is_on(later) {
                        fronts.left.push(point.candidate);
                    }
                }
                _ => fronts.missing += u64::from(point.on_front),
            }
        }
        let is_new = |point: &&FrontPoint| {
            let earlier = then.get(&point.plan.digest());
            point.on_front && !earlier.is_some_and(|earlier| is_on(earlier))
        };
        fronts.entered = after.iter().filter(is_new).map(|it| it.candidate).collect();
        fronts
    }
}

/// The points by the digests of their plans.
pub(super) fn by_plan(points: &[FrontPoint]) -> HashMap<Digest, &FrontPoint> {
    let points = points.iter();
    points.map(|point| (point.plan.digest(), point)).collect()
}

/// Of what both searched, against the reference point of the earlier one.
fn hypervolumes(before: &Side, after: &Side) -> Option<Hypervolumes> {
    let objectives = &before.search.request.objectives;
    if *objectives != after.search.request.objectives {
        return None;
    }
    let reference = before.search.reference_point.as_ref()?;
    Some(Hypervolumes {
        before: before.standing.hypervolume_against(objectives, reference)?,
        after: after.standing.hypervolume_against(objectives, reference)?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod nights;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
