//! `bitfront model`: hands models in to a coordinator, for devices that do not have them.

use bitfront_model::{FileName, ManifestFile, Place};

use crate::args::{AddArguments, ModelArguments, ModelVerb};
use crate::client::Client;
use crate::figures;
use crate::listing::{Cell, Column, Listing};
use crate::printer::Printer;
use crate::problem::ExitStatus;
use crate::request;

use super::session::{Agent, Session};

pub(super) async fn model(typed: ModelArguments, session: Session) -> anyhow::Result<ExitStatus> {
    match typed.verb {
        ModelVerb::Add(arguments) => add(arguments, session).await,
    }
}

/// Hands in what the coordinator lacks of a model.
async fn add(typed: AddArguments, session: Session) -> anyhow::Result<ExitStatus> {
    session.printer.say("reading the model");
    let model = session.locator().model(&typed.model).await?;
    let files = tokio::task::spawn_blocking(move || request::model_files(&model)).await??;
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let added = hand_in(&mut connection.client, &files, &session.printer).await?;
    connection.close().await?;
    session.list(&listing(&files, &added), typed.listing)?;
    Ok(ExitStatus::Success)
}

/// Hands in what the coordinator lacks of some files, which are read where they are; tells of each
/// whether it was lacking.
pub(super) async fn hand_in(
    client: &mut Client,
    files: &[ManifestFile],
    printer: &Printer,
) -> anyhow::Result<Vec<bool>> {
    let blobs: Vec<_> = files.iter().map(|file| file.blob).collect();
    let holdings = client.find(&blobs).await?;
    let mut added = Vec::with_capacity(files.len());
    for (file, holding) in files.iter().zip(holdings) {
        added.push(!holding.whole);
        if holding.whole {
            continue;
        }
        let whereabouts = file.whereabouts();
        let rest = file.blob.size_bytes.saturating_sub(holding.held_bytes);
        printer.say(format_args!(
            "handing in `{}`: {}",
            whereabouts.display(),
            figures::bytes(rest)
        ));
        client.put(file.blob, &whereabouts).await?;
    }
    Ok(added)
}

fn listing(files: &[ManifestFile], added: &[bool]) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("file", "file"),
        Column::number("size_bytes", "size"),
        Column::text("digest", "digest"),
        Column::text("added", "handed in"),
    ]);
    for (file, &added) in files.iter().zip(added) {
        let name = match &file.place {
            Place::Itself => file.path.as_str(),
            Place::Inside(name) | Place::Beside(name) => FileName::as_str(name),
        };
        listing.row(vec![
            Cell::plain(name),
            Cell::new(figures::bytes(file.blob.size_bytes), file.blob.size_bytes),
            Cell::plain(file.blob.digest.to_string()),
            Cell::new(if added { "now" } else { "before" }, added),
        ]);
    }
    listing
}
