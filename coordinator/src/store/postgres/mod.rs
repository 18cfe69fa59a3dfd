//! The store in a Postgres database.
//!
//! Several coordinators may use one database, so nothing here rests on being the only writer. Every
//! method is one transaction of a connection from the pool, READ COMMITTED, whatever the server's
//! default is. What each of two coordinators could do to the other at once, and what keeps it from
//! harm:
//!
//! - Two claim: the choice of a task locks it and passes over what is locked (`taking!`), so they
//!   take different ones. Nothing stays locked that was not taken.
//! - A claim and a cancel: a cancel locks all of its tasks before it looks which ones are leased. A
//!   claim that came first is waited for and its lease is ended too; one that comes later passes
//!   over them.
//! - A report and anything else about its task: the task ends by one statement that compares state
//!   and epoch (`tasks::end`). Whoever comes second waits for the row and compares again.
//! - One report twice: both find the key missing. The insert of the second waits for the first,
//!   writes nothing, and the work is done again, which finds the key (`Failure::Overtaken`). So it
//!   is with submissions. Devices, profiles, models and questions are inserted where they are
//!   missing and then read.
//! - A candidate, confirmation or retiming is added while its search ends, is cancelled or
//!   continued: whoever adds holds the search's row (`searches::hold_running`), and so does whoever
//!   changes its state. Candidates of a search therefore become visible in their order.
//! - A lease ends without a result while its search ends: it holds the search's row before it
//!   queues the task, so either it sees the end or the end sees the queued task.
//! - An infeasible report cancels the candidate's other task while more budget queues it: the
//!   report holds the search's row, so the second of them sees what the first did.
//! - A measurement is read in order while others are being added: `dialect::settled`.
//! - Bind, end, reference point, used time: each is one statement that compares what it replaces.
//!
//! Rows are locked in one order: search, tasks, device; and tasks by number where they are known by
//! it (`dialect::hold_tasks`, a cancel). An end, a continuation, confirmations and a takeover of leases
//! find their tasks by a condition, and lock them as they find them. So one of these may wait in a
//! circle with reports about the same tasks, or two takeovers with each other; the server ends one of
//! the two after its `deadlock_timeout`, a second by default, and it is tried again (`transaction`).

#[macro_use]
mod dialect;
mod open;
mod relay;
mod statistics;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::failure::Failure;
use super::term::Term;
use crate::database::PostgresUrl;
use crate::wakeups::Wakeups;
use transaction::Tries;

type Driver = Postgres;
type Connection = sqlx::PgConnection;
type Row = sqlx::postgres::PgRow;
type ThisStore = PostgresStore;

/// The store in a Postgres database; see the module's documentation.
pub(crate) struct PostgresStore {
    pool: PgPool,
    /// Of the coordinator that uses it.
    term: Term,
}

impl PostgresStore {
    const IS_EXCLUSIVE: bool = false;

    fn known_schema() -> i64 {
        open::known_schema()
    }

    /// Opens a database that is there, and brings its schema up to date.
    pub(crate) async fn open(url: &PostgresUrl) -> Result<Self, StoreError> {
        open::open(url).await
    }

    /// Tells other coordinators over this database what this one's parts are told, and the other
    /// way round, until the shutdown.
    pub(crate) async fn relay(&self, wakeups: Arc<Wakeups>, shutdown: CancellationToken) {
        relay::relay(self.pool.clone(), wakeups, shutdown).await;
    }

    /// Ends after what is under way. Whoever still asks gets an error.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The store as another coordinator has it: under a term of its own.
    #[cfg(test)]
    fn shared(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            term: Term::default(),
        }
    }

    async fn reader(&self, doing: &'static str) -> Result<PoolConnection<Postgres>, StoreError> {
        let reader = self.pool.acquire().await;
        reader.map_err(|error| Failure::from(error).while_asked_to(doing))
    }

    fn tries(&self, doing: &'static str) -> Tries {
        Tries::of(doing)
    }

    async fn begin(
        &self,
        doing: &'static str,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let begun = self.pool.begin().await;
        begun.map_err(|error| Failure::from(error).while_asked_to(doing))
    }
}

/// Runs a function on a connection.
macro_rules! read {
    ($store:expr, $doing:literal, $function:path $(, $argument:expr)*) => {{
        let mut connection = $store.reader($doing).await?;
        $function(&mut connection $(, $argument)*)
            .await
            .map_err(|failure| failure.while_asked_to($doing))
    }};
}

/// Runs a function in a transaction of its own, again where another one gets in its way.
macro_rules! write {
    ($store:expr, $doing:literal, |$connection:ident| $work:expr) => {{
        let mut tries = $store.tries($doing);
        loop {
            let mut transaction = $store.begin($doing).await?;
            let work = {
                let $connection: &mut Connection = &mut transaction;
                $work.await
            };
            if let Some(value) = tries.conclude(transaction, work).await? {
                break Ok(value);
            }
        }
    }};
}

// After the macros that it uses.
#[allow(
    clippy::duplicate_mod,
    reason = "compiled for the types of each driver"
)]
#[path = "../sql/mod.rs"]
mod sql;
