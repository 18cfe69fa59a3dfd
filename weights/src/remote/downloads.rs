//! Models and texts by URL, into a folder of this machine.
//!
//! ```text
//! <folder>/blobs/<digest>            a file, whole
//! <folder>/blobs/<URL>.partial       one that is being downloaded, or will be gone on with
//! <folder>/urls/<URL>.json           what was at a URL, and which blob that is once it is whole
//! <folder>/sets/<digest>/<name>      links to the blobs of a model or a text, under their names
//! ```
//!
//! `<URL>` is the digest of a URL. The store is asked each time what is there now, and nothing is
//! downloaded that has not changed; what has changed is another set, and paths to the old one still
//! lead to the old files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitfront_model::{Blob, Digest, FileName, FileUrl};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Remote, RemoteError, Said};
use crate::contents::{self, BESIDE_TOKENIZER, BESIDE_WEIGHTS, INDEX, WEIGHTS};
use crate::{BlobError, BlobFolder, ContentsError, FIRST_PAUSE, RESUMPTIONS};

/// Without which a folder is no model.
const CONFIG: &str = BESIDE_WEIGHTS[0];

/// A model or a text cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It cannot be read where it is.
    #[error("{error}{}", kept(.0), error = .0)]
    Remote(RemoteError),
    /// The folder is not that of a model.
    #[error(
        "`{folder}` has no `{missing}`{}: a folder of a model has `{CONFIG}`, and `{WEIGHTS}` or \
         `{INDEX}`, each of which is read by its name; of GGUF files one is named, as {folder}/FILE.gguf",
        instead(.ggufs)
    )]
    NoModel {
        /// The folder.
        folder: FileUrl,
        /// What is missing first.
        missing: &'static str,
        /// The GGUF files that it has, as far as that is known.
        ggufs: Vec<String>,
    },
    /// The index of a model's weights is none.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// A file cannot be kept.
    #[error("cannot keep `{url}`: {source}")]
    Blob {
        /// The URL.
        url: FileUrl,
        /// What is wrong.
        source: BlobError,
    },
    /// The disk will not.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl From<RemoteError> for DownloadError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

fn kept(error: &RemoteError) -> &'static str {
    match error {
        RemoteError::Away { .. } => ". What came is kept, and the same command goes on with it",
        RemoteError::Changed(_) => "; try again once it stays as it is",
        _ => "",
    }
}

fn instead(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(", but {}", names.join(", ")),
    }
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::Io {
        action,
        path,
        source,
    }
}

/// What was at a URL.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    url: FileUrl,
    said: Said,
    /// What it is, once all of it came.
    blob: Option<Blob>,
}

/// A folder that files are downloaded to. Several processes may use it at once.
#[derive(Debug, Clone)]
pub struct Downloads {
    remote: Remote,
    folder: PathBuf,
    blobs: BlobFolder,
}

impl Downloads {
    /// Downloads to a folder, which is made with the first file.
    pub fn new(remote: Remote, folder: PathBuf) -> Self {
        Self {
            remote,
            blobs: BlobFolder::new(folder.join("blobs")),
            folder,
        }
    }

    /// A model: a GGUF file, or what is read of a folder. Gives back where it is now.
    ///
    /// `progress` hears what is about to be downloaded, in lines for people.
    ///
    /// # Errors
    ///
    /// It is not there, not for this process, no model, its host does not answer, or the disk will not
    /// take it.
    pub async fn model(
        &self,
        url: &FileUrl,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<PathBuf, DownloadError> {
        if url.name().ends_with(".gguf") {
            return self.file(url, progress).await;
        }
        let mut wanted = BESIDE_WEIGHTS.to_vec();
        wanted.extend([WEIGHTS, INDEX]);
        let there = self.remote.names(url, &wanted).await?;
        let has = |name: &str| there.iter().any(|there| there == name);
        let no_model = |missing| DownloadError::NoModel {
            folder: url.clone(),
            missing,
            ggufs: there
                .iter()
                .filter(|name| name.ends_with(".gguf"))
                .cloned()
                .collect(),
        };
        if !has(CONFIG) {
            return Err(no_model(CONFIG));
        }
        // As whoever opens the model chooses: one file counts before an index.
        let first = [WEIGHTS, INDEX].into_iter().find(|name| has(name));
        let first = first.ok_or_else(|| no_model(WEIGHTS))?;
        let mut names: Vec<_> = BESIDE_WEIGHTS
            .into_iter()
            .filter(|name| has(name))
            .collect();
        names.push(first);
        let mut files = Vec::new();
        for name in names.into_iter().map(contents::plain) {
            let blob = self.fetch(&url.inside(&name), progress).await?;
            files.push((name, blob));
        }
        if first == INDEX {
            let index = files.last().map(|(_, blob)| self.blobs.path(blob.digest));
            for shard in contents::shards(&index.unwrap_or_default())? {
                let blob = self.fetch(&url.inside(&shard), progress).await?;
                files.push((shard, blob));
            }
        }
        self.link(&files)
    }

    /// A file under its own name, if that can be one here. Gives back where it is now.
    ///
    /// # Errors
    ///
    /// As [`Self::model`].
    pub async fn file(
        &self,
        url: &FileUrl,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<PathBuf, DownloadError> {
        let name = contents::own_name(url.name());
        let blob = self.fetch(url, progress).await?;
        Ok(self.link(&[(name.clone(), blob)])?.join(name.as_str()))
    }

    /// A tokenizer, with what is read beside one. Gives back where it is now.
    ///
    /// # Errors
    ///
    /// As [`Self::model`].
    pub async fn tokenizer(
        &self,
        url: &FileUrl,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<PathBuf, DownloadError> {
        let name = contents::own_name(url.name());
        let mut files = vec![(name.clone(), self.fetch(url, progress).await?)];
        for beside in BESIDE_TOKENIZER.map(contents::plain) {
            match self.fetch(&url.beside(&beside), progress).await {
                Ok(blob) => files.push((beside, blob)),
                Err(DownloadError::Remote(RemoteError::NotThere(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.link(&files)?.join(name.as_str()))
    }

    /// Gives blobs their names, in a folder of their own.
    fn link(&self, files: &[(FileName, Blob)]) -> Result<PathBuf, DownloadError> {
        let mut digest = Digest::builder().part("set");
        for (name, blob) in files {
            digest.add(name.as_str());
            digest.add(blob.digest.to_string());
        }
        let set = self.folder.join("sets").join(digest.finish().to_string());
        fs::create_dir_all(&set).map_err(error("make the folder", &set))?;
        for (name, blob) in files {
            let link = set.join(name.as_str());
            // What is there may be what somebody has changed, and others may be reading it. No name of
            // a file begins with a dot.
            let new = set.join(format!(".{name}.{}", std::process::id()));
            remove(&new)?;
            fs::hard_link(self.blobs.path(blob.digest), &new).map_err(error("link", &new))?;
            fs::rename(&new, &link).map_err(error("rename", &new))?;
            // It stays where both names were of one file.
            remove(&new)?;
        }
        Ok(set)
    }

    /// Downloads what is at a URL, unless it has not changed since it was downloaded.
    async fn fetch(
        &self,
        url: &FileUrl,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Blob, DownloadError> {
        let (mut resumptions, mut held_bytes) = (0, 0);
        loop {
            let failure = match self.attempt(url, progress).await {
                Ok(blob) => return Ok(blob),
                Err(DownloadError::Blob {
                    source: BlobError::Busy(_),
                    ..
                }) => {
                    // Whoever downloads it has it then.
                    sleep(FIRST_PAUSE).await;
                    continue;
                }
                Err(failure) => failure,
            };
            let now = self.blobs.unknown_bytes(name(url)).await.unwrap_or(0);
            if now > held_bytes {
                resumptions = 0;
            }
            held_bytes = now;
            match failure {
                DownloadError::Remote(RemoteError::Away { .. } | RemoteError::Changed(_))
                    if resumptions < RESUMPTIONS =>
                {
                    sleep(FIRST_PAUSE * 2_u32.pow(resumptions)).await;
                    resumptions += 1;
                }
                failure => return Err(failure),
            }
        }
    }

    async fn attempt(
        &self,
        url: &FileUrl,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Blob, DownloadError> {
        let said = self.remote.ask(url).await?;
        let known = self.known(url).filter(|known| said.is_still(&known.said));
        if let Some(blob) = known.as_ref().and_then(|known| known.blob)
            && self.is_whole(blob)?
        {
            return Ok(blob);
        }
        let failed = |source| match source {
            BlobError::TooShort {
                held_bytes,
                size_bytes,
                ..
            } => DownloadError::Remote(RemoteError::Away {
                url: url.clone(),
                reason: format!("it ended after {held_bytes} of {size_bytes} bytes"),
            }),
            BlobError::TooLong { .. } => DownloadError::Remote(RemoteError::Changed(url.clone())),
            source => DownloadError::Blob {
                url: url.clone(),
                source,
            },
        };
        // The beginning of one file and the end of another would make a third one.
        let goes_on = known.is_some() && said.tag.is_some();
        let size = said.size_bytes;
        let receiving = self.blobs.receive_unknown(name(url), size, goes_on).await;
        let mut receiving = receiving.map_err(failed)?;
        self.note(url, &said, None)?;
        let missing = size - receiving.held_bytes();
        progress(&format!("downloading `{url}`: {missing} bytes"));
        if missing > 0 {
            let offset = receiving.held_bytes();
            let mut bytes = self.remote.read(url, offset, said.tag.as_deref()).await?;
            while let Some(chunk) = bytes.next().await? {
                receiving.add(&chunk).await.map_err(failed)?;
            }
        }
        let blob = receiving.finish().await.map_err(failed)?;
        self.note(url, &said, Some(blob))?;
        Ok(blob)
    }

    /// Whether a blob is there and is what its name says; one that is not is thrown away.
    fn is_whole(&self, blob: Blob) -> Result<bool, DownloadError> {
        let path = self.blobs.path(blob.digest);
        if !path.exists() {
            return Ok(false);
        }
        if contents::of_file(&path)? == blob {
            return Ok(true);
        }
        remove(&path)?;
        Ok(false)
    }

    fn note_path(&self, url: &FileUrl) -> PathBuf {
        self.folder.join("urls").join(format!("{}.json", name(url)))
    }

    /// What was at a URL; nothing where that cannot be read, as where its writing was cut off: then it
    /// is downloaded.
    fn known(&self, url: &FileUrl) -> Option<Known> {
        let text = fs::read(self.note_path(url)).ok()?;
        let known: Known = serde_json::from_slice(&text).ok()?;
        (known.url == *url).then_some(known)
    }

    fn note(&self, url: &FileUrl, said: &Said, blob: Option<Blob>) -> Result<(), DownloadError> {
        let path = self.note_path(url);
        let folder = self.folder.join("urls");
        fs::create_dir_all(&folder).map_err(error("make the folder", &folder))?;
        let known = Known {
            url: url.clone(),
            said: said.clone(),
            blob,
        };
        let text = serde_json::to_vec(&known).map_err(io::Error::from);
        let written = text.and_then(|text| fs::write(&path, text));
        written.map_err(error("write", &path))
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), DownloadError> {
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => {
            Err(error("remove", path)(failure))
        }
        _ => Ok(()),
    }
}

/// What stands for a URL on the disk.
fn name(url: &FileUrl) -> Digest {
    Digest::of(url.as_str())
}
