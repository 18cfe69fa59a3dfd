//! The plan beside which candidates are timed.

use serde::{Deserialize, Serialize};

use crate::{Interval, Layer, ModelSpec, Plan, Precision, Workload};

/// What an anchor is made of: the precisions that plans are mostly made of where rows are a multiple
/// of 256. Each has kernels of its own on some processor, and each kernel is slowed by other things:
/// by a neighbour's traffic in shared caches, by what else the core does. A plan of one precision
/// alone is not slowed as others are, and the ratios to it move with the neighbours. The precisions
/// with blocks of 32 weights stay out, since their kernels take many times as long and would be all
/// that is seen of the anchor; where rows are no multiple of 256, `q8_0` is left.
const MIXED: [Precision; 6] = [
    Precision::Q8_0,
    Precision::Q6K,
    Precision::Q5K,
    Precision::Q4K,
    Precision::Q3K,
    Precision::Q2K,
];

/// What a layer has that none of these fits, or on a device that executes none of them: the first
/// one that does, or else the first that the device executes.
const OTHERS: [Precision; 4] = [
    Precision::Q4_0,
    Precision::F16,
    Precision::Bf16,
    Precision::F32,
];

/// The time of an anchor plan under one workload.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnchorTime {
    /// What was timed.
    pub workload: Workload,
    /// Time of one pass, or of one decode step, in nanoseconds.
    pub median_ns: f64,
    /// Distribution-free interval of it, in nanoseconds.
    pub interval: Interval,
}

/// The plan beside which candidates are timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    /// The plan.
    pub plan: Plan,
    /// Its times as they were first measured in the search, which put all candidates of the
    /// search on one scale; empty for the first ones.
    pub times: Vec<AnchorTime>,
}

impl Anchor {
    /// The plan that a search is anchored by on a device that executes these precisions: the mixed
    /// ones take turns from layer to layer.
    ///
    /// None where some layer fits nothing of what is executed.
    pub fn plan_for(spec: &ModelSpec, executed: &[Precision]) -> Option<Plan> {
        let layers = spec.layers.iter().enumerate();
        let precisions = layers.map(|(place, layer)| precision_of(place, layer, executed));
        Plan::new(spec, precisions.collect::<Option<_>>()?).ok()
    }

    /// Its time under a workload, where it is known.
    pub fn time(&self, workload: Workload) -> Option<AnchorTime> {
        self.times
            .iter()
            .copied()
            .find(|time| time.workload == workload)
    }
}

/// The precision of the layer at a place.
fn precision_of(place: usize, layer: &Layer, executed: &[Precision]) -> Option<Precision> {
    let fits = |precision: &Precision| precision.fits(layer.columns);
    let known = |precision: &Precision| executed.contains(precision) && fits(precision);
    let mixed: Vec<_> = MIXED.into_iter().filter(known).collect();
    if !mixed.is_empty() {
        return Some(mixed[place % mixed.len()]);
    }
    let others = OTHERS.into_iter().filter(known);
    let any = executed.iter().copied().filter(fits);
    others.chain(any).next()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;

    fn anchor(executed: &[Precision]) -> Option<Vec<Precision>> {
        let plan = Anchor::plan_for(&spec(), executed)?;
        Some(plan.precisions().to_vec())
    }

    #[test]
    fn every_mixed_precision_that_executes_and_fits_takes_its_turn() {
        let mut spec = spec();
        for layer in &mut spec.layers {
            layer.columns = 256;
        }
        let plan = Anchor::plan_for(&spec, &Precision::ALL).unwrap();
        for (place, &precision) in plan.precisions().iter().enumerate() {
            assert_eq!(precision, MIXED[place % MIXED.len()], "{place}");
        }
        let two = Anchor::plan_for(&spec, &[Precision::F16, Precision::Q4K, Precision::Q8_0]);
        let two = two.unwrap().precisions()[..3].to_vec();
        assert_eq!(two, [Precision::Q8_0, Precision::Q4K, Precision::Q8_0]);
    }

    #[test]
    fn a_layer_that_none_of_them_fits_has_what_fits_it() {
        let narrow = spec().layers.iter().position(|layer| layer.columns == 96);
        let narrow = narrow.unwrap();
        let at = |executed: &[Precision]| Some(anchor(executed)?[narrow]);
        assert_eq!(at(&Precision::ALL), Some(Precision::Q8_0));
        assert_eq!(at(&[Precision::F16, Precision::Q4K]), Some(Precision::F16));
        assert_eq!(at(&[Precision::Q5_1]), Some(Precision::Q5_1));
        assert_eq!(at(&[Precision::Q4K]), None);
        assert_eq!(at(&[]), None);
    }
}
