//! One forward pass for Llama, Mistral, Qwen2 and Qwen3.
//!
//! The architectures differ in what a block has beside its seven matrices: biases on query, key
//! and value (Qwen2), norms on query and key heads (Qwen3). Everything else is the same: RMS
//! norms, rotary positions, grouped-query attention, a gated feed-forward part.

use std::sync::Arc;

use bitfront_model::LayerKind;

use crate::RuntimeError;
use crate::source::Source;

use super::attention::{Place, attend};
use super::elementwise::{add, add_bias, gated, rms_norm, rms_norm_in_place};
use super::kv_cache::KvCache;
use super::matrix::{Activations, Arithmetic, Matrix, multiply_fused};

/// The weight matrices of one plan, in the canonical order of the spec's layers.
///
/// Matrices are shared: another plan takes the same ones by reference.
pub type Matrices = Vec<Arc<Matrix>>;

/// Everything of a model that no plan changes.
pub struct Decoder {
    pub(super) hidden_size: usize,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
    pub(super) head_size: usize,
    pub(super) epsilon: f32,
    pub(super) embedding: usize,
    pub(super) output: usize,
    pub(super) output_norm: Vec<f32>,
    pub(super) blocks: Vec<Block>,
    /// Radians per position, one for each rotated pair of a head.
    pub(super) frequencies: Vec<f64>,
}

/// The fixed tensors of a block, and where its matrices are among the layers.
pub(super) struct Block {
    pub(super) attention_norm: Vec<f32>,
    pub(super) feed_forward_norm: Vec<f32>,
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    pub(super) attention_output: Projection,
    pub(super) gate: usize,
    pub(super) up: usize,
    pub(super) down: usize,
}

/// A matrix with what may follow it.
pub(super) struct Projection {
    pub(super) layer: usize,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) norm: Option<Vec<f32>>,
}

/// The positions of every sequence for which logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Every position of this pass.
    All,
    /// The last position of this pass.
    Last,
    /// `count` positions of this pass from `first` on.
    Range {
        /// The first one, counted from the start of the pass.
        first: usize,
        /// How many.
        count: usize,
    },
}

impl Positions {
    /// The first position of a pass over `count` ones for which logits are wanted, and how many.
    pub(super) fn within(self, count: usize) -> Result<(usize, usize), RuntimeError> {
        match self {
            Self::All => Ok((0, count)),
            Self::Last => Ok((count - 1, 1)),
            Self::Range { first, count: some } if first + some <= count => Ok((first, some)),
            Self::Range { first, count: some } => Err(RuntimeError::Engine(format!(
                "logits of {some} positions from {first} on were asked of {count} tokens"
            ))),
        }
    }
}

/// How one pass is done.
struct Pass<'a> {
    positions: Positions,
    arithmetic: Arithmetic,
    observer: Option<Observer<'a>>,
    witness: Option<Observer<'a>>,
    through: Through<'a>,
}

/// Hears the activations that each matrix is multiplied with, or what came out: the layer's index,
/// and `rows × columns` values.
pub type Observer<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// Where a pass over whole windows enters the model, and who hears how far it came.
///
/// A *part* is the attention or the feed-forward half of a block; the hidden states after it are
/// all that the following parts need of what was before.
#[derive(Default)]
pub(crate) struct Through<'a> {
    /// The parts that are skipped, and the hidden states after them: as many rows as such a pass
    /// has there.
    pub(crate) after: Option<(usize, &'a [f32])>,
    /// Hears the number of parts that are done, and the hidden states after them.
    pub(crate) keep: Option<Observer<'a>>,
}

impl Decoder {
    /// Reads the fixed tensors of `source`.
    pub fn new(source: &dyn Source) -> Result<Self, RuntimeError> {
        let (spec, hyper) = (source.spec(), source.hyper());
        let layer = |kind: LayerKind, block: Option<u32>| {
            spec.layers
                .iter()
                .position(|layer| layer.kind == kind && layer.block == block)
                .ok_or_else(|| {
                    RuntimeError::Engine(format!("the model has no `{kind}` in block {block:?}"))
                })
        };
        let required = |name: &str, length: usize| {
            let values = source
                .fixed(name)?
                .ok_or_else(|| RuntimeError::Engine(format!("the model has no tensor `{name}`")))?;
            if values.len() == length {
                return Ok(values);
            }
            Err(RuntimeError::Engine(format!(
                "tensor `{name}` has {} values, {length} are expected",
                values.len()
            )))
        };
        let hidden_size = spec.hidden_size as usize;
        let block = |index: u32| -> Result<Block, RuntimeError> {
            let projection = |kind: LayerKind, bias: bool, norm: bool| {
                let layer = layer(kind, Some(index))?;
                let rows = spec.layers[layer].rows as usize;
                let name = &spec.layers[layer].name;
                Ok::<_, RuntimeError>(Projection {
                    layer,
                    bias: bias
                        .then(|| required(&format!("{name}.bias"), rows))
                        .transpose()?,
                    norm: norm
                        .then(|| required(&format!("{name}_norm.weight"), hyper.head_size))
                        .transpose()?,
                })
            };
            let (bias, norm) = (hyper.query_key_value_bias, hyper.query_key_norm);
            Ok(Block {
                attention_norm: required(&format!("blk.{index}.attn_norm.weight"), hidden_size)?,
                feed_forward_norm: required(&format!("blk.{index}.ffn_norm.weight"), hidden_size)?,
                query: projection(LayerKind::AttentionQuery, bias, norm)?,
                key: projection(LayerKind::AttentionKey, bias, norm)?,
                value: projection(LayerKind::AttentionValue, bias, false)?,
                attention_output: projection(
                    LayerKind::AttentionOutput,
                    hyper.attention_output_bias,
                    false,
                )?,
                gate: layer(LayerKind::FeedForwardGate, Some(index))?,
                up: layer(LayerKind::FeedForwardUp, Some(index))?,
                down: layer(LayerKind::FeedForwardDown, Some(index))?,
            })
        };
        let embedding = layer(LayerKind::TokenEmbedding, None)?;
        let output = match hyper.tied {
            true => embedding,
            false => layer(LayerKind::Output, None)?,
        };
        Ok(Self {
            hidden_size,
            heads: hyper.attention_heads,
            key_value_heads: hyper.key_value_heads,
            head_size: hyper.head_size,
            epsilon: hyper.norm_epsilon as f32,
            embedding,
            output,
            output_norm: required("output_norm.weight", hidden_size)?,
            blocks: (0..spec.blocks).map(block).collect::<Result<_, _>>()?,
            frequencies: hyper
                .rope_scaling
                .frequencies(hyper.head_size, hyper.rope_theta),
        })
    }

    /// An empty cache for `sequences` sequences of up to `capacity` positions, with the rotations
    /// of these positions.
    pub fn cache(&self, sequences: usize, capacity: usize) -> KvCache {
        KvCache::new(
            self.blocks.len(),
            sequences,
            capacity,
            self.key_value_heads,
            &self.frequencies,
        )
    }

    /// Bytes that such a cache occupies.
    pub(crate) fn cache_bytes(&self, sequences: usize, capacity: usize) -> u64 {
        let (heads, head_size) = (self.key_value_heads, self.head_size);
        KvCache::bytes_of(self.blocks.len(), sequences, capacity, heads, head_size)
    }

    /// Reads `tokens` (`sequences × n`, sequence after sequence) after what `cache` holds, and
    /// returns the logits of `positions`: `sequences · positions × vocabulary` values.
    pub fn forward(
        &self,
        matrices: &Matrices,
        tokens: &[u32],
        cache: &mut KvCache,
        positions: Positions,
        arithmetic: Arithmetic,
    ) -> Result<Vec<f32>, RuntimeError> {
        let pass = Pass {
            positions,
            arithmetic,
            observer: None,
            witness: None,
            through: Through::default(),
        };
        self.run(matrices, tokens, cache, pass)
    }

    /// As [`Decoder::forward`] over whole windows with an empty cache, which may enter the model
    /// after some of its parts. The cache holds nothing afterwards: what was skipped has left no
    /// keys and values.
    pub(crate) fn forward_through(
        &self,
        matrices: &Matrices,
        tokens: &[u32],
        cache: &mut KvCache,
        positions: Positions,
        arithmetic: Arithmetic,
        through: Through<'_>,
    ) -> Result<Vec<f32>, RuntimeError> {
        if cache.length() != 0 {
            return Err(RuntimeError::Engine(format!(
                "a window was to be read after {} positions",
                cache.length()
            )));
        }
        let pass = Pass {
            positions,
            arithmetic,
            observer: None,
            witness: None,
            through,
        };
        let logits = self.run(matrices, tokens, cache, pass);
        cache.reset();
        logits
    }

    /// The first layer whose output has a value that is not finite when `tokens` are read into an
    /// empty `cache`; none where all are finite.
    pub(crate) fn first_not_finite(
        &self,
        matrices: &Matrices,
        tokens: &[u32],
        cache: &mut KvCache,
        arithmetic: Arithmetic,
    ) -> Result<Option<usize>, RuntimeError> {
        let mut first = None;
        let mut witness = |layer: usize, values: &[f32]| {
            if first.is_none() && !values.iter().all(|value| value.is_finite()) {
                first = Some(layer);
            }
        };
        let pass = Pass {
            positions: Positions::All,
            arithmetic,
            observer: None,
            witness: Some(&mut witness),
            through: Through::default(),
        };
        self.run(matrices, tokens, cache, pass)?;
        Ok(first)
    }

    /// Parts that a pass goes through between the embedding and the head.
    pub(crate) fn parts(&self) -> usize {
        2 * self.blocks.len()
    }

    /// The layers of a part, counted from zero, in the order in which they are multiplied.
    pub(crate) fn layers_of_part(&self, part: usize) -> Vec<usize> {
        let block = &self.blocks[part / 2];
        if part.is_multiple_of(2) {
            let projections = [
                &block.query,
                &block.key,
                &block.value,
                &block.attention_output,
            ];
            projections.map(|projection| projection.layer).to_vec()
        } else {
            vec![block.gate, block.up, block.down]
        }
    }

    /// The layer that is looked up before the first part.
    pub(crate) fn embedding(&self) -> usize {
        self.embedding
    }

    /// Values that the hidden states of one position have.
    pub(crate) fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// As [`Decoder::forward`], telling `observer` what every matrix is multiplied with.
    pub fn observe(
        &self,
        matrices: &Matrices,
        tokens: &[u32],
        cache: &mut KvCache,
        observer: Observer<'_>,
    ) -> Result<Vec<f32>, RuntimeError> {
        let pass = Pass {
            positions: Positions::All,
            arithmetic: Arithmetic::Kernels,
            observer: Some(observer),
            witness: None,
            through: Through::default(),
        };
        self.run(matrices, tokens, cache, pass)
    }

    fn run(
        &self,
        matrices: &Matrices,
        tokens: &[u32],
        cache: &mut KvCache,
        mut pass: Pass<'_>,
    ) -> Result<Vec<f32>, RuntimeError> {
        let start = cache.length();
        let room = (cache.sequences(), cache.capacity());
        let count = tokens_per_sequence(tokens, start, room, matrices[self.embedding].rows())?;
        let every = places(cache.sequences(), start, 0, count);
        let (first, some) = pass.positions.within(count)?;
        let wanted = places(cache.sequences(), start, first, some);
        let (skipped, mut hidden) = match pass.through.after {
            Some((parts, values)) => (parts, values.to_vec()),
            None => (0, self.embed(matrices, tokens, &mut pass)?),
        };
        for (index, block) in self.blocks.iter().enumerate() {
            // After the last keys and values only the wanted positions go on.
            let last = index + 1 == self.blocks.len() && wanted.len() < every.len();
            let asking = if last { &wanted } else { &every };
            for part in [2 * index, 2 * index + 1] {
                if part < skipped {
                    continue;
                }
                if part.is_multiple_of(2) {
                    let rows = Rows {
                        every: &every,
                        asking,
                        start,
                        count,
                    };
                    self.attention(index, matrices, &mut hidden, &rows, cache, &mut pass)?;
                } else {
                    self.feed_forward(block, matrices, &mut hidden, &mut pass)?;
                }
                if let Some(keep) = &mut pass.through.keep {
                    keep(part + 1, &hidden);
                }
            }
        }
        cache.advance(count);
        if hidden.len() != wanted.len() * self.hidden_size {
            return Err(RuntimeError::Engine(format!(
                "{} hidden values are left of {} positions",
                hidden.len(),
                wanted.len()
            )));
        }
        let output = self.normalize(&hidden, &self.output_norm);
        multiply(matrices, self.output, &output, &mut pass)
    }

    fn embed(
        &self,
        matrices: &Matrices,
        tokens: &[u32],
        pass: &mut Pass<'_>,
    ) -> Result<Vec<f32>, RuntimeError> {
        let hidden = matrices[self.embedding].lookup(tokens)?;
        if let Some(witness) = &mut pass.witness {
            witness(self.embedding, &hidden);
        }
        Ok(hidden)
    }

    /// The attention part of a block: `hidden` goes in for every position, and comes out for
    /// those that ask.
    fn attention(
        &self,
        index: usize,
        matrices: &Matrices,
        hidden: &mut Vec<f32>,
        rows: &Rows<'_>,
        cache: &mut KvCache,
        pass: &mut Pass<'_>,
    ) -> Result<(), RuntimeError> {
        let block = &self.blocks[index];
        let input = self.normalize(hidden, &block.attention_norm);
        let [mut query, mut key, mut value] =
            self.query_key_value(block, matrices, &input, pass)?;
        for (projection, values) in [
            (&block.query, &mut query),
            (&block.key, &mut key),
            (&block.value, &mut value),
        ] {
            if let Some(bias) = &projection.bias {
                add_bias(values, bias);
            }
            if let Some(norm) = &projection.norm {
                rms_norm_in_place(values, norm, self.epsilon);
            }
        }
        let query_width = self.heads * self.head_size;
        let position = |row: usize| rows.every[row].position;
        let rope = cache.rope();
        rope.rotate(&mut query, query_width, position);
        rope.rotate(&mut key, self.key_value_heads * self.head_size, position);
        let cached = cache.block(index);
        cached.store(&key, &value, rows.count, rows.start);
        if rows.asking.len() < rows.every.len() {
            *hidden = rows.gather(hidden, self.hidden_size);
            query = rows.gather(&query, query_width);
        }
        let attended = attend(&query, rows.asking, cached, self.heads);
        let attended = Activations::new(attended, query_width);
        let output = &block.attention_output;
        let mut delta = multiply(matrices, output.layer, &attended, pass)?;
        if let Some(bias) = &output.bias {
            add_bias(&mut delta, bias);
        }
        add(hidden, &delta);
        Ok(())
    }

    fn normalize(&self, hidden: &[f32], weight: &[f32]) -> Activations {
        Activations::new(rms_norm(hidden, weight, self.epsilon), self.hidden_size)
    }

    fn query_key_value(
        &self,
        block: &Block,
        matrices: &Matrices,
        input: &Activations,
        pass: &mut Pass<'_>,
    ) -> Result<[Vec<f32>; 3], RuntimeError> {
        let layers = [block.query.layer, block.key.layer, block.value.layer];
        multiply_all(matrices, layers, input, pass)
    }

    fn feed_forward(
        &self,
        block: &Block,
        matrices: &Matrices,
        hidden: &mut [f32],
        pass: &mut Pass<'_>,
    ) -> Result<(), RuntimeError> {
        let input = self.normalize(hidden, &block.feed_forward_norm);
        let layers = [block.gate, block.up];
        let [mut gate, up] = multiply_all(matrices, layers, &input, pass)?;
        gated(&mut gate, &up);
        let width = matrices[block.down].columns();
        let inner = Activations::new(gate, width);
        let delta = multiply(matrices, block.down, &inner, pass)?;
        add(hidden, &delta);
        Ok(())
    }
}

/// Tokens of each of the sequences that a cache with `room` for (sequences, positions) is read
/// into after position `start`; a vocabulary has `vocabulary` tokens.
///
/// # Errors
///
/// The tokens are no sequences of equal length, do not fit, or are outside the vocabulary.
pub(super) fn tokens_per_sequence(
    tokens: &[u32],
    start: usize,
    room: (usize, usize),
    vocabulary: usize,
) -> Result<usize, RuntimeError> {
    let (sequences, room) = room;
    let count = tokens.len() / sequences.max(1);
    if count == 0 || count * sequences != tokens.len() {
        return Err(RuntimeError::Engine(format!(
            "{} tokens cannot be read as {sequences} sequences of equal length",
            tokens.len()
        )));
    }
    if start + count > room {
        return Err(RuntimeError::Engine(format!(
            "{count} tokens after {start} do not fit the {room} positions of the cache"
        )));
    }
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
        return Err(RuntimeError::Engine(format!(
            "token {token} is outside the vocabulary of {vocabulary}"
        )));
    }
    Ok(count)
}

fn multiply(
    matrices: &Matrices,
    layer: usize,
    input: &Activations,
    pass: &mut Pass<'_>,
) -> Result<Vec<f32>, RuntimeError> {
    if let Some(observer) = &mut pass.observer {
        observer(layer, input.values());
    }
    let output = matrices[layer].multiply(input, pass.arithmetic)?;
    if let Some(witness) = &mut pass.witness {
        witness(layer, &output);
    }
    Ok(output)
}

/// Products of several layers with the same activations.
fn multiply_all<const COUNT: usize>(
    matrices: &Matrices,
    layers: [usize; COUNT],
    input: &Activations,
    pass: &mut Pass<'_>,
) -> Result<[Vec<f32>; COUNT], RuntimeError> {
    if pass.observer.is_none() && pass.witness.is_none() {
        let sharing = layers.map(|layer| matrices[layer].as_ref());
        if let Some(outputs) = multiply_fused(&sharing, input)?
            && let Ok(outputs) = outputs.try_into()
        {
            return Ok(outputs);
        }
    }
    let mut outputs = [const { Vec::new() }; COUNT];
    for (output, layer) in outputs.iter_mut().zip(layers) {
        *output = multiply(matrices, layer, input, pass)?;
    }
    Ok(outputs)
}

/// The places of `count` positions from `first` on of every sequence, in a pass that starts at
/// position `start`.
fn places(sequences: usize, start: usize, first: usize, count: usize) -> Vec<Place> {
    (0..sequences)
        .flat_map(|sequence| {
            (first..first + count).map(move |offset| Place {
                sequence,
                position: start + offset,
            })
        })
        .collect()
}

/// The rows of an attention part.
struct Rows<'a> {
    /// The place of every row that goes in.
    every: &'a [Place],
    /// The places of the rows that come out.
    asking: &'a [Place],
    /// The position that the pass starts at.
    start: usize,
    /// Positions of this pass per sequence.
    count: usize,
}

impl Rows<'_> {
    /// The rows of `values` that belong to the places that ask.
    fn gather(&self, values: &[f32], width: usize) -> Vec<f32> {
        self.asking
            .iter()
            .flat_map(|place| {
                let row = place.sequence * self.count + place.position - self.start;
                &values[row * width..][..width]
            })
            .copied()
            .collect()
    }
}
