//! Hands in what was measured, and gives back what was not.

use bitfront_model::{LeaseToken, Receipt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Patience;
use crate::backoff::Backoff;
use crate::client::{CallError, Client, Release};
use crate::spool::{Finished, Spool, Unsent};

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The coordinator has said that it counts, as a repeat perhaps.
    Acknowledged,
    /// The coordinator will not have it, for this reason; it is kept aside.
    Refused(String),
    /// The coordinator serves another database now; the report waits for its own.
    Waiting,
    /// Shutdown came first.
    Stopped,
}

/// Hands in what was measured, and gives back what was not.
pub(crate) struct Delivery {
    pub(crate) client: Client,
    pub(crate) spool: Spool,
    pub(crate) patience: Patience,
    pub(crate) shutdown: CancellationToken,
}

impl Delivery {
    /// Sends a report until the coordinator has said what becomes of it. The key stays the same,
    /// so it does not matter which of the calls were heard.
    pub(crate) async fn deliver(&mut self, unsent: &Unsent) -> Delivered {
        let token = unsent.token();
        let mut backoff = self.backoff();
        let grace = self.patience.shutdown;
        let shutdown = self.shutdown.clone();
        let too_late = async {
            shutdown.cancelled().await;
            sleep(grace).await;
        };
        tokio::pin!(too_late);
        loop {
            let answer = tokio::select! {
                biased;
                answer = send(&mut self.client, unsent) => answer,
                () = &mut too_late => break,
            };
            match answer {
                Ok(receipt) => {
                    acknowledged(&mut self.spool, unsent, receipt);
                    return Delivered::Acknowledged;
                }
                Err(CallError::Away(reason) | CallError::Untrusted(reason)) => {
                    let pause = backoff.pause();
                    tracing::warn!(
                        task = token.task,
                        epoch = token.epoch,
                        "reporting again in {pause:?}: {reason}"
                    );
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = &mut too_late => break,
                    }
                }
                Err(error @ CallError::OtherDatabase(_)) => {
                    let kept = self.whereabouts(unsent);
                    tracing::error!(
                        task = token.task,
                        epoch = token.epoch,
                        "a measurement waits, {kept}: {error}"
                    );
                    return Delivered::Waiting;
                }
                Err(error @ (CallError::Unknown(_) | CallError::Refused(_))) => {
                    let reason = error.to_string();
                    refused(&mut self.spool, unsent, &reason);
                    return Delivered::Refused(reason);
                }
            }
        }
        let kept = self.whereabouts(unsent);
        tracing::error!(
            task = token.task,
            epoch = token.epoch,
            "the agent ends before the coordinator has acknowledged a measurement, {kept}"
        );
        Delivered::Stopped
    }

    /// What becomes of a report that is not sent now.
    fn whereabouts(&self, unsent: &Unsent) -> String {
        match self.spool.kept(unsent) {
            Some(path) => format!(
                "which is kept as `{}` and sent by the next agent of this device",
                path.display()
            ),
            None => "which is kept nowhere: the task will be measured again".to_owned(),
        }
    }

    /// Gives a lease back, with a few attempts: where none is heard, the lease's end does the same
    /// later.
    pub(crate) async fn release(&mut self, token: LeaseToken, release: Release) {
        let mut backoff = self.backoff();
        let attempts = async {
            loop {
                match self.client.release(token, &release).await {
                    Ok(()) => return,
                    Err(CallError::Away(reason) | CallError::Untrusted(reason)) => {
                        tracing::warn!(
                            task = token.task,
                            epoch = token.epoch,
                            "a lease is not given back: {reason}"
                        );
                        sleep(backoff.pause()).await;
                    }
                    // The lease had ended already, which is what was wanted.
                    Err(_) => return,
                }
            }
        };
        if timeout(self.patience.shutdown, attempts).await.is_err() {
            tracing::warn!(
                task = token.task,
                epoch = token.epoch,
                "a lease is left to its end"
            );
        }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.patience.first_retry, self.patience.last_retry)
    }
}

/// Hands in, once each, all that an agent before this one could not, or that this one could not
/// while another database was served. It comes before a registration, which gives back whatever
/// the device still holds: of that, what is measured already is then no more.
///
/// # Errors
///
/// The coordinator does not answer; what is left is sent by the next call of this.
pub(crate) async fn flush(client: &mut Client, spool: &mut Spool) -> Result<(), CallError> {
    let mut waiting = 0;
    for unsent in spool.unsent() {
        match send(client, &unsent).await {
            Ok(receipt) => acknowledged(spool, &unsent, receipt),
            Err(CallError::OtherDatabase(_)) => waiting += 1,
            Err(error @ (CallError::Away(_) | CallError::Untrusted(_))) => return Err(error),
            Err(error @ (CallError::Unknown(_) | CallError::Refused(_))) => {
                refused(spool, &unsent, &error.to_string());
            }
        }
    }
    if waiting > 0 {
        tracing::warn!(
            "{waiting} unsent reports are of another database than the one at {} and wait for it",
            client.url()
        );
    }
    Ok(())
}

async fn send(client: &mut Client, unsent: &Unsent) -> Result<Receipt, CallError> {
    let database = &unsent.database;
    match &unsent.report {
        Finished::Measurement(report) => client.report(database, report).await,
        Finished::Answer(report) => client.report_answer(database, report).await,
    }
}

fn acknowledged(spool: &mut Spool, unsent: &Unsent, receipt: Receipt) {
    let receipt = match receipt {
        Receipt::Recorded => "recorded",
        Receipt::AlreadyReported => "already reported",
        Receipt::KeptAsRepeat => "kept as a repeat",
    };
    let (token, key) = (unsent.token(), unsent.key());
    tracing::info!(task = token.task, epoch = token.epoch, key, "{receipt}");
    spool.forget(unsent);
}

fn refused(spool: &mut Spool, unsent: &Unsent, reason: &str) {
    let aside = match spool.refuse(unsent, reason) {
        Some(path) => format!("is put aside as `{}`", path.display()),
        None => "is dropped, since nothing is kept on the disk here".to_owned(),
    };
    tracing::error!(
        task = unsent.token().task,
        epoch = unsent.token().epoch,
        "a measurement {aside}: {reason}"
    );
}
