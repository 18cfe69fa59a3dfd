//! The products of bytes, by AVX-512 VNNI.

use std::arch::x86_64::*;

use super::super::parallel::{for_costly_rows, threads};
use super::rounded::{Block, Rounded};
use super::tiles::{Group, Quad, TileBlock, Tiles, Zero};
use super::{BLOCK, OUTPUTS, SUMMED, Wide};

/// Rows of activations that are multiplied with a tile together: as many as their sums fit into
/// registers.
const ROWS: usize = 8;

/// Rows that one thread goes through tile by tile, at most: a tile stays in the nearest cache for
/// them.
const CHUNK: usize = 64;

/// `input · weightsᵀ`, of rows of the same length.
pub(super) fn multiply(tiles: &Tiles, input: &Rounded, _: Wide) -> Vec<f32> {
    let (rows, outputs) = (input.rows(), tiles.outputs());
    let mut output = vec![0.0; rows * outputs];
    let chunk_rows = CHUNK.min(rows.div_ceil(threads()).next_multiple_of(ROWS));
    let cost = rows * outputs * input.columns() / 32;
    let kernel = match (tiles.format.group, tiles.format.zero) {
        (Group::Sixteen, Zero::Minimum) => chunk::<16, true>,
        (Group::Sixteen, Zero::At(_)) => chunk::<16, false>,
        (Group::ThirtyTwo, Zero::Minimum) => chunk::<32, true>,
        (Group::ThirtyTwo, Zero::At(_)) => chunk::<32, false>,
    };
    for_costly_rows(&mut output, chunk_rows * outputs, cost, |index, output| {
        // SAFETY: there is a proof that the processor has what the function is compiled for.
        #[allow(unsafe_code)]
        unsafe {
            kernel(tiles, input, index * chunk_rows, output);
        }
    });
    output
}

/// The products of the rows from `first` on with all tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn chunk<const GROUP: usize, const MINIMUM: bool>(
    tiles: &Tiles,
    input: &Rounded,
    first: usize,
    output: &mut [f32],
) {
    let outputs = tiles.outputs();
    let zero = match tiles.format.zero {
        Zero::At(zero) => i32::from(zero),
        Zero::Minimum => 0,
    };
    for (index, tile) in tiles.tiles().enumerate() {
        let mut rows = output.chunks_exact_mut(ROWS * outputs);
        let mut row = first;
        for output in &mut rows {
            let mut together = [input.row(row); ROWS];
            for (offset, together) in together.iter_mut().enumerate() {
                *together = input.row(row + offset);
            }
            let sums = products::<ROWS, GROUP, MINIMUM>(tile, together, zero);
            for (output, sums) in output.chunks_exact_mut(outputs).zip(sums) {
                output[index * OUTPUTS..][..OUTPUTS].copy_from_slice(&sums);
            }
            row += ROWS;
        }
        for output in rows.into_remainder().chunks_exact_mut(outputs) {
            let [sums] = products::<1, GROUP, MINIMUM>(tile, [input.row(row)], zero);
            output[index * OUTPUTS..][..OUTPUTS].copy_from_slice(&sums);
            row += 1;
        }
    }
}

/// The products of some rows of activations with the rows of a tile, the floats in the order of
/// candle's packed kernels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn products<const N: usize, const GROUP: usize, const MINIMUM: bool>(
    tile: &[TileBlock],
    rows: [&[Block]; N],
    zero: i32,
) -> [[f32; OUTPUTS]; N] {
    let mut totals = [_mm512_setzero_ps(); N];
    for (at, tile) in tile.iter().enumerate() {
        let blocks = rows.map(|row| &row[at]);
        for group in 0..BLOCK / GROUP {
            let mut sums = [0; N];
            let mut integers = [_mm512_setzero_si512(); N];
            for row in 0..N {
                let summed = &blocks[row].sums[group * GROUP / SUMMED..][..GROUP / SUMMED];
                sums[row] = summed.iter().sum::<i32>();
                integers[row] = _mm512_set1_epi32(-zero * sums[row]);
            }
            for quad in group * GROUP / 4..(group + 1) * GROUP / 4 {
                let weights = quad_of(&tile.integers[quad]);
                for row in 0..N {
                    let four =
                        i32::from_le_bytes(blocks[row].integers[quad].map(i8::cast_unsigned));
                    integers[row] =
                        _mm512_dpbusd_epi32(integers[row], weights, _mm512_set1_epi32(four));
                }
            }
            let scale = floats_of(&tile.scales[group]);
            let minimum = floats_of(&tile.minima[group]);
            for row in 0..N {
                let factor = _mm512_mul_ps(scale, _mm512_set1_ps(blocks[row].scale));
                let product = _mm512_cvtepi32_ps(integers[row]);
                totals[row] = _mm512_fmadd_ps(product, factor, totals[row]);
                if MINIMUM {
                    let sum = _mm512_set1_ps(blocks[row].scale * sums[row] as f32);
                    totals[row] = _mm512_fnmadd_ps(minimum, sum, totals[row]);
                }
            }
        }
    }
    totals.map(|total| {
        let mut sums = [0.0; OUTPUTS];
        // SAFETY: sixteen floats are written to sixteen.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), total);
        }
        sums
    })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn quad_of(quad: &Quad) -> __m512i {
    // SAFETY: 64 bytes are read of 64.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_loadu_si512(quad.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn floats_of(floats: &[f32; 16]) -> __m512 {
    // SAFETY: sixteen floats are read of sixteen.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_loadu_ps(floats.as_ptr())
    }
}
