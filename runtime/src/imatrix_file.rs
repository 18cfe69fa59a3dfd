//! Importance matrices as files, in llama.cpp's formats.
//!
//! The current form is a GGUF file with, for every layer, the sums of the squared activations and
//! the number of tokens they are over (`save_imatrix` in `tools/imatrix/imatrix.cpp`); the older
//! form is a plain list of means, scaled by the number of windows.

use std::collections::BTreeMap;
use std::path::Path;

use bitfront_model::{Digest, ModelSpec};

use crate::error::{ImatrixError, SourceError};
use crate::files::{self, Durability};
use crate::gguf::{GgufFile, TensorEntry, TensorInfo, Value, Writer};

mod legacy;

const TYPE_KEY: &str = "general.type";
const TYPE: &str = "imatrix";
const DATASETS_KEY: &str = "imatrix.datasets";
const CHUNK_COUNT_KEY: &str = "imatrix.chunk_count";
const CHUNK_SIZE_KEY: &str = "imatrix.chunk_size";
const SUMS_SUFFIX: &str = ".in_sum2";
const COUNTS_SUFFIX: &str = ".counts";

/// Mean squared activations per input column of every layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Imatrix {
    /// By tensor name (`blk.0.attn_q.weight`).
    pub entries: BTreeMap<String, ImatrixEntry>,
    /// Windows that it was computed with.
    pub chunk_count: u32,
    /// Tokens in a window; 0 where the file does not say.
    pub chunk_size: u32,
    /// Names of the texts, for people.
    pub datasets: Vec<String>,
}

/// The statistics of one layer's input.
#[derive(Debug, Clone, PartialEq)]
pub struct ImatrixEntry {
    /// The mean of the squared activations, one per column of the layer; finite, not negative.
    pub mean_squares: Vec<f32>,
    /// Tokens that the mean is over; windows in a file of the older form.
    pub count: u64,
}

impl Imatrix {
    /// The imatrix by content; the datasets' names do not count.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder().part("imatrix");
        for (name, entry) in &self.entries {
            digest.add(name);
            digest.add(entry.count.to_le_bytes());
            let bytes = entry
                .mean_squares
                .iter()
                .flat_map(|value| value.to_le_bytes());
            digest.add(bytes.collect::<Vec<_>>());
        }
        digest.finish()
    }

    /// Refuses an imatrix that was made for another model: it must know one of the layers at
    /// least, every entry that a layer would use must be as long as the layer's rows, and there
    /// must be none of a block that the model does not have.
    ///
    /// A layer without an entry, such as an embedding that is only looked up, is no mistake.
    pub fn check(&self, spec: &ModelSpec) -> Result<(), ImatrixError> {
        let other = |reason: String| Err(ImatrixError::OtherModel { reason });
        let mut is_known = false;
        for layer in &spec.layers {
            let Some(entry) = self.entries.get(&layer.tensor_name()) else {
                continue;
            };
            is_known = true;
            let found = entry.mean_squares.len();
            if found as u64 != layer.columns {
                return other(format!(
                    "it has {found} columns for layer `{}`, which has {}",
                    layer.name, layer.columns
                ));
            }
        }
        if !is_known {
            return other("it has no entry for any of the model's layers".to_owned());
        }
        let block = |name: &str| name.strip_prefix("blk.")?.split('.').next()?.parse().ok();
        let beyond = |name: &&String| block(name).is_some_and(|block: u32| block >= spec.blocks);
        match self.entries.keys().find(beyond) {
            Some(name) => other(format!(
                "it has an entry for `{name}`, but the model has {} blocks",
                spec.blocks
            )),
            None => Ok(()),
        }
    }
}

/// Reads an imatrix: llama.cpp's GGUF form or the older binary form, seen from the content.
pub fn read(path: &Path) -> Result<Imatrix, ImatrixError> {
    let mut magic = Vec::new();
    let io = |error| ImatrixError::Io {
        path: path.to_owned(),
        error,
    };
    let file = std::fs::File::open(path).map_err(io)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 4), &mut magic).map_err(io)?;
    let imatrix = if magic == b"GGUF" {
        read_gguf(path)?
    } else {
        legacy::read(path)?
    };
    check(path, &imatrix)?;
    Ok(imatrix)
}

fn check(path: &Path, imatrix: &Imatrix) -> Result<(), ImatrixError> {
    if imatrix.entries.is_empty() {
        return Err(invalid(path, "it has no entries"));
    }
    for (name, entry) in &imatrix.entries {
        let wrong = |value: &&f32| !value.is_finite() || **value < 0.0;
        if let Some(value) = entry.mean_squares.iter().find(wrong) {
            return Err(invalid(
                path,
                format!("the entry of `{name}` holds {value}, which is no mean of squares"),
            ));
        }
    }
    Ok(())
}

fn read_gguf(path: &Path) -> Result<Imatrix, ImatrixError> {
    let file = GgufFile::open(path).map_err(|error| match error {
        SourceError::Io { path, error } => ImatrixError::Io { path, error },
        SourceError::Gguf { path, error } => ImatrixError::Gguf { path, error },
        other => invalid(path, other.to_string()),
    })?;
    let header = file.header();
    let kind = header.value(TYPE_KEY).and_then(Value::as_str);
    if kind != Some(TYPE) {
        let kind = kind.unwrap_or("missing");
        return Err(invalid(path, format!("{TYPE_KEY} is {kind}")));
    }
    let number = |key: &str| match header.value(key) {
        None => Ok(0),
        Some(value) => value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| invalid(path, format!("{key} is not a count"))),
    };
    let datasets = header.value(DATASETS_KEY).and_then(Value::as_strings);
    let datasets = datasets.unwrap_or_default();
    let mut imatrix = Imatrix {
        chunk_count: number(CHUNK_COUNT_KEY)?,
        chunk_size: number(CHUNK_SIZE_KEY)?,
        datasets: datasets.into_iter().map(str::to_owned).collect(),
        ..Imatrix::default()
    };
    for tensor in &header.tensors {
        if let Some(name) = tensor.name.strip_suffix(SUMS_SUFFIX) {
            let entry = entry(&file, name, tensor)?;
            imatrix.entries.insert(name.to_owned(), entry);
        } else if !tensor.name.ends_with(COUNTS_SUFFIX) {
            return Err(invalid(
                path,
                format!("unexpected tensor `{}`", tensor.name),
            ));
        }
    }
    Ok(imatrix)
}

fn entry(file: &GgufFile, name: &str, sums: &TensorInfo) -> Result<ImatrixEntry, ImatrixError> {
    let path = file.path();
    let counts = format!("{name}{COUNTS_SUFFIX}");
    let Some(counts) = file.header().tensor(&counts) else {
        return Err(invalid(path, format!("`{name}` has sums but no counts")));
    };
    let [counts, sums] = [counts, sums].map(|tensor| floats(file, tensor));
    let (counts, sums) = (counts?, sums?);
    let &[count] = counts.as_slice() else {
        return Err(invalid(
            path,
            format!(
                "`{name}` has {} counts: experts are not supported",
                counts.len()
            ),
        ));
    };
    if !(count.is_finite() && count >= 1.0) {
        return Err(invalid(path, format!("`{name}` has the count {count}")));
    }
    Ok(ImatrixEntry {
        mean_squares: sums.iter().map(|sum| sum / count).collect(),
        count: count.round() as u64,
    })
}

fn floats(file: &GgufFile, tensor: &TensorInfo) -> Result<Vec<f32>, ImatrixError> {
    if tensor.precision != bitfront_model::Precision::F32 {
        let reason = format!("`{}` is {}, not f32", tensor.name, tensor.precision);
        return Err(invalid(file.path(), reason));
    }
    let (values, _) = file.bytes(tensor).as_chunks();
    Ok(values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect())
}

/// Writes an imatrix in llama.cpp's GGUF form; the file is there as a whole or not at all.
pub fn write(imatrix: &Imatrix, path: &Path) -> Result<(), ImatrixError> {
    let metadata = [
        (TYPE_KEY.to_owned(), Value::String(TYPE.to_owned())),
        (
            DATASETS_KEY.to_owned(),
            Value::strings(imatrix.datasets.clone()),
        ),
        (CHUNK_COUNT_KEY.to_owned(), Value::U32(imatrix.chunk_count)),
        (CHUNK_SIZE_KEY.to_owned(), Value::U32(imatrix.chunk_size)),
    ];
    let plan = |name: String, length: usize| TensorEntry {
        name,
        shape: vec![length as u64],
        precision: bitfront_model::Precision::F32,
        bytes: 4 * length as u64,
    };
    let tensors = imatrix.entries.iter().flat_map(|(name, entry)| {
        [
            plan(format!("{name}{SUMS_SUFFIX}"), entry.mean_squares.len()),
            plan(format!("{name}{COUNTS_SUFFIX}"), 1),
        ]
    });
    let tensors = tensors.collect::<Vec<_>>();
    let written = files::replace(path, Durability::Forced, |output| {
        let mut writer = Writer::new(output, &metadata, tensors)?;
        for entry in imatrix.entries.values() {
            let count = entry.count as f32;
            let sums = entry.mean_squares.iter().map(|mean| mean * count);
            writer.tensor(&sums.flat_map(f32::to_le_bytes).collect::<Vec<_>>())?;
            writer.tensor(&count.to_le_bytes())?;
        }
        writer.finish().map(|_| ())
    });
    written.map_err(|error: std::io::Error| ImatrixError::Io {
        path: path.to_owned(),
        error,
    })
}

fn invalid(path: &Path, reason: impl Into<String>) -> ImatrixError {
    ImatrixError::Invalid {
        path: path.to_owned(),
        reason: reason.into(),
    }
}
