//! `bitfront check`: whether something got worse since the search that this one was started from;
//! for scripts, by the exit code.

use bitfront_model::Drift;

use crate::args::{CheckArguments, Format};
use crate::drift;
use crate::listing::{Cell, Column, Listing};
use crate::problem::{ExitStatus, Problem};

use super::session::{Agent, Session};

/// Shows what became of every figure, and ends with what that means.
pub(super) async fn check(typed: CheckArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let client = &mut connection.client;
    let against = match typed.against {
        Some(against) => against,
        None => {
            let status = client.get(typed.search).await?;
            status.request.start_from.ok_or_else(|| {
                let problem = format!("search {} was started from no other one", typed.search);
                Problem::nothing_found(problem)
                    .with_hint("name the search to hold it against with --against SEARCH")
            })?
        }
    };
    let drift = client.diff(against, typed.search).await?;
    connection.close().await?;
    session.list(&listing(&drift), typed.listing)?;
    if typed.listing.format == Format::Table {
        session.printer.data(drift::conclusion(&drift))?;
    }
    Ok(status(&drift))
}

/// How the program ends.
fn status(drift: &Drift) -> ExitStatus {
    match (drift.is_worse(), drift.says_anything()) {
        (true, _) => ExitStatus::Worse,
        (false, true) => ExitStatus::Success,
        (false, false) => ExitStatus::NothingFound,
    }
}

/// One row a figure; ratios are after over before.
fn listing(drift: &Drift) -> Listing {
    let mut listing = Listing::new(&[
        Column::for_programs("before_search"),
        Column::for_programs("after_search"),
        Column::text("figure", "figure"),
        Column::number("plans", "plans"),
        Column::number("change", "median change").for_people(),
        Column::for_programs("ratio"),
        Column::for_programs("ratio_low"),
        Column::for_programs("ratio_high"),
        Column::for_programs("confidence"),
        Column::number("worse", "worse"),
        Column::number("better", "better"),
        Column::for_programs("infeasible"),
        Column::text("verdict", "verdict"),
        Column::for_programs("reason"),
    ]);
    for overall in &drift.overall {
        let ratio = overall.ratio.as_ref();
        let figure = overall.figure;
        listing.row(vec![
            Cell::plain(drift.before),
            Cell::plain(drift.after),
            Cell::new(drift::name(figure), figure.to_string()),
            Cell::plain(overall.plans),
            ratio.map_or_else(Cell::empty, |it| Cell::people(drift::interval(it))),
            Cell::from(ratio.map(|it| it.value)),
            Cell::from(ratio.map(|it| it.interval.low)),
            Cell::from(ratio.map(|it| it.interval.high)),
            Cell::from(ratio.map(|it| it.interval.confidence)),
            Cell::plain(overall.worse),
            Cell::plain(overall.better),
            Cell::plain(drift.infeasible.len()),
            Cell::plain(overall.verdict.name()),
            Cell::from(Some(overall.reason.clone()).filter(|reason| !reason.is_empty())),
        ]);
    }
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::Verdict;

    use super::*;

    #[test]
    fn a_figure_is_a_row_with_its_verdict() {
        let drift = crate::testing::drift();
        let render = |format| listing(&drift).render(format, 120).unwrap();
        insta::assert_snapshot!(render(Format::Table));
        insta::assert_snapshot!(render(Format::Csv));
    }

    #[test]
    fn the_exit_code_says_whether_something_got_worse() {
        let mut drift = crate::testing::drift();
        assert_eq!(status(&drift), ExitStatus::Worse);
        for overall in &mut drift.overall {
            overall.verdict = Verdict::Better;
        }
        assert_eq!(status(&drift), ExitStatus::Worse, "a plan does not execute");
        drift.infeasible.clear();
        assert_eq!(status(&drift), ExitStatus::Success);
        for overall in &mut drift.overall {
            overall.verdict = Verdict::Unknown;
        }
        assert_eq!(status(&drift), ExitStatus::NothingFound);
    }
}
