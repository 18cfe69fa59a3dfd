//! Several coordinators over one database.

use std::time::Duration;

use bitfront_model::{SearchState, TaskKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::membership::Membership;
use crate::store::StoreError;
use crate::testing::Bench;
use crate::wakeups::Wakeups;
use crate::{measurements, query};

/// A coordinator without a server, and its place among the others.
struct Member {
    bench: Bench,
    membership: Membership,
}

impl Member {
    async fn begin(store: Arc<dyn Store>, address: &str) -> Self {
        let bench = Bench::over(store, |_| {}).await;
        let (leasing, drivers) = (bench.leasing.clone(), bench.drivers.clone());
        let begun = Membership::begin(bench.world.clone(), leasing, drivers, address.to_owned());
        Self {
            membership: begun.await.unwrap(),
            bench,
        }
    }

    /// Lets so many beats pass, with a look after each.
    async fn beats(&mut self, count: u32) {
        for _ in 0..count {
            self.bench.clock.advance(self.bench.world.config.beat);
            self.membership.look().await.unwrap();
        }
    }
}

async fn two_members() -> (TestDatabase, Member, Member) {
    let (database, [first, second]) = two_stores().await;
    let first = Member::begin(first, "one:1").await;
    let second = Member::begin(second, "two:2").await;
    (database, first, second)
}

#[tokio::test]
async fn another_one_takes_over_what_a_silent_one_was_in_charge_of() {
    let (_database, mut first, mut second) = two_members().await;
    let device = first.bench.register("one").await;
    let search = first.bench.submit(fixtures::request()).await;
    let measured = first.bench.lease_one(device).await;
    let held = first.bench.lease_one(device).await;
    first.bench.report(&measured).await.unwrap();

    // As long as it beats, it is left alone.
    for _ in 0..8 {
        first.beats(1).await;
        second.beats(1).await;
    }
    let drives =
        async |member: &Member| member.bench.world.store.take_search(search).await.unwrap();
    assert!(drives(&first).await && !drives(&second).await);
    assert_eq!(second.bench.world.store.leased().await.unwrap(), []);
    let devices = query::devices(&second.bench.world).await.unwrap();
    assert!(devices[0].serves(), "its agent speaks to the other one");

    second.beats(4).await;
    assert!(!drives(&second).await, "it is not silent for long enough");
    second.beats(3).await;
    assert!(drives(&second).await && !drives(&first).await);
    let token = held.assignment.token;
    let kept = second.bench.world.store.leased().await.unwrap();
    assert_eq!(
        kept.iter().map(|lease| lease.token).collect::<Vec<_>>(),
        [token]
    );
    let refused = first.bench.world.store.wait(search, "it was paused").await;
    assert!(
        matches!(refused, Err(StoreError::NotDriven { .. })),
        "{refused:?}"
    );

    // The agent finds its way, hands in what it held, and the search goes on to its end.
    assert_eq!(
        second
            .bench
            .leasing
            .heartbeat(device, &[token])
            .await
            .unwrap(),
        []
    );
    let report = fixtures::report(&held.spec, &held.assignment);
    let (world, leasing) = (&second.bench.world, &second.bench.leasing);
    let receipt = measurements::report(world, leasing, &report).await.unwrap();
    assert_eq!(receipt, bitfront_model::Receipt::Recorded);
    second.bench.serve(device, search, usize::MAX).await;
    let status = second.bench.status(search).await;
    assert_eq!((status.state, status.evaluated), (SearchState::Done, 20));

    // The first one was only paused. It begins anew, and drives what is submitted there.
    first.beats(1).await;
    let again = first.bench.submit(fixtures::request()).await;
    assert!(first.bench.world.store.take_search(again).await.unwrap());
    assert!(!second.bench.world.store.take_search(again).await.unwrap());
    first.bench.stop().await;
    second.bench.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_ends_leaves_its_work_to_the_others_at_once() {
    let (_database, first, mut second) = two_members().await;
    let search = first.bench.submit(fixtures::request()).await;
    first.bench.shutdown.cancel();
    first.membership.run(first.bench.shutdown.clone()).await;
    second.membership.look().await.unwrap();
    assert!(second.bench.world.store.take_search(search).await.unwrap());
    assert_eq!(
        second.bench.world.store.coordinators().await.unwrap().len(),
        1
    );
    second.bench.stop().await;
}

#[tokio::test]
async fn an_agent_that_goes_to_another_one_keeps_its_lease() {
    let (_database, mut first, mut second) = two_members().await;
    let device = first.bench.register("one").await;
    first.bench.submit(fixtures::request()).await;
    let held = first.bench.lease_one(device).await;
    let token = held.assignment.token;
    assert_eq!(held.assignment.kind, TaskKind::Latency);
    let leasing = &second.bench.leasing;
    assert_eq!(leasing.heartbeat(device, &[token]).await.unwrap(), []);
    first.beats(1).await;
    second.beats(1).await;
    let here = |member: &Member| {
        let world = &member.bench.world;
        world.presence.serving_here(world.clock.elapsed()).len()
    };
    assert_eq!((here(&first), here(&second)), (0, 1));
    // For the first one the lease's time is over, and it lets it go without ending it.
    first.bench.clock.advance(Duration::from_secs(60));
    first.bench.leasing.sweep().await.unwrap();
    let kept = second.bench.world.store.leased().await.unwrap();
    assert_eq!(kept[0].token, token);
    let receipt = second.bench.report(&held).await.unwrap();
    assert_eq!(receipt, bitfront_model::Receipt::Recorded);
    first.bench.stop().await;
    second.bench.stop().await;
}

#[tokio::test]
async fn what_one_tells_its_parts_the_others_hear() {
    let database = TestDatabase::new().await;
    let shutdown = CancellationToken::new();
    let mut all = Vec::new();
    for _ in 0..2 {
        let store = Arc::new(PostgresStore::open(&url(&database.url())).await.unwrap());
        let wakeups = Arc::new(Wakeups::default());
        let (passed_on, over) = (wakeups.clone(), shutdown.clone());
        tokio::spawn(async move { store.relay(passed_on, over).await });
        all.push(wakeups);
    }
    let [one, two] = all.as_slice() else {
        panic!("two of them");
    };
    let heard = (two.on_search(7), two.on_work(), two.on_devices());
    let everything = async {
        // Whoever began to listen only now hears of what comes later.
        while !(heard.0.has_changed().unwrap()
            && heard.1.has_changed().unwrap()
            && heard.2.has_changed().unwrap())
        {
            one.search(7);
            one.work();
            one.devices();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), everything).await.unwrap();
    let mut other = two.on_search(8);
    assert!(
        timeout(Duration::from_millis(200), other.changed())
            .await
            .is_err()
    );
    shutdown.cancel();
}
