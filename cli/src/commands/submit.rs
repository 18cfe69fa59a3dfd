//! `bitfront submit`: starts a search and returns its number.

use crate::args::SearchArguments;
use crate::confirmation;
use crate::problem::ExitStatus;
use crate::request;
use crate::settings::SearchSettings;

use super::session::{Agent, Session};

/// Reads model and texts here, so that what is wrong with them is said before anything is stored.
pub(super) async fn submit(typed: SearchArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let settings = SearchSettings::new(typed)?;
    let request = tokio::task::spawn_blocking(move || request::build(&settings)).await??;
    let announced = confirmation::announcement(&request.subject.data);
    session.printer.say(announced);
    if let Some(beyond) = request::baselines_beyond(&request) {
        session.printer.say(beyond);
    }
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let search = connection.client.submit(&request).await?;
    session.printer.data(format_args!("{search}\n"))?;
    if session.is_embedded() {
        session.printer.say(format_args!(
            "search {search} waits in this machine's own database; `bitfront continue {search}` \
             runs it"
        ));
    }
    connection.close().await?;
    Ok(ExitStatus::Success)
}
