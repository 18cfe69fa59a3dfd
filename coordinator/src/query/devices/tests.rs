use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{
    DeviceState, Outcome, QuestionKind, Report, SearchRequest, TaskKind, TaskPurpose, Work,
};

use super::*;
use crate::clock::Clock;
use crate::fixtures;
use crate::leasing::HandOut;
use crate::store::unreliable::Unreliable;
use crate::testing::{Bench, folder};

async fn only(bench: &Bench) -> Device {
    let mut devices = devices(&bench.world).await.unwrap();
    assert_eq!(devices.len(), 1);
    devices.remove(0)
}

#[tokio::test]
async fn a_device_is_present_then_silent_and_away_after_a_restart() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let term = bench.world.store.join("127.0.0.1:7311", 0).await.unwrap();
    let device = bench.register("one").await;
    let registered_ms = bench.clock.now_ms();
    let known = only(&bench).await;
    assert_eq!(known.state, DeviceState::Present);
    assert_eq!(known.agent.as_deref(), Some("the agent"));
    assert_eq!(known.coordinator.as_deref(), Some("127.0.0.1:7311"));
    assert_eq!(known.last_seen_ms, registered_ms);
    bench.clock.advance(Duration::from_secs(20));
    bench.leasing.heartbeat(device, &[]).await.unwrap();
    bench.clock.advance(Duration::from_secs(30));
    let known = only(&bench).await;
    assert_eq!(known.state, DeviceState::Present);
    assert_eq!(
        known.last_seen_ms,
        registered_ms + 20_000,
        "a heartbeat counts"
    );
    bench.clock.advance(Duration::from_millis(1));
    let known = only(&bench).await;
    assert_eq!(known.state, DeviceState::Silent);
    assert!(!known.serves());
    assert_eq!(known.last_seen_ms, registered_ms + 20_000);
    // Another coordinator over the same store has heard of nobody.
    let after = Bench::over(bench.world.store.clone(), |_| {}).await;
    assert_eq!(only(&after).await.state, DeviceState::Away);
    bench.world.store.retire(term, None).await.unwrap();
    let known = only(&after).await;
    assert_eq!(known.coordinator, None, "nobody speaks to it");
    assert_eq!(known.agent.as_deref(), Some("the agent"));
}

#[tokio::test]
async fn what_a_device_measures_is_shown_and_how_evenly() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let request = SearchRequest {
        budget: fixtures::evaluations(30),
        ..fixtures::request()
    };
    let search = bench.submit(request).await;
    let first = bench.lease_one(device).await;
    let leased_ms = bench.clock.now_ms();
    bench.clock.advance(Duration::from_secs(1));
    let companions = bench.leasing.companions(device, &first, 3).await;
    let known = only(&bench).await;
    assert_eq!(known.held.len(), 1 + companions.len());
    assert_eq!(known.held[0].since_ms, leased_ms);
    assert_eq!(
        known.held[0].work,
        Work::Candidate {
            search,
            candidate: first.assignment.candidate,
            kind: TaskKind::Latency,
            purpose: TaskPurpose::Search,
        }
    );
    assert_eq!(known.noise, None, "nothing is timed yet");
    for hand_out in companions.iter().chain([&first]) {
        bench.report(hand_out).await.unwrap();
    }
    assert_eq!(only(&bench).await.held, []);
    // The anchor's time changes by a little from timing to timing.
    let uneven = |hand_out: &HandOut, report: &mut Report| {
        if let Outcome::Latency { workloads } = &mut report.measurement.outcome {
            for paired in workloads.iter_mut().filter_map(|it| it.paired.as_mut()) {
                for sample in &mut paired.anchor_samples_ns {
                    *sample += *sample * hand_out.assignment.candidate.unsigned_abs() / 1000;
                }
            }
        }
    };
    bench.serve_with(device, search, 30, uneven).await;
    let noise = only(&bench).await.noise.unwrap();
    assert!(noise.timings >= 6, "{noise:?}");
    assert!((0.001..0.02).contains(&noise.deviation), "{noise:?}");
    bench.stop().await;
}

#[tokio::test]
async fn many_devices_cost_as_many_looks_into_the_store_as_one() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let names = ["one", "two", "three"];
    bench.submit(fixtures::request()).await;
    for name in names {
        let device = bench.register(name).await;
        let hand_out = bench.lease_one(device).await;
        bench.report(&hand_out).await.unwrap();
    }
    let counted = Arc::new(Unreliable::new(bench.world.store.clone(), 0, 0, 0));
    let after = Bench::over(counted.clone(), |_| {}).await;
    let all = devices(&after.world).await.unwrap();
    let all = all
        .iter()
        .map(|it| (it.registration.device.as_str(), it.measurements));
    assert_eq!(all.collect::<Vec<_>>(), names.map(|name| (name, 1)));
    assert_eq!(
        counted.calls(),
        3,
        "who they are, what they hold, what they measured"
    );
    let one = device(&after.world, "two").await.unwrap();
    assert_eq!(one.device.registration.device, "two");
    assert_eq!(counted.calls(), 3 + 4, "and what was asked of it");
    let unknown = device(&after.world, "four").await.unwrap_err().to_string();
    assert!(unknown.ends_with("known are one, two, three"), "{unknown}");
    bench.stop().await;
}

#[tokio::test]
async fn a_device_that_answers_a_question_says_so() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut registration = fixtures::registration("one");
    registration.can_probe = true;
    let device = bench.register_as(registration).await.unwrap();
    bench.submit(fixtures::request()).await;
    let asked = bench.lease_question(device).await;
    let held = only(&bench).await.held;
    let [
        HeldTask {
            work: Work::Question { kind, .. },
            ..
        },
    ] = held.as_slice()
    else {
        panic!("one question is held: {held:?}");
    };
    assert_eq!(*kind, QuestionKind::Probe);
    bench.answer(&asked).await.unwrap();
    assert_eq!(only(&bench).await.held, []);
    bench.stop().await;
}
