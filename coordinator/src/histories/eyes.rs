//! What the store must say: the model sees every call that really happened, says what its answer had
//! to be, and follows it.

use std::sync::{Arc, Mutex, MutexGuard};

use bitfront_model::{LeaseToken, Receipt, Report, TaskKind, TaskPurpose};

use super::model::{ALL, Figure, Kept, Model, Search, State, Task, figure};
use crate::store::{
    Claimant, Claimed, Given, HeldLease, LeaseEnding, NewCandidate, Requeued, StoreError,
};

/// One process as the model sees it: a witness of its calls.
pub(super) struct Eyes {
    model: Arc<Mutex<Model>>,
    term: Mutex<Option<i64>>,
}

impl Eyes {
    pub(super) fn new(model: &Arc<Mutex<Model>>) -> Self {
        Self {
            model: model.clone(),
            term: Mutex::default(),
        }
    }

    /// The term of its coordinator.
    pub(super) fn term(&self) -> Option<i64> {
        *self.term.lock().unwrap()
    }

    fn see(&self) -> (MutexGuard<'_, Model>, Option<i64>) {
        (self.model.lock().unwrap(), *self.term.lock().unwrap())
    }

    /// Sees what a driver writes: nothing, where its coordinator does not drive the search.
    fn driven<T>(
        &self,
        call: &str,
        result: &Result<T, StoreError>,
        follow: impl FnOnce(&mut Model, &mut Search, &T),
    ) {
        let (mut model, me) = self.see();
        let Some((id, mut search)) = model.search.take() else {
            return model.contradict(format!("{call} before there is a search"));
        };
        let in_charge = search.driver == me && !model.is_nobodys(me);
        let refused = matches!(result, Err(StoreError::NotDriven { .. }));
        if refused == in_charge {
            let driver = search.driver;
            model.contradict(format!(
                "{call} of coordinator {me:?} was {}, the search is driven by {driver:?}",
                if refused { "refused" } else { "taken" }
            ));
        }
        if let Ok(answer) = result {
            follow(&mut model, &mut search, answer);
        }
        model.search = Some((id, search));
    }

    fn claimed(&self, claimants: &[Claimant], claimed: &[Claimed], now_ms: i64) {
        let (mut model, me) = self.see();
        for (claimant, claimed) in claimants.iter().zip(claimed) {
            let figure = (claimed.candidate, claimed.kind, claimed.purpose);
            let token = claimed.token;
            model.signs.insert(token, vec![now_ms]);
            let number = *model.numbers.entry(token.task).or_insert(figure);
            if number != figure {
                model.contradict(format!("task {} is {number:?} and {figure:?}", token.task));
            }
            let Some(task) = model.tasks.get_mut(&figure) else {
                return model.contradict(format!("{figure:?} was handed out, which nobody wanted"));
            };
            let before = task.clone();
            task.state = State::Leased;
            task.keeper = me;
            task.attempts += 1;
            task.epoch += 1;
            task.holders.push(claimant.device);
            let (epoch, attempts) = (task.epoch, task.attempts);
            if before.state != State::Queued || !suits(claimant, figure, &before) {
                model.contradict(format!("{figure:?}, {before:?}, was handed out"));
            }
            model.expect("the epoch", &token.epoch, epoch);
            model.expect("the attempts", &i64::from(claimed.attempts), attempts);
        }
        if let Some(claimant) = claimants.get(claimed.len()) {
            let missed = model.tasks.iter();
            let missed = missed
                .filter(|(figure, task)| {
                    task.state == State::Queued && suits(claimant, **figure, task)
                })
                .map(|(figure, _)| *figure)
                .next();
            if let Some(missed) = missed {
                model.contradict(format!("nothing was handed out, {missed:?} is queued"));
            }
        }
    }
}

/// The claimant may measure it.
fn suits(claimant: &Claimant, (_, kind, purpose): Figure, task: &Task) -> bool {
    let profile = claimant.hardware_profile.to_string();
    if let Some((_, beside)) = claimant.companion_in {
        return kind == TaskKind::Latency
            && task.target == profile
            && task.attempts == 0
            && purpose == beside;
    }
    task.target == profile
        || (kind == TaskKind::Quality && task.target == claimant.numerics_class.0)
}

impl crate::store::unreliable::ScheduleWitness for Eyes {}

impl crate::store::unreliable::Witness for Eyes {
    fn join(&self, _address: &str, _now_ms: i64, result: &Result<i64, StoreError>) {
        if let Ok(term) = *result {
            *self.term.lock().unwrap() = Some(term);
            let (mut model, _) = self.see();
            if model.serving.last().is_some_and(|last| *last >= term) {
                model.contradict(format!("term {term} is no new one"));
            }
            model.serving.insert(term);
        }
    }

    fn beat(&self, coordinator: i64, result: &Result<bool, StoreError>) {
        let (mut model, _) = self.see();
        let expected = model.serving.contains(&coordinator);
        result
            .iter()
            .for_each(|it| model.expect("beat", it, expected));
    }

    fn retire(&self, coordinator: i64, beat: Option<i64>, result: &Result<bool, StoreError>) {
        let (mut model, _) = self.see();
        let serves = model.serving.contains(&coordinator);
        match *result {
            Ok(true) => {
                model.serving.remove(&coordinator);
                model.expect("retire", &true, serves);
            }
            // It may have beaten since.
            Ok(false) if beat.is_none() => model.expect("retire", &false, serves),
            _ => {}
        }
    }

    fn take_searches(&self, result: &Result<Vec<i64>, StoreError>) {
        let (mut model, me) = self.see();
        let Some((id, mut search)) = model.search.take() else {
            return;
        };
        if let Ok(taken) = result {
            let is_live = matches!(search.state, State::Queued | State::Leased);
            if is_live && model.is_nobodys(search.driver) {
                search.driver = me;
            }
            let expected = match is_live && search.driver == me {
                true => vec![id],
                false => Vec::new(),
            };
            model.expect("take_searches", taken, expected);
        }
        model.search = Some((id, search));
    }

    fn take_search(&self, _search: i64, result: &Result<bool, StoreError>) {
        let (mut model, me) = self.see();
        let Some((id, mut search)) = model.search.take() else {
            return;
        };
        if let Ok(taken) = result {
            if model.is_nobodys(search.driver) {
                search.driver = me;
            }
            model.expect("take_search", taken, search.driver == me);
        }
        model.search = Some((id, search));
    }

    fn submit(
        &self,
        submitted: &crate::store::NewSearch,
        _now_ms: i64,
        result: &Result<i64, StoreError>,
    ) {
        let (mut model, me) = self.see();
        let Ok(id) = *result else {
            return;
        };
        match &model.search {
            Some((known, _)) => {
                let known = *known;
                model.expect("submit", &id, known);
            }
            None => {
                let search = Search {
                    state: State::Queued,
                    driver: me,
                    is_bound: false,
                    given: Given {
                        budget: submitted.request.budget,
                        continued_after: 0,
                    },
                };
                model.search = Some((id, search));
            }
        }
    }

    fn wait(&self, _search: i64, _reason: &str, result: &Result<(), StoreError>) {
        self.driven("wait", result, |_, _, ()| {});
    }

    fn spend(&self, _search: i64, _: std::time::Duration, result: &Result<(), StoreError>) {
        self.driven("spend", result, |_, _, ()| {});
    }

    fn fix_reference(&self, _search: i64, _point: &[f64], result: &Result<(), StoreError>) {
        self.driven("fix_reference", result, |_, _, ()| {});
    }

    fn bind(&self, _: i64, _: &crate::store::Binding, result: &Result<bool, StoreError>) {
        self.driven("bind", result, |model, search, bound| {
            model.expect("bind", bound, search.state == State::Queued);
            if *bound {
                (search.state, search.is_bound) = (State::Leased, true);
            }
        });
    }

    fn end(
        &self,
        _search: i64,
        ending: &crate::store::Ending,
        _now_ms: i64,
        result: &Result<bool, StoreError>,
    ) {
        self.driven("end", result, |model, search, ended| {
            if *ended {
                model.expect("end", &true, search.state == State::Leased);
                search.state = match ending.state {
                    bitfront_model::SearchState::Done => State::Done,
                    _ => State::Failed,
                };
                model.move_tasks(&ALL, &[State::Queued], State::Cancelled);
            }
        });
    }

    fn cancel(
        &self,
        _search: i64,
        _now_ms: i64,
        result: &Result<Option<Vec<LeaseToken>>, StoreError>,
    ) {
        let (mut model, _) = self.see();
        let (Ok(cancelled), Some((id, mut search))) = (result, model.search.take()) else {
            return;
        };
        let is_live = matches!(search.state, State::Queued | State::Leased);
        let expected = is_live.then(|| {
            let held = model.numbers.iter().filter_map(|(&number, figure)| {
                let task = &model.tasks[figure];
                (task.state == State::Leased).then_some(LeaseToken {
                    task: number,
                    epoch: task.epoch,
                })
            });
            held.collect()
        });
        model.expect("cancel", cancelled, expected);
        if is_live {
            search.state = State::Cancelled;
            model.move_tasks(&ALL, &[State::Queued, State::Leased], State::Cancelled);
        }
        model.search = Some((id, search));
    }

    fn resume(
        &self,
        _search: i64,
        budget: &bitfront_model::Budget,
        evaluated: u64,
        result: &Result<bool, StoreError>,
    ) {
        let (mut model, _) = self.see();
        let (Ok(resumed), Some((id, mut search))) = (result, model.search.take()) else {
            return;
        };
        model.expect("resume", resumed, search.state != State::Failed);
        if *resumed {
            search.given = Given {
                budget: *budget,
                continued_after: evaluated,
            };
            search.state = match search.is_bound {
                true => State::Leased,
                false => State::Queued,
            };
            let confirm = [TaskPurpose::Confirm];
            model.move_tasks(&confirm, &[State::Queued], State::Cancelled);
            let infeasible = model.infeasible();
            for ((candidate, _, purpose), task) in &mut model.tasks {
                let is_wanted = *purpose == TaskPurpose::Search && !infeasible.contains(candidate);
                if is_wanted && task.state == State::Cancelled {
                    task.state = State::Queued;
                }
            }
        }
        model.search = Some((id, search));
    }

    fn add_candidates(
        &self,
        _search: i64,
        candidates: &[NewCandidate],
        _now_ms: i64,
        result: &Result<Option<Vec<i64>>, StoreError>,
    ) {
        self.driven("add_candidates", result, |model, search, added| {
            model.expect(
                "whether it is added",
                &added.is_some(),
                search.state == State::Leased,
            );
            let Some(added) = added else {
                return;
            };
            model.expect("how many are added", &added.len(), candidates.len());
            for (&id, candidate) in added.iter().zip(candidates) {
                let digest = candidate.plan.digest().to_string();
                if model.candidates.values().any(|(plan, _)| *plan == digest) {
                    model.contradict(format!("candidate {id} has the plan of another one"));
                }
                let size = candidate.size_bytes as f64;
                model.candidates.insert(id, (digest, size));
                for (kind, target) in &candidate.tasks {
                    let task = queued(target);
                    model.tasks.insert((id, *kind, TaskPurpose::Search), task);
                }
            }
        });
    }

    fn confirm(
        &self,
        _search: i64,
        known: &Given,
        wanted: &[crate::store::NewConfirmation],
        result: &Result<bool, StoreError>,
    ) {
        self.driven("confirm", result, |model, search, queues| {
            let is_wanted = search.state == State::Leased && search.given == *known;
            model.expect("confirm", queues, is_wanted);
            if !queues {
                return;
            }
            let others = [TaskPurpose::Search, TaskPurpose::Retime];
            model.move_tasks(&others, &[State::Queued], State::Cancelled);
            for one in wanted {
                let figure = (one.candidate, one.kind, TaskPurpose::Confirm);
                let task = queued(&one.target);
                let task = model.tasks.entry(figure).or_insert(task);
                if task.state == State::Cancelled {
                    (task.state, task.target) = (State::Queued, one.target.clone());
                }
            }
        });
    }

    fn claim(
        &self,
        claimant: &Claimant,
        now_ms: i64,
        result: &Result<Option<Claimed>, StoreError>,
    ) {
        if let Ok(claimed) = result {
            self.claimed(std::slice::from_ref(claimant), claimed.as_slice(), now_ms);
        }
    }

    fn claim_each(
        &self,
        claimants: &[Claimant],
        now_ms: i64,
        result: &Result<Vec<Claimed>, StoreError>,
    ) {
        if let Ok(claimed) = result {
            self.claimed(claimants, claimed, now_ms);
        }
    }

    fn take_leases(&self, result: &Result<Vec<HeldLease>, StoreError>) {
        let (mut model, me) = self.see();
        let Ok(taken) = result else {
            return;
        };
        let expected = held(&model, |model, task| model.is_nobodys(task.keeper));
        for lease in &expected {
            if let Some(task) = model.task(lease.token) {
                task.keeper = me;
            }
        }
        model.expect("take_leases", taken, expected);
    }

    fn keep(&self, token: LeaseToken, device: i64, result: &Result<bool, StoreError>) {
        let (mut model, me) = self.see();
        let Ok(kept) = result else {
            return;
        };
        let holds = |task: &Task| holds(task, token) && task.holders.last() == Some(&device);
        let expected = model.task(token).is_some_and(|task| holds(task));
        if let Some(task) = model.task(token).filter(|_| expected) {
            task.keeper = me;
        }
        model.expect("keep", kept, expected);
    }

    fn leased(&self, result: &Result<Vec<HeldLease>, StoreError>) {
        let (mut model, me) = self.see();
        let expected = held(&model, |_, task| task.keeper == me);
        result
            .iter()
            .for_each(|it| model.expect("leased", it, expected.clone()));
    }

    fn held_by(&self, device: i64, result: &Result<Vec<LeaseToken>, StoreError>) {
        let (mut model, _) = self.see();
        let expected = held(&model, |_, task| task.holders.last() == Some(&device));
        let expected: Vec<_> = expected.into_iter().map(|lease| lease.token).collect();
        result
            .iter()
            .for_each(|it| model.expect("held_by", it, expected.clone()));
    }

    fn requeue(
        &self,
        token: LeaseToken,
        ending: &LeaseEnding,
        now_ms: i64,
        result: &Result<Requeued, StoreError>,
    ) {
        let (mut model, me) = self.see();
        let Ok(requeued) = *result else {
            return;
        };
        let is_running = model.is_running();
        let is_ours = |task: &Task| !ending.only_ours || task.keeper == me;
        let task = model.task(token);
        let Some(task) = task.filter(|task| holds(task, token) && is_ours(task)) else {
            return model.expect("requeue", &requeued, Requeued::NotHeld);
        };
        task.attempts -= i64::from(!ending.counts);
        let expected = match task.attempts < i64::from(ending.most_attempts) {
            true => Requeued::Queued,
            false => Requeued::Failed,
        };
        task.state = match (expected, is_running) {
            (Requeued::Queued, true) => State::Queued,
            (Requeued::Queued, false) => State::Cancelled,
            _ => State::Failed,
        };
        model.expect("requeue", &requeued, expected);
        if ending.reason.contains("silent") {
            model.went_silent(token, now_ms);
        }
        if expected == Requeued::Failed {
            let kept = Kept {
                token,
                accepted: true,
                figure: None,
                abandoned: true,
            };
            let key = format!("abandoned:{}:{}", token.task, token.epoch);
            model.measurements.insert(key, kept);
            let figure = model.numbers[&token.task];
            model.cancel_others(figure);
        }
    }

    fn record_each(
        &self,
        reports: &[Report],
        _now_ms: i64,
        result: &Result<Vec<Result<Receipt, StoreError>>, StoreError>,
    ) {
        let Ok(receipts) = result else {
            return;
        };
        let (mut model, _) = self.see();
        model.expect("how many are recorded", &receipts.len(), reports.len());
        for (report, receipt) in reports.iter().zip(receipts) {
            match receipt {
                Ok(receipt) => record(&mut model, report, *receipt),
                Err(error) => {
                    let key = &report.idempotency_key;
                    model.contradict(format!("{key} is refused: {error}"));
                }
            }
        }
    }
}

/// What a report is answered, and what comes of it.
fn record(model: &mut Model, report: &Report, receipt: Receipt) {
    let (token, key) = (report.token, &report.idempotency_key);
    if model.measurements.contains_key(key) {
        return model.expect("record", &receipt, Receipt::AlreadyReported);
    }
    let Some(task) = model.task(token) else {
        return model.contradict(format!("{key} is of a task that was never handed out"));
    };
    let late = task.state == State::Queued && task.epoch >= token.epoch;
    let accepted = holds(task, token) || late;
    if accepted {
        task.state = State::Done;
    }
    let figure = figure(&report.measurement.outcome);
    let kept = Kept {
        token,
        accepted,
        figure,
        abandoned: false,
    };
    model.measurements.insert(key.clone(), kept);
    if accepted && figure.is_none() {
        let of = model.numbers[&token.task];
        model.cancel_others(of);
    }
    let expected = match accepted {
        true => Receipt::Recorded,
        false => Receipt::KeptAsRepeat,
    };
    model.expect("record", &receipt, expected);
}

fn queued(target: &str) -> Task {
    Task {
        target: target.to_owned(),
        state: State::Queued,
        epoch: 0,
        attempts: 0,
        holders: Vec::new(),
        keeper: None,
    }
}

fn holds(task: &Task, token: LeaseToken) -> bool {
    task.state == State::Leased && task.epoch == token.epoch
}

/// The leases of which something holds, by task.
fn held(model: &Model, is_meant: impl Fn(&Model, &Task) -> bool) -> Vec<HeldLease> {
    let held = model.numbers.iter().filter_map(|(&number, figure)| {
        let task = &model.tasks[figure];
        let token = LeaseToken {
            task: number,
            epoch: task.epoch,
        };
        let device = *task.holders.last()?;
        (task.state == State::Leased && is_meant(model, task))
            .then_some(HeldLease { token, device })
    });
    held.collect()
}
