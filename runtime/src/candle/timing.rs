//! Plans that an engine holds in its memory together, timed in turns.

use bitfront_model::{Anchor, Executed, Latency, ModelSpec, Plan, TaskPurpose, Workload};

use crate::latency::{self, LatencySettings};
use crate::{RuntimeError, Timed};

use super::{Assembly, Engine};

/// The latencies of one plan under every workload, and what it was executed in.
pub(super) type Times = Result<(Vec<Latency>, Executed), RuntimeError>;

/// Times those of `assemblies` that could be put together beside the anchor, whose matrices are
/// given with it; `text` is what the inputs are cut from. The answers are in their order.
pub(super) fn time<E: Engine>(
    engine: &E,
    anchor: (&Anchor, &E::Matrices),
    assemblies: Vec<Result<Assembly<E::Matrices>, RuntimeError>>,
    workloads: &[Workload],
    text: &[u32],
    settings: &LatencySettings,
) -> Result<Vec<Times>, RuntimeError> {
    let ready: Vec<_> = assemblies
        .iter()
        .filter_map(|assembly| Some(&assembly.as_ref().ok()?.matrices))
        .collect();
    let mut times = vec![Vec::with_capacity(workloads.len()); ready.len()];
    for &workload in workloads {
        let latencies = latency::measure(engine, anchor, &ready, workload, text, settings)?;
        for (times, latency) in times.iter_mut().zip(latencies) {
            times.push(latency);
        }
    }
    let mut times = times.into_iter();
    Ok(assemblies
        .into_iter()
        .map(|assembly| {
            let executed = assembly?.executed;
            Ok((times.next().unwrap_or_default(), executed))
        })
        .collect())
}

/// How plans are timed for a purpose. The order of turns differs from one timing to the next, and
/// follows from what is timed.
pub(super) fn settings(
    base: &LatencySettings,
    purpose: TaskPurpose,
    plans: &[&Plan],
) -> LatencySettings {
    let seed = plans.iter().map(|plan| plan.digest().seed());
    let settings = match purpose {
        TaskPurpose::Search | TaskPurpose::Retime => base.for_search(),
        TaskPurpose::Confirm => base.clone(),
    };
    LatencySettings {
        seed: seed.fold(settings.seed, |seed, other| seed ^ other),
        ..settings
    }
}

/// Refuses what is longer than the context that the model was made for and what serves more
/// sequences than can be meant.
pub(super) fn check_workload(workload: Workload, longest: u64) -> Result<(), RuntimeError> {
    let (positions, batch) = (workload.positions(), workload.batch());
    if positions > longest {
        return Err(refused(
            workload,
            format!("needs {positions} positions, the model was made for a context of {longest}"),
        ));
    }
    if batch > Workload::MOST_BATCH {
        return Err(refused(
            workload,
            format!(
                "serves {batch} sequences at once, {} are possible",
                Workload::MOST_BATCH
            ),
        ));
    }
    Ok(())
}

/// A workload whose caches fit into no memory beside any plan.
pub(super) fn no_room(workload: Workload, needed: u64, available: u64) -> RuntimeError {
    refused(
        workload,
        format!("its caches take {needed} bytes of memory, {available} are available"),
    )
}

fn refused(workload: Workload, reason: String) -> RuntimeError {
    RuntimeError::Workload {
        workload: workload.to_string(),
        reason,
    }
}

/// A plan whose tensors, with `cache_bytes` of caches, are more than the memory has.
pub(super) fn too_large(needed: u64, cache_bytes: u64, available: u64) -> RuntimeError {
    let caches = match cache_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} of them for the caches of the workload"),
    };
    RuntimeError::Infeasible {
        reason: format!(
            "loading the plan takes {needed} bytes of memory{caches}, {available} are available"
        ),
    }
}

/// Cuts plans into groups of neighbours that fit into memory together; a plan that does not is a
/// group of its own.
pub(super) fn groups<'a>(
    plans: &'a [&'a Plan],
    spec: &ModelSpec,
    budget_bytes: u64,
) -> Vec<&'a [&'a Plan]> {
    let mut groups = Vec::new();
    let (mut first, mut bytes) = (0, 0u64);
    for (index, plan) in plans.iter().enumerate() {
        let size = plan.size_bytes(spec);
        if index > first && bytes.saturating_add(size) > budget_bytes {
            groups.push(&plans[first..index]);
            (first, bytes) = (index, 0);
        }
        bytes = bytes.saturating_add(size);
    }
    if first < plans.len() {
        groups.push(&plans[first..]);
    }
    groups
}

/// Times plans in groups. How much memory a group takes is only known once it is loaded, so a plan
/// for which nothing was left beside its neighbours is tried once more, alone.
pub(super) fn in_groups(
    groups: Vec<&[&Plan]>,
    mut time: impl FnMut(&[&Plan]) -> Result<Vec<Timed>, RuntimeError>,
) -> Result<Vec<Timed>, RuntimeError> {
    let mut all = Vec::new();
    for group in groups {
        let together = time(group)?;
        for (timed, plan) in together.into_iter().zip(group.chunks(1)) {
            match timed {
                Err(RuntimeError::Infeasible { .. }) if group.len() > 1 => all.extend(time(plan)?),
                timed => all.push(timed),
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::{Architecture, Digest, Layer, LayerKind, Precision};

    use crate::{Measured, Timing};

    use super::*;

    /// A model of one matrix.
    fn spec() -> ModelSpec {
        ModelSpec {
            name: "test".to_owned(),
            architecture: Architecture::Llama,
            blocks: 0,
            hidden_size: 256,
            intermediate_size: 256,
            attention_heads: 4,
            key_value_heads: 4,
            head_size: 64,
            context_length: 256,
            vocabulary_size: 256,
            layers: vec![Layer {
                name: "output".to_owned(),
                kind: LayerKind::Output,
                block: None,
                rows: 256,
                columns: 256,
                source: Precision::F16,
                tied: false,
            }],
            fixed_bytes: 0,
            digest: Digest::of("test"),
        }
    }

    fn fits() -> Timed {
        Ok(Measured {
            value: Timing {
                latencies: Vec::new(),
                cold: None,
                energy: None,
            },
            executed: Executed::new(),
            imatrix_digest: None,
        })
    }

    #[test]
    fn a_plan_that_does_not_fit_beside_others_is_timed_alone() {
        let spec = spec();
        let [small, medium, large] = [Precision::Q4_0, Precision::Q8_0, Precision::F32]
            .map(|kind| Plan::uniform(&spec, kind).unwrap());
        let plans = [&small, &medium, &large];
        let mut asked = Vec::new();
        // Room for the small one beside any other, for the medium one alone, for the large one never.
        let timed = in_groups(vec![&plans], |group| {
            asked.push(group.len());
            let fits_beside = |plan: &&Plan| {
                let fits_here = **plan == small || (**plan == medium && group.len() == 1);
                match fits_here {
                    true => fits(),
                    false => Err(too_large(2, 0, 1)),
                }
            };
            Ok(group.iter().map(fits_beside).collect())
        });
        let timed = timed.unwrap();
        assert_eq!(asked, [3, 1, 1], "each of the two once more");
        assert_eq!(timed.len(), 3);
        assert!(timed[0].is_ok() && timed[1].is_ok());
        assert!(matches!(timed[2], Err(RuntimeError::Infeasible { .. })));
    }

    #[test]
    fn what_concerns_no_plan_ends_the_timing() {
        let failed = in_groups(vec![&[]], |_| Err(RuntimeError::NotOpen));
        assert!(matches!(failed, Err(RuntimeError::NotOpen)));
    }
}
