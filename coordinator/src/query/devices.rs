//! The devices that ever registered: who they are, whether they are there, what they do.

use std::collections::{HashMap, HashSet};

use bitfront_model::{
    Answer, Device, DeviceProbe, DeviceState, HeldTask, ProbedDevice, Question, QuestionStanding,
};

use super::noise::{self, noise};
use crate::error::ServiceError;
use crate::exclusion::exclusions;
use crate::store::{StoredDevice, StoredQuestion};
use crate::world::World;

/// Every device that ever registered. Costs reading the latest measurements of each. Whether they
/// are there and when they were heard from last is the one thing here that is not in the database
/// alone.
pub(crate) async fn devices(world: &World) -> Result<Vec<Device>, ServiceError> {
    let mut held: HashMap<i64, Vec<HeldTask>> = HashMap::new();
    for (device, task) in world.store.held().await? {
        held.entry(device).or_default().push(task);
    }
    let serving = world.presence.serving(world.clock.elapsed());
    let serving: HashSet<_> = serving.iter().map(|device| device.id).collect();
    let mut devices = Vec::new();
    for stored in world.store.devices().await? {
        let latest = match stored.measurements {
            0 => Vec::new(),
            _ => world.store.latest(stored.id, noise::MOST_LATEST).await?,
        };
        let is_serving = serving.contains(&stored.id);
        let (state, last_seen_ms) = seen(world, &stored, is_serving);
        devices.push(Device {
            device_id: stored.id,
            state,
            registration: stored.registration,
            first_seen_ms: stored.first_seen_ms,
            last_seen_ms,
            measurements: stored.measurements,
            agent: stored.instance,
            coordinator: stored.coordinator,
            held: held.remove(&stored.id).unwrap_or_default(),
            noise: noise(&latest),
        });
    }
    Ok(devices)
}

/// Whether a device is there, and when it was heard from last.
fn seen(world: &World, stored: &StoredDevice, is_serving: bool) -> (DeviceState, i64) {
    let heard = world.presence.last_heard(stored.id);
    let state = match (is_serving, heard) {
        (true, _) => DeviceState::Present,
        (false, Some(_)) => DeviceState::Silent,
        (false, None) => DeviceState::Away,
    };
    let heard_ms = heard.map(|at| world.moment_ms(at));
    // What the store knows may be a minute old, and what is known here may be older where the agent
    // went to another coordinator.
    (state, stored.last_seen_ms.max(heard_ms.unwrap_or(i64::MIN)))
}

/// One device with the probes of its hardware profile.
pub(crate) async fn device(world: &World, name: &str) -> Result<ProbedDevice, ServiceError> {
    let known = devices(world).await?;
    let Some(device) = known.iter().find(|it| it.registration.device == name) else {
        return Err(ServiceError::UnknownDevice {
            name: name.to_owned(),
            known: known.into_iter().map(|it| it.registration.device).collect(),
        });
    };
    let profile = device.registration.hardware_profile.digest().to_string();
    let asked = world.store.questions(&profile).await?.into_iter();
    Ok(ProbedDevice {
        device: device.clone(),
        probes: asked.filter_map(probe).collect(),
    })
}

/// A question that is a probe, with what follows from its answer.
fn probe(stored: StoredQuestion) -> Option<DeviceProbe> {
    let Question::Probe(question) = stored.question else {
        return None;
    };
    let standing = match stored.standing {
        QuestionStanding::Pending => QuestionStanding::Pending,
        QuestionStanding::Failed { reason } => QuestionStanding::Failed { reason },
        QuestionStanding::Done(answer) => match *answer {
            Answer::Probe(probe) => QuestionStanding::Done(Box::new(probe)),
            Answer::Sensitivity(_) => return None,
        },
    };
    let excluded = match &standing {
        QuestionStanding::Done(probe) => exclusions(probe, &question.precisions),
        _ => Vec::new(),
    };
    Some(DeviceProbe {
        probe: stored.id,
        question,
        standing,
        excluded,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
