//! What the search's model believed of the plans, and what that was worth.

use bitfront_model::{Believed, Front, FrontPoint, Objective, Rank};

use super::page::{escape, section};
use crate::beliefs::{value, written};
use crate::explain;
use crate::figures::bytes;

/// The figures that are not exact.
const FIGURES: [Objective; 3] = [Objective::Kld, Objective::Decode, Objective::Prefill];

/// Measured figures beside smoothed ones, and how well the model's predictions ranked; nothing
/// where nothing is believed.
pub(super) fn beliefs(front: &Front) -> String {
    let text = smoothed(front) + &trust(front);
    match text.is_empty() {
        true => text,
        false => section("What the model believes", &text),
    }
}

/// Every point of the front and every baseline.
fn smoothed(front: &Front) -> String {
    let listed = |point: &&FrontPoint| point.on_front || point.baseline.is_some();
    let mut points: Vec<_> = front.points.iter().filter(listed).collect();
    points.retain(|point| !point.believed.is_empty());
    if points.is_empty() {
        return String::new();
    }
    points.sort_by_key(|point| (point.size_bytes, point.candidate));
    let mut head = vec!["plan".to_owned(), "size".to_owned()];
    for figure in FIGURES {
        head.extend([format!("{figure} measured"), format!("{figure} believed")]);
    }
    let rows = points.iter().map(|point| {
        let mut cells = vec![escape(&explain::numbered(point)), bytes(point.size_bytes)];
        for figure in FIGURES {
            let mut believed = point.believed.iter();
            let believed = believed.find(|believed| believed.figure == figure);
            let measured = believed.and_then(|it| it.measured);
            let mark = if believed.and_then(Believed::far).is_some() {
                " ≠"
            } else {
                ""
            };
            cells.push(measured.map_or_else(dash, |it| written(figure, it) + mark));
            cells.push(believed.map_or_else(dash, value));
        }
        cells
    });
    table(&head, rows)
        + "<p class=\"soft\">What the search measured, beside what all of its measurements \
           together say of the same plan, ± one standard deviation of a measurement. A front that \
           is chosen by measured figures flatters itself; smoothed ones do not. ≠: more than three \
           deviations apart.</p>\n"
}

/// How well each run of predictions ranked.
fn trust(front: &Front) -> String {
    let checks = &front.status.trust;
    let Some(first) = checks.first() else {
        return String::new();
    };
    let mut head = vec!["candidates before".to_owned()];
    head.extend(first.ranks.iter().map(|rank| rank.figure.to_string()));
    head.push("trusted".to_owned());
    let rows = checks.iter().map(|check| {
        let rank = |rank: &Rank| {
            let correlation = rank.correlation;
            correlation.map_or_else(dash, |correlation| format!("{correlation:.2}"))
        };
        let mut cells = vec![check.candidates.to_string()];
        cells.extend(check.ranks.iter().map(rank));
        cells.push(if check.is_distrusted { "no" } else { "yes" }.to_owned());
        cells
    });
    table(&head, rows)
        + "<p class=\"soft\">Rank correlation (Kendall) of what the model predicted of 16 \
           candidates with what was measured of them, over pairs that differ beyond the noise. Below \
           0.5 twice in a row it is half followed.</p>\n"
}

fn dash() -> String {
    "–".to_owned()
}

/// A table of cells that are escaped.
fn table(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |cells: &[String], tag: &str| -> String {
        let cell = |cell: &String| format!("<{tag}>{cell}</{tag}>");
        cells.iter().map(cell).collect()
    };
    let rows: String = rows
        .map(|row| format!("<tr>{}</tr>\n", cells(&row, "td")))
        .collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n",
        cells(head, "th")
    )
}

#[cfg(test)]
mod tests {
    use bitfront_model::Check;

    use super::*;

    #[test]
    fn figures_stand_beside_what_is_believed_of_them_and_what_that_is_worth() {
        let mut front = crate::testing::front();
        assert_eq!(beliefs(&front), "");
        let shown = front.points.iter_mut().find(|point| point.on_front);
        if let Some(point) = shown {
            point.believed = vec![Believed {
                figure: Objective::Kld,
                value: 0.02,
                deviation: 0.03,
                scatter: 0.04,
                measured: Some(0.03),
            }];
        }
        front.status.trust = vec![Check {
            candidates: 16,
            ranks: vec![Rank {
                figure: Objective::Kld,
                correlation: Some(0.25),
            }],
            is_distrusted: true,
        }];
        let told = beliefs(&front);
        for part in [
            "<td>0.0300 ≠</td><td>0.0200 ± 0.00100</td><td>–</td>",
            "<td>16</td><td>0.25</td><td>no</td>",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
