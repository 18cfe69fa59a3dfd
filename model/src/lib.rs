//! The words of bitfront, as values: what a model is made of, how each layer is held, what was
//! asked for and what was measured. Pure: no IO, no async, no dependency on other members.
//!
//! In the order in which a search meets them:
//!
//! - [`spec`]: a model file's layers ([`ModelSpec`]),
//! - [`precision`]: one way to hold a layer ([`Precision`]),
//! - [`plan`]: a precision for every layer ([`Plan`]),
//! - [`preset`]: llama.cpp's presets and the uniform plans, expressed as plans ([`Baseline`]),
//! - [`request`]: what a user wants found ([`SearchRequest`]),
//! - [`manifest`]: what the files of a subject hold, byte by byte ([`Manifest`], [`Blob`]), and where
//!   else they can be read ([`FileUrl`]),
//! - [`early_stop`]: what ends a search before its budget does ([`EarlyStop`]),
//! - [`task`]: one thing to measure, and the lease that it is held under ([`Assignment`]),
//! - [`hardware`]: what makes devices interchangeable ([`HardwareProfile`], [`NumericsClass`]),
//! - [`condition`]: what the device was like meanwhile ([`Condition`], [`Mark`]),
//! - [`passes`]: figures that have a pass of their own ([`ColdStart`], [`Energy`]),
//! - [`workload`]: what is timed ([`Workload`]),
//! - [`anchor`]: beside what it is timed ([`Anchor`]),
//! - [`measurement`]: what came back ([`Measurement`]),
//! - [`probe`]: what a device multiplies how fast ([`ProbeQuestion`], [`Probe`]),
//! - [`sensitivity`]: what each layer loses alone ([`SensitivityQuestion`], [`Sensitivity`]),
//! - [`question`]: both, as they are asked and answered ([`Question`], [`Answer`]),
//! - [`stages`]: in which order a text is scored, and where a plan that cannot win may stop,
//! - [`answer`]: what the coordinator says of it all ([`SearchStatus`], [`FrontPoint`]),
//! - [`device`]: a device as the coordinator knows it ([`Device`]),
//! - [`belief`]: what a model of the figures says of plans, measured or not ([`Prediction`]),
//! - [`selector`]: devices by what they are, and the searches for them ([`Selector`], [`Joint`]),
//! - [`fleet`]: one plan for several hardware profiles ([`FleetPick`], [`Regret`]),
//! - [`comparison`]: how two plans differ beyond the noise ([`Differences`], [`Placing`]),
//! - [`drift`]: what moved between two searches on one device ([`Drift`], [`Verdict`]),
//! - [`shortfall`]: why nothing measured may be shipped ([`Shortfall`]),
//! - [`access`]: who may do what of all this ([`AccessRole`], [`AccessToken`]),
//! - [`deed`]: what persons did of it ([`Deed`]),
//! - [`schedule`]: searches that start by themselves ([`Schedule`], [`Night`]),
//! - [`digest`]: how all of these are named by content ([`Digest`]).

pub mod access;
pub mod anchor;
pub mod answer;
pub mod belief;
pub mod comparison;
pub mod condition;
pub mod deed;
pub mod device;
pub mod digest;
pub mod drift;
pub mod early_stop;
pub mod file_url;
pub mod fleet;
pub mod hardware;
pub mod manifest;
pub mod measurement;
pub mod passes;
pub mod plan;
pub mod precision;
pub mod preset;
mod preset_rules;
pub mod probe;
pub mod question;
pub mod request;
pub mod schedule;
pub mod selector;
pub mod sensitivity;
pub mod shortfall;
pub mod spec;
pub mod stages;
pub mod task;
pub mod workload;

pub use access::{AccessRole, AccessToken};
pub use anchor::{Anchor, AnchorTime};
pub use answer::{
    Best, Confirmation, Expected, Figure, Front, FrontPoint, Outlook, Receipt, Registration,
    Repeatability, Rescoring, SearchState, SearchStatus, SharedPlans,
};
pub use belief::{Believed, Check, Prediction, Rank};
pub use comparison::{Against, Comparison, Difference, Differences, Placing, Ratio};
pub use condition::{Condition, CoreCondition, Heat, Mark};
pub use deed::{Deed, DeedOutcome};
pub use device::{Device, DeviceState, HeldTask, TimingNoise, Work};
pub use digest::Digest;
pub use drift::{
    Change, Drift, Hypervolumes, Moved, NowInfeasible, Overall, ProfileChange, Stale, Verdict,
    Watched,
};
pub use early_stop::{EarlyStop, NoStallRule, StallRule};
pub use file_url::{FileUrl, InvalidFileUrl};
pub use fleet::{FleetPick, Regret};
pub use hardware::{HardwareProfile, NumericsClass};
pub use manifest::{Blob, FileName, Manifest, ManifestError, ManifestFile, Place};
pub use measurement::{
    Environment, Evidence, Executed, Interval, Latency, Measurement, Outcome, Paired, Percentile,
    Quality, Rescored, Stopped,
};
pub use passes::{Cold, ColdStart, Energy};
pub use plan::{Plan, PlanError};
pub use precision::{Precision, UnknownPrecision};
pub use preset::{Baseline, Preset};
pub use probe::{
    DeviceProbe, Exclusion, Probe, ProbeQuestion, ProbedDevice, Product, ProductResult,
    ProductTime, Shape,
};
pub use question::{
    Answer, AnswerReport, Question, QuestionAssignment, QuestionKind, QuestionStanding,
};
pub use request::{
    Budget, DataSpec, Grouping, HeldBack, ImatrixSource, Limits, ModelSource, Objective, Prior,
    SearchRequest, StrategyName, Subject, UnknownName,
};
pub use schedule::{
    NewSchedule, Night, NightState, Notice, NoticeState, Schedule, ScheduleState, Webhook,
};
pub use selector::{Joint, Selector, SelectorError};
pub use sensitivity::{SearchSensitivity, Sensitivity, SensitivityQuestion, Swap, SwapResult};
pub use shortfall::Shortfall;
pub use spec::{Architecture, Layer, LayerKind, ModelSpec, Role, SpecError};
pub use task::{Assignment, LeaseToken, Report, Rival, TaskKind, TaskPurpose};
pub use workload::Workload;

/// The target of every span, which nothing else has: whoever exports spans takes all that have it,
/// and the log none.
pub const SPANS: &str = "bitfront_spans";
