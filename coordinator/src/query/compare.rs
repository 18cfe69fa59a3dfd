//! Two measured plans beside each other, of one search or of two that can be compared.

use bitfront_model::{Comparison, FrontPoint, Subject};

use super::paired::Paired;
use super::{Standing, find, points};
use crate::error::ServiceError;
use crate::store::StoredSearch;
use crate::world::World;

/// The first candidate against the second: divergences paired over the same windows, times by the
/// intervals of their medians, sizes exactly. Both must have been measured whole and as planned,
/// over one subject, in one numerics class, under the same workloads; times of two hardware
/// profiles are left out.
pub(crate) async fn compare(
    world: &World,
    first: i64,
    second: i64,
) -> Result<Comparison, ServiceError> {
    let (ours, first) = measured(world, first).await?;
    let (theirs, second) = measured(world, second).await?;
    let differing = differing(&ours, &theirs);
    if !differing.is_empty() {
        return Err(ServiceError::Incomparable {
            first: first.candidate,
            second: second.candidate,
            differing,
        });
    }
    let differences = Paired::default().differences(&first, &second);
    let mut differences = differences.ok_or_else(|| ServiceError::NotMeasured {
        candidate: first.candidate,
        why: "its divergence is missing".to_owned(),
    })?;
    let profile = |search: &StoredSearch| {
        let binding = search.binding.as_ref();
        binding.map(|binding| binding.hardware_profile)
    };
    if profile(&ours) != profile(&theirs) {
        differences.decode = None;
        differences.prefill = None;
    }
    Ok(Comparison {
        first,
        second,
        spec: ours.request.spec,
        differences,
    })
}

/// A candidate that may be compared, and its search.
async fn measured(
    world: &World,
    candidate: i64,
) -> Result<(StoredSearch, FrontPoint), ServiceError> {
    let search = world.store.search_of(candidate).await?;
    let search = search.ok_or(ServiceError::UnknownCandidate { candidate })?;
    let search = find(world, search).await?;
    let standing = Standing::of(world, &search).await?;
    let position = standing
        .candidates
        .iter()
        .position(|stored| stored.id == candidate)
        .ok_or(ServiceError::UnknownCandidate { candidate })?;
    let figures = &standing.figures[position];
    let why = if let Some(reason) = &figures.infeasible {
        Some(format!("it cannot be executed: {reason}"))
    } else if !figures.is_complete() {
        let missing = if figures.kld.is_none() {
            "divergence"
        } else {
            "time"
        };
        Some(format!("its {missing} is not measured yet"))
    } else if !figures.as_planned {
        Some("a layer executed in another precision than was asked for".to_owned())
    } else {
        None
    };
    if let Some(why) = why {
        return Err(ServiceError::NotMeasured { candidate, why });
    }
    let point = points(world, &search, &standing).await?.remove(position);
    Ok((search, point))
}

/// What two searches do not have in common although their figures can only be compared if they
/// do, each with both sides.
fn differing(ours: &StoredSearch, theirs: &StoredSearch) -> Vec<String> {
    let class = |search: &StoredSearch| {
        let binding = search.binding.as_ref();
        binding.map_or_else(String::new, |binding| binding.numerics_class.to_string())
    };
    let workloads = |search: &StoredSearch| {
        let workloads = &search.request.workloads;
        let mut names: Vec<_> = workloads.iter().map(ToString::to_string).collect();
        names.sort();
        names.join(" and ")
    };
    let mut compared = subjects(&ours.request.subject, &theirs.request.subject);
    compared.extend([
        ("the numerics class", class(ours), class(theirs)),
        ("the workloads", workloads(ours), workloads(theirs)),
    ]);
    compared
        .into_iter()
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(what, ours, theirs)| format!("{what} ({ours} and {theirs})"))
        .collect()
}

/// The parts that a subject is told apart by.
pub(super) fn subjects(ours: &Subject, theirs: &Subject) -> Vec<(&'static str, String, String)> {
    let text = |subject: &Subject| {
        let data = &subject.data;
        let (windows, context) = (data.evaluation_windows, data.context);
        let digest = data.evaluation_digest.short();
        format!("{digest}, {windows} windows of {context} tokens")
    };
    let imatrix = |subject: &Subject| subject.imatrix_name();
    let model = |subject: &Subject| subject.model.digest.short();
    let calibration = |subject: &Subject| subject.data.calibration_digest.short();
    [
        ("the model", model as fn(&Subject) -> String),
        ("the evaluation text", text),
        ("the calibration text", calibration),
        ("the imatrix", imatrix),
    ]
    .map(|(what, of)| (what, of(ours), of(theirs)))
    .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
