//! Divergence against size, for the terminal.

use bitfront_model::Front;
use kuva::TerminalBackend;
use kuva::plot::legend::LegendPosition;
use kuva::plot::scatter::MarkerShape;
use kuva::prelude::ScatterPlot;
use kuva::render::render::render_multiple;

use super::scatter::{chrome, dots, groups};
use super::series::{Axis, Series};
use super::style::{self, KNEE};

/// The picture in `columns` × `rows` characters; with `color`, with ANSI escapes. None where
/// nothing was measured.
pub(crate) fn draw(front: &Front, columns: usize, rows: usize, color: bool) -> Option<String> {
    let series = Series::new(front, Axis::Size)?;
    let mut plots = Vec::new();
    for mut group in groups(&series)
        .into_iter()
        .filter(|group| !group.dots.is_empty())
    {
        // Braille dots have no shapes; a larger blot tells baselines apart also without colour.
        group.marker = MarkerShape::Circle;
        let name = group.name;
        if let kuva::prelude::Plot::Scatter(plot) = dots(group) {
            plots.push(plot.with_legend(name).into());
        }
    }
    if let Some(knee) = &series.knee {
        let plot = ScatterPlot::new()
            .with_data([(knee.x, knee.y)])
            .with_color(KNEE)
            .with_size(7.0);
        plots.push(plot.with_legend("knee").into());
    }
    // The backend maps pixels to cells; at 8 × 16 a cell, text takes one cell a character.
    let (width, height) = (columns as f64 * 8.0, rows as f64 * 16.0);
    let layout = chrome(&plots, &series, Axis::Size)
        .with_y_label("")
        .with_theme(style::terminal_theme())
        .with_width(width)
        .with_height(height)
        .with_term_rows(rows as u32)
        .with_legend_position(LegendPosition::OutsideRightTop);
    let scene = render_multiple(plots, layout);
    let drawn = TerminalBackend::new(columns, rows).render_scene(&scene);
    let drawn = if color {
        drawn
    } else {
        without_escapes(&drawn)
    };
    // A label along the axis would stand on its head, one letter a line.
    Some(format!("KL divergence (nats, logarithmic)\n{drawn}"))
}

fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(|&end| end == 'm');
        } else {
            plain.push(character);
        }
    }
    let lines: Vec<_> = plain.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned() + "\n"
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_drawn_with_characters() {
        let drawn = draw(&crate::testing::front(), 100, 28, false).unwrap();
        insta::assert_snapshot!(drawn);
    }
}
