//! Files that are whole or not there.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use bitfront_runtime::files::{self, Durability};

/// Writes a file and forces it to the disk; a full disk or a crash leaves nothing half under its
/// name.
pub(crate) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    files::replace(path, Durability::Forced, |file| file.write_all(content))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/file");
        let error = write(&path, b"one").unwrap_err();
        assert!(format!("{error:#}").contains("missing/file"));
    }
}
