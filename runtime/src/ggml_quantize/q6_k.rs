//! 6-bit super-blocks: sixteen groups of 16 with 8-bit scales of either sign.

use super::arithmetic::{largest_in_magnitude, nearest_int, store_f16};
use super::lanes::{Groups, side_by_side};
use super::search::{SMALLEST, searched_scale};
use super::super_block::{SUPER_BLOCK, for_each_super_block, requantize_signed};

const GROUPS: usize = 16;
const GROUP: usize = 16;
const BLOCK_BYTES: usize = 210;

/// Source: `quantize_row_q6_K_ref`, and `quantize_row_q6_K_impl` with importances, which takes
/// the imatrix entries as they are.
pub(super) fn q6_k(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    for_each_super_block(row, importance, output, BLOCK_BYTES, |x, entries, block| {
        let mut quants = [0; SUPER_BLOCK];
        let scales = fit(x, entries, &mut quants);
        let largest = largest_in_magnitude(&scales);
        if largest.abs() < SMALLEST {
            block.fill(0);
            return;
        }
        // low bits[128], high bits[64], scales[16], scale
        let (low_bits, rest) = block.split_at_mut(SUPER_BLOCK / 2);
        let (high_bits, rest) = rest.split_at_mut(SUPER_BLOCK / 4);
        let (packed_scales, scale_bytes) = rest.split_at_mut(GROUPS);
        let inverse = -128.0 / largest;
        let scale = store_f16(1.0 / inverse, scale_bytes);
        let multiples = scales.map(|scale| nearest_int(inverse * scale).min(127) as i8);
        let groups = x.chunks_exact(GROUP).zip(quants.chunks_exact_mut(GROUP));
        for ((weights, quants), multiple) in groups.zip(multiples) {
            requantize_signed(weights, scale * f32::from(multiple), 32, quants);
        }
        for (packed, multiple) in packed_scales.iter_mut().zip(multiples) {
            *packed = multiple as u8;
        }
        pack_six_bits(&quants, low_bits, high_bits);
    });
}

fn fit(x: &[f32], entries: Option<&[f32]>, quants: &mut [u8; SUPER_BLOCK]) -> [f32; GROUPS] {
    const W: usize = 8;
    let mut scales = [0.0; GROUPS];
    for half in 0..GROUPS / W {
        let range = half * W * GROUP..(half + 1) * W * GROUP;
        let x: Groups<W, GROUP> = side_by_side(&x[range.clone()]);
        let importance = match entries {
            None => x.map(|x| x * x),
            Some(entries) => side_by_side(&entries[range.clone()]),
        };
        let found = searched_scale(&x, &importance, 32.0);
        scales[half * W..(half + 1) * W].copy_from_slice(&found.scale.0);
        found.write_quants(&mut quants[range]);
    }
    scales
}

/// Low halves of quants that are 64 apart share a byte; four pairs of high bits that are 32 apart
/// share another.
fn pack_six_bits(quants: &[u8; SUPER_BLOCK], low_bits: &mut [u8], high_bits: &mut [u8]) {
    let halves = quants.chunks_exact(128);
    let bits = low_bits
        .chunks_exact_mut(64)
        .zip(high_bits.chunks_exact_mut(32));
    for (quants, (low_bits, high_bits)) in halves.zip(bits) {
        for (at, byte) in low_bits.iter_mut().enumerate() {
            *byte = quants[at] & 15 | quants[at + 64] << 4;
        }
        for (at, byte) in high_bits.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, part| {
                byte | quants[at + 32 * part] >> 4 << (2 * part)
            });
        }
    }
}
