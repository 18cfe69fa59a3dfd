//! The plan beside which the candidates of a search are timed, and the scale that it fixes.

use bitfront_model::{Anchor, AnchorTime, ModelSpec, Outcome, Plan, Precision};

use crate::store::{Store, StoreError, StoredSearch};

/// What an anchor is held in, the first that the device executes and that fits every layer: of
/// middling speed, so that a disturbance weighs on it as on most candidates, and with kernels that
/// every engine has taken care of.
const PRECISIONS: [Precision; 6] = [
    Precision::Q4K,
    Precision::Q8_0,
    Precision::Q4_0,
    Precision::F16,
    Precision::Bf16,
    Precision::F32,
];

/// The anchor of a search, with its times where one was measured.
///
/// They are those of the search's first timing: a ratio measured today and one measured after the
/// device was restarted are multiplied with the same time, so their products can be compared.
pub(crate) async fn of(store: &dyn Store, search: &StoredSearch) -> Result<Anchor, StoreError> {
    let executed = search.binding.as_ref().map(|bound| &bound.precisions[..]);
    let plan = plan(&search.request.spec, executed.unwrap_or_default()).ok_or_else(|| {
        StoreError::Corrupt {
            what: format!("search {}", search.id),
            reason: "its device executes no precision that could be an anchor".to_owned(),
        }
    })?;
    let times = match store.first_timing(search.id).await? {
        Some(first) => times(first.measurement.outcome, &plan),
        None => Vec::new(),
    };
    Ok(Anchor { plan, times })
}

/// The same plan for every layer, over the precisions that a device executes. Where it executes
/// none that an anchor should have, the first of its own that fits.
fn plan(spec: &ModelSpec, executed: &[Precision]) -> Option<Plan> {
    let preferred = PRECISIONS
        .into_iter()
        .filter(|precision| executed.contains(precision));
    preferred
        .chain(executed.iter().copied())
        .find_map(|precision| Plan::uniform(spec, precision).ok())
}

/// The anchor's times in a timing; none where it was timed beside another plan.
fn times(outcome: Outcome, plan: &Plan) -> Vec<AnchorTime> {
    let Outcome::Latency { workloads } = outcome else {
        return Vec::new();
    };
    workloads
        .into_iter()
        .filter_map(|latency| latency.paired)
        .filter(|paired| paired.anchor == plan.digest())
        .map(|paired| paired.reference)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn the_anchor_is_the_first_choice_that_executes_and_fits() {
        let spec = fixtures::spec();
        let anchor = |executed: &[Precision]| {
            let plan = plan(&spec, executed)?;
            Some(plan.precisions()[0])
        };
        assert_eq!(anchor(&Precision::ALL), Some(Precision::Q4K));
        assert_eq!(
            anchor(&[Precision::F16, Precision::Q8_0]),
            Some(Precision::Q8_0)
        );
        assert_eq!(anchor(&[Precision::Q2K]), Some(Precision::Q2K));
        assert_eq!(anchor(&[]), None);
        let mut narrow = fixtures::spec();
        narrow.layers[0].columns = 32;
        let fitting = plan(&narrow, &[Precision::Q4K, Precision::F16]).unwrap();
        assert_eq!(fitting.precisions()[0], Precision::F16);
    }
}
