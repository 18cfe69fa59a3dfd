//! Files that are there as a whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file beside `path` under another name, forces it to the disk and renames it.
///
/// On failure nothing is left behind, and a file that stood under `path` before still stands.
pub(crate) fn replace<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
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
    // A temporary file is for its owner alone unless told otherwise; an export is for others too.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let temporary = builder.tempfile_in(directory)?;
    let mut output = BufWriter::with_capacity(1 << 20, temporary);
    let result = write(&mut output)?;
    let temporary = output
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    // The name is in the directory, which must reach the disk as well; systems that cannot open
    // a directory write it by themselves.
    if let Ok(directory) = File::open(directory) {
        directory.sync_all()?;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_disk_that_fills_up_leaves_what_was_there_before_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, b"before").unwrap();
        let error = replace(&path, |output| {
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
        replace(&path, |output| output.write_all(b"after")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/model.gguf");
        assert!(replace(&path, |_| Ok(())).is_err());
    }
}
