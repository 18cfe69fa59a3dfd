//! Which devices serve at this moment. In memory: after a restart every agent is heard from again
//! within one heartbeat. Devices whose agents speak to other coordinators over the same database
//! are known from the store, which is looked at every few seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitfront_model::{Digest, NumericsClass, Registration};

/// A device that was heard from since this coordinator started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownDevice {
    pub(crate) id: i64,
    pub(crate) registration: Registration,
    /// The digest of its hardware profile.
    pub(crate) profile: Digest,
    /// Which agent speaks for it; none where that is not known since this coordinator started.
    pub(crate) instance: Option<String>,
}

impl KnownDevice {
    pub(crate) fn new(id: i64, registration: Registration, instance: Option<String>) -> Self {
        Self {
            id,
            profile: registration.hardware_profile.digest(),
            registration,
            instance,
        }
    }
}

/// How long what the store knows of a device that serves may be behind. Writing it down whenever a
/// device is heard from would be a write for every call.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Most devices that are written down at once, so that nobody else waits for it.
const MOST_NOTED: usize = 500;

/// Which devices serve at this moment.
pub(crate) struct Presence {
    /// How long a device counts as serving after it was heard from.
    grace: Duration,
    /// Behind a std mutex, which is held for a lookup only.
    seen: Mutex<BTreeMap<i64, Heard>>,
    /// Those that other coordinators serve.
    elsewhere: Mutex<BTreeMap<i64, Arc<KnownDevice>>>,
}

/// A device, and when it was heard from.
struct Heard {
    device: Arc<KnownDevice>,
    at: Duration,
    /// The latest time of it that the store was told.
    noted: Duration,
}

impl Presence {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            seen: Mutex::default(),
            elsewhere: Mutex::default(),
        }
    }

    /// A device described itself. True where it did not serve before, or served as another.
    pub(crate) fn introduce(&self, device: KnownDevice, now: Duration) -> bool {
        let device = Arc::new(device);
        let heard = Heard {
            device: device.clone(),
            at: now,
            noted: now,
        };
        let before = self.lock().insert(device.id, heard);
        before.is_none_or(|before| now > before.at + self.grace || before.device != device)
    }

    /// A device was heard from. None where it has not described itself to this coordinator yet;
    /// true where it did not serve before.
    pub(crate) fn heard(&self, id: i64, now: Duration) -> Option<(Arc<KnownDevice>, bool)> {
        let mut seen = self.lock();
        let heard = seen.get_mut(&id)?;
        let came_back = now > heard.at + self.grace;
        heard.at = now;
        Some((heard.device.clone(), came_back))
    }

    /// When devices were heard from, of those of which the store is to be told now, by number: those
    /// that it knows old times of, and those that went silent. With `all`, whatever it does not know.
    pub(crate) fn to_note(&self, now: Duration, all: bool) -> Vec<(i64, Duration)> {
        let seen = self.lock();
        let is_due = |heard: &Heard| {
            let is_silent = now > heard.at + self.grace;
            heard.at > heard.noted && (all || is_silent || heard.at >= heard.noted + NOTE_EVERY)
        };
        let due = seen.values().filter(|heard| is_due(heard));
        let most = if all { usize::MAX } else { MOST_NOTED };
        let times = due.map(|heard| (heard.device.id, heard.at));
        times.take(most).collect()
    }

    /// The store was told these times.
    pub(crate) fn noted(&self, times: &[(i64, Duration)]) {
        let mut seen = self.lock();
        for (device, at) in times {
            if let Some(heard) = seen.get_mut(device) {
                heard.noted = heard.noted.max(*at);
            }
        }
    }

    /// When a device was heard from last, on the clock of [`Self::heard`]; none where this
    /// coordinator never heard from it.
    pub(crate) fn last_heard(&self, id: i64) -> Option<Duration> {
        self.lock().get(&id).map(|heard| heard.at)
    }

    /// A device that this coordinator has heard from, whether or not it still serves.
    pub(crate) fn known(&self, id: i64) -> Option<Arc<KnownDevice>> {
        self.lock().get(&id).map(|heard| heard.device.clone())
    }

    /// The devices that serve, by number.
    pub(crate) fn serving(&self, now: Duration) -> Vec<Arc<KnownDevice>> {
        let mut serving = self.elsewhere().clone();
        for device in self.serving_here(now) {
            serving.insert(device.id, device);
        }
        serving.into_values().collect()
    }

    /// How many devices serve that measure the quality of a numerics class, and how many that time for
    /// a hardware profile.
    pub(crate) fn count(
        &self,
        now: Duration,
        class: &NumericsClass,
        profile: Digest,
    ) -> (usize, usize) {
        let (mut qualities, mut latencies) = (0, 0);
        let mut count = |device: &KnownDevice| {
            qualities += usize::from(device.registration.numerics_class == *class);
            latencies += usize::from(device.profile == profile);
        };
        let seen = self.lock();
        let here = seen.values().filter(|heard| now <= heard.at + self.grace);
        here.for_each(|heard| count(&heard.device));
        let is_here = |id| {
            seen.get(id)
                .is_some_and(|heard| now <= heard.at + self.grace)
        };
        for (id, device) in &*self.elsewhere() {
            if !is_here(id) {
                count(device);
            }
        }
        (qualities, latencies)
    }

    /// Those that serve and whose agents speak to this coordinator, by number.
    pub(crate) fn serving_here(&self, now: Duration) -> Vec<Arc<KnownDevice>> {
        self.lock()
            .values()
            .filter(|heard| now <= heard.at + self.grace)
            .map(|heard| heard.device.clone())
            .collect()
    }

    /// How many of those whose agents speak to this coordinator, or did since it started, serve, and
    /// how many do not.
    pub(crate) fn present_and_silent(&self, now: Duration) -> (usize, usize) {
        let seen = self.lock();
        let present = seen.values().filter(|heard| now <= heard.at + self.grace);
        let present = present.count();
        (present, seen.len() - present)
    }

    /// Takes what other coordinators serve for the latest, and forgets what was known of these
    /// devices here: their agents have gone there since. True where it is something else than
    /// before.
    pub(crate) fn set_elsewhere(&self, devices: Vec<KnownDevice>) -> bool {
        let devices = devices.into_iter().map(|it| (it.id, Arc::new(it)));
        let devices: BTreeMap<_, _> = devices.collect();
        self.lock().retain(|id, _| !devices.contains_key(id));
        let mut elsewhere = self.elsewhere();
        let is_new = *elsewhere != devices;
        *elsewhere = devices;
        is_new
    }

    fn elsewhere(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, Arc<KnownDevice>>> {
        self.elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, Heard>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn the_store_is_told_of_a_device_now_and_then_and_when_it_went_silent() {
        let second = Duration::from_secs;
        let presence = Presence::new(second(30));
        let device = KnownDevice::new(1, fixtures::registration("one"), None);
        presence.introduce(device, second(0));
        let heard = |at| presence.heard(1, second(at)).unwrap();
        let to_note = |now| {
            let times = presence.to_note(second(now), false);
            assert_eq!(
                times,
                presence.to_note(second(now), false),
                "what was not told is to be told still"
            );
            presence.noted(&times);
            times
        };
        heard(20);
        assert_eq!(to_note(21), [], "what is known is not old");
        heard(59);
        heard(60);
        assert_eq!(to_note(61), [(1, second(60))]);
        assert_eq!(to_note(62), [], "it was told");
        heard(70);
        assert_eq!(to_note(100), []);
        assert_eq!(presence.present_and_silent(second(100)), (1, 0));
        assert_eq!(presence.present_and_silent(second(101)), (0, 1));
        assert_eq!(to_note(101), [(1, second(70))], "it went silent");
        heard(110);
        assert_eq!(presence.last_heard(1), Some(second(110)));
        let all = presence.to_note(second(111), true);
        assert_eq!(all, [(1, second(110))], "before a shutdown");
    }
}
