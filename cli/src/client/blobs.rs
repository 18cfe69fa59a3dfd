//! Files by content, to a coordinator.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bitfront_model::Blob;
use bitfront_proto::v1::put_request::Part;
use bitfront_proto::{CHUNK_BYTES, v1};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{Client, RESUBMISSION_PAUSE, RESUBMISSIONS, problem, unreachable};
use crate::problem::{ExitStatus, status_of};

/// How often it is looked whether another one has handed a file in.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Looks in a row without a byte of it in between.
const MOST_LOOKS: u32 = 120;

/// How much of a blob a coordinator holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) whole: bool,
    /// How many bytes are there, from the first on.
    pub(crate) held_bytes: u64,
}

impl Client {
    /// How much of each blob the coordinator holds.
    pub(crate) async fn find(&mut self, blobs: &[Blob]) -> anyhow::Result<Vec<Holding>> {
        let blobs = blobs.iter().map(|&blob| blob.into()).collect();
        let answer = self.blobs.find(v1::FindRequest { blobs }).await;
        let holdings = self.answer(answer)?.holdings.into_iter();
        Ok(holdings
            .map(|holding| Holding {
                whole: holding.whole,
                held_bytes: holding.held_bytes,
            })
            .collect())
    }

    /// Hands a file in, from where the coordinator's bytes of it end. A connection that breaks is
    /// made again and the file gone on with, a few times in a row without a byte in between; whoever
    /// else hands it in at this moment is waited for, a minute without a byte at the most.
    pub(crate) async fn put(&mut self, blob: Blob, path: &Path) -> anyhow::Result<()> {
        let (mut furthest, mut in_vain) = (0, 0);
        loop {
            let before = furthest;
            let (error, pause, most_in_vain) = match self.go_on(blob, path, &mut furthest).await {
                Ok(()) => return Ok(()),
                Err(Broken::Ended(error)) => return Err(error),
                Err(Broken::Away(error)) => (error, RESUBMISSION_PAUSE, RESUBMISSIONS),
                Err(Broken::Busy(error)) => (error, BETWEEN_LOOKS, MOST_LOOKS),
            };
            in_vain = if furthest > before { 0 } else { in_vain + 1 };
            if in_vain > most_in_vain {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Hands in what is missing of a file; tells how far the coordinator had it before.
    async fn go_on(&mut self, blob: Blob, path: &Path, furthest: &mut u64) -> Result<(), Broken> {
        let holding = self.find(&[blob]).await?;
        let holding = holding
            .first()
            .context("the coordinator says nothing of the file")?;
        if holding.whole {
            return Ok(());
        }
        let offset = holding.held_bytes;
        *furthest = offset.max(*furthest);
        let (parts, stream) = mpsc::channel(2);
        let (answer, read) = tokio::join!(
            self.blobs.put(ReceiverStream::new(stream)),
            read(blob, path, offset, parts)
        );
        read.with_context(|| format!("cannot read `{}`", path.display()))?;
        let Err(status) = answer else {
            return Ok(());
        };
        let problem = match status.code() {
            // A connection that breaks amid a stream is one of these.
            Code::Unknown | Code::Cancelled => unreachable(&self.url, status.message()),
            _ => problem(&self.url, &status),
        };
        let error = anyhow::Error::new(problem);
        let error = error.context(format!("cannot hand in `{}`", path.display()));
        Err(match status.code() {
            // Another connection adds to it, or did since the coordinator was asked.
            Code::AlreadyExists | Code::Aborted => Broken::Busy(error),
            _ => error.into(),
        })
    }
}

/// Why a file was not handed in whole.
enum Broken {
    /// The coordinator does not answer.
    Away(anyhow::Error),
    /// Another one hands it in.
    Busy(anyhow::Error),
    Ended(anyhow::Error),
}

impl From<anyhow::Error> for Broken {
    fn from(error: anyhow::Error) -> Self {
        match status_of(&error) {
            ExitStatus::Unreachable => Self::Away(error),
            _ => Self::Ended(error),
        }
    }
}

/// Reads a file into the parts of a call, until its end or that of the call.
async fn read(
    blob: Blob,
    path: &Path,
    offset: u64,
    parts: mpsc::Sender<v1::PutRequest>,
) -> std::io::Result<()> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    let mut part = Part::Begin(v1::PutBegin {
        blob: Some(blob.into()),
        offset,
    });
    loop {
        let sent = parts.send(v1::PutRequest { part: Some(part) }).await;
        if sent.is_err() {
            return Ok(());
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut most = (&mut file).take(CHUNK_BYTES as u64);
        if most.read_to_end(&mut chunk).await? == 0 {
            return Ok(());
        }
        part = Part::Chunk(chunk);
    }
}
