//! What the coordinator remembers. The only folder with SQL in it.
//!
//! [`Store`] is the whole contract; `conformance.rs` says it again as tests that every
//! implementation must pass. Rules that hold for each method:
//!
//! - A method is one transaction: it happens whole or not at all, and answers after the commit.
//! - An error says whether the write may have happened ([`StoreError::may_have_happened`]); every
//!   write can be sent again without harm, or its caller reads before it tries again.
//! - Time is an argument.

#[cfg(test)]
pub(crate) mod audit;
#[cfg(test)]
pub(crate) mod conformance;
mod failure;
mod opened;
pub(crate) mod postgres;
mod rows;
mod schedules;
pub(crate) mod sqlite;
mod term;
#[cfg(test)]
pub(crate) mod unreliable;

use std::time::Duration;

use async_trait::async_trait;
use bitfront_model::{
    AnswerReport, Budget, Deed, DeedOutcome, Digest, HardwareProfile, HeldTask, LeaseToken,
    Question, Receipt, Registration, Report,
};

pub(crate) use opened::Opened;
pub(crate) use rows::{
    Binding, Claimant, Claimed, ClaimedQuestion, DeviceMeasurement, Ending, Given, HeldLease,
    LeaseEnding, Load, NewCandidate, NewConfirmation, NewSearch, NewToken, QuestionFacts,
    QueuedTasks, Requeued, RetimingStanding, Score, ScoreOutcome, SharedScore, SharedScores,
    Standing, StoredCandidate, StoredConfirmation, StoredCoordinator, StoredDevice,
    StoredMeasurement, StoredQuestion, StoredRetiming, StoredSearch, StoredToken, TaskFacts,
};
pub(crate) use schedules::{
    Begun, Decision, NewNight, Schedules, StoredNight, StoredSchedule, Untold,
};

/// What the coordinator remembers; see the module's documentation for what holds everywhere.
#[async_trait]
pub(crate) trait Store: Schedules + Send + Sync + 'static {
    /// Which database this is: drawn when it was made, and the same for as long as it lasts.
    async fn identity(&self) -> Result<String, StoreError>;
    /// How this program and this coordinator stand to the database, by one short read.
    async fn standing(&self) -> Result<Standing, StoreError>;
    /// How much there is of what operators look at, by one statement over indexes.
    async fn load(&self) -> Result<Load, StoreError>;
    /// Does what the database needs done now and then; mostly nothing.
    async fn tend(&self) -> Result<(), StoreError>;
    /// Makes a coordinator known that serves from now on over this store, and says its number, its
    /// *term*. From then on the methods that a driver calls about a search (`wait`, `bind`, `spend`,
    /// `fix_reference`, `end`, `add_candidates`, `confirm`, `retime`) are refused where the search is
    /// not driven by that coordinator ([`StoreError::NotDriven`]), and searches and leases that come
    /// into being are in its charge. Before, as in tests of single parts, there is nobody to be told
    /// apart from.
    async fn join(&self, address: &str, now_ms: i64) -> Result<i64, StoreError>;
    /// No other coordinator can have the database while this store is open.
    fn is_exclusive(&self) -> bool;
    /// Raises the beat of a coordinator. False where it was retired.
    async fn beat(&self, coordinator: i64) -> Result<bool, StoreError>;
    /// The coordinators that serve, by number.
    async fn coordinators(&self) -> Result<Vec<StoredCoordinator>, StoreError>;
    /// Serving → retired, where the beat is still this one, or whatever it is: nobody is in charge
    /// of its searches and leases then or serves its devices. False where it had been retired or has
    /// another beat.
    async fn retire(&self, coordinator: i64, beat: Option<i64>) -> Result<bool, StoreError>;
    /// Takes charge of the searches that nobody drives and that have not ended, and gives all that it
    /// is in charge of then, by number.
    async fn take_searches(&self) -> Result<Vec<i64>, StoreError>;
    /// Takes charge of a search where nobody else drives it. False where somebody does.
    async fn take_search(&self, search: i64) -> Result<bool, StoreError>;
    /// Takes charge of the leases that nobody keeps, by task.
    async fn take_leases(&self) -> Result<Vec<HeldLease>, StoreError>;
    /// Takes charge of a lease, whoever keeps it. False where the device does not hold it.
    async fn keep(&self, token: LeaseToken, device: i64) -> Result<bool, StoreError>;
    /// This coordinator serves a device, for which this agent speaks.
    async fn serve(&self, device: i64, instance: &str) -> Result<(), StoreError>;
    /// This coordinator serves these devices, unless another one does, and no others.
    async fn serve_only(&self, devices: &[i64]) -> Result<(), StoreError>;
    /// The devices that other coordinators serve, by number.
    async fn served_elsewhere(&self) -> Result<Vec<StoredDevice>, StoreError>;

    /// Makes a device known or renews what is known of it; says its number.
    async fn register(&self, device: &Registration, now_ms: i64) -> Result<i64, StoreError>;
    /// One device, without how much it measured.
    async fn device(&self, device: i64) -> Result<Option<StoredDevice>, StoreError>;
    /// Every device, by number.
    async fn devices(&self) -> Result<Vec<StoredDevice>, StoreError>;
    /// Notes when devices were heard from (by number, in milliseconds since 1970), where that is later
    /// than what is known.
    async fn seen(&self, devices: &[(i64, i64)]) -> Result<(), StoreError>;
    /// What devices hold, each with the device, by task.
    async fn held(&self) -> Result<Vec<(i64, HeldTask)>, StoreError>;
    /// The latest measurements that each of some devices handed in, as many of each at the most, by
    /// device, the newest first, repeats among them.
    async fn latest(
        &self,
        devices: &[i64],
        most: u32,
    ) -> Result<Vec<DeviceMeasurement>, StoreError>;
    /// Makes an access token known. False where another one of that name is not revoked.
    async fn add_token(&self, token: &NewToken, now_ms: i64) -> Result<bool, StoreError>;
    /// Every access token, revoked ones too, in the order in which they were made.
    async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError>;
    /// Revokes the access token of a name. False where none of that name is not revoked.
    async fn revoke_token(&self, name: &str, now_ms: i64) -> Result<bool, StoreError>;
    /// Notes what somebody is about to do; says its number.
    async fn begin_deed(&self, deed: &Deed) -> Result<i64, StoreError>;
    /// Notes what came of it, once, and to what, where that was not known before.
    async fn conclude_deed(
        &self,
        deed: i64,
        subject: Option<&str>,
        outcome: DeedOutcome,
    ) -> Result<(), StoreError>;
    /// What was done since a moment; of more than `most` the latest, the latest last.
    async fn deeds(&self, since_ms: i64, most: u32) -> Result<Vec<Deed>, StoreError>;
    /// A hardware profile by its digest.
    async fn profile(&self, digest: Digest) -> Result<Option<HardwareProfile>, StoreError>;

    /// Stores a request as a queued search; one with a known idempotency key finds the search
    /// that it started before.
    async fn submit(&self, search: &NewSearch, now_ms: i64) -> Result<i64, StoreError>;
    /// A search.
    async fn search(&self, search: i64) -> Result<Option<StoredSearch>, StoreError>;
    /// Every search, by number.
    async fn searches(&self) -> Result<Vec<StoredSearch>, StoreError>;
    /// The searches that measure a subject, by number.
    async fn searches_over(&self, subject: Digest) -> Result<Vec<StoredSearch>, StoreError>;
    /// Says what a queued or running search waits for; nothing where it does not wait.
    async fn wait(&self, search: i64, reason: &str) -> Result<(), StoreError>;
    /// Queued → running. False where the search is not queued; a binding is never replaced.
    async fn bind(&self, search: i64, binding: &Binding) -> Result<bool, StoreError>;
    /// Raises the time that a search has used.
    async fn spend(&self, search: i64, active: Duration) -> Result<(), StoreError>;
    /// Fixes the point that hypervolumes are taken against; the first one stays.
    async fn fix_reference(&self, search: i64, point: &[f64]) -> Result<(), StoreError>;
    /// Running → done or failed; its queued tasks are cancelled, its leased ones may still end.
    /// False where the search does not run, or has been given another budget than the driver knew.
    async fn end(&self, search: i64, ending: &Ending, now_ms: i64) -> Result<bool, StoreError>;
    /// Queued or running → cancelled, with all its tasks. The leases that this ended, or none
    /// where the search had ended before.
    async fn cancel(&self, search: i64, now_ms: i64)
    -> Result<Option<Vec<LeaseToken>>, StoreError>;
    /// Replaces the budget, and notes how many candidates were evaluated by then; a done or
    /// cancelled search runs (or, unbound, queues) again, with its cancelled tasks unless their
    /// candidate is infeasible. Confirmations that are queued are cancelled, since the front will
    /// be another one. False for a failed or unknown search.
    async fn resume(
        &self,
        search: i64,
        budget: &Budget,
        evaluated: u64,
    ) -> Result<bool, StoreError>;

    /// Adds candidates with their tasks to a running search and gives their numbers, in the same
    /// order. None where the search does not run. The quality task of a plan that another search
    /// over the same subject has scored on all windows, in the same numerics class, is done at once
    /// with that measurement.
    async fn add_candidates(
        &self,
        search: i64,
        candidates: &[NewCandidate],
        now_ms: i64,
    ) -> Result<Option<Vec<i64>>, StoreError>;
    /// Adds one candidate as [`Self::add_candidates`] does.
    #[cfg(test)]
    async fn add_candidate(
        &self,
        search: i64,
        candidate: &NewCandidate,
        now_ms: i64,
    ) -> Result<Option<i64>, StoreError> {
        let added = self.add_candidates(search, std::slice::from_ref(candidate), now_ms);
        Ok(added.await?.and_then(|added| added.first().copied()))
    }
    /// The search that a candidate belongs to.
    async fn search_of(&self, candidate: i64) -> Result<Option<i64>, StoreError>;
    /// The candidates of a search with a number above `after`, in order.
    async fn candidates(&self, search: i64, after: i64)
    -> Result<Vec<StoredCandidate>, StoreError>;
    /// Queues confirmations of a running search, those that were cancelled too, for whom they are
    /// wanted of now; ones that are there already stay as they are. The search's own queued tasks,
    /// second timings among them, are cancelled, since it is over. False where the search does not
    /// run, or has been given another budget than the driver knew.
    async fn confirm(
        &self,
        search: i64,
        known: &Given,
        wanted: &[NewConfirmation],
    ) -> Result<bool, StoreError>;
    /// The confirmations of a search, by candidate and kind.
    async fn confirmations(&self, search: i64) -> Result<Vec<StoredConfirmation>, StoreError>;
    /// Queues second timings of candidates of a running search for the devices of a hardware
    /// profile, those that were cancelled too; ones that are there already stay as they are. False
    /// where the search does not run.
    async fn retime(
        &self,
        search: i64,
        candidates: &[i64],
        profile: Digest,
    ) -> Result<bool, StoreError>;
    /// The second timings of a search that were ever asked for, by candidate.
    async fn retimings(&self, search: i64) -> Result<Vec<StoredRetiming>, StoreError>;
    /// The accepted measurements of a search with a number above `after`, in order, by the
    /// figures that the search steers by. Confirmations are not among them, and of second timings
    /// those alone that were executed as planned.
    async fn scores(&self, search: i64, after: i64) -> Result<Vec<Score>, StoreError>;
    /// What the siblings of a search measured with a number above `after`, in order: their accepted
    /// qualities, scored on all windows, and latencies, second ones too, as planned. Siblings are
    /// the other searches over its subject that share, whatever has become of them; a search that
    /// does not share has none. Qualities that one took over from another search are among them,
    /// confirmations are not. Who reads on after `last` reads no measurement twice.
    async fn shared(&self, search: i64, after: i64) -> Result<SharedScores, StoreError>;
    /// The accepted measurements of a search, or of one candidate of it, whole and in order,
    /// confirmations among them.
    async fn measurements(
        &self,
        search: i64,
        candidate: Option<i64>,
    ) -> Result<Vec<StoredMeasurement>, StoreError>;

    /// The first accepted timing of a search, whole: it fixes the scale for those that follow.
    async fn first_timing(&self, search: i64) -> Result<Option<StoredMeasurement>, StoreError>;

    /// Leases the first queued task whose target is the claimant's hardware profile, or, of
    /// quality, its numerics class: by candidate, latency first, since a plan whose times are known
    /// may be found to be dominated while it is scored.
    async fn claim(&self, claimant: &Claimant, now_ms: i64) -> Result<Option<Claimed>, StoreError>;
    /// Leases a task for each claimant in turn, as [`Self::claim`] does, until one of them gets
    /// none. They are of one hardware profile and numerics class.
    async fn claim_each(
        &self,
        claimants: &[Claimant],
        now_ms: i64,
    ) -> Result<Vec<Claimed>, StoreError>;
    /// The leases that this coordinator keeps, by task.
    async fn leased(&self) -> Result<Vec<HeldLease>, StoreError>;
    /// What a device holds, whoever keeps it.
    async fn held_by(&self, device: i64) -> Result<Vec<LeaseToken>, StoreError>;
    /// Ends a lease without a result: leased → queued, or failed with an `abandoned` measurement
    /// after too many attempts that count. Changes nothing where the token does not hold the task.
    async fn requeue(
        &self,
        token: LeaseToken,
        ending: &LeaseEnding,
        now_ms: i64,
    ) -> Result<Requeued, StoreError>;
    /// What a report about a task is checked against.
    async fn task(&self, task: i64) -> Result<Option<TaskFacts>, StoreError>;
    /// Appends a measurement, once for every idempotency key. It ends the task where the token
    /// holds it, or where nobody does and it is queued; otherwise it is kept as a repeat. An
    /// infeasible one that ends its task also cancels the candidate's queued tasks of the same
    /// purpose. The report must have been checked against [`Self::task`].
    async fn record(&self, report: &Report, now_ms: i64) -> Result<Receipt, StoreError> {
        let receipts = self.record_each(std::slice::from_ref(report), now_ms);
        let receipt = receipts.await?.pop();
        receipt.unwrap_or_else(|| {
            Err(StoreError::Corrupt {
                what: format!("the report about task {}", report.token.task),
                reason: "it was given no receipt".to_owned(),
            })
        })
    }
    /// Takes reports in as [`Self::record`] does, one after the other, in one transaction. A report
    /// whose key belongs to another task's is refused alone; whatever else fails, fails for all.
    async fn record_each(
        &self,
        reports: &[Report],
        now_ms: i64,
    ) -> Result<Vec<Result<Receipt, StoreError>>, StoreError>;

    /// A question to the devices of a target: the digest of a hardware profile for a probe, a
    /// numerics class for a sensitivity. One that was never asked is queued; a failed one stays as
    /// it is.
    async fn ask(
        &self,
        target: &str,
        question: &Question,
        now_ms: i64,
    ) -> Result<StoredQuestion, StoreError>;
    /// A question.
    async fn question(&self, question: i64) -> Result<Option<StoredQuestion>, StoreError>;
    /// The questions to a target, by number.
    async fn questions(&self, target: &str) -> Result<Vec<StoredQuestion>, StoreError>;
    /// Leases the first queued question that the claimant is a target of and says that it can
    /// answer, probes first.
    async fn claim_question(
        &self,
        claimant: &Claimant,
        now_ms: i64,
    ) -> Result<Option<ClaimedQuestion>, StoreError>;
    /// What a report about a question's task is checked against; none for a task of a candidate.
    async fn question_task(&self, task: i64) -> Result<Option<QuestionFacts>, StoreError>;
    /// Appends the answer to a question, once for every idempotency key, and ends its task as
    /// [`Self::record`] does. The report must have been checked against [`Self::question_task`].
    async fn record_answer(
        &self,
        report: &AnswerReport,
        now_ms: i64,
    ) -> Result<Receipt, StoreError>;
}

/// The store did not do as it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened or made.
    #[error("cannot open the database {database}: {reason}")]
    Open {
        /// The file, or the URL without its secrets.
        database: String,
        /// Why.
        reason: String,
    },
    /// Another coordinator serves this database now.
    #[error("the database {database} is served by another coordinator{}; use that one or stop it",
        address.as_ref().map(|at| format!(" at {at}")).unwrap_or_default())]
    InUse {
        /// The file, or the URL without its secrets.
        database: String,
        /// Where the other one listens, as far as it said.
        address: Option<String>,
    },
    /// The database is something else.
    #[error("{database} is not a bitfront database: {reason}; name another one")]
    NotOurs {
        /// The file, or the URL without its secrets.
        database: String,
        /// What it is.
        reason: String,
    },
    /// The database was written by a newer version of the program.
    #[error(
        "the database {database} has schema version {found}, this program knows versions up \
        to {known}; use the newer version of bitfront that wrote it"
    )]
    Newer {
        /// The file, or the URL without its secrets.
        database: String,
        /// The version found.
        found: i64,
        /// The latest version known.
        known: i64,
    },
    /// Reading or writing failed.
    #[error("the database failed while it was asked to {doing}: {reason}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        reason: String,
        /// False where it is certain that nothing was written.
        may_have_happened: bool,
    },
    /// The database will not have the values that it was given. Nothing was written.
    #[error("the database refused what it was given when it was asked to {doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        reason: String,
    },
    /// What is stored cannot be what was written.
    #[error("the database holds {what} that cannot be read: {reason}")]
    Corrupt {
        /// The table and the row.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Another coordinator drives the search, or nobody does: this one was silent for too long and
    /// was replaced. Nothing was written.
    #[error("search {search} is driven by another coordinator now")]
    NotDriven {
        /// The search.
        search: i64,
    },
    /// The idempotency key belongs to a report about another task.
    #[error("the idempotency key `{key}` was used for a report about another task")]
    KeyReused {
        /// The key.
        key: String,
    },
}

impl StoreError {
    /// False where it is certain that nothing was written.
    pub fn may_have_happened(&self) -> bool {
        matches!(
            self,
            Self::Failed {
                may_have_happened: true,
                ..
            }
        )
    }

    /// True where what was asked is to blame, or a row that it is about: others of the same kind may
    /// do better. False where the database is, as one that is away.
    pub(crate) fn is_about_what_was_given(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::Corrupt { .. } | Self::KeyReused { .. }
        )
    }

    /// The same error for what was not even tried because of it.
    pub(crate) fn of_what_was_not_tried(self) -> Self {
        match self {
            Self::Failed { doing, reason, .. } => Self::Failed {
                doing,
                reason,
                may_have_happened: false,
            },
            other => other,
        }
    }
}
