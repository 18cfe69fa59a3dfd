//! `bitfront front`: what a search measured.

use bitfront_model::{Front, FrontPoint, Latency};

use crate::args::{Format, FrontArguments};
use crate::confirmation;
use crate::figures::{self, bytes, kld, moment, percent, three_digits};
use crate::listing::{Cell, Column, Listing};
use crate::plot::terminal;
use crate::problem::ExitStatus;
use crate::report::Summary;
use crate::settings::USUAL_MAX_KLD;
use crate::view::{PointView as _, time};

use super::session::{Agent, Session};

/// Shows it as a listing and, for people, in words.
pub(super) async fn front(typed: FrontArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let front = connection.client.front(typed.search, typed.device).await?;
    connection.close().await?;
    session.list(&listing(&front, typed.all), typed.listing)?;
    if typed.listing.format == Format::Table {
        if typed.plot {
            draw(&front, &session)?;
        }
        session.printer.data(conclusion(&front, USUAL_MAX_KLD))?;
    }
    Ok(ExitStatus::Success)
}

/// Draws the scatter plot.
pub(super) fn draw(front: &Front, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let columns = printer.width().clamp(60, 100);
    match terminal::draw(front, columns, 30, printer.is_seen()) {
        Some(plot) => printer.data(format_args!("\n{plot}\n")),
        None => Ok(()),
    }
}

/// Front and baselines from small to large, or every candidate. What was on the front by the
/// search's own figures and left it when it was confirmed stays in sight.
pub(super) fn listing(front: &Front, all: bool) -> Listing {
    let mut points: Vec<_> = front
        .points
        .iter()
        .filter(|point| {
            let was_found = point.on_front || point.was_on_front;
            all || was_found || point.baseline.is_some()
        })
        .collect();
    points.sort_by_key(|point| (point.size_bytes, point.candidate));
    let any_confirmed = front.points.iter().any(|it| it.confirmation.is_some());
    let mut listing = Listing::new(&[
        Column::text("mark", "").for_people(),
        Column::text("plan", "plan").for_people(),
        Column::for_programs("candidate"),
        Column::for_programs("baseline"),
        Column::number("size_bytes", "size"),
        Column::number("bits_per_weight", "bits"),
        Column::number("kld", "KLD ± error"),
        Column::for_programs("kld_standard_error"),
        Column::for_programs("perplexity"),
        Column::for_programs("perplexity_ratio"),
        Column::number("same_top_rate", "same top"),
        Column::number("decode_ns", "decode [≥ 95 %]"),
        Column::for_programs("decode_low_ns"),
        Column::for_programs("decode_high_ns"),
        Column::for_programs("decode_confidence"),
        Column::for_programs("decode_samples"),
        Column::number("prefill_ns", "prefill"),
        Column::for_programs("prefill_low_ns"),
        Column::for_programs("prefill_high_ns"),
        Column::for_programs("prefill_confidence"),
        Column::for_programs("prefill_samples"),
        Column::for_programs("on_front"),
        Column::for_programs("is_knee"),
        Column::for_programs("within_limits"),
        Column::for_programs("executed_as_planned"),
        Column::for_programs("infeasible"),
        Column::for_programs("was_on_front"),
        Column::for_programs("confirmed"),
        Column::for_programs("searched_kld"),
        Column::for_programs("searched_decode_ns"),
        Column::for_programs("searched_prefill_ns"),
        Column::for_programs("differs"),
        Column::for_programs("unconfirmed"),
        Column::for_programs("plan_digest"),
        Column::for_programs("device"),
        Column::for_programs("measured_at"),
    ]);
    for point in points {
        listing.row(row(point, any_confirmed));
    }
    listing
}

/// `any_confirmed`: points of this front have fresh figures, so it counts which have none.
fn row(point: &FrontPoint, any_confirmed: bool) -> Vec<Cell> {
    let quality = point.quality.as_ref().map(|figure| &figure.value);
    let kld_cell = match (&point.infeasible, quality) {
        (Some(_), _) => Cell::people("infeasible"),
        (None, Some(quality)) => {
            let was = confirmation::searched_kld(point).map_or_else(String::new, |searched| {
                format!(", was {}", three_digits(searched))
            });
            Cell::new(kld(quality) + &was, quality.kld)
        }
        (None, None) => Cell::empty(),
    };
    let ratio = quality.map(|quality| quality.perplexity / quality.reference_perplexity);
    let number = |value: Option<f64>| Cell::from(value);
    let median = |latency: Option<&Latency>| {
        latency.map_or_else(Cell::empty, |latency| {
            Cell::new(figures::latency(latency), latency.median_ns)
        })
    };
    let low = |latency: Option<&Latency>| number(latency.map(|it| it.interval.low));
    let high = |latency: Option<&Latency>| number(latency.map(|it| it.interval.high));
    let confidence = |latency: Option<&Latency>| number(latency.map(|it| it.interval.confidence));
    let samples = |latency: Option<&Latency>| Cell::from(latency.map(|it| it.samples_ns.len()));
    let (decode, prefill) = (point.decode(), point.prefill());
    let latency = point.latency.as_ref();
    vec![
        Cell::people(mark(point, any_confirmed)),
        Cell::people(plan(point)),
        Cell::plain(point.candidate),
        Cell::from(point.baseline.clone()),
        Cell::new(bytes(point.size_bytes), point.size_bytes),
        Cell::new(
            format!("{:.2}", point.bits_per_weight),
            point.bits_per_weight,
        ),
        kld_cell,
        number(quality.map(|quality| quality.kld_standard_error)),
        number(quality.map(|quality| quality.perplexity)),
        number(ratio),
        quality.map_or_else(Cell::empty, |quality| {
            Cell::new(percent(quality.same_top_rate), quality.same_top_rate)
        }),
        median(decode),
        low(decode),
        high(decode),
        confidence(decode),
        samples(decode),
        prefill.map_or_else(Cell::empty, |latency| {
            Cell::new(figures::nanoseconds(latency.median_ns), latency.median_ns)
        }),
        low(prefill),
        high(prefill),
        confidence(prefill),
        samples(prefill),
        Cell::plain(point.on_front),
        Cell::plain(point.is_knee),
        Cell::plain(point.within_limits),
        Cell::plain(point.executed_as_planned),
        Cell::from(point.infeasible.clone()),
        Cell::plain(point.was_on_front),
        Cell::plain(point.confirmation.is_some()),
        number(confirmation::searched_kld(point)),
        number(confirmation::searched_ns(point, true)),
        number(confirmation::searched_ns(point, false)),
        Cell::plain(confirmation::differs(point)),
        Cell::from(point.unconfirmed.clone()),
        Cell::plain(point.plan.digest().to_string()),
        Cell::from(latency.map(|figure| figure.device.clone())),
        Cell::from(latency.map(|figure| moment(time(figure.measured_at_ms)))),
    ]
}

/// The candidate's number, and what it is known as.
fn plan(point: &FrontPoint) -> String {
    match &point.baseline {
        Some(_) => format!("#{} {}", point.candidate, point.name()),
        None => point.name(),
    }
}

fn mark(point: &FrontPoint, any_confirmed: bool) -> String {
    let place = match (point.is_knee, point.on_front) {
        (true, _) => "★",
        (false, true) => "●",
        (false, false) => "",
    };
    let doubt = if confirmation::differs(point) {
        "!"
    } else if any_confirmed && confirmation::is_unconfirmed(point) {
        "?"
    } else {
        ""
    };
    format!("{place}{doubt}")
}

/// The answer in words: the knee, and the best plans under a divergence.
pub(super) fn conclusion(front: &Front, max_kld: f64) -> String {
    let summary = Summary::new(front, max_kld);
    let mut text = String::from("● on the front, ★ its knee\n");
    if let Some(line) = confirmation::conclusion(front) {
        text += &format!("{line}\n");
    }
    let line = |point: &FrontPoint| {
        let mut figures = vec![
            bytes(point.size_bytes),
            format!("{:.2} bits per weight", point.bits_per_weight),
        ];
        if let Some(quality) = &point.quality {
            figures.push(format!("KLD {}", kld(&quality.value)));
        }
        if let Some(decode) = point.decode() {
            figures.push(format!("{} a token", figures::latency(decode)));
        }
        format!("{} ({})", point.name(), figures.join(", "))
    };
    if let Some(knee) = summary.knee {
        text += &format!("knee: {}\n", line(knee));
    }
    match summary.smallest {
        Some(smallest) => {
            text += &format!("smallest with KLD ≤ {max_kld}: {}\n", line(smallest));
            if let Some((share, preset)) = summary.saving() {
                text += &format!(
                    "  {} smaller than {preset}, the smallest preset that is as good\n",
                    percent(share)
                );
            }
        }
        None => text += &format!("no plan keeps KLD ≤ {max_kld}\n"),
    }
    if let Some(fastest) = summary.fastest {
        text += &format!("fastest with KLD ≤ {max_kld}: {}\n", line(fastest));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::front;

    #[test]
    fn the_table_marks_front_knee_and_baselines() {
        let front = front();
        let table = listing(&front, false).render(Format::Table, 100).unwrap();
        insta::assert_snapshot!(table + &conclusion(&front, 0.01));
    }

    #[test]
    fn fresh_figures_stand_beside_what_they_replaced() {
        let mut front = front();
        crate::testing::confirm(&mut front);
        let table = listing(&front, false).render(Format::Table, 120).unwrap();
        insta::assert_snapshot!(table + &conclusion(&front, 0.01));
        let json = listing(&front, true).render(Format::Json, 100).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        let rows = rows.as_array().unwrap();
        let confirmed = rows.iter().find(|row| row["confirmed"] == true).unwrap();
        let change =
            confirmed["kld"].as_f64().unwrap() / confirmed["searched_kld"].as_f64().unwrap();
        assert!((change - 1.02).abs() < 1e-9, "{change}");
    }

    #[test]
    fn programs_get_every_figure() {
        let csv = listing(&front(), true).render(Format::Csv, 100).unwrap();
        assert_eq!(csv.lines().count(), front().points.len() + 1);
        insta::assert_snapshot!(csv.lines().take(2).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn an_infeasible_candidate_says_so() {
        let mut front = front();
        let point = &mut front.points[0];
        point.quality = None;
        point.latency = None;
        point.infeasible = Some("not enough memory".into());
        let json = listing(&front, true).render(Format::Json, 100).unwrap();
        assert!(json.contains("not enough memory"));
        let table = listing(&front, true).render(Format::Table, 100).unwrap();
        assert!(table.contains("infeasible"));
    }

    #[test]
    fn an_interval_that_holds_less_is_marked() {
        let mut front = front();
        let figure = front.points[0].latency.as_mut().unwrap();
        for latency in &mut figure.value {
            latency.samples_ns.truncate(4);
            latency.interval.confidence = 0.875;
        }
        let table = listing(&front, true).render(Format::Table, 140).unwrap();
        assert_eq!(table.matches(": 87.5 %]").count(), 1, "{table}");
        let json = listing(&front, true).render(Format::Json, 100).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        let candidate = front.points[0].candidate;
        let rows = rows.as_array().unwrap();
        let row = rows.iter().find(|row| row["candidate"] == candidate);
        for workload in ["decode", "prefill"] {
            let of = |what: &str| row.unwrap()[format!("{workload}_{what}")].clone();
            assert_eq!((of("confidence"), of("samples")), (0.875.into(), 4.into()));
        }
    }

    #[test]
    fn an_unreachable_divergence_is_said() {
        assert!(conclusion(&front(), 1e-9).contains("no plan keeps KLD ≤ 0.000000001"));
    }
}
