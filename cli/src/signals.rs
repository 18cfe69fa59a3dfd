//! The wish to stop, from a keyboard or from an operating system.

/// Waits for an interrupt or a request to terminate.
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // Where signals cannot be had, the process ends by them in the usual way.
        std::future::pending::<()>().await;
    }
}
