//! `bitfront run`: the main job on a user's own model.

use crate::args::{Format, ListingArguments, RunArguments};
use crate::problem::ExitStatus;
use crate::settings::{SearchSettings, USUAL_MAX_KLD};
use crate::{confirmation, figures, request};

use super::front::{Which, conclusion, listing};
use super::session::{Agent, Connection, Session};
use crate::progress::{self, Ending};

/// Submits, follows, shows.
pub(super) async fn run(typed: RunArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let settings = SearchSettings::new(typed.search)?;
    session.printer.say("reading the model and the text");
    let request = tokio::task::spawn_blocking(move || request::build(&settings)).await??;
    let spec = &request.spec;
    session.printer.say(format_args!(
        "{}: {} architecture, {} layers, {} as stored",
        spec.name,
        spec.architecture,
        spec.layers.len(),
        figures::bytes(bitfront_model::Plan::source(spec)?.size_bytes(spec)),
    ));
    let announced = confirmation::announcement(&request.subject.data);
    session.printer.say(announced);
    if let Some(beyond) = request::baselines_beyond(&request) {
        session.printer.say(beyond);
    }
    let mut connection = session.connect(Agent::Needed).await?;
    let search = connection.client.submit(&request).await?;
    session.printer.say(format_args!("search {search} started"));
    follow_and_show(search, connection, &session, typed.listing).await
}

/// Follows a search to its end and shows what came out.
pub(super) async fn follow_and_show(
    search: i64,
    mut connection: Connection,
    session: &Session,
    form: ListingArguments,
) -> anyhow::Result<ExitStatus> {
    let client = connection.client.clone();
    let ending = tokio::select! {
        ending = progress::follow(client, search, None, &session.printer) => ending?,
        failure = connection.failure() => return Err(failure),
    };
    let front = connection.client.front(search, None).await?;
    if !front.points.is_empty() {
        session.list(&listing(&front, Which::Shown, false), form)?;
        if form.format == Format::Table {
            session.printer.data(conclusion(&front, USUAL_MAX_KLD))?;
        }
    }
    connection.close().await?;
    let again = if session.is_embedded() {
        format!("`bitfront continue {search}` goes on")
    } else {
        format!("the search goes on; `bitfront watch {search}` follows it")
    };
    match ending {
        Ending::Interrupted => {
            session
                .printer
                .say(format_args!("interrupted; nothing is lost: {again}"));
            Ok(ExitStatus::Interrupted)
        }
        Ending::Paused => Ok(ExitStatus::Success),
        Ending::Ended(status) => super::watch::status_of(&status),
    }
}
