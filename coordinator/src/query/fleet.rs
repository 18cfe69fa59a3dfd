//! One plan for several hardware profiles: the one that leaves none of them far behind its best.
//!
//! Plans are compared by the figures that the searches themselves measured, since every plan has
//! those: fresh ones, of confirmed plans alone, are of other windows. Or, where a prediction is
//! wanted, by what each profile's latest search believes of them, so that a plan counts that was
//! measured on some of the profiles, or on none.

use std::collections::{BTreeMap, BTreeSet};

use bitfront_model::fleet::{self, Standing};
use bitfront_model::shortfall::Shortfall;
use bitfront_model::{
    Digest, FleetPick, HardwareProfile, Limits, ModelSpec, Objective, Plan, Regret,
};

use super::belief::{Learned, computed};
use super::best::{Measured, by_limits, keep_alike, measured, of_model, profile};
use crate::error::{ServiceError, unknown_device};
use crate::evaluation::Figures;
use crate::intake;
use crate::store::{StoredDevice, StoredSearch};
use crate::world::World;

/// What is asked.
pub(crate) struct FleetQuestion<'a> {
    /// A model's name or the beginning of its digest.
    pub(crate) model: &'a str,
    /// The devices whose hardware profiles the plan is for; empty for all on which the model was
    /// measured.
    pub(crate) devices: &'a [String],
    pub(crate) limits: Limits,
    /// The figure that regrets are of.
    pub(crate) by: &'a str,
    /// Go by what is believed of plans.
    pub(crate) predict: bool,
}

/// What is known of plans on one hardware profile.
struct View {
    profile: Digest,
    /// By the digests of the plans.
    known: BTreeMap<Digest, Known>,
}

/// A plan on one hardware profile.
struct Known {
    search: i64,
    candidate: Option<i64>,
    plan: Plan,
    figures: Figures,
}

impl Known {
    fn standing(&self) -> Standing {
        // Whoever is known has all of these.
        let figure = |figure| self.figures.figure(figure).unwrap_or(f64::NAN);
        Standing {
            search: self.search,
            candidate: self.candidate,
            kld: figure(Objective::Kld),
            decode_ns: figure(Objective::Decode),
            prefill_ns: figure(Objective::Prefill),
            size_bytes: self.figures.size_bytes,
        }
    }
}

/// The plan of the fleet, of all that was measured alike on the profiles: with one text and
/// imatrix, under one pair of workloads. Of texts and workloads the latest count.
pub(crate) async fn fleet(
    world: &World,
    question: &FleetQuestion<'_>,
) -> Result<FleetPick, ServiceError> {
    intake::check_limits(&question.limits)?;
    let by: Objective = question.by.parse()?;
    let devices = world.store.devices().await?;
    let all = world.store.searches().await?;
    let of_model = of_model(&all, question.model)?;
    let wanted = wanted(question.devices, &devices)?;
    let there = |search: &&StoredSearch| bound(search).is_some_and(|it| wanted.contains(&it));
    let searches: Vec<_> = match of_model.iter().copied().any(|search| there(&search)) {
        true => of_model.into_iter().filter(there).collect(),
        // All of them for none of those that were asked for, which is said below.
        false => of_model,
    };
    let mut measured = measured(world, &searches).await?;
    keep_alike(&mut measured, &searches)?;
    let mut profiles: BTreeMap<Digest, Vec<Measured<'_>>> = BTreeMap::new();
    for one in measured {
        profiles.entry(one.profile).or_default().push(one);
    }
    let Some(one) = profiles.values().flatten().next_back() else {
        return Err(ServiceError::NothingMeasured {
            searches: Vec::new(),
        });
    };
    let (spec, subject) = (&one.search.request.spec, &one.search.request.subject);
    check_all_there(question, &devices, &profiles, one.search.id)?;
    if profiles.len() < 2 {
        return Err(ServiceError::FleetOfOne {
            model: question.model.to_owned(),
            profile: profile(world, one.profile).await?.summary(),
        });
    }
    let views = match question.predict {
        true => believed(world, spec, &profiles, (&question.limits, by)).await?,
        false => as_measured(spec, &profiles)?,
    };
    let mut hardware = Vec::new();
    for view in &views {
        hardware.push(profile(world, view.profile).await?);
    }
    let own = own_bests(&views, &hardware, question, by)?;
    let everywhere = everywhere(&views, &question.limits);
    let worst = |digest: &Digest| {
        let shares = views.iter().zip(&own).map(|(view, own)| {
            let figure = view.known.get(digest).and_then(|it| it.figures.figure(by));
            figure.map_or(f64::INFINITY, |figure| fleet::share(figure, own.1))
        });
        shares.fold(0.0, f64::max)
    };
    let size = |digest: &Digest| views[0].known.get(digest).map(|it| it.figures.size_bytes);
    let picked = everywhere
        .iter()
        .min_by(|a, b| {
            let by_regret = worst(a).total_cmp(&worst(b));
            by_regret.then_with(|| (size(a), a).cmp(&(size(b), b)))
        })
        .and_then(|digest| Some((digest, &views[0].known.get(digest)?.plan)));
    let Some((digest, plan)) = picked else {
        return Err(ServiceError::NothingEverywhere {
            model: question.model.to_owned(),
            profiles: views.len(),
            predicted: question.predict,
        });
    };
    let mut regrets = Vec::new();
    for ((view, hardware_profile), own) in views.iter().zip(hardware).zip(&own) {
        let (Some(fleet), Some(own)) = (view.known.get(digest), view.known.get(&own.0)) else {
            continue;
        };
        regrets.push(Regret {
            hardware_profile,
            devices: named(&devices, view.profile),
            fleet: fleet.standing(),
            own: own.standing(),
        });
    }
    regrets.sort_by(|a, b| b.share(by).total_cmp(&a.share(by)));
    Ok(FleetPick {
        by,
        plan: plan.clone(),
        size_bytes: plan.size_bytes(spec),
        bits_per_weight: plan.bits_per_weight(spec),
        is_predicted: question.predict,
        compared: everywhere.len() as u64,
        regrets,
        spec: spec.clone(),
        subject: subject.clone(),
    })
}

/// The hardware profiles of the devices that were named.
fn wanted(names: &[String], devices: &[StoredDevice]) -> Result<BTreeSet<Digest>, ServiceError> {
    let of_name = |name: &String| {
        let mut known = devices.iter().map(|device| &device.registration);
        let device = known.find(|known| known.device == *name);
        device
            .map(|device| device.hardware_profile.digest())
            .ok_or_else(|| unknown_device(name, devices))
    };
    names.iter().map(of_name).collect()
}

fn bound(search: &StoredSearch) -> Option<Digest> {
    Some(search.binding.as_ref()?.hardware_profile)
}

/// The names of the devices of a hardware profile.
fn named(devices: &[StoredDevice], profile: Digest) -> Vec<String> {
    devices
        .iter()
        .map(|device| &device.registration)
        .filter(|device| device.hardware_profile.digest() == profile)
        .map(|device| device.device.clone())
        .collect()
}

/// Refuses a device on whose hardware nothing was measured as on the others.
fn check_all_there(
    question: &FleetQuestion<'_>,
    devices: &[StoredDevice],
    profiles: &BTreeMap<Digest, Vec<Measured<'_>>>,
    search: i64,
) -> Result<(), ServiceError> {
    let known = devices.iter().map(|device| &device.registration);
    let mut asked = known.filter(|device| question.devices.contains(&device.device));
    let missing = asked.find(|device| !profiles.contains_key(&device.hardware_profile.digest()));
    match missing {
        None => Ok(()),
        Some(device) => Err(ServiceError::NotMeasuredThere {
            model: question.model.to_owned(),
            name: device.device.clone(),
            profile: device.hardware_profile.summary(),
            search,
        }),
    }
}

/// The plans of each profile by what its searches measured; of one that several measured, the
/// latest counts.
fn as_measured(
    spec: &ModelSpec,
    profiles: &BTreeMap<Digest, Vec<Measured<'_>>>,
) -> Result<Vec<View>, ServiceError> {
    let mut views = Vec::new();
    for (&profile, measured) in profiles {
        let mut known = BTreeMap::new();
        for one in measured {
            for &position in &one.positions {
                let candidate = &one.standing.candidates[position];
                let it = Known {
                    search: one.search.id,
                    candidate: Some(candidate.id),
                    plan: candidate.plan(spec)?,
                    figures: one.standing.searched(position).clone(),
                };
                known.insert(candidate.plan_digest, it);
            }
        }
        views.push(View { profile, known });
    }
    Ok(views)
}

/// The same by what each profile's latest search believes, of all plans that were measured on any
/// of the profiles and of each profile's predicted best.
async fn believed(
    world: &World,
    spec: &ModelSpec,
    profiles: &BTreeMap<Digest, Vec<Measured<'_>>>,
    (limits, by): (&Limits, Objective),
) -> Result<Vec<View>, ServiceError> {
    let measured = as_measured(spec, profiles)?;
    let all = measured.iter().flat_map(|view| &view.known);
    let mut plans: BTreeMap<Digest, Plan> =
        all.map(|(&digest, it)| (digest, it.plan.clone())).collect();
    let mut models = Vec::new();
    for latest in profiles.values().filter_map(|measured| measured.last()) {
        let search = latest.search;
        let learned = Learned::of(world, search, &latest.standing).await?;
        let learned = learned.filter(|learned| learned.measured > 0);
        let learned = learned.ok_or_else(|| ServiceError::NothingMeasured {
            searches: vec![search.id],
        })?;
        let most = learned.most(limits);
        let (learned, solved) = computed(move || {
            let place = learned.place(by);
            let solved = place.and_then(|place| learned.belief().best(place, &most).ok());
            (learned, solved)
        })
        .await?;
        let best = solved.and_then(|solved| learned.space.plan(spec, &solved.genome).ok());
        plans.extend(best.map(|plan| (plan.digest(), plan)));
        models.push((search.id, learned));
    }
    let mut views = Vec::new();
    for (measured, (search, learned)) in measured.into_iter().zip(models) {
        let figures = figures_of(spec, search, learned, plans.values().cloned().collect()).await?;
        let known = figures.into_iter().map(|(plan, figures)| {
            let digest = plan.digest();
            let there = measured.known.get(&digest);
            let it = Known {
                search,
                candidate: there.and_then(|it| it.candidate),
                plan,
                figures,
            };
            (digest, it)
        });
        views.push(View {
            profile: measured.profile,
            known: known.collect(),
        });
    }
    Ok(views)
}

/// What a search believes of plans, without those outside its space.
async fn figures_of(
    spec: &ModelSpec,
    search: i64,
    learned: Learned,
    plans: Vec<Plan>,
) -> Result<Vec<(Plan, Figures)>, ServiceError> {
    let inside = plans
        .into_iter()
        .filter_map(|plan| Some((learned.space.genome(&plan)?, plan)));
    let (genomes, plans): (Vec<_>, Vec<_>) = inside.unzip();
    let (learned, believed) = computed(move || {
        let believed = learned.belief().of(&genomes);
        (learned, believed)
    })
    .await?;
    let believed = believed.map_err(|error| ServiceError::NoBelief {
        search,
        reason: error.to_string(),
    })?;
    let figures = plans.into_iter().zip(believed).map(|(plan, believed)| {
        let told = learned.told(&believed, None);
        let value = |figure| {
            let mut told = told.iter();
            told.find_map(|it| (it.figure == figure).then_some(it.value))
        };
        let figures = Figures {
            kld: value(Objective::Kld),
            mismatch: value(Objective::Mismatch),
            decode_ns: value(Objective::Decode),
            prefill_ns: value(Objective::Prefill),
            ..Figures::of_size(plan.size_bytes(spec))
        };
        (plan, figures)
    });
    Ok(figures.collect())
}

/// The best plan of every profile alone within the limits, with its figure.
fn own_bests(
    views: &[View],
    hardware: &[HardwareProfile],
    question: &FleetQuestion<'_>,
    by: Objective,
) -> Result<Vec<(Digest, f64)>, ServiceError> {
    let best = |(view, hardware): (&View, &HardwareProfile)| {
        let known = view.known.iter();
        let within = known.filter(|(_, it)| it.figures.violation(&question.limits) == 0.0);
        let figures = within.filter_map(|(&digest, it)| Some((digest, it.figures.figure(by)?)));
        let best = figures.min_by(|a, b| a.1.total_cmp(&b.1));
        best.ok_or_else(|| {
            let known = view.known.values();
            let beyond: Vec<_> = known
                .filter_map(|it| by_limits(it.candidate.unwrap_or(0), &it.figures))
                .collect();
            match Shortfall::of(&question.limits, &beyond) {
                Some(shortfall) => ServiceError::NothingWithinThere {
                    model: question.model.to_owned(),
                    profile: hardware.summary(),
                    shortfall: Box::new(shortfall),
                },
                None => ServiceError::NothingEverywhere {
                    model: question.model.to_owned(),
                    profiles: views.len(),
                    predicted: question.predict,
                },
            }
        })
    };
    views.iter().zip(hardware).map(best).collect()
}

/// The plans that keep the limits on all the profiles.
fn everywhere(views: &[View], limits: &Limits) -> Vec<Digest> {
    let keeps = |view: &View, digest: &Digest| {
        let known = view.known.get(digest);
        known.is_some_and(|it| it.figures.violation(limits) == 0.0)
    };
    let Some((first, others)) = views.split_first() else {
        return Vec::new();
    };
    first
        .known
        .keys()
        .filter(|digest| keeps(first, digest) && others.iter().all(|view| keeps(view, digest)))
        .copied()
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
