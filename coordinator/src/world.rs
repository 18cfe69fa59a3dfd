//! What every part of the coordinator is given.

use std::sync::Arc;
use std::time::Duration;

use crate::checks::Checks;
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::recorder::Recorder;
use crate::store::Store;
use crate::wakeups::Wakeups;

/// What every part of the coordinator is given.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wakeups: Arc<Wakeups>,
    pub(crate) presence: Presence,
    pub(crate) checks: Checks,
    pub(crate) recorder: Recorder,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Metrics,
}

impl World {
    pub(crate) fn new(config: Config, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let recorder = Recorder::new(store.clone(), clock.clone());
        let gate = Arc::new(Gate::new(store.clone(), clock.clone(), &config));
        Self {
            metrics: Metrics::new(&gate, &recorder),
            presence: Presence::new(config.lease_time),
            wakeups: Arc::default(),
            checks: Checks::default(),
            recorder,
            gate,
            config,
            store,
            clock,
        }
    }

    /// A moment of the clock's [`elapsed`](Clock::elapsed), in milliseconds since 1970.
    pub(crate) fn moment_ms(&self, at: Duration) -> i64 {
        let ago = self.clock.elapsed().saturating_sub(at).as_millis();
        let ago = i64::try_from(ago).unwrap_or(i64::MAX);
        self.clock.now_ms().saturating_sub(ago)
    }
}
