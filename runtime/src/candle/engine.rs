//! What the forward pass on the processor and the one on an accelerator have in common, as far as
//! timing needs it.

use crate::RuntimeError;

use super::{Arithmetic, Decoder, KvCache, Matrices, Positions, threads};

/// A forward pass with its weights and caches in one memory.
///
/// Code that times or assembles plans is written once, for both: [`Decoder`] computes on the
/// processor, [`DeviceDecoder`](super::DeviceDecoder) on an accelerator.
pub trait Engine {
    /// The weights of one plan.
    type Matrices;
    /// What was read so far.
    type Cache;

    /// An empty cache for `sequences` sequences of up to `capacity` positions.
    fn empty_cache(&self, sequences: usize, capacity: usize) -> Result<Self::Cache, RuntimeError>;

    /// Bytes that such a cache occupies in the memory that the engine computes in.
    fn cache_bytes(&self, sequences: usize, capacity: usize) -> u64;

    /// Forgets everything after the first `length` positions.
    fn truncate(cache: &mut Self::Cache, length: usize);

    /// Reads `tokens` (`sequences × n`, sequence after sequence) after what `cache` holds. Returns
    /// when the logits of `positions` are in this process's memory and the device is done.
    fn read(
        &self,
        matrices: &Self::Matrices,
        tokens: &[u32],
        cache: &mut Self::Cache,
        positions: Positions,
    ) -> Result<Vec<f32>, RuntimeError>;

    /// True where nothing computes but the thread that calls [`Engine::read`], so that what it
    /// waits for a core is what the work was late by.
    fn works_alone(&self) -> bool;
}

impl Engine for Decoder {
    type Matrices = Matrices;
    type Cache = KvCache;

    fn empty_cache(&self, sequences: usize, capacity: usize) -> Result<KvCache, RuntimeError> {
        Ok(self.cache(sequences, capacity))
    }

    fn cache_bytes(&self, sequences: usize, capacity: usize) -> u64 {
        Self::cache_bytes(self, sequences, capacity)
    }

    fn truncate(cache: &mut KvCache, length: usize) {
        cache.truncate(length);
    }

    fn read(
        &self,
        matrices: &Matrices,
        tokens: &[u32],
        cache: &mut KvCache,
        positions: Positions,
    ) -> Result<Vec<f32>, RuntimeError> {
        self.forward(matrices, tokens, cache, positions, Arithmetic::Kernels)
    }

    fn works_alone(&self) -> bool {
        threads() == 1
    }
}
