//! 3-bit super-blocks: sixteen groups of 16 with 6-bit scales of either sign.

use super::arithmetic::{largest_in_magnitude, nearest_int, store_f16};
use super::lanes::{Groups, Lanes, side_by_side};
use super::search::{refined_scale, searched_scale};
use super::super_block::{
    SUPER_BLOCK, for_each_super_block, group_sums, pack_two_bits, requantize_signed,
    sum_of_squares, weigh,
};

const GROUPS: usize = 16;
const GROUP: usize = 16;
const BLOCK_BYTES: usize = 110;

/// The super-block's scale, its groups' multiples of it plus 32, and all quants plus 4.
struct Fit {
    scale: f32,
    scales: [u8; GROUPS],
    quants: [u8; SUPER_BLOCK],
}

/// Source: `quantize_row_q3_K_ref`, and `quantize_row_q3_K_impl` with importances.
pub(super) fn q3_k(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    for_each_super_block(row, importance, output, BLOCK_BYTES, |x, entries, block| {
        let mut fit = match entries {
            None => plain(x),
            Some(entries) => weighted(x, entries),
        };
        // high bits[32], low bits[64], scales[12], scale
        let (high_bits, rest) = block.split_at_mut(SUPER_BLOCK / 8);
        let (low_bits, rest) = rest.split_at_mut(SUPER_BLOCK / 4);
        let (packed_scales, scale_bytes) = rest.split_at_mut(12);
        let scale = store_f16(fit.scale, scale_bytes);
        pack_scales(&fit.scales, packed_scales);
        let groups = x
            .chunks_exact(GROUP)
            .zip(fit.quants.chunks_exact_mut(GROUP));
        for ((weights, quants), multiple) in groups.zip(fit.scales) {
            let scale = scale * (f32::from(multiple & 63) - 32.0);
            requantize_signed(weights, scale, 4, quants);
        }
        high_bits.fill(0);
        for (part, quants) in fit.quants.chunks_exact(SUPER_BLOCK / 8).enumerate() {
            for (byte, quant) in high_bits.iter_mut().zip(quants) {
                *byte |= (quant >> 2) << part;
            }
        }
        pack_two_bits(&fit.quants, low_bits);
    });
}

fn plain(x: &[f32]) -> Fit {
    const W: usize = 8;
    let mut scales = [0.0; GROUPS];
    let mut quants = [0; SUPER_BLOCK];
    let halves = x
        .chunks_exact(W * GROUP)
        .zip(quants.chunks_exact_mut(W * GROUP));
    for ((x, quants), scales) in halves.zip(scales.chunks_exact_mut(W)) {
        let x: Groups<W, GROUP> = side_by_side(x);
        let found = refined_scale(&x, 4.0);
        scales.copy_from_slice(&found.scale.0);
        found.write_quants(quants);
    }
    let largest = largest_in_magnitude(&scales);
    if largest == 0.0 {
        // ggml leaves the bytes of the multiples zero, which stand for −32.
        return Fit {
            scale: 0.0,
            scales: [0; GROUPS],
            quants,
        };
    }
    let inverse = -32.0 / largest;
    let multiples = scales.map(|scale| {
        let multiple = nearest_int(inverse * scale) as i8;
        (multiple.clamp(-32, 31) + 32) as u8
    });
    Fit {
        scale: 1.0 / inverse,
        scales: multiples,
        quants,
    }
}

fn weighted(x: &[f32], entries: &[f32]) -> Fit {
    const W: usize = 8;
    let mean_square = 2.0 * sum_of_squares(x) / SUPER_BLOCK as f32;
    let importance = weigh(x, entries, mean_square);
    let mut scales = [0.0; GROUPS];
    let mut quants = [0; SUPER_BLOCK];
    let halves = x
        .chunks_exact(W * GROUP)
        .zip(importance.chunks_exact(W * GROUP))
        .zip(quants.chunks_exact_mut(W * GROUP));
    for (((x, importance), quants), scales) in halves.zip(scales.chunks_exact_mut(W)) {
        let x: Groups<W, GROUP> = side_by_side(x);
        let found = searched_scale(&x, &side_by_side(importance), 4.0);
        scales.copy_from_slice(&found.scale.0);
        found.write_quants(quants);
    }
    let sums: [f32; GROUPS] = group_sums(&importance);
    let found = searched_scale(
        &scales.map(|scale| Lanes([scale])),
        &sums.map(|sum| Lanes([sum])),
        32.0,
    );
    let mut multiples = [0; GROUPS];
    found.write_quants(&mut multiples);
    Fit {
        scale: found.scale.0[0],
        scales: multiples,
        quants,
    }
}

/// Low halves of the first and the last eight side by side, then two high bits of each.
fn pack_scales(scales: &[u8; GROUPS], output: &mut [u8]) {
    output.fill(0);
    for (index, scale) in scales.iter().enumerate() {
        output[index % 8] |= (scale & 15) << (4 * (index / 8));
        output[8 + index % 4] |= (scale >> 4) << (2 * (index / 4));
    }
}
