//! `bitfront run`: the main job on a user's own model.

use crate::args::{Format, ListingArguments, RunArguments};
use crate::problem::{ExitStatus, Problem};
use crate::settings::{SearchSettings, USUAL_MAX_KLD};
use crate::{confirmation, figures, request};

use super::front::{Which, conclusion, listing, listing_of_all};
use super::session::{Agent, Connection, Session};
use super::submit::{fleet_of, hand_in_unseen, read};
use crate::progress::{self, Ending};

/// Submits, follows, shows.
pub(super) async fn run(typed: RunArguments, session: Session) -> anyhow::Result<ExitStatus> {
    #[cfg(feature = "local")]
    let session = session.measuring_on(typed.accelerator)?;
    let settings = SearchSettings::new(typed.search)?;
    let (devices, max_decode) = (settings.devices.clone(), settings.max_decode.clone());
    if devices.len() > 1 && session.is_embedded() {
        return Err(Problem::usage(format!(
            "--device: {} devices are named, but without --coordinator this run measures on this \
             machine alone",
            devices.len()
        ))
        .with_hint("name the coordinator that the devices serve with --coordinator")
        .into());
    }
    session.printer.say("reading the model and the text");
    let (request, model) = read(settings, &session).await?;
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
    hand_in_unseen(&mut connection.client, &request, &model, &session).await?;
    let requests = fleet_of(&mut connection.client, &request, &devices, &max_decode).await?;
    let mut started = Vec::new();
    for request in &requests {
        let submitted = connection.client.submit(request).await;
        let search = submitted.map_err(|error| match started.is_empty() {
            true => error,
            false => error.context(go_on(&started)),
        })?;
        let device = request.device.clone().unwrap_or_default();
        let printer = match requests.len() {
            1 => session.printer.clone(),
            _ => session.printer.about(&device),
        };
        printer.say(format_args!("search {search} started"));
        started.push((device, search));
    }
    match started.as_slice() {
        [(_, search)] => follow_and_show(*search, connection, &session, typed.listing).await,
        several => follow_and_show_all(several, connection, &session, typed.listing).await,
    }
}

/// Follows the searches of several devices to their ends and shows what came out, device by device.
/// The program ends as the worst of them did.
async fn follow_and_show_all(
    searches: &[(String, i64)],
    mut connection: Connection,
    session: &Session,
    form: ListingArguments,
) -> anyhow::Result<ExitStatus> {
    let client = connection.client.clone();
    let endings = tokio::select! {
        endings = progress::follow_all(&client, searches, &session.printer) =>
            endings.map_err(|error| error.context(go_on(searches)))?,
        failure = connection.failure() => return Err(failure),
    };
    let mut fronts = Vec::new();
    for (_, search) in searches {
        fronts.push(connection.client.front(*search, None).await?);
    }
    connection.close().await?;
    match form.format {
        Format::Table => {
            for ((device, search), front) in searches.iter().zip(&fronts) {
                if !front.points.is_empty() {
                    let title = format_args!("{device}, search {search}:\n");
                    session.printer.data(title)?;
                    session.list(&listing(front, Which::Shown, false), form)?;
                    session.printer.data(conclusion(front, USUAL_MAX_KLD))?;
                }
            }
        }
        Format::Json | Format::Csv => session.list(&listing_of_all(&fronts), form)?,
    }
    if endings.iter().any(|it| matches!(it, Ending::Interrupted)) {
        let go_on = go_on(searches);
        session
            .printer
            .say(format_args!("interrupted; nothing is lost: {go_on}"));
        return Ok(ExitStatus::Interrupted);
    }
    let failed: Vec<String> = searches
        .iter()
        .zip(&endings)
        .filter_map(|((device, _), ending)| match ending {
            Ending::Ended(status) => {
                let failure = super::watch::status_of(status).err()?;
                Some(format!("{device}: {failure}"))
            }
            Ending::Interrupted | Ending::Paused => None,
        })
        .collect();
    match failed.is_empty() {
        true => Ok(ExitStatus::Success),
        false => Err(Problem::failure(failed.join("; ")).into()),
    }
}

/// What becomes of searches that are no longer followed.
fn go_on(searches: &[(String, i64)]) -> String {
    let numbers = searches.iter().map(|(_, search)| search.to_string());
    let numbers: Vec<_> = numbers.collect();
    match numbers.as_slice() {
        [one] => format!("search {one} goes on, `bitfront watch {one}` follows it"),
        several => {
            let several = several.join(", ");
            format!("searches {several} go on, `bitfront watch` follows one")
        }
    }
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
