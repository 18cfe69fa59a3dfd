//! `bitfront diff`: what moved between two searches, plan by plan.

use bitfront_model::{Change, Drift, Moved, Verdict, Watched};

use crate::args::{DiffArguments, Format};
use crate::drift;
use crate::figures::{bytes, nanoseconds, three_digits};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;

use super::session::{Agent, Session};

/// Shows every plan that both measured alike; for people also what they say together.
pub(super) async fn diff(typed: DiffArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let drift = connection.client.diff(typed.before, typed.after).await?;
    connection.close().await?;
    session.list(&listing(&drift), typed.listing)?;
    if typed.listing.format == Format::Table {
        session.printer.data(LEGEND)?;
        session.printer.data(drift::conclusion(&drift))?;
    }
    Ok(ExitStatus::Success)
}

const LEGEND: &str = "times on the scale of each search's middle; ! beyond the intervals of both\n";

/// Which figure is meant.
type IsMeant = fn(Watched) -> bool;

/// The figures of a plan: which they are, and what programs read of each.
const FIGURES: [(IsMeant, [&str; 10]); 3] = [
    (
        |figure| figure == Watched::Kld,
        [
            "kld_before",
            "kld_before_low",
            "kld_before_high",
            "kld_after",
            "kld_after_low",
            "kld_after_high",
            "kld_ratio",
            "kld_ratio_low",
            "kld_ratio_high",
            "kld_verdict",
        ],
    ),
    (
        |figure| matches!(figure, Watched::Time(workload) if workload.is_decode()),
        [
            "decode_before_ns",
            "decode_before_low_ns",
            "decode_before_high_ns",
            "decode_after_ns",
            "decode_after_low_ns",
            "decode_after_high_ns",
            "decode_ratio",
            "decode_ratio_low",
            "decode_ratio_high",
            "decode_verdict",
        ],
    ),
    (
        |figure| matches!(figure, Watched::Time(workload) if !workload.is_decode()),
        [
            "prefill_before_ns",
            "prefill_before_low_ns",
            "prefill_before_high_ns",
            "prefill_after_ns",
            "prefill_after_low_ns",
            "prefill_after_high_ns",
            "prefill_ratio",
            "prefill_ratio_low",
            "prefill_ratio_high",
            "prefill_verdict",
        ],
    ),
];

/// One row a plan, from small to large; ratios are after over before.
fn listing(drift: &Drift) -> Listing {
    let mut columns = vec![
        Column::text("plan", "plan").for_people(),
        Column::for_programs("before_candidate"),
        Column::for_programs("after_candidate"),
        Column::for_programs("baseline"),
        Column::number("size_bytes", "size"),
        Column::number("kld", "KLD").for_people(),
        Column::number("decode", "decode").for_people(),
        Column::number("prefill", "prefill").for_people(),
    ];
    let keys = FIGURES.iter().flat_map(|(_, keys)| keys);
    columns.extend(keys.map(|key| Column::for_programs(key)));
    let mut listing = Listing::new(&columns);
    let mut points: Vec<_> = drift.points.iter().collect();
    points.sort_by_key(|point| (point.size_bytes, point.before));
    for point in points {
        listing.row(row(point));
    }
    listing
}

fn row(point: &Moved) -> Vec<Cell> {
    let found = FIGURES.map(|(is_meant, _)| {
        let mut changes = point.changes.iter();
        changes.find(|change| is_meant(change.figure))
    });
    let name = match &point.baseline {
        Some(names) => format!("#{} {names}", point.before),
        None => format!("#{}", point.before),
    };
    let mut cells = vec![
        Cell::people(name),
        Cell::plain(point.before),
        Cell::plain(point.after),
        Cell::from(point.baseline.clone()),
        Cell::new(bytes(point.size_bytes), point.size_bytes),
    ];
    let people =
        |change: Option<&Change>| change.map_or_else(Cell::empty, |it| Cell::people(told(it)));
    cells.extend(found.map(people));
    for change in found {
        let number = |value: fn(&Change) -> f64| Cell::from(change.map(value));
        cells.extend([
            number(|it| it.before),
            number(|it| it.before_interval.low),
            number(|it| it.before_interval.high),
            number(|it| it.after),
            number(|it| it.after_interval.low),
            number(|it| it.after_interval.high),
            number(|it| it.ratio.value),
            number(|it| it.ratio.interval.low),
            number(|it| it.ratio.interval.high),
            Cell::from(change.map(|it| it.verdict.name())),
        ]);
    }
    cells
}

/// `2.41 ms → 2.56 ms +6.1 %!`
fn told(change: &Change) -> String {
    let value = |value: f64| match change.figure {
        Watched::Kld => three_digits(value),
        Watched::Time(_) => nanoseconds(value),
    };
    let mark = match change.verdict {
        Verdict::Worse | Verdict::Better => "!",
        Verdict::Unchanged | Verdict::Unknown => "",
    };
    format!(
        "{} → {} {}{mark}",
        value(change.before),
        value(change.after),
        drift::signed(change.ratio.value)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_row_with_what_became_of_its_figures() {
        let drift = crate::testing::drift();
        let render = |format| listing(&drift).render(format, 120).unwrap();
        insta::assert_snapshot!(render(Format::Table));
        insta::assert_snapshot!(render(Format::Csv));
        let rows: Vec<serde_json::Value> = serde_json::from_str(&render(Format::Json)).unwrap();
        assert_eq!(rows[1]["decode_verdict"], "worse");
        assert!(rows[1]["kld_before"].is_null());
    }
}
