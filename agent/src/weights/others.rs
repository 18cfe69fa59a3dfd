//! Files that lie where the submitter had others.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bitfront_model::{Blob, Digest};
use bitfront_weights::is_blob;

/// Files that were found not to hold a blob, each with when it was changed last: until that changes it
/// need not be read again.
#[derive(Debug, Default)]
pub(super) struct Others(HashMap<(PathBuf, Digest), Option<SystemTime>>);

impl Others {
    /// Whether a file may hold a blob, as far as can be told without reading it.
    pub(super) fn may_be(&self, path: &Path, found: &Metadata, blob: Blob) -> bool {
        let other = self.0.get(&(path.to_owned(), blob.digest));
        found.len() == blob.size_bytes && other.is_none_or(|then| *then != found.modified().ok())
    }

    /// Takes down that a file does not hold a blob.
    pub(super) fn add(&mut self, path: PathBuf, blob: Blob) {
        let changed = fs::metadata(&path).and_then(|found| found.modified());
        self.0.insert((path, blob.digest), changed.ok());
    }
}

/// Whether a file holds a blob; one that cannot be read does not.
pub(super) async fn is_right(path: &Path, blob: Blob) -> bool {
    let is_right = is_blob(path, blob).await;
    is_right.unwrap_or_else(|error| {
        tracing::warn!("{error}");
        false
    })
}
