//! Ends the leases of agents that went silent, so that nothing stays leased for ever.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::leasing::Leasing;

/// Runs until the shutdown.
pub(crate) async fn run(leasing: Arc<Leasing>, shutdown: CancellationToken) {
    loop {
        // No lease that is made during the pause can end within it, so nothing need wake this.
        let pause = leasing.until_next_end();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = leasing.sleep(pause) => {}
        }
        if let Err(error) = leasing.sweep().await {
            tracing::warn!(%error, "leases could not be swept; trying again later");
        }
    }
}
