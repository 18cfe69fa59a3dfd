//! `bitfront best SEARCH --predict`: the plan that is expected to be best, measured or not.

use std::path::PathBuf;

use bitfront_model::{Believed, FrontPoint, Limits, Objective, Prediction};

use crate::args::{By, Format};
use crate::durable;
use crate::figures::{self, bytes, nanoseconds, three_digits};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;
use crate::siblings;
use crate::view::PointView as _;

use super::session::{Agent, Session};

/// What is asked, and where the answer's plan goes.
pub(super) struct Question {
    pub(super) search: i64,
    pub(super) limits: Limits,
    pub(super) by: By,
    pub(super) plan: Option<PathBuf>,
}

/// Asks, says what is expected, and writes the plan where that was wanted.
pub(super) async fn predict(
    question: Question,
    format: Format,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let prediction = connection
        .client
        .predict(question.search, question.limits, question.by)
        .await?;
    connection.close().await?;
    match format {
        Format::Table => session.printer.data(words(&prediction))?,
        format => session
            .printer
            .data(listing(&prediction).render(format, session.printer.width())?)?,
    }
    if let Some(path) = &question.plan {
        durable::write(path, plan_file(&prediction)?.as_bytes())?;
        session
            .printer
            .say(format_args!("wrote {}", path.display()));
    }
    Ok(ExitStatus::Success)
}

/// The plan as a file, to be quantized with the imatrix that the search measured with.
fn plan_file(prediction: &Prediction) -> anyhow::Result<String> {
    let quality = prediction.nearest.quality.as_ref();
    let imatrix = quality.and_then(|figure| figure.evidence.imatrix_digest);
    let file = prediction.plan.to_file(&prediction.spec, imatrix);
    Ok(serde_json::to_string_pretty(&file)? + "\n")
}

/// The answer for people: one fact a line.
fn words(prediction: &Prediction) -> String {
    let search = prediction.search;
    let mut facts = vec![
        ("model", prediction.spec.name.clone()),
        (
            "plan",
            match prediction.candidate {
                None => format!(
                    "{}, predicted from {} measured plans of search {search}{}",
                    prediction.plan.digest().short(),
                    prediction.measured,
                    siblings::beside(&prediction.shared)
                ),
                Some(candidate) => format!(
                    "candidate {candidate} of search {search}, {}: no other of its plans is \
                     expected to be better",
                    prediction.plan.digest().short()
                ),
            },
        ),
        (
            "size",
            format!(
                "{} ({} bytes), {:.2} bits per weight, exact",
                bytes(prediction.size_bytes),
                prediction.size_bytes,
                prediction.bits_per_weight
            ),
        ),
    ];
    for (figure, name, write) in FIGURES {
        if let Some(believed) = prediction.figure(figure) {
            facts.push((name, expected(believed, write)));
        }
    }
    facts.push(("nearest", nearest(prediction)));
    facts.push((
        "hardware",
        format!(
            "{} (profile {})",
            prediction.hardware_profile.summary(),
            prediction.hardware_profile.digest().short()
        ),
    ));
    match prediction.candidate {
        Some(candidate) => facts.push((
            "export",
            format!("bitfront export {search} --candidate {candidate} --to FILE.gguf"),
        )),
        None => {
            facts.push((
                "export",
                "--plan FILE.json, then bitfront export FILE.json --to FILE.gguf".to_owned(),
            ));
            facts.push((
                "measure",
                format!(
                    "bitfront submit ... --start-from {search}, with these limits, measures plans \
                     like it"
                ),
            ));
        }
    }
    let lines = facts.into_iter();
    lines
        .map(|(word, fact)| format!("{word:<9} {fact}\n"))
        .collect()
}

/// How a figure is written.
type Write = fn(f64) -> String;

/// The figures that are not exact, as they are named and written.
const FIGURES: [(Objective, &str, Write); 4] = [
    (Objective::Kld, "KLD", three_digits),
    (Objective::Decode, "decode", nanoseconds),
    (Objective::Prefill, "prefill", nanoseconds),
    (Objective::Mismatch, "mismatch", figures::percent),
];

fn expected(believed: &Believed, write: Write) -> String {
    let interval = believed.interval();
    format!(
        "{} expected, {} to {} in {} of cases",
        write(believed.value),
        write(interval.low),
        write(interval.high),
        figures::percent(interval.confidence)
    )
}

/// What is measured instead.
fn nearest(prediction: &Prediction) -> String {
    let point: &FrontPoint = &prediction.nearest;
    let measured = [
        point.kld().map(|kld| format!("KLD {}", three_digits(kld))),
        point
            .decode_ns()
            .map(|time| format!("decode {}", nanoseconds(time))),
        Some(bytes(point.size_bytes)),
    ];
    let measured: Vec<_> = measured.into_iter().flatten().collect();
    let which = if prediction.nearest_keeps {
        "the best measured within the limits"
    } else {
        "no measured plan keeps the limits, the nearest to them"
    };
    format!(
        "{which}: {}, candidate {}: {}",
        point.name(),
        point.candidate,
        measured.join(", ")
    )
}

fn listing(prediction: &Prediction) -> Listing {
    let mut listing = Listing::new(
        &[
            "model",
            "model_digest",
            "search",
            "predicted",
            "candidate",
            "measured",
            "shared",
            "plan_digest",
            "size_bytes",
            "bits_per_weight",
            "kld",
            "kld_low",
            "kld_high",
            "decode_ns",
            "decode_low_ns",
            "decode_high_ns",
            "prefill_ns",
            "prefill_low_ns",
            "prefill_high_ns",
            "mismatch",
            "mismatch_low",
            "mismatch_high",
            "confidence",
            "nearest_candidate",
            "nearest_keeps_limits",
            "nearest_size_bytes",
            "nearest_kld",
            "nearest_decode_ns",
            "nearest_mismatch",
            "hardware",
            "hardware_profile",
            "precisions",
        ]
        .map(Column::for_programs),
    );
    let mut cells = vec![
        Cell::plain(prediction.spec.name.as_str()),
        Cell::plain(prediction.spec.digest.to_string()),
        Cell::plain(prediction.search),
        Cell::plain(prediction.candidate.is_none()),
        Cell::from(prediction.candidate),
        Cell::plain(prediction.measured),
        Cell::plain(prediction.shared.plans),
        Cell::plain(prediction.plan.digest().to_string()),
        Cell::plain(prediction.size_bytes),
        Cell::plain(prediction.bits_per_weight),
    ];
    for (figure, ..) in FIGURES {
        let believed = prediction.figure(figure);
        let interval = believed.map(Believed::interval);
        cells.push(Cell::from(believed.map(|believed| believed.value)));
        cells.push(Cell::from(interval.map(|interval| interval.low)));
        cells.push(Cell::from(interval.map(|interval| interval.high)));
    }
    let confidence = prediction.figure(Objective::Kld).map(Believed::interval);
    let nearest = &prediction.nearest;
    let layers = prediction.spec.layers.iter();
    let precisions = layers
        .zip(prediction.plan.precisions())
        .map(|(layer, precision)| format!("{}={precision}", layer.name));
    cells.extend([
        Cell::from(confidence.map(|interval| interval.confidence)),
        Cell::plain(nearest.candidate),
        Cell::plain(prediction.nearest_keeps),
        Cell::plain(nearest.size_bytes),
        Cell::from(nearest.kld()),
        Cell::from(nearest.decode_ns()),
        Cell::from(nearest.mismatch()),
        Cell::plain(prediction.hardware_profile.summary()),
        Cell::plain(prediction.hardware_profile.digest().to_string()),
        Cell::plain(precisions.collect::<Vec<_>>().join(";")),
    ]);
    listing.row(cells);
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::SharedPlans;

    use super::*;
    use crate::testing;

    fn prediction(candidate: Option<i64>) -> Prediction {
        let front = testing::front();
        let point = front.points[4].clone();
        let believed = |figure, value, deviation, scatter| Believed {
            figure,
            value,
            deviation,
            scatter,
            measured: None,
        };
        Prediction {
            search: 1,
            measured: 60,
            shared: SharedPlans {
                plans: 120,
                searches: vec![3, 4],
            },
            plan: point.plan.clone(),
            candidate,
            size_bytes: point.size_bytes,
            bits_per_weight: point.bits_per_weight,
            figures: vec![
                believed(Objective::Kld, 0.02, 0.03, 0.04),
                believed(Objective::Decode, 2e6, 1e4, 2e4),
                believed(Objective::Prefill, 9e6, 1e5, 1e5),
                believed(Objective::Size, point.size_bytes as f64, 0.0, 0.0),
            ],
            nearest_keeps: candidate.is_none(),
            nearest: point,
            hardware_profile: testing::hardware(),
            subject: front.status.request.subject,
            spec: front.status.request.spec,
        }
    }

    #[test]
    fn what_is_expected_stands_beside_what_is_measured() {
        insta::assert_snapshot!(words(&prediction(None)));
        insta::assert_snapshot!(words(&prediction(Some(7))));
        insta::assert_snapshot!(
            listing(&prediction(None))
                .render(Format::Json, 100)
                .unwrap()
        );
    }

    #[test]
    fn the_plan_file_names_the_imatrix_that_was_measured_with() {
        let prediction = prediction(None);
        let file: bitfront_model::plan::PlanFile =
            serde_json::from_str(&plan_file(&prediction).unwrap()).unwrap();
        assert_eq!(file.plan_digest, prediction.plan.digest());
        let evidence = &prediction.nearest.quality.as_ref().unwrap().evidence;
        assert_eq!(file.imatrix_digest, evidence.imatrix_digest);
    }
}
