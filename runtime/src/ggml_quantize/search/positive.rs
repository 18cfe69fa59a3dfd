//! One scale for numbers that are not negative: the scales and minima of a super-block.

use super::SMALLEST;
use crate::ggml_quantize::arithmetic::nearest_int;

/// Finds the scale and the quants from 0 to `levels` of a super-block's scales or minima.
///
/// There are 8 or 16 of them among 256 weights, so that this is no place for lanes.
///
/// Source: `make_qp_quants`.
pub(in crate::ggml_quantize) fn positive_scale<const N: usize>(
    x: &[f32; N],
    importance: &[f32; N],
    levels: u8,
) -> (f32, [u8; N]) {
    let largest = x
        .iter()
        .fold(0.0_f32, |largest, &x| if largest > x { largest } else { x });
    if largest < SMALLEST {
        return (0.0, [0; N]);
    }
    let pairs = || x.iter().zip(importance);
    let mut inverse = f32::from(levels) / largest;
    // The first try alone is not clamped and wraps into a byte, as in ggml.
    let scale = 1.0 / inverse;
    let mut best_error = 0.0;
    for (&x, &w) in pairs() {
        let difference = x - scale * f32::from(nearest_int(inverse * x) as u8);
        best_error += w * difference * difference;
    }
    for step in (-4_i8..=4).filter(|step| *step != 0) {
        let this_inverse = (0.1 * f32::from(step) + f32::from(levels)) / largest;
        let this_scale = 1.0 / this_inverse;
        let mut error = 0.0;
        for (&x, &w) in pairs() {
            let l = nearest_int(this_inverse * x).min(i32::from(levels));
            let difference = x - this_scale * l as f32;
            error += w * difference * difference;
        }
        if error < best_error {
            best_error = error;
            inverse = this_inverse;
        }
    }
    let mut quants = [0; N];
    let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
    for ((&x, &w), quant) in pairs().zip(&mut quants) {
        let l = nearest_int(inverse * x).min(i32::from(levels));
        *quant = l as u8;
        sum_lx += w * x * l as f32;
        sum_l2 += w * l as f32 * l as f32;
    }
    for _ in 0..5 {
        let mut changed = false;
        for ((&x, &w), quant) in pairs().zip(&mut quants) {
            let old = f32::from(*quant);
            let mut new_lx = sum_lx - w * x * old;
            let mut new_l2 = sum_l2 - w * old * old;
            if new_lx > 0.0 && new_l2 > 0.0 {
                let l = nearest_int(x * new_l2 / new_lx).min(i32::from(levels));
                if l != i32::from(*quant) {
                    new_lx += w * x * l as f32;
                    new_l2 += w * l as f32 * l as f32;
                    if new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2 {
                        *quant = l as u8;
                        sum_lx = new_lx;
                        sum_l2 = new_l2;
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    let scale = if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 };
    (scale, quants)
}
