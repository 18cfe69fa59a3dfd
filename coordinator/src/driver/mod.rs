//! One task a search: it owns the search's strategy, keeps a few candidates pending and ends the
//! search by its stop rules, once its front is confirmed. It speaks to the store alone.
//!
//! - [`replay`]: the strategy and what was learned, rebuilt from the store;
//! - [`confirm`]: what was found is measured afresh before the search ends;
//! - [`retime`]: times that the model contradicts are measured once more;
//! - [`checks`]: what the strategy's predictions were worth, of a search that has ended;
//! - [`meter`]: the time that counts towards the budget;
//! - [`within`]: whether something is found that may be shipped;
//! - `step`: one look at the store and what follows from it.

mod checks;
mod confirm;
mod meter;
mod replay;
mod retime;
mod step;
mod within;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::World;
pub(crate) use checks::checks;
use step::{Driver, Next};

/// Pause after the store has failed, before everything is read anew.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);

/// The drivers of all searches that ran or were started since this coordinator did.
///
/// A driver whose search has ended stays and waits for a wake-up, since more budget may continue
/// the search at any moment; it then holds nothing but its number.
pub(crate) struct Drivers {
    world: Arc<World>,
    shutdown: CancellationToken,
    /// Behind a std mutex, which is held for a lookup only.
    started: Mutex<Started>,
}

/// The drivers since this coordinator began to drive, or was taken for dead and began anew.
struct Started {
    searches: HashSet<i64>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Started {
    fn nothing(shutdown: &CancellationToken) -> Self {
        Self {
            searches: HashSet::new(),
            tasks: TaskTracker::new(),
            stop: shutdown.child_token(),
        }
    }
}

impl Drivers {
    pub(crate) fn new(world: Arc<World>, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            started: Mutex::new(Started::nothing(&shutdown)),
            world,
            shutdown,
        })
    }

    /// Starts a search's driver, or wakes it where it was started before.
    pub(crate) fn start(&self, search: i64) {
        let mut started = self.lock();
        if !started.searches.insert(search) {
            self.world.wakeups.search(search);
            return;
        }
        let (world, stop) = (self.world.clone(), started.stop.child_token());
        started.tasks.spawn(drive(world, search, stop));
    }

    /// The searches whose drivers were started.
    pub(crate) fn started(&self) -> Vec<i64> {
        self.lock().searches.iter().copied().collect()
    }

    /// Ends all drivers and waits for them. Others can be started afterwards, unless this is a
    /// shutdown.
    pub(crate) async fn stop(&self) {
        let before = std::mem::replace(&mut *self.lock(), Started::nothing(&self.shutdown));
        before.stop.cancel();
        before.tasks.close();
        before.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, Started> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drive(world: Arc<World>, search: i64, shutdown: CancellationToken) {
    // Listening begins before the first look, so nothing falls between the two.
    let mut changes = world.wakeups.on_search(search);
    let mut devices = world.wakeups.on_devices();
    let mut driver = Driver::new(world.clone(), search);
    loop {
        let pause = match driver.step().await {
            Ok(Next::Again) => continue,
            Ok(Next::Wait(pause)) => pause,
            Err(error) => {
                tracing::warn!(search, %error, "the driver starts over");
                // What was learned may be ahead of the store or behind it; the store is right.
                driver = Driver::new(world.clone(), search);
                Some(AFTER_AN_ERROR)
            }
        };
        let pause = async {
            match pause {
                Some(pause) => world.clock.sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = changes.changed() => {}
            _ = devices.changed() => {}
            () = pause => {}
        }
    }
    driver.rest().await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
