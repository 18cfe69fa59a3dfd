//! Keeps leases alive while the worker measures.

use std::time::Duration;

use bitfront_model::LeaseToken;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::client::{CallError, Client};

/// The leases that are held, and what their heartbeats need to know.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) device: i64,
    pub(crate) tokens: Vec<LeaseToken>,
    /// Time between heartbeats.
    pub(crate) period: Duration,
    /// Cancelled where none of them is held any more.
    pub(crate) lost: CancellationToken,
}

/// Time between heartbeats: what the coordinator asks for, but three to a lease at least, so that
/// one that is lost on the way ends nothing.
pub(crate) fn period(asked: Duration, lease: Duration) -> Duration {
    asked.min(lease / 3).max(Duration::from_millis(10))
}

/// Sends heartbeats for whatever leases `held` shows, until its sender is dropped.
///
/// A lost lease is only told: a measurement goes on and is reported, since it is paid for and the
/// coordinator keeps it as a repeat; files that it waits for are not. No failed heartbeat is repeated before the next is due.
pub(crate) async fn beat(mut client: Client, mut held: watch::Receiver<Option<Held>>) {
    loop {
        let current = held.borrow_and_update().clone();
        let changed = match current {
            None => held.changed().await,
            Some(lease) => tokio::select! {
                changed = held.changed() => changed,
                () = keep(&mut client, &lease) => {
                    lease.lost.cancel();
                    held.changed().await
                }
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Keeps leases alive; returns when all of them are lost, or the coordinator does not know them.
async fn keep(client: &mut Client, held: &Held) {
    let mut tokens = held.tokens.clone();
    let mut ticks = interval(held.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when the leases are as fresh as can be.
    ticks.tick().await;
    while !tokens.is_empty() {
        ticks.tick().await;
        match client.heartbeat(held.device, &tokens).await {
            Ok(lost) => {
                for token in &lost {
                    tracing::warn!(
                        task = token.task,
                        epoch = token.epoch,
                        "the lease was lost; a measurement goes on and will be kept as a repeat"
                    );
                }
                tokens.retain(|token| !lost.contains(token));
            }
            // The loop that leases registers again; until then there is nobody to be heard.
            Err(
                error @ (CallError::Unknown(_)
                | CallError::OtherDatabase(_)
                | CallError::Refused(_)),
            ) => {
                tracing::warn!("a heartbeat was refused: {error}");
                return;
            }
            Err(error @ (CallError::Away(_) | CallError::Untrusted(_))) => {
                tracing::warn!("a heartbeat was not heard: {error}");
            }
        }
    }
}
