//! What a caller of the coordinator did wrong, or what went wrong in it.

use bitfront_model::Shortfall;

use crate::audit::Unfinished;
use crate::intake::IntakeError;
use crate::store::{StoreError, StoredDevice};

/// What a caller of the coordinator did wrong, or what went wrong in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A request cannot be served.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// There is no such search.
    #[error("there is no search {search}")]
    UnknownSearch {
        /// What was asked for.
        search: i64,
    },
    /// There is no such candidate.
    #[error(
        "there is no candidate {candidate}; `bitfront front SEARCH --all` lists those of a search"
    )]
    UnknownCandidate {
        /// What was asked for.
        candidate: i64,
    },
    /// A candidate has no figures of its own that could be compared.
    #[error("candidate {candidate} cannot be compared: {why}")]
    NotMeasured {
        /// The candidate.
        candidate: i64,
        /// What is missing or wrong.
        why: String,
    },
    /// Figures of two candidates mean different things.
    #[error(
        "candidates {first} and {second} cannot be compared, they differ in {}",
        differing.join("; ")
    )]
    Incomparable {
        /// The first candidate.
        first: i64,
        /// The second candidate.
        second: i64,
        /// What is not the same, with both sides.
        differing: Vec<String>,
    },
    /// What two searches say is not of one device.
    #[error(
        "searches {first} and {second} cannot be held against each other, they differ in {}",
        differing.join("; ")
    )]
    NotOneDevice {
        /// The earlier search.
        first: i64,
        /// The later one.
        second: i64,
        /// What is not the same, with both sides.
        differing: Vec<String>,
    },
    /// A search has nothing that another one could be held against.
    #[error("search {search} cannot be held against another one: {why}")]
    NothingToHold {
        /// The search.
        search: i64,
        /// What is missing, and what to do.
        why: String,
    },
    /// A search has no sensitivity to show.
    #[error("search {search} has no sensitivity: {why}")]
    NoSensitivity {
        /// The search.
        search: i64,
        /// What keeps it from having one, and what to do.
        why: String,
    },
    /// A failed search cannot go on.
    #[error("search {search} has failed and cannot be continued ({reason}); submit it again")]
    SearchFailed {
        /// The search.
        search: i64,
        /// Why it failed.
        reason: String,
    },
    /// There is no device of that name.
    #[error("there is no device `{name}`; {known}", known = known_devices(known))]
    UnknownDevice {
        /// What was asked for.
        name: String,
        /// The devices that there are.
        known: Vec<String>,
    },
    /// The front of a search holds for another hardware profile.
    #[error(
        "search {search} was measured on `{measured}`, device `{name}` is another hardware \
        profile (`{profile}`)"
    )]
    OtherProfile {
        /// The search.
        search: i64,
        /// The profile that it is bound to.
        measured: String,
        /// The device that was asked for.
        name: String,
        /// That device's profile.
        profile: String,
    },
    /// An agent speaks for a device that never registered.
    #[error("device {device} is not registered; register first")]
    NotRegistered {
        /// Its number.
        device: i64,
    },
    /// Two agents speak for one device.
    #[error("another agent has registered as `{name}`; give one of them another name with --name")]
    NameTaken {
        /// The device's name.
        name: String,
    },
    /// An agent means a lease of another database.
    #[error(
        "this coordinator keeps its state in another database than the one that the agent \
        registered with; register again"
    )]
    OtherDatabase,
    /// A token that was never handed out.
    #[error("task {task} was never leased under epoch {epoch}")]
    UnknownLease {
        /// The task.
        task: i64,
        /// The epoch.
        epoch: i64,
    },
    /// A report that does not answer its task.
    #[error("the report about task {task} is refused: {problem}")]
    WrongReport {
        /// The task.
        task: i64,
        /// What does not fit.
        problem: String,
    },
    /// A name of a figure that plans cannot be ordered by.
    #[error("{0}")]
    Name(#[from] bitfront_model::UnknownName),
    /// There is no search over such a model.
    #[error("nothing is stored for model `{model}`{hint}", hint = models_hint(known))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// The models that there are.
        known: Vec<String>,
    },
    /// A name means more than one model.
    #[error(
        "`{model}` names {} models: {}; give the first characters of a digest instead",
        models.len(),
        models.join(", ")
    )]
    SeveralModels {
        /// What was asked for.
        model: String,
        /// Names and short digests of what it means.
        models: Vec<String>,
    },
    /// Searches over the model are stored, but nothing of them is measured.
    #[error("no candidate of {} is measured yet", searches_named(searches))]
    NothingMeasured {
        /// The searches over the model.
        searches: Vec<i64>,
    },
    /// Measured, but not on the hardware that was asked for.
    #[error(
        "model `{model}` was measured on {}, not on `{name}` ({profile})",
        measured.join("; ")
    )]
    OtherHardware {
        /// What was asked for.
        model: String,
        /// The profiles that it was measured on.
        measured: Vec<String>,
        /// The device that was asked for.
        name: String,
        /// That device's profile.
        profile: String,
    },
    /// Measured on hardware whose times cannot be compared.
    #[error(
        "model `{model}` was measured on {} hardware profiles, whose times cannot be compared: \
        {}; name one of the devices with --device",
        profiles.len(),
        profiles.join("; ")
    )]
    SeveralProfiles {
        /// What was asked for.
        model: String,
        /// The profiles and their devices.
        profiles: Vec<String>,
    },
    /// One plan for several hardware profiles, of which there is one.
    #[error(
        "model `{model}` was measured on one hardware profile only ({profile}); ask without --fleet, \
        or search on another device first (`bitfront submit ... --device NAME`)"
    )]
    FleetOfOne {
        /// The model.
        model: String,
        /// What it was measured on.
        profile: String,
    },
    /// A device of the fleet on whose hardware the model was not measured as on the others.
    #[error(
        "model `{model}` was not measured on `{name}` ({profile}) with the text and the workloads \
        that were measured last; search there first (`bitfront submit ... --device {name} \
        --start-from {search}`)"
    )]
    NotMeasuredThere {
        /// The model.
        model: String,
        /// The device.
        name: String,
        /// Its hardware.
        profile: String,
        /// A search that measured it so elsewhere.
        search: i64,
    },
    /// No plan can be compared over all of a fleet.
    #[error(
        "model `{model}`: no plan that keeps these limits everywhere {}",
        if *predicted {
            "is expected".to_owned()
        } else {
            format!("was measured on all {profiles} hardware profiles; --predict takes what is \
                believed of the others, and --start-from measures the front of one search in another")
        }
    )]
    NothingEverywhere {
        /// The model.
        model: String,
        /// How many they are.
        profiles: usize,
        /// It was asked by what is believed.
        predicted: bool,
    },
    /// Plans are stored, but none keeps the limits.
    #[error("model `{model}`: {shortfall}")]
    NothingWithin {
        /// The model.
        model: String,
        /// Which limits are not kept, and what comes nearest.
        shortfall: Box<Shortfall>,
    },
    /// The same on one of several hardware profiles.
    #[error("model `{model}` on {profile}: {shortfall}")]
    NothingWithinThere {
        /// The model.
        model: String,
        /// The hardware profile.
        profile: String,
        /// Which limits are not kept there, and what comes nearest.
        shortfall: Box<Shortfall>,
    },
    /// Nothing is expected to keep the limits.
    #[error(
        "search {search}: no plan is expected to keep these limits; the nearest to them is expected \
         to have {}",
        shortfall.exceeding()
    )]
    NothingExpected {
        /// The search.
        search: i64,
        /// What the nearest plan exceeds.
        shortfall: Box<Shortfall>,
    },
    /// What a search measured cannot be learned from.
    #[error("search {search} cannot be learned from: {reason}")]
    NoBelief {
        /// The search.
        search: i64,
        /// What does not fit.
        reason: String,
    },
}

impl Unfinished for ServiceError {
    fn may_have_happened(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_have_happened())
    }
}

pub(crate) fn known_devices(known: &[String]) -> String {
    if known.is_empty() {
        "none has registered yet (start one with `bitfront agent`)".to_owned()
    } else {
        format!("known are {}", known.join(", "))
    }
}

/// A name that none of the devices has.
pub(crate) fn unknown_device(name: &str, devices: &[StoredDevice]) -> ServiceError {
    ServiceError::UnknownDevice {
        name: name.to_owned(),
        known: devices
            .iter()
            .map(|device| device.registration.device.clone())
            .collect(),
    }
}

fn searches_named(searches: &[i64]) -> String {
    let numbers: Vec<_> = searches.iter().map(i64::to_string).collect();
    match searches.len() {
        1 => format!("search {}", numbers.join("")),
        _ => format!("searches {}", numbers.join(", ")),
    }
}

fn models_hint(known: &[String]) -> String {
    if known.is_empty() {
        String::new()
    } else {
        format!("; known are {}", known.join(", "))
    }
}
