//! What a coordinator is told when it starts. Reads nothing: the binary reads files and the
//! environment and fills this in.

use std::path::PathBuf;
use std::time::Duration;

use crate::database::Database;

/// Beats that a coordinator may leave out before another one takes its work over.
pub const SILENT_BEATS: u32 = 5;

/// What a coordinator is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database that it serves.
    pub database: Database,
    /// The folder for files that devices fetch by content; without one none are taken in. Several
    /// coordinators over one database may share it.
    pub blobs: Option<PathBuf>,
    /// What it shows of itself over TLS; without it connections are neither secret nor proven.
    pub tls: Option<TlsFiles>,
    /// Whom it lets in.
    pub admission: Admission,
    /// Serve on an address that others reach although they need no token, or see it on its way.
    pub insecure_open: bool,
    /// What one peer may take.
    pub bounds: Bounds,
    /// How long a lease lasts without a heartbeat. Three beats fit, so that one may be lost.
    pub lease_time: Duration,
    /// Hand-outs of a task that may end without a result before the task is given up.
    pub most_attempts: u32,
    /// Hand-outs of a task that may end in the end of whoever measured it before it is given up.
    pub most_crashes: u32,
    /// Candidates of one search that may be queued or measured at once, for every device that
    /// serves it. With two, a device finds work while the result of the one before is on its way;
    /// with more, the strategy would propose without knowing what is already being measured.
    pub pending_per_device: usize,
    /// Points of a front, besides the baselines, that are measured afresh before a search ends. A
    /// longer front is confirmed in part; with 0 nothing is confirmed.
    pub most_confirmed: usize,
    /// How often a coordinator tells the others over the same database that it is there.
    pub beat: Duration,
}

/// Whom a coordinator lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Everybody who reaches it. An access token that is shown all the same must be a good one.
    Open,
    /// Who shows an access token that is stored, not revoked and not expired.
    Tokens,
}

/// What one peer may take of a coordinator, in time and in calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long a connection may stand over which nobody was let in.
    pub stranger: Duration,
    /// How long a call may take until it is answered, beyond the time of a lease, for which agents
    /// may wait. Files that are handed in may take longer.
    pub call: Duration,
    /// Pause between two parts of a file that is handed in or fetched.
    pub pause: Duration,
    /// Calls a second with one access token, on average; twice as many in a burst.
    pub calls_per_token: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            stranger: Duration::from_secs(30),
            call: Duration::from_secs(120),
            pause: Duration::from_secs(60),
            calls_per_token: 1000,
        }
    }
}

/// The files of a coordinator that serves over TLS, in PEM. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The certificates of the authorities of clients; with it a client without such a certificate
    /// is refused.
    pub client_ca: Option<PathBuf>,
    /// Lists of which of their certificates those authorities have revoked, and those between them and
    /// clients; with it a client is refused whose certificate is in its issuer's list, or whose issuer
    /// has none.
    pub client_crl: Option<PathBuf>,
}

impl Config {
    /// The settings that suit everyone, for a database. Blobs lie beside one that is a file.
    pub fn new(database: impl Into<Database>) -> Self {
        let database = database.into();
        let blobs = match &database {
            Database::File(file) => Some(file.with_file_name("blobs")),
            Database::Postgres(_) => None,
        };
        Self {
            database,
            blobs,
            tls: None,
            admission: Admission::Open,
            insecure_open: false,
            bounds: Bounds::default(),
            lease_time: Duration::from_secs(30),
            most_attempts: 3,
            most_crashes: 2,
            pending_per_device: 2,
            most_confirmed: 32,
            beat: Duration::from_secs(2),
        }
    }

    /// How long a coordinator may be silent before another one takes its work over.
    pub fn grace(&self) -> Duration {
        self.beat * SILENT_BEATS
    }

    /// How often an agent sends a heartbeat.
    pub fn heartbeat(&self) -> Duration {
        self.lease_time / 3
    }
}
