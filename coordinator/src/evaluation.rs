//! From measurements to what a strategy is told and a front is made of.

use std::collections::HashMap;

use bitfront_model::{Limits, Objective};
use bitfront_search::event::Evaluation;
use bitfront_search::growth::Growth;

use crate::store::{Score, ScoreOutcome, StoredCandidate};

/// The least KL divergence that is told apart from none. Below this lies the rounding of the
/// measurement itself.
const LEAST_KLD: f64 = 1e-6;

/// The least mismatch that is told apart from none: one position in a hundred thousand, of which a
/// text has fewer.
const LEAST_MISMATCH: f64 = 1e-5;

/// A figure on the scale on which distances between plans count, and on which strategies are told
/// it: the loss spans orders of magnitude between eight bits and two, so its logarithm. A mismatch
/// grows like the size of what is added to the logits, and the divergence like its square, which is
/// what adds up over the layers: so the logarithm of the mismatch's square. The order of plans is
/// the same.
pub(crate) fn scaled(figure: Objective, value: f64) -> f64 {
    match figure {
        Objective::Kld => value.max(LEAST_KLD).ln(),
        Objective::Mismatch => 2.0 * value.max(LEAST_MISMATCH).ln(),
        Objective::Decode | Objective::Prefill | Objective::Size => value,
    }
}

/// The figure that is [`scaled`] so.
pub(crate) fn unscaled(figure: Objective, told: f64) -> f64 {
    match figure {
        Objective::Kld => told.exp(),
        Objective::Mismatch => (told / 2.0).exp(),
        Objective::Decode | Objective::Prefill | Objective::Size => told,
    }
}

/// A deviation of the figure that is [`scaled`], given as it is told: of the figure's logarithm
/// where that is what is told, or its double.
pub(crate) fn unscaled_deviation(figure: Objective, told: f64) -> f64 {
    match figure {
        Objective::Mismatch => told / 2.0,
        Objective::Kld | Objective::Decode | Objective::Prefill | Objective::Size => told,
    }
}

/// A point of such figures on the scale of [`scaled`].
pub(crate) fn scaled_point(objectives: &[Objective], point: &[f64]) -> Vec<f64> {
    let pairs = objectives.iter().zip(point);
    pairs
        .map(|(&figure, &value)| scaled(figure, value))
        .collect()
}

/// The greatest value of a figure that may be shipped.
pub(crate) fn limit_of(limits: &Limits, figure: Objective) -> Option<f64> {
    match figure {
        Objective::Kld => limits.max_kld,
        Objective::Decode => limits.max_decode.map(|time| time.as_nanos() as f64),
        Objective::Prefill => None,
        Objective::Size => limits.max_size_bytes.map(|bytes| bytes as f64),
        Objective::Mismatch => limits.max_mismatch(),
    }
}

/// The figures that bear a limit and are no objectives, with their limits, in a fixed order.
pub(crate) fn limited<'a>(
    objectives: &'a [Objective],
    limits: &'a Limits,
) -> impl Iterator<Item = (Objective, f64)> + use<'a> {
    let others = Objective::ALL
        .into_iter()
        .filter(|figure| !objectives.contains(figure));
    others.filter_map(|figure| Some((figure, limit_of(limits, figure)?)))
}

/// What is known of one candidate, by the figures that a search steers by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    pub(crate) size_bytes: u64,
    pub(crate) kld: Option<f64>,
    /// Measured with the divergence.
    pub(crate) mismatch: Option<f64>,
    pub(crate) decode_ns: Option<f64>,
    pub(crate) prefill_ns: Option<f64>,
    /// Why the candidate cannot be executed.
    pub(crate) infeasible: Option<String>,
    /// Nobody managed to measure it.
    pub(crate) abandoned: bool,
    /// Every layer executed in the precision that was asked for.
    pub(crate) as_planned: bool,
    /// The divergence is what some windows let expect of all: scoring stopped, since the candidate
    /// is dominated.
    pub(crate) stopped: bool,
}

/// What is known of candidates by their scores, in the order of the candidates. Scores of others
/// are passed over.
pub(crate) fn figures(candidates: &[StoredCandidate], scores: &[Score]) -> Vec<Figures> {
    let mut figures: Vec<_> = candidates.iter().map(Figures::of).collect();
    let positions = positions(candidates);
    for score in scores {
        if let Some(&position) = positions.get(&score.candidate) {
            figures[position].add(score);
        }
    }
    figures
}

fn positions(candidates: &[StoredCandidate]) -> HashMap<i64, usize> {
    let places = candidates.iter().enumerate();
    places
        .map(|(position, candidate)| (candidate.id, position))
        .collect()
}

/// How the front grew by the figures that each evaluation became complete with, in the order in
/// which they did, as it grew for the rules by which the search stopped: a second timing counts for
/// neither. None where a reference point does not fit the figures.
pub(crate) fn growth(
    objectives: &[Objective],
    reference: &[f64],
    candidates: &[StoredCandidate],
    scores: &[Score],
) -> Option<Growth> {
    let mut figures: Vec<_> = candidates.iter().map(Figures::of).collect();
    let positions = positions(candidates);
    let (mut baselines, mut others) = (Vec::new(), Vec::new());
    for score in scores {
        let Some(&position) = positions.get(&score.candidate) else {
            continue;
        };
        let figures = &mut figures[position];
        if figures.is_complete() {
            continue;
        }
        figures.add(score);
        if figures.is_complete() {
            let point = figures.scaled_point(objectives);
            match candidates[position].baseline {
                Some(_) => baselines.extend(point),
                None => others.push(point),
            }
        }
    }
    let mut growth = Growth::new(scaled_point(objectives, reference), &baselines).ok()?;
    for point in &others {
        growth.add(point.as_deref());
    }
    Some(growth)
}

impl Figures {
    /// What is known before anything is measured.
    pub(crate) fn of(candidate: &StoredCandidate) -> Self {
        Self::of_size(candidate.size_bytes)
    }

    /// The same of a plan of so many bytes.
    pub(crate) fn of_size(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            kld: None,
            mismatch: None,
            decode_ns: None,
            prefill_ns: None,
            infeasible: None,
            abandoned: false,
            as_planned: true,
            stopped: false,
        }
    }

    /// Takes a measurement in. A later timing counts in place of an earlier one.
    pub(crate) fn add(&mut self, score: &Score) {
        self.as_planned &= score.executed_as_planned;
        match &score.outcome {
            ScoreOutcome::Quality {
                kld,
                mismatch,
                stopped,
            } => {
                self.kld = Some(*kld);
                self.mismatch = Some(*mismatch);
                self.stopped = *stopped;
            }
            ScoreOutcome::Latency {
                decode_ns,
                prefill_ns,
            } => {
                self.decode_ns = Some(*decode_ns);
                self.prefill_ns = Some(*prefill_ns);
            }
            ScoreOutcome::Infeasible { reason, abandoned } => {
                self.infeasible = Some(reason.clone());
                self.abandoned = *abandoned;
            }
        }
    }

    /// Nothing more is to come that could change what the candidate is worth.
    pub(crate) fn is_complete(&self) -> bool {
        self.infeasible.is_some()
            || (self.kld.is_some() && self.decode_ns.is_some() && self.prefill_ns.is_some())
    }

    /// One figure.
    pub(crate) fn figure(&self, objective: Objective) -> Option<f64> {
        match objective {
            Objective::Kld => self.kld,
            Objective::Decode => self.decode_ns,
            Objective::Prefill => self.prefill_ns,
            Objective::Size => Some(self.size_bytes as f64),
            Objective::Mismatch => self.mismatch,
        }
    }

    /// One figure on the scale of [`scaled`].
    pub(crate) fn scaled(&self, figure: Objective) -> Option<f64> {
        Some(scaled(figure, self.figure(figure)?))
    }

    /// Its figures are the plan's. Figures of something else than the plan say nothing about the
    /// plan.
    fn is_measured(&self) -> bool {
        self.is_complete() && self.infeasible.is_none() && self.as_planned
    }

    /// The figures that are made small, of a candidate that may enter a front: measured as planned,
    /// and over all windows.
    pub(crate) fn point(&self, objectives: &[Objective]) -> Option<Vec<f64>> {
        if !self.is_measured() || self.stopped {
            return None;
        }
        self.told(objectives, Self::figure)
    }

    /// [`Self::point`] on the scale of [`scaled`].
    pub(crate) fn scaled_point(&self, objectives: &[Objective]) -> Option<Vec<f64>> {
        Some(scaled_point(objectives, &self.point(objectives)?))
    }

    fn told(
        &self,
        objectives: &[Objective],
        figure: impl Fn(&Self, Objective) -> Option<f64>,
    ) -> Option<Vec<f64>> {
        objectives
            .iter()
            .map(|&objective| figure(self, objective))
            .collect()
    }

    /// By how much the limits are broken: the sum over the limits of the share by which a figure
    /// exceeds its limit. A figure that is not known breaks nothing.
    pub(crate) fn violation(&self, limits: &Limits) -> f64 {
        Objective::ALL
            .into_iter()
            .filter_map(|figure| {
                let (figure, limit) = (self.figure(figure)?, limit_of(limits, figure)?);
                Some((figure / limit - 1.0).max(0.0))
            })
            .sum()
    }

    /// What the strategy is told; none while something is missing. A candidate whose scoring
    /// stopped counts as what is expected of it, which its rival dominates: a model learns from it
    /// as from any other.
    pub(crate) fn evaluation(
        &self,
        objectives: &[Objective],
        limits: &Limits,
    ) -> Option<Evaluation> {
        if !self.is_complete() {
            return None;
        }
        let told = self.told(objectives, Self::scaled);
        let limited = limited(objectives, limits).filter_map(|(figure, _)| self.scaled(figure));
        Some(match told.filter(|_| self.is_measured()) {
            Some(objectives) => Evaluation::Measured {
                objectives,
                limited: limited.collect(),
                violation: self.violation(limits),
            },
            None => Evaluation::Infeasible,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
