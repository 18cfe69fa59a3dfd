//! 4- and 5-bit super-blocks: eight groups of 32 with 6-bit scales and minima.

use super::arithmetic::{largest, nearest_int, store_f16};
use super::lanes::{Groups, side_by_side};
use super::search::{AffineSearch, Distance, positive_scale, scale_and_minimum};
use super::super_block::{
    SUPER_BLOCK, for_each_super_block, group_sums, requantize, sum_of_squares, weigh,
};

const GROUPS: usize = 8;
const GROUP: usize = 32;
const Q4_BLOCK_BYTES: usize = 144;
const Q5_BLOCK_BYTES: usize = 176;
const LARGEST_SCALE: u8 = 63;

/// How the two types differ.
struct Kind {
    /// The search without an imatrix.
    plain: AffineSearch,
    /// The largest multiple of a super-block's scale or minimum that is written after a search
    /// with an imatrix. With 4 bits ggml lets every byte through, with 5 it does not.
    most: u8,
}

const Q4: Kind = Kind {
    plain: AffineSearch {
        levels: 15.0,
        first: -1.0,
        step: 0.1,
        steps: 20,
        distance: Distance::Squared,
    },
    most: u8::MAX,
};
const Q5: Kind = Kind {
    plain: AffineSearch {
        levels: 31.0,
        first: -0.5,
        step: 0.1,
        steps: 15,
        distance: Distance::Squared,
    },
    most: LARGEST_SCALE,
};

/// The scale and minimum of a super-block, its groups' multiples of them, and all quants.
struct Fit {
    scale: f32,
    minimum: f32,
    scales: [u8; GROUPS],
    minima: [u8; GROUPS],
    quants: [u8; SUPER_BLOCK],
}

/// Source: `quantize_row_q4_K_ref`, and `quantize_row_q4_K_impl` with importances.
pub(super) fn q4_k(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    for_each_super_block(
        row,
        importance,
        output,
        Q4_BLOCK_BYTES,
        |x, entries, block| {
            let (head, quants) = block.split_at_mut(16);
            let fitted = fit_and_write_scales(x, entries, &Q4, head);
            pack_four_bits(&fitted, quants);
        },
    );
}

/// Source: `quantize_row_q5_K_ref`, and `quantize_row_q5_K_impl` with importances.
pub(super) fn q5_k(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    for_each_super_block(
        row,
        importance,
        output,
        Q5_BLOCK_BYTES,
        |x, entries, block| {
            let (head, rest) = block.split_at_mut(16);
            let (high_bits, low_bits) = rest.split_at_mut(SUPER_BLOCK / 8);
            let fitted = fit_and_write_scales(x, entries, &Q5, head);
            high_bits.fill(0);
            for (part, quants) in fitted.chunks_exact(GROUP).enumerate() {
                for (byte, quant) in high_bits.iter_mut().zip(quants) {
                    *byte |= (quant >> 4) << part;
                }
            }
            pack_four_bits(&fitted, low_bits);
        },
    );
}

/// Writes scale, minimum and multiples; returns the quants that go with what was written.
fn fit_and_write_scales(
    x: &[f32],
    entries: Option<&[f32]>,
    kind: &Kind,
    head: &mut [u8],
) -> [u8; SUPER_BLOCK] {
    let mut fit = match entries {
        None => plain(x, &kind.plain),
        Some(entries) => weighted(x, entries, kind),
    };
    let (scale_bytes, rest) = head.split_at_mut(2);
    let (minimum_bytes, packed) = rest.split_at_mut(2);
    let scale = store_f16(fit.scale, scale_bytes);
    let minimum = store_f16(fit.minimum, minimum_bytes);
    pack_scales(&fit.scales, &fit.minima, packed);
    let groups = x
        .chunks_exact(GROUP)
        .zip(fit.quants.chunks_exact_mut(GROUP));
    for (index, (weights, quants)) in groups.enumerate() {
        let (multiple, minimum_multiple) = unpack_scales(packed, index);
        let scale = scale * f32::from(multiple);
        let minimum = minimum * f32::from(minimum_multiple);
        requantize(weights, scale, minimum, kind.plain.levels as i32, quants);
    }
    fit.quants
}

fn plain(x: &[f32], search: &AffineSearch) -> Fit {
    let mut importance = [0.0; SUPER_BLOCK];
    for (importance, x) in importance
        .chunks_exact_mut(GROUP)
        .zip(x.chunks_exact(GROUP))
    {
        let deviation = (sum_of_squares(x) / GROUP as f32).sqrt();
        for (importance, x) in importance.iter_mut().zip(x) {
            *importance = deviation + x.abs();
        }
    }
    let x: Groups<GROUPS, GROUP> = side_by_side(x);
    let found = scale_and_minimum(&x, &side_by_side(&importance), search);
    let mut quants = [0; SUPER_BLOCK];
    found.write_quants(&mut quants);
    let (scale, scales) = multiples(&found.scale.0);
    let (minimum, minima) = multiples(&found.minimum.0);
    Fit {
        scale,
        minimum,
        scales,
        minima,
        quants,
    }
}

fn weighted(x: &[f32], entries: &[f32], kind: &Kind) -> Fit {
    let mean_square = 2.0 * sum_of_squares(x) / SUPER_BLOCK as f32;
    let importance = weigh(x, entries, mean_square);
    let search = AffineSearch::weighted(kind.plain.levels);
    let x: Groups<GROUPS, GROUP> = side_by_side(x);
    let found = scale_and_minimum(&x, &side_by_side(&importance), &search);
    let mut quants = [0; SUPER_BLOCK];
    found.write_quants(&mut quants);
    let sums = group_sums(&importance);
    let (scale, scales) = positive_scale(&found.scale.0, &sums, LARGEST_SCALE);
    let (minimum, minima) = positive_scale(&found.minimum.0, &sums, LARGEST_SCALE);
    Fit {
        scale,
        minimum,
        scales: scales.map(|multiple| multiple.min(kind.most)),
        minima: minima.map(|multiple| multiple.min(kind.most)),
        quants,
    }
}

/// The largest number is 63, and the others round to multiples.
fn multiples(numbers: &[f32; GROUPS]) -> (f32, [u8; GROUPS]) {
    let most = f32::from(LARGEST_SCALE);
    let largest = largest(numbers);
    let inverse = if largest > 0.0 { most / largest } else { 0.0 };
    let multiples = numbers.map(|number| (nearest_int(inverse * number) as u8).min(LARGEST_SCALE));
    (largest / most, multiples)
}

/// Six bits each: the first four groups' scales and minima whole, the last four's low halves
/// together, and their high bits above the first eight.
fn pack_scales(scales: &[u8; GROUPS], minima: &[u8; GROUPS], output: &mut [u8]) {
    for index in 0..4 {
        let (scale, minimum) = (scales[index + 4], minima[index + 4]);
        output[index] = scales[index] | (scale >> 4) << 6;
        output[index + 4] = minima[index] | (minimum >> 4) << 6;
        output[index + 8] = scale & 15 | (minimum & 15) << 4;
    }
}

/// What a reader sees of a group's multiples.
///
/// These are not always the numbers that were packed: where importances differ so much that a
/// sum loses its small parts, a scale can come out negative, whose byte is above 63.
///
/// Source: `get_scale_min_k4`.
fn unpack_scales(packed: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        return (packed[index] & 63, packed[index + 4] & 63);
    }
    let (low, scale, minimum) = (packed[index + 4], packed[index - 4], packed[index]);
    (low & 15 | scale >> 6 << 4, low >> 4 | minimum >> 6 << 4)
}

/// Two quants that are 32 apart share a byte.
fn pack_four_bits(quants: &[u8; SUPER_BLOCK], output: &mut [u8]) {
    for (quants, output) in quants.chunks_exact(64).zip(output.chunks_exact_mut(32)) {
        let (first, second) = quants.split_at(32);
        for ((byte, first), second) in output.iter_mut().zip(first).zip(second) {
            *byte = first & 15 | second << 4;
        }
    }
}
