//! Files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, IntoInnerError};
use std::path::Path;

use crate::RuntimeError;

/// What a power cut may do to a file that was just written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: content and name are on the disk when the call returns.
    Forced,
    /// Anything: the file carries a digest by which a torn one is recognised and made again.
    Left,
}

/// Writes a file beside `path` under another name and gives it its name when it is complete.
///
/// On failure nothing is left behind, and a file that stood under `path` before still stands.
pub fn replace<T>(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<T>,
) -> io::Result<T> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bitfront-").suffix(".partial");
    // A temporary file is for its owner alone unless told otherwise; these are for others too.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut temporary = builder.tempfile_in(directory)?;
    let mut output = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    let result = write(&mut output)?;
    let file = output.into_inner().map_err(IntoInnerError::into_error)?;
    if durability == Durability::Forced {
        file.sync_all()?;
    }
    temporary.persist(path).map_err(|error| error.error)?;
    // The name is in the directory, which must reach the disk as well; systems that cannot open
    // a directory write it by themselves.
    if durability == Durability::Forced
        && let Ok(directory) = File::open(directory)
    {
        directory.sync_all()?;
    }
    Ok(result)
}

/// As [`replace`] for a file of the cache, whose folder is created when needed.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), RuntimeError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(RuntimeError::io("create", directory))?;
    replace(path, Durability::Left, write).map_err(RuntimeError::io("write", path))
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

    #[test]
    fn a_disk_that_fills_up_leaves_what_was_there_before_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, b"before").unwrap();
        let error = replace(&path, Durability::Forced, |output| {
            output.write_all(&[0; 1 << 21])?;
            Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_complete_file_replaces_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, b"before").unwrap();
        replace(&path, Durability::Forced, |output| {
            output.write_all(b"after")
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/model.gguf");
        assert!(replace(&path, Durability::Forced, |_| Ok(())).is_err());
    }
}
