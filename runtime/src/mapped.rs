//! Files mapped into memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A whole file, mapped for reading.
///
/// A mapping and not a read, because weights are larger than what is needed of them at a time and
/// several agents on one machine share the pages.
pub(crate) struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps a file; an empty file is an empty slice.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the mapping is private and only read. A file that another process shortens
        // while it is mapped ends this process with a bus error; model files are written once,
        // and every reader of such files (llama.cpp, safetensors) accepts the same.
        #[allow(unsafe_code)]
        let mapping = unsafe { Mmap::map(&file)? };
        Ok(Self(Some(mapping)))
    }

    /// The file's content.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
