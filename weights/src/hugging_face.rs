//! Models of the Hugging Face Hub by name, into its cache on this machine.
//!
//! The files lie where every program of the Hub keeps them, so that what another one has downloaded is
//! not downloaded again. A download that breaks is gone on with, now and by the next call.

mod transfer;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bitfront_model::{Digest, FileName};
use hf_hub::api::RepoInfo;
use hf_hub::{Cache, Repo, RepoType};

use crate::contents::{self, BESIDE_WEIGHTS, INDEX, WEIGHTS};
use crate::{ContentsError, FIRST_PAUSE, RESUMPTIONS};
use transfer::{Copying, Failure, PATIENCE, Said, Transfer};

/// What the name of a model begins with.
const SCHEME: &str = "hf://";

/// Where models are downloaded from and to. Shown without the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Hub {
    /// Such as `https://huggingface.co`.
    pub endpoint: String,
    /// Proves who asks, for models that not everybody may have; where there is none, the one that the
    /// Hub's own programs keep beside the cache.
    pub token: Option<String>,
    /// The cache of the Hub's programs: `hub` in `HF_HOME`.
    pub cache: PathBuf,
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// The name of a model: `hf://organisation/name`, with `/file.gguf` where it is one file of several,
/// and `@revision` where it is not that of `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    organisation: FileName,
    name: FileName,
    file: Option<FileName>,
    revision: String,
}

/// The text is no name of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no model: hf://organisation/name, /file.gguf and @revision as needed, is expected"
)]
pub struct InvalidName(pub String);

impl HubModel {
    /// Whether a text is meant as such a name.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// What the model is called.
    pub fn name(&self) -> &str {
        match &self.file {
            Some(file) => file.as_str().trim_end_matches(".gguf"),
            None => self.name.as_str(),
        }
    }

    fn id(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }
}

impl FromStr for HubModel {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidName(text.to_owned());
        let rest = text.strip_prefix(SCHEME).ok_or_else(invalid)?;
        let (rest, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        // A branch may have `/` in its name, which leads nowhere else in a cache.
        let plain = revision
            .split('/')
            .all(|part| part.parse::<FileName>().is_ok());
        let parts: Result<Vec<FileName>, _> = rest.split('/').map(str::parse).collect();
        let mut parts = parts.map_err(|_| invalid())?.into_iter();
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(organisation), Some(name), file, None) if plain => Ok(Self {
                organisation,
                name,
                file,
                revision: revision.to_owned(),
            }),
            _ => Err(invalid()),
        }
    }
}

/// A model cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The Hub does not have it, or not for everybody.
    #[error(
        "`{model}` is not at {endpoint} in revision `{revision}`, or not for everybody: compare the \
         name, and set HF_TOKEN to a token that may read it where it is private"
    )]
    NotThere {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
        /// The Hub.
        endpoint: String,
    },
    /// The Hub will not give it to this user.
    #[error(
        "`{model}` is gated or private at {endpoint}: ask for access on its page, and set HF_TOKEN to a \
         token of an account that has it"
    )]
    Denied {
        /// The model.
        model: String,
        /// The Hub.
        endpoint: String,
    },
    /// The Hub does not answer, or stopped answering.
    #[error(
        "{endpoint} does not answer for `{model}`: {reason}. What came is kept, and the same command \
         goes on with it; HF_ENDPOINT names another Hub"
    )]
    Unreachable {
        /// The model.
        model: String,
        /// The Hub.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
    /// The repository has nothing that is read.
    #[error(
        "`{model}` has no `{WEIGHTS}` and no `{INDEX}`; name one of its GGUF files as \
         hf://{model}/FILE.gguf where it has some"
    )]
    NoWeights {
        /// The model.
        model: String,
    },
    /// What came is not what the Hub says it is.
    #[error(
        "`{file}` of `{model}` came with {found}, but the Hub says {expected}; it is thrown away"
    )]
    Mismatch {
        /// The model.
        model: String,
        /// The file.
        file: FileName,
        /// What the Hub says.
        expected: String,
        /// What came.
        found: String,
    },
    /// The Hub answers with something that cannot be.
    #[error("{endpoint} answers for `{model}` with {what} `{}`", value.escape_debug())]
    Nonsense {
        /// The model.
        model: String,
        /// The Hub.
        endpoint: String,
        /// What it answers with.
        what: &'static str,
        /// What that is.
        value: String,
    },
    /// A file that was downloaded cannot be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// The disk will not.
    #[error("cannot keep `{model}` in `{}`: {source}", cache.display())]
    Io {
        /// The model.
        model: String,
        /// The cache.
        cache: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A model that is being downloaded.
struct Download<'a> {
    hub: &'a Hub,
    model: &'a HubModel,
    repo: Repo,
    cached: hf_hub::CacheRepo,
    transfer: Transfer,
    /// Of which it is, and where its files lie.
    commit: String,
    snapshot: PathBuf,
}

impl Hub {
    /// Downloads what is read of a model and is not in the cache yet; gives back where it is, a folder
    /// or a GGUF file. Blocks for as long as it takes.
    ///
    /// `progress` hears what is about to be downloaded, in lines for people.
    ///
    /// # Errors
    ///
    /// The model is not there or not for this user, the Hub does not answer, what comes is not what the
    /// Hub says it is, or the disk will not take it.
    pub fn download(
        &self,
        model: &HubModel,
        progress: &mut dyn FnMut(&str),
    ) -> Result<PathBuf, HubError> {
        let download = Download::begin(self, model);
        let info = download.info()?;
        let download = download.at(&info.sha)?;
        let has = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);
        if let Some(file) = &model.file {
            return download.get(file, progress);
        }
        let first = if has(WEIGHTS) {
            WEIGHTS
        } else if has(INDEX) {
            INDEX
        } else {
            let model = model.id();
            return Err(HubError::NoWeights { model });
        };
        for name in BESIDE_WEIGHTS.into_iter().filter(|name| has(name)) {
            download.get(&contents::plain(name), progress)?;
        }
        let path = download.get(&contents::plain(first), progress)?;
        if first == INDEX {
            for shard in contents::shards(&path)? {
                download.get(&shard, progress)?;
            }
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(folder.to_owned())
    }
}

impl<'a> Download<'a> {
    fn begin(hub: &'a Hub, model: &'a HubModel) -> Self {
        let cache = Cache::new(hub.cache.clone());
        let repo = Repo::with_revision(model.id(), RepoType::Model, model.revision.clone());
        let token = hub.token.clone().or_else(|| cache.token());
        Self {
            hub,
            model,
            transfer: Transfer::new(token, PATIENCE),
            cached: cache.repo(repo.clone()),
            repo,
            commit: String::new(),
            snapshot: PathBuf::new(),
        }
    }

    /// What a repository has, and in which commit.
    fn info(&self) -> Result<RepoInfo, HubError> {
        let url = format!("{}/api/{}", self.endpoint(), self.repo.api_url());
        let answer = self.transfer.answer(&url);
        let answer = answer.map_err(|failure| self.missed(failure))?;
        serde_json::from_slice(&answer).map_err(|error| {
            let reason = format!("its answer says not what the repository has: {error}");
            self.unreachable(reason)
        })
    }

    fn endpoint(&self) -> &str {
        self.hub.endpoint.trim_end_matches('/')
    }

    /// The same model as it is in a commit, whatever becomes of the revision meanwhile.
    fn at(self, commit: &str) -> Result<Self, HubError> {
        let commit = self.plain("the commit", commit)?;
        let repo = Repo::with_revision(self.model.id(), RepoType::Model, commit.to_string());
        Ok(Self {
            snapshot: self.cached.pointer_path(commit.as_str()),
            commit: commit.to_string(),
            repo,
            ..self
        })
    }

    /// A file of the model in the cache, downloaded where it is not there.
    fn get(&self, file: &FileName, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, HubError> {
        if let Some(path) = self.known(file)? {
            return Ok(path);
        }
        let mut resumptions = 0;
        loop {
            match self.attempt(file, progress) {
                Err(HubError::Unreachable { .. }) if resumptions < RESUMPTIONS => {
                    std::thread::sleep(FIRST_PAUSE * 2_u32.pow(resumptions));
                    resumptions += 1;
                }
                ended => return ended,
            }
        }
    }

    /// A file that is in the cache, whoever put it there. A large one that is not what its name says is
    /// thrown away.
    fn known(&self, file: &FileName) -> Result<Option<PathBuf>, HubError> {
        let path = self.snapshot.join(file.as_str());
        let Ok(whole) = path.canonicalize() else {
            return Ok(None);
        };
        let name = whole.file_name().and_then(|name| name.to_str());
        let digest = name.and_then(|name| name.parse::<Digest>().ok());
        match digest {
            Some(digest) if contents::of_file(&whole)?.digest != digest => {
                for damaged in [&whole, &path] {
                    self.remove(damaged)?;
                }
                Ok(None)
            }
            _ => Ok(Some(path)),
        }
    }

    fn remove(&self, path: &Path) -> Result<(), HubError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(error)),
            _ => Ok(()),
        }
    }

    /// Downloads a file, or goes on with it.
    fn attempt(
        &self,
        file: &FileName,
        progress: &mut dyn FnMut(&str),
    ) -> Result<PathBuf, HubError> {
        let (repo, revision) = (self.repo.url(), self.repo.url_revision());
        let url = format!("{}/{repo}/resolve/{revision}/{file}", self.endpoint());
        let said = self.transfer.ask(&url);
        let said = said.map_err(|failure| self.missed(failure))?;
        if said.commit != self.commit {
            return Err(self.nonsense("the commit", &said.commit));
        }
        let etag = self.plain("the name of a file's content", &said.etag)?;
        let whole = self.cached.blob_path(etag.as_str());
        let blobs = whole.parent().unwrap_or(Path::new("."));
        let disk = |source| self.io(source);
        std::fs::create_dir_all(blobs).map_err(disk)?;
        std::fs::create_dir_all(&self.snapshot).map_err(disk)?;
        let part = blobs.join(format!("{etag}.bitfront.part"));
        let mut kept = File::options();
        let kept = kept.create(true).append(true).open(&part).map_err(disk)?;
        // Another process that downloads it is waited for, and has it then.
        kept.lock().map_err(disk)?;
        if let Some(path) = self.known(file)? {
            return Ok(path);
        }
        self.go_on(&url, file, &said, &kept, progress)?;
        let found = contents::of_file(&part)?;
        // The Hub names large files by their content, and small ones as git does.
        let (expected, found) = match said.etag.parse::<Digest>() {
            Ok(digest) => (digest.to_string(), found.digest.to_string()),
            Err(_) => (
                format!("{} bytes", said.size_bytes),
                format!("{} bytes", found.size_bytes),
            ),
        };
        if expected != found {
            self.remove(&part)?;
            return Err(HubError::Mismatch {
                model: self.model.id(),
                file: file.clone(),
                expected,
                found,
            });
        }
        kept.sync_all().map_err(disk)?;
        std::fs::rename(&part, &whole).map_err(disk)?;
        let path = self.snapshot.join(file.as_str());
        self.remove(&path)?;
        link(&Path::new("../../blobs").join(etag.as_str()), &whole, &path).map_err(disk)?;
        Ok(path)
    }

    /// Downloads what is missing of a part.
    fn go_on(
        &self,
        url: &str,
        file: &FileName,
        said: &Said,
        mut part: &File,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), HubError> {
        let mut offset = part.metadata().map_err(|source| self.io(source))?.len();
        if offset > said.size_bytes {
            part.set_len(0).map_err(|source| self.io(source))?;
            offset = 0;
        }
        let missing = said.size_bytes - offset;
        progress(&format!(
            "downloading `{file}` of {}: {missing} bytes",
            self.model.id()
        ));
        if missing == 0 {
            return Ok(());
        }
        let bytes = self.transfer.bytes(url, offset);
        let bytes = bytes.map_err(|failure| self.missed(failure))?;
        transfer::copy(&mut bytes.take(missing), &mut part).map_err(|error| match error {
            Copying::Disk(source) => self.io(source),
            Copying::Connection(error) => self.unreachable(error.to_string()),
        })?;
        let now = part.metadata().map_err(|source| self.io(source))?.len();
        match now == said.size_bytes {
            true => Ok(()),
            false => Err(self.unreachable(format!("{now} of {} bytes came", said.size_bytes))),
        }
    }

    fn plain(&self, what: &'static str, value: &str) -> Result<FileName, HubError> {
        value.parse().map_err(|_| self.nonsense(what, value))
    }

    fn nonsense(&self, what: &'static str, value: &str) -> HubError {
        HubError::Nonsense {
            model: self.model.id(),
            endpoint: self.hub.endpoint.clone(),
            what,
            value: value.to_owned(),
        }
    }

    fn unreachable(&self, reason: String) -> HubError {
        HubError::Unreachable {
            model: self.model.id(),
            endpoint: self.hub.endpoint.clone(),
            reason,
        }
    }

    fn missed(&self, failure: Failure) -> HubError {
        match failure {
            Failure::Connection(reason) => self.unreachable(reason),
            Failure::Lacking(what) => self.unreachable(format!("its answer has {what}")),
            Failure::Status(status) => self.refused(status.as_u16()),
        }
    }

    fn refused(&self, status: u16) -> HubError {
        let (model, endpoint) = (self.model.id(), self.hub.endpoint.clone());
        match status {
            401 | 403 => HubError::Denied { model, endpoint },
            404 => HubError::NotThere {
                model,
                revision: self.model.revision.clone(),
                endpoint,
            },
            status => self.unreachable(format!("it answers with status {status}")),
        }
    }

    fn io(&self, source: io::Error) -> HubError {
        HubError::Io {
            model: self.model.id(),
            cache: self.hub.cache.clone(),
            source,
        }
    }
}

/// Makes a file of the cache's blobs one of a snapshot, as the Hub's programs do where links to files
/// can be had.
#[cfg(unix)]
fn link(from_there: &Path, _blob: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(from_there, path)
}

#[cfg(not(unix))]
fn link(_from_there: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    std::fs::hard_link(blob, path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_repository_a_file_of_it_and_a_revision() {
        let cases = [
            ("hf://acme/tiny", "acme/tiny", "tiny", "main"),
            ("hf://acme/tiny@v1", "acme/tiny", "tiny", "v1"),
            ("hf://acme/tiny@refs/pr/3", "acme/tiny", "tiny", "refs/pr/3"),
            ("hf://acme/tiny/q8.gguf@v1", "acme/tiny", "q8", "v1"),
        ];
        for (text, id, name, revision) in cases {
            let model: HubModel = text.parse().unwrap();
            assert_eq!((model.id().as_str(), model.name()), (id, name), "{text}");
            assert_eq!(model.revision, revision, "{text}");
        }
        for text in [
            "acme/tiny",
            "hf://acme",
            "hf://acme/",
            "hf://../tiny",
            "hf://acme/tiny/a/b",
            "hf://acme/tiny@",
            "hf://acme/tiny@../..",
            "hf://acme/tiny@a@b",
        ] {
            let error = text.parse::<HubModel>().unwrap_err();
            assert!(
                error.to_string().contains("hf://organisation/name"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_hub_is_shown_without_its_token() {
        let hub = Hub {
            endpoint: "https://hub".to_owned(),
            token: Some("secret".to_owned()),
            cache: PathBuf::from("/cache"),
        };
        let shown = format!("{hub:?}");
        assert!(shown.contains("https://hub") && !shown.contains("secret"));
    }
}
