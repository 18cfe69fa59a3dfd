//! `bitfront sensitivity`: what each layer loses alone, as a search was told before its first
//! candidate.

use bitfront_model::{SearchSensitivity, Swap, SwapResult};

use crate::args::SensitivityArguments;
use crate::figures::{self, three_digits};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;

use super::session::{Agent, Session};

/// Shows it.
pub(super) async fn sensitivity(
    typed: SensitivityArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let sensitivity = connection.client.sensitivity(typed.search).await?;
    connection.close().await?;
    for line in talk(&sensitivity) {
        session.printer.say(line);
    }
    session.list(&listing(&sensitivity), typed.listing)?;
    Ok(ExitStatus::Success)
}

/// What is said beside the table: what the figures are, and why some are missing.
fn talk(known: &SearchSensitivity) -> Vec<String> {
    let SearchSensitivity {
        question,
        sensitivity,
        ..
    } = known;
    let mut lines = vec![format!(
        "what each layer of `{}` loses alone, all others as in the source: mean KL divergence in \
         nats over {}, scored on {} in {}",
        question.spec.name,
        figures::count(u64::from(question.windows), "window"),
        sensitivity.environment.host,
        figures::nanoseconds(sensitivity.duration_ns as f64),
    )];
    for swap in &sensitivity.swaps {
        if let SwapResult::Infeasible { reason } = &swap.result {
            lines.push(format!(
                "{} in {} is infeasible: {reason}",
                question.spec.layers[swap.layer].name, swap.precision
            ));
        }
    }
    lines
}

/// A row for every layer, the one first that loses most in its worst precision; one that breaks the
/// model in some precision loses most.
fn listing(known: &SearchSensitivity) -> Listing {
    let (spec, swaps) = (&known.question.spec, &known.sensitivity.swaps);
    let precisions = &known.question.precisions;
    let mut columns = vec![
        Column::text("layer", "layer"),
        Column::for_programs("kind"),
        Column::for_programs("rows"),
        Column::for_programs("columns"),
        Column::for_programs("source"),
    ];
    let names = precisions.iter().map(|precision| precision.name());
    columns.extend(names.map(|name| Column::number(name, name)));
    let mut listing = Listing::new(&columns);

    let of_layer = |layer| swaps.iter().filter(move |swap| swap.layer == layer);
    let worst = |layer: &usize| {
        of_layer(*layer)
            .map(|swap| swap.kld().unwrap_or(f64::INFINITY))
            .fold(f64::NEG_INFINITY, f64::max)
    };
    let mut order: Vec<_> = (0..spec.layers.len()).collect();
    order.sort_by(|left, right| worst(right).total_cmp(&worst(left)));
    for index in order {
        let layer = &spec.layers[index];
        let mut cells = vec![
            Cell::plain(layer.name.as_str()),
            Cell::plain(layer.kind.name()),
            Cell::plain(layer.rows),
            Cell::plain(layer.columns),
            Cell::plain(layer.source.name()),
        ];
        cells.extend(precisions.iter().map(|precision| {
            let swap = of_layer(index).find(|swap| swap.precision == *precision);
            cell(swap)
        }));
        listing.row(cells);
    }
    listing
}

/// The divergence; a dash where the precision is the source's or does not fit.
fn cell(swap: Option<&Swap>) -> Cell {
    let Some(swap) = swap else {
        return Cell::empty();
    };
    match swap.kld() {
        Some(kld) => Cell::new(three_digits(kld), kld),
        None => Cell::new("infeasible", serde_json::Value::Null),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::{Environment, Precision, Sensitivity, SensitivityQuestion};

    use super::*;
    use crate::args::Format;
    use crate::testing;

    fn known() -> SearchSensitivity {
        let mut request = testing::request();
        request.spec.layers.truncate(6);
        let asked = [Precision::Q8_0, Precision::Q4K, Precision::Q2K];
        let question =
            SensitivityQuestion::new(&request.subject, &request.spec, &asked, &Precision::ALL);
        let swaps = question.swaps().map(|(layer, precision)| Swap {
            layer,
            precision,
            result: match (layer, precision) {
                (1, Precision::Q2K) => SwapResult::Infeasible {
                    reason: "position 3 of window 0 is not finite".into(),
                },
                _ => {
                    let kld = (-precision.bits_per_weight()).exp() * (1.0 + layer as f64);
                    let kld_windows = vec![0.5 * kld, 1.5 * kld];
                    SwapResult::Scored { kld_windows }
                }
            },
        });
        let sensitivity = Sensitivity {
            swaps: swaps.collect(),
            environment: Environment {
                host: "laptop".into(),
                ..Environment::default()
            },
            duration_ns: 51_000_000_000,
        };
        SearchSensitivity {
            search: 3,
            question,
            sensitivity,
        }
    }

    #[test]
    fn a_layer_is_a_row_and_the_most_sensitive_one_comes_first() {
        let known = known();
        insta::assert_snapshot!(listing(&known).render(Format::Table, 140).unwrap());
        insta::assert_snapshot!(listing(&known).render(Format::Csv, 140).unwrap());
        insta::assert_snapshot!(talk(&known).join("\n"));
    }
}
