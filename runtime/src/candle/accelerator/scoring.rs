//! A plan's way through all windows of the text on an accelerator.

use bitfront_model::{Quality, Rescored, Rival, TaskPurpose};

use crate::RuntimeError;
use crate::candle::scoring::{in_stages, not_finite, rescored, scored_positions, targets};
use crate::candle::{Assembly, OpenSubject, batch_windows};
use crate::quality::Scorer;

use super::{DeviceDecoder, DeviceMatrices};

/// A plan that was put together, and the windows that a purpose is served by.
///
/// Every plan is computed whole: a device that reads a window in a fraction of the processor's time
/// has the less to gain from kept hidden states, and its memory is for weights.
pub(super) struct Scoring<'a> {
    pub(super) opened: &'a OpenSubject,
    pub(super) decoder: &'a DeviceDecoder,
    pub(super) purpose: TaskPurpose,
    pub(super) assembly: &'a Assembly<DeviceMatrices>,
}

impl Scoring<'_> {
    /// Scores stage after stage, all of them or until it is decided that the plan comes out no
    /// better than its rival.
    pub(super) fn score(&self, rival: Option<&Rival>) -> Result<Quality, RuntimeError> {
        let (windows, reference) = self.opened.scored(self.purpose)?;
        in_stages((windows.len(), reference), rival, |stage, scorer| {
            self.score_stage(stage, windows, scorer)
        })
    }

    /// Scores windows of the search's own text once more.
    pub(super) fn rescore(&self) -> Result<Vec<Rescored>, RuntimeError> {
        let searched = Self {
            purpose: TaskPurpose::Search,
            ..*self
        };
        let (windows, _) = self.opened.scored(searched.purpose)?;
        rescored(windows.len(), |places| searched.score_places(places))
    }

    /// The divergence of each of some windows of the search's text, named by their places.
    pub(super) fn score_places(&self, places: &[usize]) -> Result<Vec<f64>, RuntimeError> {
        let (windows, reference) = self.opened.scored(self.purpose)?;
        let mut scorer = Scorer::new(reference);
        self.score_stage(places, windows, &mut scorer)?;
        Ok(scorer.kld_windows())
    }

    fn score_stage(
        &self,
        stage: &[usize],
        windows: &[Vec<u32>],
        scorer: &mut Scorer<'_>,
    ) -> Result<(), RuntimeError> {
        let context = windows.first().map_or(0, Vec::len);
        let (batch, matrices) = (batch_windows(context), &self.assembly.matrices);
        let mut cache = self.decoder.cache(batch, context)?;
        for places in stage.chunks(batch) {
            if places.len() != cache.sequences() {
                cache = self.decoder.cache(places.len(), context)?;
            }
            cache.reset();
            let read = places.iter().map(|&place| windows[place].as_slice());
            let read = read.collect::<Vec<_>>();
            let positions = scored_positions(context);
            let logits = self
                .decoder
                .forward(matrices, &read.concat(), &mut cache, positions)?;
            match scorer.add(places, &logits, &targets(&read)) {
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
        Ok(())
    }

    /// Reads a window once more and says which layer is the first to give values that are not
    /// finite.
    fn first_not_finite(&self, window: &[u32]) -> Result<Option<usize>, RuntimeError> {
        let mut cache = self.decoder.cache(1, window.len())?;
        self.decoder
            .first_not_finite(&self.assembly.matrices, window, &mut cache)
    }
}
