//! What becomes of the calls to the store in a history, by its seed; and which of them stand still
//! until the history lets them go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::{Notify, OwnedMutexGuard, oneshot};
use tokio::task::yield_now;

use crate::store::unreliable::{Fate, LateCall, Weather};

/// Turns that everybody else gets, after which they have come to where they wait for a call, and where
/// there is none, nothing will be under way.
pub(super) const QUIET: usize = 8;

/// Lets everybody else do what they can do without a call. How long a call takes is the machine's, and
/// who makes the next one must not be decided by it.
async fn quiet() {
    for _ in 0..QUIET {
        yield_now().await;
    }
}

/// The weather of a history. One call happens at a time, and all that is random is drawn from its
/// generator in the order of the calls, so that a history is a function of its seed.
pub(super) struct Sky {
    state: Mutex<State>,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Something that was under way is over.
    pub(super) changed: Notify,
}

struct State {
    random: fastrand::Rng,
    /// Of a thousand calls, how many have each of the bad fates.
    lost: u32,
    /// Calls until one stands still.
    stop_after: Option<u32>,
    stopped: Vec<Stopped>,
    late: Vec<(String, LateCall)>,
    under_way: usize,
    steps: Vec<String>,
}

/// A call that stands still.
struct Stopped {
    name: String,
    go_on: oneshot::Sender<()>,
}

impl Sky {
    /// Loses nothing yet.
    pub(super) fn new(random: fastrand::Rng) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                random,
                lost: 0,
                stop_after: None,
                stopped: Vec::new(),
                late: Vec::new(),
                under_way: 0,
                steps: Vec::new(),
            }),
            turn: Arc::default(),
            changed: Notify::new(),
        })
    }

    /// The weather over the store of one process, which may die.
    pub(super) fn over(self: &Arc<Self>, process: char, dead: Arc<AtomicBool>) -> Arc<dyn Weather> {
        Arc::new(Over {
            sky: self.clone(),
            process,
            dead,
        })
    }

    /// From now on so many of a thousand calls are lost in each way.
    pub(super) fn lose(&self, lost: u32) {
        self.state().lost = lost;
    }

    /// From now on nothing is lost and nothing stands still any more.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        (state.lost, state.stop_after) = (0, None);
        for stopped in state.stopped.drain(..) {
            // Whoever made it may have come to an end.
            let _ = stopped.go_on.send(());
        }
    }

    /// The call after so many others stands still; none where nothing else is said.
    pub(super) fn stop_after(&self, calls: Option<u32>) {
        self.state().stop_after = calls;
    }

    /// The calls that stand still.
    pub(super) fn stopped(&self) -> usize {
        let mut state = self.state();
        state.stopped.retain(|stopped| !stopped.go_on.is_closed());
        state.stopped.len()
    }

    /// Lets one of them go on.
    pub(super) fn go_on(&self, place: usize) {
        let stopped = self.state().stopped.remove(place);
        self.note(format!("{} goes on", stopped.name));
        let _ = stopped.go_on.send(());
    }

    /// The calls that are yet to happen although their callers were told.
    pub(super) fn late(&self) -> usize {
        self.state().late.len()
    }

    /// One of them happens.
    pub(super) async fn happen(&self, place: usize) {
        let (name, call) = self.state().late.remove(place);
        self.note(format!("{name} happens"));
        let _turn = self.turn.clone().lock_owned().await;
        call.await;
        quiet().await;
    }

    /// Calls that happen or wait for their turn.
    pub(super) fn under_way(&self) -> usize {
        self.state().under_way
    }

    /// Adds a line to what is told of the history where it goes wrong.
    pub(super) fn note(&self, step: String) {
        self.state().steps.push(step);
    }

    /// All that happened.
    pub(super) fn steps(&self) -> Vec<String> {
        self.state().steps.clone()
    }

    /// A number below a bound, of the history's generator.
    pub(super) fn below(&self, bound: usize) -> usize {
        self.state().random.usize(..bound)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

struct Over {
    sky: Arc<Sky>,
    process: char,
    dead: Arc<AtomicBool>,
}

/// A call that is under way.
struct UnderWay {
    sky: Arc<Sky>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl UnderWay {
    fn new(sky: &Arc<Sky>) -> Self {
        sky.state().under_way += 1;
        Self {
            sky: sky.clone(),
            turn: None,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.turn.take();
        self.sky.state().under_way -= 1;
        self.sky.changed.notify_one();
    }
}

#[async_trait]
impl Weather for Over {
    async fn fate(&self, call: &'static str) -> (Fate, Box<dyn Send>) {
        let sky = &self.sky;
        if let Some(let_go) = self.stop(call) {
            sky.changed.notify_one();
            // At the end of a history nobody lets anything go on any more.
            let _ = let_go.await;
        }
        let mut under_way = UnderWay::new(sky);
        under_way.turn = Some(sky.turn.clone().lock_owned().await);
        let fate = self.draw(call);
        (fate, Box::new(under_way))
    }

    fn keep(&self, call: &'static str, late: LateCall) {
        let name = format!("{}.{call}", self.process);
        self.sky.state().late.push((name, late));
    }

    async fn happened(&self) {
        quiet().await;
    }
}

impl Over {
    /// Whether a call stands still, and until when.
    fn stop(&self, call: &str) -> Option<oneshot::Receiver<()>> {
        let mut state = self.sky.state();
        if self.dead.load(Ordering::SeqCst) {
            return None;
        }
        match &mut state.stop_after {
            None => return None,
            Some(0) => state.stop_after = None,
            Some(left) => {
                *left -= 1;
                return None;
            }
        }
        let (go_on, let_go) = oneshot::channel();
        let name = format!("{}.{call}", self.process);
        state.steps.push(format!("{name} stands still"));
        state.stopped.push(Stopped { name, go_on });
        Some(let_go)
    }

    fn draw(&self, call: &str) -> Fate {
        if self.dead.load(Ordering::SeqCst) {
            // What is left of a process that was killed makes no difference any more.
            return Fate::RequestLost {
                may_have_happened: false,
            };
        }
        let mut state = self.sky.state();
        let (drawn, lost) = (state.random.u32(..1000), state.lost);
        let fate = match drawn.checked_div(lost) {
            Some(0) => Fate::RequestLost {
                may_have_happened: drawn % 2 == 0,
            },
            Some(1) => Fate::ReplyLost,
            // The store has no term before it has joined, and its caller would go on without one.
            Some(2) if call != "join" => Fate::Late,
            _ => Fate::Passes,
        };
        if fate != Fate::Passes {
            let process = self.process;
            state.steps.push(format!("{process}.{call}: {fate:?}"));
        }
        fate
    }
}
