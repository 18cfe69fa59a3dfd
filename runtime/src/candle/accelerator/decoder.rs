//! The forward pass of [`Decoder`] on an accelerator, as operations on candle's tensors.
//!
//! It runs on every device of candle, so that tests hold it against [`Decoder`] on the processor.
//! What candle has a kernel of its own for is computed by it: products ([`DeviceMatrix`]), RMS
//! norms, rotary positions, softmax. Activations are `f32` between the products.

use std::sync::Arc;

use candle_core::{D, Device, Tensor};

use crate::RuntimeError;
use crate::candle::decoder::{Block, Projection, tokens_per_sequence};
use crate::candle::{Decoder, Engine, Positions};

use super::cache::{CacheShape, DeviceCache};
use super::matrix::DeviceMatrix;

/// The weight matrices of one plan, in the canonical order of the spec's layers.
pub type DeviceMatrices = Vec<Arc<DeviceMatrix>>;

/// Everything of a model that no plan changes, in an accelerator's memory.
pub struct DeviceDecoder {
    device: Device,
    heads: usize,
    key_value_heads: usize,
    head_size: usize,
    epsilon: f32,
    embedding: usize,
    output: usize,
    output_norm: Tensor,
    blocks: Vec<DeviceBlock>,
    frequencies: Vec<f64>,
}

/// The fixed tensors of a block, and where its matrices are among the layers.
struct DeviceBlock {
    attention_norm: Tensor,
    feed_forward_norm: Tensor,
    query: DeviceProjection,
    key: DeviceProjection,
    value: DeviceProjection,
    attention_output: DeviceProjection,
    gate: usize,
    up: usize,
    down: usize,
}

/// A matrix with what may follow it.
struct DeviceProjection {
    layer: usize,
    bias: Option<Tensor>,
    norm: Option<Tensor>,
}

/// Hears what came out of each matrix, by the layer's index.
type Witness<'a> = &'a mut dyn FnMut(usize, &Tensor) -> Result<(), RuntimeError>;

/// One pass: what is read, from where on, and who hears of it.
struct Pass<'a> {
    matrices: &'a DeviceMatrices,
    sequences: usize,
    /// The position that it starts at.
    start: usize,
    /// Positions of each sequence.
    count: usize,
    witness: Option<Witness<'a>>,
}

impl Pass<'_> {
    fn multiply(&mut self, layer: usize, input: &Tensor) -> Result<Tensor, RuntimeError> {
        let output = self.matrices[layer].multiply(input)?;
        self.tell(layer, &output)?;
        Ok(output)
    }

    fn tell(&mut self, layer: usize, output: &Tensor) -> Result<(), RuntimeError> {
        match &mut self.witness {
            Some(witness) => witness(layer, output),
            None => Ok(()),
        }
    }
}

impl DeviceDecoder {
    /// Moves the fixed tensors of `decoder` to `device`.
    pub fn new(decoder: &Decoder, device: &Device) -> Result<Self, RuntimeError> {
        let moved = |values: &[f32]| Tensor::from_slice(values, values.len(), device);
        let projection = |projection: &Projection| {
            let moved = |values: &Option<Vec<f32>>| values.as_deref().map(moved).transpose();
            Ok::<_, RuntimeError>(DeviceProjection {
                layer: projection.layer,
                bias: moved(&projection.bias)?,
                norm: moved(&projection.norm)?,
            })
        };
        let block = |block: &Block| {
            Ok::<_, RuntimeError>(DeviceBlock {
                attention_norm: moved(&block.attention_norm)?,
                feed_forward_norm: moved(&block.feed_forward_norm)?,
                query: projection(&block.query)?,
                key: projection(&block.key)?,
                value: projection(&block.value)?,
                attention_output: projection(&block.attention_output)?,
                gate: block.gate,
                up: block.up,
                down: block.down,
            })
        };
        Ok(Self {
            device: device.clone(),
            heads: decoder.heads,
            key_value_heads: decoder.key_value_heads,
            head_size: decoder.head_size,
            epsilon: decoder.epsilon,
            embedding: decoder.embedding,
            output: decoder.output,
            output_norm: moved(&decoder.output_norm)?,
            blocks: decoder.blocks.iter().map(block).collect::<Result<_, _>>()?,
            frequencies: decoder.frequencies.clone(),
        })
    }

    /// An empty cache for `sequences` sequences of up to `capacity` positions.
    pub fn cache(&self, sequences: usize, capacity: usize) -> Result<DeviceCache, RuntimeError> {
        let shape = self.cache_shape(sequences, capacity);
        DeviceCache::new(&self.device, shape, &self.frequencies)
    }

    fn cache_shape(&self, sequences: usize, capacity: usize) -> CacheShape {
        CacheShape {
            blocks: self.blocks.len(),
            sequences,
            capacity,
            heads: self.key_value_heads,
            head_size: self.head_size,
        }
    }

    /// Reads `tokens` (`sequences × n`, sequence after sequence) after what `cache` holds, and
    /// returns the logits of `positions` in this process's memory, which waits for the device:
    /// `sequences · positions × vocabulary` values.
    pub fn forward(
        &self,
        matrices: &DeviceMatrices,
        tokens: &[u32],
        cache: &mut DeviceCache,
        positions: Positions,
    ) -> Result<Vec<f32>, RuntimeError> {
        let logits = self.run(matrices, tokens, cache, positions, None)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    /// The first layer whose output has a value that is not finite when `tokens` are read into an
    /// empty `cache`; none where all are finite.
    pub(super) fn first_not_finite(
        &self,
        matrices: &DeviceMatrices,
        tokens: &[u32],
        cache: &mut DeviceCache,
    ) -> Result<Option<usize>, RuntimeError> {
        let mut first = None;
        let mut witness = |layer: usize, output: &Tensor| {
            let values: Vec<f32> = output.flatten_all()?.to_vec1()?;
            if first.is_none() && !values.iter().all(|value| value.is_finite()) {
                first = Some(layer);
            }
            Ok(())
        };
        self.run(matrices, tokens, cache, Positions::All, Some(&mut witness))?;
        Ok(first)
    }

    fn run<'a>(
        &self,
        matrices: &'a DeviceMatrices,
        tokens: &[u32],
        cache: &mut DeviceCache,
        positions: Positions,
        witness: Option<Witness<'a>>,
    ) -> Result<Tensor, RuntimeError> {
        let (sequences, start) = (cache.sequences(), cache.length());
        let room = (sequences, cache.capacity());
        let count = tokens_per_sequence(tokens, start, room, matrices[self.embedding].rows())?;
        let (first, some) = positions.within(count)?;
        let mut pass = Pass {
            matrices,
            sequences,
            start,
            count,
            witness,
        };
        let tokens = Tensor::from_slice(tokens, tokens.len(), &self.device)?;
        let mut hidden = matrices[self.embedding].lookup(&tokens)?;
        pass.tell(self.embedding, &hidden)?;
        for (index, block) in self.blocks.iter().enumerate() {
            // After the last keys and values only the wanted positions go on.
            let last = index + 1 == self.blocks.len();
            let asking = if last { (first, some) } else { (0, count) };
            hidden = self.attention(index, block, hidden, asking, cache, &mut pass)?;
            hidden = self.feed_forward(block, hidden, &mut pass)?;
        }
        cache.advance(count);
        let output = self.normalize(&hidden, &self.output_norm)?;
        pass.multiply(self.output, &output)
    }

    /// The attention part of a block: `hidden` goes in for every position, and comes out for
    /// `some` positions from `first` on.
    fn attention(
        &self,
        index: usize,
        block: &DeviceBlock,
        mut hidden: Tensor,
        (first, some): (usize, usize),
        cache: &mut DeviceCache,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor, RuntimeError> {
        let (sequences, start, count) = (pass.sequences, pass.start, pass.count);
        let input = self.normalize(&hidden, &block.attention_norm)?;
        let query = self.project(&block.query, &input, self.heads, pass)?;
        let key = self.project(&block.key, &input, self.key_value_heads, pass)?;
        let value = self.project(&block.value, &input, self.key_value_heads, pass)?;
        let mut query = cache.rotate(&query, start)?;
        let key = cache.rotate(&key, start)?;
        let (keys, values) = cache.store(index, (&key, &value), start)?;
        if some < count {
            let width = hidden.dim(D::Minus1)?;
            let rows = hidden.reshape((sequences, count, width))?;
            let rows = rows.narrow(1, first, some)?.contiguous()?;
            hidden = rows.reshape((sequences * some, width))?;
            query = query.narrow(2, first, some)?.contiguous()?;
        }
        let mask = cache.mask(start + first, some, start + count)?;
        let attended = self.attend(&query, &keys, &values, mask.as_ref())?;
        let output = &block.attention_output;
        let mut delta = pass.multiply(output.layer, &attended)?;
        if let Some(bias) = &output.bias {
            delta = delta.broadcast_add(bias)?;
        }
        Ok((hidden + delta)?)
    }

    /// The heads of a query, key or value: `sequences × heads × positions × head size`.
    fn project(
        &self,
        projection: &DeviceProjection,
        input: &Tensor,
        heads: usize,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor, RuntimeError> {
        let mut output = pass.multiply(projection.layer, input)?;
        if let Some(bias) = &projection.bias {
            output = output.broadcast_add(bias)?;
        }
        let mut output = output.reshape((pass.sequences, pass.count, heads, self.head_size))?;
        if let Some(norm) = &projection.norm {
            output = self.normalize(&output, norm)?;
        }
        Ok(output.transpose(1, 2)?.contiguous()?)
    }

    /// What the positions of `query` (`sequences × heads × positions × head size`) attend to, row
    /// after row: `sequences·positions × heads·head size`.
    ///
    /// Heads that share keys and values are rows of one product with them, so that no key is
    /// copied for each.
    fn attend(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor, RuntimeError> {
        let (sequences, heads, positions, head_size) = query.dims4()?;
        let (shared, group) = (self.key_value_heads, heads / self.key_value_heads);
        let query = (query / (head_size as f64).sqrt())?;
        let query = query.reshape((sequences, shared, group * positions, head_size))?;
        let mut scores = query.matmul(&keys.t()?)?;
        if let Some(mask) = mask {
            let length = mask.dim(1)?;
            let each = scores.reshape((sequences, shared * group, positions, length))?;
            let masked = each.broadcast_add(mask)?;
            scores = masked.reshape((sequences, shared, group * positions, length))?;
        }
        let shares = candle_nn::ops::softmax_last_dim(&scores)?;
        let attended = shares.matmul(values)?;
        let attended = attended.reshape((sequences, heads, positions, head_size))?;
        let rows = attended.transpose(1, 2)?.contiguous()?;
        Ok(rows.reshape((sequences * positions, heads * head_size))?)
    }

    fn feed_forward(
        &self,
        block: &DeviceBlock,
        hidden: Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor, RuntimeError> {
        let input = self.normalize(&hidden, &block.feed_forward_norm)?;
        let gate = pass.multiply(block.gate, &input)?;
        let up = pass.multiply(block.up, &input)?;
        let inner = (gate.silu()? * up)?;
        let delta = pass.multiply(block.down, &inner)?;
        Ok((hidden + delta)?)
    }

    fn normalize(&self, hidden: &Tensor, weight: &Tensor) -> Result<Tensor, RuntimeError> {
        Ok(candle_nn::ops::rms_norm(hidden, weight, self.epsilon)?)
    }
}

impl Engine for DeviceDecoder {
    type Matrices = DeviceMatrices;
    type Cache = DeviceCache;

    fn empty_cache(&self, sequences: usize, capacity: usize) -> Result<DeviceCache, RuntimeError> {
        self.cache(sequences, capacity)
    }

    fn cache_bytes(&self, sequences: usize, capacity: usize) -> u64 {
        self.cache_shape(sequences, capacity).bytes()
    }

    fn truncate(cache: &mut DeviceCache, length: usize) {
        cache.truncate(length);
    }

    fn read(
        &self,
        matrices: &DeviceMatrices,
        tokens: &[u32],
        cache: &mut DeviceCache,
        positions: Positions,
    ) -> Result<Vec<f32>, RuntimeError> {
        let logits = self.forward(matrices, tokens, cache, positions)?;
        self.device.synchronize()?;
        Ok(logits)
    }

    /// The accelerator works on while the thread waits for a core.
    fn works_alone(&self) -> bool {
        false
    }
}
