//! What the store must hold, by a model that knows no SQL.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitfront_model::{LeaseToken, Outcome, TaskKind, TaskPurpose};

use crate::store::Given;

/// Where a search or a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    /// Running, of a search.
    Leased,
    Done,
    Failed,
    Cancelled,
}

/// What is measured: a candidate's figure, for a purpose.
pub(super) type Figure = (i64, TaskKind, TaskPurpose);

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) target: String,
    pub(super) state: State,
    pub(super) epoch: i64,
    pub(super) attempts: i64,
    /// Who held it, by epoch from 1 on.
    pub(super) holders: Vec<i64>,
    pub(super) keeper: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) token: LeaseToken,
    pub(super) accepted: bool,
    /// The number that tells the report from others; none of what could not be measured.
    pub(super) figure: Option<f64>,
    /// It was given up.
    pub(super) abandoned: bool,
}

#[derive(Debug)]
pub(super) struct Search {
    pub(super) state: State,
    pub(super) driver: Option<i64>,
    pub(super) is_bound: bool,
    pub(super) given: Given,
}

/// The model of one search and of who is in charge of what.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) serving: BTreeSet<i64>,
    pub(super) search: Option<(i64, Search)>,
    /// With their sizes, in the order of their numbers.
    pub(super) candidates: BTreeMap<i64, (String, f64)>,
    pub(super) tasks: HashMap<Figure, Task>,
    /// The numbers of those that were handed out.
    pub(super) numbers: BTreeMap<i64, Figure>,
    /// By their keys.
    pub(super) measurements: BTreeMap<String, Kept>,
    /// When whoever holds a lease is known to have lived: at its beginning, and at each heartbeat
    /// that its keeper answered.
    pub(super) signs: HashMap<LeaseToken, Vec<i64>>,
    /// What was answered otherwise than it had to be, first of all.
    contradiction: Option<String>,
}

impl Model {
    pub(super) fn contradict(&mut self, what: String) {
        self.contradiction.get_or_insert(what);
    }

    pub(super) fn contradiction(&self) -> Option<String> {
        self.contradiction.clone()
    }

    pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
        &mut self,
        call: &str,
        found: &T,
        expected: T,
    ) {
        if *found != expected {
            self.contradict(format!("{call} gave {found:?} and not {expected:?}"));
        }
    }

    pub(super) fn is_nobodys(&self, who: Option<i64>) -> bool {
        who.is_none_or(|who| !self.serving.contains(&who))
    }

    /// The task that a token is of.
    pub(super) fn task(&mut self, token: LeaseToken) -> Option<&mut Task> {
        let figure = self.numbers.get(&token.task)?;
        self.tasks.get_mut(figure)
    }

    /// A heartbeat was answered by the coordinator of a term: these leases go on.
    pub(super) fn beaten(&mut self, tokens: &[LeaseToken], term: Option<i64>, sent_ms: i64) {
        for &token in tokens {
            let is_kept = self.task(token).is_some_and(|task| task.keeper == term);
            if is_kept && term.is_some() {
                self.signs.entry(token).or_default().push(sent_ms);
            }
        }
    }

    /// A lease is ended since its agent went silent, which it must have been once for as long as a
    /// lease lasts. A sweep that stood still acts on what it saw before.
    pub(super) fn went_silent(&mut self, token: LeaseToken, now_ms: i64) {
        let mut signs = self.signs.get(&token).cloned().unwrap_or_default();
        signs.push(now_ms);
        if signs
            .windows(2)
            .all(|pair| pair[1] < pair[0] + LEASE_TIME_MS)
        {
            self.contradict(format!(
                "{token:?} was ended by silence; signs of life: {signs:?}"
            ));
        }
    }

    pub(super) fn is_running(&self) -> bool {
        let search = self.search.as_ref();
        search.is_some_and(|(_, search)| search.state == State::Leased)
    }

    /// Sets all tasks of a purpose that stand somewhere.
    pub(super) fn move_tasks(&mut self, purposes: &[TaskPurpose], from: &[State], to: State) {
        for ((_, _, purpose), task) in &mut self.tasks {
            if purposes.contains(purpose) && from.contains(&task.state) {
                task.state = to;
            }
        }
    }

    /// What cannot be executed is measured in no other way.
    pub(super) fn cancel_others(&mut self, (candidate, _, purpose): Figure) {
        for (figure, task) in &mut self.tasks {
            if (figure.0, figure.2) == (candidate, purpose) && task.state == State::Queued {
                task.state = State::Cancelled;
            }
        }
    }

    /// The candidates that are known to be infeasible, by what the search measured itself.
    pub(super) fn infeasible(&self) -> BTreeSet<i64> {
        let accepted = self.measurements.values().filter(|kept| kept.accepted);
        let infeasible = accepted.filter(|kept| kept.figure.is_none());
        infeasible
            .filter_map(|kept| self.numbers.get(&kept.token.task))
            .filter(|figure| figure.2 == TaskPurpose::Search)
            .map(|figure| figure.0)
            .collect()
    }
}

/// How long a lease lasts without a heartbeat.
const LEASE_TIME_MS: i64 = 30_000;

pub(super) const ALL: [TaskPurpose; 3] = [
    TaskPurpose::Search,
    TaskPurpose::Retime,
    TaskPurpose::Confirm,
];

/// The figure of a report that no other report has.
pub(super) fn figure(outcome: &Outcome) -> Option<f64> {
    match outcome {
        Outcome::Quality(quality) => Some(quality.kld),
        Outcome::Latency { workloads } => workloads
            .iter()
            .find(|latency| latency.workload.is_decode())
            .map(|latency| latency.median_ns),
        Outcome::Infeasible { .. } => None,
    }
}
