//! Growing, jittered pauses between retries.

use std::time::Duration;

/// Pauses that double from a first to a last, each shortened by a random part of up to a half, so
/// that a fleet whose coordinator comes back does not knock all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            next: first.min(last),
        }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.last);
        pause.mul_f64(0.5 + 0.5 * fastrand::f64())
    }

    /// Starts again at the first pause, after something went well.
    pub(crate) fn reset(&mut self) {
        self.next = self.first.min(self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_last_and_stay_within_their_jitter() {
        let milliseconds = Duration::from_millis;
        let mut backoff = Backoff::new(milliseconds(100), milliseconds(450));
        for full in [100, 200, 400, 450, 450] {
            let pause = backoff.pause();
            assert!(
                (milliseconds(full / 2)..=milliseconds(full)).contains(&pause),
                "{pause:?} is not within half of {full} ms"
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= milliseconds(100));
    }
}
