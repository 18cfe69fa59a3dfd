//! The loops between the matrix multiplications.

use super::exponential::exp;
use super::parallel::{for_costly_rows, for_rows};
use super::vectors::widest_vectors;

/// What one exponential costs, counted in values written.
const EXPONENTIAL_COST: usize = 4;

/// Sums that run side by side, so that the compiler may use vector instructions: it must not
/// reorder a plain sum.
pub(crate) const LANES: usize = 16;

/// Inner product in [`LANES`] lanes.
#[inline(always)]
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
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

/// The largest of `value` over `items`, NaN left out; −∞ where there is none.
#[inline(always)]
pub(crate) fn largest<A: Copy>(items: &[A], value: impl Fn(A) -> f32) -> f32 {
    let greater = |largest: &mut f32, item: A| {
        let value = value(item);
        *largest = if value > *largest { value } else { *largest };
    };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = items.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            greater(&mut lanes[lane], chunk[lane]);
        }
    }
    for (lane, &item) in lanes.iter_mut().zip(rest) {
        greater(lane, item);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// Root-mean-square normalisation of every row of `input`: `x / sqrt(mean(x²) + epsilon) · weight`,
/// where a row is as long as `weight`.
pub(crate) fn rms_norm(input: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mut output = input.to_vec();
    rms_norm_in_place(&mut output, weight, epsilon);
    output
}

/// As [`rms_norm`], in place: the heads of a query or key.
pub(crate) fn rms_norm_in_place(values: &mut [f32], weight: &[f32], epsilon: f32) {
    for_rows(values, weight.len(), |_, row| {
        normalize(row, weight, epsilon);
    });
}

widest_vectors! {
    fn normalize(values: &mut [f32], weight: &[f32], epsilon: f32) = normalize_row
}

#[inline(always)]
fn normalize_row(values: &mut [f32], weight: &[f32], epsilon: f32) {
    let mean = dot(values, values) / values.len() as f32;
    let scale = 1.0 / (mean + epsilon).sqrt();
    for (value, weight) in values.iter_mut().zip(weight) {
        *value = *value * scale * weight;
    }
}

/// `silu(gate) · up`, into `gate`.
pub(crate) fn gated(gate: &mut [f32], up: &[f32]) {
    const WIDTH: usize = 256;
    let cost = gate.len() * EXPONENTIAL_COST;
    for_costly_rows(gate, WIDTH, cost, |row, gate| {
        gate_row(gate, &up[row * WIDTH..][..gate.len()]);
    });
}

widest_vectors! {
    fn gate_row(gate: &mut [f32], up: &[f32]) = gate_values
}

#[inline(always)]
fn gate_values(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
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
    use super::super::vectors::tests::in_every_form;
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
    fn wider_vectors_change_no_bit() {
        let wave = |step: f32| (0..300).map(move |i| (i as f32 * step).sin() * 3.0);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let (left, right) = (wave(0.7).collect::<Vec<_>>(), wave(0.3).collect::<Vec<_>>());
        let normalized = in_every_form(|| {
            let mut values = left.clone();
            normalize(&mut values, &right, 1e-5);
            bits(values)
        });
        let gated = in_every_form(|| {
            let mut values = left.clone();
            gate_row(&mut values, &right);
            bits(values)
        });
        for forms in [normalized, gated] {
            assert!(forms.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }

    #[test]
    fn the_largest_is_found_anywhere_and_nan_is_passed_over() {
        for length in [1, 15, 16, 17, 40] {
            for place in 0..length {
                let mut values = (0..length).map(|i| -(i as f32)).collect::<Vec<_>>();
                values[length - 1 - place / 2] = f32::NAN;
                values[place] = 1.5;
                assert_eq!(largest(&values, |value| value), 1.5, "{place} of {length}");
            }
        }
        assert_eq!(largest(&[] as &[f32], |value| value), f32::NEG_INFINITY);
        assert_eq!(largest(&[f32::NAN; 20], |value| value), f32::NEG_INFINITY);
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
