//! Reports on their way into the store.
//!
//! What arrives while reports are being committed is committed together afterwards, in one
//! transaction. One that cannot be stored harms none of the others: they are stored one by one then.
//! A database that is away is asked once for all of them.

use std::sync::{Arc, OnceLock, Weak};

use bitfront_model::{Receipt, Report};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::clock::Clock;
use crate::metrics::{reports_of_commits, seconds_of_commits};
use crate::store::{Store, StoreError};

/// Most reports that are committed together. The disk's share of a commit is small then, and the
/// first one does not wait long for the others.
const MOST_TOGETHER: usize = 128;

/// Transactions at once. While the database is busy with one, the next is being sent.
const AT_ONCE: usize = 3;

/// A report and who waits for its receipt.
struct Waiting {
    report: Report,
    receipt: oneshot::Sender<Result<Receipt, StoreError>>,
}

/// Takes reports to the store.
pub(crate) struct Recorder {
    /// How long the database takes for what is committed together.
    pub(crate) commit_seconds: Histogram,
    /// How many are committed together.
    pub(crate) commit_reports: Histogram,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// To the tasks that store them, from the first report on.
    queue: OnceLock<mpsc::Sender<Waiting>>,
}

impl Recorder {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            commit_seconds: seconds_of_commits(),
            commit_reports: reports_of_commits(),
            store,
            clock,
            queue: OnceLock::new(),
        }
    }

    /// Stores a report as [`Store::record`] does. It is stored even where the caller goes away.
    pub(crate) async fn record(&self, report: Report) -> Result<Receipt, StoreError> {
        let queue = self.queue.get_or_init(|| {
            let (queue, waiting) = mpsc::channel((AT_ONCE + 1) * MOST_TOGETHER);
            let waiting = Arc::new(Mutex::new(waiting));
            for _ in 0..AT_ONCE {
                // Whoever stores reports keeps no database open that everybody else has let go.
                let store = Arc::downgrade(&self.store);
                let committing = Committing {
                    seconds: self.commit_seconds.clone(),
                    reports: self.commit_reports.clone(),
                    clock: self.clock.clone(),
                };
                tokio::spawn(serve(store, committing, waiting.clone()));
            }
            queue
        });
        let ended = |may_have_happened| StoreError::Failed {
            doing: "record a measurement",
            reason: "the coordinator is shutting down".to_owned(),
            may_have_happened,
        };
        let (receipt, told) = oneshot::channel();
        let waiting = Waiting { report, receipt };
        queue.send(waiting).await.map_err(|_| ended(false))?;
        told.await.map_err(|_| ended(true))?
    }
}

/// What commits are counted by.
struct Committing {
    seconds: Histogram,
    reports: Histogram,
    clock: Arc<dyn Clock>,
}

/// Stores reports until nobody can bring any more.
async fn serve(
    store: Weak<dyn Store>,
    committing: Committing,
    queue: Arc<Mutex<mpsc::Receiver<Waiting>>>,
) {
    let mut waiting = Vec::new();
    loop {
        // The one who waits for reports is the only one who does, so that they come together.
        let taken = queue
            .lock()
            .await
            .recv_many(&mut waiting, MOST_TOGETHER)
            .await;
        if taken == 0 {
            return;
        }
        let (reports, told): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .map(|waiting| (waiting.report, waiting.receipt))
            .unzip();
        let Some(store) = store.upgrade() else {
            return;
        };
        let clock = &*committing.clock;
        let began = clock.elapsed();
        let receipts = record_each(&*store, clock, &reports).await;
        let took = clock.elapsed().saturating_sub(began);
        committing.seconds.observe(took.as_secs_f64());
        committing.reports.observe(reports.len() as f64);
        for (receipt, told) in receipts.zip(told) {
            // Whoever brought it may have gone away.
            let _ = told.send(receipt);
        }
    }
}

async fn record_each(
    store: &dyn Store,
    clock: &dyn Clock,
    reports: &[Report],
) -> impl Iterator<Item = Result<Receipt, StoreError>> + use<> {
    let together = store.record_each(reports, clock.now_ms()).await;
    let receipts = match (together, reports) {
        (Ok(receipts), _) => receipts,
        (Err(error), [_, _, ..]) if error.is_about_what_was_given() => {
            tracing::warn!(%error, reports = reports.len(), "storing them one by one");
            record_in_turn(store, clock, reports).await
        }
        (Err(error), _) => vec![Err(error); reports.len()],
    };
    receipts.into_iter()
}

/// Stores reports one by one, until the database fails; those that were not tried then get the same
/// error.
async fn record_in_turn(
    store: &dyn Store,
    clock: &dyn Clock,
    reports: &[Report],
) -> Vec<Result<Receipt, StoreError>> {
    let mut receipts = Vec::new();
    for report in reports {
        let receipt = store.record(report, clock.now_ms()).await;
        let failed = receipt.as_ref().err();
        let failed = failed.filter(|error| !error.is_about_what_was_given());
        let untried = failed.cloned().map(StoreError::of_what_was_not_tried);
        receipts.push(receipt);
        if let Some(error) = untried {
            receipts.resize(reports.len(), Err(error));
            break;
        }
    }
    receipts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
