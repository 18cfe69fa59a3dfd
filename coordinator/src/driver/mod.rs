//! One task a search: it owns the search's strategy, keeps a few candidates pending and ends the
//! search by its stop rules, once its front is confirmed. It speaks to the store alone.
//!
//! - [`join`]: hardware profiles that come to a joint search later get searches of their own;
//! - [`replay`]: the strategy and what was learned, rebuilt from the store;
//! - [`confirm`]: what was found is measured afresh before the search ends;
//! - [`retime`]: times that the model contradicts are measured once more;
//! - [`checks`]: what the strategy's predictions were worth, of a search that has ended;
//! - [`propose`]: candidates are kept pending;
//! - [`meter`]: the time that counts towards the budget;
//! - [`within`]: whether something is found that may be shipped;
//! - `step`: one look at the store and what follows from it.

mod checks;
mod confirm;
mod join;
mod meter;
mod propose;
mod replay;
mod retime;
pub(crate) mod step;
mod within;

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::store::StoreError;
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
    drive: Drive,
}

/// Drives a search until it is stopped.
type Drive = Box<dyn Fn(i64, CancellationToken) -> Driving + Send + Sync>;
type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The drivers since this coordinator began to drive, or was taken for dead and began anew.
struct Started {
    /// The task that drives each.
    searches: HashMap<i64, AbortHandle>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Started {
    fn nothing(shutdown: &CancellationToken) -> Self {
        Self {
            searches: HashMap::new(),
            tasks: TaskTracker::new(),
            stop: shutdown.child_token(),
        }
    }
}

impl Drivers {
    pub(crate) fn new(world: Arc<World>, shutdown: CancellationToken) -> Arc<Self> {
        let driven = world.clone();
        let drive: Drive =
            Box::new(move |search, stop| Box::pin(drive(driven.clone(), search, stop)));
        Self::with(world, shutdown, drive)
    }

    /// Drivers that are driven in another way: by a test that takes each step itself.
    pub(crate) fn with(world: Arc<World>, shutdown: CancellationToken, drive: Drive) -> Arc<Self> {
        Arc::new(Self {
            started: Mutex::new(Started::nothing(&shutdown)),
            world,
            shutdown,
            drive,
        })
    }

    /// Forgets a driver that has come to its end where nobody can see it.
    #[cfg(test)]
    pub(crate) fn forget(&self, search: i64) {
        self.lock().searches.remove(&search);
    }

    /// Starts a search's driver, or wakes it where there is one.
    pub(crate) fn start(&self, search: i64) {
        let mut started = self.lock();
        let driven = started.searches.get(&search);
        if driven.is_some_and(|task| !task.is_finished()) {
            self.world.wakeups.search(search);
            return;
        }
        let stop = started.stop.child_token();
        let task = started.tasks.spawn((self.drive)(search, stop));
        started.searches.insert(search, task.abort_handle());
    }

    /// The searches that have a driver here.
    pub(crate) fn driven(&self) -> HashSet<i64> {
        let started = self.lock();
        let driven = started.searches.iter();
        driven
            .filter(|(_, task)| !task.is_finished())
            .map(|(&search, _)| search)
            .collect()
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
        let began = world.clock.elapsed();
        let step = driver.step().await;
        let took = world.clock.elapsed().saturating_sub(began);
        world.metrics.driver(took);
        let pause = match step {
            Ok(Next::Again) => continue,
            Ok(Next::Wait(pause)) => pause,
            // Whoever drives it now has all that was learned.
            Err(StoreError::NotDriven { .. }) => return,
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
