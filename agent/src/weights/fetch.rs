//! One file into the cache: from its URL, or from the coordinator.

use std::path::PathBuf;
use std::time::Duration;

use bitfront_model::{Blob, FileUrl, ManifestFile};
use bitfront_weights::remote::Bytes;
use bitfront_weights::{BlobError, BlobFolder, RESUMPTIONS, Remote, RemoteError};
use tokio::time::sleep;

use super::WeightsError;
use crate::Patience;
use crate::backoff::Backoff;
use crate::client::{CallError, Chunks, Client};

/// How often it is looked whether another agent has fetched a blob that both need.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Tries to go on with a blob of which nothing came: about ten minutes. Whoever has the task may be
/// there and not have the file, and another device may get it. A URL is given up much sooner, since
/// there is the coordinator.
const MOST_IN_VAIN: u32 = 120;

/// A file that is being fetched.
pub(super) struct Fetch<'a> {
    pub(super) client: &'a Client,
    pub(super) remote: &'a Remote,
    pub(super) patience: Patience,
    pub(super) blobs: &'a BlobFolder,
    /// What it is for.
    pub(super) what: &'static str,
    pub(super) file: &'a ManifestFile,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Url(&'a FileUrl),
    Coordinator,
}

/// Bytes as they come.
enum Coming {
    FromUrl(Bytes, String),
    FromCoordinator(Chunks),
}

/// Why a blob did not come whole, for now.
enum Broken {
    /// It will be gone on with.
    Away(String),
    /// Another agent is fetching it to the same folder.
    Busy,
    /// Bytes came, or were there, that cannot be kept.
    Spoiled { from: String, source: BlobError },
    /// It will not come from there.
    Ended(String),
}

/// Why a blob does not come from somewhere.
enum Failure {
    /// Nobody was there for all the time that it was waited for.
    Away(String),
    /// As [`Broken::Spoiled`].
    Spoiled { from: String, source: BlobError },
    /// As [`Broken::Ended`].
    Ended(String),
}

impl Fetch<'_> {
    /// Fetches it. `away` says why the host of the URLs of a path's files is given up: it is
    /// written where that is found out, and the host is not asked again.
    pub(super) async fn run(&self, away: &mut Option<String>) -> Result<(), WeightsError> {
        let mut before = away.clone();
        if let Some(url) = self.file.url.as_ref().filter(|_| away.is_none()) {
            let failure = match self.all_from(Source::Url(url), RESUMPTIONS).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let reason = match failure {
                Failure::Away(reason) => {
                    *away = Some(reason.clone());
                    reason
                }
                Failure::Ended(reason) => reason,
                // Another source changes nothing about the disk.
                failure @ Failure::Spoiled {
                    source: BlobError::Io { .. },
                    ..
                } => return Err(self.error(failure, None)),
                Failure::Spoiled { from, source } => format!("it came from `{from}`, but {source}"),
            };
            tracing::warn!("asking the coordinator for a file of a URL: {reason}");
            before = Some(reason);
        }
        let fetched = self.all_from(Source::Coordinator, MOST_IN_VAIN).await;
        fetched.map_err(|failure| self.error(failure, before))
    }

    /// Fetches from somewhere, for as long as some of it comes now and then.
    async fn all_from(&self, source: Source<'_>, most_in_vain: u32) -> Result<(), Failure> {
        let Blob { digest, size_bytes } = self.file.blob;
        let mut backoff = Backoff::new(self.patience.first_retry, self.patience.last_retry);
        let (mut held_bytes, mut in_vain) = (self.held_bytes().await, 0);
        // What somebody else sent may have spoiled it.
        let mut is_anothers = held_bytes > 0;
        loop {
            let Err(broken) = self.once_from(source).await else {
                return Ok(());
            };
            match broken {
                Broken::Away(reason) => {
                    let now = self.held_bytes().await;
                    in_vain += 1;
                    if now > held_bytes {
                        backoff.reset();
                        in_vain = 0;
                    }
                    if in_vain > most_in_vain {
                        return Err(Failure::Away(format!(
                            "nothing of it came in {in_vain} tries, the last: {reason}"
                        )));
                    }
                    held_bytes = now;
                    let pause = backoff.pause();
                    tracing::warn!(
                        "going on with blob {digest} after {held_bytes} of {size_bytes} bytes in \
                         {pause:?}: {reason}"
                    );
                    sleep(pause).await;
                }
                Broken::Busy => sleep(BETWEEN_LOOKS).await,
                Broken::Spoiled {
                    source: BlobError::Mismatch { .. } | BlobError::TooLong { .. },
                    ..
                } if is_anothers => {
                    tracing::warn!("beginning with blob {digest} again: what was there spoiled it");
                    (is_anothers, held_bytes) = (false, 0);
                }
                Broken::Spoiled { from, source } => return Err(Failure::Spoiled { from, source }),
                Broken::Ended(reason) => return Err(Failure::Ended(reason)),
            }
        }
    }

    async fn held_bytes(&self) -> u64 {
        self.blobs.held_bytes(self.file.blob).await.unwrap_or(0)
    }

    async fn once_from(&self, source: Source<'_>) -> Result<(), Broken> {
        let (blob, path) = (self.file.blob, &self.file.path);
        let mut from = "this device's cache".to_owned();
        let wrong = |from: &str, source: BlobError| match source {
            BlobError::Busy(_) => Broken::Busy,
            // It ended as if it was whole, as where a coordinator is stopped.
            BlobError::TooShort { .. } => Broken::Away(source.to_string()),
            source => Broken::Spoiled {
                from: from.to_owned(),
                source,
            },
        };
        let receiving = self.blobs.receive(blob).await;
        let Some(mut receiving) = receiving.map_err(|error| wrong(&from, error))? else {
            return Ok(());
        };
        let offset = receiving.held_bytes();
        if offset < blob.size_bytes {
            let mut coming = self.begin(source, offset).await?;
            from = coming.sender();
            tracing::info!(
                "fetching the {} `{path}`: blob {}, {} bytes, from {from}",
                self.what,
                blob.digest,
                blob.size_bytes - offset
            );
            while let Some(chunk) = coming.next().await? {
                let added = receiving.add(&chunk).await;
                added.map_err(|error| wrong(&from, error))?;
            }
        }
        let finished = receiving.finish().await;
        finished.map_err(|error| wrong(&from, error))?;
        Ok(())
    }

    async fn begin(&self, source: Source<'_>, offset: u64) -> Result<Coming, Broken> {
        Ok(match source {
            Source::Url(url) => {
                let bytes = self.remote.read(url, offset, None).await?;
                Coming::FromUrl(bytes, url.to_string())
            }
            Source::Coordinator => {
                let digest = self.file.blob.digest;
                Coming::FromCoordinator(self.client.fetch(digest, offset).await?)
            }
        })
    }

    fn error(&self, failure: Failure, before: Option<String>) -> WeightsError {
        let what = self.what;
        let reason = match failure {
            Failure::Away(reason) | Failure::Ended(reason) => reason,
            Failure::Spoiled { from, source } => {
                return WeightsError::Blob {
                    what,
                    from,
                    source: Box::new(source),
                    before,
                };
            }
        };
        WeightsError::NotFetched {
            what,
            path: PathBuf::from(&self.file.path),
            reason: format!("{reason}{}", super::tried_first(&before)),
        }
    }
}

impl Coming {
    /// Who sends them.
    fn sender(&self) -> String {
        match self {
            Self::FromUrl(_, url) => url.clone(),
            Self::FromCoordinator(chunks) => chunks.from.clone(),
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        Ok(match self {
            Self::FromUrl(bytes, _) => bytes.next().await?,
            Self::FromCoordinator(chunks) => chunks.next().await?,
        })
    }
}

impl From<RemoteError> for Broken {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Away { .. } => Self::Away(error.to_string()),
            error => Self::Ended(error.to_string()),
        }
    }
}

impl From<CallError> for Broken {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Away(reason) | CallError::Untrusted(reason) => Self::Away(reason),
            error => Self::Ended(error.to_string()),
        }
    }
}
