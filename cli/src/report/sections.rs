//! What was found, section by section.

use bitfront_model::{Front, FrontPoint};

use super::Summary;
use super::page::{escape, facts, figure, section};
use crate::deviations;
use crate::explain;
use crate::figures::{self, bytes, kld, nanoseconds, percent, span, three_digits};
use crate::plot::precision_map;
use crate::plot::scatter;
use crate::plot::series::Axis;
use crate::view::{FrontView as _, PointView as _};

/// What it is about, and the answer in a few figures.
pub(super) fn heading(front: &Front, summary: &Summary<'_>) -> String {
    let status = &front.status;
    let spec = front.spec();
    let title = format!("Which precisions to ship: {}", spec.name);
    let about = format!(
        "{} architecture, {} parameters in {} layers, on {}. {} evaluated, {} on the front, \
         {} of searching.",
        spec.architecture,
        parameters(spec.parameters()),
        spec.layers.len(),
        if status.hardware_summary.is_empty() {
            "no device yet"
        } else {
            &status.hardware_summary
        },
        figures::count(status.evaluated, "candidate"),
        front.on_front().len(),
        span(status.active),
    );
    let mut cards = String::new();
    if let Some(point) = summary.smallest {
        let limit = summary.max_kld;
        cards += &card("", &format!("Smallest with KLD ≤ {limit}"), point);
    }
    if let Some(point) = summary.fastest.filter(|point| !is(point, summary.smallest)) {
        let limit = summary.max_kld;
        cards += &card("", &format!("Fastest with KLD ≤ {limit}"), point);
    }
    if let Some(point) = summary.knee {
        cards += &card(" knee", "Knee of the front", point);
    }
    let answer = match summary.saving() {
        Some((share, preset)) => format!(
            "<p>The smallest plan with a divergence of at most {} is <strong>{} smaller</strong> \
             than {preset}, the smallest of llama.cpp's presets that is as good.</p>\n",
            summary.max_kld,
            percent(share),
        ),
        None => String::new(),
    };
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"soft\">{}</p>\n</header>\n{answer}\
         <div class=\"cards\">\n{cards}</div>\n",
        escape(&title),
        escape(&about)
    )
}

fn is(point: &FrontPoint, other: Option<&FrontPoint>) -> bool {
    other.is_some_and(|other| other.candidate == point.candidate)
}

fn card(class: &str, title: &str, point: &FrontPoint) -> String {
    let mut lines = vec![format!("{:.2} bits per weight", point.bits_per_weight)];
    if let Some(quality) = &point.quality {
        lines.push(format!("KLD {}", kld(&quality.value)));
        let rate = percent(quality.value.same_top_rate);
        lines.push(format!("same top token {rate}"));
    }
    if let Some(decode) = point.decode() {
        lines.push(format!("{} a token", nanoseconds(decode.median_ns)));
    }
    let lines: String = lines
        .iter()
        .map(|line| format!("<li>{}</li>", escape(line)))
        .collect();
    format!(
        "<div class=\"card{class}\"><h3>{}</h3><div class=\"figure\">{}</div>\
         <ul><li>{}</li>{lines}</ul></div>\n",
        escape(title),
        bytes(point.size_bytes),
        escape(&point.name()),
    )
}

fn parameters(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.0} thousand", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{} million", three_digits(count as f64 / 1e6)),
        _ => format!("{} billion", three_digits(count as f64 / 1e9)),
    }
}

/// The pictures of the front.
pub(super) fn fronts(front: &Front, summary: &Summary<'_>) -> String {
    let picture = |axis, against: &str, caption: &str| {
        let description = format!("KL divergence against {against}, one dot a candidate");
        scatter::svg(front, axis, &description).map(|svg| figure(&svg, caption))
    };
    let pictures: String = [
        picture(
            Axis::Size,
            "size",
            "Divergence from the unquantized model against size; the line joins what nothing \
             beats in these two. Lower left is better.",
        ),
        picture(
            Axis::Decode,
            "time per token",
            "Divergence against the median time for one decode step. The front weighs all \
             objectives of the search, so a dot above the line can be on it for its size.",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    if pictures.is_empty() {
        return section("The front", "<p>Nothing has been measured yet.</p>\n");
    }
    let knee = match summary.knee {
        Some(knee) => format!(
            "<p>The ring marks the knee, {}: to its left, each byte saved costs much quality; to \
             its right, each byte spent gains little.</p>\n",
            escape(&knee.name())
        ),
        None => String::new(),
    };
    section("The front", &(pictures + &knee))
}

/// Every point of the front and every baseline with its figures.
pub(super) fn table(front: &Front, summary: &Summary<'_>) -> String {
    let mut points: Vec<_> = front
        .points
        .iter()
        .filter(|point| point.on_front || point.baseline.is_some())
        .collect();
    if points.is_empty() {
        return String::new();
    }
    points.sort_by_key(|point| (point.size_bytes, point.candidate));
    let rows: String = points.iter().map(|point| row(point, summary)).collect();
    let head = [
        "plan",
        "size",
        "bits/weight",
        "KLD ± error",
        "ppl ratio",
        "same top",
        "decode",
        "prefill",
    ];
    let head: String = head
        .iter()
        .map(|title| format!("<th>{title}</th>"))
        .collect();
    let table = format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n<p class=\"soft\">Bold: on the front. Grey: a baseline that something \
         on it beats, or is as good as and no larger. KLD with its standard error; perplexity as a multiple of the unquantized model's; \
         how often both rank the same token first; medians for one decode step and for one \
         prompt with intervals that hold them with at least 95&nbsp;%, or with as much as \
         stands in them.</p>\n{}",
        deviations::legend(front)
            .lines()
            .map(|line| format!("<p>{}</p>\n", escape(line)))
            .collect::<String>()
    );
    section("Front and baselines", &table)
}

fn row(point: &FrontPoint, summary: &Summary<'_>) -> String {
    let class = match (point.is_knee, point.on_front) {
        (true, _) => "front knee",
        (false, true) => "front",
        (false, false) => "off",
    };
    let mut name = escape(&point.baseline.clone().unwrap_or_else(|| point.name()));
    for (holds, note) in [
        (point.is_knee, "knee"),
        (is(point, summary.smallest), "smallest within the limit"),
        (is(point, summary.fastest), "fastest within the limit"),
        (deviations::deviates(point), "≠ see below"),
    ] {
        if holds {
            name += &format!("<br><small>{note}</small>");
        }
    }
    let dash = || "–".to_owned();
    let quality = point.quality.as_ref().map(|figure| &figure.value);
    let latency = |latency: Option<&bitfront_model::Latency>| {
        latency.map_or_else(dash, |latency| {
            let text = figures::latency(latency);
            let (median, interval) = text.split_once(" [").unwrap_or((&text, "]"));
            format!(
                "{median} <span class=\"interval\">[{}</span>",
                escape(interval)
            )
        })
    };
    let cells = [
        name,
        bytes(point.size_bytes),
        format!("{:.2}", point.bits_per_weight),
        match (&point.infeasible, quality) {
            (Some(reason), _) => escape(&format!("infeasible: {reason}")),
            (None, quality) => quality.map_or_else(dash, kld),
        },
        quality.map_or_else(dash, |quality| {
            format!("{:.4}", quality.perplexity / quality.reference_perplexity)
        }),
        quality.map_or_else(dash, |quality| percent(quality.same_top_rate)),
        latency(point.decode()),
        latency(point.prefill()),
    ];
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{cell}</td>"))
        .collect();
    format!("<tr class=\"{class}\">{cells}</tr>\n")
}

/// Why each point of the table is on the front, or what beats it.
pub(super) fn reasons(front: &Front) -> String {
    let mut points: Vec<_> = front
        .points
        .iter()
        .filter(|point| point.on_front || point.baseline.is_some())
        .collect();
    points.sort_by_key(|point| (point.size_bytes, point.candidate));
    if points.is_empty() {
        return String::new();
    }
    let named = |point: &&FrontPoint| {
        let (name, size) = (explain::numbered(point), bytes(point.size_bytes));
        format!("{name} ({size})")
    };
    let names: Vec<_> = points.iter().map(named).collect();
    let pairs: Vec<_> = names
        .iter()
        .zip(&points)
        .map(|(name, point)| (name.as_str(), explain::why(front, point)))
        .collect();
    let text = format!(
        "<details><summary>Each plan and what it was compared with</summary>\n\
         <p class=\"soft\">Divergences are compared over the same windows, ± the standard error of \
         their difference; times by the intervals of both medians.</p>\n{}</details>\n",
        facts(&pairs)
    );
    section("Why each is there", &text)
}

/// Where the bits went.
pub(super) fn precision_maps(front: &Front, summary: &Summary<'_>) -> String {
    let mut pictures = String::new();
    if let Some(point) = summary.chosen() {
        let description = "Bits per weight of the chosen plan, blocks by kinds of layers";
        if let Some(svg) = precision_map::of_plan(front, point, description) {
            let outside: Vec<_> = front
                .spec()
                .layers
                .iter()
                .zip(point.plan.precisions())
                .filter(|(layer, _)| layer.block.is_none())
                .map(|(layer, precision)| format!("{} in {precision}", layer.name))
                .collect();
            let caption = format!(
                "{} ({}), block by block: bits per weight. Outside the blocks: {}.",
                point.name(),
                bytes(point.size_bytes),
                outside.join(", ")
            );
            pictures += &figure(&svg, &caption);
        }
    }
    let description = "Bits per weight of every layer in every plan of the front";
    if let Some(svg) = precision_map::over_front(front, description) {
        pictures += &figure(
            &svg,
            "Every plan of the front, from small to large: bits per weight of each layer.",
        );
    }
    if pictures.is_empty() {
        return pictures;
    }
    section("Where the bits go", &pictures)
}
