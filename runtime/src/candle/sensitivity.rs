//! What each layer loses alone, from the last layer to the first.

use bitfront_model::{
    ModelSpec, Plan, PlanError, Precision, SensitivityQuestion, Swap, SwapResult, TaskPurpose,
};

use super::scoring::Scoring;
use super::{Arithmetic, CandleRuntime};
use crate::RuntimeError;

impl CandleRuntime {
    /// Scores every swap of a question, whose subject is open; in the order of
    /// [`SensitivityQuestion::swaps`].
    pub(super) fn score_swaps(
        &mut self,
        question: &SensitivityQuestion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Swap>, RuntimeError> {
        // What keeps the source itself from being held says nothing about any swap.
        self.assemble(&source(question, self.spec()?)?)?;
        swaps(question, progress, |plan, places| {
            self.score_on(plan, places)
        })
    }

    /// The divergence of a plan in each of some windows of the search's text.
    fn score_on(&mut self, plan: &Plan, places: &[usize]) -> Result<Vec<f64>, RuntimeError> {
        let assembly = self.assemble(plan)?;
        refuse_unlike(plan, &assembly.executed, self.spec()?)?;
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

/// The plan that all swaps of a question differ from by one layer.
///
/// # Errors
///
/// The question is about another model than the open one.
pub(super) fn source(
    question: &SensitivityQuestion,
    open: &ModelSpec,
) -> Result<Plan, RuntimeError> {
    let layers = open.layers.len();
    if question.spec.layers.len() != layers {
        return Err(RuntimeError::OtherPlan {
            expected: layers,
            found: question.spec.layers.len(),
        });
    }
    Plan::source(&question.spec).map_err(impossible)
}

/// Scores every swap of a question by `score`, which gives the divergence of a plan in each of the
/// windows that it is told the places of; in the order of [`SensitivityQuestion::swaps`].
///
/// They are taken from the last layer to the first: a swap shares all parts of the model before
/// its layer with the source, whose hidden states the first of them may have left behind, so that
/// each reads about half of the model.
pub(super) fn swaps(
    question: &SensitivityQuestion,
    progress: &mut dyn FnMut(&str),
    mut score: impl FnMut(&Plan, &[usize]) -> Result<Vec<f64>, RuntimeError>,
) -> Result<Vec<Swap>, RuntimeError> {
    let places = question.places();
    let asked: Vec<_> = question.swaps().collect();
    progress(&format!(
        "scoring {} swaps of {} layers on {} windows each",
        asked.len(),
        question.spec.layers.len(),
        places.len()
    ));
    let mut swaps = Vec::with_capacity(asked.len());
    let mut told = 0;
    for &(layer, precision) in asked.iter().rev() {
        let plan = question.plan((layer, precision)).map_err(impossible)?;
        let result = match score(&plan, &places) {
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

fn impossible(error: PlanError) -> RuntimeError {
    RuntimeError::Engine(error.to_string())
}

/// Refuses a plan of which a layer executes in another precision than was asked for.
pub(super) fn refuse_unlike(
    plan: &Plan,
    executed: &[Precision],
    open: &ModelSpec,
) -> Result<(), RuntimeError> {
    let Some(layer) = unlike(plan.precisions(), executed) else {
        return Ok(());
    };
    Err(RuntimeError::Infeasible {
        reason: format!(
            "layer `{}` executes in {}, not in {}",
            open.layers[layer].name,
            executed[layer],
            plan.precisions()[layer]
        ),
    })
}

/// The first layer that executes in another precision than was asked for.
fn unlike(asked: &[Precision], executed: &[Precision]) -> Option<usize> {
    asked
        .iter()
        .zip(executed)
        .position(|(asked, executed)| asked != executed)
}
