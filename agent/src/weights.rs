//! What must be on the device before a task can be measured.
//!
//! A subject names its files by the paths under which the submitter saw them, by the digests of what
//! is understood of them and, in its manifest, by those of their bytes. [`Weights::resolve`] turns
//! that into paths on this device: a file that lies under the submitter's path is taken as it is, and
//! one that does not is [fetched](fetch) into this device's [`cache`], from the URL that the manifest
//! has for it, or else from the coordinator. Whether a file that was found may be the right one is told
//! by [`Runtime::open`](bitfront_runtime::Runtime::open), which reads it; where it may not,
//! [`Weights::pass_over_others`] finds out and makes the next look pass it over.

mod cache;
mod fetch;
mod others;

use std::io;
use std::path::{Path, PathBuf};

use bitfront_model::{Blob, Digest, ImatrixSource, ManifestFile, Place, Subject};
use bitfront_weights::contents::own_name;
use bitfront_weights::{BlobError, Remote};
use tracing::Instrument as _;

use crate::Patience;
use crate::client::Client;
use crate::spans;

use cache::{Cache, CacheError, Named, Set};
use fetch::Fetch;
use others::{Others, is_right};

/// A file that a task needs is not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeightsError {
    /// Nothing lies under the path, and nobody says where else it is.
    #[error(
        "this device has no {what} at `{}`{}; copy it there, or run the agent where it is",
        path.display(), wanted(*digest)
    )]
    Missing {
        /// What the file is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// The digest of what it must hold, where the subject tells.
        digest: Option<Digest>,
    },
    /// The path cannot be read.
    #[error("the {what} at `{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It could be fetched, but there is no cache to fetch it to.
    #[error(
        "this device has no {what} at `{}` and keeps no cache to fetch it to; give the agent one with \
         --weights-cache", path.display()
    )]
    NoCache {
        /// What the file is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is not here and cannot be had from anywhere else.
    #[error(
        "this device has no {what} at `{}`, and cannot fetch it: {reason}. Hand it in with `bitfront \
         model add`, copy it to this path, or run the agent where it is", path.display()
    )]
    NotFetched {
        /// What the file is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// What came is not what was asked for, or the disk will not take it.
    #[error("the {what} came from {from}, but {source}{}", tried_first(.before))]
    Blob {
        /// What the file is for.
        what: &'static str,
        /// Where the bytes came from.
        from: String,
        /// What is wrong.
        source: Box<BlobError>,
        /// What was tried before, and what came of it.
        before: Option<String>,
    },
    /// The cache will not take it.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn wanted(digest: Option<Digest>) -> String {
    digest.map_or_else(String::new, |digest| {
        format!(" (the search needs the one with digest {digest})")
    })
}

/// What was tried first, at the end of an error.
fn tried_first(tried: &Option<String>) -> String {
    tried
        .as_ref()
        .map_or_else(String::new, |tried| format!("; before that, {tried}"))
}

/// Finds and fetches the files of subjects.
pub(crate) struct Weights {
    client: Client,
    /// Reads by URL.
    remote: Remote,
    patience: Patience,
    cache: Option<Cache>,
    /// As long as its subject stays, files are not looked for again.
    resolved: Option<Resolved>,
    /// What of the cache it uses.
    sets: Vec<Set>,
    /// What is passed over.
    others: Others,
}

/// A subject as it was submitted and as it is here, and what of it is used where it lay.
struct Resolved {
    submitted: Subject,
    local: Subject,
    in_place: Vec<(PathBuf, Blob)>,
}

impl Weights {
    /// `cache` is a folder and the most bytes that it may have.
    pub(crate) fn new(
        client: Client,
        remote: Remote,
        patience: Patience,
        cache: Option<(PathBuf, u64)>,
    ) -> Self {
        Self {
            client,
            remote,
            patience,
            cache: cache.map(|(folder, most_bytes)| Cache::new(folder, most_bytes)),
            resolved: None,
            sets: Vec::new(),
            others: Others::default(),
        }
    }

    /// The subject with the paths under which its files lie on this device. Every file is there.
    ///
    /// A coordinator that goes away while a file is fetched is waited for, ten minutes without a byte at
    /// the most, and the fetch goes on where it broke.
    pub(crate) async fn resolve(&mut self, subject: &Subject) -> Result<Subject, WeightsError> {
        if let Some(resolved) = &self.resolved
            && resolved.submitted == *subject
        {
            return Ok(resolved.local.clone());
        }
        self.forget();
        let mut local = subject.clone();
        let mut in_place = Vec::new();
        for (what, path, digest) in paths(&mut local) {
            let files: Vec<_> = subject.manifest.at(path).collect();
            if self.is_there(what, path, &files)? {
                in_place.extend(files.iter().map(|file| (file.whereabouts(), file.blob)));
                continue;
            }
            let here = self.fetch_all(what, path, digest, &files).await?;
            *path = here.to_string_lossy().into_owned();
        }
        self.resolved = Some(Resolved {
            submitted: subject.clone(),
            local: local.clone(),
            in_place,
        });
        Ok(local)
    }

    /// Looks for the files anew, whatever was found before.
    pub(crate) fn forget(&mut self) {
        self.resolved = None;
        self.sets.clear();
    }

    /// Holds what was resolved last against its manifest, byte by byte. What is something else where
    /// the submitter had it is passed over for as long as it stays as it is; what was damaged since it
    /// was fetched is thrown away. True where there was any of it, so that others are looked for.
    pub(crate) async fn pass_over_others(&mut self) -> bool {
        let in_place = self.resolved.take().map(|resolved| resolved.in_place);
        let mut found = false;
        for (path, blob) in in_place.into_iter().flatten() {
            if !is_right(&path, blob).await {
                tracing::warn!(
                    "passing over `{}`, which is not blob {}",
                    path.display(),
                    blob.digest
                );
                self.others.add(path, blob);
                found = true;
            }
        }
        let fetched: Vec<_> = self.sets.iter().flat_map(Set::files).collect();
        for (path, blob) in fetched {
            if !is_right(&path, blob).await {
                tracing::warn!("`{}` was damaged since it was fetched", path.display());
                if let Some(Err(error)) = self.cache.as_ref().map(|it| it.discard(blob.digest)) {
                    tracing::error!("{error}");
                    return false;
                }
                found = true;
            }
        }
        self.forget();
        found
    }

    /// Whether all files of a path are there, are as long as they should be and are not known to be
    /// others; of a path of which no files are known, whether anything is.
    fn is_there(
        &self,
        what: &'static str,
        path: &str,
        files: &[&ManifestFile],
    ) -> Result<bool, WeightsError> {
        let unreadable = |path: &Path, source| WeightsError::Unreadable {
            what,
            path: path.to_owned(),
            source,
        };
        let path = Path::new(path);
        let there = path.try_exists();
        if !there.map_err(|source| unreadable(path, source))? {
            return Ok(false);
        }
        for file in files {
            let at = file.whereabouts();
            match std::fs::metadata(&at) {
                Ok(found) if self.others.may_be(&at, &found, file.blob) => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(unreadable(&at, error)),
            }
        }
        Ok(true)
    }

    /// Fetches what lies under a path; gives back where it is now.
    async fn fetch_all(
        &mut self,
        what: &'static str,
        path: &str,
        digest: Option<Digest>,
        files: &[&ManifestFile],
    ) -> Result<PathBuf, WeightsError> {
        let at = || PathBuf::from(path);
        if files.is_empty() {
            let path = at();
            return Err(WeightsError::Missing { what, path, digest });
        }
        let Some(cache) = &self.cache else {
            return Err(WeightsError::NoCache { what, path: at() });
        };
        let own = own_name(path);
        let named = files.iter().map(|file| Named {
            name: match &file.place {
                Place::Itself => own.clone(),
                Place::Inside(name) | Place::Beside(name) => name.clone(),
            },
            blob: file.blob,
        });
        let set = cache.reserve(named.collect())?;
        let mut away = None;
        for file in files {
            let fetch = Fetch {
                client: &self.client,
                remote: &self.remote,
                patience: self.patience,
                blobs: &cache.blobs,
                what,
                file,
            };
            let fetching = fetch.run(&mut away);
            fetching
                .instrument(spans::fetch(what, file.blob.size_bytes))
                .await?;
        }
        cache.link(&set)?;
        let here = match files.iter().any(|file| file.place == Place::Itself) {
            true => set.folder.join(own.as_str()),
            false => set.folder.clone(),
        };
        self.sets.push(set);
        Ok(here)
    }
}

/// Every path of a subject, with what lies there and what is known of it.
fn paths(subject: &mut Subject) -> Vec<(&'static str, &mut String, Option<Digest>)> {
    let Subject {
        model,
        data,
        imatrix,
        manifest: _,
    } = subject;
    let mut paths = vec![("model", &mut model.path, Some(model.digest))];
    if let Some(path) = &mut model.tokenizer_path {
        paths.push(("tokenizer", path, None));
    }
    let evaluation = Some(data.evaluation_digest);
    paths.push(("evaluation text", &mut data.evaluation_path, evaluation));
    if let Some(path) = &mut data.calibration_path {
        let calibration = Some(data.calibration_digest);
        paths.push(("calibration text", path, calibration));
    }
    if let ImatrixSource::File { path, digest } = imatrix {
        paths.push(("imatrix", path, Some(*digest)));
    }
    paths
}

#[cfg(test)]
mod tests;
