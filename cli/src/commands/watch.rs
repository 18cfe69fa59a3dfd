//! `bitfront watch`: follows a search until it ends.

use bitfront_model::{SearchState, SearchStatus};

use crate::args::OneSearchArguments;
use crate::ending;
use crate::problem::{ExitStatus, Problem};
use crate::progress::{self, Ending};

use super::session::{Agent, Session};

/// Shows progress and how the search ended.
pub(super) async fn watch(
    typed: OneSearchArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let status = connection.client.get(typed.search).await?;
    if session.is_embedded() && !status.state.has_ended() {
        session.printer.say(format_args!(
            "only another bitfront of this machine that is running now can get it on; otherwise \
             `bitfront continue {}` does",
            typed.search
        ));
    }
    let client = connection.client.clone();
    let ending = tokio::select! {
        ending = progress::follow(client, typed.search, None, &session.printer) => ending?,
        failure = connection.failure() => return Err(failure),
    };
    connection.close().await?;
    match ending {
        Ending::Interrupted => Ok(ExitStatus::Interrupted),
        Ending::Paused => Ok(ExitStatus::Success),
        Ending::Ended(status) => {
            if let Some(outlook) = &status.outlook {
                let expected = ending::expected(outlook);
                session.printer.say(format_args!("more budget: {expected}"));
            }
            status_of(&status)
        }
    }
}

/// How the program ends when the search has.
pub(super) fn status_of(status: &SearchStatus) -> anyhow::Result<ExitStatus> {
    match status.state {
        SearchState::Failed => Err(Problem::failure(format!(
            "search {} failed: {}",
            status.search, status.reason
        ))
        .into()),
        _ => Ok(ExitStatus::Success),
    }
}
