//! `bitfront searches`: lists the searches.

use bitfront_model::SearchStatus;

use crate::args::ListingArguments;
use crate::figures::{moment, span};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;
use crate::view::time;

use super::session::{Agent, Session};

/// Lists them, the oldest first.
pub(super) async fn searches(
    typed: ListingArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let mut searches = connection.client.list().await?;
    connection.close().await?;
    searches.sort_by_key(|status| status.search);
    session.list(&listing(&searches), typed)?;
    Ok(ExitStatus::Success)
}

fn listing(searches: &[SearchStatus]) -> Listing {
    let mut listing = Listing::new(&[
        Column::number("search", "search"),
        Column::text("model", "model"),
        Column::for_programs("model_digest"),
        Column::text("state", "state"),
        Column::for_programs("reason"),
        Column::number("evaluated", "evaluated"),
        Column::for_programs("infeasible"),
        Column::number("front_size", "front"),
        Column::number("active_ms", "active"),
        Column::for_programs("hypervolume"),
        Column::text("hardware", "hardware"),
        Column::for_programs("hardware_profile"),
        Column::text("created_at", "created"),
    ]);
    for status in searches {
        let digest = status.hardware_profile.map(|digest| digest.to_string());
        listing.row(vec![
            Cell::plain(status.search),
            Cell::plain(status.request.spec.name.as_str()),
            Cell::plain(status.request.spec.digest.to_string()),
            Cell::plain(status.state.name()),
            Cell::plain(status.reason.as_str()),
            Cell::plain(status.evaluated),
            Cell::plain(status.infeasible),
            Cell::plain(status.front_size),
            Cell::new(span(status.active), status.active.as_millis() as u64),
            Cell::from(status.hypervolume),
            Cell::plain(status.hardware_summary.as_str()),
            Cell::from(digest),
            Cell::plain(moment(time(status.created_at_ms))),
        ]);
    }
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::Format;

    #[test]
    fn a_search_is_a_row() {
        let listing = listing(&[crate::testing::front().status]);
        insta::assert_snapshot!(listing.render(Format::Table, 140).unwrap());
        insta::assert_snapshot!(listing.render(Format::Json, 140).unwrap());
    }
}
