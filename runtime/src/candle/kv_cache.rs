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

/// Keys that lie side by side, value by value, so that a query is multiplied with all of them in
/// one vector.
pub(crate) const KEYS_PER_TILE: usize = 16;

/// The cache of one block.
pub(crate) struct BlockCache {
    heads: usize,
    head_size: usize,
    capacity: usize,
    /// `sequences × heads × tiles × head_size × KEYS_PER_TILE`, with tiles for the capacity and
    /// what it lacks of a whole one.
    keys: Vec<f32>,
    /// `sequences × heads × capacity × head_size`.
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
        let values = |positions: usize| vec![0.0; sequences * heads * positions * head_size];
        let block = || BlockCache {
            heads,
            head_size,
            capacity,
            keys: values(capacity.next_multiple_of(KEYS_PER_TILE)),
            values: values(capacity),
        };
        Self {
            sequences,
            capacity,
            length: 0,
            blocks: (0..blocks).map(|_| block()).collect(),
            rope: Rope::new(frequencies, capacity),
        }
    }

    /// [`KvCache::bytes`] of a cache that is not there yet.
    pub(crate) fn bytes_of(
        blocks: usize,
        sequences: usize,
        capacity: usize,
        heads: usize,
        head_size: usize,
    ) -> u64 {
        let positions = capacity.next_multiple_of(KEYS_PER_TILE) as u64 + capacity as u64;
        [blocks, sequences, heads, head_size]
            .into_iter()
            .fold(4 * positions, |bytes, factor| {
                bytes.saturating_mul(factor as u64)
            })
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
            let heads = keys.chunks_exact(self.head_size);
            let heads = heads.zip(values.chunks_exact(self.head_size));
            for (head, (keys, values)) in heads.enumerate() {
                let tile = position - position % KEYS_PER_TILE;
                let from = self.keys_offset(sequence, head) + tile * self.head_size;
                let columns = self.keys[from..].chunks_exact_mut(KEYS_PER_TILE);
                for (column, key) in columns.zip(keys) {
                    column[position % KEYS_PER_TILE] = *key;
                }
                let to = self.values_offset(sequence, head) + position * self.head_size;
                self.values[to..][..self.head_size].copy_from_slice(values);
            }
        }
    }

    /// The keys of one head: tiles of `head_size × KEYS_PER_TILE` for all positions.
    pub(crate) fn keys(&self, sequence: usize, head: usize) -> &[f32] {
        let length = self.capacity.next_multiple_of(KEYS_PER_TILE) * self.head_size;
        &self.keys[self.keys_offset(sequence, head)..][..length]
    }

    /// `capacity × head_size` values of one head.
    pub(crate) fn values(&self, sequence: usize, head: usize) -> &[f32] {
        &self.values[self.values_offset(sequence, head)..][..self.capacity * self.head_size]
    }

    fn keys_offset(&self, sequence: usize, head: usize) -> usize {
        let positions = self.capacity.next_multiple_of(KEYS_PER_TILE);
        (sequence * self.heads + head) * positions * self.head_size
    }

    fn values_offset(&self, sequence: usize, head: usize) -> usize {
        (sequence * self.heads + head) * self.capacity * self.head_size
    }
}
