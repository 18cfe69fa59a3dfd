//! `bitfront compare`: two measured plans beside each other, and whether they can be told apart.

use std::cmp::Ordering;

use bitfront_model::{Comparison, FrontPoint, Latency, Ratio};

use crate::args::{CompareArguments, Format};
use crate::explain::{self, amount, numbered};
use crate::figures::{self, bytes, percent, three_digits};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;
use crate::view::PointView as _;

use super::session::{Agent, Session};

/// Shows the figures of both and the difference with its interval; for people also in words.
pub(super) async fn compare(
    typed: CompareArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let compared = connection.client.compare(typed.first, typed.second).await?;
    connection.close().await?;
    session.list(&listing(&compared), typed.listing)?;
    if typed.listing.format == Format::Table {
        session.printer.data(conclusion(&compared))?;
    }
    Ok(ExitStatus::Success)
}

/// One row a figure. A difference is the first less the second, a ratio the first over the second.
fn listing(compared: &Comparison) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("figure", "figure"),
        Column::for_programs("first_candidate"),
        Column::for_programs("second_candidate"),
        Column::number("first", "first"),
        Column::number("second", "second"),
        Column::number("change", "first against second").for_people(),
        Column::for_programs("difference"),
        Column::for_programs("difference_standard_error"),
        Column::for_programs("difference_low"),
        Column::for_programs("difference_high"),
        Column::for_programs("ratio"),
        Column::for_programs("ratio_low"),
        Column::for_programs("ratio_high"),
        Column::for_programs("confidence"),
        Column::for_programs("paired_windows"),
        Column::text("better", "better"),
    ]);
    listing.row(kld_row(compared));
    let (first, second) = (&compared.first, &compared.second);
    let differences = &compared.differences;
    for (name, figures, ratio) in [
        (
            "decode_ns",
            first.decode().zip(second.decode()),
            &differences.decode,
        ),
        (
            "prefill_ns",
            first.prefill().zip(second.prefill()),
            &differences.prefill,
        ),
    ] {
        if let Some(figures) = figures {
            listing.row(time_row(compared, name, figures, ratio.as_ref()));
        }
    }
    listing.row(size_row(compared));
    listing
}

fn kld_row(compared: &Comparison) -> Vec<Cell> {
    let difference = &compared.differences.kld;
    let divergence = |point: &FrontPoint| {
        point.quality.as_ref().map_or_else(Cell::empty, |figure| {
            Cell::new(figures::kld(&figure.value), figure.value.kld)
        })
    };
    let change = format!(
        "{} [{}, {}]",
        signed(
            amount(difference.mean, difference.standard_error),
            difference.mean
        ),
        three_digits(difference.interval.low),
        three_digits(difference.interval.high)
    );
    let mut row = head(compared, "kld");
    row.extend([
        divergence(&compared.first),
        divergence(&compared.second),
        Cell::people(change),
        Cell::plain(difference.mean),
        Cell::plain(difference.standard_error),
        Cell::plain(difference.interval.low),
        Cell::plain(difference.interval.high),
        Cell::empty(),
        Cell::empty(),
        Cell::empty(),
        Cell::plain(difference.interval.confidence),
        Cell::plain(difference.windows),
        better(compared, difference.ordering()),
    ]);
    row
}

fn time_row(
    compared: &Comparison,
    name: &str,
    (first, second): (&Latency, &Latency),
    ratio: Option<&Ratio>,
) -> Vec<Cell> {
    let time = |latency: &Latency| Cell::new(figures::latency(latency), latency.median_ns);
    let change = ratio.map_or_else(
        || "not compared: other hardware".to_owned(),
        |ratio| {
            format!(
                "× {:.3} [{:.3}, {:.3}]",
                ratio.value, ratio.interval.low, ratio.interval.high
            )
        },
    );
    let mut row = head(compared, name);
    row.extend([
        time(first),
        time(second),
        Cell::people(change),
        Cell::from(ratio.map(|_| first.median_ns - second.median_ns)),
        Cell::empty(),
        Cell::empty(),
        Cell::empty(),
        Cell::from(ratio.map(|ratio| ratio.value)),
        Cell::from(ratio.map(|ratio| ratio.interval.low)),
        Cell::from(ratio.map(|ratio| ratio.interval.high)),
        Cell::from(ratio.map(|ratio| ratio.interval.confidence)),
        Cell::empty(),
        ratio.map_or_else(Cell::empty, |ratio| better(compared, ratio.ordering())),
    ]);
    row
}

fn size_row(compared: &Comparison) -> Vec<Cell> {
    let (first, second) = (&compared.first, &compared.second);
    let differences = &compared.differences;
    let size = |point: &FrontPoint| Cell::new(bytes(point.size_bytes), point.size_bytes);
    let verdict = match differences.size_bytes {
        0 => Cell::plain("equal"),
        size => better(compared, size.cmp(&0)),
    };
    let mut row = head(compared, "size_bytes");
    row.extend([
        size(first),
        size(second),
        Cell::people(signed(
            percent(differences.size_ratio - 1.0),
            differences.size_ratio - 1.0,
        )),
        Cell::plain(differences.size_bytes),
        Cell::empty(),
        Cell::empty(),
        Cell::empty(),
        Cell::plain(differences.size_ratio),
        Cell::empty(),
        Cell::empty(),
        Cell::empty(),
        Cell::empty(),
        verdict,
    ]);
    row
}

fn head(compared: &Comparison, name: &str) -> Vec<Cell> {
    let title = match name {
        "kld" => "KLD",
        "decode_ns" => "decode",
        "prefill_ns" => "prefill",
        _ => "size",
    };
    vec![
        Cell::new(title, name),
        Cell::plain(compared.first.candidate),
        Cell::plain(compared.second.candidate),
    ]
}

/// A text that begins with a sign.
fn signed(text: String, value: f64) -> String {
    if value > 0.0 {
        format!("+{text}")
    } else {
        text
    }
}

/// Who is better: `first` and `second` for programs.
fn better(compared: &Comparison, ordering: Ordering) -> Cell {
    match ordering {
        Ordering::Less => Cell::new(numbered(&compared.first), "first"),
        Ordering::Greater => Cell::new(numbered(&compared.second), "second"),
        Ordering::Equal => Cell::plain("indistinguishable"),
    }
}

/// Which plans these are, what the intervals mean, and the answer.
fn conclusion(compared: &Comparison) -> String {
    let (first, second) = (&compared.first, &compared.second);
    let differences = &compared.differences;
    let kld = &differences.kld;
    let how = match kld.windows {
        0 => "errors of both added, too few windows to pair".to_owned(),
        windows => format!("paired over {windows} windows"),
    };
    let words = match kld.ordering() {
        Ordering::Equal => "indistinguishable".to_owned(),
        _ => explain::kld(kld),
    };
    let times = match (&differences.decode, &differences.prefill) {
        (None, None) => "times not compared, they were taken on different hardware".to_owned(),
        (decode, prefill) => format!(
            "{}, {}",
            explain::time("decode", decode.as_ref()),
            explain::time("prefill", prefill.as_ref())
        ),
    };
    format!(
        "first: {} of search {}, second: {} of search {}\n\
         first against second: {words} ({how}); {times}; {}\n\
         KLD: difference ± standard error and 95 % interval; times: ratio of the medians and the \
         widest that both intervals allow\n",
        numbered(first),
        first.search,
        numbered(second),
        second.search,
        explain::size(differences),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bitfront_model::{Difference, Differences, Interval};

    fn comparison() -> Comparison {
        let front = crate::testing::front();
        let (first, second) = (front.points[4].clone(), front.points[20].clone());
        let around = |value: f64, half: f64, confidence| Interval {
            low: value - half,
            high: value + half,
            confidence,
        };
        let ratio = |value, half| Ratio {
            value,
            interval: around(value, half, 0.9),
        };
        Comparison {
            differences: Differences {
                size_bytes: first.size_bytes.cast_signed() - second.size_bytes.cast_signed(),
                size_ratio: first.size_bytes as f64 / second.size_bytes as f64,
                kld: Difference {
                    mean: 0.0012,
                    standard_error: 0.0002,
                    interval: around(0.0012, 0.00043, 0.95),
                    windows: 16,
                },
                decode: Some(ratio(1.07, 0.03)),
                prefill: Some(ratio(1.01, 0.03)),
            },
            first,
            second,
            spec: front.status.request.spec,
        }
    }

    #[test]
    fn people_and_programs_are_told_what_can_be_told_apart() {
        let compared = comparison();
        let table = listing(&compared).render(Format::Table, 120).unwrap();
        insta::assert_snapshot!(table + &conclusion(&compared));
        insta::assert_snapshot!(listing(&compared).render(Format::Csv, 100).unwrap());
    }

    #[test]
    fn what_cannot_be_told_apart_or_compared_is_said() {
        let mut compared = comparison();
        compared.differences.kld.interval.low = -0.0001;
        compared.differences.decode = None;
        compared.differences.prefill = None;
        let text = conclusion(&compared);
        assert!(
            text.contains("first against second: indistinguishable (paired over 16 windows)"),
            "{text}"
        );
        assert!(text.contains("different hardware"), "{text}");
        let json = listing(&compared).render(Format::Json, 100).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows[0]["better"], "indistinguishable");
        assert_eq!(rows[1]["ratio"], serde_json::Value::Null);
    }
}
