//! The header: metadata and tensor descriptions, every bound checked before anything is
//! allocated for it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bitfront_model::Precision;

use super::error::GgufError;
use super::value::{Value, ValueType};

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

/// A tensor whose place in the file is not yet checked.
struct Described {
    name: String,
    shape: Vec<u64>,
    precision: Precision,
    offset: u64,
    bytes: u64,
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

struct Cursor<'a> {
    file: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn remaining(&self) -> u64 {
        (self.file.len() - self.position) as u64
    }

    fn take(&mut self, length: u64, part: impl Fn() -> String) -> Result<&'a [u8], GgufError> {
        if length > self.remaining() {
            return Err(GgufError::Truncated {
                part: part(),
                length: self.file.len() as u64,
            });
        }
        let start = self.position;
        self.position += length as usize;
        Ok(&self.file[start..self.position])
    }

    fn array<const N: usize>(&mut self, part: impl Fn() -> String) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, part)?);
        Ok(array)
    }

    fn u32(&mut self, part: impl Fn() -> String) -> Result<u32, GgufError> {
        self.array(part).map(u32::from_le_bytes)
    }

    fn u64(&mut self, part: impl Fn() -> String) -> Result<u64, GgufError> {
        self.array(part).map(u64::from_le_bytes)
    }

    fn check_count(
        &self,
        count: u64,
        least_bytes: u64,
        part: impl Fn() -> String,
    ) -> Result<(), GgufError> {
        let remaining = self.remaining();
        match count.checked_mul(least_bytes) {
            Some(bytes) if bytes <= remaining => Ok(()),
            _ => Err(GgufError::Count {
                part: part(),
                count,
                remaining,
            }),
        }
    }

    fn string(&mut self, part: impl Fn() -> String) -> Result<String, GgufError> {
        let length = self.u64(&part)?;
        self.check_count(length, 1, &part)?;
        let bytes = self.take(length, &part)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(GgufError::NotUtf8 { part: part() }),
        }
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, GgufError> {
        let number = self.u32(|| format!("the type of metadata key `{key}`"))?;
        ValueType::from_number(number).ok_or_else(|| GgufError::ValueType {
            key: key.to_owned(),
            number,
        })
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let value_type = self.value_type(key)?;
        if value_type != ValueType::Array {
            return self.scalar(key, value_type);
        }
        let element = self.value_type(key)?;
        if element == ValueType::Array {
            return Err(GgufError::NestedArray {
                key: key.to_owned(),
            });
        }
        let part = || format!("metadata key `{key}`");
        let count = self.u64(part)?;
        self.check_count(count, element.least_bytes(), part)?;
        let mut values = Vec::with_capacity(count as usize);
        for _ in 0..count {
            values.push(self.scalar(key, element)?);
        }
        Ok(Value::Array(element, values))
    }

    fn scalar(&mut self, key: &str, value_type: ValueType) -> Result<Value, GgufError> {
        let part = || format!("metadata key `{key}`");
        Ok(match value_type {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.array(part)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.array(part)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.array(part)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.array(part)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(self.array(part)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.array(part)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.array(part)?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(self.array(part)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.array(part)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.array(part)?)),
            ValueType::Bool => match self.array::<1>(part)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                value => {
                    return Err(GgufError::Bool {
                        part: part(),
                        value,
                    });
                }
            },
            ValueType::String => Value::String(self.string(part)?),
            ValueType::Array => {
                return Err(GgufError::NestedArray {
                    key: key.to_owned(),
                });
            }
        })
    }

    fn tensor(&mut self, index: u64, alignment: u64) -> Result<Described, GgufError> {
        let name = self.string(|| format!("the name of tensor {index}"))?;
        let part = || format!("the description of tensor `{name}`");
        let dimensions = self.u32(part)?;
        if !(1..=4).contains(&dimensions) {
            return Err(GgufError::Dimensions {
                tensor: name,
                dimensions,
            });
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            shape.push(self.u64(part)?);
        }
        let number = self.u32(part)?;
        let offset = self.u64(part)?;
        let Some(precision) = precision_of_type(number) else {
            return Err(GgufError::TensorType {
                tensor: name,
                type_name: type_name(number),
            });
        };
        let columns = shape[0];
        let rows = shape[1..]
            .iter()
            .try_fold(1u64, |product, &size| product.checked_mul(size))
            .filter(|&rows| rows > 0 && columns > 0);
        let Some(rows) = rows else {
            return Err(GgufError::Shape {
                tensor: name,
                shape,
            });
        };
        if !precision.fits(columns) {
            return Err(GgufError::Blocks {
                tensor: name,
                columns,
                precision,
            });
        }
        // The elements must be countable too: four bytes each is the widest type.
        let countable = Precision::F32.bytes(rows, columns).is_some();
        let Some(bytes) = precision.bytes(rows, columns).filter(|_| countable) else {
            return Err(GgufError::Shape {
                tensor: name,
                shape,
            });
        };
        if !offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned {
                tensor: name,
                offset,
                alignment,
            });
        }
        Ok(Described {
            name,
            shape,
            precision,
            offset,
            bytes,
        })
    }
}

/// The number of a precision in ggml's `enum ggml_type`.
pub(crate) fn type_of_precision(precision: Precision) -> u32 {
    match precision {
        Precision::F32 => 0,
        Precision::F16 => 1,
        Precision::Q4_0 => 2,
        Precision::Q4_1 => 3,
        Precision::Q5_0 => 6,
        Precision::Q5_1 => 7,
        Precision::Q8_0 => 8,
        Precision::Q2K => 10,
        Precision::Q3K => 11,
        Precision::Q4K => 12,
        Precision::Q5K => 13,
        Precision::Q6K => 14,
        Precision::Bf16 => 30,
    }
}

fn precision_of_type(number: u32) -> Option<Precision> {
    Precision::ALL
        .into_iter()
        .find(|&precision| type_of_precision(precision) == number)
}

/// ggml's name of a type that is not read, so that the error says what the file holds.
fn type_name(number: u32) -> String {
    let name = match number {
        9 => "q8_1",
        15 => "q8_k",
        16 => "iq2_xxs",
        17 => "iq2_xs",
        18 => "iq3_xxs",
        19 => "iq1_s",
        20 => "iq4_nl",
        21 => "iq3_s",
        22 => "iq2_s",
        23 => "iq4_xs",
        24 => "i8",
        25 => "i16",
        26 => "i32",
        27 => "i64",
        28 => "f64",
        29 => "iq1_m",
        34 => "tq1_0",
        35 => "tq2_0",
        39 => "mxfp4",
        40 => "nvfp4",
        _ => return format!("number {number}, which has no known name"),
    };
    name.to_owned()
}
