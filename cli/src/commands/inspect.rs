//! `bitfront inspect`: what a model file says.

use bitfront_model::{Baseline, ModelSpec, Plan};
use bitfront_runtime::source;

use crate::args::{Format, InspectArguments, Show};
use crate::figures::{self, bytes};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;
use crate::request::{names, usual_precisions};

use super::session::Session;

/// Reads the model and shows it.
pub(super) async fn inspect(
    typed: InspectArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let model = session.locator().model(&typed.model).await?;
    let source = source::open(&model.path)?;
    let mut spec = source.spec().clone();
    if let Some(name) = model.name {
        spec.name = name;
    }
    let spec = &spec;
    let form = typed.listing;
    if form.format == Format::Table {
        session.printer.data(heading(spec)?)?;
    }
    match (typed.show, form.format) {
        (Show::All, Format::Table) => {
            session.list(&layers(spec), form)?;
            session.list(&baselines(spec), form)?;
        }
        (Show::Baselines, _) => session.list(&baselines(spec), form)?,
        (Show::All | Show::Layers, _) => session.list(&layers(spec), form)?,
    }
    Ok(ExitStatus::Success)
}

fn heading(spec: &ModelSpec) -> anyhow::Result<String> {
    Ok(format!(
        "{}: {} architecture, {}, hidden size {}, {} heads ({} for keys and values), \
         feed-forward {}, vocabulary {}, context {}\n\
         {} weights in {}, {} as stored; output {}; digest {}\n",
        spec.name,
        spec.architecture,
        figures::count(u64::from(spec.blocks), "block"),
        spec.hidden_size,
        spec.attention_heads,
        spec.key_value_heads,
        spec.intermediate_size,
        spec.vocabulary_size,
        spec.context_length,
        spec.parameters(),
        figures::count(spec.layers.len() as u64, "layer"),
        bytes(Plan::source(spec)?.size_bytes(spec)),
        if spec.is_tied() {
            "tied to the embedding"
        } else {
            "not tied"
        },
        spec.digest,
    ))
}

fn layers(spec: &ModelSpec) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("layer", "layer"),
        Column::text("kind", "kind"),
        Column::for_programs("block"),
        Column::number("rows", "rows"),
        Column::number("columns", "columns"),
        Column::number("parameters", "weights"),
        Column::number("flops_per_token", "flops/token"),
        Column::text("source", "stored as"),
        Column::text("tied", "tied"),
        Column::text("fitting", "precisions that fit"),
    ]);
    for layer in &spec.layers {
        let fitting = names(layer.fitting());
        let summary = if layer.fitting().count() == bitfront_model::Precision::ALL.len() {
            "all".to_owned()
        } else {
            fitting.clone()
        };
        listing.row(vec![
            Cell::plain(layer.name.as_str()),
            Cell::plain(layer.kind.name()),
            Cell::from(layer.block),
            Cell::plain(layer.rows),
            Cell::plain(layer.columns),
            Cell::plain(layer.parameters()),
            Cell::plain(layer.flops_per_token()),
            Cell::plain(layer.source.name()),
            Cell::new(if layer.tied { "with the output" } else { "" }, layer.tied),
            Cell::new(summary, fitting),
        ]);
    }
    listing
}

fn baselines(spec: &ModelSpec) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("baseline", "baseline"),
        Column::number("size_bytes", "size"),
        Column::number("bits_per_weight", "bits/weight"),
        Column::for_programs("plan_digest"),
    ]);
    for (baseline, plan) in Baseline::all(spec, &usual_precisions(spec)) {
        let (size, bits) = (plan.size_bytes(spec), plan.bits_per_weight(spec));
        listing.row(vec![
            Cell::plain(baseline.to_string()),
            Cell::new(bytes(size), size),
            Cell::new(format!("{bits:.2}"), bits),
            Cell::plain(plan.digest().to_string()),
        ]);
    }
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_baselines_are_listed() {
        let mut spec = crate::testing::spec();
        spec.layers.truncate(4);
        spec.layers[0].tied = true;
        spec.layers[2].columns = 96;
        insta::assert_snapshot!(heading(&spec).unwrap());
        insta::assert_snapshot!(layers(&spec).render(Format::Table, 120).unwrap());
        let whole = crate::testing::spec();
        insta::assert_snapshot!(baselines(&whole).render(Format::Csv, 120).unwrap());
    }
}
