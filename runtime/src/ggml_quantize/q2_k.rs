//! 2-bit super-blocks: sixteen groups of 16 with 4-bit scales and minima.

use super::arithmetic::{largest, nearest_int, store_f16};
use super::lanes::{Groups, side_by_side};
use super::search::{AffineSearch, Distance, positive_scale, scale_and_minimum};
use super::super_block::{
    SUPER_BLOCK, for_each_super_block, group_sums, pack_two_bits, requantize, sum_of_squares, weigh,
};

const GROUPS: usize = 16;
const GROUP: usize = 16;
const BLOCK_BYTES: usize = 84;
const LARGEST_SCALE: u8 = 15;

const PLAIN: AffineSearch = AffineSearch {
    levels: 3.0,
    first: -0.5,
    step: 0.1,
    steps: 15,
    distance: Distance::Absolute,
};
const WEIGHTED: AffineSearch = AffineSearch::weighted(3.0);

/// The scale and minimum of each group, and all quants.
struct Fit {
    scales: [f32; GROUPS],
    minima: [f32; GROUPS],
    quants: [u8; SUPER_BLOCK],
}

/// The two numbers of a super-block, and its groups' multiples of them.
struct Scales {
    scale: f32,
    minimum: f32,
    scales: [u8; GROUPS],
    minima: [u8; GROUPS],
}

/// Source: `quantize_row_q2_K_ref`, and `quantize_row_q2_K_impl` with importances.
pub(super) fn q2_k(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    for_each_super_block(row, importance, output, BLOCK_BYTES, |x, entries, block| {
        let (mut fit, scales) = match entries {
            None => plain(x),
            Some(entries) => weighted(x, entries),
        };
        // scales[16], quants[64], scale, minimum
        let (packed_scales, rest) = block.split_at_mut(GROUPS);
        let (packed_quants, rest) = rest.split_at_mut(SUPER_BLOCK / 4);
        let (scale_bytes, minimum_bytes) = rest.split_at_mut(2);
        let scale = store_f16(scales.scale, scale_bytes);
        let minimum = store_f16(scales.minimum, minimum_bytes);
        for (index, packed) in packed_scales.iter_mut().enumerate() {
            *packed = scales.scales[index] | scales.minima[index] << 4;
        }
        let groups = x
            .chunks_exact(GROUP)
            .zip(fit.quants.chunks_exact_mut(GROUP));
        for ((weights, quants), packed) in groups.zip(packed_scales.iter()) {
            let scale = scale * f32::from(packed & 15);
            let minimum = minimum * f32::from(packed >> 4);
            requantize(weights, scale, minimum, 3, quants);
        }
        pack_two_bits(&fit.quants, packed_quants);
    });
}

fn plain(x: &[f32]) -> (Fit, Scales) {
    let mut importance = [0.0; SUPER_BLOCK];
    for (importance, x) in importance.iter_mut().zip(x) {
        *importance = x.abs();
    }
    let fit = fit(x, &importance, &PLAIN);
    let (scale, scales) = multiples(&fit.scales);
    let (minimum, minima) = multiples(&fit.minima);
    let scales = Scales {
        scale,
        minimum,
        scales,
        minima,
    };
    (fit, scales)
}

fn weighted(x: &[f32], entries: &[f32]) -> (Fit, Scales) {
    let mean_square = sum_of_squares(x) / SUPER_BLOCK as f32;
    let importance = weigh(x, entries, mean_square);
    let fit = fit(x, &importance, &WEIGHTED);
    let sums = group_sums(&importance);
    let (scale, scales) = positive_scale(&fit.scales, &sums, LARGEST_SCALE);
    let (minimum, minima) = positive_scale(&fit.minima, &sums, LARGEST_SCALE);
    let scales = Scales {
        scale,
        minimum,
        scales,
        minima,
    };
    (fit, scales)
}

fn fit(x: &[f32], importance: &[f32; SUPER_BLOCK], search: &AffineSearch) -> Fit {
    const W: usize = 8;
    let mut fit = Fit {
        scales: [0.0; GROUPS],
        minima: [0.0; GROUPS],
        quants: [0; SUPER_BLOCK],
    };
    for half in 0..GROUPS / W {
        let weights = half * W * GROUP..(half + 1) * W * GROUP;
        let groups = half * W..(half + 1) * W;
        let x: Groups<W, GROUP> = side_by_side(&x[weights.clone()]);
        let found = scale_and_minimum(&x, &side_by_side(&importance[weights.clone()]), search);
        fit.scales[groups.clone()].copy_from_slice(&found.scale.0);
        fit.minima[groups].copy_from_slice(&found.minimum.0);
        found.write_quants(&mut fit.quants[weights]);
    }
    fit
}

/// The largest number is fifteen, and the others round to multiples.
fn multiples(numbers: &[f32; GROUPS]) -> (f32, [u8; GROUPS]) {
    let largest = largest(numbers);
    if largest > 0.0 {
        let inverse = f32::from(LARGEST_SCALE) / largest;
        let multiples = numbers.map(|number| nearest_int(inverse * number) as u8);
        (largest / f32::from(LARGEST_SCALE), multiples)
    } else {
        (0.0, [0; GROUPS])
    }
}
