//! The contract of [`Store`] as tests. Every implementation runs all of them, each case on a new
//! and empty store.

#![allow(clippy::unwrap_used)]

mod confirmations;
mod coordinators;
mod deeds;
mod questions;
mod recording;
mod retimings;
mod schedules;
mod searches;
mod siblings;
mod standing;
mod tasks;
mod tokens;

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
    ($($name:path),+ $(,)?) => {
        &[$((stringify!($name), |store| Box::pin($name(store)))),+]
    };
}

const CASES: &[(&str, Case)] = cases![
    searches::an_identity_stays,
    searches::a_device_keeps_its_number_and_takes_what_it_said_last,
    searches::a_request_reads_back_as_it_was_submitted,
    searches::a_key_starts_one_search,
    searches::a_search_is_bound_once,
    searches::what_was_used_only_grows_and_the_first_reference_stays,
    searches::candidates_join_running_searches_only,
    searches::candidates_that_join_together_are_numbered_in_their_order,
    searches::one_plan_is_one_candidate,
    tasks::a_claim_goes_by_target_candidate_and_kind,
    tasks::qualities_are_left_to_faster_devices_and_timings_are_not,
    tasks::every_hand_out_has_an_epoch_of_its_own,
    tasks::companions_are_untried_timings_of_one_search,
    tasks::the_first_timing_of_a_search_is_found,
    tasks::concurrent_claims_never_share_a_task,
    tasks::a_report_counts_once,
    tasks::a_key_of_another_task_is_refused,
    tasks::a_stale_report_ends_a_task_that_nobody_holds,
    tasks::a_stale_report_never_ends_a_newer_lease,
    tasks::a_report_after_the_end_is_kept_as_a_repeat,
    tasks::a_lease_that_ends_without_a_result_is_queued_again,
    tasks::too_many_attempts_make_the_candidate_infeasible,
    tasks::an_attempt_that_does_not_count_is_forgotten,
    tasks::an_infeasible_outcome_cancels_the_other_task,
    searches::an_end_cancels_what_is_queued_and_lets_what_is_leased_finish,
    searches::an_end_under_another_budget_does_not_happen,
    searches::a_cancel_ends_the_leases,
    searches::more_budget_queues_the_cancelled_tasks_again,
    tasks::measurements_read_back_whole_and_in_order,
    tasks::an_order_that_was_not_executed_is_noted,
    tasks::a_quality_that_stopped_is_a_score_and_no_other_searchs,
    tasks::a_quality_is_measured_once_for_all_searches_over_one_subject,
    confirmations::a_confirmation_is_measured_once_and_no_score,
    confirmations::confirmations_of_quality_come_in_the_order_of_their_plans,
    confirmations::confirmations_cancel_what_the_search_still_wanted,
    confirmations::more_budget_puts_confirmations_off,
    confirmations::what_was_decided_under_another_budget_confirms_nothing,
    confirmations::a_confirmation_that_fails_leaves_the_candidate_as_it_is,
    confirmations::only_a_running_search_confirms_and_only_its_own,
    confirmations::quality_is_confirmed_by_devices_of_the_profile_alone,
    confirmations::a_confirmation_for_a_class_ends_as_one_for_a_profile,
    retimings::a_candidate_is_timed_again_once_and_the_score_follows_the_first,
    retimings::a_retiming_that_comes_to_nothing_leaves_the_candidate_as_it_is,
    retimings::retimings_end_with_their_search_and_may_be_asked_for_again,
    retimings::a_search_times_its_own_candidates_alone_and_for_its_profile,
    questions::a_question_is_asked_once_of_its_target,
    questions::a_question_goes_to_whom_it_is_asked_of_and_who_can_answer_it,
    questions::an_answer_counts_once_and_reads_back_whole,
    questions::a_stale_answer_never_ends_a_newer_lease,
    questions::a_question_that_fails_too_often_is_given_up_with_the_reason,
    questions::what_was_given_up_is_asked_again_where_it_lies_elsewhere_now,
    questions::a_binding_keeps_its_answers_and_what_left_the_space,
    coordinators::a_coordinator_serves_until_its_beat_stands_still_or_it_leaves,
    coordinators::who_joined_is_in_charge_of_what_nobody_else_is,
    coordinators::a_driver_that_was_replaced_writes_nothing,
    coordinators::a_lease_is_taken_over_with_its_device,
    coordinators::a_device_is_served_where_its_agent_speaks,
    tasks::several_claims_at_once_are_claims_in_turn,
    recording::reports_that_come_together_are_reports_in_turn,
    recording::many_reports_come_together,
    recording::when_a_device_was_heard_from_only_grows,
    tasks::what_devices_hold_and_measured_last_is_told,
    siblings::siblings_are_told_what_each_measured_and_the_others_nothing,
    siblings::it_is_said_since_when_a_sibling_knows_something,
    siblings::only_sound_figures_of_a_plan_are_shared,
    tokens::a_token_has_its_name_alone_until_it_is_revoked,
    standing::a_coordinator_learns_that_it_is_replaced,
    standing::what_waits_is_counted_by_target_and_kind,
    deeds::a_deed_is_noted_before_and_concluded_once,
    schedules::a_schedule_has_its_name_alone_until_it_is_removed,
    schedules::a_slot_is_decided_once,
    schedules::a_notice_is_sent_by_one_and_until_it_is_taken,
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

pub(crate) const NOW: i64 = 1_000_000;

pub(crate) fn new_search() -> NewSearch {
    NewSearch {
        request: fixtures::request(),
        idempotency_key: None,
        starts: Vec::new(),
    }
}

pub(crate) fn binding() -> Binding {
    let device = fixtures::registration("one");
    Binding {
        hardware_profile: device.hardware_profile.digest(),
        numerics_class: device.numerics_class,
        precisions: device.precisions,
        probe: None,
        exclusions: Vec::new(),
        sensitivity: None,
    }
}

pub(crate) fn candidate(ask_number: u64, precision: Precision) -> NewCandidate {
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

pub(crate) fn claimant(device: i64) -> Claimant {
    let binding = binding();
    Claimant {
        device,
        numerics_class: binding.numerics_class,
        hardware_profile: binding.hardware_profile,
        can_probe: true,
        can_score_swaps: true,
        lease_time: Duration::from_secs(30),
        left_to_faster: 0,
        companion_in: None,
    }
}

pub(crate) fn ending(reason: &str, counts: bool) -> LeaseEnding {
    LeaseEnding {
        reason: reason.to_owned(),
        counts,
        most_attempts: 3,
        only_ours: false,
    }
}

/// A device and a running search with candidates of these precisions.
pub(crate) async fn running(store: &Arc<dyn Store>, precisions: &[Precision]) -> (i64, i64) {
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

pub(crate) async fn claim(store: &Arc<dyn Store>, device: i64) -> Claimed {
    let claimed = store.claim(&claimant(device), NOW).await.unwrap();
    claimed.expect("a task is queued")
}

/// Confirms under the budget that the search has.
pub(crate) async fn confirm(
    store: &Arc<dyn Store>,
    search: i64,
    wanted: &[NewConfirmation],
) -> bool {
    let known = store.search(search).await.unwrap().unwrap().given();
    store.confirm(search, &known, wanted).await.unwrap()
}

pub(crate) fn report_with(
    claimed: &Claimed,
    key: &str,
    measurement: Option<Measurement>,
) -> Report {
    let request = fixtures::request();
    let plan = Plan::new(&request.spec, claimed.precisions.clone()).unwrap();
    let assignment = Assignment {
        token: claimed.token,
        search: claimed.search,
        candidate: claimed.candidate,
        kind: claimed.kind,
        purpose: claimed.purpose,
        subject: request.subject,
        plan,
        workloads: match claimed.kind {
            TaskKind::Quality => Vec::new(),
            TaskKind::Latency => request.workloads,
        },
        anchor: None,
        rival: None,
        lease_time: Duration::from_secs(30),
    };
    Report {
        idempotency_key: key.to_owned(),
        measurement: measurement
            .unwrap_or_else(|| fixtures::measurement(&request.spec, &assignment)),
        ..fixtures::report(&request.spec, &assignment)
    }
}

pub(crate) async fn report(store: &Arc<dyn Store>, claimed: &Claimed, key: &str) -> Receipt {
    let report = report_with(claimed, key, None);
    store.record(&report, NOW).await.unwrap()
}
