//! Activations as the kernel reads them.

use std::arch::x86_64::*;

use super::super::parallel::for_costly_rows;
use super::kernel::floats_of;
use super::{BLOCK, SUMMED, Wide};

/// Sums in a block.
const SUMS: usize = BLOCK / SUMMED;

/// A block of activations: 8-bit integers that share a scale, ggml's `q8_k`.
#[derive(Clone)]
pub(super) struct Block {
    /// The integers, four to a product of bytes.
    pub(super) integers: [[i8; 4]; BLOCK / 4],
    /// The sums of [`SUMMED`] of them after another.
    pub(super) sums: [i32; SUMS],
    pub(super) scale: f32,
}

/// Nothing but zeros.
const ZERO: Block = Block {
    integers: [[0; 4]; BLOCK / 4],
    sums: [0; SUMS],
    scale: 0.0,
};

/// Rows of activations in blocks of [`BLOCK`].
pub(in super::super) struct Rounded {
    /// Row after row.
    blocks: Vec<Block>,
    columns: usize,
}

impl Rounded {
    /// Rounds rows of `columns` values, a multiple of [`BLOCK`].
    pub(super) fn of(input: &[f32], columns: usize, _: Wide) -> Self {
        let (input, _) = input.as_chunks::<BLOCK>();
        let mut blocks = vec![ZERO; input.len()];
        for_costly_rows(&mut blocks, 1, input.len() * BLOCK, |index, block| {
            // SAFETY: there is a proof that the processor has what the function is compiled for.
            #[allow(unsafe_code)]
            unsafe {
                round(&input[index], &mut block[0]);
            }
        });
        Self { blocks, columns }
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn rows(&self) -> usize {
        self.blocks.len() / self.blocks_of_a_row()
    }

    fn blocks_of_a_row(&self) -> usize {
        self.columns / BLOCK
    }

    pub(super) fn row(&self, row: usize) -> &[Block] {
        let length = self.blocks_of_a_row();
        &self.blocks[row * length..][..length]
    }
}

/// As candle's `BlockQ8K`: the value of largest magnitude, the first one of several, becomes −127;
/// what is no number becomes zero.
#[target_feature(enable = "avx512f")]
fn round(input: &[f32; BLOCK], block: &mut Block) {
    let (groups, _) = input.as_chunks::<SUMMED>();
    let signed = first_largest(groups);
    if signed == 0.0 {
        *block = ZERO;
        return;
    }
    let inverse = -127.0 / signed;
    block.scale = 1.0 / inverse;
    let inverse = _mm512_set1_ps(inverse);
    let (least, most) = (_mm512_set1_ps(-128.0), _mm512_set1_ps(127.0));
    let (quads, _) = block.integers.as_chunks_mut::<{ SUMMED / 4 }>();
    for ((group, quads), sum) in groups.iter().zip(quads).zip(&mut block.sums) {
        let scaled = _mm512_mul_ps(floats_of(group), inverse);
        let is_number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(scaled, scaled);
        let within = _mm512_max_ps(_mm512_min_ps(scaled, most), least);
        let integers = _mm512_maskz_cvttps_epi32(is_number, away_from_half(within));
        *sum = _mm512_reduce_add_epi32(integers);
        let bytes = _mm512_cvtepi32_epi8(integers);
        for (quad, word) in quads.iter_mut().zip([
            _mm_extract_epi32::<0>(bytes),
            _mm_extract_epi32::<1>(bytes),
            _mm_extract_epi32::<2>(bytes),
            _mm_extract_epi32::<3>(bytes),
        ]) {
            *quad = word.to_le_bytes().map(u8::cast_signed);
        }
    }
}

/// The first of the values of largest magnitude; zero where there is none but zeros and what is no
/// number.
#[target_feature(enable = "avx512f")]
#[inline]
fn first_largest(groups: &[[f32; SUMMED]]) -> f32 {
    // Of a pair with something that is no number, the instruction takes the second.
    let largest = groups.iter().fold(_mm512_setzero_ps(), |largest, group| {
        _mm512_max_ps(_mm512_abs_ps(floats_of(group)), largest)
    });
    let largest = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
    for group in groups {
        let is_largest = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(_mm512_abs_ps(floats_of(group)), largest);
        if is_largest != 0 {
            return group[is_largest.trailing_zeros() as usize];
        }
    }
    0.0
}

/// Moves numbers below 2²² by nearly a half away from zero, so that what is left of them without
/// their fractions is `f32::round` of what they were.
#[target_feature(enable = "avx512f")]
#[inline]
fn away_from_half(numbers: __m512) -> __m512 {
    let nearly_half = _mm512_set1_epi32(0.499_999_97f32.to_bits().cast_signed());
    let signs = _mm512_set1_epi32((-0.0f32).to_bits().cast_signed());
    let signs = _mm512_and_si512(_mm512_castps_si512(numbers), signs);
    let signed = _mm512_castsi512_ps(_mm512_or_si512(nearly_half, signs));
    _mm512_add_ps(numbers, signed)
}
