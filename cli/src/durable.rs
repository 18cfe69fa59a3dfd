//! Files that are whole or not there.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Writes a file beside its final name and renames it at the end, so that a full disk or a crash
/// leaves nothing half under that name.
pub(crate) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let partial = partial(path);
    let written = (|| {
        let mut file = File::create(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    })();
    if written.is_err() {
        // The error that matters is the first one; a partial file that stays is only litter.
        let _ = std::fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/file");
        let error = write(&path, b"one").unwrap_err();
        assert!(format!("{error:#}").contains("missing/file"));
    }
}
