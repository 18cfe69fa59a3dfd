//! The header: metadata and tensor descriptions, every bound checked before anything is
//! allocated for it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bitfront_model::Precision;

use super::cursor::{Cursor, Described};
use super::error::GgufError;
use super::value::Value;

/// The key that gives the alignment of the data part.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// The alignment where the file names none.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Elements along every dimension, the length of a row first.
    pub shape: Vec<u64>,
    /// How it is stored.
    pub precision: Precision,
    /// The bytes in the file.
    pub bytes: Range<usize>,
}

impl TensorInfo {
    /// The length of a row.
    pub fn columns(&self) -> u64 {
        self.shape[0]
    }

    /// The number of rows, over all further dimensions.
    pub fn rows(&self) -> u64 {
        self.shape[1..].iter().product()
    }

    /// The shape as other formats write it, rows first.
    pub fn rows_first(&self) -> Vec<u64> {
        self.shape.iter().rev().copied().collect()
    }
}

/// A parsed header.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The version of the format.
    pub version: u32,
    /// The metadata in file order.
    pub metadata: Vec<(String, Value)>,
    /// The tensors in file order.
    pub tensors: Vec<TensorInfo>,
    /// The alignment of the data part.
    pub alignment: u64,
    keys: HashMap<String, usize>,
    names: HashMap<String, usize>,
}

impl Header {
    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        Some(&self.metadata[*self.keys.get(key)?].1)
    }

    /// The tensor with a name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        Some(&self.tensors[*self.names.get(name)?])
    }
}

/// Reads the header of a whole GGUF file; `file` is the file with its data part, so that the
/// tensors' places can be checked.
pub fn parse(file: &[u8]) -> Result<Header, GgufError> {
    let mut cursor = Cursor { file, position: 0 };
    if cursor.take(4, || "the magic".to_owned())? != b"GGUF" {
        return Err(GgufError::Magic);
    }
    let version = cursor.u32(|| "the version".to_owned())?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian),
        _ => return Err(GgufError::Version(version)),
    }
    let tensor_count = cursor.u64(|| "the tensor count".to_owned())?;
    let key_count = cursor.u64(|| "the metadata count".to_owned())?;

    // The smallest key-value pair: an empty key, a type and a value of one byte.
    cursor.check_count(key_count, 8 + 4 + 1, || "the metadata".to_owned())?;
    let mut metadata = Vec::with_capacity(key_count as usize);
    let mut keys = HashMap::with_capacity(key_count as usize);
    for index in 0..key_count as usize {
        let key = cursor.string(|| format!("metadata key {index}"))?;
        let value = cursor.value(&key)?;
        if keys.insert(key.clone(), index).is_some() {
            return Err(GgufError::DuplicateKey(key));
        }
        metadata.push((key, value));
    }
    let alignment = alignment(keys.get(ALIGNMENT_KEY).map(|&index| &metadata[index].1))?;

    // The smallest description: an empty name, one dimension, a type and an offset.
    cursor.check_count(tensor_count, 8 + 4 + 8 + 4 + 8, || {
        "the tensor list".to_owned()
    })?;
    let mut described = Vec::with_capacity(tensor_count as usize);
    let mut names = HashSet::with_capacity(tensor_count as usize);
    for index in 0..tensor_count {
        let tensor = cursor.tensor(index, alignment)?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::DuplicateTensor(tensor.name));
        }
        described.push(tensor);
    }

    let data = cursor.position.next_multiple_of(alignment as usize);
    let tensors = place(described, data, file.len())?;
    let names = tensors
        .iter()
        .enumerate()
        .map(|(index, tensor)| (tensor.name.clone(), index))
        .collect();
    Ok(Header {
        version,
        metadata,
        tensors,
        alignment,
        keys,
        names,
    })
}

fn alignment(value: Option<&Value>) -> Result<u64, GgufError> {
    let Some(value) = value else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.as_u64() {
        Some(alignment) if alignment.is_power_of_two() && (8..=1 << 20).contains(&alignment) => {
            Ok(alignment)
        }
        _ => Err(GgufError::Alignment(format!("{value:?}"))),
    }
}

/// Gives every tensor its bytes, refusing those beyond the file and those that overlap.
fn place(
    described: Vec<Described>,
    data: usize,
    length: usize,
) -> Result<Vec<TensorInfo>, GgufError> {
    let available = length.saturating_sub(data) as u64;
    let mut tensors = Vec::with_capacity(described.len());
    for tensor in described {
        match tensor.offset.checked_add(tensor.bytes) {
            Some(end) if end <= available => {
                let start = data + tensor.offset as usize;
                tensors.push(TensorInfo {
                    bytes: start..start + tensor.bytes as usize,
                    name: tensor.name,
                    shape: tensor.shape,
                    precision: tensor.precision,
                });
            }
            _ => {
                return Err(GgufError::Beyond {
                    tensor: tensor.name,
                    offset: tensor.offset,
                    bytes: tensor.bytes,
                    available,
                });
            }
        }
    }
    let mut order = tensors.iter().collect::<Vec<_>>();
    order.sort_by_key(|tensor| tensor.bytes.start);
    for pair in order.windows(2) {
        if pair[0].bytes.end > pair[1].bytes.start {
            return Err(GgufError::Overlap {
                first: pair[0].name.clone(),
                second: pair[1].name.clone(),
            });
        }
    }
    Ok(tensors)
}
