//! One pass over all weights: are they finite, and what are they called by content?

use std::borrow::Cow;
use std::path::Path;

use bitfront_model::{Digest, Precision};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::HyperParameters;
use super::layout::Sizes;
use crate::error::SourceError;

/// A stored tensor in canonical order.
pub(crate) struct Stored<'a> {
    /// The GGUF name.
    pub(crate) name: &'a str,
    /// The name in the file, and the file: for messages.
    pub(crate) own_name: Cow<'a, str>,
    pub(crate) path: &'a Path,
    pub(crate) precision: Precision,
    pub(crate) bytes: &'a [u8],
}

/// What is known of a model's weights before it is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    /// Nothing: all of them are read.
    Unknown,
    /// They were read by somebody else, who calls them this.
    Known(Digest),
}

impl Content {
    /// The model's name by content.
    pub(crate) fn digest(
        self,
        sizes: &Sizes,
        hyper: &HyperParameters,
        tensors: &[Stored<'_>],
    ) -> Result<Digest, SourceError> {
        match self {
            Self::Unknown => digest(sizes, hyper, tensors),
            Self::Known(digest) => Ok(digest),
        }
    }
}

/// Names a model by its content.
///
/// Each tensor is hashed by itself, so that all cores share the work: SHA-256 takes about half a
/// second for a gigabyte on a core that has instructions for it, and the search for values that
/// are not finite rides on the same read. How tensors are spread over files does not count.
fn digest(
    sizes: &Sizes,
    hyper: &HyperParameters,
    tensors: &[Stored<'_>],
) -> Result<Digest, SourceError> {
    let digests = tensors
        .par_iter()
        .map(|tensor| {
            super::refuse_not_finite(
                tensor.bytes,
                (&tensor.own_name, tensor.path),
                tensor.precision,
            )?;
            Ok(Digest::of(tensor.bytes))
        })
        .collect::<Vec<_>>();
    // Debug text of plain numbers is exact: floats are printed with the digits that read back.
    let mut digest = Digest::builder()
        .part("model")
        .part(format!("{sizes:?}"))
        .part(format!("{hyper:?}"));
    for (tensor, content) in tensors.iter().zip(digests) {
        digest.add(tensor.name);
        digest.add(tensor.precision.name());
        digest.add(content?.to_string());
    }
    Ok(digest.finish())
}
