//! The figures that are published once a search is done: those that were measured afresh.
//!
//! Qualities on the held-back windows and on the scored ones are figures of different texts, so
//! confirmed points are compared with each other and with nothing else.

use std::collections::{HashMap, HashSet};

use bitfront_model::{Confirmation, Figure, FrontPoint, Latency, Quality};
use bitfront_search::front::non_dominated;

use super::{Standing, rescoring};
use crate::evaluation::Figures;
use crate::store::{ScoreOutcome, StoredConfirmation, StoredSearch};

/// Standard errors on either side of a mean that hold it with 95 %.
const NORMAL_95: f64 = 1.96;

/// What was measured afresh, by position in the standing.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    /// The front by the search's own figures, where another one is published.
    searched_front: Option<Vec<usize>>,
    /// The search's own figures by position, where fresh ones stand in their place.
    searched_figures: HashMap<usize, Figures>,
    positions: HashSet<usize>,
    /// Why there are no fresh figures.
    failed: HashMap<usize, String>,
}

impl Confirmed {
    /// The published figures of a candidate are fresh ones.
    pub(super) fn contains(&self, position: usize) -> bool {
        self.positions.contains(&position)
    }

    /// Why confirming a candidate failed.
    pub(super) fn failure(&self, position: usize) -> Option<&String> {
        self.failed.get(&position)
    }
}

impl Standing {
    /// Puts fresh figures in the place of the search's own, and makes the front of them.
    pub(super) fn publish(&mut self, search: &StoredSearch, confirmations: &[StoredConfirmation]) {
        let request = &search.request;
        let mut by_candidate: HashMap<i64, Vec<&StoredConfirmation>> = HashMap::new();
        for confirmation in confirmations {
            let of_candidate = by_candidate.entry(confirmation.candidate);
            of_candidate.or_default().push(confirmation);
        }
        let mut confirmed = Confirmed::default();
        let (mut positions, mut points) = (Vec::new(), Vec::new());
        for (position, candidate) in self.candidates.iter().enumerate() {
            let Some(confirmations) = by_candidate.get(&candidate.id) else {
                continue;
            };
            let mut fresh = Figures::of(candidate);
            if request.subject.data.held_back.is_none() {
                fresh.kld = self.figures[position].kld;
                fresh.mismatch = self.figures[position].mismatch;
            }
            for score in confirmations.iter().filter_map(|one| one.score.as_ref()) {
                fresh.add(score);
                if let ScoreOutcome::Infeasible { reason, .. } = &score.outcome {
                    confirmed.failed.insert(position, reason.clone());
                }
            }
            if let Some(point) = fresh.point(&request.objectives) {
                let searched = std::mem::replace(&mut self.figures[position], fresh);
                confirmed.searched_figures.insert(position, searched);
                confirmed.positions.insert(position);
                positions.push(position);
                points.push(point);
            }
        }
        if !positions.is_empty() {
            let places = non_dominated(&points);
            let front = places.iter().map(|&place| positions[place]).collect();
            confirmed.searched_front = Some(std::mem::replace(&mut self.front, front));
            self.eligible = positions;
        }
        self.confirmed = confirmed;
    }

    /// The search's own figures: those of all candidates are of the same windows.
    pub(super) fn searched(&self, position: usize) -> &Figures {
        let searched = self.confirmed.searched_figures.get(&position);
        searched.unwrap_or(&self.figures[position])
    }

    /// On the front by the search's own figures.
    pub(super) fn was_on_front(&self, position: usize) -> bool {
        let searched = self.confirmed.searched_front.as_ref();
        searched.unwrap_or(&self.front).contains(&position)
    }
}

/// The figures of one purpose.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) quality: Option<Figure<Quality>>,
    pub(super) latency: Option<Figure<Vec<Latency>>>,
}

/// The figures to publish and what they replace.
pub(super) fn replace(searched: Measured, fresh: Measured) -> (Measured, Confirmation) {
    let rescoring = match (&fresh.quality, &searched.quality) {
        (Some(fresh), Some(searched)) => rescoring::compare(&fresh.value, &searched.value),
        _ => None,
    };
    // Without windows to confirm it on, the search's own quality stands.
    let (quality, searched_quality) = match fresh.quality {
        Some(quality) => (Some(quality), searched.quality),
        None => (searched.quality, None),
    };
    let published = Measured {
        quality,
        latency: fresh.latency,
    };
    let confirmation = Confirmation {
        searched_quality,
        searched_latency: searched.latency,
        differs: false,
        repeatability: Vec::new(),
        rescoring,
    };
    (published, confirmation)
}

/// Marks the points whose quality lies apart from the search's own beyond the intervals of both.
///
/// Held-back windows may be easier or harder than the scored ones for every plan alike. What the
/// confirmed points changed by in the median is the text's and marks nobody.
pub(super) fn mark_qualities(points: &mut [FrontPoint]) {
    let pair = |point: &FrontPoint| {
        let searched = point.confirmation.as_ref()?.searched_quality.as_ref()?;
        let (fresh, searched) = (&point.quality.as_ref()?.value, &searched.value);
        (searched.kld > 0.0).then(|| (fresh.kld / searched.kld, fresh.clone(), searched.clone()))
    };
    let mut changes: Vec<_> = points.iter().filter_map(pair).map(|it| it.0).collect();
    changes.sort_by(f64::total_cmp);
    let Some(&usual) = changes.get(changes.len() / 2) else {
        return;
    };
    for point in points {
        let Some((_, fresh, searched)) = pair(point) else {
            continue;
        };
        let (low, high) = kld_interval(&searched);
        let apart = apart(kld_interval(&fresh), (low * usual, high * usual));
        if let Some(confirmation) = &mut point.confirmation {
            confirmation.differs |= apart;
        }
    }
}

fn kld_interval(quality: &Quality) -> (f64, f64) {
    let half = NORMAL_95 * quality.kld_standard_error;
    (quality.kld - half, quality.kld + half)
}

/// Two ranges do not overlap.
pub(super) fn apart(one: (f64, f64), other: (f64, f64)) -> bool {
    one.1 < other.0 || other.1 < one.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests;
