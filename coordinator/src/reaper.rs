//! Ends the leases of agents that went silent, so that nothing stays leased for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::leasing::Leasing;

/// Pause after leases could not be ended, whose time would otherwise be over at once again.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);

/// Runs until the shutdown.
pub(crate) async fn run(leasing: Arc<Leasing>, shutdown: CancellationToken) {
    let mut failed = false;
    loop {
        // No lease that is made during the pause can end within it, so nothing need wake this.
        let pause = if failed {
            AFTER_AN_ERROR
        } else {
            leasing.until_next_end()
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = leasing.sleep(pause) => {}
        }
        let swept = leasing.sweep().await;
        failed = swept.is_err();
        if let Err(error) = swept {
            tracing::warn!(%error, "leases could not be swept; trying again later");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::store::unreliable::Unreliable;
    use crate::testing::{Bench, folder};

    #[tokio::test]
    async fn a_lease_that_cannot_be_ended_is_tried_again_after_a_pause() {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let device = bench.register("one").await;
        bench.submit(fixtures::request()).await;
        bench.lease_one(device).await;
        let store = Arc::new(Unreliable::new(bench.world.store.clone(), 0, 1000, 0));
        let broken = Bench::over(store.clone(), |_| {}).await;
        for lease in bench.world.store.leased().await.unwrap() {
            broken.leasing.hold(lease);
        }
        let reaper = tokio::spawn(run(broken.leasing.clone(), broken.shutdown.clone()));
        tokio::task::yield_now().await;
        broken.clock.advance(Duration::from_secs(30));
        // Long enough for thousands of sweeps by one that does not pause.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(store.calls(), 1, "one sweep, which failed");
        broken.clock.advance(AFTER_AN_ERROR);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(store.calls(), 2);
        broken.shutdown.cancel();
        reaper.await.unwrap();
        bench.stop().await;
    }
}
