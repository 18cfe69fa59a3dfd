//! The keys and values of what was read so far, in an accelerator's memory.

use candle_core::{DType, Device, Tensor};

use crate::RuntimeError;
use crate::candle::rope::Rope;

/// Masks that are kept: a pass has one for its blocks and one for the positions that leave the last.
const MASKS: usize = 2;

/// The cache of a whole model for a batch of sequences of equal length, in `f32`.
///
/// As [`KvCache`](crate::candle::KvCache): the caller creates it, passes it to every forward pass
/// and resets it by name.
pub struct DeviceCache {
    sequences: usize,
    capacity: usize,
    length: usize,
    /// For every block, `sequences × heads × capacity × head size`.
    keys: Vec<Tensor>,
    values: Vec<Tensor>,
    /// `capacity × head size / 2` each.
    cosines: Tensor,
    sines: Tensor,
    /// What the last passes masked, by (first position, rows, keys): successive samples of a timing
    /// have the same, as a deployment's prompts of one length do.
    masks: Vec<((usize, usize, usize), Tensor)>,
}

/// How large a cache is.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheShape {
    pub(super) blocks: usize,
    pub(super) sequences: usize,
    pub(super) capacity: usize,
    pub(super) heads: usize,
    pub(super) head_size: usize,
}

impl CacheShape {
    /// Bytes of the keys and values.
    pub(super) fn bytes(&self) -> u64 {
        [
            self.blocks,
            self.sequences,
            self.capacity,
            self.heads,
            self.head_size,
        ]
        .into_iter()
        .fold(2 * 4, |bytes: u64, factor| {
            bytes.saturating_mul(factor as u64)
        })
    }
}

impl DeviceCache {
    /// An empty cache; `frequencies` are those of the rotary positions, one for each pair of a
    /// head.
    pub(super) fn new(
        device: &Device,
        shape: CacheShape,
        frequencies: &[f64],
    ) -> Result<Self, RuntimeError> {
        let CacheShape {
            blocks,
            sequences,
            capacity,
            heads,
            head_size,
        } = shape;
        let block = || Tensor::zeros((sequences, heads, capacity, head_size), DType::F32, device);
        let blocks = || (0..blocks).map(|_| block()).collect::<Result<_, _>>();
        let rope = Rope::new(frequencies, capacity);
        let half = frequencies.len();
        let angles = Tensor::from_slice(rope.table(), (capacity, 2 * half), device)?;
        Ok(Self {
            sequences,
            capacity,
            length: 0,
            keys: blocks()?,
            values: blocks()?,
            cosines: angles.narrow(1, 0, half)?.contiguous()?,
            sines: angles.narrow(1, half, half)?.contiguous()?,
            masks: Vec::new(),
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

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.length = 0;
    }

    /// Forgets everything after the first `length` positions.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// Rotates `values` (`sequences × heads × positions × head size`), whose first position is
    /// `start`.
    pub(super) fn rotate(&self, values: &Tensor, start: usize) -> Result<Tensor, RuntimeError> {
        let positions = values.dim(2)?;
        let cosines = self.cosines.narrow(0, start, positions)?;
        let sines = self.sines.narrow(0, start, positions)?;
        Ok(candle_nn::rotary_emb::rope(values, &cosines, &sines)?)
    }

    /// Stores the keys and values of a block from position `start` on, both `sequences × heads ×
    /// positions × head size`, and returns all that it holds then.
    pub(super) fn store(
        &self,
        block: usize,
        (keys, values): (&Tensor, &Tensor),
        start: usize,
    ) -> Result<(Tensor, Tensor), RuntimeError> {
        let length = start + keys.dim(2)?;
        let store = |all: &Tensor, new: &Tensor| {
            all.slice_set(new, 2, start)?;
            all.narrow(2, 0, length)
        };
        let keys = store(&self.keys[block], keys)?;
        Ok((keys, store(&self.values[block], values)?))
    }

    /// What is added to the products of `rows` positions from `first` on with `keys` keys, so that
    /// none sees a later one: `rows × keys` zeros and negative infinities, or nothing where the one
    /// row sees all.
    pub(super) fn mask(
        &mut self,
        first: usize,
        rows: usize,
        keys: usize,
    ) -> Result<Option<Tensor>, RuntimeError> {
        if rows == 1 && first + 1 == keys {
            return Ok(None);
        }
        let what = (first, rows, keys);
        if let Some((_, mask)) = self.masks.iter().find(|(kept, _)| *kept == what) {
            return Ok(Some(mask.clone()));
        }
        let hidden = |row: usize, key: usize| match key > first + row {
            true => f32::NEG_INFINITY,
            false => 0.0,
        };
        let values: Vec<_> = (0..rows)
            .flat_map(|row| (0..keys).map(move |key| hidden(row, key)))
            .collect();
        let mask = Tensor::from_vec(values, (rows, keys), self.cosines.device())?;
        if self.masks.len() == MASKS {
            self.masks.remove(0);
        }
        self.masks.push((what, mask.clone()));
        Ok(Some(mask))
    }
}
