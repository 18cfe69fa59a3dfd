//! The files that were fetched, on this device's disk, within a budget.
//!
//! ```text
//! <folder>/blobs/<digest>          a blob, whole
//! <folder>/blobs/<digest>.partial  one that is being fetched, or will be gone on with
//! <folder>/sets/<digest>/<name>    links to the blobs of one path of a subject, under their names
//! <folder>/sets/<digest>.json      which blobs those are
//! <folder>/sets/<digest>.used      written anew at each use
//! <folder>/lock                    held by whoever decides what stays
//! ```
//!
//! A set is what is used together and goes together: the one that was used longest ago first, with
//! the blobs that no other set has. Who uses a set holds a lock on its `.json`, which the operating
//! system drops with the process, so that several agents of a machine may share a folder. A blob that
//! several models have is there once.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bitfront_model::{Blob, Digest, FileName};
use bitfront_weights::BlobFolder;
use serde::{Deserialize, Serialize};

/// The cache will not take a set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The budget is too small.
    #[error(
        "{needed_bytes} bytes of files are needed and {used_bytes} are in use by others, but the \
         cache `{}` may have {most_bytes}; allow more with --weights-cache-size", folder.display()
    )]
    Full {
        /// The cache.
        folder: PathBuf,
        /// What the files take.
        needed_bytes: u64,
        /// What cannot be removed.
        used_bytes: u64,
        /// The budget.
        most_bytes: u64,
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

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io {
        action,
        path,
        source,
    }
}

/// A file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    pub(crate) name: FileName,
    pub(crate) blob: Blob,
}

/// The cache of a device.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    most_bytes: u64,
    pub(crate) blobs: BlobFolder,
}

/// A set that stays as long as this lives.
#[derive(Debug)]
pub(crate) struct Set {
    /// Where its links are.
    pub(crate) folder: PathBuf,
    files: Vec<Named>,
    _lock: File,
}

impl Set {
    /// Its files, with what they must hold.
    pub(crate) fn files(&self) -> impl Iterator<Item = (PathBuf, Blob)> {
        let named = self.files.iter();
        named.map(|file| (self.folder.join(file.name.as_str()), file.blob))
    }
}

/// A set that is on the disk.
struct Found {
    digest: String,
    files: Vec<Named>,
    last_used: Option<SystemTime>,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf, most_bytes: u64) -> Self {
        Self {
            blobs: BlobFolder::new(folder.join("blobs")),
            folder,
            most_bytes,
        }
    }

    fn sets(&self) -> PathBuf {
        self.folder.join("sets")
    }

    fn list(&self, set: &str) -> PathBuf {
        self.sets().join(format!("{set}.json"))
    }

    /// A file of its own, so that a disk that takes nothing spoils no list that others go by.
    fn mark(&self, set: &str) -> PathBuf {
        self.sets().join(format!("{set}.used"))
    }

    /// Makes room for a set and keeps others from taking it away. Its blobs need not be there.
    pub(crate) fn reserve(&self, files: Vec<Named>) -> Result<Set, CacheError> {
        let sets = self.sets();
        fs::create_dir_all(&sets).map_err(error("make the folder", &sets))?;
        // Held until the set is written down and locked, so that nobody clears it away before.
        let _deciding = self.decide()?;
        let digest = digest(&files).to_string();
        self.make_room(&digest, &files)?;
        let list = self.list(&digest);
        let text = serde_json::to_vec(&files).map_err(|failure| CacheError::Io {
            action: "write",
            path: list.clone(),
            source: failure.into(),
        })?;
        if fs::read(&list).ok().as_ref() != Some(&text) {
            fs::write(&list, text).map_err(error("write", &list))?;
        }
        let mark = self.mark(&digest);
        fs::write(&mark, "used").map_err(error("write", &mark))?;
        let lock = File::open(&list).map_err(error("open", &list))?;
        lock.lock_shared().map_err(error("lock", &list))?;
        Ok(Set {
            folder: sets.join(digest),
            files,
            _lock: lock,
        })
    }

    /// Gives the blobs of a set their names; all of them are there.
    pub(crate) fn link(&self, set: &Set) -> Result<(), CacheError> {
        let _deciding = self.decide()?;
        fs::create_dir_all(&set.folder).map_err(error("make the folder", &set.folder))?;
        for Named { name, blob } in &set.files {
            let link = set.folder.join(name.as_str());
            match fs::hard_link(self.blobs.path(blob.digest), &link) {
                Ok(()) => {}
                Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {}
                Err(failure) => return Err(error("link", &link)(failure)),
            }
        }
        Ok(())
    }

    /// Throws a blob away whose bytes are others by now, with all links to it.
    pub(crate) fn discard(&self, damaged: Digest) -> Result<(), CacheError> {
        let _deciding = self.decide()?;
        for set in self.found()? {
            let folder = self.sets().join(&set.digest);
            let links = set.files.iter().filter(|file| file.blob.digest == damaged);
            for link in links {
                remove_file(&folder.join(link.name.as_str()))?;
            }
        }
        remove_file(&self.blobs.path(damaged))
    }

    fn decide(&self) -> Result<File, CacheError> {
        let path = self.folder.join("lock");
        let lock = File::create(&path).map_err(error("write", &path))?;
        lock.lock().map_err(error("lock", &path))?;
        Ok(lock)
    }

    /// Removes what was used longest ago until a set fits.
    fn make_room(&self, wanted: &str, files: &[Named]) -> Result<(), CacheError> {
        let mut others = self.found()?;
        others.retain(|set| set.digest != wanted);
        // The last one is the next to go.
        others.sort_by_key(|set| std::cmp::Reverse(set.last_used));
        let mut in_use = Vec::new();
        self.remove_blobs_of_none(others.iter().map(|set| set.files.as_slice()), files)?;
        loop {
            let sets = others.iter().chain(&in_use).map(|set| set.files.as_slice());
            let needed = bytes(sets.chain([files]));
            if needed <= self.most_bytes {
                return Ok(());
            }
            let Some(oldest) = others.pop() else {
                return Err(CacheError::Full {
                    folder: self.folder.clone(),
                    needed_bytes: bytes([files]),
                    used_bytes: bytes(in_use.iter().map(|set| set.files.as_slice())),
                    most_bytes: self.most_bytes,
                });
            };
            match self.remove(&oldest)? {
                true => {
                    let left = others.iter().chain(&in_use);
                    self.remove_blobs_of_none(left.map(|set| set.files.as_slice()), files)?;
                }
                false => in_use.push(oldest),
            }
        }
    }

    /// The sets that are on the disk.
    fn found(&self) -> Result<Vec<Found>, CacheError> {
        let sets = self.sets();
        let mut found = Vec::new();
        for entry in fs::read_dir(&sets).map_err(error("read", &sets))? {
            let path = entry.map_err(error("read", &sets))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(digest) = name.and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            let text = fs::read(&path).map_err(error("read", &path))?;
            let mark = self.mark(digest);
            // Without one it was never used.
            let used = fs::metadata(&mark).and_then(|metadata| metadata.modified());
            found.push(Found {
                digest: digest.to_owned(),
                // One whose writing was cut off lists nothing, and is the first to go or is written
                // anew.
                files: serde_json::from_slice(&text).unwrap_or_default(),
                last_used: used.ok(),
            });
        }
        Ok(found)
    }

    /// Removes a set, but not its blobs; false where it is in use.
    fn remove(&self, set: &Found) -> Result<bool, CacheError> {
        let list = self.list(&set.digest);
        let lock = File::open(&list).map_err(error("open", &list))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(failure)) => return Err(error("lock", &list)(failure)),
        }
        let folder = self.sets().join(&set.digest);
        match fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => {}
            Err(failure) => return Err(error("remove", &folder)(failure)),
        }
        remove_file(&self.mark(&set.digest))?;
        fs::remove_file(&list).map_err(error("remove", &list))?;
        Ok(true)
    }

    /// Removes the blobs, whole or not, that no set has.
    fn remove_blobs_of_none<'a>(
        &self,
        sets: impl Iterator<Item = &'a [Named]>,
        wanted: &'a [Named],
    ) -> Result<(), CacheError> {
        let kept: HashSet<String> = sizes(sets.chain([wanted]))
            .into_keys()
            .map(|digest| digest.to_string())
            .collect();
        let folder = self.folder.join("blobs");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(failure) => return Err(error("read", &folder)(failure)),
        };
        for entry in entries {
            let path = entry.map_err(error("read", &folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let digest = name.map(|name| name.trim_end_matches(".partial"));
            // What is not ours stays.
            let Some(digest) = digest.filter(|digest| digest.parse::<Digest>().is_ok()) else {
                continue;
            };
            if !kept.contains(digest) {
                tracing::info!("removing `{}` to make room", path.display());
                fs::remove_file(&path).map_err(error("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Removes a file that may not be there.
fn remove_file(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => {
            Err(error("remove", path)(failure))
        }
        _ => Ok(()),
    }
}

/// The blobs of several sets with their sizes, each once.
fn sizes<'a>(sets: impl IntoIterator<Item = &'a [Named]>) -> HashMap<Digest, u64> {
    let files = sets.into_iter().flatten();
    files
        .map(|file| (file.blob.digest, file.blob.size_bytes))
        .collect()
}

/// The bytes of several sets together.
fn bytes<'a>(sets: impl IntoIterator<Item = &'a [Named]>) -> u64 {
    // Sizes are what a search says, so they may be anything.
    sizes(sets).into_values().fold(0, u64::saturating_add)
}

/// What a set is called.
fn digest(files: &[Named]) -> Digest {
    let mut digest = Digest::builder().part("set");
    for Named { name, blob } in files {
        digest.add(name.as_str());
        digest.add(blob.digest.to_string());
    }
    digest.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(name: &str, text: &str) -> Named {
        Named {
            name: name.parse().unwrap(),
            blob: Blob {
                digest: Digest::of(text),
                size_bytes: text.len() as u64,
            },
        }
    }

    /// Reserves a set and puts its files there.
    async fn put(cache: &Cache, files: &[(&str, &str)]) -> Result<Set, CacheError> {
        let set = cache.reserve(files.iter().map(|(name, text)| named(name, text)).collect())?;
        for (name, text) in files {
            let blob = named(name, text).blob;
            if let Some(mut receiving) = cache.blobs.receive(blob).await.unwrap() {
                receiving.add(text.as_bytes()).await.unwrap();
                receiving.finish().await.unwrap();
            }
        }
        cache.link(&set)?;
        // Times of files are not told apart within a moment on every system.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Ok(set)
    }

    async fn holds(cache: &Cache, text: &str) -> bool {
        cache.blobs.holds(named("any", text).blob).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_used_longest_ago_makes_room_and_what_is_shared_or_in_use_stays() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::new(place.path().to_owned(), 30);
        let first = [("config.json", "shared"), ("weights", "one one one")];
        let second = [("config.json", "shared"), ("weights", "two two two")];
        drop(put(&cache, &first).await.unwrap());
        let used = put(&cache, &second).await.unwrap();
        assert_eq!(
            fs::read(used.folder.join("weights")).unwrap(),
            b"two two two"
        );
        // Both are there, since what they share counts once.
        assert!(holds(&cache, "one one one").await);

        // A third one drives the first away, although the second was used before it once more.
        drop(put(&cache, &first).await.unwrap());
        let third = put(&cache, &[("weights", "tri tri tri")]).await.unwrap();
        assert!(!holds(&cache, "one one one").await);
        assert!(holds(&cache, "two two two").await && holds(&cache, "shared").await);

        // Another agent over the same folder respects what this one uses.
        let other = Cache::new(place.path().to_owned(), 30);
        let error = put(&other, &first).await.unwrap_err();
        let CacheError::Full { used_bytes, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(used_bytes, 28);
        drop((used, third));
        let back = put(&other, &first).await.unwrap();
        assert_eq!(
            fs::read(back.folder.join("config.json")).unwrap(),
            b"shared"
        );
        assert!(!holds(&cache, "two two two").await);
    }

    #[tokio::test]
    async fn a_set_that_can_never_fit_is_refused_with_the_budget() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::new(place.path().to_owned(), 5);
        let error = put(&cache, &[("weights", "too large")]).await.unwrap_err();
        let error = error.to_string();
        for part in ["9 bytes", "may have 5", "--weights-cache-size"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_too_large() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::new(place.path().to_owned(), u64::MAX - 1);
        let endless = |text: &str| Named {
            blob: Blob {
                digest: Digest::of(text),
                size_bytes: u64::MAX,
            },
            ..named(text, text)
        };
        let refused = cache.reserve(vec![endless("one"), endless("two")]);
        assert!(matches!(refused, Err(CacheError::Full { .. })));
    }

    #[tokio::test]
    async fn what_was_left_half_fetched_goes_before_it_counts() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::new(place.path().to_owned(), 20);
        let lost = cache.reserve(vec![named("weights", "half of it")]).unwrap();
        let blob = named("weights", "half of it").blob;
        let mut receiving = cache.blobs.receive(blob).await.unwrap().unwrap();
        receiving.add(b"half").await.unwrap();
        drop((receiving, lost));
        assert_eq!(cache.blobs.held_bytes(blob).await.unwrap(), 4);
        fs::write(place.path().join("blobs/README"), "not a blob").unwrap();

        drop(
            put(&cache, &[("weights", "the whole of it")])
                .await
                .unwrap(),
        );
        assert_eq!(cache.blobs.held_bytes(blob).await.unwrap(), 0);
        assert!(place.path().join("blobs/README").exists());
    }
}
