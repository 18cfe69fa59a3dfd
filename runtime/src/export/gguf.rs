//! A plan as a GGUF file.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use bitfront_model::{LayerKind, Plan, PlanError, Precision};

use super::{metadata, vocabulary};
use crate::error::ExportError;
use crate::files::{self, Durability};
use crate::gguf::{TensorEntry, Value, Writer};
use crate::source::layout::permutes;
use crate::source::rows::to_file_order;
use crate::source::{Origin, Source};
use crate::tokenizer::hugging_face::TokenizerFiles;

/// What to write beside the plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// A `tokenizer.json` that replaces the one in a Hugging Face directory. A GGUF source's
    /// tokenizer is copied as it is.
    pub tokenizer: Option<&'a Path>,
    /// llama.cpp's name for the pre-tokenizer, where it is not recognised or is wrong.
    pub pre_tokenizer: Option<&'a str>,
}

/// Gives every layer's bytes in the plan's precision.
pub trait QuantizedLayers {
    /// The bytes of the layer at `index`, rows in Hugging Face order.
    fn layer(&self, index: usize) -> Result<Cow<'_, [u8]>, Box<dyn Error + Send + Sync>>;
}

/// Writes a plan as a GGUF file; returns the file's size in bytes.
///
/// The file is written beside `to` and renamed at the end: either the whole file stands under the
/// final name, or nothing changes there.
pub fn write(
    source: &dyn Source,
    plan: &Plan,
    layers: &dyn QuantizedLayers,
    options: Options<'_>,
    to: &Path,
) -> Result<u64, ExportError> {
    let export = Export::prepare(source, plan, layers, options)?;
    let mut failure = None;
    let written = files::replace(to, Durability::Forced, |output| {
        let mut output = Counted { output, written: 0 };
        match export.write(&mut output) {
            Ok(()) => Ok(output.written),
            // What went wrong with a layer is kept beside the way of the IO errors.
            Err(WriteError::Io(error)) => Err(error),
            Err(WriteError::Export(error)) => {
                failure = Some(error);
                Err(io::Error::other("a layer could not be had"))
            }
        }
    });
    match (written, failure) {
        (Ok(size), _) => Ok(size),
        (Err(_), Some(failure)) => Err(failure),
        (Err(error), None) => Err(ExportError::Io {
            path: to.to_owned(),
            error,
        }),
    }
}

/// A tensor's content.
#[derive(Clone, Copy)]
enum Content {
    Layer(usize),
    Fixed(usize),
}

struct Export<'a> {
    source: &'a dyn Source,
    plan: &'a Plan,
    layers: &'a dyn QuantizedLayers,
    metadata: Vec<(String, Value)>,
    tensors: Vec<(TensorEntry, Content)>,
}

enum WriteError {
    Io(io::Error),
    Export(ExportError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<'a> Export<'a> {
    fn prepare(
        source: &'a dyn Source,
        plan: &'a Plan,
        layers: &'a dyn QuantizedLayers,
        options: Options<'_>,
    ) -> Result<Self, ExportError> {
        let spec = source.spec();
        // A plan made for another model with as many layers would not fit its shapes.
        Plan::new(spec, plan.precisions().to_vec())?;
        let metadata = match source.origin() {
            Origin::Gguf(file) => {
                metadata::copied(file.header(), spec, plan, options.pre_tokenizer)
            }
            Origin::HuggingFace { directory, config } => {
                let own = directory.join("tokenizer.json");
                let files = TokenizerFiles::read(options.tokenizer.unwrap_or(&own), config)?;
                let rows = spec.vocabulary_size;
                let mut metadata = metadata::made(spec, source.hyper(), config, plan);
                metadata.extend(vocabulary::metadata(&files, rows, options.pre_tokenizer)?);
                metadata
            }
        };
        let mut export = Self {
            source,
            plan,
            layers,
            metadata,
            tensors: Vec::new(),
        };
        export.plan_tensors()?;
        Ok(export)
    }

    /// Embedding first, then every block's layers and small tensors, then the rest.
    fn plan_tensors(&mut self) -> Result<(), ExportError> {
        let spec = self.source.spec();
        let fixed = self.source.fixed_tensors();
        let in_block = |name: &str, block: u32| name.starts_with(&format!("blk.{block}."));
        let outside = |name: &str| !name.starts_with("blk.");
        let mut order = Vec::with_capacity(spec.layers.len() + fixed.len());
        let layers = |keep: &dyn Fn(Option<u32>, LayerKind) -> bool| {
            let kept = spec.layers.iter().enumerate();
            let kept = kept.filter(|(_, layer)| keep(layer.block, layer.kind));
            kept.map(|(index, _)| Content::Layer(index))
                .collect::<Vec<_>>()
        };
        let small = |keep: &dyn Fn(&str) -> bool| {
            let kept = fixed.iter().enumerate();
            let kept = kept.filter(|(_, tensor)| keep(&tensor.name));
            kept.map(|(index, _)| Content::Fixed(index))
                .collect::<Vec<_>>()
        };
        order.extend(layers(&|_, kind| kind == LayerKind::TokenEmbedding));
        for block in 0..spec.blocks {
            order.extend(layers(&|of, _| of == Some(block)));
            order.extend(small(&|name| in_block(name, block)));
        }
        order.extend(small(&|name| outside(name)));
        order.extend(layers(&|_, kind| kind == LayerKind::Output));
        for content in order {
            let tensor = match content {
                Content::Layer(index) => {
                    let (layer, precision) = (&spec.layers[index], self.plan.precisions()[index]);
                    let bytes = precision.bytes(layer.rows, layer.columns);
                    TensorEntry {
                        name: layer.tensor_name(),
                        shape: vec![layer.columns, layer.rows],
                        precision,
                        bytes: bytes.ok_or_else(|| PlanError::DoesNotFit {
                            layer: layer.name.clone(),
                            precision,
                            columns: layer.columns,
                        })?,
                    }
                }
                Content::Fixed(index) => TensorEntry {
                    name: fixed[index].name.clone(),
                    shape: vec![fixed[index].length],
                    precision: Precision::F32,
                    bytes: 4 * fixed[index].length,
                },
            };
            self.tensors.push((tensor, content));
        }
        Ok(())
    }

    fn write(&self, output: &mut dyn Write) -> Result<(), WriteError> {
        let tensors = self.tensors.iter().map(|(tensor, _)| tensor.clone());
        let mut writer = Writer::new(output, &self.metadata, tensors.collect())?;
        for (tensor, content) in &self.tensors {
            let bytes = self.bytes(tensor, *content).map_err(WriteError::Export)?;
            writer.tensor(&bytes)?;
        }
        writer.finish()?;
        Ok(())
    }

    fn bytes(&self, tensor: &TensorEntry, content: Content) -> Result<Cow<'_, [u8]>, ExportError> {
        let spec = self.source.spec();
        let head_size = spec.head_size as usize;
        match content {
            Content::Layer(index) => {
                let layer = &spec.layers[index];
                let bytes = self
                    .layers
                    .layer(index)
                    .map_err(|error| ExportError::Tensor {
                        layer: layer.name.clone(),
                        error,
                    })?;
                if bytes.len() as u64 != tensor.bytes {
                    return Err(ExportError::Length {
                        layer: layer.name.clone(),
                        precision: tensor.precision,
                        expected: tensor.bytes,
                        found: bytes.len() as u64,
                    });
                }
                let row_bytes = bytes.len() / layer.rows as usize;
                Ok(if self.is_permuted(layer.kind) {
                    Cow::Owned(to_file_order(&bytes, row_bytes, head_size))
                } else {
                    bytes
                })
            }
            Content::Fixed(_) => {
                let values = self.source.fixed(&tensor.name)?.unwrap_or_default();
                let kind = match tensor.name.rsplit('.').nth(1) {
                    _ if !tensor.name.ends_with(".bias") => None,
                    Some("attn_q") => Some(LayerKind::AttentionQuery),
                    Some("attn_k") => Some(LayerKind::AttentionKey),
                    _ => None,
                };
                let values = match kind {
                    Some(kind) if self.is_permuted(kind) => to_file_order(&values, 1, head_size),
                    _ => values,
                };
                Ok(values.into_iter().flat_map(f32::to_le_bytes).collect())
            }
        }
    }

    fn is_permuted(&self, kind: LayerKind) -> bool {
        permutes(self.source.spec().architecture)
            && matches!(kind, LayerKind::AttentionQuery | LayerKind::AttentionKey)
    }
}

struct Counted<'a> {
    output: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
