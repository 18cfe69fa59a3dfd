//! The types that hold each weight by itself.

use half::{bf16, f16};

/// The weights as they are.
pub(super) fn f32(row: &[f32], _importance: Option<&[f32]>, output: &mut [u8]) {
    for (bytes, value) in output.chunks_exact_mut(4).zip(row) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Rounded to the nearest, halves to even. Source: `ggml_fp32_to_fp16_row`.
pub(super) fn f16(row: &[f32], _importance: Option<&[f32]>, output: &mut [u8]) {
    for (bytes, value) in output.chunks_exact_mut(2).zip(row) {
        bytes.copy_from_slice(&f16::from_f32(*value).to_le_bytes());
    }
}

/// Rounded to the nearest, halves to even. Source: `ggml_fp32_to_bf16_row_ref`.
pub(super) fn bf16(row: &[f32], _importance: Option<&[f32]>, output: &mut [u8]) {
    for (bytes, value) in output.chunks_exact_mut(2).zip(row) {
        bytes.copy_from_slice(&bf16::from_f32(*value).to_le_bytes());
    }
}
