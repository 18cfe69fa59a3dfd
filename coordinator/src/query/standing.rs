//! The candidates of one search beside each other: front, knee, hypervolume.

use bitfront_model::{Limits, Objective, SearchState};
use bitfront_search::front::{knee, non_dominated};
use bitfront_search::hypervolume::hypervolume;

use super::confirmation::Confirmed;
use crate::error::ServiceError;
use crate::evaluation::{self, Figures};
use crate::store::{StoredCandidate, StoredSearch};
use crate::world::World;

/// The candidates of one search beside each other. Positions are those of `candidates`.
pub(super) struct Standing {
    pub(super) candidates: Vec<StoredCandidate>,
    pub(super) figures: Vec<Figures>,
    /// Those that may enter a front, ascending.
    pub(super) eligible: Vec<usize>,
    /// Those that nothing dominates by the means alone, ascending: what the search steers by.
    pub(super) front: Vec<usize>,
    /// Of the front by the search's own figures.
    pub(super) hypervolume: Option<f64>,
    /// What was measured afresh; nothing until the search is done.
    pub(super) confirmed: Confirmed,
}

impl Standing {
    /// Reads the candidates and their figures.
    pub(super) async fn of(world: &World, search: &StoredSearch) -> Result<Self, ServiceError> {
        // Measurements first: one whose candidate is not known would be a contradiction.
        let scores = world.store.scores(search.id, 0).await?;
        let candidates = world.store.candidates(search.id, 0).await?;
        let figures = evaluation::figures(&candidates, &scores);
        let mut standing = Self::from(search, candidates, figures);
        if search.state == SearchState::Done {
            let confirmations = world.store.confirmations(search.id).await?;
            standing.publish(search, &confirmations);
        }
        Ok(standing)
    }

    fn from(
        search: &StoredSearch,
        candidates: Vec<StoredCandidate>,
        figures: Vec<Figures>,
    ) -> Self {
        let objectives = &search.request.objectives;
        let (positions, points): (Vec<_>, Vec<_>) = figures
            .iter()
            .enumerate()
            .filter_map(|(position, figures)| Some((position, figures.point(objectives)?)))
            .unzip();
        let places = non_dominated(&points);
        let front: Vec<_> = places.iter().map(|&place| positions[place]).collect();
        // A reference point that does not fit the points is one that another version stored; the
        // figure is left out then.
        let hypervolume = search.reference_point.as_ref().and_then(|reference| {
            let front: Vec<_> = places.iter().map(|&place| &points[place]).collect();
            hypervolume(&front, reference).ok()
        });
        Self {
            candidates,
            figures,
            eligible: positions,
            front,
            hypervolume,
            confirmed: Confirmed::default(),
        }
    }

    /// The hypervolume of what nothing dominates by the search's own figures, against any point;
    /// none where it does not fit.
    pub(super) fn hypervolume_against(
        &self,
        objectives: &[Objective],
        reference: &[f64],
    ) -> Option<f64> {
        let positions = 0..self.candidates.len();
        let points = positions.filter_map(|position| self.searched(position).point(objectives));
        hypervolume(&points.collect::<Vec<_>>(), reference).ok()
    }

    /// Candidates whose evaluation is complete.
    pub(super) fn evaluated(&self) -> u64 {
        self.figures
            .iter()
            .filter(|figures| figures.is_complete())
            .count() as u64
    }

    /// Candidates that cannot be executed.
    pub(super) fn infeasible(&self) -> u64 {
        self.figures
            .iter()
            .filter(|figures| figures.infeasible.is_some())
            .count() as u64
    }

    /// It is measured and keeps the limits.
    pub(super) fn is_within(&self, position: usize, limits: &Limits) -> bool {
        let figures = &self.figures[position];
        figures.is_complete() && figures.infeasible.is_none() && figures.violation(limits) == 0.0
    }

    /// The knee of the part of a front that keeps the limits, or of all of it where none does.
    pub(super) fn knee(
        &self,
        front: &[usize],
        objectives: &[Objective],
        limits: &Limits,
    ) -> Option<usize> {
        let within: Vec<_> = front
            .iter()
            .copied()
            .filter(|&position| self.is_within(position, limits))
            .collect();
        let eligible = if within.is_empty() { front } else { &within };
        let points: Vec<Vec<f64>> = eligible
            .iter()
            .map(|&position| {
                let value = |&objective: &Objective| {
                    self.figures[position].scaled(objective).unwrap_or(f64::NAN)
                };
                objectives.iter().map(value).collect()
            })
            .collect();
        knee(&points).map(|place| eligible[place])
    }
}
