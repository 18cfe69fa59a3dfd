//! Whom a candidate must lose less than: why scoring may stop before the last window.

use std::collections::HashMap;

use bitfront_model::{Objective, Outcome, Rival, SearchRequest, TaskPurpose};

use crate::evaluation::{self, Figures, limited};
use crate::store::{Claimed, Store, StoreError, StoredSearch};

/// The rival of a candidate whose quality is about to be measured: of the measured ones that are no
/// worse in every figure that counts but the divergence, the one that loses least.
///
/// Where the candidate does not lose less, it is dominated or no other plan than its rival as far
/// as can be told: its search, whose figures are all of one hardware profile, would not show it
/// beside the rival. None where the search does not want stages, where such a figure is not known
/// yet, and for baselines and confirmations, which are published whole.
pub(crate) async fn of(
    store: &dyn Store,
    search: &StoredSearch,
    claimed: &Claimed,
) -> Result<Option<Rival>, StoreError> {
    let request = &search.request;
    if !request.staged
        || claimed.purpose != TaskPurpose::Search
        || !request.objectives.contains(&Objective::Kld)
    {
        return Ok(None);
    }
    // Measurements first: one whose candidate is not known would be a contradiction.
    let scores = store.scores(search.id, 0).await?;
    let candidates = store.candidates(search.id, 0).await?;
    let is_baseline = candidates
        .iter()
        .any(|candidate| candidate.id == claimed.candidate && candidate.baseline.is_some());
    if is_baseline {
        return Ok(None);
    }
    let figures = evaluation::figures(&candidates, &scores);
    let figures = candidates.iter().map(|it| it.id).zip(figures).collect();
    let Some(rival) = choose(request, &figures, claimed.candidate) else {
        return Ok(None);
    };
    let windows = request.subject.data.evaluation_windows as usize;
    let measurements = store.measurements(search.id, Some(rival)).await?;
    let whole = measurements.into_iter().find_map(|one| {
        let Outcome::Quality(quality) = one.measurement.outcome else {
            return None;
        };
        let is_whole = quality.stopped.is_none() && quality.kld_windows.len() == windows;
        (one.purpose == TaskPurpose::Search && is_whole).then_some(quality.kld_windows)
    });
    Ok(whole.map(|kld_windows| Rival {
        candidate: rival,
        kld_windows,
    }))
}

fn choose(request: &SearchRequest, figures: &HashMap<i64, Figures>, candidate: i64) -> Option<i64> {
    let others = request.objectives.iter().copied();
    let others = others.filter(|&objective| objective != Objective::Kld);
    // A limit on a figure that is no objective makes that figure count too. The candidate's
    // mismatch is not known before its windows are scored, so a rival has to keep that limit.
    let limited = limited(&request.objectives, &request.limits).map(|(figure, _)| figure);
    let limited = limited.filter(|&figure| figure != Objective::Mismatch);
    let max_mismatch = request.limits.max_mismatch().unwrap_or(f64::INFINITY);
    let counting: Vec<_> = others.chain(limited).collect();
    let known = |figures: &Figures| -> Option<Vec<f64>> {
        let known = counting.iter().map(|&figure| figures.figure(figure));
        known.collect()
    };
    let ours = known(figures.get(&candidate)?)?;
    let no_worse = |theirs: &Vec<f64>| ours.iter().zip(theirs).all(|(ours, theirs)| theirs <= ours);
    figures
        .iter()
        .filter(|&(&other, _)| other != candidate)
        .filter(|(_, figures)| figures.point(&request.objectives).is_some())
        .filter(|(_, figures)| known(figures).as_ref().is_some_and(no_worse))
        .filter(|(_, figures)| figures.mismatch.is_some_and(|it| it <= max_mismatch))
        .filter_map(|(&other, figures)| Some((figures.kld?, other)))
        .min_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)))
        .map(|(_, other)| other)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::Limits;

    use super::*;
    use crate::fixtures;

    fn measured(size_bytes: u64, kld: Option<f64>, decode_ns: f64) -> Figures {
        Figures {
            size_bytes,
            kld,
            mismatch: kld.map(f64::sqrt),
            decode_ns: Some(decode_ns),
            prefill_ns: Some(1.0),
            infeasible: None,
            abandoned: false,
            as_planned: true,
            stopped: false,
        }
    }

    fn request() -> SearchRequest {
        SearchRequest {
            objectives: vec![Objective::Kld, Objective::Size, Objective::Decode],
            limits: Limits::default(),
            ..fixtures::request()
        }
    }

    #[test]
    fn the_rival_is_the_one_that_loses_least_of_those_that_are_no_worse() {
        let mut figures = HashMap::from([
            (1, measured(100, Some(0.5), 9.0)),
            (2, measured(90, Some(0.3), 10.0)),
            (3, measured(90, Some(0.1), 11.0)),
            (4, measured(101, Some(0.1), 10.0)),
            (5, measured(100, None, 10.0)),
        ]);
        assert_eq!(choose(&request(), &figures, 5), Some(2));
        // What is not known of the candidate cannot be compared.
        figures.get_mut(&5).unwrap().decode_ns = None;
        assert_eq!(choose(&request(), &figures, 5), None);
        let without_times = SearchRequest {
            objectives: vec![Objective::Kld, Objective::Size],
            ..request()
        };
        assert_eq!(choose(&without_times, &figures, 5), Some(3));
    }

    #[test]
    fn what_was_given_up_cannot_execute_or_was_something_else_is_no_rival() {
        let rivals = [
            Figures {
                stopped: true,
                ..measured(90, Some(0.1), 9.0)
            },
            Figures {
                infeasible: Some("too large".to_owned()),
                ..measured(90, Some(0.1), 9.0)
            },
            Figures {
                as_planned: false,
                ..measured(90, Some(0.1), 9.0)
            },
        ];
        for rival in rivals {
            let figures = HashMap::from([(1, rival), (2, measured(100, None, 10.0))]);
            assert_eq!(choose(&request(), &figures, 2), None);
        }
    }

    #[test]
    fn a_limit_on_another_figure_counts() {
        let request = SearchRequest {
            objectives: vec![Objective::Kld, Objective::Size],
            limits: Limits {
                max_decode: Some(std::time::Duration::from_nanos(10)),
                ..Limits::default()
            },
            ..request()
        };
        let figures = HashMap::from([
            (1, measured(90, Some(0.1), 11.0)),
            (2, measured(100, None, 10.0)),
        ]);
        assert_eq!(choose(&request, &figures, 2), None);
    }

    #[test]
    fn a_rival_keeps_the_limit_on_the_mismatch() {
        let request = SearchRequest {
            limits: Limits {
                // Their mismatches are the roots of 0.1 and of 0.04.
                min_same_top: Some(0.75),
                ..Limits::default()
            },
            ..request()
        };
        let mut figures = HashMap::from([
            (1, measured(90, Some(0.1), 9.0)),
            (2, measured(100, None, 10.0)),
        ]);
        assert_eq!(choose(&request, &figures, 2), None);
        figures.insert(3, measured(95, Some(0.04), 9.0));
        assert_eq!(choose(&request, &figures, 2), Some(3));
    }
}
