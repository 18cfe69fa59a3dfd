//! Weights as the kernel reads them: sixteen rows side by side, a byte for each weight.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::super::parallel::for_costly_rows;
use super::{BLOCK, OUTPUTS};

/// Groups of weights with a scale of their own, at most, in a block.
const GROUPS: usize = BLOCK / 16;

/// Four columns of every row of a tile.
pub(super) type Quad = [[u8; 4]; OUTPUTS];

/// How a precision stores its weights: `scale · (integer − zero)`, or `scale · integer − minimum`.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Bytes of [`BLOCK`] weights.
    bytes: usize,
    /// Weights that share a scale.
    pub(super) group: Group,
    pub(super) zero: Zero,
    decode: fn(&[u8], &mut Decoded),
}

/// How many weights share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Sixteen = 16,
    ThirtyTwo = 32,
}

/// What is subtracted of the scaled integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// Each group has a minimum of its own.
    Minimum,
    /// The integer that stands for zero.
    At(u8),
}

/// [`BLOCK`] weights of a row.
pub(super) struct Decoded {
    integers: [u8; BLOCK],
    scales: [f32; GROUPS],
    minima: [f32; GROUPS],
}

impl Format {
    /// None for a precision that has no blocks of this kind.
    pub(super) fn of(dtype: GgmlDType) -> Option<Self> {
        let format = |bytes, group, zero, decode| Self {
            bytes,
            group,
            zero,
            decode,
        };
        Some(match dtype {
            GgmlDType::Q2K => format(84, Group::Sixteen, Zero::Minimum, q2_k),
            GgmlDType::Q3K => format(110, Group::Sixteen, Zero::At(4), q3_k),
            GgmlDType::Q4K => format(144, Group::ThirtyTwo, Zero::Minimum, q4_k),
            GgmlDType::Q5K => format(176, Group::ThirtyTwo, Zero::Minimum, q5_k),
            GgmlDType::Q6K => format(210, Group::Sixteen, Zero::At(32), q6_k),
            GgmlDType::Q8_0 => format(8 * 34, Group::ThirtyTwo, Zero::At(128), q8_0),
            _ => return None,
        })
    }

    /// Groups of a block.
    fn groups(self) -> usize {
        BLOCK / self.group as usize
    }
}

/// [`BLOCK`] columns of [`OUTPUTS`] rows.
#[derive(Clone)]
pub(super) struct TileBlock {
    pub(super) integers: [Quad; BLOCK / 4],
    /// As many as the format has groups.
    pub(super) scales: [[f32; OUTPUTS]; GROUPS],
    /// Zeros where the format has none.
    pub(super) minima: [[f32; OUTPUTS]; GROUPS],
}

/// A matrix in tiles.
pub(super) struct Tiles {
    /// Tile after tile, the blocks of a tile in the order of columns.
    blocks: Vec<TileBlock>,
    pub(super) format: Format,
    blocks_of_a_tile: usize,
}

impl Tiles {
    /// The tiles of a ggml tensor: rows of `columns` weights, a multiple of [`BLOCK`], and as many
    /// rows as fill tiles.
    pub(super) fn of(bytes: &[u8], format: Format, columns: usize) -> Self {
        let blocks_of_a_tile = columns / BLOCK;
        let zero = TileBlock {
            integers: [[[0; 4]; OUTPUTS]; BLOCK / 4],
            scales: [[0.0; OUTPUTS]; GROUPS],
            minima: [[0.0; OUTPUTS]; GROUPS],
        };
        let mut blocks = vec![zero; bytes.len() / (format.bytes * OUTPUTS)];
        let cost = bytes.len();
        for_costly_rows(&mut blocks, 1, cost, |index, block| {
            let (tile, column) = (index / blocks_of_a_tile, index % blocks_of_a_tile);
            for row in 0..OUTPUTS {
                let at = (tile * OUTPUTS + row) * blocks_of_a_tile + column;
                let bytes = &bytes[at * format.bytes..][..format.bytes];
                block[0].place(row, bytes, format);
            }
        });
        Self {
            blocks,
            format,
            blocks_of_a_tile,
        }
    }

    /// Rows of the matrix.
    pub(super) fn outputs(&self) -> usize {
        self.blocks.len() / self.blocks_of_a_tile * OUTPUTS
    }

    pub(super) fn tiles(&self) -> impl Iterator<Item = &[TileBlock]> {
        self.blocks.chunks_exact(self.blocks_of_a_tile)
    }
}

impl TileBlock {
    fn place(&mut self, row: usize, bytes: &[u8], format: Format) {
        let mut decoded = Decoded {
            integers: [0; BLOCK],
            scales: [0.0; GROUPS],
            minima: [0.0; GROUPS],
        };
        (format.decode)(bytes, &mut decoded);
        let (quads, _) = decoded.integers.as_chunks::<4>();
        for (place, quad) in self.integers.iter_mut().zip(quads) {
            place[row] = *quad;
        }
        for group in 0..format.groups() {
            self.scales[group][row] = decoded.scales[group];
            self.minima[group][row] = decoded.minima[group];
        }
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn q2_k(bytes: &[u8], decoded: &mut Decoded) {
    let (scales, bytes) = bytes.split_at(16);
    let (twos, halves) = bytes.split_at(64);
    let (scale, minimum) = (half(halves), half(&halves[2..]));
    let places = decoded.scales.iter_mut().zip(&mut decoded.minima);
    for ((own, least), packed) in places.zip(scales) {
        *own = scale * f32::from(packed & 15);
        *least = minimum * f32::from(packed >> 4);
    }
    for (integers, twos) in decoded.integers.chunks_mut(128).zip(twos.chunks(32)) {
        for (shift, integers) in integers.chunks_mut(32).enumerate() {
            for (integer, two) in integers.iter_mut().zip(twos) {
                *integer = (two >> (2 * shift)) & 3;
            }
        }
    }
}

fn q3_k(bytes: &[u8], decoded: &mut Decoded) {
    let (thirds, bytes) = bytes.split_at(32);
    let (twos, bytes) = bytes.split_at(64);
    let (scales, scale) = bytes.split_at(12);
    let scale = half(scale);
    for group in 0..16 {
        let low = scales[group % 8] >> (4 * (group / 8)) & 15;
        let high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        decoded.scales[group] = scale * (f32::from(low | high << 4) - 32.0);
    }
    let halves = decoded.integers.chunks_mut(128).zip(twos.chunks(32));
    for (half, (integers, twos)) in halves.enumerate() {
        for (shift, integers) in integers.chunks_mut(32).enumerate() {
            let bit = 4 * half + shift;
            for ((integer, two), third) in integers.iter_mut().zip(twos).zip(thirds) {
                *integer = (two >> (2 * shift)) & 3 | (third >> bit & 1) << 2;
            }
        }
    }
}

fn q4_k(bytes: &[u8], decoded: &mut Decoded) {
    let (head, nibbles) = bytes.split_at(16);
    scales_and_minima(head, decoded);
    for (integers, nibbles) in decoded.integers.chunks_mut(64).zip(nibbles.chunks(32)) {
        let (low, high) = integers.split_at_mut(32);
        for ((low, high), nibble) in low.iter_mut().zip(high).zip(nibbles) {
            *low = nibble & 15;
            *high = nibble >> 4;
        }
    }
}

fn q5_k(bytes: &[u8], decoded: &mut Decoded) {
    let (head, bytes) = bytes.split_at(16);
    let (fifths, nibbles) = bytes.split_at(32);
    scales_and_minima(head, decoded);
    let parts = decoded.integers.chunks_mut(64).zip(nibbles.chunks(32));
    for (part, (integers, nibbles)) in parts.enumerate() {
        let (low, high) = integers.split_at_mut(32);
        let places = low.iter_mut().zip(high);
        for ((low, high), (nibble, fifth)) in places.zip(nibbles.iter().zip(fifths)) {
            *low = nibble & 15 | (fifth >> (2 * part) & 1) << 4;
            *high = nibble >> 4 | (fifth >> (2 * part + 1) & 1) << 4;
        }
    }
}

/// The first bytes of `q4_k` and `q5_k`: two floats, and eight pairs of 6-bit integers.
fn scales_and_minima(head: &[u8], decoded: &mut Decoded) {
    let (scale, minimum, packed) = (half(head), half(&head[2..]), &head[4..]);
    for group in 0..8 {
        let (own, other) = match group {
            0..4 => (packed[group] & 63, packed[group + 4] & 63),
            _ => {
                let low = packed[group + 4];
                let high = |at: usize| packed[at] >> 6 << 4;
                (low & 15 | high(group - 4), low >> 4 | high(group))
            }
        };
        decoded.scales[group] = scale * f32::from(own);
        decoded.minima[group] = minimum * f32::from(other);
    }
}

fn q6_k(bytes: &[u8], decoded: &mut Decoded) {
    let (nibbles, bytes) = bytes.split_at(128);
    let (twos, bytes) = bytes.split_at(64);
    let (scales, scale) = bytes.split_at(16);
    let scale = half(scale);
    for (own, packed) in decoded.scales.iter_mut().zip(scales) {
        *own = scale * f32::from(packed.cast_signed());
    }
    let halves = nibbles.chunks(64).zip(twos.chunks(32));
    for (integers, (nibbles, twos)) in decoded.integers.chunks_mut(128).zip(halves) {
        for (part, integers) in integers.chunks_mut(32).enumerate() {
            let nibbles = &nibbles[32 * (part % 2)..];
            for ((integer, nibble), two) in integers.iter_mut().zip(nibbles).zip(twos) {
                *integer = nibble >> (4 * (part / 2)) & 15 | (two >> (2 * part) & 3) << 4;
            }
        }
    }
}

fn q8_0(bytes: &[u8], decoded: &mut Decoded) {
    let blocks = bytes.chunks(34).zip(decoded.integers.chunks_mut(32));
    for ((bytes, integers), scale) in blocks.zip(&mut decoded.scales) {
        *scale = half(bytes);
        for (integer, byte) in integers.iter_mut().zip(&bytes[2..]) {
            *integer = byte ^ 128;
        }
    }
}
