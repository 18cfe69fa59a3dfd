//! Comes before every call of every service: who calls, and whether they may.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bitfront_model::AccessRole;
use tokio::time::sleep;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Request, Status};

use super::connections::Peer;
use super::limits::Holding;
use super::permissions::roles;
use crate::audit::Audit;
use crate::gate::{Gate, Refusal, Visitor};
use crate::world::World;

/// A service behind the gate. What lies behind it finds the [`Visitor`] with the request.
#[derive(Clone)]
pub(super) struct Admission<S> {
    inner: S,
    gate: Arc<Gate>,
    /// How long a call may take until it is answered.
    limit: Duration,
    holding: Holding,
}

/// The one call whose request is a stream, which may take as long as it likes.
const ENDLESS: &str = "/bitfront.v1.Blobs/Put";

impl<S> Admission<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>, limit: Duration, holding: Holding) -> Self {
        Self {
            inner,
            gate,
            limit,
            holding,
        }
    }
}

impl<S> Service<http::Request<Body>> for Admission<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let (gate, limit, holding) = (self.gate.clone(), self.limit, self.holding.clone());
        // The one that said that it is ready is the one to be called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        // The body of a request cannot be shared while somebody is waited for, so this goes without.
        let path = request.uri().path().to_owned();
        let shown = request.headers().get(http::header::AUTHORIZATION).cloned();
        Box::pin(async move {
            match admit(&gate, &path, shown).await {
                Ok(visitor) => {
                    if let Some(peer) = request.extensions().get::<Peer>() {
                        peer.let_in();
                    }
                    request.extensions_mut().insert(visitor.clone());
                    let mut _until_answered = None;
                    if path != ENDLESS {
                        let (parts, body) = request.into_parts();
                        let (body, held) = holding.count(body);
                        request = http::Request::from_parts(parts, body);
                        _until_answered = Some(held);
                    }
                    // The rest of a request may come long after its beginning.
                    tokio::select! {
                        answer = inner.call(request) => answer,
                        refusal = gate.dismissed(&visitor) => Ok(Status::from(refusal).into_http()),
                        () = sleep(limit), if path != ENDLESS => Ok(too_slow(limit).into_http()),
                    }
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

fn too_slow(limit: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "the call was neither whole nor answered within {limit:?}"
    ))
}

/// Who makes a call; parts that are called without the gate, as in tests, have nobody else.
pub(super) fn visitor<T>(request: &Request<T>) -> Visitor {
    let visitor = request.extensions().get::<Visitor>();
    visitor.cloned().unwrap_or(Visitor::LOCAL)
}

/// Notes what the caller of a request does.
pub(super) fn audit<T>(request: &Request<T>, world: &World) -> Audit {
    let (store, clock) = (world.store.clone(), world.clock.clone());
    match visitor(request).name {
        Some(by) => Audit { store, clock, by },
        None => Audit::local(store, clock),
    }
}

async fn admit(
    gate: &Gate,
    path: &str,
    shown: Option<http::HeaderValue>,
) -> Result<Visitor, Status> {
    let secret = match &shown {
        None => None,
        Some(shown) => Some(shown.as_bytes().strip_prefix(b"Bearer ").ok_or_else(|| {
            Status::unauthenticated("authorization: is `Bearer`, followed by an access token")
        })?),
    };
    let visitor = gate.admit(secret).await?;
    let Some(may) = roles(path) else {
        return Err(Status::unimplemented(format!("there is no call `{path}`")));
    };
    match (&visitor.name, visitor.role) {
        (Some(name), Some(role)) if !may.contains(&role) => {
            gate.note_refusal("role");
            tracing::info!("the {role} token `{name}` may not call {path}");
            Err(Status::permission_denied(format!(
                "the access token `{name}` is for `{role}`, and this takes one for {}",
                names(may)
            )))
        }
        // Whoever may come in without a token may not have one made that lasts longer than that.
        (None, _) if may == [AccessRole::Admin] && gate.has_tokens().await? => {
            gate.note_refusal("role");
            Err(Status::permission_denied(
                "its database has access tokens, so this takes one for `admin`, by --token-file or \
                 BITFRONT_TOKEN, or --database where no coordinator serves it",
            ))
        }
        _ => Ok(visitor),
    }
}

fn names(roles: &[AccessRole]) -> String {
    let names: Vec<_> = roles.iter().map(|role| format!("`{role}`")).collect();
    names.join(" or ")
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(_) => Self::unavailable(refusal.to_string()),
            Refusal::TooMany { .. } => Self::resource_exhausted(refusal.to_string()),
            _ => Self::unauthenticated(refusal.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
