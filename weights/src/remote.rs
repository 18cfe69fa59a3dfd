//! Files by URL, from the object store or web server that has them.
//!
//! A URL says where the bytes are, and nothing of who reads them: credentials come from the
//! environment of the process that reads, through [`Remote::new`], and are never shown.

mod downloads;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bitfront_model::{FileUrl, InvalidFileUrl};
use object_store::{GetOptions, GetRange, ObjectStore as _};
use serde::{Deserialize, Serialize};
use tokio_stream::{Stream, StreamExt as _};
use url::Url;

use crate::contents;

pub use downloads::{DownloadError, Downloads};
use store::Place;

/// Beginnings of the names of variables in which object stores' own programs have credentials and
/// addresses: what [`Remote::new`] is given.
pub const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// What a typed text with a scheme means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// `file://`: a path, which other machines may have too.
    Path(PathBuf),
    /// A file or a folder elsewhere.
    Url(FileUrl),
}

/// Whether a text is meant as a URL and not as a path.
pub fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// Understands a URL.
///
/// # Errors
///
/// It is none, says who reads it, or nobody knows how to read it.
pub fn typed(text: &str) -> Result<Typed, InvalidFileUrl> {
    if !text.starts_with("file://") {
        return text.parse().map(Typed::Url);
    }
    let url = Url::parse(text).ok();
    let path = url.and_then(|url| url.to_file_path().ok());
    path.map(Typed::Path)
        .ok_or_else(|| InvalidFileUrl::Form(text.to_owned()))
}

/// A file cannot be read by its URL.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing is there.
    #[error("`{0}` is not there: compare the name")]
    NotThere(FileUrl),
    /// It is not for this process.
    #[error("`{url}` may not be read: {advice}")]
    Denied {
        /// The URL.
        url: FileUrl,
        /// How to become somebody who may.
        advice: &'static str,
    },
    /// It cannot even be asked for.
    #[error("`{url}` cannot be asked for: {reason}. If this is about credentials, {advice}")]
    Unasked {
        /// The URL.
        url: FileUrl,
        /// What is missing or wrong.
        reason: String,
        /// How credentials are given.
        advice: &'static str,
    },
    /// The host does not answer, or stopped answering.
    #[error("`{url}` does not come: {reason}")]
    Away {
        /// The URL.
        url: FileUrl,
        /// What went wrong.
        reason: String,
    },
    /// It is something else than it was a moment ago.
    #[error("`{0}` was changed while it was read")]
    Changed(FileUrl),
}

/// Reads files by URL. Shown without what it was given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Remote {
    options: Arc<[(String, String)]>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.options.iter().map(|(name, _)| name);
        formatter.debug_set().entries(names).finish()
    }
}

/// What a store says of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) size_bytes: u64,
    /// Stands for exactly these bytes.
    pub(crate) tag: Option<String>,
    /// When it was written, in seconds since 1970: as good as a tag to tell that nothing has changed,
    /// and not good enough to put the beginning of one file before the end of another.
    pub(crate) modified_s: Option<i64>,
}

impl Said {
    /// Whether the file is the one of which a store said this earlier, as far as can be told.
    pub(crate) fn is_still(&self, earlier: &Self) -> bool {
        match (&self.tag, &earlier.tag) {
            (Some(tag), Some(earlier_tag)) => {
                tag == earlier_tag && self.size_bytes == earlier.size_bytes
            }
            (None, None) => self.modified_s.is_some() && self == earlier,
            _ => false,
        }
    }
}

impl Remote {
    /// Reads with credentials and addresses in variables as object stores' own programs have them:
    /// those whose names begin with one of [`VARIABLES`]. Of others and of unknown ones nothing is
    /// taken.
    pub fn new(variables: Vec<(String, String)>) -> Self {
        Self {
            options: variables.into(),
        }
    }

    /// What a file is now.
    ///
    /// # Errors
    ///
    /// It is not there, not for this process, or its host does not answer.
    pub(crate) async fn ask(&self, url: &FileUrl) -> Result<Said, RemoteError> {
        let place = Place::open(url, &self.options)?;
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let answer = place.store.get_opts(&place.path, options).await;
        let meta = answer.map_err(|error| place.error(&error))?.meta;
        let strong = |tag: &String| !tag.starts_with("W/");
        Ok(Said {
            size_bytes: meta.size,
            tag: meta.e_tag.filter(strong),
            modified_s: Some(meta.last_modified.timestamp()).filter(|&seconds| seconds != 0),
        })
    }

    /// Those of some names that a folder has. Where it may be listed, all that it has, and one that has
    /// nothing is not there.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`].
    pub(crate) async fn names(
        &self,
        folder: &FileUrl,
        wanted: &[&str],
    ) -> Result<Vec<String>, RemoteError> {
        let place = Place::open(folder, &self.options)?;
        // Who may not list may read all the same, and is told more of what is wrong otherwise.
        if place.has_lists()
            && let Ok(list) = place.store.list_with_delimiter(Some(&place.path)).await
        {
            let names = list
                .objects
                .iter()
                .filter_map(|file| file.location.filename());
            let names: Vec<_> = names.map(str::to_owned).collect();
            return match names.is_empty() {
                false => Ok(names),
                true => Err(RemoteError::NotThere(folder.clone())),
            };
        }
        let mut names = Vec::new();
        for &name in wanted {
            match self.ask(&folder.inside(&contents::plain(name))).await {
                Ok(_) => names.push(name.to_owned()),
                Err(RemoteError::NotThere(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// The bytes of a file from an offset on, which lies before its end. With the tag of a file they
    /// are those of this one and of no other that has taken its place.
    ///
    /// # Errors
    ///
    /// It is not there, not for this process, has changed, or its host does not answer.
    pub async fn read(
        &self,
        url: &FileUrl,
        offset: u64,
        tag: Option<&str>,
    ) -> Result<Bytes, RemoteError> {
        let place = Place::open(url, &self.options)?;
        let from = |range| GetOptions {
            range,
            if_match: tag.map(str::to_owned),
            ..GetOptions::default()
        };
        let range = (offset > 0).then_some(GetRange::Offset(offset));
        let ranged = place.store.get_opts(&place.path, from(range)).await;
        let (answer, unwanted) = match ranged {
            // It sends all or nothing.
            Err(object_store::Error::NotSupported { .. }) if offset > 0 => {
                let whole = place.store.get_opts(&place.path, from(None)).await;
                (whole, offset)
            }
            answer => (answer, 0),
        };
        let answer = answer.map_err(|error| place.error(&error))?;
        // Not every server knows the condition.
        if tag.is_some() && answer.meta.e_tag.as_deref() != tag {
            return Err(RemoteError::Changed(url.clone()));
        }
        Ok(Bytes {
            coming: Box::pin(answer.into_stream().map(|chunk| chunk.map(Vec::from))),
            unwanted,
            place,
        })
    }
}

/// The bytes of a file as they come.
pub struct Bytes {
    coming: std::pin::Pin<Box<dyn Stream<Item = object_store::Result<Vec<u8>>> + Send>>,
    /// How many come that were not asked for, before the others.
    unwanted: u64,
    place: Place,
}

impl Bytes {
    /// The next bytes; none after the last.
    ///
    /// # Errors
    ///
    /// The connection breaks, or nothing comes for a minute.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, RemoteError> {
        while let Some(chunk) = self.coming.next().await {
            let mut chunk = chunk.map_err(|error| self.place.error(&error))?;
            let unwanted = (chunk.len() as u64).min(self.unwanted);
            self.unwanted -= unwanted;
            if unwanted < chunk.len() as u64 {
                return Ok(Some(chunk.split_off(unwanted as usize)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_file_here_is_its_path_and_others_are_elsewhere() {
        let path = typed("file:///models/a%20b.gguf").unwrap();
        assert_eq!(path, Typed::Path(PathBuf::from("/models/a b.gguf")));
        let url = typed("s3://bucket/model").unwrap();
        assert_eq!(url, Typed::Url("s3://bucket/model".parse().unwrap()));
        for wrong in [
            "file://host/models/x",
            "ftp://host/x",
            "s3://me:secret@bucket/x",
        ] {
            let error = typed(wrong).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(is_url("s3://x") && !is_url("models/x"));
    }

    #[test]
    fn what_it_is_given_is_not_shown() {
        let secret = ("AWS_SECRET_ACCESS_KEY".to_owned(), "hidden".to_owned());
        let shown = format!("{:?}", Remote::new(vec![secret]));
        assert_eq!(shown, r#"{"AWS_SECRET_ACCESS_KEY"}"#);
    }

    #[test]
    fn a_tag_or_else_a_time_tells_that_a_file_is_the_same() {
        let said = |size_bytes, tag: &str, modified_s| Said {
            size_bytes,
            tag: Some(tag.to_owned()).filter(|tag| !tag.is_empty()),
            modified_s,
        };
        assert!(said(1, "a", Some(1)).is_still(&said(1, "a", Some(1))));
        assert!(said(1, "a", Some(1)).is_still(&said(1, "a", Some(2))));
        assert!(said(1, "", Some(1)).is_still(&said(1, "", Some(1))));
        for (now, earlier) in [
            (said(1, "a", None), said(1, "b", None)),
            (said(1, "a", None), said(2, "a", None)),
            (said(1, "", Some(1)), said(1, "", Some(2))),
            (said(1, "", Some(1)), said(1, "a", Some(1))),
            // Nothing tells.
            (said(1, "", None), said(1, "", None)),
        ] {
            assert!(!now.is_still(&earlier), "{now:?} {earlier:?}");
        }
    }
}
