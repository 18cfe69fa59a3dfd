//! The service that files are handed in to and fetched from, by content.
//!
//! It knows nothing of searches: what a blob is for is said by the manifests of subjects.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{Blob, Digest, Manifest};
use bitfront_proto::v1::blobs_server::Blobs;
use bitfront_proto::v1::put_request::Part;
use bitfront_proto::{CHUNK_BYTES, ConvertError, v1};
use bitfront_weights::{BlobError, BlobFolder, Receiving};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::admission::{audit, visitor};
use super::status::malformed;
use crate::audit::{Changed, Unfinished};
use crate::gate::Visitor;
use crate::world::World;

/// Blobs that are sent at once; the next ones wait. Each has a few chunks in memory, and more of
/// them at once only take turns at one disk and one network.
const MOST_SENT: usize = 32;

pub(super) struct BlobsService {
    /// None where this coordinator keeps none.
    folder: Option<BlobFolder>,
    turns: Arc<Semaphore>,
    world: Arc<World>,
    shutdown: CancellationToken,
}

impl BlobsService {
    pub(super) fn new(world: Arc<World>, shutdown: CancellationToken) -> Self {
        Self {
            folder: world.config.blobs.clone().map(BlobFolder::new),
            turns: Arc::new(Semaphore::new(MOST_SENT)),
            world,
            shutdown,
        }
    }

    fn folder(&self) -> Result<&BlobFolder, Status> {
        self.folder.as_ref().ok_or_else(|| {
            Status::failed_precondition(
                "this coordinator keeps no blobs; start it with `bitfront serve --blobs FOLDER`",
            )
        })
    }
}

#[tonic::async_trait]
impl Blobs for BlobsService {
    async fn find(
        &self,
        request: Request<v1::FindRequest>,
    ) -> Result<Response<v1::FindResponse>, Status> {
        let wire = request.into_inner().blobs;
        if wire.len() > Manifest::MOST_FILES {
            return Err(Status::invalid_argument(format!(
                "blobs: {} are asked for; at most {} are possible",
                wire.len(),
                Manifest::MOST_FILES
            )));
        }
        let mut holdings = Vec::with_capacity(wire.len());
        for (index, wire) in wire.into_iter().enumerate() {
            let blob = Blob::try_from(wire);
            let blob = blob.map_err(|error| malformed(error.within(&format!("blobs[{index}]"))))?;
            let holding = match &self.folder {
                Some(folder) => v1::Holding {
                    whole: folder.holds(blob).await.map_err(status)?,
                    held_bytes: folder.held_bytes(blob).await.map_err(status)?,
                },
                None => v1::Holding::default(),
            };
            holdings.push(holding);
        }
        Ok(Response::new(v1::FindResponse { holdings }))
    }

    type FetchStream = Pin<Box<dyn Stream<Item = Result<v1::FetchResponse, Status>> + Send>>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let visitor = visitor(&request);
        let v1::FetchRequest { digest, offset } = request.into_inner();
        let digest: Digest = digest
            .parse()
            .map_err(|error| malformed(ConvertError::invalid("digest", error)))?;
        let file = match &self.folder {
            Some(folder) => folder.open(digest, offset).await.map_err(status)?,
            None => None,
        };
        let file = file.ok_or_else(|| {
            Status::not_found(format!(
                "this coordinator does not hold blob {digest}; hand it in with `bitfront model add`"
            ))
        })?;
        let turns = self.turns.clone();
        let turn = tokio::select! {
            turn = turns.acquire_owned() => turn.map_err(|_| stopping())?,
            () = self.shutdown.cancelled() => return Err(stopping()),
        };
        let (chunks, stream) = mpsc::channel(2);
        let (world, shutdown) = (self.world.clone(), self.shutdown.clone());
        let pause = self.world.config.bounds.pause;
        tokio::spawn(async move {
            let ended = async {
                tokio::select! {
                    () = shutdown.cancelled() => stopping(),
                    refusal = world.gate.dismissed(&visitor) => refusal.into(),
                }
            };
            let count = |bytes| world.metrics.sent(bytes);
            send(file, chunks, turn, pause, ended, count).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn put(
        &self,
        request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        let folder = self.folder()?;
        let (visitor, audit) = (visitor(&request), audit(&request, &self.world));
        let mut parts = request.into_inner();
        let begin = match parts.message().await?.and_then(|first| first.part) {
            Some(Part::Begin(begin)) => begin,
            _ => return Err(Status::invalid_argument("begin: is missing; send it first")),
        };
        let wire = begin.blob.unwrap_or_default();
        let blob = Blob::try_from(wire).map_err(|error| malformed(error.within("begin.blob")))?;
        let Some(receiving) = folder.receive(blob).await.map_err(status)? else {
            return Ok(Response::new(v1::PutResponse {}));
        };
        if receiving.held_bytes() != begin.offset {
            // Somebody else may have added to it since the caller looked.
            return Err(Status::aborted(format!(
                "begin.offset: is {}, but {} bytes of blob {} are held; go on there",
                begin.offset,
                receiving.held_bytes(),
                blob.digest
            )));
        }
        let taking_in = self.take_in(receiving, parts, &visitor);
        let taken_in = audit.noting("hand in", blob.digest, taking_in, |()| Changed::It);
        taken_in.await?;
        tracing::info!("took in blob {} of {} bytes", blob.digest, blob.size_bytes);
        Ok(Response::new(v1::PutResponse {}))
    }
}

/// Of files that are taken in: those lie on the coordinator's own disk, which says what came of them.
impl Unfinished for Status {
    fn may_have_happened(&self) -> bool {
        false
    }
}

impl BlobsService {
    /// Takes in the rest of a blob, for as long as whoever sends it is let in.
    async fn take_in(
        &self,
        mut receiving: Receiving,
        mut parts: Streaming<v1::PutRequest>,
        visitor: &Visitor,
    ) -> Result<(), Status> {
        let dismissed = self.world.gate.dismissed(visitor);
        tokio::pin!(dismissed);
        let pause = self.world.config.bounds.pause;
        loop {
            let part = tokio::select! {
                part = timeout(pause, parts.message()) => part.map_err(|_| silent(pause))??,
                () = self.shutdown.cancelled() => return Err(stopping()),
                refusal = &mut dismissed => return Err(refusal.into()),
            };
            match part.map(|part| part.part) {
                Some(Some(Part::Chunk(chunk))) => {
                    receiving.add(&chunk).await.map_err(status)?;
                    self.world.metrics.received(chunk.len());
                }
                Some(_) => return Err(Status::invalid_argument("chunk: is missing")),
                None => break,
            }
        }
        receiving.finish().await.map_err(status)?;
        Ok(())
    }
}

/// Sends a file chunk by chunk, as fast as it is taken, unless something ends it.
async fn send(
    mut file: File,
    chunks: mpsc::Sender<Result<v1::FetchResponse, Status>>,
    turn: OwnedSemaphorePermit,
    pause: Duration,
    ended: impl Future<Output = Status>,
    count: impl Fn(usize),
) {
    let sent = async {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = (&mut file)
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut chunk)
                .await;
            let bytes = chunk.len();
            let message = match read {
                Ok(0) => return,
                Ok(_) => Ok(v1::FetchResponse { chunk }),
                Err(error) => Err(Status::internal(format!("a blob cannot be read: {error}"))),
            };
            let failed = message.is_err();
            // Whoever does not listen any more, or does not take what it hears, asks again.
            let sent = timeout(pause, chunks.send(message)).await;
            if !matches!(sent, Ok(Ok(()))) || failed {
                return;
            }
            count(bytes);
        }
    };
    tokio::select! {
        () = sent => {}
        status = ended => {
            // An end without an error would be that of the blob.
            let _ = chunks.try_send(Err(status));
        }
    }
    drop(turn);
}

fn silent(pause: Duration) -> Status {
    Status::deadline_exceeded(format!("no part of the blob came within {pause:?}"))
}

fn stopping() -> Status {
    Status::unavailable("the coordinator is stopping")
}

fn status(error: BlobError) -> Status {
    match error {
        BlobError::Mismatch { .. } | BlobError::TooLong { .. } | BlobError::TooShort { .. } => {
            Status::invalid_argument(error.to_string())
        }
        BlobError::Busy(_) => Status::already_exists(error.to_string()),
        BlobError::Io { .. } => {
            tracing::error!(%error, "a call failed");
            Status::internal(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
