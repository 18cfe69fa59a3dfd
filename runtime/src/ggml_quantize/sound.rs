//! Are stored blocks finite numbers?

use bitfront_model::Precision;

/// The exponent of an `f16` that is not finite.
const F16: u16 = 0x7c00;
/// The exponent of a `bf16` that is not finite.
const BF16: u16 = 0x7f80;

/// The first block with a scale or a minimum that is not finite, or the first such weight where
/// each is a block of its own.
///
/// Finite scales give finite values: the largest is 65504 × 63 × 127.
///
/// Source: `ggml_validate_row_data`, which llama.cpp runs over everything that it quantized.
pub(crate) fn first_unsound_block(precision: Precision, bytes: &[u8]) -> Option<usize> {
    let all_ones = |word: [u8; 2], exponent: u16| u16::from_le_bytes(word) & exponent == exponent;
    // The floats have loops of their own, since whole models are looked over.
    match precision {
        Precision::F32 => words::<4>(bytes).position(|word| !f32::from_le_bytes(word).is_finite()),
        Precision::F16 => words::<2>(bytes).position(|word| all_ones(word, F16)),
        Precision::Bf16 => words::<2>(bytes).position(|word| all_ones(word, BF16)),
        _ => {
            let scales = scale_offsets(precision);
            let is_unsound = |block: &[u8]| {
                scales
                    .iter()
                    .any(|&at| all_ones([block[at], block[at + 1]], F16))
            };
            bytes
                .chunks_exact(super::block_bytes(precision))
                .position(is_unsound)
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Where a block holds its `f16` scales and minimums, after the structures of ggml's
/// `ggml-common.h`.
pub(crate) fn scale_offsets(precision: Precision) -> &'static [usize] {
    match precision {
        Precision::F32 | Precision::F16 | Precision::Bf16 => &[],
        Precision::Q8_0 | Precision::Q5_0 | Precision::Q4_0 => &[0],
        Precision::Q5_1 | Precision::Q4_1 | Precision::Q5K | Precision::Q4K => &[0, 2],
        Precision::Q6K => &[208],
        Precision::Q3K => &[108],
        Precision::Q2K => &[80, 82],
    }
}
