//! Which coordinators serve the database, and what each of them is in charge of.
//!
//! Every coordinator raises its *beat* in the store every few seconds. The others watch, each by
//! its own clock, whether it grows; no two clocks are ever compared. One whose beat stands still for
//! too long is *retired*: its searches are driven by nobody then, its leases are kept by nobody, and
//! whoever looks next takes them over. So does a coordinator that ends.
//!
//! A coordinator that was only paused finds itself retired at its next beat and begins anew, under
//! another number. That number is its *term*: whatever it still writes under the old one about a
//! search is refused by the store, since the search is not driven under it any more.
//!
//! (River elects one leader by `(leader_id, elected_at)` and a local window of trust; here each
//! search and each lease has its own.)

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::driver::Drivers;
use crate::leasing::Leasing;
use crate::presence::KnownDevice;
use crate::store::{StoreError, StoredCoordinator};
use crate::wakeups::Notice;
use crate::world::World;

/// Looks between two that wake whoever waits for a search here, in case a wake-up of another
/// coordinator was lost.
const LOOKS_BETWEEN_WAKEUPS: u64 = 5;

/// This coordinator among those over the same database.
pub(crate) struct Membership {
    world: Arc<World>,
    leasing: Arc<Leasing>,
    drivers: Arc<Drivers>,
    /// Where this one listens.
    address: String,
    /// Its term.
    me: i64,
    others: HashMap<i64, Watched>,
    /// When the others were seen last.
    looked: Duration,
    looks: u64,
}

/// What was seen of another coordinator.
#[derive(Debug, Clone, Copy)]
struct Watched {
    beat: i64,
    /// When it was seen first, on the clock's [`elapsed`](crate::Clock::elapsed).
    since: Duration,
}

impl Membership {
    /// Joins, and takes over what nobody is in charge of.
    pub(crate) async fn begin(
        world: Arc<World>,
        leasing: Arc<Leasing>,
        drivers: Arc<Drivers>,
        address: String,
    ) -> Result<Self, StoreError> {
        let me = world.store.join(&address, world.clock.now_ms()).await?;
        let mut membership = Self {
            world,
            leasing,
            drivers,
            address,
            me,
            others: HashMap::new(),
            looked: Duration::ZERO,
            looks: 0,
        };
        membership.look().await?;
        Ok(membership)
    }

    /// Its term.
    #[cfg(test)]
    pub(crate) fn term(&self) -> i64 {
        self.me
    }

    /// Beats until the shutdown, and then leaves what this one is in charge of to the others.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.world.clock.sleep(self.world.config.beat) => {}
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the other coordinators are not looked after");
            }
        }
        // Drivers write down the time that they used, which only the one in charge may.
        self.drivers.stop().await;
        if let Err(error) = self.note_devices(true).await {
            tracing::warn!(%error, "when devices were heard from last is not noted");
        }
        if let Err(error) = self.world.store.retire(self.me, None).await {
            tracing::warn!(%error, "the others learn only by its silence that this one has ended");
        }
    }

    /// One look at the database: tells that this coordinator is there, and takes over what nobody is
    /// in charge of.
    pub(crate) async fn look(&mut self) -> Result<(), StoreError> {
        let store = self.world.store.clone();
        if !store.beat(self.me).await? {
            self.begin_anew().await?;
        }
        let others = store.coordinators().await?;
        let others = others.into_iter().filter(|other| other.id != self.me);
        self.watch(others.collect()).await?;
        let leases = self.leasing.take_over().await?;
        let driven = self.drivers.driven();
        let searches = store.take_searches().await?.into_iter();
        let searches: Vec<_> = searches.filter(|it| !driven.contains(it)).collect();
        if leases > 0 || !searches.is_empty() {
            tracing::info!(leases, ?searches, "taken over");
        }
        for search in searches {
            self.drivers.start(search);
        }
        self.look_for_devices().await?;
        if let Err(error) = self.note_devices(false).await {
            tracing::warn!(%error, "when devices were heard from last is not noted yet");
        }
        store.tend().await?;
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_BETWEEN_WAKEUPS) {
            self.world.wakeups.hear_every_search();
        }
        Ok(())
    }

    /// Retires those whose beat stands still.
    async fn watch(&mut self, others: Vec<StoredCoordinator>) -> Result<(), StoreError> {
        let world = &self.world;
        let now = world.clock.elapsed();
        // Where this one saw nothing for long, the others may have had no chance to beat either.
        if now > self.looked + world.config.grace() {
            self.others.clear();
        }
        self.looked = now;
        self.others
            .retain(|id, _| others.iter().any(|other| other.id == *id));
        for StoredCoordinator { id, address, beat } in others {
            let seen = Watched { beat, since: now };
            let watched = self.others.entry(id).or_insert(seen);
            if watched.beat != beat {
                *watched = seen;
                continue;
            }
            // Where this one alone can have the database, the others are gone.
            let is_silent =
                world.store.is_exclusive() || now >= watched.since + world.config.grace();
            if is_silent && world.store.retire(id, Some(beat)).await? {
                tracing::warn!(coordinator = id, address, "retired: it is silent");
            }
        }
        Ok(())
    }

    /// Another coordinator took this one for dead, and has taken its work over.
    async fn begin_anew(&mut self) -> Result<(), StoreError> {
        tracing::warn!(
            coordinator = self.me,
            "was silent for too long and is replaced; beginning anew"
        );
        self.drivers.stop().await;
        let world = &self.world;
        self.me = world
            .store
            .join(&self.address, world.clock.now_ms())
            .await?;
        // What was claimed or kept until now is under the old term, and others take it over.
        self.leasing.forget_all();
        Ok(())
    }

    /// Writes down when devices were heard from, where it is time to or `all` of it.
    async fn note_devices(&self, all: bool) -> Result<(), StoreError> {
        let world = &self.world;
        let times = world.presence.to_note(world.clock.elapsed(), all);
        if times.is_empty() {
            return Ok(());
        }
        let heard = times.iter().map(|&(id, at)| (id, world.moment_ms(at)));
        world.store.seen(&heard.collect::<Vec<_>>()).await?;
        world.presence.noted(&times);
        Ok(())
    }

    /// Learns which devices the others serve, and tells of those that left here.
    async fn look_for_devices(&self) -> Result<(), StoreError> {
        let world = &self.world;
        if world.store.is_exclusive() {
            return Ok(());
        }
        let here = world.presence.serving_here(world.clock.elapsed());
        let here: Vec<_> = here.iter().map(|device| device.id).collect();
        world.store.serve_only(&here).await?;
        let elsewhere = world.store.served_elsewhere().await?.into_iter();
        let elsewhere = elsewhere
            .map(|device| KnownDevice::new(device.id, device.registration, device.instance));
        if world.presence.set_elsewhere(elsewhere.collect()) {
            world.wakeups.hear(Notice::Devices);
        }
        Ok(())
    }
}
