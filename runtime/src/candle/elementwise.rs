//! The loops between the matrix multiplications.

use super::exponential::exp;
use super::parallel::{for_costly_rows, for_rows};

/// What one exponential costs, counted in values written.
const EXPONENTIAL_COST: usize = 4;

/// Sum of squares in eight lanes, so that the compiler may use vector instructions: it must not
/// reorder a plain sum.
fn sum_of_squares(values: &[f32]) -> f32 {
    dot(values, values)
}

/// Inner product in sixteen lanes.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..LANES {
            lanes[lane] += left[lane] * right[lane];
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(l, r)| l * r).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Root-mean-square normalisation of one row: `x / sqrt(mean(x²) + epsilon) · weight`.
fn normalize(input: &[f32], weight: &[f32], epsilon: f32, output: &mut [f32]) {
    let mean = sum_of_squares(input) / input.len() as f32;
    let scale = 1.0 / (mean + epsilon).sqrt();
    for ((output, input), weight) in output.iter_mut().zip(input).zip(weight) {
        *output = input * scale * weight;
    }
}

/// Normalises every row of `input`, whose length is that of `weight`.
pub(crate) fn rms_norm(input: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mut output = vec![0.0; input.len()];
    let width = weight.len();
    for_rows(&mut output, width, |row, output| {
        normalize(&input[row * width..][..width], weight, epsilon, output);
    });
    output
}

/// Normalises every run of `weight.len()` values in place: the heads of a query or key.
pub(crate) fn rms_norm_in_place(values: &mut [f32], weight: &[f32], epsilon: f32) {
    for_rows(values, weight.len(), |_, head| {
        let mean = sum_of_squares(head) / head.len() as f32;
        let scale = 1.0 / (mean + epsilon).sqrt();
        for (value, weight) in head.iter_mut().zip(weight) {
            *value = *value * scale * weight;
        }
    });
}

/// `silu(gate) · up`, into `gate`.
pub(crate) fn gated(gate: &mut [f32], up: &[f32]) {
    const WIDTH: usize = 64;
    let cost = gate.len() * EXPONENTIAL_COST;
    let whole = gate.len() - gate.len() % WIDTH;
    let (head, tail) = gate.split_at_mut(whole);
    let silu = |gate: &mut f32, up: &f32| *gate = *gate / (1.0 + exp(-*gate)) * up;
    for_costly_rows(head, WIDTH, cost, |row, gate| {
        let up = &up[row * WIDTH..][..WIDTH];
        gate.iter_mut()
            .zip(up)
            .for_each(|(gate, up)| silu(gate, up));
    });
    let up = &up[whole..];
    tail.iter_mut()
        .zip(up)
        .for_each(|(gate, up)| silu(gate, up));
}

/// Adds `delta` to `values`.
pub(crate) fn add(values: &mut [f32], delta: &[f32]) {
    for (value, delta) in values.iter_mut().zip(delta) {
        *value += delta;
    }
}

/// Adds a bias to every row.
pub(crate) fn add_bias(values: &mut [f32], bias: &[f32]) {
    for row in values.chunks_exact_mut(bias.len()) {
        add(row, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_leaves_a_mean_square_of_one() {
        let input = (0..300).map(|i| (i as f32).sin() * 3.0).collect::<Vec<_>>();
        let output = rms_norm(&input, &[1.0; 100], 0.0);
        for row in output.chunks(100) {
            let mean = row.iter().map(|value| value * value).sum::<f32>() / 100.0;
            assert!((mean - 1.0).abs() < 1e-5, "{mean}");
        }
        let mut in_place = input;
        rms_norm_in_place(&mut in_place, &[1.0; 100], 0.0);
        assert_eq!(in_place, output);
    }

    #[test]
    fn the_gate_is_the_sigmoid_weighted_unit() {
        for length in [1, 63, 64, 130, 20_000] {
            let input = (0..length).map(|i| (i as f32 * 0.37).cos() * 4.0);
            let mut gate = input.clone().collect::<Vec<_>>();
            let up = vec![2.0; length];
            gated(&mut gate, &up);
            for (index, (found, input)) in gate.iter().zip(input).enumerate() {
                let expected = 2.0 * input / (1.0 + (-input).exp());
                assert!((found - expected).abs() < 4e-6, "{index} of {length}");
            }
        }
    }
}
