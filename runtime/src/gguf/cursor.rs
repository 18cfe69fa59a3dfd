//! Reads the parts of a header, each checked against what is left of the file.

use super::error::GgufError;
use super::tensor_type::{precision_of_type, type_name};
use super::value::{Value, ValueType};
use bitfront_model::Precision;

/// The most elements that an array among the metadata may have. Vocabularies have at most a few
/// hundred thousand; an element takes 32 bytes in memory and may take one in the file, so that an
/// array as long as a file could not be held.
const MOST_ELEMENTS: u64 = 1 << 24;

/// A tensor whose place in the file is not yet checked.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) precision: Precision,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// A place in the file; everything before it was read.
pub(super) struct Cursor<'a> {
    pub(super) file: &'a [u8],
    pub(super) position: usize,
}

impl<'a> Cursor<'a> {
    fn remaining(&self) -> u64 {
        (self.file.len() - self.position) as u64
    }

    pub(super) fn take(
        &mut self,
        length: u64,
        part: impl Fn() -> String,
    ) -> Result<&'a [u8], GgufError> {
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

    pub(super) fn u32(&mut self, part: impl Fn() -> String) -> Result<u32, GgufError> {
        self.array(part).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, part: impl Fn() -> String) -> Result<u64, GgufError> {
        self.array(part).map(u64::from_le_bytes)
    }

    /// Refuses a count of things that the rest of the file cannot hold, before they are allocated.
    pub(super) fn check_count(
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

    pub(super) fn string(&mut self, part: impl Fn() -> String) -> Result<String, GgufError> {
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

    pub(super) fn value(&mut self, key: &str) -> Result<Value, GgufError> {
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
        if count > MOST_ELEMENTS {
            return Err(GgufError::ArrayLength {
                key: key.to_owned(),
                count,
                most: MOST_ELEMENTS,
            });
        }
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

    pub(super) fn tensor(&mut self, index: u64, alignment: u64) -> Result<Described, GgufError> {
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
