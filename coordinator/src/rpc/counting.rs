//! Counts every call with what came of it, whether or not it came past the gate.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bitfront_proto::CALLS;
use hyper::body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Bytes, Service, http};
use tonic::{Code, Status};

use crate::world::World;

/// Whatever is called that is none of the calls that there are.
const OTHER: &str = "other";

/// The names of gRPC's status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A service whose calls are counted.
#[derive(Clone)]
pub(super) struct Counting<S> {
    inner: S,
    world: Arc<World>,
}

impl<S> Counting<S> {
    pub(super) fn new(inner: S, world: Arc<World>) -> Self {
        Self { inner, world }
    }
}

impl<S> Service<http::Request<Body>> for Counting<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut call = Call::begin(self.world.clone(), request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            call.answered();
            match code(answer.headers()) {
                // It says at once that nothing follows.
                Some(code) => {
                    call.ended(code);
                    Ok(answer)
                }
                None => Ok(answer.map(|body| Body::new(Counted { body, call }))),
            }
        })
    }
}

/// A call, which is counted when nothing of it is left.
struct Call {
    world: Arc<World>,
    method: &'static str,
    /// On the clock's [`elapsed`](crate::Clock::elapsed).
    began: Duration,
    took: Option<Duration>,
    /// Of one that its caller gives up, until another one is known.
    code: Code,
}

impl Call {
    fn begin(world: Arc<World>, path: &str) -> Self {
        let known = CALLS.iter().find(|call| **call == path);
        Self {
            began: world.clock.elapsed(),
            world,
            method: known.copied().unwrap_or(OTHER),
            took: None,
            code: Code::Cancelled,
        }
    }

    fn answered(&mut self) {
        let now = self.world.clock.elapsed();
        self.took = Some(now.saturating_sub(self.began));
    }

    fn ended(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.took.is_none() {
            self.answered();
        }
        let code = CODES.get(self.code as usize).copied().unwrap_or("UNKNOWN");
        let took = self.took.unwrap_or_default();
        self.world.metrics.call(self.method, code, took);
    }
}

/// The rest of an answer, which ends with its code.
struct Counted {
    body: Body,
    call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    self.call.ended(code);
                }
            }
            Poll::Ready(Some(Err(status))) => self.call.ended(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn code(headers: &http::HeaderMap) -> Option<Code> {
    let code = headers.get("grpc-status")?;
    Some(Code::from_bytes(code.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_name() {
        for (number, name) in CODES.iter().enumerate() {
            let code = Code::from_i32(number as i32);
            assert_eq!(code as usize, number);
            let letters = name.replace('_', "").to_lowercase();
            assert_eq!(format!("{code:?}").to_lowercase(), letters);
        }
    }
}
