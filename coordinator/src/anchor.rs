//! The plan beside which the candidates of a search are timed, and the scale that it fixes.

use bitfront_model::{Anchor, AnchorTime, Digest, ModelSpec, Outcome, Plan, Precision};

use crate::store::{Store, StoreError, StoredSearch};

/// The anchor of a search, with its times where one was measured.
///
/// They are those of the search's first timing: a ratio measured today and one measured after the
/// device was restarted are multiplied with the same time, so their products can be compared.
pub(crate) async fn of(store: &dyn Store, search: &StoredSearch) -> Result<Anchor, StoreError> {
    let executed = search.binding.as_ref().map(|bound| &bound.precisions[..]);
    let times = match store.first_timing(search.id).await? {
        Some(first) => times(first.measurement.outcome),
        None => Vec::new(),
    };
    let begun = times.first().map(|(anchor, _)| *anchor);
    let spec = &search.request.spec;
    let plan = plan(spec, executed.unwrap_or_default(), begun).ok_or_else(|| {
        StoreError::Corrupt {
            what: format!("search {}", search.id),
            reason: "a layer of its model fits none of the precisions that its device executes, so nothing \
                     can be timed beside; submit it for another device"
                .to_owned(),
        }
    })?;
    let times = times
        .into_iter()
        .filter(|(anchor, _)| *anchor == plan.digest())
        .map(|(_, time)| time)
        .collect();
    Ok(Anchor { plan, times })
}

/// The plan of an anchor over the precisions that a device executes. A search that an earlier
/// version began beside a uniform plan stays beside it.
fn plan(spec: &ModelSpec, executed: &[Precision], begun: Option<Digest>) -> Option<Plan> {
    let uniform = executed
        .iter()
        .filter_map(|&precision| Plan::uniform(spec, precision).ok())
        .find(|plan| Some(plan.digest()) == begun);
    uniform.or_else(|| Anchor::plan_for(spec, executed))
}

/// The times of the anchor in a timing, with the plan that it was.
fn times(outcome: Outcome) -> Vec<(Digest, AnchorTime)> {
    let Outcome::Latency { workloads } = outcome else {
        return Vec::new();
    };
    workloads
        .into_iter()
        .filter_map(|latency| latency.paired)
        .map(|paired| (paired.anchor, paired.reference))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_search_stays_beside_the_anchor_that_it_began_with() {
        let spec = fixtures::spec();
        let mixed = Anchor::plan_for(&spec, &Precision::ALL).unwrap();
        let uniform = Plan::uniform(&spec, Precision::Q4K).unwrap();
        for (begun, expected) in [
            (None, &mixed),
            (Some(mixed.digest()), &mixed),
            (Some(uniform.digest()), &uniform),
            (Some(Digest::of("one of another model")), &mixed),
        ] {
            let found = plan(&spec, &Precision::ALL, begun).unwrap();
            assert_eq!(&found, expected, "{begun:?}");
        }
    }
}
