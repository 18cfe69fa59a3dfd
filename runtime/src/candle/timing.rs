//! Plans that an engine holds in its memory together, timed in turns.

use bitfront_model::{Anchor, Executed, Latency, ModelSpec, Plan, TaskPurpose, Workload};

use crate::RuntimeError;
use crate::latency::{self, LatencySettings};

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
