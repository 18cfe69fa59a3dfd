//! Quantizes rows into ggml blocks exactly as llama.cpp does.
//!
//! A plan is worth what its quantizer makes of it. candle's K-quants round halves away from zero
//! and search fewer scales: on the demo model their mean squared errors are between 4 % smaller
//! (`q2_k`) and 9 % larger (`q4_k`) than llama.cpp's, weighted by an imatrix between 1 % smaller
//! and 9 % larger (`q6_k`). candle's 32-weight types have llama.cpp's bytes for ordinary weights
//! but panic when given an imatrix, without which the weighted errors of all but `q8_0` are 13 to
//! 27 % larger.
//!
//! These quantizers give the bytes of llama.cpp's `ggml/src/ggml-quants.c` (0c1e570, ggml 0.25.3)
//! with and without an imatrix; `benches/ggml_quantize.rs` compares their speed with candle's.
//!
//! What is promised: the bytes of a llama.cpp that was compiled without fused multiply-adds, which
//! is every ordinary build for x86-64, where `ggml-base` gets baseline instructions alone. Where
//! the compiler does fuse them (gcc does by default where it may use them, as for Arm), rounding
//! decides otherwise between nearly
//! equal fits. With `bf16` weights, whose ties are many, that changes up to a third of the blocks
//! (`q5_k`) and the mean squared error by less than 1 % in either direction.
//!
//! What is refused: numbers that llama.cpp refuses as well, be it before the search (what is not
//! finite) or after it (a scale beyond `f16`), and negative imatrix entries, which it would let
//! through to spoil the search. As in llama.cpp, a group of weights whose imatrix entries are all
//! zero may become zero.
//!
//! In flow order: [`quantize`] checks and hands out rows; one file per family (`plain`, `legacy`,
//! `q2_k`, `q3_k`, `q45_k`, `q6_k`) turns a row into blocks; `search` finds scales, several groups
//! at once in `lanes`; `arithmetic` rounds as ggml does; `sound` looks over what came out, and over
//! the tensors of a file.

use bitfront_model::Precision;
use rayon::prelude::*;

pub use error::QuantizeError;
pub(crate) use sound::first_unsound_block;
#[cfg(test)]
pub(crate) use sound::scale_offsets;

mod arithmetic;
mod error;
mod lanes;
mod legacy;
mod plain;
mod q2_k;
mod q3_k;
mod q45_k;
mod q6_k;
mod search;
mod sound;
mod super_block;

/// Turns one row of weights into its blocks, which fill the output.
type QuantizeRow = fn(row: &[f32], importance: Option<&[f32]>, output: &mut [u8]);

/// Quantizes a row-major matrix of whole rows of `columns` weights into ggml bytes.
///
/// `importance` is llama.cpp's imatrix for this tensor: per column the mean of the squared
/// activations that it meets. The float types and `q8_0` do not use it.
///
/// The bytes are those of `ggml_quantize_chunk`. Rows are shared out to rayon's current pool; the
/// result does not depend on the number of threads.
pub fn quantize(
    precision: Precision,
    values: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
) -> Result<Vec<u8>, QuantizeError> {
    let row_bytes = check(precision, values, columns, importance)?;
    let quantize_row = quantizer(precision);
    let mut output = vec![0; values.len() / columns * row_bytes];
    output
        .par_chunks_mut(row_bytes)
        .zip(values.par_chunks(columns))
        .enumerate()
        .try_for_each(|(row, (output, values))| {
            if let Some(column) = values.iter().position(|value| !value.is_finite()) {
                return Err(QuantizeError::NonFiniteWeight {
                    row,
                    column,
                    value: values[column],
                });
            }
            quantize_row(values, importance, output);
            match first_unsound_block(precision, output) {
                Some(block) => Err(QuantizeError::ScaleOverflow {
                    precision,
                    row,
                    column: block * block_size(precision),
                }),
                None => Ok(()),
            }
        })?;
    Ok(output)
}

/// Bytes of a row, where the shapes agree and the imatrix is one.
fn check(
    precision: Precision,
    values: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
) -> Result<usize, QuantizeError> {
    if columns == 0 || !columns.is_multiple_of(block_size(precision)) {
        return Err(QuantizeError::PartialBlock { precision, columns });
    }
    if !values.len().is_multiple_of(columns) {
        return Err(QuantizeError::PartialRow {
            values: values.len(),
            columns,
        });
    }
    if let Some(importance) = importance {
        if importance.len() != columns {
            return Err(QuantizeError::ImportanceLength {
                importance: importance.len(),
                columns,
            });
        }
        let unsound = |entry: &f32| !entry.is_finite() || *entry < 0.0;
        if let Some(column) = importance.iter().position(unsound) {
            return Err(QuantizeError::UnsoundImportance {
                column,
                value: importance[column],
            });
        }
    }
    Ok(columns / block_size(precision) * block_bytes(precision))
}

fn quantizer(precision: Precision) -> QuantizeRow {
    match precision {
        Precision::F32 => plain::f32,
        Precision::F16 => plain::f16,
        Precision::Bf16 => plain::bf16,
        Precision::Q8_0 => legacy::q8_0,
        Precision::Q6K => q6_k::q6_k,
        Precision::Q5_1 => legacy::q5_1,
        Precision::Q5_0 => legacy::q5_0,
        Precision::Q5K => q45_k::q5_k,
        Precision::Q4_1 => legacy::q4_1,
        Precision::Q4_0 => legacy::q4_0,
        Precision::Q4K => q45_k::q4_k,
        Precision::Q3K => q3_k::q3_k,
        Precision::Q2K => q2_k::q2_k,
    }
}

/// Weights per block. Every block size is far below any platform's `usize`.
fn block_size(precision: Precision) -> usize {
    precision.block_size() as usize
}

/// Bytes per block.
fn block_bytes(precision: Precision) -> usize {
    precision.block_bytes() as usize
}
