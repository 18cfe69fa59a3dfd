//! Tells waiting parts that something changed. A wake-up carries no data: whoever hears one looks
//! into the store. A missed one delays, at worst until the next; it never loses anything.
//!
//! Where several coordinators share a database, each tells the others what it told its own parts.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{mpsc, watch};

/// Hears of changes; several in a row are heard as one.
pub(crate) type Listener = watch::Receiver<u64>;

/// Something that changed, as coordinators tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Notice {
    /// A task was queued.
    Work,
    /// A device began to serve, or changed.
    Devices,
    /// Something of a search changed.
    Search(i64),
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Work => formatter.write_str("work"),
            Self::Devices => formatter.write_str("devices"),
            Self::Search(search) => write!(formatter, "{search}"),
        }
    }
}

/// A text that is no notice: of another version, or of another program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoNotice;

impl FromStr for Notice {
    type Err = NoNotice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "work" => Ok(Self::Work),
            "devices" => Ok(Self::Devices),
            number => number.parse().map(Self::Search).map_err(|_| NoNotice),
        }
    }
}

/// The things that parts wait for.
#[derive(Default)]
pub(crate) struct Wakeups {
    /// A task was queued.
    work: watch::Sender<u64>,
    /// A device began to serve, or changed.
    devices: watch::Sender<u64>,
    /// Something of one search changed. Behind a std mutex, which is held for a lookup only.
    searches: Mutex<HashMap<i64, watch::Sender<u64>>>,
    /// Where other coordinators are told of it; none where there are none.
    others: OnceLock<mpsc::UnboundedSender<Notice>>,
}

impl Wakeups {
    /// A task was queued: agents that wait for work look again.
    pub(crate) fn work(&self) {
        self.tell(Notice::Work);
    }

    /// Hears of queued tasks from now on.
    pub(crate) fn on_work(&self) -> Listener {
        self.work.subscribe()
    }

    /// A device began to serve: drivers that wait for one look again.
    pub(crate) fn devices(&self) {
        self.tell(Notice::Devices);
    }

    /// Hears of devices from now on.
    pub(crate) fn on_devices(&self) -> Listener {
        self.devices.subscribe()
    }

    /// A search changed: its driver and whoever watches it look again.
    pub(crate) fn search(&self, search: i64) {
        self.tell(Notice::Search(search));
    }

    /// Hears of a search's changes from now on.
    pub(crate) fn on_search(&self, search: i64) -> Listener {
        self.searches().entry(search).or_default().subscribe()
    }

    /// What is told from now on, for other coordinators. Only the first call gets it.
    pub(crate) fn for_others(&self) -> Option<mpsc::UnboundedReceiver<Notice>> {
        let (others, notices) = mpsc::unbounded_channel();
        self.others.set(others).ok()?;
        Some(notices)
    }

    /// What another coordinator told: the parts of this one hear it, and no other coordinator.
    pub(crate) fn hear(&self, notice: Notice) {
        let count = |sender: &watch::Sender<u64>| sender.send_modify(|count| *count += 1);
        match notice {
            Notice::Work => count(&self.work),
            Notice::Devices => count(&self.devices),
            Notice::Search(search) => {
                // One that nobody here ever waited for is told to nobody.
                if let Some(sender) = self.searches().get(&search) {
                    count(sender);
                }
            }
        }
    }

    /// Whoever waits for a search looks again, in case something was told and not heard.
    pub(crate) fn hear_every_search(&self) {
        for sender in self.searches().values() {
            sender.send_modify(|count| *count += 1);
        }
    }

    fn tell(&self, notice: Notice) {
        self.hear(notice);
        if let Some(others) = self.others.get() {
            // Whoever passed it on has ended, as it does at a shutdown.
            let _ = others.send(notice);
        }
    }

    fn searches(&self) -> MutexGuard<'_, HashMap<i64, watch::Sender<u64>>> {
        self.searches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reads_back_and_is_passed_on_once() {
        for notice in [Notice::Work, Notice::Devices, Notice::Search(12)] {
            assert_eq!(notice.to_string().parse(), Ok(notice));
        }
        assert_eq!("anything else".parse::<Notice>(), Err(NoNotice));

        let wakeups = Wakeups::default();
        let mut notices = wakeups.for_others().unwrap();
        let mut heard = wakeups.on_search(7);
        wakeups.search(7);
        assert!(heard.has_changed().unwrap());
        heard.mark_unchanged();
        wakeups.hear(Notice::Search(7));
        assert!(heard.has_changed().unwrap());
        assert_eq!(notices.try_recv(), Ok(Notice::Search(7)));
        assert!(
            notices.try_recv().is_err(),
            "what was heard is not told again"
        );
    }
}
