//! What an agent is given at start.

use std::path::PathBuf;
use std::time::Duration;

use bitfront_weights::Remote;
use tonic::transport::Uri;

use crate::client::Access;
use crate::{Calm, CoreChoice};

/// What an agent is given at start; the runtime is given beside it, see [`crate::run`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where coordinators listen, such as `http://127.0.0.1:7311`: one, or several over one
    /// database, of which one is talked to for as long as it answers.
    pub coordinators: Vec<Uri>,
    /// How they are come to.
    pub access: Access,
    /// The device's name, unique in the fleet; none takes the host's name. Two agents under one
    /// name are one device to the coordinator, so a second agent on a host needs a name.
    pub name: Option<String>,
    /// The cores that measure.
    pub cores: CoreChoice,
    /// What is done about a device that others use.
    pub calm: Calm,
    /// The folder for what was measured and is not acknowledged yet, of this agent alone; without one
    /// it is kept in memory, and lost with the agent. See [`spool_folder`](crate::spool_folder).
    pub spool: Option<PathBuf>,
    /// The folder for files that are fetched by content, and the most bytes that it may have; without
    /// one nothing is fetched. Several agents of a machine may share it.
    pub weights_cache: Option<(PathBuf, u64)>,
    /// Reads files by URL, where a search says that they can be.
    pub remote: Remote,
    /// Where the files are found in which the platform tells of itself: `/` on a real device.
    pub root: PathBuf,
    /// How long things are waited for.
    pub patience: Patience,
}

impl Config {
    /// The configuration for coordinators, with the host's name, the best cores and the usual
    /// patience.
    pub fn new(coordinators: Vec<Uri>) -> Self {
        Self {
            coordinators,
            access: Access::default(),
            name: None,
            cores: CoreChoice::default(),
            calm: Calm::default(),
            spool: None,
            weights_cache: None,
            remote: Remote::default(),
            root: PathBuf::from("/"),
            patience: Patience::default(),
        }
    }
}

/// How long an agent waits for things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a coordinator to answer for the first time; after it the agent ends with an error. Once
    /// registered, an agent waits for its coordinator for ever.
    pub start: Duration,
    /// For a task in one call; the call is repeated for ever.
    pub lease: Duration,
    /// For the answer to any other call, before it is made again.
    pub call: Duration,
    /// Before the first retry; later ones double it.
    pub first_retry: Duration,
    /// Upper bound of the time between retries.
    pub last_retry: Duration,
    /// Before the next task is asked for after one could not be measured here; doubled with each
    /// such task in a row, up to thirty times this. The pause leaves the task to a device that can
    /// measure it: the coordinator gives up on a task after a few attempts, and an agent without
    /// the model's files would use them up in an instant.
    pub failure_pause: Duration,
    /// At shutdown, for a measurement that was made to be acknowledged, or for a lease to be given
    /// back.
    pub shutdown: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(3),
            lease: Duration::from_secs(20),
            call: Duration::from_secs(20),
            first_retry: Duration::from_millis(200),
            last_retry: Duration::from_secs(5),
            failure_pause: Duration::from_secs(1),
            shutdown: Duration::from_secs(5),
        }
    }
}
