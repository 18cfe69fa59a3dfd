//! What can be wrong with the numbers to quantize.

use bitfront_model::Precision;

/// Why rows cannot be quantized.
///
/// The tensor's name is not known here; the caller adds it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// A row is not a whole number of blocks.
    #[error(
        "rows of {columns} weights are not a whole number of {precision} blocks of {}",
        precision.block_size()
    )]
    PartialBlock {
        /// The wanted precision.
        precision: Precision,
        /// Weights per row.
        columns: usize,
    },
    /// The values are not a whole number of rows.
    #[error("{values} weights are not a whole number of rows of {columns}")]
    PartialRow {
        /// Weights given.
        values: usize,
        /// Weights per row.
        columns: usize,
    },
    /// A weight is NaN or infinite.
    #[error("the weight at row {row}, column {column} is {value}, not a finite number")]
    NonFiniteWeight {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The weight.
        value: f32,
    },
    /// The imatrix belongs to another shape.
    #[error("the imatrix has {importance} entries for rows of {columns} weights")]
    ImportanceLength {
        /// Entries given.
        importance: usize,
        /// Weights per row.
        columns: usize,
    },
    /// An imatrix entry is negative, NaN or infinite.
    #[error("imatrix entry {column} is {value}; a mean of squares is finite and not negative")]
    UnsoundImportance {
        /// Column, from 0.
        column: usize,
        /// The entry.
        value: f32,
    },
    /// A block's scale or minimum is beyond the largest `f16` or `bf16`.
    #[error(
        "the weights at row {row} from column {column} on are too large for {precision}: their \
         scale is not a finite number"
    )]
    ScaleOverflow {
        /// The wanted precision.
        precision: Precision,
        /// Row, from 0.
        row: usize,
        /// The block's first column, from 0.
        column: usize,
    },
}
