//! Tells waiting parts that something changed. A wake-up carries no data: whoever hears one looks
//! into the store. A missed one delays, at worst until the next; it never loses anything.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Hears of changes; several in a row are heard as one.
pub(crate) type Listener = watch::Receiver<u64>;

/// The things that parts wait for.
#[derive(Default)]
pub(crate) struct Wakeups {
    /// A task was queued.
    work: watch::Sender<u64>,
    /// A device began to serve, or changed.
    devices: watch::Sender<u64>,
    /// Something of one search changed. Behind a std mutex, which is held for a lookup only.
    searches: Mutex<HashMap<i64, watch::Sender<u64>>>,
}

impl Wakeups {
    /// A task was queued: agents that wait for work look again.
    pub(crate) fn work(&self) {
        self.work.send_modify(|count| *count += 1);
    }

    /// Hears of queued tasks from now on.
    pub(crate) fn on_work(&self) -> Listener {
        self.work.subscribe()
    }

    /// A device began to serve: drivers that wait for one look again.
    pub(crate) fn devices(&self) {
        self.devices.send_modify(|count| *count += 1);
    }

    /// Hears of devices from now on.
    pub(crate) fn on_devices(&self) -> Listener {
        self.devices.subscribe()
    }

    /// A search changed: its driver and whoever watches it look again.
    pub(crate) fn search(&self, search: i64) {
        self.of(search, |sender| sender.send_modify(|count| *count += 1));
    }

    /// Hears of a search's changes from now on.
    pub(crate) fn on_search(&self, search: i64) -> Listener {
        self.of(search, |sender| sender.subscribe())
    }

    fn of<T>(&self, search: i64, action: impl FnOnce(&watch::Sender<u64>) -> T) -> T {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        action(searches.entry(search).or_default())
    }
}
