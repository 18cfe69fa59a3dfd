//! How a trace goes on at the other end of a call.
//!
//! Who exports spans says here, once for the process as for its log, how a span is named in the
//! headers of a call. Where nobody does, calls carry nothing and cost nothing more.

use std::sync::OnceLock;

use tonic::codegen::http::HeaderMap;
use tracing::Span;

/// How a span is named in the headers of a call.
pub struct Propagation {
    /// Names the current span in the headers of a call that is made in it.
    pub tell: fn(&mut HeaderMap),
    /// Makes a span, which nothing has happened in yet, a child of the one that headers name, where
    /// they name any.
    pub hear: fn(&HeaderMap, &Span),
}

static PROPAGATION: OnceLock<Propagation> = OnceLock::new();

/// Has spans named in the headers of all calls from now on. Only the first call of this counts.
pub fn propagate(propagation: Propagation) {
    // The process has one log too, and whoever starts it comes here once.
    let _ = PROPAGATION.set(propagation);
}

/// Names the current span in the headers of a call.
pub(crate) fn tell(headers: &mut HeaderMap) {
    if let Some(propagation) = PROPAGATION.get() {
        (propagation.tell)(headers);
    }
}

/// Makes a new span a child of the one that the headers of a call name.
pub fn hear(headers: &HeaderMap, span: &Span) {
    if let Some(propagation) = PROPAGATION.get() {
        (propagation.hear)(headers, span);
    }
}
