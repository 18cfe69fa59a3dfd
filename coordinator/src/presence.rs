//! Which devices serve at this moment. In memory: after a restart every agent is heard from again
//! within one heartbeat. Devices whose agents speak to other coordinators over the same database
//! are known from the store, which is looked at every few seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitfront_model::Registration;

/// A device that was heard from since this coordinator started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownDevice {
    pub(crate) id: i64,
    pub(crate) registration: Registration,
    /// Which agent speaks for it; none where that is not known since this coordinator started.
    pub(crate) instance: Option<String>,
}

/// Which devices serve at this moment.
pub(crate) struct Presence {
    /// How long a device counts as serving after it was heard from.
    grace: Duration,
    /// Behind a std mutex, which is held for a lookup only.
    seen: Mutex<BTreeMap<i64, (Duration, Arc<KnownDevice>)>>,
    /// Those that other coordinators serve.
    elsewhere: Mutex<BTreeMap<i64, Arc<KnownDevice>>>,
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
        let before = self.lock().insert(device.id, (now, device.clone()));
        before.is_none_or(|(at, before)| now > at + self.grace || before != device)
    }

    /// A device was heard from. None where it has not described itself to this coordinator yet;
    /// true where it did not serve before.
    pub(crate) fn heard(&self, id: i64, now: Duration) -> Option<(Arc<KnownDevice>, bool)> {
        let mut seen = self.lock();
        let (at, device) = seen.get_mut(&id)?;
        let came_back = now > *at + self.grace;
        *at = now;
        Some((device.clone(), came_back))
    }

    /// When a device was heard from last, on the clock of [`Self::heard`]; none where this
    /// coordinator never heard from it.
    pub(crate) fn last_heard(&self, id: i64) -> Option<Duration> {
        self.lock().get(&id).map(|(at, _)| *at)
    }

    /// A device that this coordinator has heard from, whether or not it still serves.
    pub(crate) fn known(&self, id: i64) -> Option<Arc<KnownDevice>> {
        self.lock().get(&id).map(|(_, device)| device.clone())
    }

    /// The devices that serve, by number.
    pub(crate) fn serving(&self, now: Duration) -> Vec<Arc<KnownDevice>> {
        let mut serving = self.elsewhere().clone();
        for device in self.serving_here(now) {
            serving.insert(device.id, device);
        }
        serving.into_values().collect()
    }

    /// Those that serve and whose agents speak to this coordinator, by number.
    pub(crate) fn serving_here(&self, now: Duration) -> Vec<Arc<KnownDevice>> {
        self.lock()
            .values()
            .filter(|(at, _)| now <= *at + self.grace)
            .map(|(_, device)| device.clone())
            .collect()
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

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, (Duration, Arc<KnownDevice>)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
