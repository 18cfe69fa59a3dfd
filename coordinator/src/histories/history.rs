//! One history: a few dozen events, drawn one after the other, and then a calm in which everything
//! has to come to its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitfront_model::{LeaseToken, Prior, Receipt, SearchRequest, StrategyName};
use tokio::task::{AbortHandle, yield_now};

use super::agent::{Agent, PRECISIONS};
use super::eyes::Eyes;
use super::model::Model;
use super::process::Process;
use super::sky::{QUIET, Sky};
use crate::clock::ManualClock;
use crate::error::ServiceError;
use crate::fixtures;
use crate::leasing::HandOut;
use crate::store::audit::{Audited, Rows};
use crate::store::unreliable::Unreliable;

/// Evaluations that no history comes to.
const MOST_EVALUATIONS: u64 = 24;

/// How long to wait for something that does not come to an end, before the history is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A contradiction, and what led to it.
pub(super) type Broken = String;

/// What one history differs from another in before its first event.
pub(super) struct Setting {
    pub(super) random: fastrand::Rng,
    /// Of a thousand calls to the store, how many have each of the bad fates.
    pub(super) lost: u32,
    pub(super) events: usize,
    /// Coordinators that may be there at once.
    pub(super) coordinators: usize,
    pub(super) agents: usize,
    pub(super) request: SearchRequest,
    pub(super) most_confirmed: usize,
    /// The plans of an undisturbed search's candidates, as far as they are known.
    pub(super) expected_plans: Option<Vec<String>>,
}

impl Setting {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut request = fixtures::request();
        request.spec.layers.retain(|layer| layer.block != Some(1));
        request.spec.layers.truncate(4);
        request.precisions = PRECISIONS.to_vec();
        request.strategy = StrategyName::Random;
        request.staged = false;
        request.seed = random.u64(1..=3);
        request.prior = Prior::Rounding;
        request.budget = fixtures::evaluations(random.u64(2..=6));
        if random.u8(..3) == 0 {
            request.budget.time = Some(Duration::from_secs(random.u64(20..=60)));
        }
        Self {
            lost: [0, 20, 60][random.usize(..3)],
            events: random.usize(25..=60),
            coordinators: random.usize(1..=2),
            agents: random.usize(1..=3),
            most_confirmed: random.usize(..=2),
            expected_plans: None,
            request,
            random,
        }
    }

    /// Nothing happens but a search from its beginning to its end.
    pub(super) fn undisturbed(asks: u64) -> Self {
        let mut setting = Self::of(0);
        setting.request.seed = asks;
        setting.request.budget = fixtures::evaluations(MOST_EVALUATIONS);
        Self {
            lost: 0,
            events: 0,
            coordinators: 1,
            agents: 1,
            most_confirmed: 0,
            ..setting
        }
    }
}

/// What a call came to.
pub(super) enum Heard {
    Registered(Result<i64, ServiceError>),
    Leased(Result<Vec<HandOut>, ServiceError>),
    /// When it was sent, and what was said to be held.
    Beaten(i64, Vec<LeaseToken>, Result<Vec<LeaseToken>, ServiceError>),
    Reported(String, Result<Receipt, ServiceError>),
    /// Whether a coordinator that starts may serve.
    Begun(bool),
    /// Anything else that has come to its end, well or not.
    Done,
    Submitted(Result<i64, ServiceError>),
}

/// A call that is not answered yet.
pub(super) struct Open {
    pub(super) what: &'static str,
    process: char,
    /// None of what a coordinator does by itself.
    pub(super) agent: Option<usize>,
    task: AbortHandle,
    /// Whoever made it does not wait for it any more.
    pub(super) is_given_up: bool,
}

/// What calls came to, by their numbers; none where one broke down.
type Finished = Arc<Mutex<Vec<(u64, Option<Heard>)>>>;

pub(super) struct History {
    pub(super) setting: Setting,
    pub(super) store: Arc<dyn Audited>,
    pub(super) sky: Arc<Sky>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) processes: Vec<Process>,
    started: usize,
    pub(super) agents: Vec<Agent>,
    pub(super) open: BTreeMap<u64, Open>,
    calls: u64,
    finished: Finished,
    pub(super) search: Option<i64>,
    /// Reports so far.
    pub(super) measured: u32,
    /// Who heard of which lease.
    pub(super) told: HashMap<LeaseToken, usize>,
    /// The rows as they were seen last.
    pub(super) rows: Rows,
}

impl History {
    pub(super) fn new(setting: Setting, store: Arc<dyn Audited>) -> Self {
        let mut random = setting.random.clone();
        let names = ["one", "two", "three"];
        Self {
            sky: Sky::new(random.fork()),
            agents: names[..setting.agents]
                .iter()
                .map(|name| Agent::new(name))
                .collect(),
            setting,
            store,
            clock: Arc::default(),
            model: Arc::default(),
            processes: Vec::new(),
            started: 0,
            open: BTreeMap::new(),
            calls: 0,
            finished: Arc::default(),
            search: None,
            measured: 0,
            told: HashMap::new(),
            rows: Rows::default(),
        }
    }

    /// Lives the history to its end.
    pub(super) async fn run(&mut self) -> Result<(), Broken> {
        self.begin().await?;
        self.sky.lose(self.setting.lost);
        for _ in 0..self.setting.events {
            self.event().await?;
            if self.sky.below(20) == 0 {
                self.audit().await?;
            }
        }
        self.come_to_rest().await?;
        self.audit().await?;
        self.audit_the_end().await
    }

    /// A coordinator starts.
    pub(super) fn start_process(&mut self) -> Process {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let name = char::from(letters[self.started % letters.len()]);
        self.started += 1;
        let is_dead = Arc::new(AtomicBool::new(false));
        let weather = self.sky.over(name, is_dead.clone());
        let is_exclusive = self.setting.coordinators == 1;
        let eyes = Arc::new(Eyes::new(&self.model));
        let beside = self.store.beside();
        let store = Unreliable::under(beside, weather, eyes.clone(), is_exclusive);
        let most_confirmed = self.setting.most_confirmed;
        let clock = self.clock.clone();
        let process = Process::new(name, Arc::new(store), eyes, clock, is_dead, |config| {
            config.most_confirmed = most_confirmed;
        });
        self.processes.push(process.clone());
        process
    }

    /// A coordinator serves; or has come to its end, or could not begin.
    fn begun(&mut self, name: char, has_begun: bool) {
        let place = self
            .processes
            .iter()
            .position(|process| process.name == name);
        let Some(place) = place else {
            return;
        };
        self.processes[place].serves = has_begun;
        if !has_begun {
            self.kill(place);
        }
    }

    /// A coordinator is killed, and with it what it is in the middle of.
    pub(super) fn kill(&mut self, place: usize) {
        let process = self.processes.remove(place);
        self.sky.note(format!("{} is killed", process.name));
        process.kill();
        let hit = self
            .open
            .iter()
            .filter(|(_, open)| open.process == process.name);
        let hit: Vec<_> = hit.map(|(&number, _)| number).collect();
        for number in hit {
            self.drop_call(number);
        }
    }

    /// A call is never answered: its server is gone, or drops it with its connection.
    pub(super) fn drop_call(&mut self, number: u64) {
        let Some(open) = self.open.remove(&number) else {
            return;
        };
        open.task.abort();
        self.sky
            .note(format!("{} of {} is dropped", open.what, open.process));
        self.unheard(&open);
    }

    /// What an agent does that waits for an answer no longer.
    pub(super) fn unheard(&mut self, open: &Open) {
        if let Some(agent) = open.agent.filter(|_| !open.is_given_up)
            && open.what == "lease"
        {
            self.agents[agent].lost_an_answer();
        }
    }

    /// Begins a call, which may stand still after some of its own calls to the store.
    pub(super) fn call(
        &mut self,
        what: &'static str,
        process: &Process,
        agent: Option<usize>,
        call: impl Future<Output = Heard> + Send + 'static,
    ) {
        self.calls += 1;
        let by = agent.map_or_else(String::new, |agent| format!(" for agent {agent}"));
        self.sky.note(format!("{} of {}{by}", what, process.name));
        let report = Reporting {
            number: self.calls,
            finished: self.finished.clone(),
            sky: self.sky.clone(),
            heard: None,
        };
        let task = tokio::spawn(async move {
            let mut report = report;
            report.heard = Some(call.await);
        });
        let open = Open {
            what,
            process: process.name,
            agent,
            task: task.abort_handle(),
            is_given_up: false,
        };
        self.open.insert(self.calls, open);
    }

    /// True where such a call of a coordinator or of an agent is not answered yet.
    pub(super) fn is_open(&self, what: &str, process: Option<char>, agent: Option<usize>) -> bool {
        self.open.values().any(|open| {
            open.what == what
                && process.is_none_or(|process| open.process == process)
                && (agent.is_none() || (open.agent == agent && !open.is_given_up))
        })
    }

    /// Waits until nothing goes on but what stands still or waits for work, and hears what came of
    /// the rest.
    pub(super) async fn settle(&mut self) -> Result<(), Broken> {
        let mut quiet = 0;
        while quiet < QUIET {
            if self.sky.under_way() > 0 {
                quiet = 0;
                let changed = self.sky.changed.notified();
                if tokio::time::timeout(PATIENCE, changed).await.is_err() {
                    return Err("something does not come to its end".to_owned());
                }
            } else {
                quiet += 1;
                yield_now().await;
            }
        }
        let finished = std::mem::take(&mut *self.finished.lock().unwrap());
        for (number, heard) in finished {
            // Where it is not there, whoever made it is gone.
            if let Some(open) = self.open.remove(&number) {
                let heard = heard.ok_or_else(|| format!("{} broke down", open.what))?;
                self.hear(&open, heard)?;
            }
        }
        match self.model.lock().unwrap().contradiction() {
            Some(contradiction) => Err(contradiction),
            None => Ok(()),
        }
    }

    fn hear(&mut self, open: &Open, heard: Heard) -> Result<(), Broken> {
        match heard {
            Heard::Submitted(Ok(search)) => self.search = Some(search),
            Heard::Begun(has_begun) => self.begun(open.process, has_begun),
            Heard::Done if open.what == "stop" => self.begun(open.process, false),
            _ => {}
        }
        let Some(number) = open.agent.filter(|_| !open.is_given_up) else {
            return self.hear_unheard(heard);
        };
        let agent = &mut self.agents[number];
        match heard {
            Heard::Registered(Ok(device)) => (agent.device, agent.registers) = (Some(device), None),
            Heard::Leased(Ok(hand_outs)) => {
                agent.held.extend(hand_outs.iter().cloned());
                for hand_out in hand_outs {
                    self.told(number, &hand_out)?;
                }
            }
            Heard::Leased(Err(_)) => agent.lost_an_answer(),
            Heard::Beaten(sent_ms, tokens, Ok(lost)) => {
                if let Some(strange) = lost.iter().find(|lost| !tokens.contains(lost)) {
                    return Err(format!("{strange:?} was lost and never spoken of"));
                }
                let process = self.processes.iter();
                let process = { process }.find(|process| process.name == open.process);
                if let Some(process) = process {
                    let kept = tokens.iter().filter(|token| !lost.contains(token));
                    let kept: Vec<_> = kept.copied().collect();
                    let mut model = self.model.lock().unwrap();
                    model.beaten(&kept, process.eyes.term(), sent_ms);
                }
                // One agent goes on measuring what it does not hold any more, another one does not.
                if self.sky.below(2) == 0 {
                    let is_lost = |it: &HandOut| lost.contains(&it.assignment.token);
                    agent.held.retain(|hand_out| !is_lost(hand_out));
                }
            }
            Heard::Reported(key, result) => return self.reported(number, &key, result),
            Heard::Registered(Err(_)) | Heard::Beaten(_, _, Err(_)) => {}
            Heard::Begun(_) | Heard::Done | Heard::Submitted(_) => {}
        }
        Ok(())
    }

    /// Nobody waits for it, but what was said has to be true all the same.
    fn hear_unheard(&mut self, heard: Heard) -> Result<(), Broken> {
        match heard {
            Heard::Reported(key, Ok(receipt)) => self.check_receipt(&key, receipt),
            _ => Ok(()),
        }
    }

    /// No two agents are told that they hold a task under one epoch.
    fn told(&mut self, agent: usize, hand_out: &HandOut) -> Result<(), Broken> {
        let token = hand_out.assignment.token;
        self.sky.note(format!(
            "agent {agent} holds {}#{}",
            token.task, token.epoch
        ));
        if let Some(other) = self.told.insert(token, agent) {
            return Err(format!(
                "{token:?} was handed to agents {other} and {agent}"
            ));
        }
        let mut model = self.model.lock().unwrap();
        let of = model.numbers.get(&token.task).copied();
        let assignment = &hand_out.assignment;
        if of.is_none_or(|of| (of.0, of.1) != (assignment.candidate, assignment.kind)) {
            return Err(format!(
                "{token:?} is of {of:?}, agent {agent} was told otherwise"
            ));
        }
        let holder = model.task(token).and_then(|task| {
            let place = usize::try_from(token.epoch - 1).ok()?;
            task.holders.get(place).copied()
        });
        match holder == self.agents[agent].device {
            true => Ok(()),
            false => Err(format!("{token:?} is held by device {holder:?}")),
        }
    }

    fn reported(
        &mut self,
        agent: usize,
        key: &str,
        result: Result<Receipt, ServiceError>,
    ) -> Result<(), Broken> {
        match result {
            Ok(receipt) => {
                self.sky
                    .note(format!("agent {agent} hears of {key}: {receipt:?}"));
                self.check_receipt(key, receipt)?;
                let spool = &mut self.agents[agent].spool;
                let entry = spool
                    .iter_mut()
                    .find(|(report, _)| report.idempotency_key == key);
                let heard = entry.map(|(_, heard)| heard).ok_or("a report of nobody")?;
                match *heard {
                    None => *heard = Some(receipt),
                    Some(_) if receipt == Receipt::AlreadyReported => {}
                    Some(_) => return Err(format!("{key} counted twice: {receipt:?}")),
                }
                Ok(())
            }
            // The next try may have more luck.
            Err(ServiceError::Store(_)) => Ok(()),
            Err(error) => Err(format!("the report {key} was refused: {error}")),
        }
    }

    /// What is acknowledged is stored.
    fn check_receipt(&mut self, key: &str, receipt: Receipt) -> Result<(), Broken> {
        let model = self.model.lock().unwrap();
        match (model.measurements.get(key), receipt) {
            (None, _) => Err(format!("{key} was acknowledged and is not stored")),
            (Some(kept), Receipt::Recorded) if !kept.accepted => {
                Err(format!("{key} was recorded and is a repeat"))
            }
            (Some(kept), Receipt::KeptAsRepeat) if kept.accepted => {
                Err(format!("{key} is a repeat and was recorded"))
            }
            _ => Ok(()),
        }
    }
}

/// Says what a call came to, also where it broke down.
struct Reporting {
    number: u64,
    finished: Finished,
    sky: Arc<Sky>,
    heard: Option<Heard>,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.finished
            .lock()
            .unwrap()
            .push((self.number, self.heard.take()));
        self.sky.changed.notify_one();
    }
}
