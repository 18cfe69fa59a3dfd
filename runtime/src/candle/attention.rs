//! Causal grouped-query attention over an explicit cache.

use super::elementwise::dot;
use super::exponential::exp;
use super::kv_cache::BlockCache;
use super::parallel::for_costly_rows;

/// The row of a query: which sequence it belongs to and at which position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: usize,
    pub(crate) position: usize,
}

/// Softmax-weighted values for every query row.
///
/// `queries` is `places.len() × heads·head_size`, rotated; the result has the same shape. A query
/// sees the cached positions of its sequence up to and including its own.
pub(crate) fn attend(
    queries: &[f32],
    places: &[Place],
    cache: &BlockCache,
    heads: usize,
) -> Vec<f32> {
    let head_size = cache.head_size();
    let width = heads * head_size;
    let group = heads / cache.heads();
    let scale = 1.0 / (head_size as f32).sqrt();
    let mut output = vec![0.0; queries.len()];
    let visible = places.iter().map(|place| place.position + 1).sum::<usize>();
    for_costly_rows(&mut output, width, visible * width, |row, output| {
        let place = places[row];
        let length = place.position + 1;
        let query = &queries[row * width..][..width];
        let mut weights = vec![0.0f32; length];
        for (head, output) in output.chunks_exact_mut(head_size).enumerate() {
            let query = &query[head * head_size..][..head_size];
            let keys = cache.keys(place.sequence, head / group);
            let values = cache.values(place.sequence, head / group);
            let mut largest = f32::NEG_INFINITY;
            for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(head_size)) {
                *weight = dot(query, key) * scale;
                largest = largest.max(*weight);
            }
            for weight in &mut weights {
                *weight = exp(*weight - largest);
            }
            let total = weights.iter().sum::<f32>();
            add_weighted(output, &weights, &values[..length * head_size]);
            let inverse = 1.0 / total;
            for output in output {
                *output *= inverse;
            }
        }
    });
    output
}

/// Adds `weights[i] · values[i]` for every row `i` of `values` to `output`; four rows at a time,
/// so that `output` is read and written once for the four.
fn add_weighted(output: &mut [f32], weights: &[f32], values: &[f32]) {
    let width = output.len();
    let (fours, rest) = weights.as_chunks::<4>();
    let (four_rows, rest_rows) = values.split_at(fours.len() * 4 * width);
    for (weights, rows) in fours.iter().zip(four_rows.chunks_exact(4 * width)) {
        let (first, rows) = rows.split_at(width);
        let (second, rows) = rows.split_at(width);
        let (third, fourth) = rows.split_at(width);
        for (index, output) in output.iter_mut().enumerate() {
            *output += weights[0] * first[index]
                + weights[1] * second[index]
                + weights[2] * third[index]
                + weights[3] * fourth[index];
        }
    }
    for (weight, row) in rest.iter().zip(rest_rows.chunks_exact(width)) {
        for (output, value) in output.iter_mut().zip(row) {
            *output += weight * value;
        }
    }
}
