//! Whom quality is left to: within a numerics class any device may score a plan, and a slow one had
//! better time what only it can time.
//!
//! A device takes the quality of a plan where that would not be finished earlier elsewhere. While
//! it scores one, faster devices score several, so it leaves as many at the head of the queue to
//! them, and takes the one behind those, if there is one. It asks this anew whenever it asks for
//! work, so what it takes follows from who is there and nothing else: where the faster ones leave,
//! it takes everything.
//!
//! How fast devices are is measured: by what the latest scorings of their hardware profile took, or,
//! while nothing is scored, by its prefills, whose arithmetic is the same. The two are not compared
//! with each other, since scoring does more. A profile of which too little is known waits for nobody
//! and is waited for by nobody, which is how it comes to be known.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitfront_model::{
    Digest, Latency, LeaseToken, Measurement, NumericsClass, Outcome, SearchRequest, TaskKind,
};

use super::{Held, Leasing};
use crate::presence::KnownDevice;

/// Scorings of a hardware profile whose median is its pace; more would tell of what is long past.
const MOST_SCORED: usize = 5;

/// Measurements that are looked at of a device whose hardware profile is not known yet.
const MOST_RECALLED: u32 = 32;

/// Most tasks that are left to others; a queue is never that long.
const MOST_LEFT: f64 = 1e6;

/// What is computed to score plans of a search: every position goes through every parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Volume {
    parameters: f64,
    /// Positions of a window.
    context: f64,
    windows: f64,
}

impl Volume {
    fn of(request: &SearchRequest) -> Self {
        let data = &request.subject.data;
        Self {
            parameters: request.spec.parameters() as f64,
            context: f64::from(data.context),
            windows: f64::from(data.evaluation_windows),
        }
    }

    /// Of some windows.
    fn of_windows(self, windows: usize) -> f64 {
        self.parameters * self.context * windows as f64
    }

    /// Of all windows that a search scores.
    fn whole(self) -> f64 {
        self.parameters * self.context * self.windows
    }
}

/// What a task that is held is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct About {
    /// The hardware profile of who holds it.
    profile: Digest,
    /// What scoring a plan of its search takes.
    volume: Volume,
    is_quality: bool,
}

impl About {
    pub(super) fn new(profile: Digest, request: &SearchRequest, kind: TaskKind) -> Self {
        Self {
            profile,
            volume: Volume::of(request),
            is_quality: kind == TaskKind::Quality,
        }
    }
}

/// How fast a device is: nanoseconds for one position and one parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Pace {
    scored: Option<f64>,
    timed: Option<f64>,
}

impl Pace {
    /// This and another one by the same kind of measurement.
    fn beside(self, other: Self) -> Option<(f64, f64)> {
        self.scored
            .zip(other.scored)
            .or_else(|| self.timed.zip(other.timed))
    }
}

/// What a device does whose tasks one may wait for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Elsewhere {
    pace: Pace,
    /// None where it waits for work.
    holds: Option<Holds>,
}

/// A task that a device holds, for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Holds {
    about: About,
    since: Duration,
}

/// How many of the queued qualities others have finished before a device would have finished one.
fn left_to(mine: Pace, others: &[Elsewhere]) -> u32 {
    let finished = others.iter().map(|other| {
        let Some((mine, pace)) = mine.beside(other.pace) else {
            return 0.0;
        };
        if pace >= mine {
            return 0.0;
        }
        let until_free = match other.holds {
            None => 0.0,
            Some(holds) => {
                let volume = holds.about.volume.whole();
                let busy = holds.since.as_nanos() as f64;
                // It may have come to a stop, and waiting for it would be no gain any more.
                if busy >= mine * volume {
                    return 0.0;
                }
                match holds.about.is_quality {
                    true => (1.0 - busy / (pace * volume)).max(0.0),
                    false => 0.0,
                }
            }
        };
        // Those that are finished at the same moment are not finished earlier.
        (mine / pace - until_free).ceil() - 1.0
    });
    let finished: f64 = finished.map(|it| it.max(0.0)).sum();
    finished.min(MOST_LEFT) as u32
}

/// How fast hardware profiles are, and how many devices of each wait for work. Forgotten by a
/// restart; how fast they are is recalled from the store.
#[derive(Default)]
pub(super) struct Paces {
    /// Behind a std mutex, which is held for a lookup only.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    profiles: HashMap<Digest, Profile>,
    waiting: HashMap<Digest, usize>,
}

/// A device that waits for work, for as long as this lives.
pub(super) struct Waits<'a> {
    paces: &'a Paces,
    profile: Digest,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut known = self.paces.lock();
        if let Some(waiting) = known.waiting.get_mut(&self.profile) {
            *waiting = waiting.saturating_sub(1);
        }
    }
}

struct Profile {
    class: NumericsClass,
    /// The latest scorings, oldest first.
    scored: VecDeque<f64>,
    timed: Option<f64>,
}

impl Profile {
    fn pace(&self) -> Pace {
        let mut scored: Vec<_> = self.scored.iter().copied().collect();
        scored.sort_by(f64::total_cmp);
        Pace {
            scored: scored.get(scored.len() / 2).copied(),
            timed: self.timed,
        }
    }
}

impl Paces {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device of that hardware profile waits for work.
    pub(super) fn wait(&self, profile: Digest) -> Waits<'_> {
        *self.lock().waiting.entry(profile).or_default() += 1;
        Waits {
            paces: self,
            profile,
        }
    }

    /// Learns how long a device took for a measurement, whatever it was for. What was given up early
    /// says little, since what comes before the first window is a large part of it then.
    fn learn(&self, device: &KnownDevice, volume: Volume, measurement: &Measurement) {
        let registration = &device.registration;
        let profile = device.profile;
        let mut known = self.lock();
        let profile = known.profiles.entry(profile).or_insert_with(|| Profile {
            class: registration.numerics_class.clone(),
            scored: VecDeque::new(),
            timed: None,
        });
        match &measurement.outcome {
            Outcome::Quality(quality) if quality.stopped.is_none() => {
                if profile.scored.len() == MOST_SCORED {
                    profile.scored.pop_front();
                }
                let windows = quality.kld_windows.len() + quality.rescored.len();
                let took = measurement.evidence.duration_ns as f64;
                profile.scored.push_back(took / volume.of_windows(windows));
            }
            Outcome::Latency { workloads } => {
                let prefill = workloads.iter().find(|it| !it.workload.is_decode());
                profile.timed = prefill.map(|prefill| {
                    let workload = prefill.workload;
                    let rows = workload.positions() * u64::from(workload.batch());
                    pass_ns(prefill) / (rows as f64 * volume.parameters)
                });
            }
            Outcome::Quality(_) | Outcome::Infeasible { .. } => {}
        }
    }
}

/// The time of a pass of the anchor, which is the same plan for all timings of a search; of the plan
/// itself where it was timed alone.
fn pass_ns(prefill: &Latency) -> f64 {
    let anchor = prefill.paired.as_ref();
    let mut samples = anchor.map_or_else(Vec::new, |it| it.anchor_samples_ns.clone());
    samples.sort_unstable();
    let middle = samples.get(samples.len() / 2);
    middle.map_or(prefill.median_ns, |&sample| sample as f64)
}

impl Leasing {
    /// How many of the queued qualities of its numerics class a device leaves to faster ones, which
    /// are at work or wait for it. Those count that speak to this coordinator: what others are doing
    /// is not known here.
    pub(super) fn left_to_faster(&self, device: &KnownDevice) -> u32 {
        let class = &device.registration.numerics_class;
        let mine = device.profile;
        let (pace, faster, mut others) = {
            let known = self.paces.lock();
            let Some(pace) = known.profiles.get(&mine).map(Profile::pace) else {
                return 0;
            };
            let of_class = known.profiles.iter().filter(|(_, it)| it.class == *class);
            let faster = of_class.filter(|(_, profile)| {
                let beside = pace.beside(profile.pace());
                beside.is_some_and(|(mine, other)| other < mine)
            });
            let faster: HashMap<_, _> = faster
                .map(|(&digest, profile)| (digest, profile.pace()))
                .collect();
            // The fastest ones, which ask most often, need not know what the others do.
            if faster.is_empty() {
                return 0;
            }
            let waiting = faster.iter().flat_map(|(profile, &pace)| {
                let waiting = known.waiting.get(profile).copied().unwrap_or(0);
                std::iter::repeat_n(Elsewhere { pace, holds: None }, waiting)
            });
            let waiting: Vec<_> = waiting.collect();
            (pace, faster, waiting)
        };
        let now = self.world.clock.elapsed();
        // A timing and its companions are held by one device.
        let mut at_work: HashMap<i64, Elsewhere> = HashMap::new();
        for held in self.lock().values() {
            let Some((about, &pace)) = held
                .about
                .and_then(|about| Some((about, faster.get(&about.profile)?)))
            else {
                continue;
            };
            let since = now.saturating_sub(held.since);
            let other = at_work.entry(held.lease.device);
            let other = other.or_insert(Elsewhere { pace, holds: None });
            let since = other.holds.map_or(since, |holds| holds.since.max(since));
            other.holds = Some(Holds { about, since });
        }
        others.extend(at_work.into_values());
        left_to(pace, &others)
    }

    /// What came of a lease is stored: learns how long it took, and forgets the lease.
    pub(crate) fn reported(&self, token: LeaseToken, measurement: &Measurement) {
        let held = |held: &Held| (held.lease, held.about);
        let held = self.lock().get(&token.task).map(held);
        if let Some((lease, Some(about))) = held
            && lease.token == token
            && let Some(device) = self.world.presence.known(lease.device)
        {
            self.paces.learn(&device, about.volume, measurement);
        }
        self.forget(token);
    }

    /// Learns from the store how fast a device is whose hardware profile was not heard of yet. What
    /// cannot be read is learned when the device hands something in.
    pub(super) async fn recall(&self, device: &KnownDevice) {
        let profile = device.profile;
        if self.paces.lock().profiles.contains_key(&profile) {
            return;
        }
        let store = self.world.store.as_ref();
        let latest = match store.latest(&[device.id], MOST_RECALLED).await {
            Ok(latest) => latest,
            Err(error) => {
                tracing::warn!(%error, "how fast a device is, is not recalled");
                return;
            }
        };
        for measured in latest.iter().rev() {
            if let Ok(Some(fixed)) = self.fixed.find(store, measured.search).await {
                let volume = Volume::of(&fixed.search.request);
                self.paces.learn(device, volume, &measured.measurement);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
