//! Keeps the lease alive while the worker measures.

use std::time::Duration;

use bitfront_model::LeaseToken;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{CallError, Client};

/// The lease that is held, and what its heartbeats need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) device: i64,
    pub(crate) token: LeaseToken,
    /// Time between heartbeats.
    pub(crate) period: Duration,
}

/// Time between heartbeats: what the coordinator asks for, but three to a lease at least, so that
/// one that is lost on the way ends nothing.
pub(crate) fn period(asked: Duration, lease: Duration) -> Duration {
    asked.min(lease / 3).max(Duration::from_millis(10))
}

/// Sends heartbeats for whatever lease `held` shows, until its sender is dropped.
///
/// A lost lease is only told: the measurement goes on and is reported, since it is paid for and
/// the coordinator keeps it as a repeat. No failed heartbeat is repeated before the next is due.
pub(crate) async fn beat(mut client: Client, mut held: watch::Receiver<Option<Held>>) {
    loop {
        let current = *held.borrow_and_update();
        let changed = match current {
            None => held.changed().await,
            Some(lease) => tokio::select! {
                changed = held.changed() => changed,
                () = keep(&mut client, lease) => held.changed().await,
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Keeps one lease alive; returns when it is lost.
async fn keep(client: &mut Client, lease: Held) {
    let Held { device, token, .. } = lease;
    let mut ticks = interval(lease.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when the lease is as fresh as can be.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match client.heartbeat(device, token).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(
                    task = token.task,
                    epoch = token.epoch,
                    "the lease was lost; the measurement goes on and will be kept as a repeat"
                );
                return;
            }
            // The loop that leases registers again; until then there is nobody to be heard.
            Err(error @ (CallError::Unknown(_) | CallError::Refused(_))) => {
                tracing::warn!(task = token.task, "a heartbeat was refused: {error}");
                return;
            }
            Err(error @ CallError::Away(_)) => {
                tracing::warn!(task = token.task, "a heartbeat was not heard: {error}");
            }
        }
    }
}
