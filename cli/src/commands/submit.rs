//! `bitfront submit`: starts a search, or one for every device that is named, and returns its
//! number.

use std::collections::BTreeMap;
use std::time::Duration;

use bitfront_model::SearchRequest;

use crate::args::SearchArguments;
use crate::client::Client;
use crate::locate::Located;
use crate::problem::ExitStatus;
use crate::settings::SearchSettings;
use crate::{confirmation, fleet, request};

use super::model::hand_in;
use super::session::{Agent, Connection, Session};

/// Reads model and texts here, so that what is wrong with them is said before anything is stored.
pub(super) async fn submit(typed: SearchArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let (mut connection, requests) = requested(SearchSettings::new(typed)?, &session).await?;
    // Each is told at once, so that what was started is known where a later one is refused.
    for request in &requests {
        let search = connection.client.submit(request).await?;
        session.printer.data(format_args!("{search}\n"))?;
        if session.is_embedded() {
            session.printer.say(format_args!(
                "search {search} waits in this machine's own database; `bitfront continue \
                 {search}` runs it"
            ));
        }
    }
    connection.close().await?;
    Ok(ExitStatus::Success)
}

/// Makes a request for every device that is meant, of files that devices have or can fetch by then,
/// and connects to the coordinator that they are for.
pub(super) async fn requested(
    settings: SearchSettings,
    session: &Session,
) -> anyhow::Result<(Connection, Vec<SearchRequest>)> {
    let (devices, max_decode) = (settings.devices.clone(), settings.max_decode.clone());
    let (request, model) = read(settings, session).await?;
    let announced = confirmation::announcement(&request.subject.data);
    session.printer.say(announced);
    if let Some(beyond) = request::baselines_beyond(&request) {
        session.printer.say(beyond);
    }
    let mut connection = session.connect(Agent::NotNeeded).await?;
    hand_in_unseen(&mut connection.client, &request, &model, session).await?;
    let requests = fleet_of(&mut connection.client, &request, &devices, &max_decode).await?;
    Ok((connection, requests))
}

/// Reads the model and the texts, which are downloaded first where they are elsewhere.
pub(super) async fn read(
    settings: SearchSettings,
    session: &Session,
) -> anyhow::Result<(SearchRequest, Located)> {
    let files = session.locator().files(&settings).await?;
    tokio::task::spawn_blocking(move || Ok((request::build(&settings, &files)?, files.model)))
        .await?
}

/// Hands in what devices do not have under their paths: texts, and a model that they cannot download
/// themselves. A coordinator of this process is for this machine, which has them.
pub(super) async fn hand_in_unseen(
    client: &mut Client,
    request: &SearchRequest,
    model: &Located,
    session: &Session,
) -> anyhow::Result<()> {
    if !session.is_embedded() {
        if model.is_for_this_machine() {
            let files = request.subject.manifest.files.clone();
            hand_in(client, &files, &session.printer).await?;
        } else if let Err(error) =
            hand_in(client, &request::small_files(request), &session.printer).await
        {
            // Devices may have all files where the submitter has them.
            session.printer.say(format_args!(
                "the texts are not handed in, so devices need them at the same paths: {error:#}"
            ));
        }
    }
    Ok(())
}

/// A request for every device that is meant. Where more than one name is given the coordinator is
/// asked first whom it knows; a single one is its own to refuse.
pub(super) async fn fleet_of(
    client: &mut Client,
    request: &SearchRequest,
    devices: &[String],
    max_decode: &BTreeMap<String, Duration>,
) -> anyhow::Result<Vec<SearchRequest>> {
    let mut request = request.clone();
    if devices.iter().any(|typed| typed.contains('=')) {
        request.joint = fleet::joint(devices, &client.devices().await?, &request)?;
    }
    let devices = named(client, devices).await?;
    Ok(fleet::requests(&request, &devices, max_decode)?)
}

/// The names of the devices that are meant.
pub(super) async fn named(client: &mut Client, devices: &[String]) -> anyhow::Result<Vec<String>> {
    match devices {
        [] => Ok(Vec::new()),
        [one] if !one.contains('=') => Ok(vec![one.clone()]),
        several => Ok(fleet::named(several, &client.devices().await?)?),
    }
}
