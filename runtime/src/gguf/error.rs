//! What can be wrong with a GGUF header: one variant per defect.

use bitfront_model::Precision;

/// A GGUF header is not sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// The file does not begin with `GGUF`.
    #[error("it does not begin with the letters GGUF")]
    Magic,
    /// A version that is not read.
    #[error("version {0} is not supported; versions 2 and 3 are")]
    Version(u32),
    /// The version's bytes are the wrong way round.
    #[error("it is big-endian; only little-endian files are supported")]
    BigEndian,
    /// The header goes on beyond the end of the file.
    #[error("the file ends at byte {length} in the middle of {part}")]
    Truncated {
        /// What was being read.
        part: String,
        /// Bytes in the file.
        length: u64,
    },
    /// A count that the rest of the file could not hold.
    #[error("{part} claims {count} elements, more than the remaining {remaining} bytes can hold")]
    Count {
        /// What was being read.
        part: String,
        /// The count in the header.
        count: u64,
        /// Bytes left in the file.
        remaining: u64,
    },
    /// A string is not UTF-8.
    #[error("{part} is not UTF-8")]
    NotUtf8 {
        /// What was being read.
        part: String,
    },
    /// A truth value that is neither 0 nor 1.
    #[error("{part} holds the truth value {value}")]
    Bool {
        /// What was being read.
        part: String,
        /// The byte.
        value: u8,
    },
    /// A metadata value of an unknown type.
    #[error("metadata key `{key}` has the unknown value type {number}")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        number: u32,
    },
    /// An array of arrays.
    #[error("metadata key `{key}` is an array of arrays, which the format's readers refuse")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// An array that no reader needs and that would take 32 times its bytes in memory.
    #[error("metadata key `{key}` is an array of {count} elements; at most {most} are read")]
    ArrayLength {
        /// The key.
        key: String,
        /// The count in the header.
        count: u64,
        /// The most.
        most: u64,
    },
    /// A key stands twice.
    #[error("metadata key `{0}` stands twice")]
    DuplicateKey(String),
    /// The alignment is not a power of two.
    #[error("general.alignment is {0}, which is not a power of two between 8 and 2^20")]
    Alignment(String),
    /// Too many dimensions, or none.
    #[error("tensor `{tensor}` has {dimensions} dimensions; 1 to 4 are allowed")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        dimensions: u32,
    },
    /// A dimension is zero, or the number of elements cannot be counted.
    #[error("tensor `{tensor}` has the impossible shape {shape:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its dimensions, columns first as in the file.
        shape: Vec<u64>,
    },
    /// The tensor's type is not one that is read.
    #[error(
        "tensor `{tensor}` is of type {type_name}; supported are {}",
        supported()
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type by name, or its number.
        type_name: String,
    },
    /// A row is not a whole number of blocks.
    #[error(
        "tensor `{tensor}` has rows of {columns}, which do not divide into blocks of {precision}"
    )]
    Blocks {
        /// The tensor.
        tensor: String,
        /// The length of a row.
        columns: u64,
        /// Its precision.
        precision: Precision,
    },
    /// A tensor's name stands twice.
    #[error("tensor `{0}` stands twice")]
    DuplicateTensor(String),
    /// A tensor does not begin at a multiple of the alignment.
    #[error("tensor `{tensor}` begins at offset {offset}, which is not a multiple of {alignment}")]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset in the data part.
        offset: u64,
        /// The alignment.
        alignment: u64,
    },
    /// A tensor's bytes are not all in the file.
    #[error(
        "tensor `{tensor}` takes {bytes} bytes at offset {offset}, but the data part has {available}"
    )]
    Beyond {
        /// The tensor.
        tensor: String,
        /// Its offset in the data part.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Bytes of the data part.
        available: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
    },
}

fn supported() -> String {
    Precision::ALL.map(Precision::name).join(", ")
}
