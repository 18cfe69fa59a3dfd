//! What goes into the store and comes out of it.

use std::time::Duration;

use bitfront_model::{
    AccessRole, AccessToken, Answer, Budget, Digest, Exclusion, LeaseToken, Measurement, ModelSpec,
    NumericsClass, Plan, Precision, Question, QuestionStanding, Registration, SearchRequest,
    SearchState, TaskKind, TaskPurpose, Workload,
};
use bitfront_search::space::Genome;

use super::StoreError;

/// A coordinator that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredCoordinator {
    /// Its term.
    pub(crate) id: i64,
    /// Where it listens.
    pub(crate) address: String,
    pub(crate) beat: i64,
}

/// A device that registered at some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredDevice {
    pub(crate) id: i64,
    pub(crate) registration: Registration,
    /// Which agent spoke for it last, where that is known.
    pub(crate) instance: Option<String>,
    /// Where the coordinator listens that its agent spoke to last, where that one serves.
    pub(crate) coordinator: Option<String>,
    pub(crate) first_seen_ms: i64,
    pub(crate) last_seen_ms: i64,
    pub(crate) measurements: u64,
}

/// What a device measured for a search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeviceMeasurement {
    pub(crate) device: i64,
    pub(crate) search: i64,
    pub(crate) measurement: Measurement,
}

/// A search to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewSearch {
    pub(crate) request: SearchRequest,
    pub(crate) idempotency_key: Option<String>,
    /// The plans that it begins with after its baselines, by the precisions of their layers.
    pub(crate) starts: Vec<Vec<Precision>>,
}

/// What a search is bound to for all its life: figures of other devices cannot be compared, and
/// genes mean something only over these precisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) hardware_profile: Digest,
    pub(crate) numerics_class: NumericsClass,
    /// Everything that the device executes, whatever was asked for.
    pub(crate) precisions: Vec<Precision>,
    /// The probe that guesses of times are made from; none where it could not be had.
    pub(crate) probe: Option<i64>,
    /// What left the space by that probe.
    pub(crate) exclusions: Vec<Exclusion>,
    /// The sensitivity that guesses of losses are made from; none where it was not wanted or could
    /// not be had.
    pub(crate) sensitivity: Option<i64>,
}

/// A search as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSearch {
    pub(crate) id: i64,
    /// As submitted, but with the budget as it is now.
    pub(crate) request: SearchRequest,
    pub(crate) state: SearchState,
    pub(crate) reason: String,
    pub(crate) created_at_ms: i64,
    pub(crate) ended_at_ms: Option<i64>,
    pub(crate) active: Duration,
    pub(crate) binding: Option<Binding>,
    pub(crate) reference_point: Option<Vec<f64>>,
    /// Evaluations that it had when it was last given more budget; 0 if it never was.
    pub(crate) continued_after: u64,
    /// The plans that it begins with after its baselines, by the precisions of their layers.
    pub(crate) starts: Vec<Vec<Precision>>,
}

/// Under which budget something was decided about a search: where it has another one by now, it was
/// continued meanwhile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Given {
    pub(crate) budget: Budget,
    /// [`StoredSearch::continued_after`].
    pub(crate) continued_after: u64,
}

impl StoredSearch {
    /// The budget that it has.
    pub(crate) fn given(&self) -> Given {
        Given {
            budget: self.request.budget,
            continued_after: self.continued_after,
        }
    }
}

/// How a search ends.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// Done or failed.
    pub(crate) state: SearchState,
    pub(crate) reason: String,
    pub(crate) active: Duration,
    /// The budget that was found to be spent; another one in the store keeps the search running.
    pub(crate) budget: Budget,
    /// [`StoredSearch::continued_after`] as it was then; another one keeps it running too.
    pub(crate) continued_after: u64,
}

/// A candidate to be stored, with the tasks that measure it.
#[derive(Debug, Clone)]
pub(crate) struct NewCandidate {
    pub(crate) ask_number: Option<u64>,
    pub(crate) genome: Option<Genome>,
    pub(crate) plan: Plan,
    pub(crate) size_bytes: u64,
    pub(crate) baseline: Option<String>,
    /// What to measure and who may: a numerics class or the digest of a hardware profile.
    pub(crate) tasks: Vec<(TaskKind, String)>,
}

/// A candidate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredCandidate {
    pub(crate) id: i64,
    /// None of a baseline, and of a plan that the search began with.
    pub(crate) ask_number: Option<u64>,
    pub(crate) genome: Option<Genome>,
    pub(crate) precisions: Vec<Precision>,
    pub(crate) plan_digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) baseline: Option<String>,
}

impl StoredCandidate {
    /// The plan, for the model of its search.
    pub(crate) fn plan(&self, spec: &ModelSpec) -> Result<Plan, StoreError> {
        Plan::new(spec, self.precisions.clone()).map_err(|error| StoreError::Corrupt {
            what: format!("candidate {}", self.id),
            reason: error.to_string(),
        })
    }
}

/// An accepted measurement, by the figures that a search steers by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Score {
    pub(crate) measurement: i64,
    pub(crate) candidate: i64,
    /// A retiming counts in place of the candidate's first timing.
    pub(crate) purpose: TaskPurpose,
    pub(crate) executed_as_planned: bool,
    pub(crate) outcome: ScoreOutcome,
}

/// What siblings measured, as far as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedScores {
    /// In the order of the measurements.
    pub(crate) scores: Vec<SharedScore>,
    /// The number of the latest measurement of any search that was there to be read.
    pub(crate) last: i64,
}

/// What a sibling measured of a plan: all windows, and as planned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedScore {
    /// The sibling.
    pub(crate) search: i64,
    /// The plan, in the order of the sibling's layers.
    pub(crate) precisions: Vec<Precision>,
    /// A quality or a latency.
    pub(crate) score: Score,
    /// Since when the sibling knows it, in milliseconds since 1970: of a quality that it took over
    /// that is when its candidate was added.
    pub(crate) since_ms: i64,
}

/// The figures of a score.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ScoreOutcome {
    /// Mean KL divergence in nats, which is what some windows let expect of all where scoring
    /// stopped, and the share of the scored positions at which another token ranks first.
    Quality {
        kld: f64,
        mismatch: f64,
        stopped: bool,
    },
    /// Medians in nanoseconds.
    Latency { decode_ns: f64, prefill_ns: f64 },
    /// The candidate cannot be executed, or (`abandoned`) every attempt to measure it failed.
    Infeasible { reason: String, abandoned: bool },
}

/// One figure of a candidate that is measured afresh.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewConfirmation {
    pub(crate) candidate: i64,
    pub(crate) kind: TaskKind,
    /// The digest of the hardware profile that the figure is to hold for.
    pub(crate) target: String,
}

/// How far a figure that is measured afresh has come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredConfirmation {
    pub(crate) candidate: i64,
    pub(crate) kind: TaskKind,
    /// Somebody measures it, or will.
    pub(crate) pending: bool,
    /// What came out; none while pending, and where it was cancelled.
    pub(crate) score: Option<Score>,
}

/// How far a second timing of a candidate has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredRetiming {
    pub(crate) candidate: i64,
    pub(crate) standing: RetimingStanding,
}

/// How far a second timing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetimingStanding {
    /// Somebody measures it, or will.
    Pending,
    /// It is measured or given up.
    Ended,
    /// It was cancelled, and may be asked for again.
    Cancelled,
}

/// An accepted measurement, whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredMeasurement {
    pub(crate) id: i64,
    pub(crate) candidate: i64,
    pub(crate) purpose: TaskPurpose,
    pub(crate) measurement: Measurement,
    pub(crate) executed_as_planned: bool,
    pub(crate) device: String,
    pub(crate) received_at_ms: i64,
}

/// A device that asks for work.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    pub(crate) device: i64,
    pub(crate) numerics_class: NumericsClass,
    pub(crate) hardware_profile: Digest,
    /// The questions that it says it can answer.
    pub(crate) can_probe: bool,
    pub(crate) can_score_swaps: bool,
    pub(crate) lease_time: Duration,
    /// So many of the queued qualities of its numerics class that searches steer by are not for it:
    /// those whose candidates were asked for first.
    pub(crate) left_to_faster: u32,
    /// Only a timing of this search and purpose that was never handed out before, to be taken in
    /// turns with one that the device holds: a task that failed is tried again alone, so that it
    /// cannot fail others with it. Retimings are measured as the search measures, and go with its
    /// timings.
    pub(crate) companion_in: Option<(i64, TaskPurpose)>,
}

/// A task that was just leased.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claimed {
    pub(crate) token: LeaseToken,
    pub(crate) search: i64,
    pub(crate) candidate: i64,
    pub(crate) kind: TaskKind,
    pub(crate) purpose: TaskPurpose,
    pub(crate) precisions: Vec<Precision>,
    /// Hand-outs that count against the task, this one included.
    pub(crate) attempts: u32,
}

/// A question as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredQuestion {
    pub(crate) id: i64,
    pub(crate) question: Question,
    pub(crate) standing: QuestionStanding<Answer>,
}

/// A question that was just leased.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClaimedQuestion {
    pub(crate) token: LeaseToken,
    pub(crate) question: Question,
}

/// What the report of an answer is checked against.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuestionFacts {
    /// Hand-outs so far.
    pub(crate) epoch: i64,
    pub(crate) question: Question,
}

/// A task that is leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldLease {
    pub(crate) token: LeaseToken,
    pub(crate) device: i64,
}

/// How a lease ends without a result.
#[derive(Debug, Clone)]
pub(crate) struct LeaseEnding {
    /// For the operator.
    pub(crate) reason: String,
    /// Whether the attempt counts against the task.
    pub(crate) counts: bool,
    /// Attempts after which the task is given up.
    pub(crate) most_attempts: u32,
    /// Only where this coordinator keeps the lease: another one that does may have heard of the
    /// agent.
    pub(crate) only_ours: bool,
}

/// What became of a task whose lease ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requeued {
    /// It can be leased again.
    Queued,
    /// It was given up, and its candidate is infeasible.
    Failed,
    /// The token did not hold it.
    NotHeld,
}

/// What a report about a task is checked against.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskFacts {
    pub(crate) search: i64,
    pub(crate) kind: TaskKind,
    pub(crate) purpose: TaskPurpose,
    /// Hand-outs so far.
    pub(crate) epoch: i64,
    pub(crate) plan_digest: Digest,
    pub(crate) layers: usize,
    pub(crate) workloads: Vec<Workload>,
    /// Windows of the text that the search scores.
    pub(crate) windows: usize,
}

/// An access token that is made; its secret is not stored.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    pub(crate) name: String,
    pub(crate) role: AccessRole,
    /// Of its secret.
    pub(crate) digest: Digest,
    pub(crate) expires_ms: Option<i64>,
}

/// An access token with the digest of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredToken {
    pub(crate) token: AccessToken,
    pub(crate) digest: Digest,
}

/// How a program and a coordinator stand to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The version of the database's schema.
    pub(crate) schema: i64,
    /// The latest version that this program knows.
    pub(crate) known_schema: i64,
    /// The coordinator serves under its term: nobody has taken its work over.
    pub(crate) serves: bool,
}

/// How much there is of what operators look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// How many searches are in a state, by its name; none where there are none.
    pub(crate) searches: Vec<(SearchState, i64)>,
    /// What waits for devices, by target and kind.
    pub(crate) queued: Vec<QueuedTasks>,
}

/// Tasks of one kind that wait for the devices of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuedTasks {
    /// The first characters of a hardware profile's digest, or a numerics class.
    pub(crate) target: String,
    /// The name of the kind.
    pub(crate) kind: String,
    pub(crate) count: i64,
}
