//! A store that loses requests and replies, for tests of what stands on a store.
//!
//! Two questions are asked of every call: does it happen, and does the caller hear of it? What comes of
//! it is its [`Fate`]. [`Dice`] decide, or whatever else a test has for a [`Weather`]; a [`Witness`]
//! sees what really happened.

#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bitfront_model::{
    AnswerReport, Budget, Deed, DeedOutcome, Digest, HardwareProfile, HeldTask, LeaseToken,
    NewSchedule, NoticeState, Question, Receipt, Registration, Report, ScheduleState,
    SearchRequest,
};

use super::*;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It happens, and its caller hears of it.
    Passes,
    /// It never happens. The caller is told that nothing was written, or that something may have
    /// been.
    RequestLost { may_have_happened: bool },
    /// It happens, and its caller is told that it may have.
    ReplyLost,
    /// The same, but it happens after its caller was told.
    Late,
}

/// A call that happens after its caller was told that it may have.
pub(crate) type LateCall = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Decides what becomes of calls.
#[async_trait]
pub(crate) trait Weather: Send + Sync + 'static {
    /// The fate of a call, which waits for it, and something that is dropped once the call is over.
    async fn fate(&self, call: &'static str) -> (Fate, Box<dyn Send>);
    /// Keeps a call until it happens.
    fn keep(&self, call: &'static str, late: LateCall);
    /// Comes between what happened and its caller's hearing of it.
    async fn happened(&self) {}
}

/// Throws dice for every call, by a seed.
struct Dice {
    /// Of a thousand.
    lost_requests: u64,
    /// Of a thousand.
    lost_replies: u64,
    state: Mutex<u64>,
}

impl Dice {
    /// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    fn throw(&self, of_a_thousand: u64) -> bool {
        let mut state = self.state.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % 1000 < of_a_thousand
    }
}

#[async_trait]
impl Weather for Dice {
    async fn fate(&self, _call: &'static str) -> (Fate, Box<dyn Send>) {
        let fate = if self.throw(self.lost_requests) {
            Fate::RequestLost {
                may_have_happened: false,
            }
        } else if self.throw(self.lost_replies) {
            Fate::ReplyLost
        } else {
            Fate::Passes
        };
        (fate, Box::new(()))
    }

    fn keep(&self, _call: &'static str, _late: LateCall) {}
}

/// Sees nothing.
struct Nobody;

impl ScheduleWitness for Nobody {}
impl Witness for Nobody {}

/// A store over another one, in a weather.
pub(crate) struct Unreliable {
    inner: Arc<dyn Store>,
    weather: Arc<dyn Weather>,
    witness: Arc<dyn Witness>,
    is_exclusive: bool,
    calls: AtomicU64,
}

impl Unreliable {
    /// Loses a share of all requests and a share of all replies, by a seed.
    pub(crate) fn new(
        inner: Arc<dyn Store>,
        seed: u64,
        lost_requests: u64,
        lost_replies: u64,
    ) -> Self {
        let dice = Dice {
            lost_requests,
            lost_replies,
            state: Mutex::new(seed),
        };
        let is_exclusive = inner.is_exclusive();
        Self::under(inner, Arc::new(dice), Arc::new(Nobody), is_exclusive)
    }

    /// In some weather, before a witness, and saying of itself whether others can have the database.
    pub(crate) fn under(
        inner: Arc<dyn Store>,
        weather: Arc<dyn Weather>,
        witness: Arc<dyn Witness>,
        is_exclusive: bool,
    ) -> Self {
        Self {
            inner,
            weather,
            witness,
            is_exclusive,
            calls: AtomicU64::new(0),
        }
    }

    /// Calls so far, lost ones included.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

fn lost(what: &str, may_have_happened: bool) -> StoreError {
    StoreError::Failed {
        doing: "pass through a test",
        reason: format!("the {what} was lost"),
        may_have_happened,
    }
}

/// An argument that outlives its call.
trait Owned {
    type Of: Send + 'static;
    fn owned(self) -> Self::Of;
}

/// An argument as a call takes it.
trait Lent<'a, T> {
    fn lent(&'a self) -> T;
}

macro_rules! by_value {
    ($($type:ty),+) => {
        $(impl Owned for $type {
            type Of = Self;
            fn owned(self) -> Self {
                self
            }
        }
        impl Lent<'_, $type> for $type {
            fn lent(&self) -> Self {
                *self
            }
        })+
    };
}

by_value!(
    i64,
    u32,
    u64,
    Option<i64>,
    DeedOutcome,
    Digest,
    Duration,
    LeaseToken,
    NoticeState,
    ScheduleState
);

impl<T: Clone + Send + 'static> Owned for &T {
    type Of = T;
    fn owned(self) -> T {
        self.clone()
    }
}

impl<'a, T> Lent<'a, &'a T> for T {
    fn lent(&'a self) -> &'a T {
        self
    }
}

impl Owned for &str {
    type Of = String;
    fn owned(self) -> String {
        self.to_owned()
    }
}

impl<'a> Lent<'a, &'a str> for String {
    fn lent(&'a self) -> &'a str {
        self
    }
}

impl Owned for Option<&str> {
    type Of = Option<String>;
    fn owned(self) -> Option<String> {
        self.map(str::to_owned)
    }
}

impl<'a> Lent<'a, Option<&'a str>> for Option<String> {
    fn lent(&'a self) -> Option<&'a str> {
        self.as_deref()
    }
}

impl<T: Clone + Send + 'static> Owned for &[T] {
    type Of = Vec<T>;
    fn owned(self) -> Vec<T> {
        self.to_vec()
    }
}

impl<'a, T> Lent<'a, &'a [T]> for Vec<T> {
    fn lent(&'a self) -> &'a [T] {
        self
    }
}

/// Passes on the calls of a trait and shows them to a witness; what is more of it comes first.
macro_rules! passed_on {
    ($trait:ident, $witness:ident: $($more_of_it:ident +)* { $($more:tt)* }
     $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        /// Sees every call that really happened, lost replies and late calls among them, in the order
        /// in which they did; looks at nothing unless it says otherwise.
        #[allow(unused_variables)]
        pub(crate) trait $witness: $($more_of_it +)* Send + Sync + 'static {
            $(fn $name(
                &self,
                $($argument: $type,)*
                result: &Result<$answer, StoreError>,
            ) {})+
        }

        #[async_trait]
        impl $trait for Unreliable {
            $($more)*

            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.calls.fetch_add(1, Ordering::SeqCst);
                let call = stringify!($name);
                let (fate, _until_it_is_over) = self.weather.fate(call).await;
                match fate {
                    Fate::RequestLost { may_have_happened } => {
                        Err(lost("request", may_have_happened))
                    }
                    Fate::Late => {
                        let (inner, witness) = (self.inner.clone(), self.witness.clone());
                        $(let $argument = Owned::owned($argument);)*
                        self.weather.keep(call, Box::pin(async move {
                            let result = inner.$name($(Lent::lent(&$argument)),*).await;
                            $witness::$name(&*witness, $(Lent::lent(&$argument),)* &result);
                        }));
                        Err(lost("reply", true))
                    }
                    Fate::Passes | Fate::ReplyLost => {
                        let result = self.inner.$name($($argument),*).await;
                        $witness::$name(&*self.witness, $($argument,)* &result);
                        self.weather.happened().await;
                        match fate {
                            Fate::ReplyLost => Err(lost("reply", true)),
                            _ => result,
                        }
                    }
                }
            })+
        }
    };
}

passed_on! {
    Schedules, ScheduleWitness: {}
    add_schedule(schedule: &NewSchedule, now_ms: i64) -> bool;
    schedules() -> Vec<StoredSchedule>;
    scheduled(schedule: i64) -> Option<SearchRequest>;
    set_schedule(name: &str, state: ScheduleState, now_ms: i64) -> Option<bool>;
    begin_night(night: &NewNight, now_ms: i64) -> Option<Begun>;
    nights(schedule: i64, most: u32) -> Vec<StoredNight>;
    searches_of_nights(schedule: i64, most: u32) -> Vec<i64>;
    to_tell(now_ms: i64, most: u32) -> Vec<Untold>;
    begin_notice(night: i64, attempts: u64, now_ms: i64, next_ms: i64) -> bool;
    conclude_notice(night: i64, state: NoticeState, error: Option<&str>, now_ms: i64) -> ();
}

passed_on! {
    Store, Witness: ScheduleWitness + {
        fn is_exclusive(&self) -> bool {
            self.is_exclusive
        }
    }
    identity() -> String;
    standing() -> Standing;
    load() -> Load;
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
    latest(devices: &[i64], most: u32) -> Vec<DeviceMeasurement>;
    add_token(token: &NewToken, now_ms: i64) -> bool;
    tokens() -> Vec<StoredToken>;
    revoke_token(name: &str, now_ms: i64) -> bool;
    begin_deed(deed: &Deed) -> i64;
    conclude_deed(deed: i64, subject: Option<&str>, outcome: DeedOutcome) -> ();
    deeds(since_ms: i64, most: u32) -> Vec<Deed>;
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
    confirm(search: i64, known: &Given, wanted: &[NewConfirmation]) -> bool;
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
