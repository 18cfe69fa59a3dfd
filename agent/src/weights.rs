//! What must be on the device before a task can be measured.
//!
//! A subject names its files by the paths under which the submitter saw them, by the digests of what
//! is understood of them and, in its manifest, by those of their bytes. [`Weights::resolve`] turns
//! that into paths on this device: a file that lies under the submitter's path is taken as it is, and
//! one that does not is fetched from the coordinator into this device's [`cache`]. Whether a file that
//! was found is the right one is told by [`Runtime::open`](bitfront_runtime::Runtime::open), which
//! reads it; where it is not, [`Weights::distrust`] makes the next look pass it over.

mod cache;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitfront_model::{Blob, Digest, FileName, ImatrixSource, ManifestFile, Place, Subject};
use bitfront_weights::BlobError;
use tokio::time::sleep;

use crate::Patience;
use crate::backoff::Backoff;
use crate::client::{CallError, Client};

use cache::{Cache, CacheError, Named, Set};

/// How often it is looked whether another agent has fetched a blob that both need.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

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
    /// It is not here and cannot be had from the coordinator.
    #[error(
        "this device has no {what} at `{}`, and cannot fetch it: {reason}. Hand it in with `bitfront \
         model add`, copy it to this path, or run the agent where it is", path.display()
    )]
    NotFetched {
        /// What the file is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What the coordinator says.
        reason: String,
    },
    /// What came is not what was asked for, or the disk will not take it.
    #[error("the {what} came from {from}, but {source}")]
    Blob {
        /// What the file is for.
        what: &'static str,
        /// Where the bytes came from.
        from: String,
        /// What is wrong.
        source: BlobError,
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

/// Tries to go on with a blob of which nothing came: about ten minutes. Whoever has the task may be
/// there and not have the file, and another device may get it.
const MOST_IN_VAIN: u32 = 120;

/// Finds and fetches the files of subjects.
pub(crate) struct Weights {
    client: Client,
    patience: Patience,
    cache: Option<Cache>,
    /// The subject that was resolved last, as submitted and as it is here: as long as it stays, its
    /// files are not looked for again.
    resolved: Option<(Subject, Subject)>,
    /// What of the cache it uses.
    sets: Vec<Set>,
    /// Subjects, by content, under whose paths something else lies.
    distrusted: HashSet<Digest>,
}

impl Weights {
    /// `cache` is a folder and the most bytes that it may have.
    pub(crate) fn new(client: Client, patience: Patience, cache: Option<(PathBuf, u64)>) -> Self {
        Self {
            client,
            patience,
            cache: cache.map(|(folder, most_bytes)| Cache::new(folder, most_bytes)),
            resolved: None,
            sets: Vec::new(),
            distrusted: HashSet::new(),
        }
    }

    /// The subject with the paths under which its files lie on this device. Every file is there.
    ///
    /// A coordinator that goes away while a file is fetched is waited for, ten minutes without a byte at
    /// the most, and the fetch goes on where it broke.
    pub(crate) async fn resolve(&mut self, subject: &Subject) -> Result<Subject, WeightsError> {
        if let Some((submitted, local)) = &self.resolved
            && submitted == subject
        {
            return Ok(local.clone());
        }
        self.forget();
        let trusted = !self.distrusted.contains(&subject.digest());
        let mut local = subject.clone();
        for (what, path, digest) in paths(&mut local) {
            let files: Vec<_> = subject.manifest.at(path).collect();
            if (trusted || files.is_empty()) && is_there(what, path, &files)? {
                continue;
            }
            let here = self.fetch_all(what, path, digest, &files).await?;
            *path = here.to_string_lossy().into_owned();
        }
        self.resolved = Some((subject.clone(), local.clone()));
        Ok(local)
    }

    /// Looks for the files anew, whatever was found before.
    pub(crate) fn forget(&mut self) {
        self.resolved = None;
        self.sets.clear();
    }

    /// Notes that something else lies under the paths of a subject; true where its files can be
    /// had otherwise and were not yet.
    pub(crate) fn distrust(&mut self, subject: &Subject) -> bool {
        self.forget();
        !subject.manifest.files.is_empty() && self.distrusted.insert(subject.digest())
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
        for file in files {
            self.fetch(cache, what, path, file.blob).await?;
        }
        cache.link(&set)?;
        let here = match files.iter().any(|file| file.place == Place::Itself) {
            true => set.folder.join(own.as_str()),
            false => set.folder.clone(),
        };
        self.sets.push(set);
        Ok(here)
    }

    /// Fetches a blob, for as long as some of it comes now and then.
    async fn fetch(
        &self,
        cache: &Cache,
        what: &'static str,
        path: &str,
        blob: Blob,
    ) -> Result<(), WeightsError> {
        let mut backoff = Backoff::new(self.patience.first_retry, self.patience.last_retry);
        let (mut held_bytes, mut in_vain) = (0, 0);
        loop {
            let ended = self.fetch_once(cache, what, path, blob).await;
            let Err(broken) = ended else {
                return Ok(());
            };
            match broken {
                Broken::Away(reason) => {
                    let now = cache.blobs.held_bytes(blob).await.unwrap_or(0);
                    in_vain += 1;
                    if now > held_bytes {
                        backoff.reset();
                        in_vain = 0;
                    }
                    if in_vain > MOST_IN_VAIN {
                        return Err(WeightsError::NotFetched {
                            what,
                            path: PathBuf::from(path),
                            reason: format!(
                                "nothing of it came in {in_vain} tries, the last: {reason}"
                            ),
                        });
                    }
                    held_bytes = now;
                    let pause = backoff.pause();
                    tracing::warn!(
                        "going on with blob {} after {held_bytes} of {} bytes in {pause:?}: {reason}",
                        blob.digest,
                        blob.size_bytes
                    );
                    sleep(pause).await;
                }
                Broken::Busy => sleep(BETWEEN_LOOKS).await,
                Broken::Ended(error) => return Err(error),
            }
        }
    }

    async fn fetch_once(
        &self,
        cache: &Cache,
        what: &'static str,
        path: &str,
        blob: Blob,
    ) -> Result<(), Broken> {
        let mut from = "this device's cache".to_owned();
        let wrong = |from: &str, source: BlobError| match source {
            BlobError::Busy(_) => Broken::Busy,
            // It ended as if it was whole, as where a coordinator is stopped.
            BlobError::TooShort { .. } => Broken::Away(source.to_string()),
            source => Broken::Ended(WeightsError::Blob {
                what,
                from: from.to_owned(),
                source,
            }),
        };
        let receiving = cache.blobs.receive(blob).await;
        let Some(mut receiving) = receiving.map_err(|error| wrong(&from, error))? else {
            return Ok(());
        };
        if receiving.held_bytes() < blob.size_bytes {
            let offset = receiving.held_bytes();
            let called = |error: CallError| match error {
                CallError::Away(reason) | CallError::Untrusted(reason) => Broken::Away(reason),
                error => Broken::Ended(WeightsError::NotFetched {
                    what,
                    path: PathBuf::from(path),
                    reason: error.to_string(),
                }),
            };
            let chunks = self.client.fetch(blob.digest, offset).await;
            let mut chunks = chunks.map_err(called)?;
            from.clone_from(&chunks.from);
            tracing::info!(
                "fetching the {what} `{path}`: blob {}, {} bytes, from {from}",
                blob.digest,
                blob.size_bytes - offset
            );
            while let Some(chunk) = chunks.next().await.map_err(called)? {
                let added = receiving.add(&chunk).await;
                added.map_err(|error| wrong(&from, error))?;
            }
        }
        let finished = receiving.finish().await;
        finished.map_err(|error| wrong(&from, error))?;
        Ok(())
    }
}

/// Why a blob did not come whole.
enum Broken {
    /// It will be gone on with.
    Away(String),
    /// Another agent is fetching it to the same folder.
    Busy,
    Ended(WeightsError),
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

/// Whether all files of a path are there and as long as they should be; of a path of which no files
/// are known, whether anything is.
fn is_there(what: &'static str, path: &str, files: &[&ManifestFile]) -> Result<bool, WeightsError> {
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
            Ok(metadata) if metadata.len() == file.blob.size_bytes => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unreadable(&at, error)),
        }
    }
    Ok(true)
}

/// What a file is called here: as where it comes from, since the end of the name says how a text is
/// read and the beginning what a model is called; where that is no plain name, by its end alone.
fn own_name(path: &str) -> FileName {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let end = Path::new(name).extension().and_then(|end| end.to_str());
    let by_its_end = || format!("file.{}", end.unwrap_or("bin")).parse();
    let plain = name.parse().or_else(|_| by_its_end());
    plain.unwrap_or_else(|_| plain_file())
}

fn plain_file() -> FileName {
    "file".parse().expect("it is a plain name")
}

#[cfg(test)]
mod tests;
