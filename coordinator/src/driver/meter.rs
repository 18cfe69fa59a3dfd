//! The time that counts towards a budget: a search waits for nobody's account.

use std::time::Duration;

/// How much time may be forgotten by a crash. Every note of it is a write.
const NOTE_EVERY: Duration = Duration::from_secs(2);

/// Adds up the time during which a device served the search.
#[derive(Debug)]
pub(super) struct Meter {
    used: Duration,
    noted: Duration,
    /// When the meter was read last, where the search was served then.
    served_at: Option<Duration>,
}

impl Meter {
    /// Goes on from what the store knows.
    pub(super) fn new(used: Duration) -> Self {
        Self {
            used,
            noted: used,
            served_at: None,
        }
    }

    /// Time passed: it counts where the search was served when the meter was read before.
    pub(super) fn read(&mut self, now: Duration, served: bool) -> Duration {
        if let Some(before) = self.served_at {
            self.used += now.saturating_sub(before);
        }
        self.served_at = served.then_some(now);
        self.used
    }

    /// What was used, where it is time to write it down.
    pub(super) fn to_note(&self) -> Option<Duration> {
        (self.used >= self.noted + NOTE_EVERY).then_some(self.used)
    }

    /// It was written down.
    pub(super) fn noted(&mut self, used: Duration) {
        self.noted = used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_served_time_counts() {
        let second = Duration::from_secs;
        let mut meter = Meter::new(second(5));
        assert_eq!(meter.read(second(100), false), second(5));
        assert_eq!(meter.read(second(110), true), second(5));
        assert_eq!(meter.read(second(111), true), second(6));
        assert_eq!(meter.to_note(), None);
        assert_eq!(meter.read(second(113), false), second(8));
        assert_eq!(meter.to_note(), Some(second(8)));
        meter.noted(second(8));
        assert_eq!(meter.read(second(999), true), second(8));
        assert_eq!(meter.to_note(), None);
    }
}
