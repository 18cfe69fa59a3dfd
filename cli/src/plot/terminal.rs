//! Divergence against size, for the terminal.

use bitfront_model::Front;
use kuva::TerminalBackend;
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
    let mut legend = Vec::new();
    for mut group in groups(&series) {
        if group.dots.is_empty() {
            continue;
        }
        // Braille dots have no shapes; colours tell groups apart.
        group.marker = MarkerShape::Circle;
        legend.push((group.color, group.name));
        plots.push(dots(group));
    }
    if let Some(knee) = &series.knee {
        let plot = ScatterPlot::new()
            .with_data([(knee.x, knee.y)])
            .with_color(KNEE)
            .with_size(7.0);
        legend.push((KNEE, "knee"));
        plots.push(plot.into());
    }
    // The backend maps pixels to cells; at 8 × 16 a cell, text takes one cell a character.
    let (width, height) = (columns as f64 * 8.0, rows as f64 * 16.0);
    let layout = chrome(&plots, &series, Axis::Size)
        .with_y_label("")
        .with_theme(style::terminal_theme())
        .with_width(width)
        .with_height(height)
        .with_term_rows(rows as u32);
    let scene = render_multiple(plots, layout);
    let drawn = TerminalBackend::new(columns, rows).render_scene(&scene);
    // A label along the axis would stand on its head, one letter a line.
    let mut text = format!("KL divergence (nats, logarithmic)\n{drawn}");
    if color {
        // The backend's own legend is half a line off its text. Without colour there is nothing
        // that it could explain.
        let entries: Vec<_> = legend.into_iter().map(entry).collect();
        text += &format!("\n        {}\n", entries.join("   "));
        Some(text)
    } else {
        Some(without_escapes(&text))
    }
}

/// A dot in a group's colour (`#rrggbb`) and its name.
fn entry((color, name): (&str, &str)) -> String {
    let part = |from: usize| {
        let digits = color.get(from..from + 2).unwrap_or_default();
        u8::from_str_radix(digits, 16).unwrap_or(128)
    };
    let (red, green, blue) = (part(1), part(3), part(5));
    format!("\u{1b}[38;2;{red};{green};{blue}m●\u{1b}[0m {name}")
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

    #[test]
    fn colours_are_explained() {
        let drawn = draw(&crate::testing::front(), 100, 28, true).unwrap();
        assert!(drawn.contains("\u{1b}[38;2;240;140;46m●\u{1b}[0m llama.cpp preset"));
    }
}
