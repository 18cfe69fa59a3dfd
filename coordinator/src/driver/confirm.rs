//! Once a stop rule says that a search is over, what it found is measured afresh: of many
//! measured plans, those that seem best are in part those that were measured too kindly.

use std::collections::BTreeSet;

use bitfront_model::TaskKind;
use bitfront_search::front::{knee, non_dominated};

use super::replay::Replay;
use crate::store::{
    Binding, NewConfirmation, ScoreOutcome, StoreError, StoredConfirmation, StoredSearch,
};
use crate::world::World;

/// A candidate that is measured whole, by the search's own figures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) candidate: i64,
    pub(super) is_baseline: bool,
    pub(super) keeps_limits: bool,
    pub(super) size_bytes: u64,
    /// The figures that are made small.
    pub(super) point: Vec<f64>,
    /// The same on the scale on which distances count.
    pub(super) scaled: Vec<f64>,
}

/// Has the front and the baselines measured afresh. Says how far that has come; nothing once
/// everything is in.
pub(super) async fn confirm(
    world: &World,
    stored: &StoredSearch,
    binding: &Binding,
    replay: &Replay,
) -> Result<Option<String>, StoreError> {
    let known = world.store.confirmations(stored.id).await?;
    let begun = known.iter().map(|one| one.candidate).collect();
    let chosen = choose(&replay.found(), &begun, world.config.most_confirmed);
    let mut kinds = vec![TaskKind::Latency];
    if stored.request.subject.data.held_back.is_some() {
        kinds.push(TaskKind::Quality);
    }
    // What is published of a device was confirmed on it, quality too, which another device of its
    // numerics class may have measured.
    let target = binding.hardware_profile.to_string();
    let mut missing = Vec::new();
    let mut settled = 0;
    for &candidate in &chosen.candidates {
        let of_candidate = |one: &&StoredConfirmation| one.candidate == candidate;
        let known: Vec<_> = known.iter().filter(of_candidate).collect();
        let has_come = |kind| {
            let is_in = |one: &&StoredConfirmation| one.kind == kind && one.score.is_some();
            known.iter().any(is_in)
        };
        // What came to nothing once will not come out otherwise.
        let failed = known.iter().any(|one| has_failed(one));
        let open: Vec<_> = kinds
            .iter()
            .copied()
            .filter(|&kind| !failed && !has_come(kind))
            .collect();
        if open.is_empty() {
            settled += 1;
        }
        for kind in open {
            if !known.iter().any(|one| one.kind == kind && one.pending) {
                missing.push(NewConfirmation {
                    candidate,
                    kind,
                    target: target.clone(),
                });
            }
        }
    }
    if settled == chosen.candidates.len() {
        return Ok(None);
    }
    if !missing.is_empty() {
        let known = stored.given();
        if world.store.confirm(stored.id, &known, &missing).await? {
            world.wakeups.work();
        }
    }
    let left_out = match chosen.left_out {
        0 => String::new(),
        count => format!(", {count} of the front left out"),
    };
    Ok(Some(format!(
        "confirming the front and the baselines: {settled} of {} points{left_out}",
        chosen.candidates.len()
    )))
}

fn has_failed(confirmation: &StoredConfirmation) -> bool {
    let score = confirmation.score.as_ref();
    score.is_some_and(|score| matches!(score.outcome, ScoreOutcome::Infeasible { .. }))
}

/// What is measured afresh.
#[derive(Debug, PartialEq)]
struct Chosen {
    /// In the order of their importance.
    candidates: Vec<i64>,
    /// Points of the front that are not among them.
    left_out: usize,
}

/// The baselines, with which everything is compared, and of the rest of the front at most `most`
/// points: those that were chosen before, the knee, and then points evenly spread over the sizes,
/// those that keep the limits first.
fn choose(found: &[Found], begun: &BTreeSet<i64>, most: usize) -> Chosen {
    if most == 0 {
        return Chosen {
            candidates: Vec::new(),
            left_out: 0,
        };
    }
    let points: Vec<_> = found.iter().map(|found| &found.point).collect();
    let mut front: Vec<_> = non_dominated(&points)
        .into_iter()
        .map(|position| &found[position])
        .collect();
    front.sort_by_key(|found| (found.size_bytes, found.candidate));
    let (within, beyond): (Vec<_>, Vec<_>) =
        front.iter().partition(|found: &&&Found| found.keeps_limits);
    let knee_of = |part: &[&Found]| {
        let scaled: Vec<_> = part.iter().map(|found| &found.scaled).collect();
        knee(&scaled).map(|place| part[place].candidate)
    };
    let knee = knee_of(if within.is_empty() { &beyond } else { &within });

    let mut of_front: Vec<i64> = Vec::new();
    let is_candidate = |found: &&Found| !found.is_baseline;
    let eligible: Vec<_> = front.iter().copied().filter(is_candidate).collect();
    let earlier = eligible
        .iter()
        .map(|found| found.candidate)
        .filter(|candidate| begun.contains(candidate));
    of_front.extend(earlier);
    if let Some(knee) = knee.filter(|knee| eligible.iter().any(|found| found.candidate == *knee))
        && !of_front.contains(&knee)
        && of_front.len() < most
    {
        of_front.push(knee);
    }
    for part in [within, beyond] {
        let rest: Vec<_> = part
            .into_iter()
            .filter(is_candidate)
            .map(|found| found.candidate)
            .filter(|candidate| !of_front.contains(candidate))
            .collect();
        let room = most.saturating_sub(of_front.len());
        of_front.extend(spread(&rest, room));
    }
    let left_out = eligible.len() - of_front.len();
    let baselines = found.iter().filter(|found| found.is_baseline);
    let mut candidates: Vec<_> = baselines.map(|found| found.candidate).collect();
    candidates.extend(of_front);
    Chosen {
        candidates,
        left_out,
    }
}

/// At most `most` of some things in order, evenly spread, both ends among them.
fn spread(things: &[i64], most: usize) -> Vec<i64> {
    if things.len() <= most {
        return things.to_vec();
    }
    let steps = most.saturating_sub(1).max(1);
    (0..most)
        .map(|step| things[step * (things.len() - 1) / steps])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of a front, smaller with every number and losing more.
    fn found(count: i64) -> Vec<Found> {
        (0..count)
            .map(|number| {
                let size = 1.0 - number as f64 / count as f64;
                let point = vec![1.0 / size, size];
                Found {
                    candidate: number + 1,
                    is_baseline: number < 2,
                    keeps_limits: true,
                    size_bytes: (size * 1e6) as u64,
                    scaled: point.clone(),
                    point,
                }
            })
            .collect()
    }

    #[test]
    fn the_baselines_and_a_short_front_are_confirmed_whole() {
        let mut found = found(6);
        // Dominated: a baseline is confirmed nevertheless, another candidate is not.
        found[0].point = vec![9.0, 9.0];
        found[5].point = vec![9.0, 8.0];
        let chosen = choose(&found, &BTreeSet::new(), 10);
        assert_eq!(chosen.left_out, 0);
        let candidates: BTreeSet<_> = chosen.candidates.into_iter().collect();
        assert_eq!(candidates, BTreeSet::from([1, 2, 3, 4, 5]));
        assert!(choose(&found, &BTreeSet::new(), 0).candidates.is_empty());
    }

    #[test]
    fn of_a_long_front_the_knee_the_ends_and_what_was_begun_are_confirmed() {
        let found = found(40);
        let chosen = choose(&found, &BTreeSet::new(), 6);
        assert_eq!((chosen.candidates.len(), chosen.left_out), (8, 32));
        let points: Vec<_> = found.iter().map(|found| &found.scaled).collect();
        let knee = knee(&points).map(|place| found[place].candidate);
        assert_eq!(chosen.candidates.get(2).copied(), knee);
        assert!(chosen.candidates.contains(&3) && chosen.candidates.contains(&40));
        // Chosen again, it is the same choice, also where the front has grown meanwhile.
        let begun: BTreeSet<_> = chosen.candidates.iter().copied().collect();
        let again = choose(&found, &begun, 6);
        assert_eq!(
            again.candidates.iter().copied().collect::<BTreeSet<_>>(),
            begun
        );
    }

    #[test]
    fn what_keeps_the_limits_comes_first() {
        let mut found = found(40);
        for found in &mut found[8..] {
            found.keeps_limits = false;
        }
        let chosen = choose(&found, &BTreeSet::new(), 6);
        let candidates: BTreeSet<_> = chosen.candidates.into_iter().collect();
        assert_eq!(candidates, (1..=8).collect());
    }
}
