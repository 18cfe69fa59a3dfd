//! `bitfront cancel`: stops a search; what it measured stays.

use crate::args::OneSearchArguments;
use crate::problem::ExitStatus;

use super::session::{Agent, Session};

/// Stops it.
pub(super) async fn cancel(
    typed: OneSearchArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let cancelled = connection.client.cancel(typed.search).await?;
    connection.close().await?;
    session.printer.say(if cancelled {
        format!("search {} is cancelled", typed.search)
    } else {
        format!("search {} had ended before", typed.search)
    });
    Ok(ExitStatus::Success)
}
