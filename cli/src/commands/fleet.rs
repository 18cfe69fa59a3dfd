//! `bitfront best --fleet`: one plan for several devices.

use std::path::PathBuf;

use bitfront_model::fleet::Standing;
use bitfront_model::{FleetPick, Limits, Objective, Regret};

use crate::args::{By, Format};
use crate::durable;
use crate::figures::{bytes, count, nanoseconds, percent, three_digits};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;

use super::session::{Agent, Session};
use super::submit::named;

/// What is asked, and where the answer's plan goes.
pub(super) struct Question {
    pub(super) model: String,
    pub(super) devices: Vec<String>,
    pub(super) limits: Limits,
    pub(super) by: By,
    pub(super) predict: bool,
    pub(super) plan: Option<PathBuf>,
}

/// Asks, shows what each device gives up, and writes the plan where that was wanted.
pub(super) async fn fleet(
    question: Question,
    format: Format,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let Question {
        model,
        devices,
        limits,
        by,
        predict,
        plan,
    } = question;
    let devices = named(&mut connection.client, &devices).await?;
    let answer = connection.client.fleet(model, devices, limits, by, predict);
    let pick = answer.await?;
    connection.close().await?;
    let width = session.printer.width();
    match format {
        Format::Table => {
            let table = listing(&pick).render(format, width)?;
            session.printer.data(words(&pick) + &table)?;
        }
        format => session
            .printer
            .data(listing(&pick).render(format, width)?)?,
    }
    if let Some(path) = &plan {
        // Each device's search may have measured with an imatrix of its own.
        let file = pick.plan.to_file(&pick.spec, None);
        let text = serde_json::to_string_pretty(&file)? + "\n";
        durable::write(path, text.as_bytes())?;
        session
            .printer
            .say(format_args!("wrote {}", path.display()));
    }
    Ok(ExitStatus::Success)
}

/// The answer for people: one fact a line.
fn words(pick: &FleetPick) -> String {
    let profiles = count(pick.regrets.len() as u64, "hardware profile");
    let plans = count(pick.compared, "plan");
    let largest = pick.regrets.first().map(|regret| regret.share(pick.by));
    let facts = [
        ("model", pick.spec.name.clone()),
        (
            "plan",
            format!(
                "{}{}",
                pick.plan.digest().short(),
                if pick.is_predicted {
                    ", by what is believed of plans"
                } else {
                    ", measured on all of them"
                }
            ),
        ),
        (
            "size",
            format!(
                "{} ({} bytes), {:.2} bits per weight",
                bytes(pick.size_bytes),
                pick.size_bytes,
                pick.bits_per_weight
            ),
        ),
        (
            "regret",
            format!(
                "at most {} in {} on {profiles}, the least of {plans} within the limits on all",
                percent(largest.unwrap_or(0.0)),
                pick.by
            ),
        ),
        ("export", export(pick)),
    ];
    let lines = facts.into_iter();
    lines
        .map(|(word, fact)| format!("{word:<9} {fact}\n"))
        .collect()
}

fn export(pick: &FleetPick) -> String {
    let measured = pick
        .regrets
        .iter()
        .find_map(|regret| Some((regret.fleet.search, regret.fleet.candidate?)));
    match measured {
        Some((search, candidate)) => {
            format!("bitfront export {search} --candidate {candidate} --to FILE.gguf")
        }
        None => "--plan FILE.json, then bitfront export FILE.json --to FILE.gguf".to_owned(),
    }
}

/// One row a hardware profile.
fn listing(pick: &FleetPick) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("devices", "device"),
        Column::text("hardware", "hardware"),
        Column::number("regret", "regret"),
        Column::number("figure", "fleet's plan").for_people(),
        Column::number("own_figure", "its own best").for_people(),
        Column::number("search", "search"),
        Column::number("candidate", "candidate"),
        Column::number("own_candidate", "own candidate"),
        Column::for_programs("own_search"),
        Column::for_programs("by"),
        Column::for_programs("is_predicted"),
        Column::for_programs("compared"),
        Column::for_programs("plan_digest"),
        Column::for_programs("size_bytes"),
        Column::for_programs("kld"),
        Column::for_programs("decode_ns"),
        Column::for_programs("prefill_ns"),
        Column::for_programs("own_size_bytes"),
        Column::for_programs("own_kld"),
        Column::for_programs("own_decode_ns"),
        Column::for_programs("own_prefill_ns"),
        Column::for_programs("hardware_profile"),
        Column::for_programs("precisions"),
    ]);
    let layers = pick.spec.layers.iter().zip(pick.plan.precisions());
    let precisions: Vec<_> = layers
        .map(|(layer, precision)| format!("{}={precision}", layer.name))
        .collect();
    for regret in &pick.regrets {
        listing.row(row(pick, regret, &precisions.join(";")));
    }
    listing
}

fn row(pick: &FleetPick, regret: &Regret, precisions: &str) -> Vec<Cell> {
    let Regret { fleet, own, .. } = regret;
    let share = regret.share(pick.by);
    let devices = match regret.devices.is_empty() {
        true => "no device any more".to_owned(),
        false => regret.devices.join(", "),
    };
    let profile = &regret.hardware_profile;
    vec![
        Cell::plain(devices),
        Cell::plain(profile.summary()),
        // JSON has no infinity.
        Cell::new(percent(share), share.is_finite().then_some(share)),
        Cell::people(written(fleet, pick.by)),
        Cell::people(written(own, pick.by)),
        Cell::plain(fleet.search),
        Cell::from(fleet.candidate),
        Cell::from(own.candidate),
        Cell::plain(own.search),
        Cell::plain(pick.by.to_string()),
        Cell::plain(pick.is_predicted),
        Cell::plain(pick.compared),
        Cell::plain(pick.plan.digest().to_string()),
        Cell::plain(fleet.size_bytes),
        Cell::plain(fleet.kld),
        Cell::plain(fleet.decode_ns),
        Cell::plain(fleet.prefill_ns),
        Cell::plain(own.size_bytes),
        Cell::plain(own.kld),
        Cell::plain(own.decode_ns),
        Cell::plain(own.prefill_ns),
        Cell::plain(profile.digest().to_string()),
        Cell::plain(precisions),
    ]
}

/// The figure that regrets are of.
fn written(standing: &Standing, by: Objective) -> String {
    match by {
        Objective::Decode => nanoseconds(standing.decode_ns),
        Objective::Prefill => nanoseconds(standing.prefill_ns),
        Objective::Size => bytes(standing.size_bytes),
        Objective::Kld | Objective::Mismatch => three_digits(standing.kld),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing;

    fn pick() -> FleetPick {
        let front = testing::front();
        let point = &front.points[4];
        let standing = |search, candidate, decode_ns| Standing {
            search,
            candidate,
            kld: 0.012,
            decode_ns,
            prefill_ns: 9e6,
            size_bytes: point.size_bytes,
        };
        let regret = |cores, name: &str, fleet, own| {
            let mut hardware_profile = testing::hardware();
            hardware_profile.cores = cores;
            Regret {
                hardware_profile,
                devices: vec![name.to_owned()],
                fleet,
                own,
            }
        };
        FleetPick {
            by: Objective::Decode,
            plan: point.plan.clone(),
            size_bytes: point.size_bytes,
            bits_per_weight: point.bits_per_weight,
            is_predicted: false,
            compared: 41,
            regrets: vec![
                regret(
                    4,
                    "board",
                    standing(2, Some(108), 2.6e6),
                    standing(2, Some(131), 2.5e6),
                ),
                regret(
                    8,
                    "server",
                    standing(1, Some(7), 1e6),
                    standing(1, Some(7), 1e6),
                ),
            ],
            spec: front.status.request.spec,
            subject: front.status.request.subject,
        }
    }

    #[test]
    fn what_each_device_gives_up_is_a_row() {
        let pick = pick();
        let table = listing(&pick).render(Format::Table, 140).unwrap();
        insta::assert_snapshot!(words(&pick) + &table);
        insta::assert_snapshot!(listing(&pick).render(Format::Json, 140).unwrap());
    }

    #[test]
    fn a_plan_that_nobody_measured_is_exported_by_its_file() {
        let mut pick = pick();
        pick.is_predicted = true;
        for regret in &mut pick.regrets {
            regret.fleet.candidate = None;
        }
        let words = words(&pick);
        assert!(words.contains("by what is believed"), "{words}");
        assert!(words.contains("--plan FILE.json"), "{words}");
    }
}
