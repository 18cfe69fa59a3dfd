//! A coordinator of a history, without a server, of which every duty is done by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::eyes::Eyes;
use crate::clock::ManualClock;
use crate::config::Config;
use crate::driver::Drivers;
use crate::driver::step::{Driver, Next};
use crate::leasing::Leasing;
use crate::membership::Membership;
use crate::rpc::searches::SearchesService;
use crate::store::{Store, StoreError};
use crate::world::World;

/// Steps of a driver in a row, beyond which it is said to go round in circles.
const MOST_STEPS: usize = 50;

/// The drivers that are in the middle of something between two steps, by search.
type Hands = Arc<Mutex<BTreeMap<i64, Driver>>>;

/// A coordinator. What it does is done by whoever has a clone of it.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) name: char,
    pub(super) world: Arc<World>,
    pub(super) leasing: Arc<Leasing>,
    pub(super) drivers: Arc<Drivers>,
    pub(super) shutdown: CancellationToken,
    pub(super) eyes: Arc<Eyes>,
    /// It has begun.
    pub(super) serves: bool,
    membership: Arc<Mutex<Option<Membership>>>,
    hands: Hands,
    /// It was killed: nothing that it is in the middle of comes to anything any more.
    pub(super) is_dead: Arc<AtomicBool>,
}

impl Process {
    pub(super) fn new(
        name: char,
        store: Arc<dyn Store>,
        eyes: Arc<Eyes>,
        clock: Arc<ManualClock>,
        is_dead: Arc<AtomicBool>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(Path::new("unused"));
        change(&mut config);
        let world = Arc::new(World::new(config, store, clock));
        let shutdown = CancellationToken::new();
        let hands = Hands::default();
        let until_the_step_is_over = hands.clone();
        let drivers = Drivers::with(
            world.clone(),
            shutdown.clone(),
            Box::new(move |search, stop| {
                let hands = until_the_step_is_over.clone();
                Box::pin(async move {
                    stop.cancelled().await;
                    hands.lock().await.remove(&search);
                })
            }),
        );
        Self {
            name,
            leasing: Arc::new(Leasing::new(world.clone())),
            world,
            drivers,
            shutdown,
            eyes,
            serves: false,
            membership: Arc::default(),
            hands,
            is_dead,
        }
    }

    /// Joins and takes over, as a coordinator does that starts.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let address = self.name.to_string();
        let (world, leasing) = (self.world.clone(), self.leasing.clone());
        let begun = Membership::begin(world, leasing, self.drivers.clone(), address).await?;
        *self.membership.lock().await = Some(begun);
        Ok(())
    }

    /// Beats, and takes over from those that are silent.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        match &mut *self.membership.lock().await {
            Some(membership) => membership.look().await,
            None => Ok(()),
        }
    }

    /// Ends the leases that are over.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        self.leasing.sweep().await
    }

    /// Lets every driver do what there is to do.
    pub(super) async fn step(&self) -> Result<(), StoreError> {
        let mut hands = self.hands.lock().await;
        let driven = self.drivers.driven();
        hands.retain(|search, _| driven.contains(search));
        let mut result = Ok(());
        for search in driven {
            let new = || Driver::new(self.world.clone(), search);
            let mut driver = hands.remove(&search).unwrap_or_else(new);
            let mut steps = 0;
            let stepped = loop {
                match driver.step().await {
                    Ok(Next::Again) => steps += 1,
                    Ok(Next::Wait(_)) => break Ok(()),
                    Err(error) => break Err(error),
                }
                assert!(steps < MOST_STEPS, "the driver goes round in circles");
            };
            match stepped {
                Ok(()) => {
                    hands.insert(search, driver);
                }
                Err(StoreError::NotDriven { .. }) => self.drivers.forget(search),
                // It starts over with the next step.
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Ends as after a signal, and leaves the rest to others.
    pub(super) async fn stop(&self) -> Result<(), StoreError> {
        self.drivers.stop().await;
        let membership = self.membership.lock().await.take();
        match membership {
            Some(membership) => self
                .world
                .store
                .retire(membership.term(), None)
                .await
                .map(drop),
            None => Ok(()),
        }
    }

    /// Ends at once.
    pub(super) fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.shutdown.cancel();
    }

    pub(super) fn searches(&self) -> SearchesService {
        SearchesService {
            world: self.world.clone(),
            leasing: self.leasing.clone(),
            drivers: self.drivers.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}
