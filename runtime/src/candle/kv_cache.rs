//! The keys and values of what was read so far.

use super::rope::Rope;

/// The cache of a whole model for a batch of sequences of equal length.
///
/// The caller creates it, passes it to every forward pass and resets it by name: nothing is
/// guessed from positions.
pub struct KvCache {
    sequences: usize,
    capacity: usize,
    length: usize,
    blocks: Vec<BlockCache>,
    rope: Rope,
}

/// The cache of one block: keys and values as `sequences × heads × capacity × head_size`.
pub(crate) struct BlockCache {
    heads: usize,
    head_size: usize,
    capacity: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KvCache {
    /// An empty cache; `frequencies` are those of the rotary positions, one for each pair of a
    /// head.
    pub(crate) fn new(
        blocks: usize,
        sequences: usize,
        capacity: usize,
        heads: usize,
        frequencies: &[f64],
    ) -> Self {
        let head_size = 2 * frequencies.len();
        let values = sequences * heads * capacity * head_size;
        let block = || BlockCache {
            heads,
            head_size,
            capacity,
            keys: vec![0.0; values],
            values: vec![0.0; values],
        };
        Self {
            sequences,
            capacity,
            length: 0,
            blocks: (0..blocks).map(|_| block()).collect(),
            rope: Rope::new(frequencies, capacity),
        }
    }

    /// Sequences that it holds.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Positions that each sequence can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Positions that each sequence holds.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes that it occupies.
    pub fn bytes(&self) -> u64 {
        let values = |block: &BlockCache| (block.keys.len() + block.values.len()) as u64;
        self.blocks.iter().map(values).sum::<u64>() * 4
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.length = 0;
    }

    /// Forgets everything after the first `length` positions.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// Rotates rows by the position that each stands at, which the cache must have room for.
    pub(crate) fn rope(&self) -> &Rope {
        &self.rope
    }

    pub(crate) fn block(&mut self, index: usize) -> &mut BlockCache {
        &mut self.blocks[index]
    }
}

impl BlockCache {
    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    pub(crate) fn head_size(&self) -> usize {
        self.head_size
    }

    /// Stores the keys and values of `tokens` positions of every sequence from `start` on; both
    /// are `sequences·tokens × heads·head_size`.
    pub(crate) fn store(&mut self, keys: &[f32], values: &[f32], tokens: usize, start: usize) {
        let width = self.heads * self.head_size;
        let rows = keys.chunks_exact(width).zip(values.chunks_exact(width));
        for (row, (keys, values)) in rows.enumerate() {
            let (sequence, position) = (row / tokens, start + row % tokens);
            for head in 0..self.heads {
                let from = head * self.head_size;
                let to = self.offset(sequence, head) + position * self.head_size;
                self.keys[to..][..self.head_size].copy_from_slice(&keys[from..][..self.head_size]);
                self.values[to..][..self.head_size]
                    .copy_from_slice(&values[from..][..self.head_size]);
            }
        }
    }

    /// `capacity × head_size` keys of one head.
    pub(crate) fn keys(&self, sequence: usize, head: usize) -> &[f32] {
        &self.keys[self.offset(sequence, head)..][..self.capacity * self.head_size]
    }

    /// `capacity × head_size` values of one head.
    pub(crate) fn values(&self, sequence: usize, head: usize) -> &[f32] {
        &self.values[self.offset(sequence, head)..][..self.capacity * self.head_size]
    }

    fn offset(&self, sequence: usize, head: usize) -> usize {
        (sequence * self.heads + head) * self.capacity * self.head_size
    }
}
