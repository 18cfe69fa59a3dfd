//! What the K-quants share: super-blocks of 256 weights in groups of 16 or 32.

use super::arithmetic::nearest_int;

/// Weights per super-block.
pub(super) const SUPER_BLOCK: usize = 256;

/// Hands out super-blocks with their imatrix entries and their bytes.
pub(super) fn for_each_super_block(
    row: &[f32],
    importance: Option<&[f32]>,
    output: &mut [u8],
    block_bytes: usize,
    mut quantize: impl FnMut(&[f32], Option<&[f32]>, &mut [u8]),
) {
    let (weights, _) = row.as_chunks::<SUPER_BLOCK>();
    for (index, (weights, block)) in weights
        .iter()
        .zip(output.chunks_exact_mut(block_bytes))
        .enumerate()
    {
        let start = index * SUPER_BLOCK;
        let importance = importance.map(|entries| &entries[start..start + SUPER_BLOCK]);
        quantize(weights, importance, block);
    }
}

/// The sum of squares, in order.
pub(super) fn sum_of_squares(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |sum, x| sum + x * x)
}

/// What each weight weighs in the search: its imatrix entry times `√(mean square + weight²)`.
pub(super) fn weigh<const N: usize>(
    weights: &[f32],
    entries: &[f32],
    mean_square: f32,
) -> [f32; N] {
    let mut importance = [0.0; N];
    for ((importance, x), entry) in importance.iter_mut().zip(weights).zip(entries) {
        *importance = entry * (mean_square + x * x).sqrt();
    }
    importance
}

/// The sum of each group's importances, in order.
pub(super) fn group_sums<const GROUPS: usize>(importance: &[f32; SUPER_BLOCK]) -> [f32; GROUPS] {
    let mut sums = [0.0; GROUPS];
    let groups = importance.chunks_exact(SUPER_BLOCK / GROUPS);
    for (sum, group) in sums.iter_mut().zip(groups) {
        *sum = group.iter().fold(0.0, |sum, entry| sum + entry);
    }
    sums
}

/// Quantizes a group anew with the scale and minimum that a reader will see.
///
/// Where the scale is zero, the quants of the search stay, as in ggml.
#[inline(always)]
pub(super) fn requantize(
    weights: &[f32],
    scale: f32,
    minimum: f32,
    levels: i32,
    quants: &mut [u8],
) {
    if scale == 0.0 {
        return;
    }
    for (quant, x) in quants.iter_mut().zip(weights) {
        *quant = nearest_int((x + minimum) / scale).clamp(0, levels) as u8;
    }
}

/// Like [`requantize`] without a minimum, for quants from `−levels` to `levels − 1`, which are
/// kept plus `levels`.
#[inline(always)]
pub(super) fn requantize_signed(weights: &[f32], scale: f32, levels: i32, quants: &mut [u8]) {
    if scale == 0.0 {
        return;
    }
    for (quant, x) in quants.iter_mut().zip(weights) {
        let nearest = nearest_int(x / scale).clamp(-levels, levels - 1);
        *quant = (nearest + levels) as u8;
    }
}

/// Packs the lowest two bits of each quant: four quants that are 32 apart share a byte.
pub(super) fn pack_two_bits(quants: &[u8; SUPER_BLOCK], output: &mut [u8]) {
    for (quants, output) in quants.chunks_exact(128).zip(output.chunks_exact_mut(32)) {
        for (at, byte) in output.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, part| {
                byte | (quants[at + 32 * part] & 3) << (2 * part)
            });
        }
    }
}
