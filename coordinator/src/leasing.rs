//! Who measures what, under which token, until when.
//!
//! The store knows which tasks are leased and under which epoch; until when is known here, in
//! memory. Heartbeats therefore cost no write, and after a restart every lease gets its full time
//! again ([`Leasing::take_over`]).

mod fixed;
mod line;
mod pace;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitfront_model::{
    Assignment, Digest, LeaseToken, ModelSpec, QuestionAssignment, Registration, TaskKind,
    TaskPurpose,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::clock::Sleep;
use crate::error::ServiceError;
use crate::presence::KnownDevice;
use crate::rival;
use crate::store::{Claimant, Claimed, HeldLease, LeaseEnding, Requeued, StoreError, TaskFacts};
use crate::world::World;
use fixed::FixedSearches;
use line::{Answer, Lines};
use pace::{About, Paces};

/// A task, ready to be handed to an agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HandOut {
    pub(crate) assignment: Assignment,
    /// What its plan belongs to.
    pub(crate) spec: ModelSpec,
    /// Hand-outs of the task that count, this one included.
    pub(crate) attempts: u32,
}

/// What an agent is handed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Handed {
    /// A candidate to measure; boxed, since it is much the larger of the two.
    Task(Box<HandOut>),
    /// Products to time, or swaps to score.
    Question(QuestionAssignment),
}

impl Handed {
    fn token(&self) -> LeaseToken {
        match self {
            Self::Task(hand_out) => hand_out.assignment.token,
            Self::Question(assignment) => assignment.token,
        }
    }
}

/// Which agent asks for work: the device's name alone does not tell two of them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) hardware_profile: Digest,
    /// Minted at its start.
    pub(crate) instance: String,
}

/// Who measures what, under which token, until when.
pub(crate) struct Leasing {
    world: Arc<World>,
    /// By task. Behind a std mutex, which is never held across an await.
    held: Mutex<BTreeMap<i64, Held>>,
    /// The epochs under which measuring a task brought down whoever measured it, by task. Behind a
    /// std mutex as well.
    crashes: Mutex<HashMap<i64, BTreeSet<i64>>>,
    /// Devices that wait for work.
    lines: Lines,
    fixed: FixedSearches,
    paces: Paces,
}

#[derive(Debug)]
struct Held {
    lease: HeldLease,
    /// What the report will be checked against; none of what was not handed out here.
    facts: Option<Arc<TaskFacts>>,
    /// It was found in the store, and no agent was told of it or has spoken of it.
    unheard: bool,
    /// On the clock's [`elapsed`](crate::Clock::elapsed), as is `until`.
    since: Duration,
    until: Duration,
    /// What is measured; none where that was not handed out here, and of a question.
    about: Option<About>,
}

impl Leasing {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self {
            world,
            held: Mutex::default(),
            crashes: Mutex::default(),
            lines: Lines::default(),
            fixed: FixedSearches::default(),
            paces: Paces::default(),
        }
    }

    /// Keeps the leases that nobody keeps any more, each with its full time from now on: while
    /// nobody listened, no agent could send a heartbeat. Says how many.
    pub(crate) async fn take_over(&self) -> Result<usize, StoreError> {
        let taken = self.world.store.take_leases().await?;
        for &lease in &taken {
            self.hold(lease);
        }
        Ok(taken.len())
    }

    /// Forgets every lease: another coordinator keeps them.
    pub(crate) fn forget_all(&self) {
        self.lock().clear();
    }

    /// Makes a device known. Whatever the device held is given back at once instead of at the end
    /// of the lease: its agent has just started, or (`again`) lost the answer of a call that may
    /// have handed something out, which counts against no task.
    pub(crate) async fn register(
        &self,
        device: Registration,
        instance: &str,
        again: bool,
    ) -> Result<i64, ServiceError> {
        let world = &self.world;
        let id = world.store.register(&device, world.clock.now_ms()).await?;
        world.store.serve(id, instance).await?;
        let left_behind = world.store.held_by(id).await?;
        let reason = match again {
            true => "its agent never heard of it",
            false => "its agent started anew",
        };
        for token in left_behind {
            self.give_back(token, reason, !again).await?;
        }
        tracing::info!(
            device = id,
            agent = device.device,
            profile = %device.hardware_profile.digest().short(),
            again,
            "registered"
        );
        let device = KnownDevice::new(id, device, Some(instance.to_owned()));
        self.recall(&device).await;
        if world.presence.introduce(device, world.clock.elapsed()) {
            world.wakeups.devices();
        }
        Ok(id)
    }

    /// Waits for a task that fits the device, at most that long. None when the time is over.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        device: i64,
        caller: &Caller,
        wait: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Option<Handed>, ServiceError> {
        let known = self.heard(device).await?;
        let known = self.check_caller(known, caller).await?;
        // A wait is shorter than the grace of presence, so a waiting agent counts as serving.
        let wait = wait.min(self.world.config.lease_time * 2 / 3);
        let over = self.world.clock.sleep(wait);
        let _waits = self.paces.wait(caller.hardware_profile);
        let mut told = self.lines.stand(self, known);
        tokio::select! {
            answer = &mut told => return answered(answer.ok()),
            () = over => {}
            () = shutdown.cancelled() => {}
        }
        // What was handed over at this very moment is not lost.
        told.close();
        answered(told.try_recv().ok())
    }

    /// More timings for a device that has just been handed one, of the same search, so that they
    /// are taken in turns; at most `most`, and none for a task that has failed before. They are an
    /// offer, so where claiming fails there are just fewer of them.
    pub(crate) async fn companions(
        self: &Arc<Self>,
        device: i64,
        first: &HandOut,
        most: usize,
    ) -> Vec<HandOut> {
        let mut companions = Vec::new();
        if first.assignment.kind != TaskKind::Latency || first.attempts > 1 {
            return companions;
        }
        let known = match self.heard(device).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "no companions are handed out");
                return companions;
            }
        };
        let beside = (first.assignment.search, first.assignment.purpose);
        while companions.len() < most {
            match self.claim_companion(&known, beside).await {
                Ok(Some(Handed::Task(companion))) => companions.push(*companion),
                // Nothing else is claimed beside a timing.
                Ok(Some(Handed::Question(_)) | None) => break,
                Err(error) => {
                    tracing::warn!(%error, "fewer companions are handed out");
                    break;
                }
            }
        }
        companions
    }

    /// Refuses an agent whose device's name another agent has taken: their times would be stored
    /// as one device's. The first one that asks is believed where the store does not know who
    /// speaks for the device.
    async fn check_caller(
        &self,
        known: Arc<KnownDevice>,
        caller: &Caller,
    ) -> Result<Arc<KnownDevice>, ServiceError> {
        let same_profile = known.profile == caller.hardware_profile;
        match &known.instance {
            Some(instance) if same_profile && *instance == caller.instance => Ok(known),
            None if same_profile => {
                let known = KnownDevice {
                    instance: Some(caller.instance.clone()),
                    ..(*known).clone()
                };
                self.world.store.serve(known.id, &caller.instance).await?;
                let now = self.world.clock.elapsed();
                self.world.presence.introduce(known.clone(), now);
                Ok(Arc::new(known))
            }
            _ => Err(ServiceError::NameTaken {
                name: known.registration.device.clone(),
            }),
        }
    }

    /// A timing of a search for a device, beside one that it was handed; on a task of its own, so
    /// that an agent whose connection breaks meanwhile holds nothing.
    async fn claim_companion(
        self: &Arc<Self>,
        device: &Arc<KnownDevice>,
        beside: (i64, TaskPurpose),
    ) -> Result<Option<Handed>, ServiceError> {
        let (answer, heard) = oneshot::channel();
        let (this, device) = (self.clone(), device.clone());
        tokio::spawn(async move {
            let claimed = this.claim_beside(&device, beside).await;
            if let Err(Ok(Some(handed))) = answer.send(claimed) {
                this.give_back_unheard(handed.token()).await;
            }
        });
        match heard.await {
            Ok(result) => result,
            // The spawned task ended without an answer, which only a shutdown brings about.
            Err(_) => Ok(None),
        }
    }

    async fn claim_beside(
        &self,
        device: &KnownDevice,
        beside: (i64, TaskPurpose),
    ) -> Result<Option<Handed>, ServiceError> {
        let world = &self.world;
        let claimant = Claimant {
            companion_in: Some(beside),
            ..self.claimant(device, 0)
        };
        let claimed = world.store.claim(&claimant, world.clock.now_ms()).await?;
        let Some(claimed) = claimed else {
            return Ok(None);
        };
        self.hold_for(claimed.token, device.id);
        self.made_ready(&claimed, claimant.hardware_profile)
            .await
            .map(Some)
    }

    fn claimant(&self, device: &KnownDevice, left_to_faster: u32) -> Claimant {
        let registration = &device.registration;
        Claimant {
            device: device.id,
            numerics_class: registration.numerics_class.clone(),
            hardware_profile: device.profile,
            can_probe: registration.can_probe,
            can_score_swaps: registration.can_score_swaps,
            lease_time: self.world.config.lease_time,
            left_to_faster,
            companion_in: None,
        }
    }

    /// Leases a question to a device that can answer one.
    async fn claim_question(&self, device: &KnownDevice) -> Result<Option<Handed>, StoreError> {
        let world = &self.world;
        let claimant = self.claimant(device, 0);
        if !claimant.can_probe && !claimant.can_score_swaps {
            return Ok(None);
        }
        let claimed = world.store.claim_question(&claimant, world.clock.now_ms());
        Ok(claimed.await?.map(|claimed| {
            self.hold_for(claimed.token, device.id);
            Handed::Question(QuestionAssignment {
                token: claimed.token,
                question: claimed.question,
                lease_time: world.config.lease_time,
            })
        }))
    }

    /// What an agent needs for a task that was claimed for it. Where that cannot be had, the task is
    /// given back.
    async fn made_ready(
        &self,
        claimed: &Claimed,
        hardware_profile: Digest,
    ) -> Result<Handed, ServiceError> {
        match self.hand_out(claimed, hardware_profile).await {
            Ok(hand_out) => {
                tracing::debug!(
                    search = claimed.search,
                    candidate = claimed.candidate,
                    task = claimed.token.task,
                    epoch = claimed.token.epoch,
                    device = self.holder(claimed.token),
                    "{} of {} is handed out",
                    claimed.kind,
                    claimed.purpose
                );
                self.keep_facts(facts(claimed, &hand_out));
                self.world.wakeups.search(claimed.search);
                Ok(Handed::Task(Box::new(hand_out)))
            }
            Err(error) => {
                self.give_back(claimed.token, "it could not be handed out", false)
                    .await?;
                Err(error.into())
            }
        }
    }

    fn keep_facts(&self, facts: (LeaseToken, TaskFacts)) {
        let (token, facts) = facts;
        let mut held = self.lock();
        let held = held.get_mut(&token.task);
        if let Some(held) = held.filter(|held| held.lease.token == token) {
            held.facts = Some(Arc::new(facts));
        }
    }

    /// What the report of a lease is checked against, where the lease is kept here and was handed
    /// out here.
    pub(crate) fn facts(&self, token: LeaseToken) -> Option<Arc<TaskFacts>> {
        let held = self.lock();
        let held = held.get(&token.task)?;
        held.facts.clone().filter(|_| held.lease.token == token)
    }

    async fn give_back_unheard(&self, token: LeaseToken) {
        let given_back = self.give_back(token, "nobody heard of it", false).await;
        if let Err(error) = given_back {
            tracing::warn!(
                %error,
                task = token.task,
                epoch = token.epoch,
                "a task could not be given back"
            );
        }
    }

    async fn hand_out(
        &self,
        claimed: &Claimed,
        hardware_profile: Digest,
    ) -> Result<HandOut, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            what: format!("candidate {}", claimed.candidate),
            reason,
        };
        let store = self.world.store.as_ref();
        let fixed = self.fixed.find(store, claimed.search).await?;
        let fixed = fixed.ok_or_else(|| corrupt("its search is missing".to_owned()))?;
        let anchor = match claimed.kind {
            TaskKind::Quality => None,
            TaskKind::Latency => Some(fixed.anchor(store).await?),
        };
        let rival = match claimed.kind {
            TaskKind::Quality => rival::of(store, &fixed.search, claimed).await?,
            TaskKind::Latency => None,
        };
        let request = &fixed.search.request;
        let about = About::new(hardware_profile, request, claimed.kind);
        if let Some(held) = self.lock().get_mut(&claimed.token.task)
            && held.lease.token == claimed.token
        {
            held.about = Some(about);
        }
        let plan = bitfront_model::Plan::new(&request.spec, claimed.precisions.clone())
            .map_err(|error| corrupt(error.to_string()))?;
        let assignment = Assignment {
            token: claimed.token,
            search: claimed.search,
            candidate: claimed.candidate,
            kind: claimed.kind,
            // It is measured as the search measures, and agents of earlier versions know no other
            // word for that.
            purpose: match claimed.purpose {
                TaskPurpose::Retime => TaskPurpose::Search,
                purpose => purpose,
            },
            subject: request.subject.clone(),
            plan,
            workloads: match claimed.kind {
                TaskKind::Quality => Vec::new(),
                TaskKind::Latency => request.workloads.clone(),
            },
            anchor,
            rival,
            lease_time: self.world.config.lease_time,
        };
        Ok(HandOut {
            assignment,
            spec: request.spec.clone(),
            attempts: claimed.attempts,
        })
    }

    /// Extends the leases that a device still holds. Those that it does not come back.
    pub(crate) async fn heartbeat(
        &self,
        device: i64,
        tokens: &[LeaseToken],
    ) -> Result<Vec<LeaseToken>, ServiceError> {
        self.heard(device).await?;
        let mut lost = Vec::new();
        for token in self.extend(device, tokens) {
            // Another coordinator may have handed it out, whom the agent does not reach any more.
            if self.world.store.keep(token, device).await? {
                self.hold(HeldLease { token, device });
            } else {
                lost.push(token);
            }
        }
        Ok(lost)
    }

    /// Extends those of the leases that are kept here; the others come back.
    fn extend(&self, device: i64, tokens: &[LeaseToken]) -> Vec<LeaseToken> {
        let until = self.end_of_a_lease();
        let mut held = self.lock();
        let extend = |token: &&LeaseToken| match held.get_mut(&token.task) {
            Some(held) if held.lease.token == **token && held.lease.device == device => {
                (held.until, held.unheard) = (until, false);
                false
            }
            _ => true,
        };
        tokens.iter().filter(extend).copied().collect()
    }

    /// Ends a lease without a result. Nothing happens where the token holds nothing any more.
    pub(crate) async fn give_back(
        &self,
        token: LeaseToken,
        reason: &str,
        counts: bool,
    ) -> Result<Requeued, StoreError> {
        let ending = self.ending(reason, counts, false);
        self.end(token, &ending).await
    }

    fn ending(&self, reason: &str, counts: bool, only_ours: bool) -> LeaseEnding {
        LeaseEnding {
            reason: reason.to_owned(),
            counts,
            most_attempts: self.world.config.most_attempts,
            only_ours,
        }
    }

    /// Ends a lease under which measuring brought down whoever measured: the second time it is the
    /// task's last attempt, however many others there were. What is remembered of the first time
    /// is lost with this process, which costs another attempt.
    pub(crate) async fn crashed(
        &self,
        token: LeaseToken,
        reason: &str,
    ) -> Result<Requeued, StoreError> {
        let crashes = {
            let crashes = self.crashes.lock();
            let mut crashes = crashes.unwrap_or_else(PoisonError::into_inner);
            let epochs = crashes.entry(token.task).or_default();
            // An agent says it again where it heard no answer.
            epochs.insert(token.epoch);
            epochs.len()
        };
        let config = &self.world.config;
        let ending = LeaseEnding {
            reason: reason.to_owned(),
            counts: true,
            most_attempts: match crashes >= config.most_crashes as usize {
                true => 1,
                false => config.most_attempts,
            },
            only_ours: false,
        };
        self.end(token, &ending).await
    }

    async fn end(&self, token: LeaseToken, ending: &LeaseEnding) -> Result<Requeued, StoreError> {
        let reason = ending.reason.as_str();
        let store = &self.world.store;
        let requeued = store
            .requeue(token, ending, self.world.clock.now_ms())
            .await?;
        if requeued == Requeued::Failed {
            self.forget_crashes(token.task);
        }
        // Of what was handed out here.
        let search = self.facts(token).map(|facts| facts.search);
        let device = self.holder(token);
        self.let_go(token);
        if requeued != Requeued::NotHeld {
            tracing::info!(
                search,
                task = token.task,
                epoch = token.epoch,
                device,
                reason,
                ?requeued,
                "lease ended"
            );
            self.world.wakeups.work();
            if let Some(facts) = store.task(token.task).await? {
                self.world.wakeups.search(facts.search);
            } else {
                // A question: searches that wait for it look whether it was given up.
                self.world.wakeups.devices();
            }
        }
        Ok(requeued)
    }

    fn forget_crashes(&self, task: i64) {
        let crashes = self.crashes.lock();
        crashes
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&task);
    }

    /// A lease has ended in the store: by a report or a cancel.
    pub(crate) fn forget(&self, token: LeaseToken) {
        self.forget_crashes(token.task);
        self.let_go(token);
    }

    fn let_go(&self, token: LeaseToken) {
        let mut held = self.lock();
        if held
            .get(&token.task)
            .is_some_and(|held| held.lease.token == token)
        {
            held.remove(&token.task);
        }
    }

    /// Leases that are kept here.
    pub(crate) fn held_here(&self) -> usize {
        self.lock().len()
    }

    /// The device whose lease is kept here.
    fn holder(&self, token: LeaseToken) -> Option<i64> {
        let held = self.lock();
        let held = held.get(&token.task);
        let held = held.filter(|held| held.lease.token == token)?;
        Some(held.lease.device)
    }

    /// How long a lease has been kept here; none where it is not.
    pub(crate) fn lasted(&self, token: LeaseToken) -> Option<Duration> {
        let held = self.lock();
        let held = held.get(&token.task);
        let held = held.filter(|held| held.lease.token == token)?;
        Some(self.world.clock.elapsed().saturating_sub(held.since))
    }

    /// Time until the first lease ends unless it is extended; never longer than a new one lasts.
    pub(crate) fn until_next_end(&self) -> Duration {
        let now = self.world.clock.elapsed();
        self.lock()
            .values()
            .map(|held| held.until.saturating_sub(now))
            .min()
            .unwrap_or(Duration::MAX)
            .min(self.world.config.lease_time)
    }

    /// Sleeps on the coordinator's clock.
    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        self.world.clock.sleep(duration)
    }

    /// Ends every lease whose time is over. One that cannot be ended keeps none of the others from
    /// it; the error is the last one's.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        // A claim that was committed without its answer getting here is held by nobody that we
        // know of; it gets its time from when it is found.
        let before: Vec<_> = self.lock().values().map(|held| held.lease.token).collect();
        let leased = self.world.store.leased().await?;
        // A claim is committed before it is held, so what was held and is not kept is another's, or
        // has ended.
        let kept: BTreeSet<_> = leased.iter().map(|lease| lease.token.task).collect();
        for token in before.into_iter().filter(|it| !kept.contains(&it.task)) {
            self.let_go(token);
        }
        for lease in leased {
            let known = self
                .lock()
                .get(&lease.token.task)
                .is_some_and(|held| held.lease.token.epoch >= lease.token.epoch);
            if !known {
                self.hold_until_the_end(lease, true);
            }
        }
        let now = self.world.clock.elapsed();
        let over: Vec<_> = self
            .lock()
            .values()
            .filter(|held| held.until <= now)
            .map(|held| (held.lease.token, held.unheard))
            .collect();
        let mut result = Ok(());
        for (token, unheard) in over {
            // What nobody was told of is no attempt to measure it.
            let silent = match unheard {
                true => self.ending("nobody heard of it", false, true),
                false => self.ending("its agent went silent", true, true),
            };
            let ended = self.end(token, &silent).await;
            if let Err(error) = ended {
                tracing::warn!(
                    %error,
                    task = token.task,
                    epoch = token.epoch,
                    "a lease could not be ended"
                );
                result = Err(error);
            }
        }
        result
    }

    /// Notes that a device was heard from, and finds what is known of it.
    async fn heard(&self, device: i64) -> Result<Arc<KnownDevice>, ServiceError> {
        let world = &self.world;
        let now = world.clock.elapsed();
        let (known, came_back) = match world.presence.heard(device, now) {
            Some(heard) => heard,
            None => {
                // It registered with another coordinator, over the same database.
                let stored = world.store.device(device).await?;
                let stored = stored.ok_or(ServiceError::NotRegistered { device })?;
                // What it held here before, another coordinator may have kept since.
                self.lock().retain(|_, held| held.lease.device != device);
                let known = KnownDevice::new(device, stored.registration, stored.instance);
                if let Some(instance) = &known.instance {
                    world.store.serve(device, instance).await?;
                }
                self.recall(&known).await;
                world.presence.introduce(known.clone(), now);
                (Arc::new(known), true)
            }
        };
        if came_back {
            world.wakeups.devices();
        }
        Ok(known)
    }

    fn hold_for(&self, token: LeaseToken, device: i64) {
        self.hold(HeldLease { token, device });
    }

    pub(crate) fn hold(&self, lease: HeldLease) {
        self.hold_until_the_end(lease, false);
    }

    fn hold_until_the_end(&self, lease: HeldLease, unheard: bool) {
        let held = Held {
            lease,
            facts: None,
            unheard,
            since: self.world.clock.elapsed(),
            until: self.end_of_a_lease(),
            about: None,
        };
        self.lock().insert(lease.token.task, held);
    }

    fn end_of_a_lease(&self) -> Duration {
        self.world.clock.elapsed() + self.world.config.lease_time
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the report of a task that is handed out will be checked against, with the token.
fn facts(claimed: &Claimed, hand_out: &HandOut) -> (LeaseToken, TaskFacts) {
    let assignment = &hand_out.assignment;
    let facts = TaskFacts {
        search: claimed.search,
        kind: claimed.kind,
        purpose: claimed.purpose,
        epoch: claimed.token.epoch,
        plan_digest: assignment.plan.digest(),
        layers: assignment.plan.precisions().len(),
        workloads: assignment.workloads.clone(),
        windows: assignment.subject.data.evaluation_windows as usize,
    };
    (claimed.token, facts)
}

/// What came of waiting; nothing where the time was over first.
fn answered(answer: Option<Answer>) -> Result<Option<Handed>, ServiceError> {
    answer.transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
