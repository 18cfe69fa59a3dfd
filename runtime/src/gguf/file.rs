//! A mapped GGUF file.

use std::path::{Path, PathBuf};

use super::header::{Header, TensorInfo, parse};
use crate::error::SourceError;
use crate::mapped::MappedFile;

/// A GGUF file, mapped, its header parsed and checked.
pub struct GgufFile {
    path: PathBuf,
    file: MappedFile,
    header: Header,
}

impl GgufFile {
    /// Opens a file and checks its header.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let file = MappedFile::open(path).map_err(|error| SourceError::Io {
            path: path.to_owned(),
            error,
        })?;
        let header = parse(file.bytes()).map_err(|error| SourceError::Gguf {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The parsed header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes of a tensor of this file's header.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        &self.file.bytes()[tensor.bytes.clone()]
    }
}
