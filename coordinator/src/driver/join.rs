//! Hardware profiles that come after a joint search was started.
//!
//! A search is bound to one hardware profile for all its life, so one that comes later gets a search
//! of its own: the request of those that run, beginning with what they have found. That is stored
//! with the new search when it is submitted, so it replays as any other does, and nothing of the
//! searches that run changes. Which of their drivers sees the newcomer first does not matter: the key
//! of the submission is made of that of the joint search and the profile, and a second one finds the
//! first.

use std::collections::HashSet;
use std::time::Duration;

use bitfront_model::{Digest, Joint, Limits, SearchRequest};

use crate::error::ServiceError;
use crate::query;
use crate::store::{NewSearch, StoreError, StoredSearch};
use crate::world::World;

/// The devices are looked at this often, however often a driver is woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The hardware profiles of a joint search, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Joined {
    profiles: HashSet<Digest>,
    looked: Option<Duration>,
}

impl Joined {
    /// Starts a search for every hardware profile that serves, is meant by the joint search and has
    /// none yet. Their drivers are started as those of all searches that nobody drives.
    pub(super) async fn look(
        &mut self,
        world: &World,
        stored: &StoredSearch,
    ) -> Result<(), StoreError> {
        let Some(joint) = &stored.request.joint else {
            return Ok(());
        };
        let now = world.clock.elapsed();
        if self.looked.is_some_and(|at| now < at + LOOK_EVERY) {
            return Ok(());
        }
        self.looked = Some(now);
        let serving = world.presence.serving(now);
        let fitting = serving.iter().map(|device| &device.registration);
        let fitting = fitting.filter(|it| joint.fits(&it.hardware_profile, &it.numerics_class));
        let unknown: Vec<_> = fitting
            .filter(|it| !self.profiles.contains(&it.hardware_profile.digest()))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let subject = stored.request.subject.digest();
        let members = world.store.searches_over(subject).await?.into_iter();
        let members = members.filter(|it| {
            it.request
                .joint
                .as_ref()
                .is_some_and(|it| it.key == joint.key)
        });
        let members: Vec<_> = members.collect();
        self.profiles.extend(profiles(world, &members).await?);
        for device in unknown {
            let profile = device.hardware_profile.digest();
            if !self.profiles.insert(profile) {
                continue;
            }
            let starts = match query::found(world, &members).await {
                Ok(starts) => starts,
                Err(ServiceError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::warn!(search = stored.id, %error, "a device joins without what was found");
                    Vec::new()
                }
            };
            let request = SearchRequest {
                device: Some(device.device.clone()),
                limits: Limits {
                    max_decode: joint.max_decode,
                    ..stored.request.limits
                },
                joint: Some(Joint {
                    profile: Some(profile),
                    ..joint.clone()
                }),
                ..stored.request.clone()
            };
            let new = NewSearch {
                request,
                idempotency_key: Some(format!("joined:{}:{profile}", joint.key)),
                starts,
            };
            let search = world.store.submit(&new, world.clock.now_ms()).await?;
            tracing::info!(search, agent = device.device, beside = stored.id, "joined");
        }
        Ok(())
    }
}

/// The hardware profiles that searches are for: those that they are bound to, or will be.
async fn profiles(world: &World, members: &[StoredSearch]) -> Result<Vec<Digest>, StoreError> {
    let mut profiles = Vec::new();
    // Of requests from before their profiles were noted.
    let mut by_name = HashSet::new();
    for member in members {
        let bound = member.binding.as_ref().map(|it| it.hardware_profile);
        let noted = member.request.joint.as_ref().and_then(|it| it.profile);
        match bound.or(noted) {
            Some(profile) => profiles.push(profile),
            None => by_name.extend(&member.request.device),
        }
    }
    if !by_name.is_empty() {
        let devices = world.store.devices().await?.into_iter();
        let devices = devices.map(|device| device.registration);
        let named = devices.filter(|device| by_name.contains(&device.device));
        profiles.extend(named.map(|device| device.hardware_profile.digest()));
    }
    Ok(profiles)
}
