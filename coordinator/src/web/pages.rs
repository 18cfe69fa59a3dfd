//! The pages, who may read them, and what they say.
//!
//! `/healthz` and `/readyz` are for whoever starts coordinators anew and sends them work, which
//! often can show no token. They say in one line whether all is well, and what is not in words that
//! hold nothing of the database, of searches or of anybody. `/metrics` takes a token wherever calls
//! take one.

use std::sync::Arc;
use std::time::Duration;

use bitfront_model::AccessRole;
use hyper::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::prometheus_text;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::gate::Refusal;
use crate::leasing::Leasing;
use crate::metrics::Here;
use crate::store::Load;
use crate::world::World;

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long what the database said counts, so that nobody who asks often can keep it busy.
const STANDING_COUNTS: Duration = Duration::from_secs(1);
const LOAD_COUNTS: Duration = Duration::from_secs(5);

/// Every page with the roles that may read it: everybody where there are none.
pub(super) const PAGES: &[(&str, Option<&[AccessRole]>)] = &[
    ("/healthz", None),
    ("/readyz", None),
    ("/metrics", Some(&[AccessRole::Read, AccessRole::Admin])),
];

/// What the pages are made of.
pub(crate) struct Pages {
    world: Arc<World>,
    leasing: Arc<Leasing>,
    shutdown: CancellationToken,
    /// Held while the database is asked, so that of many callers one asks.
    readiness: Mutex<Option<Known<Result<(), String>>>>,
    load: Mutex<Option<Known<Option<Load>>>>,
}

/// What the database said, and when.
struct Known<T> {
    /// On the clock's [`elapsed`](crate::Clock::elapsed).
    at: Duration,
    said: T,
}

/// A page that cannot be read, with why.
struct Denied(StatusCode, String);

impl Pages {
    pub(crate) fn new(
        world: Arc<World>,
        leasing: Arc<Leasing>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            world,
            leasing,
            shutdown,
            readiness: Mutex::default(),
            load: Mutex::default(),
        }
    }

    /// Answers a request; what it brings besides its head is not read.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        let text = "text/plain; charset=utf-8";
        if let Err(Denied(status, why)) = self.admit(request).await {
            let mut answer = response(status, text, why);
            match status {
                StatusCode::UNAUTHORIZED => {
                    let how = hyper::header::HeaderValue::from_static("Bearer");
                    answer.headers_mut().insert(WWW_AUTHENTICATE, how);
                }
                StatusCode::METHOD_NOT_ALLOWED => {
                    let how = hyper::header::HeaderValue::from_static("GET, HEAD");
                    answer.headers_mut().insert(ALLOW, how);
                }
                _ => {}
            }
            return answer;
        }
        match request.uri().path() {
            "/metrics" => {
                let page = self.metrics().await;
                response(StatusCode::OK, prometheus_text::CONTENT_TYPE, page)
            }
            "/readyz" => match self.readiness().await {
                Ok(()) => response(StatusCode::OK, text, "ready".to_owned()),
                Err(why) => response(StatusCode::SERVICE_UNAVAILABLE, text, why),
            },
            // That this runs is all there is to say.
            _ => response(StatusCode::OK, text, "alive".to_owned()),
        }
    }

    async fn admit<B>(&self, request: &Request<B>) -> Result<(), Denied> {
        let path = request.uri().path();
        let Some((_, may)) = PAGES.iter().find(|(known, _)| *known == path) else {
            let known: Vec<_> = PAGES.iter().map(|(path, _)| *path).collect();
            let why = format!("there is no such page; there are {}", known.join(", "));
            return Err(Denied(StatusCode::NOT_FOUND, why));
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let why = "pages are read with GET".to_owned();
            return Err(Denied(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        let Some(may) = may else {
            return Ok(());
        };
        let unknown = |why: String| Denied(StatusCode::UNAUTHORIZED, why);
        let secret = match request.headers().get(AUTHORIZATION) {
            None => None,
            Some(shown) => Some(shown.as_bytes().strip_prefix(b"Bearer ").ok_or_else(|| {
                unknown("authorization: is `Bearer`, followed by an access token".to_owned())
            })?),
        };
        match self.world.gate.admit(secret).await {
            Ok(visitor) if visitor.role.is_none_or(|role| may.contains(&role)) => Ok(()),
            Ok(_) => {
                self.world.gate.note_refusal("role");
                let may: Vec<_> = may.iter().map(|role| format!("`{role}`")).collect();
                let why = format!("this page takes an access token for {}", may.join(" or "));
                Err(Denied(StatusCode::FORBIDDEN, why))
            }
            Err(Refusal::Store(_)) => {
                let why = "whether the access token counts is not known now".to_owned();
                Err(Denied(StatusCode::SERVICE_UNAVAILABLE, why))
            }
            Err(refusal @ Refusal::TooMany { .. }) => {
                Err(Denied(StatusCode::TOO_MANY_REQUESTS, refusal.to_string()))
            }
            Err(refusal) => Err(unknown(refusal.to_string())),
        }
    }

    /// Whether it serves, or why it does not.
    async fn readiness(&self) -> Result<(), String> {
        if self.shutdown.is_cancelled() {
            return Err("the coordinator is stopping".to_owned());
        }
        let mut known = self.readiness.lock().await;
        let now = self.world.clock.elapsed();
        if let Some(Known { at, said }) = &*known
            && now < *at + STANDING_COUNTS
        {
            return said.clone();
        }
        let said = self.stands().await;
        if let Err(why) = &said {
            tracing::warn!("not ready: {why}");
        }
        *known = Some(Known {
            at: self.world.clock.elapsed(),
            said: said.clone(),
        });
        said
    }

    async fn stands(&self) -> Result<(), String> {
        let standing = timeout(PATIENCE, self.world.store.standing()).await;
        let standing = standing.map_err(|_| {
            let seconds = PATIENCE.as_secs();
            format!("the database does not answer within {seconds} seconds")
        })?;
        let standing = standing.map_err(|error| {
            // What it said is for whoever reads the log.
            tracing::warn!(%error, "the database is asked in vain");
            "the database fails; the log says how".to_owned()
        })?;
        if standing.schema != standing.known_schema {
            return Err(format!(
                "the database has schema version {}, this program knows {}: another version of it \
                 has begun to use it",
                standing.schema, standing.known_schema
            ));
        }
        match standing.serves {
            true => Ok(()),
            false => Err("another coordinator has taken this one's work over".to_owned()),
        }
    }

    async fn metrics(&self) -> String {
        // Held to the end, so that nobody else sets what stands meanwhile.
        let mut known = self.load.lock().await;
        let now = self.world.clock.elapsed();
        let counts = known
            .as_ref()
            .is_some_and(|known| now < known.at + LOAD_COUNTS);
        if !counts {
            let said = match timeout(PATIENCE, self.world.store.load()).await {
                Ok(Ok(load)) => Some(load),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "what is in the database is not counted");
                    None
                }
                Err(_) => {
                    tracing::warn!("what is in the database is not counted: it does not answer");
                    None
                }
            };
            let at = self.world.clock.elapsed();
            *known = Some(Known { at, said });
        }
        let presence = &self.world.presence;
        let (present, silent) = presence.present_and_silent(self.world.clock.elapsed());
        let here = Here {
            leases: self.leasing.held_here(),
            present,
            silent,
        };
        let load = known.as_ref().and_then(|known| known.said.as_ref());
        self.world.metrics.page(here, load)
    }
}

fn response(status: StatusCode, kind: &'static str, mut text: String) -> Response<String> {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let value = hyper::header::HeaderValue::from_static;
    answer.headers_mut().insert(CONTENT_TYPE, value(kind));
    let as_it_is_now = value("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, as_it_is_now);
    answer
}
