//! Devices that are not as they should be: clocks that are wrong, two agents under one name, and the
//! last device of a search that leaves.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bitfront_coordinator::{Clock, Config, SystemClock};
use bitfront_e2e::agent::Agent;
use bitfront_e2e::coordinator::Coordinator;
use bitfront_e2e::requests::{files, request};
use bitfront_e2e::scripted::ScriptedRuntime;
use bitfront_e2e::searches::Searches;
use bitfront_model::{DeviceState, SearchState, SearchStatus};
use tempfile::TempDir;

const HOUR_MS: i64 = 3_600_000;

/// A clock that shows another time of day than that of the agents.
struct Off {
    clock: SystemClock,
    by_ms: i64,
}

impl Clock for Off {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms() + self.by_ms
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) -> bitfront_coordinator::Sleep {
        self.clock.sleep(duration)
    }
}

/// Leases are short, so that a device that left is noticed within the time of a test.
fn config(folder: &TempDir) -> Config {
    Config {
        lease_time: Duration::from_millis(900),
        ..Config::new(folder.path().join("bitfront.sqlite"))
    }
}

async fn ended(searches: &Searches, search: i64) -> SearchStatus {
    let ended = |status: &SearchStatus| status.state.has_ended();
    searches.wait(search, "its end", ended).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_clock_is_an_hour_off_serves_as_any_other() {
    // An agent that is behind, and one that is ahead.
    for by_ms in [HOUR_MS, -HOUR_MS] {
        let folder = files();
        let clock = SystemClock::new();
        let clock = Arc::new(Off { clock, by_ms });
        let coordinator = Coordinator::start_by(config(&folder), clock).await;
        let searches = coordinator.searches().await;
        let agent = Agent::start("board", &coordinator.url(), ScriptedRuntime::obliging());
        let search = searches.submit(&request(folder.path(), 18)).await.unwrap();
        let status = ended(&searches, search).await;
        assert_eq!(status.state, SearchState::Done, "{}", status.reason);
        let expected = SystemClock::new().now_ms() + by_ms;
        let near = |at_ms: i64| (expected - at_ms).abs() < 120_000;
        assert!(near(status.created_at_ms) && near(status.ended_at_ms.unwrap()));
        // Two for every candidate: no lease was lost and taken again meanwhile.
        let front = searches.front(search).await.unwrap();
        let confirmed = front.points.iter().filter(|it| it.confirmation.is_some());
        let measured = 2 * (front.points.len() + confirmed.count()) as u64;
        let devices = searches.devices().await.unwrap();
        assert_eq!(devices[0].measurements, measured);
        assert_eq!(devices[0].state, DeviceState::Present);
        assert!(near(devices[0].last_seen_ms), "{devices:?}");
        for point in &front.points {
            let quality = point.quality.as_ref().unwrap();
            assert!(near(quality.measured_at_ms), "{point:?}");
        }
        agent.stop().await;
        coordinator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_under_one_name_the_later_one_serves_and_the_other_is_told() {
    let folder = files();
    let coordinator = Coordinator::start(config(&folder)).await;
    let searches = coordinator.searches().await;
    let search = searches.submit(&request(folder.path(), 60)).await.unwrap();
    let slowly = || ScriptedRuntime::obliging().pausing(Duration::from_millis(20));
    let first = Agent::start("board", &coordinator.url(), slowly());
    let begun = |status: &SearchStatus| status.evaluated > 2;
    searches.wait(search, "a first result", begun).await;
    let before = searches.devices().await.unwrap();
    let second = Agent::start("board", &coordinator.url(), slowly());
    let told = first.failure().await;
    let expected = "another agent has registered as `board`; give one of them another name";
    assert!(told.contains(expected), "{told}");
    let status = ended(&searches, search).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    let devices = searches.devices().await.unwrap();
    assert_eq!(devices.len(), 1, "they are one device");
    assert!(devices[0].agent.is_some());
    assert_ne!(devices[0].agent, before[0].agent);
    second.stop().await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_whose_last_device_left_says_so_and_goes_on_with_another_one_like_it() {
    let folder = files();
    let coordinator = Coordinator::start(config(&folder)).await;
    let searches = coordinator.searches().await;
    let slowly = ScriptedRuntime::obliging().pausing(Duration::from_millis(20));
    let left = Agent::start("board-1", &coordinator.url(), slowly);
    let search = searches.submit(&request(folder.path(), 40)).await.unwrap();
    let begun = |status: &SearchStatus| status.evaluated > 2;
    searches.wait(search, "a first result", begun).await;
    left.kill();
    let waits = |status: &SearchStatus| status.reason.contains("waiting for its device");
    let waiting = searches
        .wait(search, "the device to be missed", waits)
        .await;
    assert_eq!(waiting.state, SearchState::Running);
    assert!(waiting.reason.contains("`board-1`"), "{}", waiting.reason);
    let devices = searches.devices().await.unwrap();
    assert_eq!(devices[0].state, DeviceState::Silent);
    let another = Agent::start("board-2", &coordinator.url(), ScriptedRuntime::obliging());
    let status = ended(&searches, search).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    assert_eq!(status.evaluated, 40);
    another.stop().await;
    coordinator.stop().await;
}
