//! Owns the searches: takes requests in, proposes candidates, hands out tasks, records
//! measurements and answers questions.
//!
//! In the order in which a search flows through it:
//!
//! - `exposure`: who could reach the coordinator, and what must hold then;
//! - `gate`: who is let in, by the access tokens that `tokens` makes and revokes;
//! - `audit`: what persons do, noted;
//! - `rpc`: the gRPC services; handlers translate and call, or pass blobs to and from a folder;
//! - `intake`: every check of a request, and `submission`: from it to a search;
//! - `space`: what genes mean, nowhere else;
//! - `driver`: one task a search, which owns its strategy and rebuilds it by replay;
//! - `guesses`: what is believed of plans before anything is measured;
//! - `evaluation`: from measurements to what a strategy is told;
//! - `siblings`: what a search learns from the others over its subject;
//! - `anchor`: the plan that a search's candidates are timed beside;
//! - `rival`: the candidate that another one must lose less than;
//! - `leasing`: who measures what, under which token, until when;
//! - `measurements`: reports, checked and appended;
//! - `query`: where searches stand and what they found, from the database alone;
//! - `schedule`: searches that start by themselves;
//! - `computing`: what takes long is computed aside;
//! - `reaper`: ends the leases of agents that went silent;
//! - `metrics`: what is counted while all of this happens;
//! - `web`: what whoever runs it reads of it by HTTP;
//! - `membership`: which coordinators serve the database, and who takes over from whom;
//! - `store`: the only memory, and the only SQL.
//!
//! The store is the only meeting point: drivers never talk to agents and handlers never to
//! strategies. `wakeups` tell that something changed but carry nothing, so any of the
//! parts may die at any time. [`run`] is given its world and nothing is read from the environment.
//!
//! `task` of the design is split between `evaluation` and the store's rows: a task is made with
//! its candidate in one transaction and has no life outside the store.

mod anchor;
mod audit;
mod checks;
pub mod clock;
mod computing;
pub mod config;
pub mod database;
mod driver;
mod error;
mod evaluation;
mod exclusion;
mod exposure;
#[cfg(test)]
#[allow(dead_code, unreachable_pub)]
mod fixtures;
mod gate;
mod guesses;
#[cfg(test)]
mod histories;
mod intake;
mod leasing;
mod measurements;
mod membership;
mod metrics;
mod presence;
mod query;
mod reaper;
mod recorder;
mod rival;
mod rpc;
mod schedule;
mod siblings;
mod space;
mod store;
mod student;
mod submission;
#[cfg(test)]
mod testing;
mod tokens;
mod wakeups;
mod web;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{AccessRole, AccessToken};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use clock::{Clock, ManualClock, Sleep, SystemClock};
pub use config::{Admission, Bounds, Config, TlsFiles};
pub use database::Database;

use audit::Changed;
use driver::Drivers;
use leasing::Leasing;
use membership::Membership;
use store::Opened;
use tokens::TokenError;
use world::World;

/// The coordinator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database is there but another coordinator serves it.
    #[error("{0}")]
    InUse(InUse),
    /// The database cannot be used; the text says why and what to do.
    #[error("{0}")]
    Database(String),
    /// The coordinator's certificate cannot be used; the text names the file and what to do.
    #[error("{0}")]
    Tls(String),
    /// An access token cannot be made or revoked; the text says why.
    #[error("{0}")]
    Token(String),
    /// It would be open to others than this machine; the text says what to do.
    #[error("{0}")]
    Exposed(String),
    /// The listener failed.
    #[error("the server failed: {0}")]
    Server(String),
}

/// A database that another coordinator serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// The file, or the URL without its secrets.
    pub database: String,
    /// Where the other one listens (`127.0.0.1:4120`), as far as it said: a client may ask there.
    pub address: Option<String>,
}

impl std::fmt::Display for InUse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "the database {} is served by another coordinator",
            self.database
        )?;
        match &self.address {
            Some(address) => write!(formatter, " at {address}"),
            None => Ok(()),
        }
    }
}

/// Where a coordinator listens.
#[derive(Debug)]
pub struct Listeners {
    /// For calls, of clients and agents.
    pub calls: TcpListener,
    /// For whoever runs it: `/healthz`, `/readyz` and `/metrics`, which are nowhere without it.
    pub web: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(calls: TcpListener) -> Self {
        Self { calls, web: None }
    }
}

/// Serves until `shutdown` is cancelled, then lets what is under way come to its end.
///
/// State lives in the database alone: killing this at any moment and running it again continues
/// every search, with each lease given its full time again.
///
/// # Errors
///
/// [`RunError`] where the database cannot be used or the listener fails. Errors after that are
/// answered to whoever asked, and logged.
pub fn run(
    config: Config,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> impl Future<Output = Result<(), RunError>> + Send + 'static {
    // Not an `async fn`: that the future may move between threads is checked here, once, instead
    // of by every caller.
    open_and_serve(config, listener, clock, shutdown)
}

async fn open_and_serve(
    config: Config,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let coordinator = Coordinator::open(config, listener.into(), clock).await?;
    coordinator.serve(shutdown).await
}

/// Makes an access token straight in a database that no other coordinator keeps for itself, where
/// there is nobody to ask yet; gives its secret, which is told this once.
///
/// # Errors
///
/// [`RunError::Token`] where the name cannot be given, [`RunError::InUse`] where a coordinator
/// serves an SQLite file, and [`RunError::Database`].
pub async fn add_token(
    database: &Database,
    name: &str,
    role: AccessRole,
    lasts: Option<Duration>,
) -> Result<String, RunError> {
    let opened = Opened::open(database).await?;
    let (store, clock) = (opened.store(), SystemClock::new());
    let audit = audit::Audit::local(store.clone(), Arc::new(SystemClock::new()));
    let adding = tokens::add(&*store, &clock, name, role, lasts);
    let added = audit
        .noting("add token", name, adding, |_| Changed::It)
        .await;
    opened.close().await;
    Ok(added?)
}

/// Revokes an access token straight in a database, as [`add_token`] makes one.
///
/// # Errors
///
/// As [`add_token`].
pub async fn revoke_token(database: &Database, name: &str) -> Result<(), RunError> {
    let opened = Opened::open(database).await?;
    let (store, clock) = (opened.store(), SystemClock::new());
    let audit = audit::Audit::local(store.clone(), Arc::new(SystemClock::new()));
    let revoking = tokens::revoke(&*store, &clock, name);
    let revoked = audit
        .noting("revoke token", name, revoking, |_| Changed::It)
        .await;
    opened.close().await;
    Ok(revoked?)
}

/// The access tokens in a database, revoked ones too.
///
/// # Errors
///
/// As [`add_token`].
pub async fn list_tokens(database: &Database) -> Result<Vec<AccessToken>, RunError> {
    let opened = Opened::open(database).await?;
    let listed = tokens::list(&*opened.store()).await;
    opened.close().await;
    Ok(listed?)
}

/// Copies a database as it is at this moment into a new SQLite file, while it may be served.
///
/// # Errors
///
/// [`RunError::Database`] where the file cannot be read or written or exists, and for a Postgres
/// database, which has programs of its own for that.
pub async fn backup(database: &Database, to: &Path) -> Result<(), RunError> {
    let from = file_of(database)?;
    Ok(store::sqlite::backup::backup(from, to).await?)
}

/// Copies a backup to where a database is to be, which must not exist.
///
/// # Errors
///
/// As [`backup`], and where the backup is damaged or was made by a later version;
/// [`RunError::InUse`] where a coordinator serves that place.
pub async fn restore(from: &Path, database: &Database) -> Result<(), RunError> {
    let to = file_of(database)?;
    Ok(store::sqlite::backup::restore(from, to).await?)
}

fn file_of(database: &Database) -> Result<&Path, RunError> {
    match database {
        Database::File(path) => Ok(path),
        Database::Postgres(url) => Err(RunError::Database(format!(
            "{url} is a Postgres database: copy it with pg_dump and bring it back with pg_restore"
        ))),
    }
}

/// A coordinator that may serve: it is open to nobody who should not reach it, and has its database.
pub struct Coordinator {
    world: Arc<World>,
    database: Arc<Opened>,
    listeners: Listeners,
    /// Where it listens for calls.
    address: String,
    tls: Option<Arc<rpc::Tls>>,
}

impl Coordinator {
    /// Checks who would reach it, and opens the database. Nobody is answered yet.
    ///
    /// # Errors
    ///
    /// [`RunError`], which says what to do.
    pub async fn open(
        config: Config,
        listeners: Listeners,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RunError> {
        exposure::check(&config, &listeners)?;
        let tls = config.tls.clone();
        let tls = tls.map(|files| rpc::Tls::open(files, clock.clone()));
        let tls = tls.transpose()?.map(Arc::new);
        let database = Arc::new(Opened::open(&config.database).await?);
        exposure::check_tokens(&config, &*database.store(), &*clock).await?;
        let address = listeners.calls.local_addr();
        Ok(Self {
            world: Arc::new(World::new(config, database.store(), clock)),
            database,
            address: address.map_or_else(|_| String::new(), |address| address.to_string()),
            listeners,
            tls,
        })
    }

    /// Serves as [`run`] does.
    ///
    /// # Errors
    ///
    /// [`RunError`] where the database fails at the beginning, or the listener does.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let (world, database) = (self.world.clone(), self.database.clone());
        // Whoever finds the database in use may ask there, where that takes nothing more.
        let address = &self.address;
        let announced = match (&self.tls, world.config.admission) {
            (None, Admission::Open) => address.clone(),
            (None, Admission::Tokens) => format!("http://{address}"),
            (Some(_), _) => format!("https://{address}"),
        };
        let beside = database.clone().stand_beside_others(
            announced,
            world.wakeups.clone(),
            shutdown.child_token(),
        );
        let beside = tokio::spawn(beside);
        let result = self.serve_all(shutdown).await;
        beside.abort();
        database.close().await;
        result
    }

    async fn serve_all(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self {
            world,
            listeners,
            address,
            tls,
            ..
        } = self;
        // Whatever ends the server, an error included, ends the rest.
        let shutdown = shutdown.child_token();
        let leasing = Arc::new(Leasing::new(world.clone()));
        let drivers = Drivers::new(world.clone(), shutdown.clone());
        let membership =
            Membership::begin(world.clone(), leasing.clone(), drivers.clone(), address).await?;
        let membership = tokio::spawn(membership.run(shutdown.clone()));
        let reaper = tokio::spawn(reaper::run(leasing.clone(), shutdown.clone()));
        let scheduler = schedule::run(world.clone(), drivers.clone(), shutdown.clone());
        let scheduler = tokio::spawn(scheduler);
        let warner = tokio::spawn(tokens::tend(world.clone(), shutdown.clone()));
        let web = listeners.web.map(|listener| {
            let pages = web::Pages::new(world.clone(), leasing.clone(), shutdown.clone());
            tokio::spawn(web::serve(Arc::new(pages), listener, tls.clone()))
        });
        let served = rpc::serve(
            world,
            leasing,
            drivers.clone(),
            listeners.calls,
            tls,
            shutdown.clone(),
        );
        let result = served.await;
        shutdown.cancel();
        // The drivers end with the membership, before it gives up what they are in charge of.
        for task in [membership, reaper, scheduler, warner] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the coordinator ended badly");
            }
        }
        // To the end it says that it is stopping.
        if let Some(web) = web {
            web.abort();
        }
        result
    }
}

impl From<TokenError> for RunError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Store(error) => error.into(),
            other => Self::Token(other.to_string()),
        }
    }
}

impl From<rpc::TlsError> for RunError {
    fn from(error: rpc::TlsError) -> Self {
        Self::Tls(error.to_string())
    }
}

impl From<store::StoreError> for RunError {
    fn from(error: store::StoreError) -> Self {
        match error {
            store::StoreError::InUse { database, address } => {
                Self::InUse(InUse { database, address })
            }
            other => Self::Database(other.to_string()),
        }
    }
}
