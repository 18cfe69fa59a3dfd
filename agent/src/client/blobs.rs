//! Files by content, from whichever coordinator holds them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bitfront_model::Digest;
use bitfront_proto::v1;
use tokio::time::timeout;
use tonic::{Request, Streaming};

use super::{CallError, Client};

/// The bytes of a blob as they come.
#[derive(Debug)]
pub(crate) struct Chunks {
    stream: Streaming<v1::FetchResponse>,
    /// Who sends them.
    pub(crate) from: String,
    patience: Duration,
}

impl Chunks {
    /// The next bytes; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        match timeout(self.patience, self.stream.message()).await {
            Ok(Ok(message)) => Ok(message.map(|message| message.chunk)),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => Err(CallError::Away(format!(
                "no more bytes came for {:?}",
                self.patience
            ))),
        }
    }
}

impl Client {
    /// The bytes of a blob from an offset on. Where the coordinator that is talked to does not hold
    /// it the others are asked, since each may have a folder of its own.
    pub(crate) async fn fetch(&self, digest: Digest, offset: u64) -> Result<Chunks, CallError> {
        let current = self.shared.current.load(Ordering::Relaxed);
        let (before, after) = self.addresses.split_at(current);
        let mut failure = CallError::Away("no coordinator is known".to_owned());
        for (index, address) in after.iter().chain(before).enumerate() {
            let mut request = Request::new(v1::FetchRequest {
                digest: digest.to_string(),
                offset,
            });
            request.set_timeout(self.call);
            match address.blobs.clone().fetch(request).await {
                Ok(answer) => {
                    return Ok(Chunks {
                        stream: answer.into_inner(),
                        from: format!("the coordinator at {}", address.url),
                        patience: self.call,
                    });
                }
                Err(status) => {
                    let error = CallError::from(status);
                    // One that is away may be the one that holds it.
                    if index == 0 || matches!(error, CallError::Away(_) | CallError::Untrusted(_)) {
                        failure = error;
                    }
                }
            }
        }
        Err(failure)
    }
}
