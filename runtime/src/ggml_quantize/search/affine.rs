//! Scale and minimum: `weight ≈ scale · quant − minimum`.

use crate::ggml_quantize::lanes::{Groups, Lanes, one_after_another};

/// Which scales are tried, and how a fit is judged.
#[derive(Debug, Clone, Copy)]
pub(in crate::ggml_quantize) struct AffineSearch {
    /// The largest quant.
    pub(in crate::ggml_quantize) levels: f32,
    /// Added to `levels` in the first try.
    pub(in crate::ggml_quantize) first: f32,
    /// What each further try adds.
    pub(in crate::ggml_quantize) step: f32,
    /// Tries after the first.
    pub(in crate::ggml_quantize) steps: u8,
    /// What the weights weigh.
    pub(in crate::ggml_quantize) distance: Distance,
}

impl AffineSearch {
    /// What llama.cpp uses wherever it has an imatrix.
    pub(in crate::ggml_quantize) const fn weighted(levels: f32) -> Self {
        Self {
            levels,
            first: -0.9,
            step: 0.05,
            steps: 36,
            distance: Distance::Squared,
        }
    }
}

/// The error of one weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::ggml_quantize) enum Distance {
    /// `|error|`
    Absolute,
    /// `error²`
    Squared,
}

/// The best fit of each group.
#[derive(Debug, Clone, Copy)]
pub(in crate::ggml_quantize) struct Affine<const W: usize, const N: usize> {
    /// What one quant is worth.
    pub(in crate::ggml_quantize) scale: Lanes<W>,
    /// What is subtracted, not negative.
    pub(in crate::ggml_quantize) minimum: Lanes<W>,
    /// Integers from 0 to `levels`.
    pub(in crate::ggml_quantize) quants: Groups<W, N>,
}

impl<const W: usize, const N: usize> Affine<W, N> {
    /// Writes group after group.
    pub(in crate::ggml_quantize) fn write_quants(&self, output: &mut [u8]) {
        one_after_another(&self.quants, output);
    }
}

/// Fits scale and minimum by weighted least squares for a number of roundings.
///
/// Source: `make_qkx2_quants` and `make_qkx3_quants`, which agree where importances are given.
/// As there, every try starts from the best minimum so far.
pub(in crate::ggml_quantize) fn scale_and_minimum<const W: usize, const N: usize>(
    x: &Groups<W, N>,
    importance: &Groups<W, N>,
    search: &AffineSearch,
) -> Affine<W, N> {
    let zero = Lanes::ZERO;
    let mut low = x[0];
    let mut high = x[0];
    let mut sum_w = importance[0];
    let mut sum_x = importance[0] * x[0];
    for (&x, &w) in x.iter().zip(importance).skip(1) {
        low = x.less(low).select(x, low);
        high = x.greater(high).select(x, high);
        sum_w = sum_w + w;
        sum_x = sum_x + w * x;
    }
    low = low.greater(zero).select(zero, low);
    let constant = high.equal(low);
    let constant_minimum = -low;

    let levels = Lanes::splat(search.levels);
    let mut inverse = levels / (high - low);
    let mut scale = Lanes::splat(1.0) / inverse;
    let mut best_inverse = inverse;
    let mut best_low = low;
    let mut quants = rounded(x, inverse, low, search.levels);
    let mut best_error = error(x, importance, &quants, scale, low, search.distance);

    for step in 0..=search.steps {
        let target = search.first + search.step * f32::from(step) + search.levels;
        inverse = Lanes::splat(target) / (high - low);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        for ((&x, &w), quant) in x.iter().zip(importance).zip(&mut quants) {
            let l = (inverse * (x - low)).nearest(0.0, search.levels);
            *quant = l;
            let wl = w * l;
            sum_l = sum_l + wl;
            sum_l2 = sum_l2 + wl * l;
            sum_xl = sum_xl + wl * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        let free_low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        let free_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let above = free_low.greater(zero);
        let this_low = above.select(zero, free_low);
        let this_scale = above.select(sum_xl / sum_l2, free_scale);
        let this_error = error(
            x,
            importance,
            &quants,
            this_scale,
            this_low,
            search.distance,
        );

        let better = determinant.greater(zero).and(this_error.less(best_error));
        best_inverse = better.select(inverse, best_inverse);
        best_low = better.select(low, best_low);
        best_error = better.select(this_error, best_error);
        scale = better.select(this_scale, scale);
        low = better.select(this_low, low);
    }

    let quants = rounded(x, best_inverse, best_low, search.levels);
    Affine {
        scale: constant.select(zero, scale),
        minimum: constant.select(constant_minimum, -low),
        quants: quants.map(|quant| constant.select(zero, quant)),
    }
}

#[inline(always)]
fn rounded<const W: usize, const N: usize>(
    x: &Groups<W, N>,
    inverse: Lanes<W>,
    low: Lanes<W>,
    levels: f32,
) -> Groups<W, N> {
    x.map(|x| (inverse * (x - low)).nearest(0.0, levels))
}

#[inline(always)]
fn error<const W: usize, const N: usize>(
    x: &Groups<W, N>,
    importance: &Groups<W, N>,
    quants: &Groups<W, N>,
    scale: Lanes<W>,
    low: Lanes<W>,
    distance: Distance,
) -> Lanes<W> {
    let mut sum = Lanes::ZERO;
    for ((&x, &w), &l) in x.iter().zip(importance).zip(quants) {
        let difference = scale * l + low - x;
        let error = match distance {
            Distance::Absolute => difference.abs(),
            Distance::Squared => difference * difference,
        };
        sum = sum + w * error;
    }
    sum
}
