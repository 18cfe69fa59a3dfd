//! Time as an argument: nothing in this crate asks the operating system or the database for now.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A future that ends when a clock has moved on.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the coordinator has its time from.
///
/// There are two, since they answer two questions. [`now_ms`](Self::now_ms) is the wall's: it is
/// stored and shown, says which slots of schedules have come, and may jump when someone sets it.
/// [`elapsed`](Self::elapsed) never jumps: leases and budgets are counted with it.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Time since some fixed moment.
    fn elapsed(&self) -> Duration;

    /// Ends once that much time has passed.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that counts from now on.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // The one place that the ban leads to.
    fn now_ms(&self) -> i64 {
        // A wall clock before 1970 reads as 1970.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .unwrap_or(0)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    elapsed: tokio::sync::watch::Sender<Duration>,
}

impl ManualClock {
    /// A clock that shows one day after the epoch.
    pub fn new() -> Self {
        Self {
            elapsed: tokio::sync::watch::Sender::new(Duration::ZERO),
        }
    }

    /// Moves on and wakes whoever sleeps until then.
    pub fn advance(&self, by: Duration) {
        self.elapsed.send_modify(|elapsed| *elapsed += by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        const ONE_DAY_MS: i64 = 86_400_000;
        i64::try_from(self.elapsed().as_millis())
            .unwrap_or(i64::MAX - ONE_DAY_MS)
            .saturating_add(ONE_DAY_MS)
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.borrow()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut elapsed = self.elapsed.subscribe();
        let until = *elapsed.borrow() + duration;
        Box::pin(async move {
            // An error means that the clock is gone; then nothing waits for it any more.
            let _ = elapsed.wait_for(|now| *now >= until).await;
        })
    }
}
