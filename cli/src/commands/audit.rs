//! `bitfront audit`: what persons did.

use bitfront_model::Deed;

use crate::args::AuditArguments;
use crate::figures::moment;
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;
use crate::settings::duration;
use crate::view::time;

use super::session::{Agent, Session};

/// Lists it, the latest last.
pub(super) async fn audit(typed: AuditArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let within = typed.since.map(|since| duration("--since", &since));
    let within = within.transpose()?;
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let deeds = connection.client.deeds(within).await?;
    connection.close().await?;
    session.list(&listing(&deeds), typed.listing)?;
    Ok(ExitStatus::Success)
}

fn listing(deeds: &[Deed]) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("at", "at"),
        Column::text("by", "by"),
        Column::text("action", "action"),
        Column::text("subject", "subject"),
        Column::text("outcome", "outcome"),
    ]);
    for deed in deeds {
        listing.row(vec![
            Cell::plain(moment(time(deed.at_ms))),
            Cell::plain(deed.by.as_str()),
            Cell::plain(deed.action.as_str()),
            Cell::plain(deed.subject.as_str()),
            Cell::plain(deed.outcome.name()),
        ]);
    }
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::DeedOutcome;

    use super::*;
    use crate::args::Format;

    #[test]
    fn a_deed_is_a_row() {
        let deeds = [
            ("root", "submit", "12", DeedOutcome::Done),
            ("local", "cancel", "11", DeedOutcome::Nothing),
        ];
        let deeds = deeds.map(|(by, action, subject, outcome)| Deed {
            at_ms: 1_780_000_000_000,
            by: by.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            outcome,
        });
        insta::assert_snapshot!(listing(&deeds).render(Format::Table, 140).unwrap());
        insta::assert_snapshot!(listing(&deeds).render(Format::Json, 140).unwrap());
    }
}
