//! Whether a search has found what its user may ship: a plan that keeps all the limits, whatever
//! the noise.

use bitfront_model::{Limits, Outcome, Quality, TaskPurpose};

use crate::store::{StoreError, StoredMeasurement, StoredSearch};
use crate::student::{upper_kld, upper_mismatch};
use crate::world::World;

/// The first plan that keeps the limits, and how far the search has been looked through for it.
#[derive(Debug, Default)]
pub(super) struct Within {
    /// Evaluations looked at.
    looked: usize,
    /// Evaluations before the first that keeps the limits, and its candidate.
    found: Option<(usize, i64)>,
}

impl Within {
    /// Looks on through the candidates in the order of their evaluation, each with whether it keeps
    /// the limits by its means. Whole measurements are read of those alone, until one is found.
    pub(super) async fn look(
        &mut self,
        world: &World,
        stored: &StoredSearch,
        order: impl Iterator<Item = (i64, bool)>,
    ) -> Result<(), StoreError> {
        if self.found.is_some() {
            return Ok(());
        }
        for (candidate, keeps) in order.skip(self.looked) {
            if keeps {
                let known = world.store.measurements(stored.id, Some(candidate)).await?;
                if keeps_surely(&known, &stored.request.limits) {
                    self.found = Some((self.looked, candidate));
                    return Ok(());
                }
            }
            self.looked += 1;
        }
        Ok(())
    }

    /// The candidate, unless it was among the first so many evaluations: a search that is given
    /// more budget is meant to find more.
    pub(super) fn found_after(&self, evaluated: u64) -> Option<u64> {
        self.found
            .filter(|(before, _)| *before as u64 >= evaluated)
            .map(|(_, candidate)| candidate.unsigned_abs())
    }
}

/// Whether the search's own figures keep the limits at the far end of their intervals too.
fn keeps_surely(measurements: &[StoredMeasurement], limits: &Limits) -> bool {
    let searched = measurements
        .iter()
        .filter(|one| one.purpose == TaskPurpose::Search);
    searched
        .map(|one| &one.measurement.outcome)
        .all(|outcome| match outcome {
            Outcome::Quality(quality) => loses_surely_little(quality, limits),
            Outcome::Latency { workloads } => workloads
                .iter()
                .filter(|latency| latency.workload.is_decode())
                .all(|latency| {
                    let most = limits.max_decode.map(|most| most.as_nanos() as f64);
                    most.is_none_or(|most| latency.interval.high <= most)
                }),
            Outcome::Infeasible { .. } => false,
        })
}

fn loses_surely_little(quality: &Quality, limits: &Limits) -> bool {
    let max_mismatch = limits.max_mismatch();
    limits.max_kld.is_none_or(|most| upper_kld(quality) <= most)
        && max_mismatch.is_none_or(|most| upper_mismatch(quality) <= most)
}
