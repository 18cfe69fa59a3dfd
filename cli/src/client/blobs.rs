//! Files by content, to a coordinator.

use std::io::SeekFrom;
use std::path::Path;

use anyhow::Context as _;
use bitfront_model::Blob;
use bitfront_proto::v1::put_request::Part;
use bitfront_proto::{CHUNK_BYTES, v1};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{Client, RESUBMISSION_PAUSE, RESUBMISSIONS, problem};

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
    /// made again and the file gone on with, a few times in a row without a byte in between.
    pub(crate) async fn put(&mut self, blob: Blob, path: &Path) -> anyhow::Result<()> {
        let (mut furthest, mut in_vain) = (0, 0);
        loop {
            let holding = self.find(&[blob]).await;
            let offset = match holding.as_deref() {
                Ok([holding]) if holding.whole => return Ok(()),
                Ok([holding]) => holding.held_bytes,
                // What went wrong is told where it goes wrong again.
                _ if in_vain < RESUBMISSIONS && in_vain > 0 => furthest,
                _ => return holding.map(|_| ()),
            };
            if offset > furthest {
                (furthest, in_vain) = (offset, 0);
            }
            let (parts, stream) = mpsc::channel(2);
            let (answer, read) = tokio::join!(
                self.blobs.put(ReceiverStream::new(stream)),
                read(blob, path, offset, parts)
            );
            read.with_context(|| format!("cannot read `{}`", path.display()))?;
            match answer {
                Ok(_) => return Ok(()),
                Err(status)
                    if matches!(
                        status.code(),
                        Code::Unavailable | Code::Unknown | Code::Cancelled
                    ) && in_vain < RESUBMISSIONS =>
                {
                    in_vain += 1;
                    tokio::time::sleep(RESUBMISSION_PAUSE).await;
                }
                Err(status) => {
                    let problem = problem(&self.url, &status);
                    return Err(anyhow::Error::new(problem)
                        .context(format!("cannot hand in `{}`", path.display())));
                }
            }
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
