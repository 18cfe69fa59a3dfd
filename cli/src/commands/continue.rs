//! `bitfront continue`: goes on with a search, with more budget where it had ended.

use bitfront_model::Budget;

use crate::args::{ContinueArguments, Format, ListingArguments};
use crate::problem::{ExitStatus, Problem};
use crate::settings;

use super::run::follow_and_show;
use super::session::{Agent, Session};

/// Adds to the budget, follows, shows.
pub(super) async fn r#continue(
    typed: ContinueArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let added = settings::added_budget(&typed)?;
    #[cfg(feature = "local")]
    let session = session.measuring_on(typed.accelerator)?;
    let mut connection = session.connect(Agent::Needed).await?;
    let status = connection.client.get(typed.search).await?;
    if added != Budget::default() {
        connection.client.extend(typed.search, added).await?;
    } else if status.state.has_ended() {
        return Err(Problem::usage(format!(
            "search {} is {} ({}); say how much more",
            typed.search, status.state, status.reason
        ))
        .with_hint("for example --budget 10m or --evaluations 100")
        .into());
    }
    session.printer.say(format_args!(
        "search {} goes on from {} candidates",
        typed.search, status.candidates
    ));
    let form = ListingArguments {
        format: Format::Table,
    };
    follow_and_show(typed.search, connection, &session, form).await
}
