//! One scale, of either sign: `weight ≈ scale · quant`, quants from `−levels` to `levels − 1`.

use super::SMALLEST;
use crate::ggml_quantize::lanes::{Groups, Lanes, Mask, one_after_another};

/// The best fit of each group.
#[derive(Debug, Clone, Copy)]
pub(in crate::ggml_quantize) struct Symmetric<const W: usize, const N: usize> {
    /// What one quant is worth.
    pub(in crate::ggml_quantize) scale: Lanes<W>,
    /// Quants plus `levels`; zero in a group of zeros.
    pub(in crate::ggml_quantize) quants: Groups<W, N>,
}

impl<const W: usize, const N: usize> Symmetric<W, N> {
    /// Writes group after group.
    pub(in crate::ggml_quantize) fn write_quants(&self, output: &mut [u8]) {
        one_after_another(&self.quants, output);
    }
}

/// Tries nineteen scales around the one that makes the largest weight `−levels`.
///
/// Source: `make_qx_quants` with importances. Where it is given none, its `rmse_type` 1 means the
/// weights' squares, which the caller passes.
pub(in crate::ggml_quantize) fn searched_scale<const W: usize, const N: usize>(
    x: &Groups<W, N>,
    importance: &Groups<W, N>,
    levels: f32,
) -> Symmetric<W, N> {
    let (largest, zeros) = largest(x);
    let mut best_inverse = Lanes::splat(-levels) / largest;
    let (sum_lx, sum_l2) = sums(x, importance, best_inverse, levels);
    let zero = Lanes::ZERO;
    let mut scale = sum_l2.equal(zero).select(zero, sum_lx / sum_l2);
    let mut best = scale * sum_lx;
    for step in (-9_i8..=9).filter(|step| *step != 0) {
        let inverse = Lanes::splat(-(levels + 0.1 * f32::from(step))) / largest;
        let (sum_lx, sum_l2) = sums(x, importance, inverse, levels);
        let better = sum_l2
            .greater(zero)
            .and((sum_lx * sum_lx).greater(best * sum_l2));
        let this_scale = sum_lx / sum_l2;
        best_inverse = better.select(inverse, best_inverse);
        best = better.select(this_scale * sum_lx, best);
        scale = better.select(this_scale, scale);
    }
    finish(scale, rounded(x, best_inverse, levels), levels, zeros)
}

/// Starts from the scale that makes the largest weight `−levels` and changes single quants while
/// that improves the fit, at most five times over.
///
/// Source: `make_q3_quants` with `do_rmse`. A group without a change in one turn has none in the
/// next, so that all may go on until none has any.
pub(in crate::ggml_quantize) fn refined_scale<const W: usize, const N: usize>(
    x: &Groups<W, N>,
    levels: f32,
) -> Symmetric<W, N> {
    let (largest, zeros) = largest(x);
    let zero = Lanes::ZERO;
    let inverse = Lanes::splat(-levels) / largest;
    let squares = x.map(|x| x * x);
    let mut quants = rounded(x, inverse, levels);
    let (mut sum_lx, mut sum_l2) = sums(x, &squares, inverse, levels);
    for _ in 0..5 {
        let mut changed = false;
        for ((&x, &w), quant) in x.iter().zip(&squares).zip(&mut quants) {
            let old = *quant;
            let rest_lx = sum_lx - w * x * old;
            let rest_l2 = sum_l2 - w * old * old;
            let new = (x * rest_l2 / rest_lx).nearest(-levels, levels - 1.0);
            let new_lx = rest_lx + w * x * new;
            let new_l2 = rest_l2 + w * new * new;
            let improves = (new_lx * new_lx * sum_l2).greater(sum_lx * sum_lx * new_l2);
            let better = rest_lx
                .greater(zero)
                .and(new.differs(old))
                .and(new_l2.greater(zero))
                .and(improves);
            changed |= better.any();
            *quant = better.select(new, old);
            sum_lx = better.select(new_lx, sum_lx);
            sum_l2 = better.select(new_l2, sum_l2);
        }
        if !changed {
            break;
        }
    }
    let scale = sum_l2.greater(zero).select(sum_lx / sum_l2, zero);
    finish(scale, quants, levels, zeros)
}

/// The weight of the largest magnitude, the first one of several, and which groups are zeros.
#[inline(always)]
fn largest<const W: usize, const N: usize>(x: &Groups<W, N>) -> (Lanes<W>, Mask<W>) {
    let mut largest = Lanes::ZERO;
    let mut magnitude = Lanes::ZERO;
    for &x in x {
        let greater = x.abs().greater(magnitude);
        magnitude = greater.select(x.abs(), magnitude);
        largest = greater.select(x, largest);
    }
    (largest, magnitude.less(Lanes::splat(SMALLEST)))
}

#[inline(always)]
fn rounded<const W: usize, const N: usize>(
    x: &Groups<W, N>,
    inverse: Lanes<W>,
    levels: f32,
) -> Groups<W, N> {
    x.map(|x| (inverse * x).nearest(-levels, levels - 1.0))
}

/// Sums of importance times quant times weight, and of importance times squared quant.
#[inline(always)]
fn sums<const W: usize, const N: usize>(
    x: &Groups<W, N>,
    importance: &Groups<W, N>,
    inverse: Lanes<W>,
    levels: f32,
) -> (Lanes<W>, Lanes<W>) {
    let (mut sum_lx, mut sum_l2) = (Lanes::ZERO, Lanes::ZERO);
    for (&x, &w) in x.iter().zip(importance) {
        let l = (inverse * x).nearest(-levels, levels - 1.0);
        sum_lx = sum_lx + w * x * l;
        sum_l2 = sum_l2 + w * l * l;
    }
    (sum_lx, sum_l2)
}

#[inline(always)]
fn finish<const W: usize, const N: usize>(
    scale: Lanes<W>,
    quants: Groups<W, N>,
    levels: f32,
    zeros: Mask<W>,
) -> Symmetric<W, N> {
    let shift = Lanes::splat(levels);
    Symmetric {
        scale: zeros.select(Lanes::ZERO, scale),
        quants: quants.map(|quant| zeros.select(Lanes::ZERO, quant + shift)),
    }
}
