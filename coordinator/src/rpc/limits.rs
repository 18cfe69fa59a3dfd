//! What one peer may take of a coordinator, whoever it is.
//!
//! Of the calls that are under way over a connection there are so many at most, and each has a
//! window of bytes that nobody has read yet; more is not taken from the network. A message is
//! refused when its length is read, before any of it is kept. What has come of messages that are
//! not whole yet is [held](Holding) in memory, and all of that together is bounded.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bitfront_proto::CHUNK_BYTES;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

/// The largest request, in bytes. The largest that there are name ten thousand files of a subject,
/// or say what every layer of a large model loses in every precision: one or two mebibytes.
pub(super) const MOST_REQUEST_BYTES: usize = 4 << 20;

/// The largest part of a blob, with what stands around its bytes, or question about ten thousand of
/// them.
pub(super) const MOST_PART_BYTES: usize = CHUNK_BYTES + (64 << 10);

/// The largest request about access tokens or deeds.
pub(super) const MOST_NAME_BYTES: usize = 64 << 10;

/// Calls that are under way at once over one connection. An agent has three; what passes many
/// callers' calls on over one connection has more.
pub(super) const MOST_STREAMS: u32 = 256;

/// The largest headers of a call, in bytes.
pub(super) const MOST_HEADER_BYTES: u32 = 16 << 10;

/// Bytes of a request that are not counted: all that most calls ever have, so that those go on
/// while others are refused.
const UNCOUNTED_BYTES: usize = 64 << 10;

/// What requests that have begun may hold beyond that, all together, in bytes.
const MOST_HELD_BYTES: usize = 1 << 30;

/// Bytes of memory that one byte of a message may become: an empty part of a message is two bytes
/// on its way, and some hundreds as a value.
const HELD_PER_BYTE: usize = 160;

/// What has come of all requests that are not answered yet.
#[derive(Clone)]
pub(super) struct Holding {
    left: Arc<Semaphore>,
}

impl Holding {
    pub(super) fn new() -> Self {
        Self {
            left: Arc::new(Semaphore::new(MOST_HELD_BYTES)),
        }
    }

    /// The same request, which ends with an error where there is no room for more of it, and what it
    /// holds until that is dropped: once there is an answer.
    pub(super) fn count(&self, body: Body) -> (Body, Held) {
        let held = Held::default();
        let counted = Counted {
            body,
            uncounted: UNCOUNTED_BYTES,
            left: self.left.clone(),
            held: held.clone(),
        };
        (Body::new(counted), held)
    }
}

/// What a request holds. Behind a std mutex, which is held for a sum only.
pub(super) type Held = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

struct Counted {
    body: Body,
    /// Bytes that may still come before any are counted.
    uncounted: usize,
    left: Arc<Semaphore>,
    held: Held,
}

impl Counted {
    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        let counted = bytes.saturating_sub(self.uncounted);
        self.uncounted = self.uncounted.saturating_sub(bytes);
        let permits = u32::try_from(counted.saturating_mul(HELD_PER_BYTE)).unwrap_or(u32::MAX);
        let Ok(more) = self.left.clone().try_acquire_many_owned(permits) else {
            return Err(Status::resource_exhausted(
                "other requests that have begun leave no room for one as large as this; send it \
                 again later",
            ));
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        drop(held);
        Ok(())
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => 0,
        };
        Poll::Ready(match self.hold(bytes) {
            Ok(()) => frame,
            Err(status) => Some(Err(status)),
        })
    }
}

#[cfg(test)]
mod tests;
