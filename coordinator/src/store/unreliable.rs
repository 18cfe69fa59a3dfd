//! A store that loses requests and replies, for tests of what stands on a store.
//!
//! Two dice are thrown for every call: did it happen, and did the caller hear of it?

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bitfront_model::{
    AnswerReport, Budget, Digest, HardwareProfile, HeldTask, LeaseToken, Question, Receipt,
    Registration, Report,
};

use super::*;

/// Loses a share of all requests and a share of all replies, by a seed.
pub(crate) struct Unreliable {
    inner: Arc<dyn Store>,
    /// Of a thousand.
    lost_requests: u64,
    /// Of a thousand.
    lost_replies: u64,
    dice: Mutex<u64>,
    calls: AtomicU64,
}

impl Unreliable {
    pub(crate) fn new(
        inner: Arc<dyn Store>,
        seed: u64,
        lost_requests: u64,
        lost_replies: u64,
    ) -> Self {
        Self {
            inner,
            lost_requests,
            lost_replies,
            dice: Mutex::new(seed),
            calls: AtomicU64::new(0),
        }
    }

    /// Calls so far, lost ones included.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    fn throw(&self, of_a_thousand: u64) -> bool {
        let mut state = self.dice.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % 1000 < of_a_thousand
    }

    async fn pass<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let lost = |what: &str, may_have_happened| StoreError::Failed {
            doing: "pass through a test",
            reason: format!("the {what} was lost"),
            may_have_happened,
        };
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.throw(self.lost_requests) {
            return Err(lost("request", false));
        }
        let result = call.await;
        if self.throw(self.lost_replies) {
            return Err(lost("reply", true));
        }
        result
    }
}

macro_rules! passed_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        #[async_trait]
        impl Store for Unreliable {
            fn is_exclusive(&self) -> bool {
                self.inner.is_exclusive()
            }

            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.pass(self.inner.$name($($argument),*)).await
            })+
        }
    };
}

passed_on! {
    identity() -> String;
    tend() -> ();
    join(address: &str, now_ms: i64) -> i64;
    beat(coordinator: i64) -> bool;
    coordinators() -> Vec<StoredCoordinator>;
    retire(coordinator: i64, beat: Option<i64>) -> bool;
    take_searches() -> Vec<i64>;
    take_search(search: i64) -> bool;
    take_leases() -> Vec<HeldLease>;
    keep(token: LeaseToken, device: i64) -> bool;
    serve(device: i64, instance: &str) -> ();
    serve_only(devices: &[i64]) -> ();
    served_elsewhere() -> Vec<StoredDevice>;
    held_by(device: i64) -> Vec<LeaseToken>;
    register(device: &Registration, now_ms: i64) -> i64;
    device(device: i64) -> Option<StoredDevice>;
    devices() -> Vec<StoredDevice>;
    seen(devices: &[(i64, i64)]) -> ();
    held() -> Vec<(i64, HeldTask)>;
    latest(device: i64, most: u32) -> Vec<DeviceMeasurement>;
    profile(digest: Digest) -> Option<HardwareProfile>;
    submit(search: &NewSearch, now_ms: i64) -> i64;
    search(search: i64) -> Option<StoredSearch>;
    searches() -> Vec<StoredSearch>;
    searches_over(subject: Digest) -> Vec<StoredSearch>;
    wait(search: i64, reason: &str) -> ();
    bind(search: i64, binding: &Binding) -> bool;
    spend(search: i64, active: Duration) -> ();
    fix_reference(search: i64, point: &[f64]) -> ();
    end(search: i64, ending: &Ending, now_ms: i64) -> bool;
    cancel(search: i64, now_ms: i64) -> Option<Vec<LeaseToken>>;
    resume(search: i64, budget: &Budget, evaluated: u64) -> bool;
    add_candidates(search: i64, candidates: &[NewCandidate], now_ms: i64) -> Option<Vec<i64>>;
    search_of(candidate: i64) -> Option<i64>;
    candidates(search: i64, after: i64) -> Vec<StoredCandidate>;
    confirm(search: i64, wanted: &[NewConfirmation]) -> bool;
    confirmations(search: i64) -> Vec<StoredConfirmation>;
    retime(search: i64, candidates: &[i64], profile: Digest) -> bool;
    retimings(search: i64) -> Vec<StoredRetiming>;
    scores(search: i64, after: i64) -> Vec<Score>;
    shared(search: i64, after: i64) -> SharedScores;
    measurements(search: i64, candidate: Option<i64>) -> Vec<StoredMeasurement>;
    first_timing(search: i64) -> Option<StoredMeasurement>;
    claim(claimant: &Claimant, now_ms: i64) -> Option<Claimed>;
    claim_each(claimants: &[Claimant], now_ms: i64) -> Vec<Claimed>;
    leased() -> Vec<HeldLease>;
    requeue(token: LeaseToken, ending: &LeaseEnding, now_ms: i64) -> Requeued;
    task(task: i64) -> Option<TaskFacts>;
    record_each(reports: &[Report], now_ms: i64) -> Vec<Result<Receipt, StoreError>>;
    ask(target: &str, question: &Question, now_ms: i64) -> StoredQuestion;
    question(question: i64) -> Option<StoredQuestion>;
    questions(target: &str) -> Vec<StoredQuestion>;
    claim_question(claimant: &Claimant, now_ms: i64) -> Option<ClaimedQuestion>;
    question_task(task: i64) -> Option<QuestionFacts>;
    record_answer(report: &AnswerReport, now_ms: i64) -> Receipt;
}
