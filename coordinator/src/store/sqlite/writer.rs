//! The one connection that writes, and the task that owns it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Failure, StoreError};

/// Most pieces of work that share one commit. The disk's share of a commit is then negligible,
/// and the first one still waits only milliseconds for the others.
const LARGEST_GROUP: usize = 128;

/// Work on the writing connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'c>>;

/// Gives work to the task that owns the writing connection.
pub(super) struct Writer {
    /// Both are gone once the writer was closed. Behind a std mutex, held for a look only.
    open: Mutex<Option<Open>>,
}

struct Open {
    jobs: mpsc::Sender<Box<dyn Job>>,
    task: JoinHandle<()>,
}

/// One piece of work, without the type of its answer.
trait Job: Send {
    /// Does the work; true where it is to be kept.
    fn run<'c>(
        &'c mut self,
        connection: &'c mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>>;

    /// Answers, after the commit.
    fn answer(self: Box<Self>, commit: &Result<(), CommitFailure>);
}

/// A group of work was not committed.
struct CommitFailure {
    reason: String,
    may_have_happened: bool,
}

struct Pending<T, F> {
    doing: &'static str,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
{
    fn run<'c>(
        &'c mut self,
        connection: &'c mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return false;
            };
            let result = work(connection)
                .await
                .map_err(|failure| failure.while_asked_to(self.doing));
            let keep = result.is_ok();
            self.result = Some(result);
            keep
        })
    }

    fn answer(self: Box<Self>, commit: &Result<(), CommitFailure>) {
        let result = match (self.result, commit) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, commit) => Err(StoreError::Failed {
                doing: self.doing,
                reason: match commit {
                    Err(failure) => failure.reason.clone(),
                    Ok(()) => "it was not run".to_owned(),
                },
                may_have_happened: commit
                    .as_ref()
                    .is_err_and(|failure| failure.may_have_happened),
            }),
        };
        // Whoever asked may have gone away; the work is done all the same.
        let _ = self.reply.send(result);
    }
}

impl Writer {
    /// Starts the task that owns the connection.
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (jobs, queue) = mpsc::channel(8 * LARGEST_GROUP);
        let task = tokio::spawn(serve(connection, queue));
        Self {
            open: Mutex::new(Some(Open { jobs, task })),
        }
    }

    /// Another handle on the same task. It ends when nobody has one any more.
    #[cfg(test)]
    pub(super) fn shared(&self) -> Self {
        let jobs = self.lock().as_ref().map(|open| open.jobs.clone());
        let task = tokio::spawn(std::future::ready(()));
        Self {
            open: Mutex::new(jobs.map(|jobs| Open { jobs, task })),
        }
    }

    /// Does the work in a transaction and answers after its commit. Work that fails leaves no
    /// trace, whatever shares the commit with it.
    pub(super) async fn write<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let failed = |may_have_happened| StoreError::Failed {
            doing,
            reason: "the writer has stopped".to_owned(),
            may_have_happened,
        };
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending {
            doing,
            work: Some(work),
            result: None,
            reply,
        });
        let jobs = self.lock().as_ref().map(|open| open.jobs.clone());
        let jobs = jobs.ok_or_else(|| failed(false))?;
        jobs.send(job).await.map_err(|_| failed(false))?;
        // The writer ends when nobody can give it work any more.
        drop(jobs);
        answer.await.map_err(|_| failed(true))?
    }

    /// Ends after all work that was given, and closes the connection. Work that comes later is
    /// refused.
    pub(super) async fn close(&self) {
        let Some(Open { jobs, task }) = self.lock().take() else {
            return;
        };
        drop(jobs);
        if let Err(error) = task.await {
            tracing::error!(%error, "the writer of the database ended badly");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, LARGEST_GROUP).await > 0 {
        let commit = commit(&mut connection, &mut group).await;
        for job in group.drain(..) {
            job.answer(&commit);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
}

/// Runs every job of a group in a savepoint of its own and commits them together.
async fn commit(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Job>],
) -> Result<(), CommitFailure> {
    let failed = |may_have_happened| {
        move |error: sqlx::Error| CommitFailure {
            reason: error.to_string(),
            may_have_happened,
        }
    };
    // Immediate: a transaction that begins by reading could not become a writing one later.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed(false))?;
    for job in group {
        let mut savepoint = transaction.begin().await.map_err(failed(false))?;
        if job.run(&mut savepoint).await {
            savepoint.commit().await.map_err(failed(false))?;
        } else {
            savepoint.rollback().await.map_err(failed(false))?;
        }
    }
    transaction.commit().await.map_err(failed(true))
}
