//! The types with blocks of 32 weights.

use super::arithmetic::{largest_in_magnitude, round_half_away, store_f16, truncate};
use super::lanes::{Groups, side_by_side};
use super::search::{AffineSearch, scale_and_minimum, searched_scale};
use super::super_block::{sum_of_squares, weigh};

const BLOCK: usize = 32;

/// Blocks that are searched at once.
const W: usize = 8;

/// Source: `quantize_row_q8_0_ref`; `quantize_q8_0` has no use for importances either.
pub(super) fn q8_0(row: &[f32], _importance: Option<&[f32]>, output: &mut [u8]) {
    for (x, block) in row.chunks_exact(BLOCK).zip(output.chunks_exact_mut(34)) {
        let scale = largest_in_magnitude(x).abs() / 127.0;
        let inverse = inverse(scale);
        let (scale_bytes, quants) = block.split_at_mut(2);
        store_f16(scale, scale_bytes);
        for (quant, x) in quants.iter_mut().zip(x) {
            *quant = round_half_away(x * inverse) as u8;
        }
    }
}

/// Source: `quantize_row_q4_0_ref`, and `quantize_row_q4_0_impl` with importances.
pub(super) fn q4_0(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    let write = |scale, quants: &[u8; BLOCK], block: &mut [u8]| {
        let (scale_bytes, rest) = block.split_at_mut(2);
        store_f16(scale, scale_bytes);
        pack_four_bits(quants, rest);
    };
    symmetric(row, importance, 8.0, output.chunks_exact_mut(18), write);
}

/// Source: `quantize_row_q5_0_ref`, and `quantize_row_q5_0_impl` with importances.
pub(super) fn q5_0(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    let write = |scale, quants: &[u8; BLOCK], block: &mut [u8]| {
        let (scale_bytes, rest) = block.split_at_mut(2);
        store_f16(scale, scale_bytes);
        pack_five_bits(quants, rest);
    };
    symmetric(row, importance, 16.0, output.chunks_exact_mut(22), write);
}

/// Source: `quantize_row_q4_1_ref`, and `quantize_row_q4_1_impl` with importances.
pub(super) fn q4_1(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    let write = |scale, low, quants: &[u8; BLOCK], block: &mut [u8]| {
        let (scale_bytes, rest) = block.split_at_mut(2);
        let (low_bytes, rest) = rest.split_at_mut(2);
        store_f16(scale, scale_bytes);
        store_f16(low, low_bytes);
        pack_four_bits(quants, rest);
    };
    affine(row, importance, 15.0, output.chunks_exact_mut(20), write);
}

/// Source: `quantize_row_q5_1_ref`, and `quantize_row_q5_1_impl` with importances.
pub(super) fn q5_1(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]) {
    let write = |scale, low, quants: &[u8; BLOCK], block: &mut [u8]| {
        let (scale_bytes, rest) = block.split_at_mut(2);
        let (low_bytes, rest) = rest.split_at_mut(2);
        store_f16(scale, scale_bytes);
        store_f16(low, low_bytes);
        pack_five_bits(quants, rest);
    };
    affine(row, importance, 31.0, output.chunks_exact_mut(24), write);
}

/// One scale: quants from `−levels` to `levels − 1`, kept plus `levels`.
fn symmetric<'block>(
    row: &[f32],
    importance: Option<&[f32]>,
    levels: f32,
    mut blocks: impl Iterator<Item = &'block mut [u8]>,
    write: impl Fn(f32, &[u8; BLOCK], &mut [u8]),
) {
    let Some(entries) = importance else {
        let (chunks, _) = row.as_chunks();
        for (x, block) in chunks.iter().zip(blocks) {
            let (scale, quants) = symmetric_plain(x, levels);
            write(scale, &quants, block);
        }
        return;
    };
    let mean_square = sum_of_squares(row) / row.len() as f32;
    for (x, entries) in row.chunks(W * BLOCK).zip(entries.chunks(W * BLOCK)) {
        let importance: [f32; W * BLOCK] = weigh(x, entries, mean_square);
        let groups: Groups<W, BLOCK> = side_by_side(x);
        let found = searched_scale(&groups, &side_by_side(&importance), levels);
        let mut quants = [[0; BLOCK]; W];
        found.write_quants(quants.as_flattened_mut());
        let fits = found.scale.0.iter().zip(&quants).take(x.len() / BLOCK);
        for ((scale, quants), block) in fits.zip(&mut blocks) {
            write(*scale, quants, block);
        }
    }
}

/// The largest weight becomes `−levels`.
fn symmetric_plain(x: &[f32; BLOCK], levels: f32) -> (f32, [u8; BLOCK]) {
    let scale = largest_in_magnitude(x) / -levels;
    let inverse = inverse(scale);
    let most = 2 * levels as i8 - 1;
    let quants = x.map(|x| (truncate(x * inverse + (levels + 0.5)) as i8).min(most) as u8);
    (scale, quants)
}

/// Scale and lowest weight: quants from 0 to `levels`.
fn affine<'block>(
    row: &[f32],
    importance: Option<&[f32]>,
    levels: f32,
    mut blocks: impl Iterator<Item = &'block mut [u8]>,
    write: impl Fn(f32, f32, &[u8; BLOCK], &mut [u8]),
) {
    let Some(entries) = importance else {
        let (chunks, _) = row.as_chunks();
        for (x, block) in chunks.iter().zip(blocks) {
            let (scale, low, quants) = affine_plain(x, levels);
            write(scale, low, &quants, block);
        }
        return;
    };
    let mean_square = sum_of_squares(row) / row.len() as f32;
    let search = AffineSearch::weighted(levels);
    for (x, entries) in row.chunks(W * BLOCK).zip(entries.chunks(W * BLOCK)) {
        let importance: [f32; W * BLOCK] = weigh(x, entries, mean_square);
        let groups: Groups<W, BLOCK> = side_by_side(x);
        let found = scale_and_minimum(&groups, &side_by_side(&importance), &search);
        let mut quants = [[0; BLOCK]; W];
        found.write_quants(quants.as_flattened_mut());
        let fits = found.scale.0.iter().zip(&found.minimum.0).zip(&quants);
        for (((scale, minimum), quants), block) in fits.take(x.len() / BLOCK).zip(&mut blocks) {
            write(*scale, -minimum, quants, block);
        }
    }
}

/// The lowest weight becomes 0 and the highest `levels`.
fn affine_plain(x: &[f32; BLOCK], levels: f32) -> (f32, f32, [u8; BLOCK]) {
    let (mut low, mut high) = (f32::MAX, -f32::MAX);
    for x in x {
        if *x < low {
            low = *x;
        }
        if *x > high {
            high = *x;
        }
    }
    let scale = (high - low) / levels;
    let inverse = inverse(scale);
    let most = levels as i8;
    let quants = x.map(|x| (truncate((x - low) * inverse + 0.5) as i8).min(most) as u8);
    (scale, low, quants)
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Quants of the first and the second half share bytes.
fn pack_four_bits(quants: &[u8; BLOCK], output: &mut [u8]) {
    let (first, second) = quants.split_at(BLOCK / 2);
    for ((byte, first), second) in output.iter_mut().zip(first).zip(second) {
        *byte = first & 15 | second << 4;
    }
}

/// The fifth bits of all quants, then what is left of them as for four bits.
fn pack_five_bits(quants: &[u8; BLOCK], output: &mut [u8]) {
    let (high_bits, low_bits) = output.split_at_mut(4);
    let bits = quants.iter().enumerate().fold(0, |bits, (index, quant)| {
        bits | u32::from(quant >> 4 & 1) << index
    });
    high_bits.copy_from_slice(&bits.to_le_bytes());
    pack_four_bits(quants, low_bits);
}
