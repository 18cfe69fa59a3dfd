//! What can happen in a history.

use std::time::Duration;

use bitfront_model::Budget;

use super::history::{Broken, Heard, History};
use super::process::Process;
use crate::clock::Clock;
use crate::error::ServiceError;
use crate::leasing::Handed;
use crate::measurements;
use crate::store::{NewSearch, StoreError};

/// Longest that an agent waits for work.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl History {
    /// One event, drawn.
    pub(super) async fn event(&mut self) -> Result<(), Broken> {
        // Every tenth event has a call in it that stands still, to go on after others.
        let stands_still = self.setting.lost > 0 && self.sky.below(10) == 0;
        let after = stands_still.then(|| self.sky.below(6) as u32);
        self.sky.stop_after(after);
        let Some(process) = self.process() else {
            match self.sky.stopped() {
                0 => self.start(),
                // One that begins may be among them.
                stopped => self.sky.go_on(self.sky.below(stopped)),
            }
            return self.settle().await;
        };
        let agent = self.sky.below(self.agents.len());
        match self.sky.below(100) {
            0..4 => self.duty("look", &process),
            4..20 => self.duty("step", &process),
            20..24 => self.duty("sweep", &process),
            24..25 => {
                let place = self.sky.below(self.processes.len());
                self.kill(place);
            }
            25..26 => self.stop(&process),
            26..29 => self.start(),
            29..31 => self.user(&process),
            31..32 => self.agents[agent].start(),
            32..38 => self.beat(&process, agent),
            38..44 => self.report(&process, agent),
            44..48 => self.release(&process, agent),
            48..56 => self.pass_time(),
            56..59 => self.give_up(),
            59..62 if self.sky.late() > 0 => {
                let place = self.sky.below(self.sky.late());
                self.sky.happen(place).await;
            }
            62..67 if self.sky.stopped() > 0 => {
                let place = self.sky.below(self.sky.stopped());
                self.sky.go_on(place);
            }
            _ => self.go_about(&process, agent),
        }
        self.settle().await
    }

    /// What comes before the first event, undisturbed: a search that agents serve.
    pub(super) async fn begin(&mut self) -> Result<(), Broken> {
        self.start();
        self.settle().await?;
        if let Some(process) = self.process() {
            self.user(&process);
            for agent in 0..self.agents.len() {
                self.lease(&process, agent);
            }
            self.settle().await?;
            self.duty("step", &process);
        }
        self.settle().await
    }

    /// An agent does what is next: registers, measures and reports, or asks for work.
    fn go_about(&mut self, process: &Process, number: usize) {
        let agent = &self.agents[number];
        let has_to_register = agent.registers.is_some() || agent.device.is_none();
        match !has_to_register && !agent.tokens().is_empty() {
            true => self.report(process, number),
            false => self.lease(process, number),
        }
    }

    /// A coordinator that serves.
    fn process(&self) -> Option<Process> {
        let serving = self.processes.iter().filter(|process| process.serves);
        let mut serving: Vec<_> = serving.collect();
        match serving.len() {
            0 => None,
            count => Some(serving.swap_remove(self.sky.below(count)).clone()),
        }
    }

    /// A coordinator starts, where there is room for one.
    fn start(&mut self) {
        if self.processes.len() < self.setting.coordinators {
            let process = self.start_process();
            let begun = process.clone();
            self.call("begin", &process, None, async move {
                Heard::Begun(begun.begin().await.is_ok())
            });
        }
    }

    /// Something that a coordinator does by itself.
    pub(super) fn duty(&mut self, what: &'static str, process: &Process) {
        let name = Some(process.name);
        if self.is_open(what, name, None) || self.is_open("stop", name, None) {
            return;
        }
        let doing = process.clone();
        self.call(what, process, None, async move {
            // What fails is done again some time later.
            let _ = match what {
                "look" => doing.look().await,
                "step" => doing.step().await,
                _ => doing.sweep().await,
            };
            Heard::Done
        });
    }

    /// A coordinator is asked to end. Until it has, its agents may still call it.
    fn stop(&mut self, process: &Process) {
        if self.is_open("stop", Some(process.name), None) {
            return;
        }
        let stopping = process.clone();
        self.call("stop", process, None, async move {
            let _ = stopping.stop().await;
            Heard::Done
        });
    }

    /// A user submits the search, and later cancels or continues it.
    pub(super) fn user(&mut self, process: &Process) {
        let (world, drivers) = (process.world.clone(), process.drivers.clone());
        let Some(search) = self.search else {
            let new = NewSearch {
                request: self.setting.request.clone(),
                idempotency_key: Some("the search".to_owned()),
                starts: Vec::new(),
            };
            return self.call("submit", process, None, async move {
                let submitted = async {
                    let search = world.store.submit(&new, world.clock.now_ms()).await?;
                    if world.store.take_search(search).await? {
                        drivers.start(search);
                    }
                    Ok::<_, StoreError>(search)
                };
                Heard::Submitted(submitted.await.map_err(ServiceError::from))
            });
        };
        let service = process.searches();
        if self.sky.below(3) == 0 {
            return self.call("cancel", process, None, async move {
                let _ = service.cancel_search(search).await;
                Heard::Done
            });
        }
        let more = Budget {
            evaluations: Some(1 + self.sky.below(2) as u64),
            time: None,
        };
        self.call("continue", process, None, async move {
            let _ = service.continue_search(search, more).await;
            Heard::Done
        });
    }

    /// An agent asks for work; before, it registers where it has to.
    pub(super) fn lease(&mut self, process: &Process, number: usize) {
        let is_busy = ["lease", "register"].into_iter();
        let is_busy = { is_busy }.any(|what| self.is_open(what, None, Some(number)));
        let agent = &self.agents[number];
        if is_busy || !agent.held.is_empty() {
            return;
        }
        let (leasing, instance) = (process.leasing.clone(), agent.instance.clone());
        if let (Some(again), _) | (None, Some(again)) =
            (agent.registers, agent.device.is_none().then_some(false))
        {
            let registration = agent.registration.clone();
            return self.call("register", process, Some(number), async move {
                Heard::Registered(leasing.register(registration, &instance, again).await)
            });
        }
        let Some(device) = agent.device else {
            return;
        };
        let (caller, shutdown) = (agent.caller(), process.shutdown.clone());
        let most = self.sky.below(3);
        self.call("lease", process, Some(number), async move {
            match leasing
                .lease(device, &caller, LONGEST_WAIT, &shutdown)
                .await
            {
                Ok(Some(Handed::Task(first))) => {
                    let mut all = leasing.companions(device, &first, most).await;
                    all.insert(0, *first);
                    Heard::Leased(Ok(all))
                }
                Ok(_) => Heard::Leased(Ok(Vec::new())),
                Err(error) => Heard::Leased(Err(error)),
            }
        });
    }

    fn beat(&mut self, process: &Process, number: usize) {
        let agent = &self.agents[number];
        let Some(device) = agent.device else {
            return;
        };
        if self.is_open("beat", None, Some(number)) {
            return;
        }
        let (leasing, tokens) = (process.leasing.clone(), agent.tokens());
        let sent_ms = self.clock.now_ms();
        self.call("beat", process, Some(number), async move {
            let beaten = leasing.heartbeat(device, &tokens).await;
            Heard::Beaten(sent_ms, tokens, beaten)
        });
    }

    /// An agent measures something and reports what it has measured and not heard of; now and then
    /// also what it has heard of.
    pub(super) fn report(&mut self, process: &Process, number: usize) {
        if self.is_open("report", None, Some(number)) {
            return;
        }
        let infeasible = self.sky.below(12) == 0;
        let agent = &mut self.agents[number];
        if !agent.held.is_empty() {
            self.measured += 1;
            let place = self.sky.below(agent.held.len());
            agent.measure(place, self.measured, infeasible);
        }
        let again = self.sky.below(8) == 0;
        let spool = agent.spool.iter();
        let sent: Vec<_> = spool
            .filter(|(_, heard)| again || heard.is_none())
            .collect();
        if !sent.is_empty() {
            let report = sent[self.sky.below(sent.len())].0.clone();
            self.send(process, number, report);
        }
    }

    pub(super) fn send(
        &mut self,
        process: &Process,
        number: usize,
        report: bitfront_model::Report,
    ) {
        let (world, leasing) = (process.world.clone(), process.leasing.clone());
        self.call("report", process, Some(number), async move {
            let result = measurements::report(&world, &leasing, &report).await;
            Heard::Reported(report.idempotency_key, result)
        });
    }

    /// An agent gives something back, or its worker crashes amid it.
    fn release(&mut self, process: &Process, number: usize) {
        let agent = &mut self.agents[number];
        if agent.held.is_empty() {
            return;
        }
        let place = self.sky.below(agent.held.len());
        let token = agent.held.remove(place).assignment.token;
        let (leasing, how) = (process.leasing.clone(), self.sky.below(3));
        self.call("release", process, Some(number), async move {
            let _ = match how {
                0 => leasing.crashed(token, "it aborted").await,
                how => leasing.give_back(token, "it is stopped", how == 1).await,
            };
            Heard::Done
        });
    }

    fn pass_time(&mut self) {
        // Less than the grace of a coordinator, several times over, or more than a lease lasts.
        let seconds = [1, 4, 9, 31][self.sky.below(4)];
        self.sky.note(format!("{seconds} s pass"));
        self.clock.advance(Duration::from_secs(seconds));
        for process in self.processes.clone() {
            // Those that stand still do nothing meanwhile.
            if process.serves && self.sky.below(3) > 0 {
                self.duty("look", &process);
                self.duty("sweep", &process);
            }
        }
    }

    /// Somebody waits for a call no longer, which goes on all the same or is dropped.
    fn give_up(&mut self) {
        let open = self.open.iter().filter(|(_, open)| open.agent.is_some());
        let open: Vec<_> = open.map(|(&number, _)| number).collect();
        if open.is_empty() {
            return;
        }
        let number = open[self.sky.below(open.len())];
        if self.sky.below(2) == 0 {
            return self.drop_call(number);
        }
        if let Some(mut open) = self.open.remove(&number) {
            self.sky.note(format!("{} is given up", open.what));
            self.unheard(&open);
            open.is_given_up = true;
            self.open.insert(number, open);
        }
    }

    /// Everybody stops losing things, one coordinator is left, and everything has to end.
    pub(super) async fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.sky.note("calm".to_owned());
        self.sky.clear();
        self.settle().await?;
        while self.sky.late() > 0 {
            self.sky.happen(0).await;
        }
        // One that has been there all the time, or one that knows nothing.
        let stays = self.process().filter(|_| self.sky.below(2) == 0);
        let mut place = 0;
        while place < self.processes.len() {
            match &stays {
                Some(stays) if stays.name == self.processes[place].name => place += 1,
                _ => self.kill(place),
            }
        }
        self.settle().await?;
        let failed = |error: StoreError| format!("in the calm: {error}");
        let process = match stays {
            Some(stays) => stays,
            None => {
                let process = self.start_process();
                process.begin().await.map_err(failed)?;
                process
            }
        };
        // Those that are gone are seen to be silent.
        for _ in 0..3 {
            self.clock.advance(Duration::from_secs(9));
            process.look().await.map_err(failed)?;
        }
        if self.search.is_none() {
            self.user(&process);
            self.settle().await?;
        }
        for number in 0..self.agents.len() {
            self.agents[number].start();
            let unheard = self.agents[number].spool.iter();
            let unheard = unheard.filter(|(_, heard)| heard.is_none());
            for report in unheard
                .map(|(report, _)| report.clone())
                .collect::<Vec<_>>()
            {
                self.send(&process, number, report);
                self.settle().await?;
            }
        }
        self.serve_to_the_end(&process).await?;
        for _ in 0..2 {
            self.clock.advance(Duration::from_secs(31));
            process.sweep().await.map_err(failed)?;
        }
        self.settle().await
    }

    /// One agent does what is left to do.
    async fn serve_to_the_end(&mut self, process: &Process) -> Result<(), Broken> {
        let Some(search) = self.search else {
            return Err("the search cannot be submitted".to_owned());
        };
        for _ in 0..300 {
            self.duty("step", process);
            self.settle().await?;
            let stored = self.store.search(search).await;
            let stored = stored.map_err(|error| error.to_string())?;
            if stored.is_some_and(|stored| stored.state.has_ended()) {
                return Ok(());
            }
            self.lease(process, 0);
            self.settle().await?;
            if self.is_open("lease", None, Some(0)) {
                // Nothing is queued: what is leased is held by nobody who is there.
                self.clock.advance(Duration::from_secs(16));
                self.settle().await?;
                self.duty("sweep", process);
                self.settle().await?;
            }
            while !self.agents[0].held.is_empty() {
                self.measured += 1;
                self.agents[0].measure(0, self.measured, false);
                let report = self.agents[0]
                    .spool
                    .last()
                    .map(|(report, _)| report.clone());
                if let Some(report) = report {
                    self.send(process, 0, report);
                }
                self.settle().await?;
            }
        }
        Err("the search does not end".to_owned())
    }
}
