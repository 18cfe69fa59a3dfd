//! The devices that ever registered: who they are, whether they are there, what they do.

use std::collections::{HashMap, HashSet};

use bitfront_model::{
    Answer, Device, DeviceProbe, DeviceState, HeldTask, ProbedDevice, Question, QuestionStanding,
};

use super::noise::{self, noise};
use crate::error::{ServiceError, unknown_device};
use crate::exclusion::exclusions;
use crate::store::{StoredDevice, StoredQuestion};
use crate::world::World;

/// Of so many devices the latest measurements are read at once: as many as fit into memory, each with
/// all of its samples.
const READ_AT_ONCE: usize = 32;

/// Every device that ever registered. Costs reading the latest measurements of each. Whether they
/// are there and when they were heard from last is the one thing here that is not in the database
/// alone.
pub(crate) async fn devices(world: &World) -> Result<Vec<Device>, ServiceError> {
    described(world, world.store.devices().await?).await
}

async fn described(world: &World, stored: Vec<StoredDevice>) -> Result<Vec<Device>, ServiceError> {
    let mut held: HashMap<i64, Vec<HeldTask>> = HashMap::new();
    for (device, task) in world.store.held().await? {
        held.entry(device).or_default().push(task);
    }
    let serving = world.presence.serving(world.clock.elapsed());
    let serving: HashSet<_> = serving.iter().map(|device| device.id).collect();
    let measured = stored.iter().filter(|device| device.measurements > 0);
    let measured: Vec<_> = measured.map(|device| device.id).collect();
    let mut noises = HashMap::new();
    for some in measured.chunks(READ_AT_ONCE) {
        let latest = world.store.latest(some, noise::MOST_LATEST).await?;
        for of_one in latest.chunk_by(|one, next| one.device == next.device) {
            noises.insert(of_one[0].device, noise(of_one));
        }
    }
    let described = stored.into_iter().map(|stored| {
        let is_serving = serving.contains(&stored.id);
        let (state, last_seen_ms) = seen(world, &stored, is_serving);
        Device {
            device_id: stored.id,
            state,
            registration: stored.registration,
            first_seen_ms: stored.first_seen_ms,
            last_seen_ms,
            measurements: stored.measurements,
            agent: stored.instance,
            coordinator: stored.coordinator,
            held: held.remove(&stored.id).unwrap_or_default(),
            noise: noises.remove(&stored.id).flatten(),
        }
    });
    Ok(described.collect())
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
    let mut known = world.store.devices().await?;
    let Some(place) = known.iter().position(|it| it.registration.device == name) else {
        return Err(unknown_device(name, &known));
    };
    let device = described(world, vec![known.swap_remove(place)])
        .await?
        .remove(0);
    let profile = device.registration.hardware_profile.digest().to_string();
    let asked = world.store.questions(&profile).await?.into_iter();
    Ok(ProbedDevice {
        device,
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
