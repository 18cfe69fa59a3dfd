//! A coordinator without a server, over a database of its own, for the tests of its parts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{QuestionAssignment, Receipt, Report, SearchStatus};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::driver::Drivers;
use crate::error::ServiceError;
use crate::fixtures;
use crate::leasing::{Caller, HandOut, Handed, Leasing};
use crate::store::sqlite::SqliteStore;
use crate::store::{NewSearch, Store};
use crate::world::World;
use crate::{measurements, query};

/// A coordinator without a server. Time stands still unless a test moves it.
pub(crate) struct Bench {
    pub(crate) world: Arc<World>,
    pub(crate) leasing: Arc<Leasing>,
    pub(crate) drivers: Arc<Drivers>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) shutdown: CancellationToken,
}

/// The agent that speaks for every device of a test.
const INSTANCE: &str = "the agent";

/// A folder for a database, gone at the end of a test.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Waits until a search has another binding or reason.
pub(crate) async fn until(
    bench: &Bench,
    search: i64,
    reached: impl Fn(&crate::store::StoredSearch) -> bool,
) {
    let look = async {
        loop {
            let stored = bench.world.store.search(search).await;
            let stored = stored.expect("the store answers");
            if reached(&stored.expect("the search is stored")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), look).await;
    in_time.expect("the search gets there");
}

impl Bench {
    /// Over the database of a folder.
    pub(crate) async fn in_folder(folder: &Path) -> Self {
        let store = SqliteStore::open(&folder.join("test.sqlite")).await;
        Self::over(Arc::new(store.expect("the database opens")), |_| {}).await
    }

    /// Over any store, with changed settings.
    pub(crate) async fn over(store: Arc<dyn Store>, change: impl FnOnce(&mut Config)) -> Self {
        let clock = Arc::new(ManualClock::new());
        let mut config = Config::new(Path::new("unused"));
        change(&mut config);
        let world = Arc::new(World::new(config, store, clock.clone()));
        let shutdown = CancellationToken::new();
        let leasing = Arc::new(Leasing::new(world.clone()));
        let drivers = Drivers::new(world.clone(), shutdown.clone());
        Self {
            world,
            leasing,
            drivers,
            clock,
            shutdown,
        }
    }

    /// Stores a request and starts its driver.
    pub(crate) async fn submit(&self, request: bitfront_model::SearchRequest) -> i64 {
        let new = NewSearch {
            request,
            idempotency_key: None,
            starts: Vec::new(),
        };
        let search = self.world.store.submit(&new, self.clock.now_ms()).await;
        let search = search.expect("the search is stored");
        self.drivers.start(search);
        search
    }

    /// Registers a device that executes everything.
    pub(crate) async fn register(&self, name: &str) -> i64 {
        let registered = self.register_as(fixtures::registration(name)).await;
        registered.expect("the device registers")
    }

    /// Registers a device as it describes itself; its agent is always the same.
    pub(crate) async fn register_as(
        &self,
        device: bitfront_model::Registration,
    ) -> Result<i64, ServiceError> {
        self.leasing.register(device, INSTANCE, false).await
    }

    /// The agent of a device: as it described itself, or as the fixtures do.
    pub(crate) fn caller(&self, device: i64) -> Caller {
        let serving = self.world.presence.serving(self.clock.elapsed());
        let known = serving.iter().find(|known| known.id == device);
        let profile = match known {
            Some(known) => known.registration.hardware_profile.digest(),
            None => fixtures::registration("any").hardware_profile.digest(),
        };
        Caller {
            hardware_profile: profile,
            instance: INSTANCE.to_owned(),
        }
    }

    /// Asks for a task, waiting at most until the clock is moved.
    pub(crate) async fn lease(&self, device: i64) -> Result<Option<HandOut>, ServiceError> {
        Ok(match self.lease_anything(device).await? {
            Some(Handed::Task(hand_out)) => Some(*hand_out),
            Some(Handed::Question(question)) => panic!("a question is handed out: {question:?}"),
            None => None,
        })
    }

    /// Asks for a task or a question, waiting at most until the clock is moved.
    pub(crate) async fn lease_anything(&self, device: i64) -> Result<Option<Handed>, ServiceError> {
        let wait = Duration::from_secs(5);
        self.leasing
            .lease(device, &self.caller(device), wait, &self.shutdown)
            .await
    }

    /// Asks for a question that is certain to come.
    pub(crate) async fn lease_question(&self, device: i64) -> QuestionAssignment {
        let leased = self.lease_anything(device);
        let leased = tokio::time::timeout(Duration::from_secs(20), leased).await;
        let leased = leased.expect("a question comes in time").expect("no error");
        match leased {
            Some(Handed::Question(assignment)) => assignment,
            other => panic!("{other:?} is no question"),
        }
    }

    /// Asks for a task that is certain to come.
    pub(crate) async fn lease_one(&self, device: i64) -> HandOut {
        let leased = tokio::time::timeout(Duration::from_secs(20), self.lease(device)).await;
        let leased = leased.expect("a task comes in time").expect("no error");
        leased.expect("there is a task")
    }

    /// Answers a question as the fixtures do.
    pub(crate) async fn answer(
        &self,
        assignment: &QuestionAssignment,
    ) -> Result<Receipt, ServiceError> {
        measurements::answer(&self.world, &self.leasing, &fixtures::answer(assignment)).await
    }

    /// Measures and reports a hand-out.
    pub(crate) async fn report(&self, hand_out: &HandOut) -> Result<Receipt, ServiceError> {
        let report = fixtures::report(&hand_out.spec, &hand_out.assignment);
        measurements::report(&self.world, &self.leasing, &report).await
    }

    /// Takes over what the store holds, as a coordinator does that begins.
    pub(crate) async fn take_over(&self) {
        let taken = self.leasing.take_over().await;
        taken.expect("the leases are taken over");
        let searches = self.world.store.take_searches().await;
        for search in searches.expect("the searches are taken over") {
            self.drivers.start(search);
        }
    }

    /// Where a search stands.
    pub(crate) async fn status(&self, search: i64) -> SearchStatus {
        let status = query::status(&self.world, search).await;
        status.expect("the search has a status")
    }

    /// Serves a device until the search has ended; `stop_after` reports at the latest.
    pub(crate) async fn serve(&self, device: i64, search: i64, stop_after: usize) -> usize {
        self.serve_with(device, search, stop_after, |_, _| {}).await
    }

    /// The same, with every report changed before it is handed in.
    pub(crate) async fn serve_with(
        &self,
        device: i64,
        search: i64,
        stop_after: usize,
        change: impl Fn(&HandOut, &mut Report),
    ) -> usize {
        let mut reports = 0;
        let mut changes = self.world.wakeups.on_search(search);
        while reports < stop_after {
            // The call is kept over changes: one that is dropped gives its task back.
            let mut call = Box::pin(self.lease(device));
            let hand_out = loop {
                if self.status(search).await.state.has_ended() {
                    drop(call);
                    self.let_go(device).await;
                    return reports;
                }
                tokio::select! {
                    biased;
                    leased = &mut call => break leased,
                    _ = changes.changed() => {}
                }
            };
            let hand_out = hand_out.expect("no error").expect("the clock stands still");
            let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
            change(&hand_out, &mut report);
            let reported = measurements::report(&self.world, &self.leasing, &report);
            reported.await.expect("the report is taken");
            reports += 1;
        }
        reports
    }

    /// Gives back what the device was handed and did not take up: a task of another search, which
    /// would wait for the end of a lease.
    async fn let_go(&self, device: i64) {
        let held = self.world.store.leased().await.expect("no error");
        for lease in held.into_iter().filter(|lease| lease.device == device) {
            let given_back = self
                .leasing
                .give_back(lease.token, "its turn is over", false);
            given_back.await.expect("no error");
        }
    }

    /// Ends the drivers, as a shutdown does. Sudden ends are tested with real processes.
    pub(crate) async fn stop(&self) {
        self.shutdown.cancel();
        self.drivers.clone().stop().await;
    }
}
