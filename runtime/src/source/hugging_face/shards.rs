//! The weights of a Hugging Face directory: one safetensors file or several with an index.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bitfront_model::Precision;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;

use crate::error::SourceError;
use crate::mapped::MappedFile;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Every tensor of the directory, by its own name.
pub(crate) struct Shards {
    files: Vec<(PathBuf, MappedFile)>,
    tensors: HashMap<String, StoredTensor>,
}

/// A tensor as a safetensors header describes it.
pub(crate) struct StoredTensor {
    file: usize,
    pub(crate) dtype: Dtype,
    /// Rows first.
    pub(crate) shape: Vec<u64>,
    bytes: Range<usize>,
}

impl StoredTensor {
    /// The precision that it is stored in, where that is one that is read.
    pub(crate) fn precision(&self) -> Option<Precision> {
        match self.dtype {
            Dtype::F32 => Some(Precision::F32),
            Dtype::F16 => Some(Precision::F16),
            Dtype::BF16 => Some(Precision::Bf16),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Maps the files of a directory and checks their headers.
    pub(crate) fn open(directory: &Path) -> Result<Self, SourceError> {
        let mut shards = Self {
            files: Vec::new(),
            tensors: HashMap::new(),
        };
        let single = directory.join(SINGLE);
        let index = directory.join(INDEX);
        if single.exists() {
            shards.add(single)?;
        } else if index.exists() {
            shards.add_indexed(directory, &index)?;
        } else {
            return Err(SourceError::NotAModel {
                path: directory.to_owned(),
            });
        }
        Ok(shards)
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn count(&self) -> usize {
        self.tensors.len()
    }

    pub(crate) fn bytes(&self, tensor: &StoredTensor) -> &[u8] {
        &self.files[tensor.file].1.bytes()[tensor.bytes.clone()]
    }

    /// The file that a tensor is in.
    pub(crate) fn path(&self, tensor: &StoredTensor) -> &Path {
        &self.files[tensor.file].0
    }

    fn add_indexed(&mut self, directory: &Path, index: &Path) -> Result<(), SourceError> {
        let invalid = |reason: String| SourceError::Json {
            path: index.to_owned(),
            reason,
        };
        let text = std::fs::read(index).map_err(|error| SourceError::Io {
            path: index.to_owned(),
            error,
        })?;
        let parsed: Index =
            serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        let mut shards = BTreeMap::<&str, usize>::new();
        for shard in parsed.weight_map.values() {
            *shards.entry(shard).or_default() += 1;
        }
        for (&shard, &tensors) in &shards {
            // A name with a folder in it could lead out of the directory.
            if Path::new(shard).file_name() != Some(shard.as_ref()) {
                return Err(invalid(format!("`{shard}` is not the name of a shard")));
            }
            let path = directory.join(shard);
            if !path.exists() {
                return Err(SourceError::MissingShard { path, tensors });
            }
        }
        for shard in shards.keys() {
            self.add(directory.join(shard))?;
        }
        for (tensor, shard) in &parsed.weight_map {
            let found = self.tensors.get(tensor).map(|tensor| self.path(tensor));
            if found != Some(&directory.join(shard)) {
                return Err(SourceError::MissingTensor {
                    path: directory.join(shard),
                    tensor: tensor.clone(),
                });
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf) -> Result<(), SourceError> {
        let mapped = MappedFile::open(&path).map_err(|error| SourceError::Io {
            path: path.clone(),
            error,
        })?;
        // The crate checks everything that the format promises: the header's length against the
        // file, and that the tensors fill the rest without a gap or an overlap.
        let (header_length, metadata) =
            SafeTensors::read_metadata(mapped.bytes()).map_err(|error| {
                SourceError::Safetensors {
                    path: path.clone(),
                    reason: describe(error),
                }
            })?;
        let data = 8 + header_length;
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let tensor = StoredTensor {
                file: self.files.len(),
                dtype: info.dtype,
                shape: info.shape.iter().map(|&size| size as u64).collect(),
                bytes: data + start..data + end,
            };
            if let Some(other) = self.tensors.insert(name.clone(), tensor) {
                return Err(SourceError::DuplicateTensor {
                    tensor: name,
                    first: self.files[other.file].0.clone(),
                    second: path,
                });
            }
        }
        self.files.push((path, mapped));
        Ok(())
    }
}

/// What is wrong with a header, where the crate's own words leave open what to think of it.
fn describe(error: SafeTensorError) -> String {
    match error {
        SafeTensorError::HeaderTooSmall => "it ends within the first 8 bytes".to_owned(),
        SafeTensorError::InvalidHeaderLength => "its header ends beyond the file".to_owned(),
        SafeTensorError::MetadataIncompleteBuffer => {
            "its tensors do not end where the file ends; it is truncated or has bytes too many"
                .to_owned()
        }
        SafeTensorError::InvalidOffset(name) => format!(
            "tensor `{name}` does not begin where the one before it ends; there is a gap or an \
             overlap"
        ),
        SafeTensorError::TensorInvalidInfo => {
            "a tensor's shape does not give the number of its bytes".to_owned()
        }
        other => other.to_string(),
    }
}
