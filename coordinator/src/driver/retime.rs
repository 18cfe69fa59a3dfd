//! A time that the strategy's model contradicts is measured once more: a device that was busy for a
//! second must not decide what is proposed and shown.
//!
//! What was asked for is a row of the store, so a restart asks for nothing twice.

use bitfront_search::Doubt;

use crate::store::{Binding, RetimingStanding, StoreError, StoredRetiming, StoredSearch};
use crate::world::World;

/// Evaluations for every second timing: a model that is wrong doubts much, and must not spend more
/// than a tenth of a budget on it.
const EVALUATIONS: usize = 10;

/// Has the candidate that is doubted most timed once more, one after the other: a gross error of a
/// few values draws others into doubt, which are believed again once it is retold. Says whether one
/// is under way.
pub(super) async fn retime(
    world: &World,
    stored: &StoredSearch,
    binding: &Binding,
    doubts: &[Doubt],
    evaluated: u64,
) -> Result<bool, StoreError> {
    let known = world.store.retimings(stored.id).await?;
    let is_pending = |one: &StoredRetiming| one.standing == RetimingStanding::Pending;
    if known.iter().any(is_pending) {
        return Ok(true);
    }
    let Some(candidate) = choose(doubts, &known, evaluated) else {
        return Ok(false);
    };
    let profile = binding.hardware_profile;
    let queued = world.store.retime(stored.id, &[candidate], profile).await?;
    if queued {
        world.wakeups.work();
    }
    Ok(queued)
}

/// Of what is doubted and was not timed twice, what lies farthest from what is believed, as far as
/// one second timing for ten evaluations goes. What was cancelled is asked for again and counted
/// once.
fn choose(doubts: &[Doubt], known: &[StoredRetiming], evaluated: u64) -> Option<i64> {
    let is_within = known.len() < evaluated as usize / EVALUATIONS;
    let may_be_asked = |doubt: &&Doubt| {
        let mut known = known.iter();
        match known.find(|one| one.candidate == doubt.candidate.cast_signed()) {
            Some(known) => known.standing == RetimingStanding::Cancelled,
            None => is_within,
        }
    };
    let farthest = doubts
        .iter()
        .filter(may_be_asked)
        .max_by(|left, right| left.deviations.total_cmp(&right.deviations));
    farthest.map(|doubt| doubt.candidate.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(candidate: u64, deviations: f64) -> Doubt {
        Doubt {
            candidate,
            figure: 1,
            deviations,
        }
    }

    #[test]
    fn the_farthest_is_timed_again_as_far_as_a_tenth_of_the_evaluations_goes() {
        let doubts = [doubt(1, 4.0), doubt(2, 9.0), doubt(3, 6.0), doubt(4, 3.5)];
        assert_eq!(choose(&doubts, &[], 9), None);
        assert_eq!(choose(&doubts, &[], 10), Some(2));
        let known = |candidate, standing| StoredRetiming {
            candidate,
            standing,
        };
        let rows = [
            // Whatever came of it, twice is enough.
            (known(2, RetimingStanding::Ended), 10, None),
            (known(2, RetimingStanding::Ended), 20, Some(3)),
            (known(2, RetimingStanding::Cancelled), 10, Some(2)),
            // What is no longer doubted counts all the same.
            (known(7, RetimingStanding::Ended), 10, None),
            (known(7, RetimingStanding::Ended), 20, Some(2)),
        ];
        for (known, evaluated, expected) in rows {
            let found = choose(&doubts, &[known], evaluated);
            assert_eq!(found, expected, "{known:?} {evaluated}");
        }
    }
}
