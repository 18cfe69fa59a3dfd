//! Colours and sizes that all pictures share.
//!
//! Chrome (axes, text, grid) takes its colour from the page, so that one picture serves light and
//! dark; data has fixed colours that stand out on both.

use kuva::Theme;
use kuva::backend::svg::SvgBackend;
use kuva::prelude::{Layout, Plot};
use kuva::render::render::render_multiple;

pub(super) const DOMINATED: &str = "#94a0ad";
pub(super) const FRONT: &str = "#1f8fe0";
pub(super) const PRESET: &str = "#f08c2e";
pub(super) const UNIFORM: &str = "#2fa36b";
pub(super) const KNEE: &str = "#e0457b";

const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

/// Chrome in the page's own colours.
pub(super) fn page_theme() -> Theme {
    theme("currentColor", "var(--grid)")
}

/// Chrome for a terminal of unknown background.
pub(super) fn terminal_theme() -> Theme {
    theme("#8c8c8c", "none")
}

fn theme(chrome: &str, grid: &str) -> Theme {
    Theme {
        background: "none".into(),
        axis_color: chrome.into(),
        grid_color: grid.into(),
        tick_color: chrome.into(),
        text_color: chrome.into(),
        legend_bg: "none".into(),
        legend_border: "none".into(),
        colorbar_border: chrome.into(),
        font_family: Some(FONT.into()),
        show_grid: grid != "none",
        ..Theme::light()
    }
}

/// Draws an SVG that takes the width of the page and keeps its proportions.
pub(super) fn to_svg(plots: Vec<Plot>, layout: Layout, description: &str) -> String {
    let scene = render_multiple(plots, layout);
    let (width, height) = (scene.width, scene.height);
    let svg = SvgBackend::new().render_scene(&scene);
    let description = crate::report::escape(description);
    let fixed = format!(r#"width="{width}" height="{height}""#);
    let fluid = format!(r#"viewBox="0 0 {width} {height}" role="img" aria-label="{description}""#);
    svg.replacen(&fixed, &fluid, 1)
}
