//! Quantized tensors, each made once: in memory while there is room, on disk for the next time.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfront_model::{Digest, Precision};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::RuntimeError;
use crate::candle::Matrix;
use crate::files;

/// Raised whenever the quantizers round differently, so that no older file is used.
const FORMAT: &str = "bitfront tensor 1";

/// What a stored tensor is: equal keys mean equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorKey {
    /// The model's digest.
    pub model: Digest,
    /// The layer's name.
    pub layer: String,
    /// The precision.
    pub precision: Precision,
    /// The imatrix, where it was used.
    pub imatrix: Option<Digest>,
}

impl TensorKey {
    fn file_name(&self) -> String {
        let imatrix = self.imatrix.map(|digest| digest.to_string());
        let digest = Digest::builder()
            .part(FORMAT)
            .part(self.model.to_string())
            .part(&self.layer)
            .part(self.precision.name())
            .part(imatrix.as_deref().unwrap_or("none"))
            .finish();
        format!("{digest}.tensor")
    }
}

/// How often tensors came from where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Found in memory.
    pub from_memory: u64,
    /// Read from disk.
    pub from_disk: u64,
    /// Made anew.
    pub made: u64,
}

/// A tensor as an engine holds it.
pub trait Stored {
    /// Bytes that it occupies in the memory that the engine computes in.
    fn resident_bytes(&self) -> u64;

    /// The same of a tensor that is not there yet.
    fn bytes_of(precision: Precision, rows: u64, columns: u64) -> u64;
}

/// Makes what an engine holds of the bytes of a ggml tensor and its rows and columns.
type Hold<M> = Box<dyn Fn(Precision, Vec<u8>, (usize, usize)) -> Result<M, RuntimeError> + Send>;

/// Keeps quantized tensors up to a memory budget, the least recently used leave first; what was
/// quantized is also written to a directory, so that neither leaving nor a restart costs a second
/// quantization.
///
/// A tensor that is part of a plan being measured stays alive through its reference; the budget is
/// for what the store itself keeps.
pub struct TensorStore<M = Matrix> {
    directory: PathBuf,
    hold: Hold<M>,
    budget_bytes: u64,
    used_bytes: u64,
    clock: u64,
    entries: HashMap<TensorKey, Entry<M>>,
    counts: StoreCounts,
}

struct Entry<M> {
    matrix: Arc<M>,
    bytes: u64,
    last_used: u64,
}

impl TensorStore {
    /// A store of what the processor multiplies, which spills into `directory`; it is created when
    /// needed.
    pub fn new(directory: PathBuf, budget_bytes: u64) -> Self {
        let hold =
            |precision, bytes, (rows, columns)| Matrix::from_bytes(precision, bytes, rows, columns);
        Self::holding(directory, budget_bytes, Box::new(hold))
    }
}

impl<M: Stored> TensorStore<M> {
    /// A store of what `hold` makes of a tensor's bytes. Stores of several engines may spill into
    /// one directory: what lies there is the same for all.
    pub(crate) fn holding(directory: PathBuf, budget_bytes: u64, hold: Hold<M>) -> Self {
        Self {
            directory,
            hold,
            budget_bytes,
            used_bytes: 0,
            clock: 0,
            entries: HashMap::new(),
            counts: StoreCounts::default(),
        }
    }

    /// How often tensors came from where.
    pub fn counts(&self) -> StoreCounts {
        self.counts
    }

    /// Bytes of the tensors in memory, with whatever the engine may make of them there.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// The tensor under `key`, which is `rows × columns`; `make` gives its bytes where it was
    /// never made before.
    pub fn get(
        &mut self,
        key: TensorKey,
        (rows, columns): (usize, usize),
        make: impl FnOnce() -> Result<Vec<u8>, RuntimeError>,
    ) -> Result<Arc<M>, RuntimeError> {
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.last_used = self.clock;
            self.counts.from_memory += 1;
            return Ok(Arc::clone(&entry.matrix));
        }
        // The source is as quick to read as a copy of it, so floats are not spilled.
        let path = (!key.precision.is_float()).then(|| self.directory.join(key.file_name()));
        let stored = path
            .as_deref()
            .and_then(|path| read(path, &key, rows, columns));
        let bytes = match stored {
            Some(bytes) => {
                self.counts.from_disk += 1;
                bytes
            }
            None => {
                let bytes = make()?;
                self.counts.made += 1;
                if let Some(path) = &path {
                    write(path, &bytes)?;
                }
                bytes
            }
        };
        let matrix = Arc::new((self.hold)(key.precision, bytes, (rows, columns))?);
        self.keep(key, &matrix);
        Ok(matrix)
    }

    /// True where the tensor under `key` is in memory.
    pub(crate) fn holds(&self, key: &TensorKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Gives up every tensor that no plan at hand is made of.
    pub(crate) fn forget_unused(&mut self) {
        let used_bytes = &mut self.used_bytes;
        self.entries.retain(|_, entry| {
            let used = Arc::strong_count(&entry.matrix) > 1;
            if !used {
                *used_bytes -= entry.bytes;
            }
            used
        });
    }

    fn keep(&mut self, key: TensorKey, matrix: &Arc<M>) {
        let bytes = matrix.resident_bytes();
        if bytes > self.budget_bytes {
            return;
        }
        while self.used_bytes + bytes > self.budget_bytes {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(key, _)| key.clone());
            let Some(entry) = oldest.and_then(|key| self.entries.remove(&key)) else {
                break;
            };
            self.used_bytes -= entry.bytes;
        }
        self.used_bytes += bytes;
        let entry = Entry {
            matrix: Arc::clone(matrix),
            bytes,
            last_used: self.clock,
        };
        self.entries.insert(key, entry);
    }
}

/// The bytes in a spill file; none where there is no such file or it is not what was written.
fn read(path: &Path, key: &TensorKey, rows: usize, columns: usize) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let expected = key.precision.bytes(rows as u64, columns as u64)?;
    let length = bytes.len().checked_sub(DIGEST_BYTES)?;
    let sound = length as u64 == expected
        && Sha256::digest(&bytes[..length]).as_slice() == &bytes[length..];
    if !sound {
        tracing::warn!(path = %path.display(), "a cached tensor is damaged; making it again");
        return None;
    }
    bytes.truncate(length);
    Some(bytes)
}

const DIGEST_BYTES: usize = 32;

/// The tensor's bytes, then their SHA-256.
fn write(path: &Path, bytes: &[u8]) -> Result<(), RuntimeError> {
    let digest = Sha256::digest(bytes);
    files::write_atomically(path, |file| {
        file.write_all(bytes)?;
        file.write_all(&digest)
    })
}
