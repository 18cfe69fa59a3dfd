//! What is believed of a plan's figures before anything was measured: the laws of the figures, and
//! guesses of what every layer adds at every precision.
//!
//! Only ratios matter, and a strategy corrects them by what it measures. The loss of a layer is
//! guessed as the square root of its weights times 4 to the power of minus the bits: each bit
//! halves the rounding error, and the divergence grows with its square. The time is guessed as the
//! bytes that are read.

use bitfront_model::{Layer, LayerKind, Limits, ModelSpec, Objective, Precision, SearchRequest};
use bitfront_search::problem::{Law, Limited, Problem, ProblemError, Table};

use crate::evaluation::{limit_of, limited, scaled};
use crate::space::SearchSpace;

/// The share of its bytes that a looked-up embedding costs a token: a row of it is read.
const LOOKED_UP: f64 = 1e-3;

/// The problem that a request poses over a space.
pub(crate) fn problem(
    space: &SearchSpace,
    request: &SearchRequest,
) -> Result<Problem, ProblemError> {
    let SearchRequest {
        spec,
        objectives,
        limits,
        ..
    } = request;
    let worst = objectives.iter().map(|&objective| worst(limits, objective));
    let laws = objectives
        .iter()
        .map(|&objective| law(space, spec, objective));
    let limited = limited(objectives, limits).map(|(figure, limit)| Limited {
        law: law(space, spec, figure),
        limit: scaled(figure, limit),
    });
    Problem::new(space.as_numbers().clone(), laws.collect())?
        .with_worst(worst.collect())?
        .with_limited(limited.collect())
}

/// The least value of an objective that breaks its limit, as it is told.
fn worst(limits: &Limits, objective: Objective) -> Option<f64> {
    Some(scaled(objective, limit_of(limits, objective)?).next_up())
}

fn law(space: &SearchSpace, spec: &ModelSpec, figure: Objective) -> Law {
    let table = |part: fn(&Layer, Precision) -> f64| Table::new(space.sums(spec, part));
    match figure {
        Objective::Kld => Law::LogSum(table(loss)),
        Objective::Decode | Objective::Prefill => Law::Time(table(time)),
        Objective::Size => Law::Exact {
            constant: spec.fixed_bytes as f64,
            table: table(bytes),
        },
    }
}

fn loss(layer: &Layer, precision: Precision) -> f64 {
    let weights = layer.rows as f64 * layer.columns as f64;
    weights.sqrt() * 0.25_f64.powf(precision.bits_per_weight())
}

fn time(layer: &Layer, precision: Precision) -> f64 {
    let is_looked_up = layer.kind == LayerKind::TokenEmbedding && !layer.tied;
    bytes(layer, precision) * if is_looked_up { LOOKED_UP } else { 1.0 }
}

fn bytes(layer: &Layer, precision: Precision) -> f64 {
    precision.bytes(layer.rows, layer.columns).unwrap_or(0) as f64
}
