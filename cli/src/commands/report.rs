//! `bitfront report`: a search as a web page.

use crate::args::ReportArguments;
use crate::problem::ExitStatus;
use crate::{durable, report as page};

use super::session::{Agent, Session};

/// Writes the page.
pub(super) async fn report(typed: ReportArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let front = connection
        .client
        .believed_front(typed.search, typed.device)
        .await?;
    connection.close().await?;
    durable::write(&typed.to, page::html(&front, typed.max_kld)?.as_bytes())?;
    session
        .printer
        .say(format_args!("wrote {}", typed.to.display()));
    Ok(ExitStatus::Success)
}
