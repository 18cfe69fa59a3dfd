//! The contract of [`Store`] as tests. Every implementation runs all of them, each case on a new
//! and empty store.

#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::*;
use bitfront_search::space::Genome;

use super::*;
use crate::fixtures;

type Case = fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        &[$((stringify!($name), |store| Box::pin($name(store)))),+]
    };
}

const CASES: &[(&str, Case)] = cases![
    a_device_keeps_its_number_and_takes_what_it_said_last,
    a_request_reads_back_as_it_was_submitted,
    a_key_starts_one_search,
    a_search_is_bound_once,
    what_was_used_only_grows_and_the_first_reference_stays,
    candidates_join_running_searches_only,
    one_plan_is_one_candidate,
    a_claim_goes_by_target_candidate_and_kind,
    every_hand_out_has_an_epoch_of_its_own,
    concurrent_claims_never_share_a_task,
    a_report_counts_once,
    a_key_of_another_task_is_refused,
    a_stale_report_ends_a_task_that_nobody_holds,
    a_stale_report_never_ends_a_newer_lease,
    a_report_after_the_end_is_kept_as_a_repeat,
    a_lease_that_ends_without_a_result_is_queued_again,
    too_many_attempts_make_the_candidate_infeasible,
    an_attempt_that_does_not_count_is_forgotten,
    an_infeasible_outcome_cancels_the_other_task,
    an_end_cancels_what_is_queued_and_lets_what_is_leased_finish,
    an_end_under_another_budget_does_not_happen,
    a_cancel_ends_the_leases,
    more_budget_queues_the_cancelled_tasks_again,
    measurements_read_back_whole_and_in_order,
    an_order_that_was_not_executed_is_noted,
    a_quality_is_measured_once_for_all_searches_over_one_subject,
];

/// Runs every case on a store of its own and reports all that fail.
pub(crate) async fn suite<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    let mut failures = Vec::new();
    for (name, case) in CASES {
        let store = open().await;
        if let Err(error) = tokio::spawn(case(store)).await {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const NOW: i64 = 1_000_000;

fn new_search() -> NewSearch {
    NewSearch {
        request: fixtures::request(),
        idempotency_key: None,
    }
}

fn binding() -> Binding {
    let device = fixtures::registration("one");
    Binding {
        hardware_profile: device.hardware_profile.digest(),
        numerics_class: device.numerics_class,
        precisions: device.precisions,
    }
}

fn candidate(ask_number: u64, precision: Precision) -> NewCandidate {
    let spec = fixtures::spec();
    let plan = Plan::uniform(&spec, precision).unwrap();
    let binding = binding();
    NewCandidate {
        ask_number: Some(ask_number),
        genome: Some(Genome(vec![1, 2, 3])),
        size_bytes: plan.size_bytes(&spec),
        plan,
        baseline: None,
        tasks: vec![
            (TaskKind::Quality, binding.numerics_class.0),
            (TaskKind::Latency, binding.hardware_profile.to_string()),
        ],
    }
}

fn claimant(device: i64) -> Claimant {
    let binding = binding();
    Claimant {
        device,
        numerics_class: binding.numerics_class,
        hardware_profile: binding.hardware_profile,
        lease_time: Duration::from_secs(30),
    }
}

fn ending(reason: &str, counts: bool) -> LeaseEnding {
    LeaseEnding {
        reason: reason.to_owned(),
        counts,
        most_attempts: 3,
    }
}

/// A device and a running search with candidates of these precisions.
async fn running(store: &Arc<dyn Store>, precisions: &[Precision]) -> (i64, i64) {
    let device = fixtures::registration("one");
    let device = store.register(&device, NOW).await.unwrap();
    let search = store.submit(&new_search(), NOW).await.unwrap();
    assert!(store.bind(search, &binding()).await.unwrap());
    for (ask, precision) in precisions.iter().enumerate() {
        let candidate = candidate(ask as u64, *precision);
        let added = store.add_candidate(search, &candidate, NOW).await.unwrap();
        assert!(added.is_some());
    }
    (device, search)
}

async fn claim(store: &Arc<dyn Store>, device: i64) -> Claimed {
    let claimed = store.claim(&claimant(device), NOW).await.unwrap();
    claimed.expect("a task is queued")
}

fn report_with(claimed: &Claimed, key: &str, measurement: Option<Measurement>) -> Report {
    let request = fixtures::request();
    let plan = Plan::new(&request.spec, claimed.precisions.clone()).unwrap();
    let assignment = Assignment {
        token: claimed.token,
        search: claimed.search,
        candidate: claimed.candidate,
        kind: claimed.kind,
        subject: request.subject,
        plan,
        workloads: match claimed.kind {
            TaskKind::Quality => Vec::new(),
            TaskKind::Latency => request.workloads,
        },
        lease_time: Duration::from_secs(30),
    };
    Report {
        idempotency_key: key.to_owned(),
        measurement: measurement
            .unwrap_or_else(|| fixtures::measurement(&request.spec, &assignment)),
        ..fixtures::report(&request.spec, &assignment)
    }
}

async fn report(store: &Arc<dyn Store>, claimed: &Claimed, key: &str) -> Receipt {
    let report = report_with(claimed, key, None);
    store.record(&report, NOW).await.unwrap()
}

async fn a_device_keeps_its_number_and_takes_what_it_said_last(store: Arc<dyn Store>) {
    let mut device = fixtures::registration("one");
    let id = store.register(&device, NOW).await.unwrap();
    let other = fixtures::registration("two");
    assert_ne!(store.register(&other, NOW).await.unwrap(), id);
    device.precisions.pop();
    device.hardware_profile.threads = 9;
    assert_eq!(store.register(&device, NOW + 5).await.unwrap(), id);
    let devices = store.devices().await.unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0].registration, device);
    assert_eq!(devices[0].first_seen_ms, NOW);
    assert_eq!(devices[0].last_seen_ms, NOW + 5);
    let digest = device.hardware_profile.digest();
    let profile = store.profile(digest).await.unwrap();
    assert_eq!(profile, Some(device.hardware_profile));
    assert_eq!(store.profile(Digest::of("none")).await.unwrap(), None);
}

async fn a_request_reads_back_as_it_was_submitted(store: Arc<dyn Store>) {
    let mut new = new_search();
    new.request.limits.max_kld = Some(0.1 + 0.2);
    new.request.limits.max_decode = Some(Duration::from_nanos(123_456_789));
    new.request.seed = u64::MAX;
    new.request.device = Some("one".to_owned());
    new.request.budget.time = Some(Duration::from_millis(1500));
    let id = store.submit(&new, NOW).await.unwrap();
    let stored = store.search(id).await.unwrap().unwrap();
    assert_eq!(stored.request, new.request);
    assert_eq!(stored.state, SearchState::Queued);
    assert_eq!(stored.created_at_ms, NOW);
    assert_eq!(stored.active, Duration::ZERO);
    assert_eq!((stored.binding, stored.reference_point), (None, None));
    assert_eq!(store.searches().await.unwrap().len(), 1);
    assert_eq!(store.search(id + 1).await.unwrap(), None);
}

async fn a_key_starts_one_search(store: Arc<dyn Store>) {
    let keyed = NewSearch {
        idempotency_key: Some("key".to_owned()),
        ..new_search()
    };
    let first = store.submit(&keyed, NOW).await.unwrap();
    assert_eq!(store.submit(&keyed, NOW).await.unwrap(), first);
    let second = store.submit(&new_search(), NOW).await.unwrap();
    let third = store.submit(&new_search(), NOW).await.unwrap();
    assert!(first != second && second != third);
}

async fn a_search_is_bound_once(store: Arc<dyn Store>) {
    let device = fixtures::registration("one");
    store.register(&device, NOW).await.unwrap();
    let search = store.submit(&new_search(), NOW).await.unwrap();
    store.wait(search, "waiting").await.unwrap();
    assert_eq!(
        store.search(search).await.unwrap().unwrap().reason,
        "waiting"
    );
    assert!(store.bind(search, &binding()).await.unwrap());
    let bound = store.search(search).await.unwrap().unwrap();
    assert_eq!(bound.state, SearchState::Running);
    assert_eq!(bound.reason, "");
    assert_eq!(bound.binding, Some(binding()));
    let other = Binding {
        numerics_class: NumericsClass("other".to_owned()),
        ..binding()
    };
    assert!(!store.bind(search, &other).await.unwrap());
    let again = store.search(search).await.unwrap().unwrap();
    assert_eq!(again.binding, Some(binding()));
}

async fn what_was_used_only_grows_and_the_first_reference_stays(store: Arc<dyn Store>) {
    let (_, search) = running(&store, &[]).await;
    for seconds in [3, 5, 4] {
        let active = Duration::from_secs(seconds);
        store.spend(search, active).await.unwrap();
    }
    store.fix_reference(search, &[0.1, 1e9]).await.unwrap();
    store.fix_reference(search, &[7.0, 7.0]).await.unwrap();
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.active, Duration::from_secs(5));
    assert_eq!(stored.reference_point, Some(vec![0.1, 1e9]));
}

async fn candidates_join_running_searches_only(store: Arc<dyn Store>) {
    let search = store.submit(&new_search(), NOW).await.unwrap();
    let new = candidate(0, Precision::Q4K);
    assert_eq!(store.add_candidate(search, &new, NOW).await.unwrap(), None);
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let stored = store.candidates(search, 0).await.unwrap();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].ask_number, Some(0));
    assert_eq!(stored[0].genome, new.genome);
    assert_eq!(stored[0].plan(&fixtures::spec()).unwrap(), new.plan);
    assert_eq!(stored[0].plan_digest, new.plan.digest());
    assert_eq!(stored[0].size_bytes, new.size_bytes);
    let after = store.candidates(search, stored[0].id).await.unwrap();
    assert_eq!(after, stored[1..]);
    store.cancel(search, NOW).await.unwrap();
    let late = candidate(2, Precision::Q6K);
    assert_eq!(store.add_candidate(search, &late, NOW).await.unwrap(), None);
    assert!(store.claim(&claimant(device), NOW).await.unwrap().is_none());
}

async fn one_plan_is_one_candidate(store: Arc<dyn Store>) {
    let (_, search) = running(&store, &[Precision::Q4K]).await;
    let same_plan = candidate(1, Precision::Q4K);
    let error = store.add_candidate(search, &same_plan, NOW).await;
    assert!(!error.unwrap_err().may_have_happened());
    let same_ask = candidate(0, Precision::Q6K);
    assert!(store.add_candidate(search, &same_ask, NOW).await.is_err());
    // A baseline has no ask number; two of them do not clash.
    for precision in [Precision::Q6K, Precision::Q8_0] {
        let baseline = NewCandidate {
            ask_number: None,
            genome: None,
            baseline: Some(format!("uniform {precision}")),
            ..candidate(0, precision)
        };
        let added = store.add_candidate(search, &baseline, NOW).await.unwrap();
        assert!(added.is_some());
    }
    assert_eq!(store.candidates(search, 0).await.unwrap().len(), 3);
}

async fn a_claim_goes_by_target_candidate_and_kind(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let other_class = Claimant {
        numerics_class: NumericsClass("other".to_owned()),
        ..claimant(device)
    };
    let latency = store.claim(&other_class, NOW).await.unwrap().unwrap();
    assert_eq!(latency.kind, TaskKind::Latency);
    let stranger = Claimant {
        hardware_profile: Digest::of("other"),
        ..other_class
    };
    assert!(store.claim(&stranger, NOW).await.unwrap().is_none());
    let candidates = store.candidates(search, 0).await.unwrap();
    let mut order = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        assert_eq!(claimed.search, search);
        order.push((claimed.candidate, claimed.kind));
    }
    assert_eq!(latency.candidate, candidates[0].id);
    assert_eq!(
        order,
        [
            (candidates[0].id, TaskKind::Quality),
            (candidates[1].id, TaskKind::Quality),
            (candidates[1].id, TaskKind::Latency),
        ]
    );
}

async fn every_hand_out_has_an_epoch_of_its_own(store: Arc<dyn Store>) {
    let (device, _) = running(&store, &[Precision::Q4K]).await;
    let first = claim(&store, device).await;
    assert_eq!(first.token.epoch, 1);
    assert_eq!(
        store.leased().await.unwrap(),
        [HeldLease {
            token: first.token,
            device
        }]
    );
    let requeued = store
        .requeue(first.token, &ending("lost", true), NOW)
        .await
        .unwrap();
    assert_eq!(requeued, Requeued::Queued);
    assert!(store.leased().await.unwrap().is_empty());
    let second = claim(&store, device).await;
    assert_eq!(second.token.task, first.token.task);
    assert_eq!(second.token.epoch, 2);
    let facts = store.task(first.token.task).await.unwrap().unwrap();
    assert_eq!(facts.epoch, 2);
    assert_eq!(facts.kind, TaskKind::Quality);
    assert_eq!(facts.layers, fixtures::spec().layers.len());
    assert_eq!(facts.workloads, fixtures::request().workloads);
    assert_eq!(store.task(9999).await.unwrap(), None);
}

async fn concurrent_claims_never_share_a_task(store: Arc<dyn Store>) {
    let precisions = [
        Precision::Q4K,
        Precision::Q8_0,
        Precision::Q6K,
        Precision::Q2K,
    ];
    let (device, _) = running(&store, &precisions).await;
    let claims: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.claim(&claimant(device), NOW).await.unwrap() })
        })
        .collect();
    let mut tasks = Vec::new();
    for one in claims {
        tasks.extend(one.await.unwrap().map(|claimed| claimed.token.task));
    }
    tasks.sort_unstable();
    let handed_out = tasks.len();
    tasks.dedup();
    assert_eq!((handed_out, tasks.len()), (8, 8));
}

async fn a_report_counts_once(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    assert_eq!(report(&store, &claimed, "key").await, Receipt::Recorded);
    assert_eq!(
        report(&store, &claimed, "key").await,
        Receipt::AlreadyReported
    );
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(store.devices().await.unwrap()[0].measurements, 1);
    assert!(store.leased().await.unwrap().is_empty());
}

async fn a_key_of_another_task_is_refused(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let quality = claim(&store, device).await;
    let latency = claim(&store, device).await;
    report(&store, &quality, "key").await;
    let reused = store
        .record(&report_with(&latency, "key", None), NOW)
        .await
        .unwrap_err();
    assert!(matches!(reused, StoreError::KeyReused { .. }), "{reused}");
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(store.leased().await.unwrap().len(), 1);
}

async fn a_stale_report_ends_a_task_that_nobody_holds(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    let lost = ending("lost", true);
    store.requeue(claimed.token, &lost, NOW).await.unwrap();
    assert_eq!(report(&store, &claimed, "late").await, Receipt::Recorded);
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(claim(&store, device).await.kind, TaskKind::Latency);
}

async fn a_stale_report_never_ends_a_newer_lease(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let stale = claim(&store, device).await;
    let lost = ending("lost", true);
    store.requeue(stale.token, &lost, NOW).await.unwrap();
    let newer = claim(&store, device).await;
    assert_eq!(newer.token.task, stale.token.task);
    assert_eq!(report(&store, &stale, "stale").await, Receipt::KeptAsRepeat);
    assert_eq!(
        report(&store, &stale, "stale").await,
        Receipt::AlreadyReported
    );
    assert_eq!(store.leased().await.unwrap()[0].token, newer.token);
    assert!(store.scores(search, 0).await.unwrap().is_empty());
    assert_eq!(report(&store, &newer, "newer").await, Receipt::Recorded);
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(store.devices().await.unwrap()[0].measurements, 2);
}

async fn a_report_after_the_end_is_kept_as_a_repeat(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    report(&store, &claimed, "one").await;
    assert_eq!(report(&store, &claimed, "two").await, Receipt::KeptAsRepeat);
    let latency = claim(&store, device).await;
    store.cancel(search, NOW).await.unwrap();
    assert_eq!(
        report(&store, &latency, "three").await,
        Receipt::KeptAsRepeat
    );
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
}

async fn a_lease_that_ends_without_a_result_is_queued_again(store: Arc<dyn Store>) {
    let (device, _) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    let stale = LeaseToken {
        epoch: claimed.token.epoch + 1,
        ..claimed.token
    };
    let lost = ending("lost", true);
    let requeue = async |token| store.requeue(token, &lost, NOW).await.unwrap();
    assert_eq!(requeue(stale).await, Requeued::NotHeld);
    assert_eq!(requeue(claimed.token).await, Requeued::Queued);
    assert_eq!(requeue(claimed.token).await, Requeued::NotHeld);
    assert_eq!(claim(&store, device).await.token.epoch, 2);
}

async fn too_many_attempts_make_the_candidate_infeasible(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    for attempt in 1..=3 {
        let claimed = claim(&store, device).await;
        let lost = ending("its agent went silent", true);
        let requeued = store.requeue(claimed.token, &lost, NOW).await.unwrap();
        let expected = [Requeued::Queued, Requeued::Queued, Requeued::Failed][attempt - 1];
        assert_eq!(requeued, expected, "attempt {attempt}");
    }
    let scores = store.scores(search, 0).await.unwrap();
    assert_eq!(scores.len(), 1);
    match &scores[0].outcome {
        ScoreOutcome::Infeasible { reason, abandoned } => {
            assert!(*abandoned && reason.contains("3 attempts"), "{reason}");
            assert!(reason.contains("went silent"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // Neither the failed task nor the other one of its candidate is handed out any more, and
    // what the coordinator wrote is not the device's.
    assert!(store.claim(&claimant(device), NOW).await.unwrap().is_none());
    assert_eq!(store.devices().await.unwrap()[0].measurements, 0);
}

async fn an_attempt_that_does_not_count_is_forgotten(store: Arc<dyn Store>) {
    let (device, _) = running(&store, &[Precision::Q4K]).await;
    for epoch in 1..=9 {
        let claimed = claim(&store, device).await;
        assert_eq!(claimed.token.epoch, epoch);
        let stopped = ending("the agent stops", false);
        let requeued = store.requeue(claimed.token, &stopped, NOW).await.unwrap();
        assert_eq!(requeued, Requeued::Queued);
    }
}

async fn an_infeasible_outcome_cancels_the_other_task(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let quality = claim(&store, device).await;
    let infeasible = report_with(&quality, "key", Some(fixtures::infeasible("no kernel")));
    assert_eq!(
        store.record(&infeasible, NOW).await.unwrap(),
        Receipt::Recorded
    );
    let next = claim(&store, device).await;
    assert!(next.candidate > quality.candidate);
    let scores = store.scores(search, 0).await.unwrap();
    let expected = ScoreOutcome::Infeasible {
        reason: "no kernel".to_owned(),
        abandoned: false,
    };
    assert_eq!(scores[0].outcome, expected);
}

async fn an_end_cancels_what_is_queued_and_lets_what_is_leased_finish(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let leased = claim(&store, device).await;
    let done = Ending {
        state: SearchState::Done,
        reason: "enough".to_owned(),
        active: Duration::from_secs(7),
        budget: fixtures::request().budget,
    };
    assert!(store.end(search, &done, NOW + 1).await.unwrap());
    assert!(!store.end(search, &done, NOW + 2).await.unwrap());
    let ended = store.search(search).await.unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.reason.as_str()),
        (SearchState::Done, "enough")
    );
    assert_eq!(ended.ended_at_ms, Some(NOW + 1));
    assert_eq!(ended.active, Duration::from_secs(7));
    assert!(store.claim(&claimant(device), NOW).await.unwrap().is_none());
    assert_eq!(report(&store, &leased, "key").await, Receipt::Recorded);
    assert_eq!(store.cancel(search, NOW).await.unwrap(), None);
}

async fn an_end_under_another_budget_does_not_happen(store: Arc<dyn Store>) {
    let (_, search) = running(&store, &[]).await;
    let seen = Ending {
        state: SearchState::Done,
        reason: "enough".to_owned(),
        active: Duration::ZERO,
        budget: fixtures::request().budget,
    };
    let more = fixtures::evaluations(500);
    assert!(store.resume(search, &more).await.unwrap());
    assert!(!store.end(search, &seen, NOW).await.unwrap());
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.state, SearchState::Running);
    assert_eq!(stored.request.budget, more);
}

async fn a_cancel_ends_the_leases(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let leased = claim(&store, device).await;
    let ended = store.cancel(search, NOW).await.unwrap();
    assert_eq!(ended, Some(vec![leased.token]));
    assert_eq!(store.cancel(search, NOW).await.unwrap(), None);
    assert!(store.leased().await.unwrap().is_empty());
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.state, SearchState::Cancelled);
    let queued = store.submit(&new_search(), NOW).await.unwrap();
    assert_eq!(store.cancel(queued, NOW).await.unwrap(), Some(vec![]));
}

async fn more_budget_queues_the_cancelled_tasks_again(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let quality = claim(&store, device).await;
    let infeasible = report_with(&quality, "key", Some(fixtures::infeasible("no kernel")));
    store.record(&infeasible, NOW).await.unwrap();
    store.cancel(search, NOW).await.unwrap();
    let more = fixtures::time(Duration::from_secs(60));
    assert!(store.resume(search, &more).await.unwrap());
    let resumed = store.search(search).await.unwrap().unwrap();
    assert_eq!(resumed.state, SearchState::Running);
    assert_eq!(resumed.ended_at_ms, None);
    assert_eq!(resumed.request.budget, more);
    let mut kinds = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        assert!(claimed.candidate > quality.candidate, "an infeasible one");
        kinds.push(claimed.kind);
    }
    assert_eq!(kinds, [TaskKind::Quality, TaskKind::Latency]);
    let unbound = store.submit(&new_search(), NOW).await.unwrap();
    store.cancel(unbound, NOW).await.unwrap();
    assert!(store.resume(unbound, &more).await.unwrap());
    let resumed = store.search(unbound).await.unwrap().unwrap();
    assert_eq!(resumed.state, SearchState::Queued);
    assert!(!store.resume(9999, &more).await.unwrap());
    let failed = Ending {
        state: SearchState::Failed,
        reason: "broken".to_owned(),
        active: Duration::ZERO,
        budget: more,
    };
    assert!(store.end(search, &failed, NOW).await.unwrap());
    assert!(!store.resume(search, &more).await.unwrap());
}

async fn measurements_read_back_whole_and_in_order(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let mut reports = Vec::new();
    for key in ["a", "b", "c", "d"] {
        let claimed = claim(&store, device).await;
        reports.push((claimed.candidate, report_with(&claimed, key, None)));
    }
    // Handed in in another order than they were leased.
    for (_, report) in reports.iter().rev() {
        store.record(report, NOW + 9).await.unwrap();
    }
    let stored = store.measurements(search, None).await.unwrap();
    let expected: Vec<_> = reports.iter().rev().collect();
    assert_eq!(stored.len(), 4);
    for (stored, (candidate, report)) in stored.iter().zip(expected) {
        assert_eq!(stored.candidate, *candidate);
        assert_eq!(stored.measurement, report.measurement);
        assert_eq!(
            (stored.device.as_str(), stored.received_at_ms),
            ("one", NOW + 9)
        );
        assert!(stored.executed_as_planned);
    }
    let scores = store.scores(search, 0).await.unwrap();
    let ids: Vec<_> = scores.iter().map(|score| score.measurement).collect();
    assert_eq!(ids, stored.iter().map(|one| one.id).collect::<Vec<_>>());
    assert!(ids.is_sorted());
    assert_eq!(store.scores(search, ids[1]).await.unwrap(), scores[2..]);
    let one = store
        .measurements(search, Some(reports[0].0))
        .await
        .unwrap();
    assert_eq!(one.len(), 2);
    match (&scores[0].outcome, &stored[0].measurement.outcome) {
        (
            ScoreOutcome::Latency {
                decode_ns,
                prefill_ns,
            },
            Outcome::Latency { workloads },
        ) => {
            assert_eq!(*prefill_ns, workloads[0].median_ns);
            assert_eq!(*decode_ns, workloads[1].median_ns);
        }
        other => panic!("{other:?}"),
    }
}

async fn an_order_that_was_not_executed_is_noted(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    let mut report = report_with(&claimed, "key", None);
    report.measurement.evidence.executed[3] = Precision::F16;
    store.record(&report, NOW).await.unwrap();
    assert!(!store.scores(search, 0).await.unwrap()[0].executed_as_planned);
}

async fn a_quality_is_measured_once_for_all_searches_over_one_subject(store: Arc<dyn Store>) {
    let (device, first) = running(&store, &[Precision::Q4K]).await;
    let quality = claim(&store, device).await;
    let latency = claim(&store, device).await;
    report(&store, &quality, "quality").await;
    report(&store, &latency, "latency").await;
    let mut other_text = new_search();
    other_text.request.subject.data.evaluation_digest = Digest::of("other text");
    let second = store.submit(&new_search(), NOW + 1).await.unwrap();
    let third = store.submit(&other_text, NOW + 1).await.unwrap();
    for (search, precision) in [
        (second, Precision::Q4K),
        (second, Precision::Q8_0),
        (third, Precision::Q4K),
    ] {
        store.bind(search, &binding()).await.unwrap();
        let ask = u64::from(precision == Precision::Q8_0);
        let added = store
            .add_candidate(search, &candidate(ask, precision), NOW)
            .await;
        assert!(added.unwrap().is_some());
    }
    let known = store.measurements(first, None).await.unwrap();
    let reused = store.measurements(second, None).await.unwrap();
    assert_eq!(reused.len(), 1);
    assert_eq!(reused[0].measurement, known[0].measurement);
    assert_eq!(
        (reused[0].device.as_str(), reused[0].received_at_ms),
        ("one", NOW)
    );
    assert_eq!(store.scores(second, 0).await.unwrap().len(), 1);
    assert!(store.scores(third, 0).await.unwrap().is_empty());
    assert_eq!(store.devices().await.unwrap()[0].measurements, 2);
    let mut left = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        left.push((claimed.search, claimed.kind));
    }
    use TaskKind::{Latency, Quality};
    assert_eq!(
        left,
        [
            (second, Latency),
            (second, Quality),
            (second, Latency),
            (third, Quality),
            (third, Latency)
        ]
    );
}
