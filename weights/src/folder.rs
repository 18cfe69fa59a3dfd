//! A folder of blobs.
//!
//! A blob that is whole lies under its digest, one that is not under its digest and `.partial`, or,
//! where that is not known before the last byte, under a name of the same form that stands for where
//! the bytes come from. A partial one is locked by whoever adds to it, gets its name once its bytes were found to have its
//! digest and are on the disk, and stays where its bytes stop coming, to be added to later.

use std::fs::TryLockError;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use bitfront_model::digest::DigestStream;
use bitfront_model::{Blob, Digest};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

/// How much is read at once of what is there already.
const READ_BYTES: usize = 1 << 20;

/// A blob cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are others than they should be.
    #[error(
        "the bytes that came as blob {expected} have digest {found}: they were damaged on their way \
         or where they came from, and are thrown away"
    )]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// There are more bytes than there should be.
    #[error(
        "the bytes that came as blob {digest} are more than its {size_bytes}; they are thrown away"
    )]
    TooLong {
        /// What was asked for.
        digest: Digest,
        /// How long it is.
        size_bytes: u64,
    },
    /// There are fewer bytes than there should be; those that there are are kept.
    #[error("blob {digest} ended after {held_bytes} of {size_bytes} bytes")]
    TooShort {
        /// What was asked for.
        digest: Digest,
        /// How much of it is there.
        held_bytes: u64,
        /// How long it is.
        size_bytes: u64,
    },
    /// Somebody else adds to it.
    #[error(
        "blob {0} is being taken in by another connection or process; try again when it is done"
    )]
    Busy(Digest),
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

impl BlobError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// A folder of blobs. Several processes may use it at once.
#[derive(Debug, Clone)]
pub struct BlobFolder {
    folder: PathBuf,
}

impl BlobFolder {
    /// The blobs in a folder, which is made with the first of them.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where a blob lies that is whole.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    fn partial(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}.partial"))
    }

    /// Whether a blob is there, whole.
    ///
    /// # Errors
    ///
    /// The folder cannot be looked into.
    pub async fn holds(&self, blob: Blob) -> Result<bool, BlobError> {
        let length = length(&self.path(blob.digest)).await?;
        Ok(length == Some(blob.size_bytes))
    }

    /// How many bytes of a blob are there, from the first on.
    ///
    /// # Errors
    ///
    /// As [`Self::holds`].
    pub async fn held_bytes(&self, blob: Blob) -> Result<u64, BlobError> {
        match self.holds(blob).await? {
            true => Ok(blob.size_bytes),
            false => Ok(length(&self.partial(blob.digest)).await?.unwrap_or(0)),
        }
    }

    /// A blob to read from an offset on, or from its end; none where it is not there whole.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub async fn open(&self, digest: Digest, offset: u64) -> Result<Option<File>, BlobError> {
        let path = self.path(digest);
        let mut file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::io("open", &path)(error)),
        };
        // No system seeks to everywhere beyond the end.
        let end = file
            .metadata()
            .await
            .map_err(BlobError::io("read", &path))?;
        let sought = file.seek(SeekFrom::Start(offset.min(end.len()))).await;
        sought.map_err(BlobError::io("read", &path))?;
        Ok(Some(file))
    }

    /// Begins to take a blob in, or goes on with it; none where it is there whole.
    ///
    /// What is there of it is read once, for the digest.
    ///
    /// # Errors
    ///
    /// Somebody else is taking it in, or the disk will not.
    pub async fn receive(&self, blob: Blob) -> Result<Option<Receiving>, BlobError> {
        let mut receiving = self.begin(blob, true).await?;
        if self.holds(blob).await? {
            receiving.throw_away().await?;
            return Ok(None);
        }
        receiving.read_what_is_there().await?;
        Ok(Some(receiving))
    }

    /// Begins to take bytes in whose digest is not known before they are all there. Until then they
    /// go by a name, the digest of what stands for where they come from.
    ///
    /// What is there under that name is taken for their beginning if `goes_on`, and is thrown away
    /// otherwise.
    ///
    /// # Errors
    ///
    /// As [`Self::receive`], or there is more than there should be.
    pub async fn receive_unknown(
        &self,
        name: Digest,
        size_bytes: u64,
        goes_on: bool,
    ) -> Result<Receiving, BlobError> {
        let blob = Blob {
            digest: name,
            size_bytes,
        };
        let mut receiving = self.begin(blob, false).await?;
        match goes_on {
            true => receiving.read_what_is_there().await?,
            false => {
                let emptied = receiving.file.set_len(0).await;
                emptied.map_err(BlobError::io("write", &receiving.partial))?;
            }
        }
        Ok(receiving)
    }

    /// How many bytes are there under a name of [`Self::receive_unknown`].
    ///
    /// # Errors
    ///
    /// As [`Self::holds`].
    pub async fn unknown_bytes(&self, name: Digest) -> Result<u64, BlobError> {
        Ok(length(&self.partial(name)).await?.unwrap_or(0))
    }

    async fn begin(&self, blob: Blob, is_known: bool) -> Result<Receiving, BlobError> {
        let made = fs::create_dir_all(&self.folder).await;
        made.map_err(BlobError::io("make the folder", &self.folder))?;
        let partial = self.partial(blob.digest);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = options.open(&partial).await;
        let file = opened.map_err(BlobError::io("write", &partial))?;
        let file = file.into_std().await;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BlobError::Busy(blob.digest)),
            Err(TryLockError::Error(error)) => {
                return Err(BlobError::io("lock", &partial)(error));
            }
        }
        // Whoever had it locked may have ended with it in between.
        if !is_at(&file, &partial) {
            return Err(BlobError::Busy(blob.digest));
        }
        Ok(Receiving {
            blob,
            is_known,
            file: File::from_std(file),
            digest: Digest::stream(),
            held_bytes: 0,
            partial,
            folder: self.clone(),
        })
    }
}

/// A blob that is being taken in. Nobody else adds to it meanwhile; where this is dropped, what came
/// is kept.
#[derive(Debug)]
pub struct Receiving {
    blob: Blob,
    /// Whether the digest is that of the bytes, and not of where they come from.
    is_known: bool,
    file: File,
    digest: DigestStream,
    held_bytes: u64,
    partial: PathBuf,
    folder: BlobFolder,
}

impl Receiving {
    /// How many bytes are there: where the next ones go.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    async fn read_what_is_there(&mut self) -> Result<(), BlobError> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = self.file.read(&mut buffer).await;
            let read = read.map_err(BlobError::io("read", &self.partial))?;
            if read == 0 {
                return Ok(());
            }
            self.count(&buffer[..read]).await?;
        }
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    ///
    /// There are more than there should be, or the disk will not take them.
    pub async fn add(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.count(bytes).await?;
        let written = match self.file.write_all(bytes).await {
            Ok(()) => self.file.flush().await,
            Err(error) => Err(error),
        };
        written.map_err(BlobError::io("write", &self.partial))
    }

    async fn count(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.held_bytes += bytes.len() as u64;
        if self.held_bytes > self.blob.size_bytes {
            self.throw_away().await?;
            return Err(BlobError::TooLong {
                digest: self.blob.digest,
                size_bytes: self.blob.size_bytes,
            });
        }
        self.digest.add(bytes);
        Ok(())
    }

    /// Ends with it: it is whole, and is on the disk when this returns. Gives back what it is.
    ///
    /// # Errors
    ///
    /// Bytes are missing, or they are others than they should be, which are thrown away.
    pub async fn finish(self) -> Result<Blob, BlobError> {
        let Blob { digest, size_bytes } = self.blob;
        if self.held_bytes < size_bytes {
            return Err(BlobError::TooShort {
                digest,
                held_bytes: self.held_bytes,
                size_bytes,
            });
        }
        let found = self.digest.clone().finish();
        if self.is_known && found != digest {
            self.throw_away().await?;
            return Err(BlobError::Mismatch {
                expected: digest,
                found,
            });
        }
        let forced = self.file.sync_all().await;
        forced.map_err(BlobError::io("write", &self.partial))?;
        let whole = self.folder.path(found);
        let renamed = fs::rename(&self.partial, &whole).await;
        renamed.map_err(BlobError::io("rename", &self.partial))?;
        // Its name must reach the disk too; systems that cannot open a folder write it themselves.
        let folder = &self.folder.folder;
        if let Ok(opened) = File::open(folder).await {
            let forced = opened.sync_all().await;
            forced.map_err(BlobError::io("write", folder))?;
        }
        Ok(Blob {
            digest: found,
            size_bytes,
        })
    }

    async fn throw_away(&self) -> Result<(), BlobError> {
        let removed = fs::remove_file(&self.partial).await;
        removed.map_err(BlobError::io("remove", &self.partial))
    }
}

/// Whether a file is there and holds the bytes of a blob and nothing else. Reads it whole where it is
/// as long.
///
/// # Errors
///
/// It cannot be read.
pub async fn is_blob(path: &Path, blob: Blob) -> Result<bool, BlobError> {
    if length(path).await? != Some(blob.size_bytes) {
        return Ok(false);
    }
    let file = File::open(path).await;
    let mut file = file.map_err(BlobError::io("read", path))?;
    let mut digest = Digest::stream();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).await;
        match read.map_err(BlobError::io("read", path))? {
            0 => return Ok(digest.finish() == blob.digest),
            read => digest.add(&buffer[..read]),
        }
    }
}

/// The bytes of a file, where there is one.
async fn length(path: &Path) -> Result<Option<u64>, BlobError> {
    match fs::metadata(path).await {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BlobError::io("look at", path)(error)),
    }
}

/// Whether an open file is the one under a path still.
#[cfg(unix)]
fn is_at(file: &std::fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let name = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(opened), Ok(found)) => name(opened) == name(found),
        _ => false,
    }
}

/// Elsewhere a file that is open keeps its name.
#[cfg(not(unix))]
fn is_at(_file: &std::fs::File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn blob(bytes: &[u8]) -> Blob {
        Blob {
            digest: Digest::of(bytes),
            size_bytes: bytes.len() as u64,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[tokio::test]
    async fn a_blob_comes_in_pieces_over_several_attempts_and_is_then_there_under_its_digest() {
        let place = tempfile::tempdir().unwrap();
        let folder = BlobFolder::new(place.path().join("blobs"));
        let bytes = b"some weights";
        let blob = blob(bytes);
        assert_eq!(folder.held_bytes(blob).await.unwrap(), 0);
        let mut first = folder.receive(blob).await.unwrap().unwrap();
        first.add(&bytes[..5]).await.unwrap();
        drop(first);
        assert_eq!(folder.held_bytes(blob).await.unwrap(), 5);
        assert!(!folder.holds(blob).await.unwrap());
        assert!(folder.open(blob.digest, 0).await.unwrap().is_none());

        let mut second = folder.receive(blob).await.unwrap().unwrap();
        assert_eq!(second.held_bytes(), 5);
        let busy = folder.receive(blob).await.unwrap_err();
        assert!(matches!(busy, BlobError::Busy(_)), "{busy}");
        second.add(&bytes[5..]).await.unwrap();
        assert_eq!(second.finish().await.unwrap(), blob);
        assert_eq!(std::fs::read(folder.path(blob.digest)).unwrap(), bytes);
        assert_eq!(
            names(&place.path().join("blobs")),
            [blob.digest.to_string()]
        );
        assert!(folder.receive(blob).await.unwrap().is_none());

        let mut rest = String::new();
        let mut file = folder.open(blob.digest, 5).await.unwrap().unwrap();
        file.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "weights");
    }

    #[tokio::test]
    async fn bytes_that_are_not_the_blobs_are_thrown_away_with_both_digests_told() {
        let place = tempfile::tempdir().unwrap();
        let folder = BlobFolder::new(place.path().to_owned());
        let blob = blob(b"right");
        let mut receiving = folder.receive(blob).await.unwrap().unwrap();
        receiving.add(b"wrong").await.unwrap();
        let error = receiving.finish().await.unwrap_err().to_string();
        for digest in [blob.digest, Digest::of(b"wrong")] {
            assert!(error.contains(&digest.to_string()), "{error}");
        }
        assert_eq!(names(place.path()), [] as [&str; 0]);

        let mut receiving = folder.receive(blob).await.unwrap().unwrap();
        let error = receiving.add(b"too long").await.unwrap_err();
        assert!(matches!(error, BlobError::TooLong { .. }), "{error}");
        drop(receiving);
        assert_eq!(names(place.path()), [] as [&str; 0]);

        let mut receiving = folder.receive(blob).await.unwrap().unwrap();
        receiving.add(b"rig").await.unwrap();
        let error = receiving.finish().await.unwrap_err();
        assert!(matches!(error, BlobError::TooShort { held_bytes: 3, .. }));
        assert_eq!(folder.held_bytes(blob).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_file_is_a_blob_to_the_last_byte_or_it_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let blob = blob(b"some weights");
        assert!(!is_blob(&path, blob).await.unwrap(), "it is not there");
        for (bytes, is_it) in [
            ("some weights", true),
            ("SOME WEIGHTS", false),
            ("some", false),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(is_blob(&path, blob).await.unwrap(), is_it, "{bytes}");
        }
    }

    #[tokio::test]
    async fn bytes_of_an_unknown_digest_go_by_where_they_come_from_until_they_are_whole() {
        let place = tempfile::tempdir().unwrap();
        let folder = BlobFolder::new(place.path().to_owned());
        let (name, bytes) = (Digest::of("s3://bucket/name"), b"some weights");
        let mut first = folder.receive_unknown(name, 12, true).await.unwrap();
        first.add(&bytes[..5]).await.unwrap();
        drop(first);
        assert_eq!(folder.unknown_bytes(name).await.unwrap(), 5);
        let mut second = folder.receive_unknown(name, 12, true).await.unwrap();
        assert_eq!(second.held_bytes(), 5);
        drop(second.add(b"?").await);
        drop(second);
        // What is there has become the beginning of something else.
        let mut third = folder.receive_unknown(name, 12, false).await.unwrap();
        assert_eq!(third.held_bytes(), 0);
        third.add(bytes).await.unwrap();
        assert_eq!(third.finish().await.unwrap(), blob(bytes));
        assert!(folder.holds(blob(bytes)).await.unwrap());
        assert_eq!(names(place.path()), [blob(bytes).digest.to_string()]);
    }

    #[tokio::test]
    async fn a_blob_of_nothing_is_a_blob() {
        let place = tempfile::tempdir().unwrap();
        let folder = BlobFolder::new(place.path().to_owned());
        let receiving = folder.receive(blob(b"")).await.unwrap().unwrap();
        receiving.finish().await.unwrap();
        assert!(folder.holds(blob(b"")).await.unwrap());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let folder = BlobFolder::new(place.path().join("file/blobs"));
        let error = folder.receive(blob(b"bytes")).await.unwrap_err();
        assert!(error.to_string().contains("file/blobs"), "{error}");
    }
}
