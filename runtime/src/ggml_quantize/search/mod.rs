//! Finds the scales of groups of weights.
//!
//! Each function is a helper of `ggml-quants.c`, with its sums in the same order so that the same
//! candidate wins. What a search returns as `quants` are the integers that its best scale gives;
//! most types quantize anew once the scales themselves are rounded, and keep these only for
//! groups whose rounded scale is zero.

mod affine;
mod positive;
mod symmetric;

pub(super) use affine::{AffineSearch, Distance, scale_and_minimum};
pub(super) use positive::positive_scale;
pub(super) use symmetric::{refined_scale, searched_scale};

/// Groups whose largest weight is below this are zero: `GROUP_MAX_EPS`.
pub(super) const SMALLEST: f32 = 1e-15;
