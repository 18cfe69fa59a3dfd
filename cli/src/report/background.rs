//! Where the findings come from: hardware, method, request.

use std::collections::BTreeSet;

use bitfront_model::{Front, ImatrixSource, Latency, Workload};

use super::page::{escape, facts, section};
use crate::ending;
use crate::figures::{batch, moment, nanoseconds, percent};
use crate::siblings;
use crate::view::{FrontView as _, time};

/// On what and how the figures were measured.
pub(super) fn measuring(front: &Front) -> String {
    let mut body = String::new();
    if let Some(profile) = &front.hardware_profile {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
        let mut pairs = vec![
            ("processor", profile.cpu_model.clone()),
            (
                "instruction set",
                format!(
                    "{}: {}",
                    profile.cpu_architecture,
                    profile.isa_features.join(", ")
                ),
            ),
            (
                "cores, threads",
                format!("{} cores, {} threads", profile.cores, profile.threads),
            ),
            ("accelerator", or_none(&profile.gpu)),
            (
                "runtime",
                format!("{} {}", profile.runtime, profile.runtime_version),
            ),
            (
                "governor",
                profile.governor.clone().unwrap_or_else(|| "unknown".into()),
            ),
            ("profile", profile.digest().short()),
        ];
        if let Some(class) = &front.status.numerics_class {
            pairs.push(("numerics class", class.to_string()));
        }
        for (name, value) in &profile.switches {
            pairs.push(("switch", format!("{name}={value}")));
        }
        body += "<h3>Hardware profile</h3>\n";
        body += &facts(&pairs);
    }
    body += "<h3>Method</h3>\n";
    body += &facts(&method(front));
    section("How it was measured", &body)
}

fn method(front: &Front) -> Vec<(&'static str, String)> {
    let data = &front.status.request.subject.data;
    let imatrix = match &front.status.request.subject.imatrix {
        ImatrixSource::None => "none".to_owned(),
        ImatrixSource::Calibration => format!(
            "collected from {} windows of the calibration text",
            data.calibration_windows
        ),
        ImatrixSource::File { path, .. } => path.clone(),
    };
    let mut pairs = vec![
        (
            "quality",
            format!(
                "mean KL divergence to the unquantized model in nats over the second halves of {} \
                 windows of {} tokens, with its standard error over windows",
                data.evaluation_windows, data.context
            ),
        ),
        ("importance matrix", imatrix),
    ];
    pairs.extend(
        front
            .status
            .request
            .workloads
            .iter()
            .filter_map(|&workload| Some(("latency", timing(front, workload)?))),
    );
    let figures = front.points.iter().flat_map(|point| {
        let quality = point.quality.as_ref();
        let latency = point.latency.as_ref();
        let quality = quality.map(|it| (it.measured_at_ms, it.device.as_str()));
        let latency = latency.map(|it| (it.measured_at_ms, it.device.as_str()));
        quality.into_iter().chain(latency)
    });
    let (moments, devices): (Vec<_>, BTreeSet<_>) = figures.unzip();
    if let (Some(&first), Some(&last)) = (moments.iter().min(), moments.iter().max()) {
        let devices: Vec<_> = devices.into_iter().collect();
        let (first, last) = (moment(time(first)), moment(time(last)));
        let devices = devices.join(", ");
        pairs.push((
            "measured",
            format!("by {devices} between {first} and {last}"),
        ));
    }
    let quality = front.points.iter().find_map(|point| point.quality.as_ref());
    if let Some(figure) = quality {
        let perplexity = figure.value.reference_perplexity;
        pairs.push(("unquantized", format!("perplexity {perplexity:.3}")));
    }
    pairs
}

/// What every candidate's timing of a workload kept at least.
fn timing(front: &Front, workload: Workload) -> Option<String> {
    let figures = front
        .points
        .iter()
        .filter_map(|point| point.latency.as_ref());
    let timings: Vec<&Latency> = figures
        .flat_map(|figure| &figure.value)
        .filter(|latency| latency.workload == workload)
        .collect();
    let samples = timings.iter().map(|it| it.samples_ns.len()).min()?;
    let warm_up = timings.iter().map(|it| it.warm_up_ns).min()?;
    let confidence = timings.iter().map(|it| it.interval.confidence);
    let confidence = confidence.fold(1.0, f64::min);
    let of = batch(workload).unwrap_or_else(|| workload.to_string());
    Some(format!(
        "{of}: median of {samples} samples or more after a warm-up of {} or more, with a \
         distribution-free interval that holds it with a probability of {} or more",
        nanoseconds(warm_up as f64),
        percent(confidence)
    ))
}

/// What was asked for, in full.
pub(super) fn request(front: &Front) -> anyhow::Result<String> {
    let request = &front.status.request;
    let spec = front.spec();
    let names = |words: &[&dyn ToString]| -> String {
        let words: Vec<_> = words.iter().map(|word| word.to_string()).collect();
        words.join(", ")
    };
    let objectives: Vec<&dyn ToString> = request
        .objectives
        .iter()
        .map(|it| it as &dyn ToString)
        .collect();
    let precisions: Vec<&dyn ToString> = request
        .precisions
        .iter()
        .map(|it| it as &dyn ToString)
        .collect();
    let mut pairs = vec![
        (
            "search",
            format!(
                "{}, {}: {}",
                front.status.search, front.status.state, front.status.reason
            ),
        ),
        ("model", request.subject.model.path.clone()),
        ("weights", spec.digest.to_string()),
        (
            "evaluation text",
            request.subject.data.evaluation_path.clone(),
        ),
        ("objectives", names(&objectives)),
        ("precisions", names(&precisions)),
        (
            "grouping, strategy",
            format!("{}, {}", request.grouping, request.strategy),
        ),
        ("seed", request.seed.to_string()),
    ];
    if let Some(learned) = siblings::learned(&front.status.shared) {
        pairs.push(("siblings", learned));
    }
    if let Some(outlook) = &front.status.outlook {
        pairs.insert(1, ("more budget", ending::expected(outlook)));
    }
    if let Some(ending::Kept::Nothing(shortfall)) = ending::kept(front) {
        pairs.insert(1, ("within the limits", shortfall.to_string()));
    }
    let mut whole = serde_json::to_value(request)?;
    // The layers are in the pictures; here they would bury everything else.
    if let Some(spec) = whole.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
        spec.remove("layers");
    }
    let json = serde_json::to_string_pretty(&whole)?;
    let body = format!(
        "{}<details><summary>The request in full</summary><pre>{}</pre></details>\n",
        facts(&pairs),
        escape(&json)
    );
    Ok(section("What was asked for", &body))
}
