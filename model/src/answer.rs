//! What the coordinator answers: where searches stand, and what they found.

use std::fmt;
use std::str::FromStr;

use crate::{
    Believed, Check, Digest, Evidence, HardwareProfile, Interval, Latency, ModelSpec,
    NumericsClass, Placing, Plan, Precision, Quality, SearchRequest, Stale, Subject, UnknownName,
    Workload,
};

/// Where a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SearchState {
    /// It waits for a device that can serve it.
    Queued,
    /// It is bound to a device and candidates are measured.
    Running,
    /// It ended by one of its stop rules; more budget continues it.
    Done,
    /// It was cancelled; more budget continues it.
    Cancelled,
    /// It cannot go on; the reason says why.
    Failed,
}

impl SearchState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// True where nothing more happens without someone asking for it.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}

impl fmt::Display for SearchState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for SearchState {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or_else(|| UnknownName {
                what: "state",
                name: text.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// Where one search stands. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchStatus {
    /// The search.
    pub search: i64,
    /// As it was submitted, but with the budget as it is now.
    pub request: SearchRequest,
    /// Where it stands.
    pub state: SearchState,
    /// Why it ended, or what it waits for.
    pub reason: String,
    /// When it was submitted.
    pub created_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// Time that counts towards the budget.
    pub active: std::time::Duration,
    /// Candidates asked for, baselines included.
    pub candidates: u64,
    /// Candidates with every measurement that the objectives need, infeasible ones included.
    pub evaluated: u64,
    /// Candidates that cannot be executed.
    pub infeasible: u64,
    /// Points that nothing dominates by the means alone: the front that the search steers by. The
    /// published one takes the noise into account.
    pub front_size: u64,
    /// Exact hypervolume of that front against [`Self::reference_point`].
    pub hypervolume: Option<f64>,
    /// One figure an objective, in the request's order; empty before it is fixed.
    pub reference_point: Vec<f64>,
    /// What more budget would bring. None while the search has not ended, where it has no reference
    /// point, and where nothing is left to evaluate.
    pub outlook: Option<Outlook>,
    /// What the predictions of the search's model were worth, oldest first; empty of a strategy
    /// that predicts nothing, and in a listing of all searches.
    pub trust: Vec<Check>,
    /// What it learned from its siblings; nothing in a listing of all searches.
    pub shared: SharedPlans,
    /// The hardware profile that the search is bound to.
    pub hardware_profile: Option<Digest>,
    /// One line about that profile, for people.
    pub hardware_summary: String,
    /// The numerics class that the search is bound to.
    pub numerics_class: Option<NumericsClass>,
}

/// What a search learned from its siblings: the searches over its subject with the same genes that
/// share as it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedPlans {
    /// Plans of its space that siblings measured, and it did not.
    pub plans: u64,
    /// The siblings that measured them first, by number.
    pub searches: Vec<i64>,
}

/// What as many evaluations again would bring, judged by how the front grew: its hypervolume, on
/// the scale that distances between plans count on (the divergence by its logarithm).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Evaluations so far, without the baselines.
    pub evaluations: u64,
    /// None where they are too few to say, or grew the front in too few steps.
    pub expected: Option<Expected>,
}

/// Growth as shares of the hypervolume now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// What the latter half of the evaluations brought.
    pub grew: f64,
    /// What as many evaluations again are expected to bring.
    pub grows: f64,
}

/// One figure of a point, with all that is known of how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure<T> {
    /// Which stored measurement it is.
    pub measurement: i64,
    /// What was measured.
    pub value: T,
    /// How it was measured.
    pub evidence: Evidence,
    /// The device that measured it.
    pub device: String,
    /// When it was handed in, in milliseconds since the Unix epoch.
    pub measured_at_ms: i64,
}

/// What the search itself had measured of a point whose figures were taken afresh before the
/// search ended. These are the figures that the point was chosen by, and so flatter it.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirmation {
    /// Quality on the scored windows; none where the text had no windows left to confirm on, so
    /// that the search's own quality stands.
    pub searched_quality: Option<Figure<Quality>>,
    /// Latency in the search's own timing.
    pub searched_latency: Option<Figure<Vec<Latency>>>,
    /// A figure differs from the search's own beyond the intervals of both.
    pub differs: bool,
    /// How well the published times repeat; the intervals of the times have it in them. Empty where
    /// too few plans were timed twice to tell.
    pub repeatability: Vec<Repeatability>,
    /// What the device that confirmed quality made of windows that the search had scored; none
    /// where it scored none of them once more.
    pub rescoring: Option<Rescoring>,
}

/// How far one timing of a plan lies from another beyond what its own interval knows, over the
/// plans of a front that were timed twice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repeatability {
    /// What was timed.
    pub workload: Workload,
    /// Standard deviation of one timing, as a share of the time.
    pub deviation: f64,
}

/// The same windows under the same plan, once scored by the device that confirmed it and once by
/// the one that measured it for the search. Both are of one numerics class, and should agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rescoring {
    /// Windows that both scored.
    pub windows: u64,
    /// The confirming device's divergence over the search's: the geometric mean of the windows.
    pub ratio: f64,
    /// Where the ratio over all windows lies; none of a single window.
    pub interval: Option<Interval>,
    /// The two differ by more than devices of one class can: one of them computes something else.
    pub deviates: bool,
}

/// One measured candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontPoint {
    /// The search it belongs to.
    pub search: i64,
    /// The candidate.
    pub candidate: i64,
    /// The names of the baselines that it is, where it is one: `Q6_K, uniform q6_k`.
    pub baseline: Option<String>,
    /// The plan.
    pub plan: Plan,
    /// Exact bytes of all weights.
    pub size_bytes: u64,
    /// Mean bits per weight over the layers.
    pub bits_per_weight: f64,
    /// It is shown on the published front: nothing shown is as good, as far as the noise lets one
    /// tell. Once a search is done and points of its front are confirmed, these are compared with
    /// each other alone, by their fresh figures.
    pub on_front: bool,
    /// The same by the figures that the search itself measured, whether or not they are confirmed.
    pub was_on_front: bool,
    /// It is the front's knee: the point of best compromise.
    pub is_knee: bool,
    /// It keeps the limits of the search.
    pub within_limits: bool,
    /// False where a layer executed in another precision than was asked for; such a point never
    /// enters a front.
    pub executed_as_planned: bool,
    /// Its quality, once measured.
    pub quality: Option<Figure<Quality>>,
    /// Its latency, once measured; one entry a workload.
    pub latency: Option<Figure<Vec<Latency>>>,
    /// The search's first timing, where another one took its place since the search's model
    /// contradicted it; none where the search timed it once.
    pub first_latency: Option<Figure<Vec<Latency>>>,
    /// Why it cannot be executed, where it cannot.
    pub infeasible: Option<String>,
    /// Why it is on the front, or why not.
    pub placing: Placing,
    /// Quality and latency are fresh; this is what they replaced. None where they are the search's
    /// own: the search is not done, or the point was not confirmed.
    pub confirmation: Option<Confirmation>,
    /// Why confirming it failed, where it did.
    pub unconfirmed: Option<String>,
    /// What is believed of its figures beside what was measured of them: divergence, decode step,
    /// prefill, size. Empty where that was not asked for, where the plan lies outside the space,
    /// and where what is stored no longer fits the space.
    pub believed: Vec<Believed>,
}

impl FrontPoint {
    /// Median time of one decode step in nanoseconds, once measured.
    pub fn decode_ns(&self) -> Option<f64> {
        self.median(Workload::is_decode)
    }

    /// Median time of one prefill in nanoseconds, once measured.
    pub fn prefill_ns(&self) -> Option<f64> {
        self.median(|workload| !workload.is_decode())
    }

    /// Mean KL divergence in nats, once measured.
    pub fn kld(&self) -> Option<f64> {
        self.quality.as_ref().map(|figure| figure.value.kld)
    }

    /// Share of positions at which another token ranks first than under the unquantized model.
    pub fn mismatch(&self) -> Option<f64> {
        let quality = self.quality.as_ref();
        quality.map(|figure| figure.value.mismatch())
    }

    /// The name of llama.cpp's preset that it is.
    pub fn preset(&self) -> Option<&str> {
        let mut names = self.baseline.as_ref()?.split(", ");
        names.find(|name| !name.starts_with("uniform "))
    }

    fn median(&self, which: impl Fn(Workload) -> bool) -> Option<f64> {
        let latencies = &self.latency.as_ref()?.value;
        latencies
            .iter()
            .find(|latency| which(latency.workload))
            .map(|latency| latency.median_ns)
    }
}

/// Everything measured in one search.
#[derive(Debug, Clone, PartialEq)]
pub struct Front {
    /// Where the search stands.
    pub status: SearchStatus,
    /// Every candidate in order of asking; the baselines come first.
    pub points: Vec<FrontPoint>,
    /// The hardware profile that the search is bound to.
    pub hardware_profile: Option<HardwareProfile>,
    /// What a search that was started from this one found to have moved since; none where there is
    /// no such search, it can say nothing, or nothing moved.
    pub stale: Option<Stale>,
}

/// The best plan for a model, over all searches.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// The plan and its figures.
    pub point: FrontPoint,
    /// The hardware profile that its latency holds for.
    pub hardware_profile: HardwareProfile,
    /// The model.
    pub spec: ModelSpec,
    /// What was measured.
    pub subject: Subject,
}

/// What an agent says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The device's name, unique in the fleet.
    pub device: String,
    /// What its timings hold for.
    pub hardware_profile: HardwareProfile,
    /// What its qualities hold for.
    pub numerics_class: NumericsClass,
    /// The precisions that its runtime really executes.
    pub precisions: Vec<Precision>,
    /// Version of the agent.
    pub agent_version: String,
    /// It understands probes; agents of earlier versions do not.
    pub can_probe: bool,
    /// It can score what layers lose alone; agents of earlier versions cannot.
    pub can_score_swaps: bool,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// The measurement ended the task.
    Recorded,
    /// This very report was recorded before.
    AlreadyReported,
    /// The lease had ended; the measurement is kept as a repeat.
    KeptAsRepeat,
}
