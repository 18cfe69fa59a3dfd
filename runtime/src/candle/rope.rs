//! Rotary position embedding in the order of Hugging Face: the first half of a head is rotated
//! against its second half.

use super::parallel::for_rows;

/// Sines and cosines for every position that a cache can hold.
///
/// The table belongs to a cache and not to the model: what a file gives as its context is only a
/// number, and a table for a context of a million takes half a gigabyte that nobody reads.
pub(crate) struct Rope {
    head_size: usize,
    /// `positions × head_size`: the cosines of a position, then its sines.
    table: Vec<f32>,
}

impl Rope {
    /// The angles of `frequencies` (radians per position, one for each rotated pair) at the first
    /// `positions` positions.
    ///
    /// They are computed in `f64` and rounded once; `transformers` computes them in `f32`.
    pub(crate) fn new(frequencies: &[f64], positions: usize) -> Self {
        let head_size = 2 * frequencies.len();
        let mut table = Vec::with_capacity(positions * head_size);
        for position in 0..positions {
            let angles = frequencies
                .iter()
                .map(|frequency| position as f64 * frequency);
            table.extend(angles.clone().map(|angle| angle.cos() as f32));
            table.extend(angles.map(|angle| angle.sin() as f32));
        }
        Self { head_size, table }
    }

    /// The cosines of a position, then its sines: `positions × head_size`.
    pub(crate) fn table(&self) -> &[f32] {
        &self.table
    }

    /// Rotates every head of every row of `values` (`rows × heads·head_size`); `position` gives
    /// the position of a row.
    pub(crate) fn rotate(
        &self,
        values: &mut [f32],
        width: usize,
        position: impl Fn(usize) -> usize + Sync,
    ) {
        let half = self.head_size / 2;
        for_rows(values, width, |row, values| {
            let angles = &self.table[position(row) * self.head_size..][..self.head_size];
            let (cosines, sines) = angles.split_at(half);
            for head in values.chunks_exact_mut(self.head_size) {
                let (first, second) = head.split_at_mut(half);
                for pair in 0..half {
                    let (x, y) = (first[pair], second[pair]);
                    first[pair] = x * cosines[pair] - y * sines[pair];
                    second[pair] = y * cosines[pair] + x * sines[pair];
                }
            }
        });
    }
}
