//! Cache files that are either whole or not there.

use std::fs::{self, File};
use std::io::{BufWriter, IntoInnerError};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::RuntimeError;

/// Writes a file under a temporary name beside `path` and gives it its name when it is complete;
/// nothing is left where writing fails.
///
/// Unlike an export, the content is not forced to the disk: every cache file carries its digest,
/// so one that a power cut tore is recognised and made again.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> std::io::Result<()>,
) -> Result<(), RuntimeError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(RuntimeError::io("create", directory))?;
    let written = NamedTempFile::new_in(directory).and_then(|mut temporary| {
        let mut file = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
        write(&mut file)?;
        file.into_inner().map_err(IntoInnerError::into_error)?;
        temporary.persist(path).map_err(|error| error.error)?;
        Ok(())
    });
    written.map_err(RuntimeError::io("write", path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_failed_write_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/file");
        let failed = write_atomically(&path, |file| {
            file.write_all(b"half")?;
            Err(std::io::Error::other("no space left"))
        });
        let message = failed.unwrap_err().to_string();
        assert!(
            message.contains("deep/file") && message.contains("no space"),
            "{message}"
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        write_atomically(&path, |file| file.write_all(b"whole")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
