//! What the unquantized model says, kept on disk.
//!
//! The file holds, for every scored position, the logarithms of the probabilities of all tokens:
//! `windows × positions × vocabulary` values in `f32`, little-endian, after a header with the
//! key and the SHA-256 of the values. It is mapped, not read.

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use bitfront_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::RuntimeError;
use crate::files;
use crate::mapped::MappedFile;

const MAGIC: &[u8; 16] = b"bitfront-ref-1\n\0";
const DIGEST_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 3 * 8 + 2 * DIGEST_BYTES;

/// The positions of a window that are scored, as `llama-perplexity` does: those from the middle
/// on, except the last, whose next token is not in the window.
///
/// The model reads position `first + i` and is scored on the token at `first + i + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoredPositions {
    /// The first one: half of the context.
    pub first: usize,
    /// How many: `context − 1 − first`.
    pub count: usize,
}

impl ScoredPositions {
    /// The scored positions of a window of `context` tokens.
    pub fn of(context: usize) -> Self {
        let first = context / 2;
        Self {
            first,
            count: context.saturating_sub(1 + first),
        }
    }
}

/// How large a reference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferenceShape {
    /// Windows.
    pub windows: usize,
    /// Scored positions per window.
    pub positions: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
}

impl ReferenceShape {
    /// Bytes of the file; none where they cannot be counted.
    pub fn bytes(&self) -> Option<u64> {
        let values = self
            .windows
            .checked_mul(self.positions)?
            .checked_mul(self.vocabulary)?;
        (values as u64)
            .checked_mul(4)?
            .checked_add(HEADER_BYTES as u64)
    }

    fn header(&self, key: Digest, content: &[u8]) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        for size in [self.windows, self.positions, self.vocabulary] {
            header.extend((size as u64).to_le_bytes());
        }
        header.extend(Sha256::digest(key.to_string()));
        header.extend(content);
        header
    }
}

/// Log-probabilities of the unquantized model, mapped from a file.
pub struct Reference {
    shape: ReferenceShape,
    file: MappedFile,
}

impl Reference {
    /// Opens the reference in `path`, or makes it where there is none or it is damaged.
    ///
    /// `key` names what it was computed from. `announce` hears the size before anything is
    /// written. `logits` gives the logits of the scored positions of a window
    /// (`positions × vocabulary` values) for one window after another.
    pub fn open_or_make(
        path: PathBuf,
        key: Digest,
        shape: ReferenceShape,
        announce: &mut dyn FnMut(&str),
        logits: impl FnMut(usize) -> Result<Vec<f32>, RuntimeError>,
    ) -> Result<Self, RuntimeError> {
        if let Some(reference) = Self::open(&path, key, shape, announce) {
            return Ok(reference);
        }
        let bytes = shape.bytes().ok_or_else(|| {
            RuntimeError::Engine("the reference log-probabilities are too large".to_owned())
        })?;
        announce(&format!(
            "computing reference log-probabilities: {} windows, {:.1} MB in {}",
            shape.windows,
            bytes as f64 / 1e6,
            path.display()
        ));
        make(&path, key, shape, logits)?;
        Self::open(&path, key, shape, announce).ok_or_else(|| {
            let error = std::io::Error::other("it reads back differently from what was written");
            RuntimeError::io("read", &path)(error)
        })
    }

    /// The file, if it is there, whole and made from `key`.
    fn open(
        path: &Path,
        key: Digest,
        shape: ReferenceShape,
        announce: &mut dyn FnMut(&str),
    ) -> Option<Self> {
        let file = MappedFile::open(path).ok()?;
        let bytes = file.bytes();
        let sound = shape.bytes() == Some(bytes.len() as u64) && {
            let (header, values) = bytes.split_at(HEADER_BYTES);
            header == shape.header(key, &Sha256::digest(values))
        };
        if !sound {
            announce(&format!(
                "the reference in {} is damaged or outdated; computing it again",
                path.display()
            ));
            return None;
        }
        Some(Self { shape, file })
    }

    /// Its size.
    pub fn shape(&self) -> ReferenceShape {
        self.shape
    }

    /// The log-probabilities at a scored position: `4 · vocabulary` bytes, little-endian `f32`.
    pub(crate) fn log_probabilities(&self, window: usize, position: usize) -> &[[u8; 4]] {
        let row = self.shape.vocabulary * 4;
        let start = HEADER_BYTES + (window * self.shape.positions + position) * row;
        self.file.bytes()[start..][..row].as_chunks().0
    }
}

fn make(
    path: &Path,
    key: Digest,
    shape: ReferenceShape,
    mut logits: impl FnMut(usize) -> Result<Vec<f32>, RuntimeError>,
) -> Result<(), RuntimeError> {
    let mut failure = None;
    let written = files::write_atomically(path, |file| {
        // The digest stands before the values and is known after them: zeros keep its place.
        let unknown = [0; DIGEST_BYTES];
        file.write_all(&shape.header(key, &unknown))?;
        let mut digest = Sha256::new();
        for window in 0..shape.windows {
            let values = match window_bytes(window, shape, &mut logits) {
                Ok(values) => values,
                Err(error) => {
                    failure = Some(error);
                    return Err(std::io::Error::other("the reference could not be computed"));
                }
            };
            digest.update(&values);
            file.write_all(&values)?;
        }
        file.rewind()?;
        file.write_all(&shape.header(key, &digest.finalize()))
    });
    match failure {
        Some(error) => Err(error),
        None => written,
    }
}

fn window_bytes(
    window: usize,
    shape: ReferenceShape,
    logits: &mut impl FnMut(usize) -> Result<Vec<f32>, RuntimeError>,
) -> Result<Vec<u8>, RuntimeError> {
    let mut values = logits(window)?;
    for (position, logits) in values.chunks_exact_mut(shape.vocabulary).enumerate() {
        if let Some(&value) = logits.iter().find(|value| !value.is_finite()) {
            return Err(RuntimeError::ReferenceNotFinite {
                window,
                position,
                value,
            });
        }
        log_softmax(logits);
    }
    Ok(values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect())
}

/// `x − log Σ exp(x)`, in place.
fn log_softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total = logits
        .iter()
        .map(|&logit| f64::from(logit - largest).exp())
        .sum::<f64>();
    let shift = f64::from(largest) + total.ln();
    for logit in logits {
        *logit = (f64::from(*logit) - shift) as f32;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SHAPE: ReferenceShape = ReferenceShape {
        windows: 3,
        positions: 2,
        vocabulary: 4,
    };

    fn make(path: &Path, logits: &mut dyn FnMut(usize) -> Vec<f32>) -> Reference {
        let logits = |window| Ok(logits(window));
        let key = Digest::of("what it is computed from");
        Reference::open_or_make(path.to_owned(), key, SHAPE, &mut |_| {}, logits).unwrap()
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn it_is_written_once_and_takes_the_room_that_was_announced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.reference");
        make(&path, &mut |_| {
            assert_eq!(files(directory.path()).len(), 1);
            vec![0.5; 8]
        });
        assert_eq!(files(directory.path()), std::slice::from_ref(&path));
        assert_eq!(path.metadata().unwrap().len(), SHAPE.bytes().unwrap());
        let again = make(&path, &mut |_| panic!("it is there"));
        let quarter = f32::from_le_bytes(again.log_probabilities(2, 1)[3]).exp();
        assert!((quarter - 0.25).abs() < 1e-6);
    }

    #[test]
    fn two_agents_may_make_it_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.reference");
        // Whatever name another agent may have left beside it is not in the way.
        std::fs::create_dir(path.with_extension("values")).unwrap();
        make(&path, &mut |window| {
            if window == 1 {
                make(&path, &mut |_| vec![1.0; 8]);
            }
            vec![1.0; 8]
        });
        assert_eq!(files(directory.path()).len(), 2);
    }

    #[test]
    fn nothing_is_left_where_the_model_gives_no_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.reference");
        let logits = |window| Ok(vec![if window == 2 { f32::NAN } else { 0.0 }; 8]);
        let made = Reference::open_or_make(path, Digest::of("key"), SHAPE, &mut |_| {}, logits);
        assert!(matches!(
            made.err(),
            Some(RuntimeError::ReferenceNotFinite { window: 2, .. })
        ));
        assert!(files(directory.path()).is_empty());
    }
}
