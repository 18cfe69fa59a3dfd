//! What every part of the coordinator is given.

use std::sync::Arc;

use crate::checks::Checks;
use crate::clock::Clock;
use crate::config::Config;
use crate::presence::Presence;
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
}

impl World {
    pub(crate) fn new(config: Config, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            presence: Presence::new(config.lease_time),
            wakeups: Arc::default(),
            checks: Checks::default(),
            config,
            store,
            clock,
        }
    }
}
