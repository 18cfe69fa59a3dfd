//! Whether a plan is given up before its last window.

use crate::search::Scored;
use crate::world::{Plan, WINDOWS};

/// Where the stages end (`bitfront_model::stages`), and one side of Student's 95 % interval over so
/// many windows.
const STAGES: [(usize, f64); 5] = [
    (4, 3.182),
    (6, 2.571),
    (8, 2.365),
    (12, 2.201),
    (WINDOWS, 2.131),
];

/// Where a plan is given up whose first `from` windows say nothing, and the loss that is expected
/// of it: by its rival among what was scored, as `bitfront_runtime` decides it in its races.
pub(crate) fn given_up(scored: &[Scored], plan: &Plan, from: usize) -> Option<(usize, f64)> {
    let rival = scored
        .iter()
        .filter(|it| {
            let mut others = it.told.iter().zip(&plan.told).skip(1);
            others.all(|(theirs, ours)| theirs <= ours)
        })
        .filter_map(|it| it.losses.as_ref().map(|losses| (it.told[0], losses)))
        .min_by(|left, right| left.0.total_cmp(&right.0));
    let (whole, theirs) = rival?;
    let students = STAGES[STAGES.len() - 1].1;
    let stages = STAGES
        .iter()
        .filter(|(end, _)| (from..WINDOWS).contains(end));
    for &(end, student) in stages {
        let (count, all) = (end as f64, WINDOWS as f64);
        let sum = |losses: &[f64]| losses[..end].iter().sum::<f64>();
        let (ours, their) = (sum(&plan.losses), sum(theirs));
        let ratio = ours / their;
        let pairs = plan.losses[..end].iter().zip(theirs);
        let without: Vec<f64> = pairs
            .map(|(one, other)| (ours - one) / (their - other))
            .collect();
        let mean = without.iter().sum::<f64>() / count;
        let squares = without.iter().map(|it| (it - mean).powi(2));
        let error = ((count - 1.0) / count * squares.sum::<f64>()).sqrt();
        let least = ratio - student * error * (1.0 - count / all).sqrt();
        if least > 1.0 - students * error * (count / all).sqrt() {
            return Some((end, ratio.ln() + whole));
        }
    }
    None
}
