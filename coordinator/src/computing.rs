//! Computing beside what is served: leases and reports must not wait for a fit.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinError;

/// Computes on a thread of its own. Under a runtime of one thread it is that one, so that what
/// happens there happens in an order that does not hang on how busy the machine is.
///
/// # Errors
///
/// The work panicked.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let runtime = Handle::current();
    let computing = match runtime.runtime_flavor() {
        RuntimeFlavor::CurrentThread => runtime.spawn(async move { work() }),
        _ => runtime.spawn_blocking(work),
    };
    computing.await
}
