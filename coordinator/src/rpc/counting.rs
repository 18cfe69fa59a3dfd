//! Counts every call with what came of it, whether or not it came past the gate, and makes a span
//! of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bitfront_model::SPANS;
use bitfront_proto::{CALLS, trace};
use hyper::body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Bytes, Service, http};
use tonic::{Code, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::world::World;

/// Whatever is called that is none of the calls that there are.
const OTHER: &str = "other";

/// Calls that are made again and again while nothing happens, most of which only wait. There are
/// more of these than of all others together, and no span tells more of them than what is counted.
const WITHOUT_A_SPAN: [&str; 3] = [
    "/bitfront.v1.Agents/Heartbeat",
    "/bitfront.v1.Agents/Lease",
    "/bitfront.v1.Searches/Watch",
];

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

/// The codes that say that it is the coordinator which failed, and not who called, as
/// OpenTelemetry's conventions for gRPC have it.
const FAILED_HERE: [Code; 6] = [
    Code::Unknown,
    Code::DeadlineExceeded,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
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
        trace::hear(request.headers(), &call.span);
        let span = call.span.clone();
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
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
    span: Span,
}

impl Call {
    fn begin(world: Arc<World>, path: &str) -> Self {
        let known = CALLS.iter().find(|call| **call == path);
        let method = known.copied().unwrap_or(OTHER);
        Self {
            began: world.clock.elapsed(),
            world,
            method,
            took: None,
            code: Code::Cancelled,
            span: match WITHOUT_A_SPAN.contains(&method) {
                true => Span::none(),
                false => span(method),
            },
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
        // A span lasts until it was in use last, which may have been before the last of an answer.
        self.span.in_scope(|| {
            self.span.record("code", code);
            if FAILED_HERE.contains(&self.code) {
                self.span.record("otel.status_code", "ERROR");
            }
        });
    }
}

/// A span of a call. What it is about is noted where that is known.
fn span(method: &'static str) -> Span {
    info_span!(
        target: SPANS,
        "call",
        otel.name = method.trim_start_matches('/'),
        otel.kind = "server",
        otel.status_code = Empty,
        method,
        code = Empty,
        agent = Empty,
        device = Empty,
        search = Empty,
        task = Empty,
        epoch = Empty,
    )
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
    fn calls_without_a_span_are_calls_that_there_are() {
        for method in WITHOUT_A_SPAN {
            assert!(CALLS.contains(&method), "{method}");
        }
    }

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
