//! `bitfront best`: the plan to ship, from the database alone.

use bitfront_model::{Best, Figure, ImatrixSource};

use crate::args::{BestArguments, Format};
use crate::deviations;
use crate::figures::{self, bytes, kld, moment, percent};
use crate::listing::{Cell, Column, Listing};
use crate::problem::{ExitStatus, Problem};
use crate::settings;
use crate::view::{PointView as _, time};

use super::fleet;
use super::predict::{Question, predict};
use super::session::{Agent, Session};

/// Asks, and says which measurement the answer rests on.
pub(super) async fn best(typed: BestArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let limits = settings::limits(&typed.limits)?;
    check(&typed)?;
    let model = match (typed.search, typed.model) {
        (Some(search), _) => {
            let question = Question {
                search,
                limits,
                by: typed.by,
                plan: typed.plan,
            };
            return predict(question, typed.listing.format, session).await;
        }
        (None, Some(model)) => model,
        (None, None) => return Err(Problem::usage("--model is needed").into()),
    };
    if typed.fleet {
        let question = fleet::Question {
            model,
            devices: typed.devices,
            limits,
            by: typed.by,
            predict: typed.predict,
            plan: typed.plan,
        };
        return fleet::fleet(question, typed.listing.format, session).await;
    }
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let device = typed.devices.into_iter().next();
    let best = connection
        .client
        .best(model, device, limits, typed.by)
        .await?;
    connection.close().await?;
    match typed.listing.format {
        Format::Table => session.printer.data(words(&best))?,
        format => session
            .printer
            .data(listing(&best).render(format, session.printer.width())?)?,
    }
    Ok(ExitStatus::Success)
}

/// Refuses options that mean nothing without others.
fn check(typed: &BestArguments) -> Result<(), Problem> {
    let refused = |reason: &str| Err(Problem::usage(reason));
    if typed.predict && typed.search.is_none() && !typed.fleet {
        return refused(
            "--predict: name the search to learn from (`bitfront best SEARCH --predict`), or ask for --fleet",
        );
    }
    if typed.plan.is_some() && !typed.predict && !typed.fleet {
        return refused(
            "--plan goes with --predict or --fleet; `bitfront export` writes measured plans",
        );
    }
    if typed.devices.len() > 1 && !typed.fleet {
        return refused(
            "--device is given several times; --fleet picks one plan for several devices",
        );
    }
    Ok(())
}

/// The answer for people: one fact a line.
fn words(best: &Best) -> String {
    let point = &best.point;
    let mut facts = vec![
        ("model", best.spec.name.clone()),
        ("text", text(best)),
        (
            "plan",
            format!(
                "{}: candidate {} of search {}, {}",
                point.name(),
                point.candidate,
                point.search,
                point.plan.digest().short()
            ),
        ),
        (
            "size",
            format!(
                "{} ({} bytes), {:.2} bits per weight",
                bytes(point.size_bytes),
                point.size_bytes,
                point.bits_per_weight
            ),
        ),
    ];
    facts.push((
        "confirmed",
        match &point.confirmation {
            Some(confirmation) if confirmation.searched_quality.is_some() => {
                "yes: quality and times were measured afresh".to_owned()
            }
            Some(_) => "times only: the text had no windows left for quality".to_owned(),
            None => "no: these are the figures that the plan was chosen by".to_owned(),
        },
    ));
    if let Some(told) = deviations::told(point) {
        facts.push(("beware", told));
    }
    if let Some(figure) = &point.quality {
        let quality = &figure.value;
        facts.push((
            "KLD",
            format!(
                "{} over {} positions; same top token {}; {}",
                kld(quality),
                quality.positions,
                percent(quality.same_top_rate),
                origin(figure)
            ),
        ));
    }
    if let Some(figure) = &point.latency {
        for latency in &figure.value {
            let name = if latency.workload.is_decode() {
                "decode"
            } else {
                "prefill"
            };
            facts.push((
                name,
                format!(
                    "{} at {}, {} samples, {} interval; {}",
                    figures::latency(latency),
                    latency.workload,
                    latency.samples_ns.len(),
                    percent(latency.interval.confidence),
                    origin(figure)
                ),
            ));
        }
    }
    facts.push((
        "hardware",
        format!(
            "{} (profile {})",
            best.hardware_profile.summary(),
            best.hardware_profile.digest().short()
        ),
    ));
    facts.push((
        "export",
        format!(
            "bitfront export {} --candidate {} --to FILE.gguf",
            point.search, point.candidate
        ),
    ));
    facts
        .into_iter()
        .map(|(word, fact)| format!("{word:<9} {fact}\n"))
        .collect()
}

/// What the loss was measured on: of several texts the latest one counts.
fn text(best: &Best) -> String {
    let data = &best.subject.data;
    format!(
        "{}, {} of {} tokens, {}",
        data.evaluation_path,
        figures::count(u64::from(data.evaluation_windows), "window"),
        data.context,
        imatrix(&best.subject.imatrix)
    )
}

fn imatrix(source: &ImatrixSource) -> String {
    match source {
        ImatrixSource::None => "no imatrix".to_owned(),
        ImatrixSource::Calibration => "imatrix from calibration".to_owned(),
        ImatrixSource::File { path, .. } => format!("imatrix {path}"),
    }
}

fn origin<T>(figure: &Figure<T>) -> String {
    format!(
        "measurement {} by {} at {}",
        figure.measurement,
        figure.device,
        moment(time(figure.measured_at_ms))
    )
}

fn listing(best: &Best) -> Listing {
    let mut listing = Listing::new(
        &[
            "model",
            "model_digest",
            "search",
            "candidate",
            "baseline",
            "plan_digest",
            "size_bytes",
            "bits_per_weight",
            "kld",
            "kld_standard_error",
            "positions",
            "evaluation_path",
            "evaluation_digest",
            "evaluation_windows",
            "context",
            "imatrix",
            "quality_measurement",
            "quality_measured_at",
            "decode_ns",
            "decode_low_ns",
            "decode_high_ns",
            "decode_confidence",
            "decode_samples",
            "prefill_ns",
            "prefill_low_ns",
            "prefill_high_ns",
            "prefill_confidence",
            "prefill_samples",
            "latency_measurement",
            "latency_measured_at",
            "device",
            "hardware",
            "hardware_profile",
            "precisions",
        ]
        .map(Column::for_programs),
    );
    let point = &best.point;
    let data = &best.subject.data;
    let quality = point.quality.as_ref();
    let latency = point.latency.as_ref();
    let (decode, prefill) = (point.decode(), point.prefill());
    let at = |milliseconds: i64| moment(time(milliseconds));
    let precisions = best
        .spec
        .layers
        .iter()
        .zip(point.plan.precisions())
        .map(|(layer, precision)| format!("{}={precision}", layer.name));
    listing.row(vec![
        Cell::plain(best.spec.name.as_str()),
        Cell::plain(best.spec.digest.to_string()),
        Cell::plain(point.search),
        Cell::plain(point.candidate),
        Cell::from(point.baseline.clone()),
        Cell::plain(point.plan.digest().to_string()),
        Cell::plain(point.size_bytes),
        Cell::plain(point.bits_per_weight),
        Cell::from(point.kld()),
        Cell::from(quality.map(|figure| figure.value.kld_standard_error)),
        Cell::from(quality.map(|figure| figure.value.positions)),
        Cell::plain(data.evaluation_path.as_str()),
        Cell::plain(data.evaluation_digest.to_string()),
        Cell::plain(data.evaluation_windows),
        Cell::plain(data.context),
        Cell::plain(imatrix(&best.subject.imatrix)),
        Cell::from(quality.map(|figure| figure.measurement)),
        Cell::from(quality.map(|figure| at(figure.measured_at_ms))),
        Cell::from(decode.map(|latency| latency.median_ns)),
        Cell::from(decode.map(|latency| latency.interval.low)),
        Cell::from(decode.map(|latency| latency.interval.high)),
        Cell::from(decode.map(|latency| latency.interval.confidence)),
        Cell::from(decode.map(|latency| latency.samples_ns.len())),
        Cell::from(prefill.map(|latency| latency.median_ns)),
        Cell::from(prefill.map(|latency| latency.interval.low)),
        Cell::from(prefill.map(|latency| latency.interval.high)),
        Cell::from(prefill.map(|latency| latency.interval.confidence)),
        Cell::from(prefill.map(|latency| latency.samples_ns.len())),
        Cell::from(latency.map(|figure| figure.measurement)),
        Cell::from(latency.map(|figure| at(figure.measured_at_ms))),
        Cell::from(latency.map(|figure| figure.device.clone())),
        Cell::plain(best.hardware_profile.summary()),
        Cell::plain(best.hardware_profile.digest().to_string()),
        Cell::plain(precisions.collect::<Vec<_>>().join(";")),
    ]);
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing;

    fn answer() -> Best {
        let front = testing::front();
        Best {
            point: front.points[4].clone(),
            hardware_profile: testing::hardware(),
            subject: front.status.request.subject,
            spec: front.status.request.spec,
        }
    }

    #[test]
    fn the_answer_names_its_measurements() {
        insta::assert_snapshot!(words(&answer()));
        insta::assert_snapshot!(listing(&answer()).render(Format::Json, 100).unwrap());
    }
}
