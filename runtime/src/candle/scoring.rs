//! A plan's way through all windows of the text, from the deepest stored hidden states to its
//! quality.

use bitfront_model::{Digest, Plan, Precision, Quality, Rescored, Rival, TaskPurpose, stages};

use crate::RuntimeError;
use crate::quality::Scorer;
use crate::race::Race;
use crate::reference::{Reference, ScoredPositions};

use super::decoder::Through;
use super::prefixes::{self, PrefixStore};
use super::{Arithmetic, Assembly, Decoder, Matrices, OpenSubject, Positions, batch_windows};

/// A plan that was put together, and the windows that a purpose is served by.
pub(super) struct Scoring<'a> {
    pub(super) opened: &'a OpenSubject,
    pub(super) purpose: TaskPurpose,
    pub(super) assembly: &'a Assembly,
    pub(super) arithmetic: Arithmetic,
}

impl Scoring<'_> {
    /// Scores stage after stage, all of them or until it is decided that the plan comes out no
    /// better than its rival.
    pub(super) fn score(
        &self,
        rival: Option<&Rival>,
        prefixes: &mut PrefixStore,
    ) -> Result<Quality, RuntimeError> {
        let (windows, reference) = self.opened.scored(self.purpose)?;
        in_stages((windows.len(), reference), rival, |stage, scorer| {
            self.score_stage(stage, windows, scorer, prefixes)
        })
    }

    /// Scores windows of the search's own text once more, read from their beginning: states that
    /// this device has kept are what it computed before, and would vouch for themselves.
    pub(super) fn rescore(&self) -> Result<Vec<Rescored>, RuntimeError> {
        let searched = Self {
            purpose: TaskPurpose::Search,
            ..*self
        };
        let (windows, _) = self.opened.scored(searched.purpose)?;
        rescored(windows.len(), |places| {
            searched.score_places(places, &mut PrefixStore::new(0))
        })
    }

    /// The divergence of each of some windows of the search's text, named by their places.
    pub(super) fn score_places(
        &self,
        places: &[usize],
        prefixes: &mut PrefixStore,
    ) -> Result<Vec<f64>, RuntimeError> {
        let (windows, reference) = self.opened.scored(self.purpose)?;
        let mut scorer = Scorer::new(reference);
        self.score_stage(places, windows, &mut scorer, prefixes)?;
        Ok(scorer.kld_windows())
    }

    /// Scores the windows of one stage, named by their places in the text, from the deepest hidden
    /// states that an earlier plan has left of them.
    fn score_stage(
        &self,
        stage: &[usize],
        windows: &[Vec<u32>],
        scorer: &mut Scorer<'_>,
        prefixes: &mut PrefixStore,
    ) -> Result<(), RuntimeError> {
        let context = windows.first().map_or(0, Vec::len);
        let (batch, decoder) = (batch_windows(context), self.opened.decoder());
        // The purpose and the stage decide which windows of the subject are read.
        let text = Digest::builder()
            .part(self.opened.digest().to_string())
            .part(self.purpose.to_string())
            .part(format!("{stage:?}"))
            .finish();
        let keys = prefixes::keys(text, decoder, &self.assembly.executed, self.arithmetic);
        let states = stage.len() * context * decoder.hidden_size();
        let mut way = prefixes.begin(keys, states as u64 * 4);
        let start = way.start();
        let mut cache = decoder.cache(batch, context);
        for (index, places) in stage.chunks(batch).enumerate() {
            if places.len() != cache.sequences() {
                cache = decoder.cache(places.len(), context);
            }
            let batch_of = places.iter().map(|&place| windows[place].as_slice());
            let batch_of = batch_of.collect::<Vec<_>>();
            let after = start.as_ref();
            let through = Through {
                after: after.map(|(parts, batches)| (*parts, batches[index].as_slice())),
                keep: Some(&mut |parts, states| way.keep(parts, states)),
            };
            let logits = decoder.forward_through(
                &self.assembly.matrices,
                &batch_of.concat(),
                &mut cache,
                scored_positions(context),
                self.arithmetic,
                through,
            )?;
            match scorer.add(places, &logits, &targets(&batch_of)) {
                Err(error @ RuntimeError::NotFinite { window, .. }) => {
                    let first = self.first_not_finite(&windows[window])?;
                    return Err(not_finite(
                        &error,
                        first,
                        self.opened,
                        &self.assembly.executed,
                    ));
                }
                scored => scored?,
            }
        }
        prefixes.finish(way);
        Ok(())
    }

    /// Reads a window once more and says which layer is the first to give values that are not
    /// finite.
    fn first_not_finite(&self, window: &[u32]) -> Result<Option<usize>, RuntimeError> {
        let (decoder, matrices) = (self.opened.decoder(), &self.assembly.matrices);
        let mut cache = decoder.cache(1, window.len());
        decoder.first_not_finite(matrices, window, &mut cache, self.arithmetic)
    }
}

/// Scores as many windows as `windows` and `reference` have, stage after stage, all of them or
/// until it is decided that the plan comes out no better than its rival; `score` scores the windows
/// of one stage, named by their places in the text.
pub(super) fn in_stages(
    (windows, reference): (usize, &Reference),
    rival: Option<&Rival>,
    mut score: impl FnMut(&[usize], &mut Scorer<'_>) -> Result<(), RuntimeError>,
) -> Result<Quality, RuntimeError> {
    let race = rival.map(|rival| Race::new(rival, windows));
    let race = race.transpose()?;
    let mut scorer = Scorer::new(reference);
    let order = stages::order(windows);
    let mut begin = 0;
    for end in stages::ends(windows) {
        score(&order[begin..end], &mut scorer)?;
        begin = end;
        if end < windows
            && let Some(race) = &race
            && let Some(expected) = race.decided(&scorer.kld_windows())
        {
            return Ok(scorer.stop(expected));
        }
    }
    scorer.finish()
}

/// What a confirmation scores once more of a search's `windows` windows; `score` gives the
/// divergences of those that it is told the places of.
pub(super) fn rescored(
    windows: usize,
    score: impl FnOnce(&[usize]) -> Result<Vec<f64>, RuntimeError>,
) -> Result<Vec<Rescored>, RuntimeError> {
    let mut places = stages::order(windows);
    places.truncate(Rescored::most(windows));
    let klds = score(&places)?;
    let rescored = places.into_iter().zip(klds);
    Ok(rescored
        .map(|(place, kld)| Rescored {
            window: place as u64,
            kld,
        })
        .collect())
}

/// A plan with values that are not finite cannot be executed; `first` is the layer that gives the
/// first of them.
pub(super) fn not_finite(
    error: &RuntimeError,
    first: Option<usize>,
    opened: &OpenSubject,
    executed: &[Precision],
) -> RuntimeError {
    let place = match first {
        Some(layer) => format!(
            "the first layer that does is `{}` in {}",
            opened.source().spec().layers[layer].name,
            executed[layer]
        ),
        None => "every layer's own values are finite, but too large to compare".to_owned(),
    };
    RuntimeError::Infeasible {
        reason: format!("{error}; {place}"),
    }
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

pub(super) fn scored_positions(context: usize) -> Positions {
    let scored = ScoredPositions::of(context);
    Positions::Range {
        first: scored.first,
        count: scored.count,
    }
}

/// The token that follows each scored position.
pub(super) fn targets(windows: &[&[u32]]) -> Vec<u32> {
    let following = |window: &&[u32]| {
        let scored = ScoredPositions::of(window.len());
        window[scored.first + 1..][..scored.count].to_vec()
    };
    windows.iter().flat_map(following).collect()
}
