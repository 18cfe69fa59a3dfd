//! A plan's way through all windows of the text, from the deepest stored hidden states to its
//! quality.

use bitfront_model::{Digest, Plan, Quality, TaskPurpose};

use crate::RuntimeError;
use crate::quality::Scorer;
use crate::reference::ScoredPositions;

use super::decoder::Through;
use super::prefixes::{self, PrefixStore};
use super::{Arithmetic, Assembly, Decoder, Matrices, OpenSubject, Positions, batch_windows};

/// Scores a plan that was put together, on the windows that a purpose is served by.
pub(super) fn score(
    opened: &OpenSubject,
    purpose: TaskPurpose,
    assembly: &Assembly,
    arithmetic: Arithmetic,
    prefixes: &mut PrefixStore,
) -> Result<Quality, RuntimeError> {
    let (windows, reference) = opened.scored(purpose)?;
    let mut scorer = Scorer::new(reference);
    let context = windows.first().map_or(0, Vec::len);
    let (batch, decoder) = (batch_windows(context), opened.decoder());
    // The purpose decides which windows of the subject are read.
    let text = Digest::builder()
        .part(opened.digest().to_string())
        .part(purpose.to_string())
        .finish();
    let keys = prefixes::keys(text, decoder, &assembly.executed, arithmetic);
    let states = windows.len() * context * decoder.hidden_size();
    let mut way = prefixes.begin(keys, states as u64 * 4);
    let start = way.start();
    let mut cache = decoder.cache(batch, context);
    for (index, batch_of) in windows.chunks(batch).enumerate() {
        if batch_of.len() != cache.sequences() {
            cache = decoder.cache(batch_of.len(), context);
        }
        let after = start.as_ref();
        let through = Through {
            after: after.map(|(parts, batches)| (*parts, batches[index].as_slice())),
            keep: Some(&mut |parts, states| way.keep(parts, states)),
        };
        let logits = decoder.forward_through(
            &assembly.matrices,
            &batch_of.concat(),
            &mut cache,
            scored_positions(context),
            arithmetic,
            through,
        )?;
        match scorer.add(index * batch, &logits, &targets(batch_of)) {
            Err(error @ RuntimeError::NotFinite { window, .. }) => {
                let place = first_not_finite(opened, assembly, &windows[window], arithmetic)?;
                return Err(RuntimeError::Infeasible {
                    reason: format!("{error}; {place}"),
                });
            }
            scored => scored?,
        }
    }
    prefixes.finish(way);
    scorer.finish()
}

/// Reads a window once more and says which layer is the first to give values that are not finite.
fn first_not_finite(
    opened: &OpenSubject,
    assembly: &Assembly,
    window: &[u32],
    arithmetic: Arithmetic,
) -> Result<String, RuntimeError> {
    let decoder = opened.decoder();
    let mut cache = decoder.cache(1, window.len());
    let first = decoder.first_not_finite(&assembly.matrices, window, &mut cache, arithmetic)?;
    Ok(match first {
        Some(layer) => format!(
            "the first layer that does is `{}` in {}",
            opened.source().spec().layers[layer].name,
            assembly.executed[layer]
        ),
        None => "every layer's own values are finite, but too large to compare".to_owned(),
    })
}

/// The logits of the scored positions of one window.
pub(super) fn scored_logits(
    decoder: &Decoder,
    matrices: &Matrices,
    window: &[u32],
) -> Result<Vec<f32>, RuntimeError> {
    let positions = scored_positions(window.len());
    let mut cache = decoder.cache(1, window.len());
    decoder.forward(matrices, window, &mut cache, positions, Arithmetic::Kernels)
}

/// The order in which plans share the longest beginnings with their neighbours: by the precisions
/// of the layers in the order in which they are computed. Returns positions in `plans`.
pub fn order_for_reuse(plans: &[Plan]) -> Vec<usize> {
    let mut order = (0..plans.len()).collect::<Vec<_>>();
    order.sort_by_key(|&index| plans[index].precisions());
    order
}

fn scored_positions(context: usize) -> Positions {
    let scored = ScoredPositions::of(context);
    Positions::Range {
        first: scored.first,
        count: scored.count,
    }
}

/// The token that follows each scored position.
fn targets(windows: &[Vec<u32>]) -> Vec<u32> {
    let following = |window: &Vec<u32>| {
        let scored = ScoredPositions::of(window.len());
        window[scored.first + 1..][..scored.count].to_vec()
    };
    windows.iter().flat_map(following).collect()
}
