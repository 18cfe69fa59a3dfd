//! Bits per weight, layer by layer, as SVG.

use std::sync::Arc;

use bitfront_model::{Front, FrontPoint, LayerKind, Precision};
use kuva::plot::{ColorMap, Heatmap};
use kuva::prelude::{Layout, Plot};
use kuva::render::layout::TickFormat;

use super::style;
use crate::figures;
use crate::view::{FrontView as _, PointView as _};

/// Layers from top to bottom, the plans of the front from small to large.
pub(crate) fn over_front(front: &Front, description: &str) -> Option<String> {
    let points = front.on_front();
    let spec = front.spec();
    if points.is_empty() {
        return None;
    }
    let rows: Vec<Vec<Precision>> = (0..spec.layers.len())
        .rev()
        .map(|layer| {
            points
                .iter()
                .map(|point| point.plan.precisions()[layer])
                .collect()
        })
        .collect();
    let names = spec.layers.iter().rev().map(|layer| layer.name.clone());
    let columns = points
        .iter()
        .map(|point| format!("{} · {}", point.name(), figures::bytes(point.size_bytes)));
    let row_height = if spec.layers.len() > 100 { 9.0 } else { 15.0 };
    let height = 150.0 + row_height * spec.layers.len() as f64;
    Some(heat_map(
        rows,
        names.collect(),
        columns.collect(),
        (820.0, height),
        description,
    ))
}

/// One plan: blocks from top to bottom, kinds of layers from left to right.
pub(crate) fn of_plan(front: &Front, point: &FrontPoint, description: &str) -> Option<String> {
    let spec = front.spec();
    let kinds: Vec<LayerKind> = LayerKind::ALL
        .into_iter()
        .filter(|kind| {
            let mut layers = spec.layers.iter();
            layers.any(|layer| layer.kind == *kind && layer.block.is_some())
        })
        .collect();
    let row = |block: u32| -> Option<Vec<Precision>> {
        kinds
            .iter()
            .map(|&kind| {
                let mut layers = spec.layers.iter();
                let here = layers.position(|it| it.kind == kind && it.block == Some(block))?;
                point.plan.precisions().get(here).copied()
            })
            .collect()
    };
    let rows: Vec<Vec<Precision>> = (0..spec.blocks).rev().map(row).collect::<Option<_>>()?;
    if rows.is_empty() || kinds.is_empty() {
        return None;
    }
    let names = (0..spec.blocks).rev().map(|block| format!("block {block}"));
    let height = 130.0 + 28.0 * f64::from(spec.blocks);
    Some(heat_map(
        rows,
        names.collect(),
        kinds.iter().map(ToString::to_string).collect(),
        (820.0, height),
        description,
    ))
}

/// Rows and their names are from bottom to top, as the plotting crate counts them.
fn heat_map(
    rows: Vec<Vec<Precision>>,
    names: Vec<String>,
    columns: Vec<String>,
    (width, height): (f64, f64),
    description: &str,
) -> String {
    let tips: Vec<String> = rows
        .iter()
        .zip(&names)
        .flat_map(|(row, name)| {
            let cells = row.iter().zip(&columns);
            cells.map(move |(precision, column)| format!("{name}, {column}: {precision}"))
        })
        .collect();
    let bits: Vec<Vec<f64>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(Precision::bits_per_weight).collect())
        .collect();
    let (least, most) = bits.iter().flatten().fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), &bits| (least.min(bits), most.max(bits)),
    );
    // The crate hands out shares of what is there; equal bits should look alike in every map.
    let shade = move |share: f64| shade(least + (most - least) * share.clamp(0.0, 1.0));
    let heat_map = Heatmap::new()
        .with_data(bits)
        .with_color_map(ColorMap::Custom(Arc::new(shade)))
        .with_tooltip_labels(tips);
    let plots = vec![Plot::Heatmap(heat_map)];
    let layout = Layout::auto_from_plots(&plots)
        .with_theme(style::page_theme())
        .with_show_grid(false)
        .with_x_categories(columns)
        .with_y_categories(names)
        .with_x_tick_rotate(-40.0)
        .with_tick_size(11)
        .with_colorbar_tick_format(TickFormat::Fixed(1))
        .with_width(width)
        .with_height(height);
    style::to_svg(plots, layout, description)
}

/// The colour of a number of bits per weight: from two (light) to nine and more (deep); every
/// step is visible on white and on black.
fn shade(bits: f64) -> String {
    const STEPS: [(f64, [f64; 3]); 5] = [
        (2.0, [253.0, 214.0, 122.0]),
        (3.5, [244.0, 143.0, 80.0]),
        (5.0, [205.0, 78.0, 111.0]),
        (6.6, [122.0, 60.0, 150.0]),
        (9.0, [42.0, 62.0, 148.0]),
    ];
    let bits = bits.clamp(STEPS[0].0, STEPS[4].0);
    let above = STEPS.iter().position(|step| bits <= step.0).unwrap_or(4);
    let ((low, from), (high, to)) = (STEPS[above.max(1) - 1], STEPS[above.max(1)]);
    let share = (bits - low) / (high - low);
    let [red, green, blue] = [0, 1, 2].map(|index| {
        let mixed: f64 = from[index] + (to[index] - from[index]) * share;
        mixed.round()
    });
    format!("rgb({red},{green},{blue})")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_is_a_row_and_every_cell_says_its_precision() {
        let front = crate::testing::front();
        let svg = over_front(&front, "map").unwrap();
        assert!(svg.contains(">blk.5.ffn_down<"));
        assert!(svg.contains("token_embd, "));
        let svg = of_plan(&front, &front.points[0], "map").unwrap();
        assert!(svg.contains(">block 5<") && svg.contains("attn_output"));
        assert!(svg.contains("block 0, attn_q: q2_k"));
    }
}
