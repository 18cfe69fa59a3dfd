//! Two coordinators on one database at the same time. What must hold is looked for in the tables
//! once both have done their part, whoever came first.

use std::collections::BTreeSet;
use std::time::Duration;

use bitfront_model::{LeaseToken, Plan, Receipt, SearchState, TaskKind};

use super::*;
use crate::store::conformance::*;
use crate::store::*;

/// Times that a race is run; each ends one way or the other.
const ROUNDS: usize = 12;

/// Adds a search with candidates of these precisions for a device that is there.
async fn searched(store: &Arc<dyn Store>, precisions: &[Precision]) -> i64 {
    let (_, search) = running(store, precisions).await;
    search
}

/// A device of the profile and class of the fixtures.
async fn device(store: &Arc<dyn Store>, name: &str) -> i64 {
    let device = fixtures::registration(name);
    store.register(&device, NOW).await.unwrap()
}

fn ended(search: &StoredSearch) -> Ending {
    Ending {
        state: SearchState::Done,
        reason: "the budget is spent".to_owned(),
        active: Duration::ZERO,
        budget: search.request.budget,
        continued_after: search.continued_after,
    }
}

async fn claim_all(store: Arc<dyn Store>, device: i64) -> Vec<Claimed> {
    let mut claimed = Vec::new();
    while let Some(task) = store.claim(&claimant(device), NOW).await.unwrap() {
        claimed.push(task);
    }
    claimed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_coordinators_never_hand_out_one_task_twice_and_leave_none() {
    let (database, stores) = two_stores().await;
    let mut tasks = 0;
    for _ in 0..6 {
        searched(&stores[0], &PRECISIONS).await;
        tasks += 2 * PRECISIONS.len();
    }
    let mut claims = Vec::new();
    for agent in 0..8 {
        let store = stores[agent % 2].clone();
        let device = device(&store, &format!("device {agent}")).await;
        claims.push(tokio::spawn(claim_all(store, device)));
    }
    let mut handed_out = Vec::new();
    for claims in claims {
        let claimed = claims.await.unwrap();
        handed_out.extend(claimed.iter().map(|claimed| claimed.token));
    }
    assert!(handed_out.iter().all(|token| token.epoch == 1));
    let distinct: BTreeSet<i64> = handed_out.iter().map(|token| token.task).collect();
    assert_eq!((handed_out.len(), distinct.len()), (tasks, tasks));
    let queued = "SELECT id FROM tasks WHERE state = 'queued'";
    assert!(numbers(&database, queued).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_are_shared_out_too() {
    let (_database, stores) = two_stores().await;
    let search = searched(&stores[0], &PRECISIONS).await;
    let candidates = stores[0].candidates(search, 0).await.unwrap();
    let target = binding().hardware_profile.to_string();
    let wanted: Vec<_> = candidates
        .iter()
        .map(|candidate| NewConfirmation {
            candidate: candidate.id,
            kind: TaskKind::Quality,
            target: target.clone(),
        })
        .collect();
    assert!(conformance::confirm(&stores[0], search, &wanted).await);
    let mut claims = Vec::new();
    for agent in 0..wanted.len() {
        let store = stores[agent % 2].clone();
        let device = device(&store, &format!("device {agent}")).await;
        claims.push(tokio::spawn(async move {
            store.claim(&claimant(device), NOW).await.unwrap()
        }));
    }
    // As many claims as tasks: one that passed over what another one did not take would get none.
    let mut taken = BTreeSet::new();
    for claim in claims {
        taken.insert(claim.await.unwrap().map(|claimed| claimed.candidate));
    }
    assert_eq!(taken.len(), wanted.len(), "{taken:?}");
    assert!(!taken.contains(&None), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_every_lease_that_was_handed_out() {
    let (database, [one, other]) = two_stores().await;
    let device = device(&one, "one").await;
    for round in 0..ROUNDS {
        let search = searched(&one, &PRECISIONS).await;
        let claims = tokio::spawn(claim_all(one.clone(), device));
        tokio::time::sleep(Duration::from_millis(round as u64 % 5)).await;
        let cancelled = other.cancel(search, NOW).await.unwrap().unwrap();
        let claimed = claims.await.unwrap();
        let tokens: BTreeSet<_> = claimed.iter().map(|claimed| key(claimed.token)).collect();
        let ended: BTreeSet<_> = cancelled.into_iter().map(key).collect();
        assert_eq!(tokens, ended, "round {round}");
        let open = "SELECT id FROM tasks WHERE state IN ('queued', 'leased')";
        assert!(numbers(&database, open).await.is_empty(), "round {round}");
        let unsaid = "SELECT task FROM leases WHERE ending IS NULL";
        assert!(numbers(&database, unsaid).await.is_empty(), "round {round}");
    }
}

fn key(token: LeaseToken) -> (i64, i64) {
    (token.task, token.epoch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_queued_in_a_search_that_has_ended() {
    let (database, [one, other]) = two_stores().await;
    let device = device(&one, "one").await;
    let profile = binding().hardware_profile;
    for round in 0..ROUNDS {
        let search = searched(&one, &PRECISIONS[..2]).await;
        let first = one.candidates(search, 0).await.unwrap()[0].id;
        let held = claim(&one, device).await;
        let ending_of = ended(&one.search(search).await.unwrap().unwrap());
        let adding = async {
            for (ask, precision) in PRECISIONS.iter().enumerate().skip(2) {
                let candidate = candidate(ask as u64, *precision);
                one.add_candidate(search, &candidate, NOW).await.unwrap();
            }
        };
        let retiming = async {
            one.retime(search, &[first], profile).await.unwrap();
        };
        let giving_back = async {
            let ending = ending("lost", true);
            one.requeue(held.token, &ending, NOW).await.unwrap()
        };
        let ends = async {
            tokio::time::sleep(Duration::from_millis(round as u64 % 5)).await;
            match round % 2 {
                0 => assert!(other.end(search, &ending_of, NOW).await.unwrap()),
                _ => assert!(other.cancel(search, NOW).await.unwrap().is_some()),
            }
        };
        tokio::join!(adding, retiming, giving_back, ends);
        let open = "SELECT id FROM tasks WHERE state IN ('queued', 'leased')";
        assert!(numbers(&database, open).await.is_empty(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_budget_queues_no_task_of_a_candidate_that_is_found_infeasible() {
    let (database, [one, other]) = two_stores().await;
    let device = device(&one, "one").await;
    for round in 0..ROUNDS {
        let search = searched(&one, &PRECISIONS[..1]).await;
        let held = claim(&one, device).await;
        let ending = ended(&one.search(search).await.unwrap().unwrap());
        assert!(one.end(search, &ending, NOW).await.unwrap());
        let infeasible = fixtures::infeasible("it does not fit");
        let report = report_with(&held, &format!("round {round}"), Some(infeasible));
        let resumed = async {
            tokio::time::sleep(Duration::from_micros(300 * (round as u64 % 6))).await;
            other.resume(search, &ending.budget, 0).await.unwrap()
        };
        let (receipt, resumed) = tokio::join!(one.record(&report, NOW), resumed);
        assert_eq!((receipt.unwrap(), resumed), (Receipt::Recorded, true));
        let open = "SELECT id FROM tasks WHERE state IN ('queued', 'leased')";
        assert!(numbers(&database, open).await.is_empty(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_to_both_at_once_counts_once() {
    let (database, [one, other]) = two_stores().await;
    for round in 0..ROUNDS {
        let key = format!("round {round}");
        let new = NewSearch {
            idempotency_key: Some(key.clone()),
            ..new_search()
        };
        let (first, second) = tokio::join!(one.submit(&new, NOW), other.submit(&new, NOW));
        let search = first.unwrap();
        assert_eq!(second.unwrap(), search);

        let mut named = fixtures::registration(&key);
        named.agent_version = "2".to_owned();
        let (first, second) = tokio::join!(one.register(&named, NOW), other.register(&named, NOW));
        let device = first.unwrap();
        assert_eq!(second.unwrap(), device);

        let question = bitfront_model::ProbeQuestion {
            many_rows: 64 + round as u32,
            ..fixtures::probe_question()
        };
        let question = bitfront_model::Question::Probe(question);
        let target = binding().hardware_profile.to_string();
        let asked = tokio::join!(
            one.ask(&target, &question, NOW),
            other.ask(&target, &question, NOW)
        );
        assert_eq!(asked.0.unwrap().id, asked.1.unwrap().id);
        let claimed = one.claim_question(&claimant(device), NOW).await.unwrap();
        let claimed = claimed.unwrap();
        let mut answer = fixtures::answer(&bitfront_model::QuestionAssignment {
            token: claimed.token,
            question: claimed.question,
            lease_time: Duration::ZERO,
        });
        answer.idempotency_key = key.clone();
        let receipts = tokio::join!(
            one.record_answer(&answer, NOW),
            other.record_answer(&answer, NOW)
        );
        counted_once([receipts.0.unwrap(), receipts.1.unwrap()]);

        assert!(one.bind(search, &binding()).await.unwrap());
        let added = candidate(0, Precision::Q8_0);
        one.add_candidate(search, &added, NOW).await.unwrap();
        for claimed in claim_all(one.clone(), device).await {
            let key = format!("task {}", claimed.token.task);
            let report = report_with(&claimed, &key, None);
            let receipts = tokio::join!(one.record(&report, NOW), other.record(&report, NOW));
            counted_once([receipts.0.unwrap(), receipts.1.unwrap()]);
        }
    }
    for (table, rows) in [
        ("SELECT count(*) FROM searches", ROUNDS),
        ("SELECT count(*) FROM devices", ROUNDS),
        ("SELECT count(*) FROM questions", ROUNDS),
        ("SELECT count(*) FROM answers", ROUNDS),
    ] {
        assert_eq!(numbers(&database, table).await, [rows as i64], "{table}");
    }
}

fn counted_once(mut receipts: [Receipt; 2]) {
    receipts.sort_by_key(|receipt| *receipt != Receipt::Recorded);
    assert_eq!(receipts, [Receipt::Recorded, Receipt::AlreadyReported]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_in_order_reads_no_farther_than_a_number_that_may_still_come() {
    let (database, [one, other]) = two_stores().await;
    let slow = device(&one, "slow").await;
    let fast = device(&one, "fast").await;
    let mut request = new_search();
    request.request.shares = true;
    let mut searches = Vec::new();
    for _ in 0..2 {
        let search = one.submit(&request, NOW).await.unwrap();
        assert!(one.bind(search, &binding()).await.unwrap());
        searches.push(search);
    }
    let added = candidate(0, Precision::Q8_0);
    one.add_candidate(searches[0], &added, NOW).await.unwrap();
    let slowly = one.claim(&claimant(slow), NOW).await.unwrap().unwrap();
    let quickly = one.claim(&claimant(fast), NOW).await.unwrap().unwrap();
    assert_eq!(slowly.kind, TaskKind::Latency);

    // The report of the slow device has drawn its number when the server looks whether the device that
    // it names is there, which this keeps it from.
    let mut holder = database.connect().await;
    server::run(&mut holder, "BEGIN".to_owned()).await;
    sqlx::query("SELECT id FROM devices WHERE id = $1 FOR UPDATE")
        .bind(slow)
        .execute(&mut holder)
        .await
        .unwrap();
    let report = report_with(&slowly, "slow", None);
    let store = one.clone();
    let first = tokio::spawn(async move { store.record(&report, NOW).await });
    let drawn = "SELECT last_value FROM measurements_id_seq WHERE is_called";
    while numbers(&database, drawn).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = report_with(&quickly, "fast", None);
    assert_eq!(other.record(&report, NOW).await.unwrap(), Receipt::Recorded);
    let seen = "SELECT id FROM measurements";
    assert_eq!(numbers(&database, seen).await, [2]);

    // Readers of every kind: what they find is what there will ever be up to their last number.
    let (own, sibling) = (searches[0], searches[1]);
    assert_eq!(other.scores(own, 0).await.unwrap(), []);
    let shared = other.shared(sibling, 0).await.unwrap();
    assert!(shared.scores.is_empty() && shared.last < 1);
    assert_eq!(other.first_timing(own).await.unwrap(), None);
    server::run(&mut holder, "COMMIT".to_owned()).await;
    assert_eq!(first.await.unwrap().unwrap(), Receipt::Recorded);

    let scores = other.scores(own, 0).await.unwrap();
    let order: Vec<_> = scores.iter().map(|score| score.measurement).collect();
    assert_eq!(order, [1, 2]);
    let shared = other.shared(sibling, 0).await.unwrap();
    let order: Vec<_> = shared
        .scores
        .iter()
        .map(|shared| shared.score.measurement)
        .collect();
    assert_eq!((order, shared.last), (vec![1, 2], 2));
    let timing = other.first_timing(own).await.unwrap();
    assert_eq!(timing.map(|timing| timing.id), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_go_on_after_what_they_saw_miss_nothing() {
    let (database, stores) = two_stores().await;
    let search = searched(&stores[0], &PRECISIONS).await;
    let spec = fixtures::spec();
    // More candidates than there are uniform plans: all mixes of two precisions over the layers.
    for mix in 0..30_u32 {
        let precisions = (0..spec.layers.len() as u32).map(|layer| match mix >> layer & 1 {
            0 => Precision::Q8_0,
            _ => Precision::Q4K,
        });
        let plan = Plan::new(&spec, precisions.collect()).unwrap();
        let mixed = NewCandidate {
            size_bytes: plan.size_bytes(&spec),
            plan,
            ..candidate(100 + u64::from(mix), Precision::Q8_0)
        };
        // Uniform mixes are there already.
        let _ = stores[0].add_candidate(search, &mixed, NOW).await;
    }
    let mut agents = Vec::new();
    for agent in 0..6 {
        let store = stores[agent % 2].clone();
        let device = device(&store, &format!("device {agent}")).await;
        agents.push(tokio::spawn(async move {
            let mut reported = 0;
            while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
                let key = format!("task {}", claimed.token.task);
                report(&store, &claimed, &key).await;
                reported += 1;
            }
            reported
        }));
    }
    let mut read = Vec::new();
    let mut last = 0;
    let mut idle = false;
    while !idle {
        // Once more after the last report, for what came since the last look.
        idle = agents.iter().all(tokio::task::JoinHandle::is_finished);
        for score in stores[1].scores(search, last).await.unwrap() {
            assert!(score.measurement > last);
            last = score.measurement;
            read.push(last);
        }
    }
    let mut reported = 0;
    for agent in agents {
        reported += agent.await.unwrap();
    }
    assert!(reported > 2 * PRECISIONS.len(), "{reported}");
    let all = "SELECT id FROM measurements ORDER BY id";
    assert_eq!(read, numbers(&database, all).await);
    assert_eq!(read.len(), reported);
}
