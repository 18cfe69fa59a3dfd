//! Divergence against size or time, as SVG.

use std::sync::Arc;

use bitfront_model::Front;
use kuva::plot::LabelStyle;
use kuva::plot::legend::{LegendEntry, LegendPosition, LegendShape};
use kuva::plot::scatter::MarkerShape;
use kuva::prelude::{Layout, LinePlot, Plot, ScatterPlot};
use kuva::render::layout::{ComputedLayout, TickFormat};

use super::labels::{self, Area, Label};
use super::series::{Axis, Dot, Series};
use super::style::{self, DOMINATED, FRONT, KNEE, PRESET, UNIFORM};

/// Height of the names of dots, in pixels.
const NAME_SIZE: u32 = 11;
/// Beyond this ratio of most to least, the axis from left to right is logarithmic.
const MOST_LINEAR: f64 = 12.0;
/// Names nearer to their dot than this have no line to it, in pixels.
const LEADER: f64 = 17.0;

/// The picture; none where nothing was measured.
pub(crate) fn svg(front: &Front, axis: Axis, description: &str) -> Option<String> {
    let series = Series::new(front, axis)?;
    let mut plots = vec![line(&series)];
    plots.extend(groups(&series).into_iter().map(dots));
    plots.extend(series.knee.as_ref().map(knee));
    let layout = |plots: &[Plot]| {
        chrome(plots, &series, axis)
            .with_theme(style::page_theme())
            .with_width(860.0)
            .with_height(560.0)
            .with_body_size(NAME_SIZE)
            .with_legend_entries(legend(&series))
            .with_legend_position(LegendPosition::OutsideBottomColumns)
    };
    let names = names(&series, &ComputedLayout::from_layout(&layout(&plots)));
    plots.extend(names);
    let layout = layout(&plots);
    Some(style::to_svg(plots, layout, description))
}

/// One way of drawing, and what is drawn so.
pub(super) struct Group<'a> {
    pub(super) dots: &'a [Dot],
    pub(super) color: &'static str,
    pub(super) marker: MarkerShape,
    pub(super) size: f64,
    pub(super) name: &'static str,
}

/// What lies below what: the most telling points come last.
pub(super) fn groups(series: &Series) -> Vec<Group<'_>> {
    let group = |dots, color, marker, size, name| Group {
        dots,
        color,
        marker,
        size,
        name,
    };
    let circle = MarkerShape::Circle;
    vec![
        group(&series.dominated, DOMINATED, circle, 3.0, "dominated"),
        group(&series.front, FRONT, circle, 4.5, "on the front"),
        group(
            &series.uniform,
            UNIFORM,
            MarkerShape::Triangle,
            5.5,
            "uniform plan",
        ),
        group(
            &series.presets,
            PRESET,
            MarkerShape::Diamond,
            6.0,
            "llama.cpp preset",
        ),
    ]
}

/// Axes, ticks and labels for both kinds of output.
pub(super) fn chrome(plots: &[Plot], series: &Series, axis: Axis) -> Layout {
    let (least, most) = series.span();
    let (lowest, highest) = series.divergences();
    let layout = Layout::auto_from_plots(plots)
        .with_log_y()
        .with_y_axis_min(lowest / 1.35)
        .with_y_axis_max(highest * 1.35)
        .with_x_label(axis.label())
        .with_y_label("KL divergence (nats)")
        .with_y_tick_format(TickFormat::Custom(Arc::new(decimal)));
    // One timing that something disturbed would squeeze all others into a line.
    if least > 0.0 && most / least > MOST_LINEAR {
        return layout
            .with_log_x()
            .with_x_axis_min(least / 1.2)
            .with_x_axis_max(most * 1.2)
            .with_x_tick_format(TickFormat::Custom(Arc::new(decimal)));
    }
    let room = (most - least).max(most * 0.02) * 0.06;
    layout
        .with_x_axis_min((least - room).max(0.0))
        .with_x_axis_max(most + room)
}

/// `0.05` rather than `5e-2`, as far as that is short.
fn decimal(value: f64) -> String {
    if (1e-4..1e4).contains(&value) {
        // Ticks are a digit and a power of ten; what follows is rounding.
        let text = format!("{value:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0e}")
    }
}

/// The line below which nothing was found.
pub(super) fn line(series: &Series) -> Plot {
    LinePlot::new()
        .with_data(series.staircase.iter().copied())
        .with_color(FRONT)
        .with_stroke_width(1.2)
        .into()
}

pub(super) fn dots(group: Group<'_>) -> Plot {
    ScatterPlot::new()
        .with_data(group.dots.iter().map(|dot| (dot.x, dot.y)))
        .with_color(group.color)
        .with_marker(group.marker)
        .with_size(group.size)
        .with_tooltip_labels(group.dots.iter().map(|dot| dot.name.clone()))
        .into()
}

/// A ring around the knee, so that what it is itself stays visible.
fn knee(dot: &Dot) -> Plot {
    ScatterPlot::new()
        .with_data([(dot.x, dot.y)])
        .with_color(KNEE)
        .with_size(9.0)
        .with_marker_opacity(0.0)
        .with_marker_stroke_width(2.0)
        .into()
}

/// Names of the baselines and of the knee, each a series of its own without a mark: what the
/// plotting crate places by itself would cover dots.
fn names(series: &Series, layout: &ComputedLayout) -> Vec<Plot> {
    let mut named: Vec<(f64, f64, String)> = series
        .presets
        .iter()
        .chain(&series.uniform)
        .map(|dot| (dot.x, dot.y, dot.name.replace("uniform ", "")))
        .collect();
    if let Some(knee) = &series.knee {
        let mut baselines = series.presets.iter().chain(&series.uniform);
        if baselines.all(|dot| dot.name != knee.name) {
            named.push((knee.x, knee.y, format!("knee {}", knee.name)));
        }
    }
    let pixel = |x, y| (layout.map_x(x), layout.map_y(y));
    let mut dots: Vec<_> = series.all().map(|dot| pixel(dot.x, dot.y)).collect();
    // The staircase should not be written over either; it counts as a row of dots.
    for step in series.staircase.windows(2) {
        let (from, to) = (pixel(step[0].0, step[0].1), pixel(step[1].0, step[1].1));
        let pieces = ((to.0 - from.0).abs() + (to.1 - from.1).abs()) / 8.0;
        for piece in 0..pieces as u32 {
            let share = f64::from(piece) / pieces;
            dots.push((
                from.0 + (to.0 - from.0) * share,
                from.1 + (to.1 - from.1) * share,
            ));
        }
    }
    let labels: Vec<_> = named
        .iter()
        .map(|(x, y, text)| Label {
            at: pixel(*x, *y),
            text,
        })
        .collect();
    let bounds = Area {
        left: layout.margin_left,
        top: layout.margin_top,
        right: layout.width - layout.margin_right,
        bottom: layout.height - layout.margin_bottom,
    };
    let offsets = labels::place(&labels, &dots, bounds, f64::from(NAME_SIZE));
    named
        .into_iter()
        .zip(offsets)
        .map(|((x, y, text), (dx, dy))| {
            ScatterPlot::new()
                .with_data([(x, y)])
                .with_labels([text])
                .with_label_style(LabelStyle::Arrow {
                    offset_x: dx,
                    offset_y: -dy,
                })
                .with_marker_opacity(0.0)
                // A leader is drawn only where it is longer than this; shorter ones look like
                // slashes.
                .with_size(LEADER)
                .into()
        })
        .collect()
}

fn legend(series: &Series) -> Vec<LegendEntry> {
    let entry = |label: &str, color: &str, shape| LegendEntry {
        label: label.into(),
        color: color.into(),
        shape,
        dasharray: None,
    };
    let mut entries: Vec<_> = groups(series)
        .into_iter()
        .filter(|group| !group.dots.is_empty())
        .map(|group| entry(group.name, group.color, LegendShape::Marker(group.marker)))
        .collect();
    if series.knee.is_some() {
        entries.push(entry("knee", KNEE, LegendShape::Circle));
    }
    entries
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_names_presets_and_takes_the_width_of_the_page() {
        let front = crate::testing::front();
        let svg = svg(&front, Axis::Size, "front").unwrap();
        for expected in ["viewBox=", ">Q4_K_M<", ">q5_k<", "viewBox", "currentColor"] {
            assert!(svg.contains(expected), "{expected} is not in {svg}");
        }
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn a_disturbed_timing_does_not_squeeze_the_others() {
        let mut front = crate::testing::front();
        if let Some(figure) = &mut front.points[0].latency {
            figure.value[1].median_ns *= 100.0;
        }
        let svg = svg(&front, Axis::Decode, "front").unwrap();
        assert!(svg.contains(">100<") && svg.contains(">10<"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn nothing_measured_is_no_picture() {
        let mut front = crate::testing::front();
        front.points.clear();
        assert_eq!(svg(&front, Axis::Size, ""), None);
    }
}
