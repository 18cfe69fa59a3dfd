//! Keeps what was measured on the disk until the coordinator has said what becomes of it.
//!
//! A report is written here before it is first sent and removed once it is acknowledged, so neither
//! the end of an agent nor of its machine loses a measurement: the next agent over the same folder
//! sends it, under the key and the token that it has. What the coordinator refuses, and what cannot
//! be read, is moved to a folder [`REFUSED`] with the reason beside it, for people.
//!
//! Tokens are numbers of one database, whose name stands in every report: a coordinator over another
//! one turns it away, and the report waits for its own. One agent at a time uses a spool: a lock says
//! so, which the operating system drops with the process.
//!
//! A disk that takes nothing is told once and stops nobody: reports are then sent from memory.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitfront_model::{AnswerReport, Digest, LeaseToken, Report};
use bitfront_runtime::files::{self, Durability};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::AgentError;

/// The folder, in that of the spool, for what is not sent any more.
pub(crate) const REFUSED: &str = "refused";

/// The most reports that are kept there; an older one then makes room for a newer one.
const MOST_REFUSED: usize = 1000;

/// What a file begins with, before the digest of all that follows its first line.
const MAGIC: &str = "bitfront-spool 1 ";

const EXTENSION: &str = "report";

/// Between two looks whether another agent has let go of the spool.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is to be reported, and to whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unsent {
    /// The database that the lease is of.
    pub(crate) database: String,
    pub(crate) report: Finished,
}

/// What is to be reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finished {
    Measurement(Box<Report>),
    Answer(Box<AnswerReport>),
}

impl Unsent {
    pub(crate) fn token(&self) -> LeaseToken {
        match &self.report {
            Finished::Measurement(report) => report.token,
            Finished::Answer(report) => report.token,
        }
    }

    pub(crate) fn key(&self) -> &str {
        match &self.report {
            Finished::Measurement(report) => &report.idempotency_key,
            Finished::Answer(report) => &report.idempotency_key,
        }
    }
}

/// The unsent reports of one agent.
#[derive(Debug)]
pub(crate) struct Spool {
    /// None where nothing is kept over the end of the agent.
    place: Option<Place>,
    /// The disk took nothing when it was last asked, which was told.
    complained: bool,
}

#[derive(Debug)]
struct Place {
    folder: PathBuf,
    /// Open for as long as the lock is held; none where it could not be taken yet.
    lock: Option<File>,
}

impl Spool {
    /// The spool in a folder, which is made where it does not exist; none keeps nothing. Another
    /// agent that uses it is waited for, as one is that has just been stopped.
    ///
    /// # Errors
    ///
    /// Another agent still uses it. A disk that takes nothing is no error.
    pub(crate) async fn open(folder: Option<PathBuf>, wait: Duration) -> Result<Self, AgentError> {
        let place = folder.map(|folder| Place { folder, lock: None });
        let mut spool = Self {
            place,
            complained: false,
        };
        let deadline = Instant::now() + wait;
        while let Some(place) = &mut spool.place {
            match place.lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    spool.complain(&error);
                    break;
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    sleep(BETWEEN_LOOKS).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(AgentError::SpoolInUse {
                        folder: place.folder.clone(),
                    });
                }
            }
        }
        Ok(spool)
    }

    /// Everything that is unsent, oldest first.
    pub(crate) fn unsent(&mut self) -> Vec<Unsent> {
        let Some(place) = &self.place else {
            return Vec::new();
        };
        match read_all(&place.folder) {
            Ok(unsent) => unsent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.complain(&error);
                Vec::new()
            }
        }
    }

    /// Writes a report down; where that fails it is told, and the report is in memory alone.
    pub(crate) fn keep(&mut self, unsent: &Unsent) {
        let Some(place) = &mut self.place else {
            return;
        };
        match place.keep(unsent) {
            Ok(()) => {
                if std::mem::take(&mut self.complained) {
                    tracing::warn!("reports are kept on the disk again");
                }
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Where a report is kept; none where it is not.
    pub(crate) fn kept(&self, unsent: &Unsent) -> Option<PathBuf> {
        let path = self.place.as_ref()?.path(unsent.key());
        path.exists().then_some(path)
    }

    /// Forgets a report that was acknowledged.
    pub(crate) fn forget(&mut self, unsent: &Unsent) {
        if let Some(path) = self.kept(unsent)
            && let Err(error) = fs::remove_file(&path)
        {
            // It will be sent once more, and counts once all the same.
            tracing::warn!("cannot remove `{}`: {error}", path.display());
        }
    }

    /// Puts a report that was refused aside; gives back where it is now.
    pub(crate) fn refuse(&mut self, unsent: &Unsent, reason: &str) -> Option<PathBuf> {
        let path = self.kept(unsent)?;
        match put_aside(&path, reason) {
            Ok(aside) => Some(aside),
            Err(error) => {
                tracing::error!("cannot put `{}` aside: {error}", path.display());
                None
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if let Some(place) = &self.place
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::error!(
                "reports cannot be kept in `{}`: {error}; they are sent from memory, and one that is \
                 not acknowledged when the agent ends is lost. Make room there, or name another \
                 folder with BITFRONT_DATA_DIR",
                place.folder.display()
            );
        }
    }
}

impl Place {
    fn lock(&mut self) -> Result<(), TryLockError> {
        if self.lock.is_none() {
            fs::create_dir_all(&self.folder).map_err(TryLockError::Error)?;
            // The folder's own name must be on the disk as well; systems that cannot open a folder
            // write it by themselves.
            if let Some(Ok(parent)) = self.folder.parent().map(File::open) {
                parent.sync_all().map_err(TryLockError::Error)?;
            }
            let path = self.folder.join("lock");
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)
                .map_err(TryLockError::Error)?;
            file.try_lock()?;
            self.lock = Some(file);
        }
        Ok(())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{}.{EXTENSION}", file_name(key)))
    }

    fn keep(&mut self, unsent: &Unsent) -> io::Result<()> {
        self.lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another agent uses it"),
        })?;
        let content = serde_json::to_string(unsent)?;
        files::replace(&self.path(unsent.key()), Durability::Forced, |file| {
            writeln!(file, "{MAGIC}{}", Digest::of(&content))?;
            file.write_all(content.as_bytes())
        })
    }
}

/// Everything that is unsent in a folder, oldest first. What cannot be read is put aside.
fn read_all(folder: &Path) -> io::Result<Vec<Unsent>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(EXTENSION) => paths.push(path),
            // The agent ended while it wrote: nothing was sent of it, and its task is measured
            // again.
            Some("partial") => fs::remove_file(path)?,
            _ => {}
        }
    }
    // Keys begin with the time at which they were drawn.
    paths.sort();
    let mut unsent = Vec::new();
    for path in paths {
        match read(&path) {
            Ok(report) => unsent.push(report),
            Err(reason) => {
                let aside = put_aside(&path, &reason)?;
                tracing::error!(
                    "an unsent report cannot be read and is put aside as `{}`: {reason}",
                    aside.display()
                );
            }
        }
    }
    Ok(unsent)
}

/// Reads a report; the error is for people.
fn read(path: &Path) -> Result<Unsent, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let digest = text.strip_prefix(MAGIC).ok_or(
        "it does not begin as reports of this version do: it is of another version, or empty",
    )?;
    let (digest, content) = digest.split_once('\n').ok_or("it ends early")?;
    if digest != Digest::of(content).to_string() {
        return Err("it is not what was written: it ends early, or is damaged".to_owned());
    }
    serde_json::from_str(content).map_err(|error| format!("it is of another version: {error}"))
}

/// Moves a report to the folder of those that are not sent any more, with the reason beside it.
fn put_aside(path: &Path, reason: &str) -> io::Result<PathBuf> {
    let no_name = || io::Error::other("it has no name");
    let (folder, name) = (
        path.parent().ok_or_else(no_name)?.join(REFUSED),
        path.file_name().ok_or_else(no_name)?,
    );
    fs::create_dir_all(&folder)?;
    make_room(&folder);
    let aside = folder.join(name);
    fs::rename(path, &aside)?;
    // A full disk takes no reason; it was also logged.
    if let Err(error) = fs::write(aside.with_extension("reason"), reason) {
        tracing::warn!("cannot write down why: {error}");
    }
    Ok(aside)
}

/// The reports in a folder.
fn reports(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == EXTENSION))
        .collect()
}

/// Removes the oldest reports of a folder until one more may come.
fn make_room(folder: &Path) {
    let mut paths = reports(folder);
    paths.sort();
    let too_many = (paths.len() + 1).saturating_sub(MOST_REFUSED);
    for path in paths.into_iter().take(too_many) {
        let removed = fs::remove_file(&path);
        // There may be no reason beside it.
        let _ = fs::remove_file(path.with_extension("reason"));
        tracing::error!(
            "`{}` is removed, since {MOST_REFUSED} refused reports are kept at most{}",
            path.display(),
            removed.map_or_else(|error| format!(": {error}"), |()| String::new())
        );
    }
}

/// A name that every file system takes, and that no two texts share.
fn file_name(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if text.len() <= 64 && !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let plain = text.chars().filter(|&letter| is_plain(letter)).take(40);
    format!("{}.{}", plain.collect::<String>(), Digest::of(text).short())
}

/// The folder for the spool of a device, in a folder for all of this machine's.
pub fn spool_folder(spools: &Path, device: &str) -> PathBuf {
    spools.join(format!("device-{}", file_name(device)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
