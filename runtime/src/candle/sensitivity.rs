//! What each layer loses alone, from the last layer to the first.

use bitfront_model::{
    Plan, PlanError, Precision, SensitivityQuestion, Swap, SwapResult, TaskPurpose,
};

use super::scoring::Scoring;
use super::{Arithmetic, CandleRuntime};
use crate::RuntimeError;

impl CandleRuntime {
    /// Scores every swap of a question, whose subject is open; in the order of
    /// [`SensitivityQuestion::swaps`].
    ///
    /// They are taken from the last layer to the first: a swap shares all parts of the model before
    /// its layer with the source, whose hidden states the first of them has left behind, so that
    /// each reads about half of the model.
    pub(super) fn score_swaps(
        &mut self,
        question: &SensitivityQuestion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Swap>, RuntimeError> {
        let layers = self.spec()?.layers.len();
        if question.spec.layers.len() != layers {
            return Err(RuntimeError::OtherPlan {
                expected: layers,
                found: question.spec.layers.len(),
            });
        }
        // What keeps the source itself from being held says nothing about any swap.
        let impossible = |error: PlanError| RuntimeError::Engine(error.to_string());
        self.assemble(&Plan::source(&question.spec).map_err(impossible)?)?;
        let places = question.places();
        let asked: Vec<_> = question.swaps().collect();
        progress(&format!(
            "scoring {} swaps of {layers} layers on {} windows each",
            asked.len(),
            places.len()
        ));
        let mut swaps = Vec::with_capacity(asked.len());
        let mut told = 0;
        for &(layer, precision) in asked.iter().rev() {
            let plan = question.plan((layer, precision)).map_err(impossible)?;
            let result = match self.score_on(&plan, &places) {
                Ok(kld_windows) => SwapResult::Scored { kld_windows },
                Err(RuntimeError::Infeasible { reason }) => SwapResult::Infeasible { reason },
                Err(error) => return Err(error),
            };
            swaps.push(Swap {
                layer,
                precision,
                result,
            });
            // A line for every tenth.
            let tenths = swaps.len() * 10 / asked.len();
            if tenths > told {
                told = tenths;
                progress(&format!("scored {} of {} swaps", swaps.len(), asked.len()));
            }
        }
        swaps.reverse();
        Ok(swaps)
    }

    /// The divergence of a plan in each of some windows of the search's text.
    fn score_on(&mut self, plan: &Plan, places: &[usize]) -> Result<Vec<f64>, RuntimeError> {
        let assembly = self.assemble(plan)?;
        if let Some(layer) = unlike(plan.precisions(), &assembly.executed) {
            return Err(RuntimeError::Infeasible {
                reason: format!(
                    "layer `{}` executes in {}, not in {}",
                    self.spec()?.layers[layer].name,
                    assembly.executed[layer],
                    plan.precisions()[layer]
                ),
            });
        }
        let opened = self.opened.as_ref().ok_or(RuntimeError::NotOpen)?;
        let scoring = Scoring {
            opened,
            purpose: TaskPurpose::Search,
            assembly: &assembly,
            arithmetic: Arithmetic::Scoring,
        };
        scoring.score_places(places, &mut self.prefixes)
    }
}

/// The first layer that executes in another precision than was asked for.
fn unlike(asked: &[Precision], executed: &[Precision]) -> Option<usize> {
    asked
        .iter()
        .zip(executed)
        .position(|(asked, executed)| asked != executed)
}
