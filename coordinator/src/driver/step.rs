//! One look at the store, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{
    Answer, ProbeQuestion, Question, QuestionStanding, SearchRequest, SearchState,
    SensitivityQuestion,
};
use bitfront_search::Among;
use bitfront_search::stop::{Progress, Stall, StopRules, stop};

use super::confirm::confirm;
use super::join::Joined;
use super::meter::Meter;
use super::replay::{Replay, ReplayError};
use super::retime::retime;
use super::within::Within;
use crate::exclusion::exclusions;
use crate::guesses::Known;
use crate::intake::listed;
use crate::presence::KnownDevice;
use crate::siblings::Siblings;
use crate::space::SearchSpace;
use crate::store::{Binding, Ending, StoreError, StoredSearch};
use crate::world::World;

/// Longest pause of a running search: its used time is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What comes after a step.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Another step at once: something changed under this one.
    Again,
    /// A wake-up, or at the latest the end of the pause.
    Wait(Option<Duration>),
}

/// A driver between two looks.
pub(crate) struct Driver {
    hands: Hands,
    /// None while the search does not run.
    running: Option<Running>,
}

/// What a driver works with, apart from what it has learned.
pub(super) struct Hands {
    pub(super) world: Arc<World>,
    pub(super) search: i64,
}

pub(super) struct Running {
    pub(super) replay: Replay,
    /// None of a search that learns from none.
    siblings: Option<Siblings>,
    meter: Meter,
    /// The search is over and its front is measured afresh, which counts towards no budget.
    confirming: bool,
    within: Within,
    /// Candidates that were evaluated, and things that were heard of siblings, when the checks were
    /// told last; none before.
    checked: Option<(u64, usize)>,
    /// The latest measurement when doubts were looked at last; none before.
    doubted: Option<i64>,
    /// What is said while no device serves the search; none while one does.
    away: Option<String>,
    /// The hardware profiles that it is joint with.
    joined: Joined,
}

impl Driver {
    pub(crate) fn new(world: Arc<World>, search: i64) -> Self {
        Self {
            hands: Hands { world, search },
            running: None,
        }
    }

    /// Looks at the store and does what is to be done. Where the store fails, a later step may
    /// succeed.
    pub(crate) async fn step(&mut self) -> Result<Next, StoreError> {
        let hands = &self.hands;
        let Some(stored) = hands.world.store.search(hands.search).await? else {
            return Ok(Next::Wait(None));
        };
        // Whatever comes between takes it away, so that it is learned anew.
        let running = self.running.take();
        let trouble = match (stored.state, &stored.binding) {
            (SearchState::Queued, _) => return hands.bind(&stored).await,
            (SearchState::Running, Some(binding)) => {
                let running = match running {
                    Some(running) => Ok(running),
                    None => hands.start(&stored, binding).await?,
                };
                match running {
                    Ok(running) => {
                        let running = self.running.insert(running);
                        match hands.advance(&stored, binding, running).await {
                            Ok(next) => {
                                if running.replay.is_ahead() {
                                    self.running = None;
                                }
                                return Ok(next);
                            }
                            Err(Trouble::Store(error)) => return Err(error),
                            Err(Trouble::Replay(error)) => error.to_string(),
                        }
                    }
                    Err(error) => error.to_string(),
                }
            }
            (SearchState::Running, None) => "it runs without a binding".to_owned(),
            _ => return Ok(Next::Wait(None)),
        };
        self.running = None;
        hands
            .end(&stored, SearchState::Failed, &trouble, stored.active)
            .await
    }

    /// Writes down the time used so far, before a shutdown.
    pub(super) async fn rest(mut self) {
        let Hands { world, search } = self.hands;
        let Some(running) = &mut self.running else {
            return;
        };
        let used = running.meter.read(world.clock.elapsed(), false);
        if let Err(error) = world.store.spend(search, used).await {
            tracing::warn!(search, %error, "the time used is not noted");
        }
    }
}

impl Running {
    fn new(stored: &StoredSearch, binding: &Binding, known: &Known) -> Result<Self, ReplayError> {
        let replay = Replay::new(&stored.request, binding, known)?;
        Ok(Self {
            siblings: replay.siblings(stored),
            replay: replay.starting_from(&stored.starts),
            meter: Meter::new(stored.active),
            confirming: false,
            within: Within::default(),
            checked: None,
            doubted: None,
            away: None,
            joined: Joined::default(),
        })
    }

    fn stop_reason(
        &self,
        stored: &StoredSearch,
        active: Duration,
        exhausted: bool,
    ) -> Option<String> {
        let early = stored.request.early_stop;
        let rules = StopRules {
            evaluations: stored.request.budget.evaluations,
            time: stored.request.budget.time,
            stall: early.stalled.map(|rule| Stall {
                evaluations: usize::try_from(rule.evaluations).unwrap_or(usize::MAX),
                least_gain: rule.least_growth,
            }),
            within_limits: early.within_limits,
        };
        let (left, baselines) = self.replay.baselines_left();
        // What nothing was compared with is not what was wanted.
        let within = self.within.found_after(stored.continued_after);
        let progress = Progress {
            evaluations: self.replay.evaluated(),
            elapsed: active,
            exhausted: exhausted && self.replay.pending() == 0,
            hypervolumes: self.replay.growth_after(stored.continued_after),
            within_limits: within.filter(|_| left == 0),
        };
        let reason = stop(&rules, &progress)?;
        Some(match left {
            0 => reason.to_string(),
            left => format!(
                "{reason} before {left} of {baselines} baselines are evaluated; more budget goes on \
                 with them"
            ),
        })
    }
}

impl Hands {
    /// What runs a bound search, with the answers that it was bound with.
    async fn start(
        &self,
        stored: &StoredSearch,
        binding: &Binding,
    ) -> Result<Result<Running, ReplayError>, StoreError> {
        Ok(match Known::of(&*self.world.store, binding).await? {
            Ok(known) => Running::new(stored, binding, &known),
            Err(unanswered) => Err(unanswered.into()),
        })
    }

    /// Binds a queued search to the first device that suits it once what it asks is answered, or
    /// says what it waits for.
    async fn bind(&self, stored: &StoredSearch) -> Result<Next, StoreError> {
        let world = &self.world;
        let serving = world.presence.serving(world.clock.elapsed());
        match choose(&stored.request, &serving) {
            Ok((device, mut binding)) => {
                let mut waits = self.probe(stored, &device, &mut binding).await?;
                if waits.is_none() {
                    waits = self.sensitivity(stored, &serving, &mut binding).await?;
                }
                if let Some(reason) = waits {
                    self.say(stored, &reason).await?;
                    return Ok(Next::Wait(None));
                }
                world.store.bind(self.search, &binding).await?;
                tracing::info!(search = self.search, class = %binding.numerics_class, "bound");
                world.wakeups.search(self.search);
                Ok(Next::Again)
            }
            Err(reason) => {
                self.say(stored, &reason).await?;
                Ok(Next::Wait(None))
            }
        }
    }

    /// Completes a binding by the device's probe, or says that it is waited for. One that the
    /// device's agent does not understand or that was given up is done without.
    async fn probe(
        &self,
        stored: &StoredSearch,
        device: &KnownDevice,
        binding: &mut Binding,
    ) -> Result<Option<String>, StoreError> {
        if !device.registration.can_probe {
            return Ok(None);
        }
        let request = &stored.request;
        let question = ProbeQuestion::new(&request.spec, &binding.precisions, &request.workloads);
        let profile = binding.hardware_profile.to_string();
        match self.ask(&profile, Question::Probe(question)).await? {
            Asked::Pending => {
                let name = &device.registration.device;
                return Ok(Some(format!("waiting for the probe of device `{name}`")));
            }
            Asked::Answered(id, answer) => {
                if let Answer::Probe(probe) = *answer {
                    let searched = request.precisions.iter().copied();
                    let searched = searched.filter(|it| binding.precisions.contains(it));
                    binding.exclusions = exclusions(&probe, &searched.collect::<Vec<_>>());
                    binding.probe = Some(id);
                }
            }
            Asked::GivenUp => {}
        }
        Ok(None)
    }

    /// Completes a binding by what the model's layers lose alone, or says that it is waited for.
    /// What no agent of the device's numerics class can answer, or was given up, is done without.
    async fn sensitivity(
        &self,
        stored: &StoredSearch,
        serving: &[Arc<KnownDevice>],
        binding: &mut Binding,
    ) -> Result<Option<String>, StoreError> {
        let request = &stored.request;
        if !request.wants_sensitivity() {
            return Ok(None);
        }
        let class = &binding.numerics_class;
        let able: Vec<_> = serving
            .iter()
            .map(|device| &device.registration)
            .filter(|device| device.numerics_class == *class && device.can_score_swaps)
            .map(|device| format!("`{}`", device.device))
            .collect();
        if able.is_empty() {
            tracing::warn!(
                search = self.search,
                %class,
                "bound without a sensitivity: no agent of the class can measure one"
            );
            return Ok(None);
        }
        let question = SensitivityQuestion::of(request, &binding.precisions);
        let question = Question::Sensitivity(Box::new(question));
        match self.ask(&class.0, question).await? {
            Asked::Pending => {
                return Ok(Some(format!(
                    "waiting for the sensitivity of the model's layers on device {}",
                    able.join(" or ")
                )));
            }
            Asked::Answered(id, _) => binding.sensitivity = Some(id),
            Asked::GivenUp => {}
        }
        Ok(None)
    }

    /// Asks a question, where it was never asked before, and says how far it has come.
    async fn ask(&self, target: &str, question: Question) -> Result<Asked, StoreError> {
        let world = &self.world;
        let asked = world.store.ask(target, &question, world.clock.now_ms());
        let asked = asked.await?;
        Ok(match asked.standing {
            QuestionStanding::Pending => {
                world.wakeups.work();
                Asked::Pending
            }
            QuestionStanding::Done(answer) => Asked::Answered(asked.id, answer),
            QuestionStanding::Failed { reason } => {
                let kind = question.kind();
                tracing::warn!(search = self.search, reason, "bound without a {kind}");
                Asked::GivenUp
            }
        })
    }

    /// Learns what is new, keeps candidates pending, and where the search is over has its front
    /// confirmed before it ends.
    async fn advance(
        &self,
        stored: &StoredSearch,
        binding: &Binding,
        running: &mut Running,
    ) -> Result<Next, Trouble> {
        let world = &self.world;
        self.learn(running).await?;
        running.joined.look(world, stored).await?;
        if stored.reference_point.is_none()
            && let Some(point) = running.replay.reference_point()
        {
            world.store.fix_reference(self.search, &point).await?;
            world.wakeups.search(self.search);
        }
        let devices = serving(world, binding);
        if devices > 0 {
            running.away = None;
        }
        let now = world.clock.elapsed();
        // Until the first measurement comes back the device prepares: it computes references and
        // an imatrix, which is done once however many candidates follow.
        let measuring = devices > 0 && running.replay.position().1 > 0 && !running.confirming;
        let active = running.meter.read(now, measuring);
        if let Some(used) = running.meter.to_note() {
            world.store.spend(self.search, used).await?;
            running.meter.noted(used);
            world.wakeups.search(self.search);
        }
        if stored.request.early_stop.within_limits {
            let order = running.replay.order();
            running.within.look(world, stored, order).await?;
        }
        let mut reason = running.replay.hopeless();
        let state = match reason {
            Some(_) => SearchState::Failed,
            None => SearchState::Done,
        };
        if reason.is_none() {
            reason = running.stop_reason(stored, active, false);
        }
        if reason.is_none() && devices > 0 {
            let exhausted = self.propose(stored, running, devices).await?;
            reason = running.stop_reason(stored, active, exhausted);
        }
        // After the devices have got work: of a long search that goes on these are many fits.
        self.tell_checks(running).await?;
        if reason.is_none() {
            let among = Among::WholeRuns;
            self.retime(stored, binding, running, among).await?;
        }
        if let Some(reason) = reason {
            // Doubted times before what is found is chosen by them, those of the last candidates
            // too; where no device serves, that waits for none.
            if state == SearchState::Done
                && devices > 0
                && self
                    .retime(stored, binding, running, Among::Evaluated)
                    .await?
            {
                running.confirming = true;
                running.meter.read(now, false);
                let progress = "timing a plan again whose time the model doubts";
                self.say(stored, progress).await?;
                return Ok(Next::Wait(Some(LOOK_EVERY)));
            }
            let progress = match state {
                SearchState::Done => confirm(world, stored, binding, &running.replay).await?,
                _ => None,
            };
            let Some(progress) = progress else {
                return Ok(self.end(stored, state, &reason, active).await?);
            };
            running.confirming = true;
            running.meter.read(now, false);
            if devices > 0 {
                self.say(stored, &progress).await?;
            } else {
                self.say_away(stored, binding, running).await?;
            }
            return Ok(Next::Wait(Some(LOOK_EVERY)));
        }
        running.confirming = false;
        if devices > 0 {
            self.say(stored, "").await?;
            let left = stored
                .request
                .budget
                .time
                .map(|time| time.saturating_sub(active));
            Ok(Next::Wait(Some(LOOK_EVERY.min(left.unwrap_or(LOOK_EVERY)))))
        } else {
            self.say_away(stored, binding, running).await?;
            Ok(Next::Wait(Some(LOOK_EVERY)))
        }
    }

    /// Tells what the strategy's predictions were worth and what it learned from siblings, where
    /// there may be something new.
    async fn tell_checks(&self, running: &mut Running) -> Result<(), Trouble> {
        let known = Some((running.replay.evaluated(), running.replay.heard()));
        if running.checked != known {
            running.checked = known;
            let learning = running.replay.learning().await?;
            if self.world.checks.tell(self.search, learning) {
                self.world.wakeups.search(self.search);
            }
        }
        Ok(())
    }

    /// Has doubted times measured once more; while the search goes on, where there may be something
    /// new. Says whether one is under way, as far as it looked.
    async fn retime(
        &self,
        stored: &StoredSearch,
        binding: &Binding,
        running: &mut Running,
        among: Among,
    ) -> Result<bool, Trouble> {
        let latest = Some(running.replay.position().1);
        let is_known = among == Among::WholeRuns && running.doubted == latest;
        if !stored.request.retimings || is_known {
            return Ok(false);
        }
        running.doubted = latest;
        let doubts = running.replay.doubtful(among).await?;
        let evaluated = running.replay.evaluated();
        Ok(retime(&self.world, stored, binding, &doubts, evaluated).await?)
    }

    pub(super) async fn learn(&self, running: &mut Running) -> Result<(), Trouble> {
        let replay = &mut running.replay;
        let (candidate, measurement) = replay.position();
        // Measurements first: a candidate is stored before its first measurement, so every one
        // that is named here is among those that are read after.
        let scores = self.world.store.scores(self.search, measurement).await?;
        let candidates = self.world.store.candidates(self.search, candidate).await?;
        replay.learn(candidates, &scores)?;
        if let Some(siblings) = &mut running.siblings {
            replay.hear(siblings.listen(&*self.world.store).await?)?;
        }
        Ok(())
    }

    async fn end(
        &self,
        stored: &StoredSearch,
        state: SearchState,
        reason: &str,
        active: Duration,
    ) -> Result<Next, StoreError> {
        let ending = Ending {
            state,
            reason: reason.to_owned(),
            active,
            budget: stored.request.budget,
            continued_after: stored.continued_after,
        };
        let ended = self
            .world
            .store
            .end(self.search, &ending, self.world.clock.now_ms())
            .await?;
        if ended {
            tracing::info!(search = self.search, reason, "{state}");
        }
        self.world.wakeups.search(self.search);
        // Either it ended, or its budget changed under this step.
        Ok(Next::Again)
    }

    /// Says that the search waits for a device that it is bound to, and which ones there were.
    async fn say_away(
        &self,
        stored: &StoredSearch,
        binding: &Binding,
        running: &mut Running,
    ) -> Result<(), StoreError> {
        let away = match running.away.take() {
            Some(away) => away,
            None => self.away(binding).await?,
        };
        self.say(stored, &away).await?;
        running.away = Some(away);
        Ok(())
    }

    async fn away(&self, binding: &Binding) -> Result<String, StoreError> {
        let store = &self.world.store;
        let profile = store.profile(binding.hardware_profile).await?;
        let profile = profile.map_or_else(String::new, |profile| profile.summary());
        let known = store.devices().await?.into_iter();
        let known = known.map(|device| device.registration);
        let known = known.filter(|it| it.hardware_profile.digest() == binding.hardware_profile);
        let names: Vec<_> = known.map(|device| format!("`{}`", device.device)).collect();
        Ok(match names.is_empty() {
            // Its device has another profile since.
            true => format!(
                "waiting for its device ({profile}): there is none of this hardware \
                             profile any more"
            ),
            false => format!(
                "waiting for its device ({profile}): {}, or another one of this hardware profile",
                listed(&names)
            ),
        })
    }

    /// Says what the search waits for or does, where that has changed.
    async fn say(&self, stored: &StoredSearch, reason: &str) -> Result<(), StoreError> {
        if stored.reason != reason {
            self.world.store.wait(self.search, reason).await?;
            self.world.wakeups.search(self.search);
        }
        Ok(())
    }
}

/// How far a question has come.
enum Asked {
    Pending,
    /// By its number, with the answer.
    Answered(i64, Box<Answer>),
    /// Too many attempts failed.
    GivenUp,
}

/// Why a running search could not advance.
pub(super) enum Trouble {
    /// It may later.
    Store(StoreError),
    /// It never will.
    Replay(ReplayError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ReplayError> for Trouble {
    fn from(error: ReplayError) -> Self {
        Self::Replay(error)
    }
}

/// The devices that can measure for a bound search. Both halves must be served, since a candidate
/// needs both of its measurements.
fn serving(world: &World, binding: &Binding) -> usize {
    let (class, profile) = (&binding.numerics_class, binding.hardware_profile);
    let now = world.clock.elapsed();
    let (qualities, latencies) = world.presence.count(now, class, profile);
    qualities.min(latencies)
}

/// True where no plan of the space keeps the request's limit on the size.
fn exceeds(space: &SearchSpace, request: &SearchRequest) -> bool {
    let limit = request.limits.max_size_bytes;
    limit.is_some_and(|limit| limit < space.smallest_bytes(&request.spec))
}

/// The first device that suits a request with the binding to it, before anything is asked; or what
/// the request waits for.
fn choose(
    request: &SearchRequest,
    serving: &[Arc<KnownDevice>],
) -> Result<(Arc<KnownDevice>, Binding), String> {
    let profile = request.joint.as_ref().and_then(|joint| joint.profile);
    let mut reason = match (&request.device, profile) {
        (Some(name), None) => format!("waiting for device `{name}`"),
        (Some(name), Some(_)) => format!("waiting for device `{name}` or another like it"),
        (None, _) => "waiting for a device".to_owned(),
    };
    let is_meant = |device: &KnownDevice| match (profile, &request.device) {
        (Some(profile), _) => profile == device.profile,
        (None, Some(name)) => *name == device.registration.device,
        (None, None) => true,
    };
    for device in serving.iter().filter(|device| is_meant(device)) {
        let registration = &device.registration;
        match SearchSpace::bound(request, &registration.precisions, &[]) {
            // Intake checked the limit against what was asked for; a device may execute less.
            Ok(space) if exceeds(&space, request) => {
                reason = format!(
                    "waiting for another device: on `{}`, the smallest plan over the precisions \
                     that it executes has {} bytes, more than the limit allows",
                    registration.device,
                    space.smallest_bytes(&request.spec)
                );
            }
            Ok(_) => {
                let binding = Binding {
                    hardware_profile: device.profile,
                    numerics_class: registration.numerics_class.clone(),
                    precisions: registration.precisions.clone(),
                    probe: None,
                    exclusions: Vec::new(),
                    sensitivity: None,
                };
                return Ok((device.clone(), binding));
            }
            Err(error) => {
                reason = format!(
                    "waiting for another device: on `{}`, {error}",
                    registration.device
                );
            }
        }
    }
    Err(reason)
}
