//! What whoever runs the coordinator reads of it by HTTP/1.1, at an address of its own: whether it
//! lives, whether it serves, and what it counts.
//!
//! Little is asked there, and by few: a connection is for one question, is ended after some seconds
//! whatever it does, and there are so many at once at most.

mod pages;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::rpc::Tls;
pub(crate) use pages::Pages;

/// Connections at once; where one more comes the oldest is closed, which had the most time.
const MOST_CONNECTIONS: usize = 64;

/// How long a connection may stand, from its first byte to the last of its answer.
const LONGEST: Duration = Duration::from_secs(5);

/// The largest request, in bytes: a line, some headers and a token.
const MOST_REQUEST_BYTES: usize = 16 << 10;

/// Pause after a connection could not be accepted.
const AFTER_AN_ERROR: Duration = Duration::from_millis(100);

/// Serves for as long as it is polled; what is under way ends with it.
pub(crate) async fn serve(pages: Arc<Pages>, listener: TcpListener, tls: Option<Arc<Tls>>) {
    let mut connections = JoinSet::new();
    let mut oldest_first = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(AFTER_AN_ERROR).await;
                continue;
            }
        };
        oldest_first.retain(|connection: &AbortHandle| !connection.is_finished());
        if oldest_first.len() >= MOST_CONNECTIONS
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
        let (pages, tls) = (pages.clone(), tls.clone());
        oldest_first.push_back(connections.spawn(async move {
            // Whoever is slow, or speaks something else, may come again.
            let _ = timeout(LONGEST, shake_hands_and_answer(pages, tcp, tls)).await;
        }));
    }
}

async fn shake_hands_and_answer(pages: Arc<Pages>, tcp: TcpStream, tls: Option<Arc<Tls>>) {
    match tls {
        None => answer(pages, tcp).await,
        Some(tls) => match tls.web_acceptor().accept(tcp).await {
            Ok(tls) => answer(pages, tls).await,
            Err(error) => tracing::debug!(%error, "a connection is refused"),
        },
    }
}

async fn answer(pages: Arc<Pages>, io: impl AsyncRead + AsyncWrite + Unpin) {
    let answered = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MOST_REQUEST_BYTES)
        .serve_connection(
            TokioIo::new(io),
            service_fn(|request| {
                let pages = pages.clone();
                async move { Ok::<_, Infallible>(pages.answer(&request).await) }
            }),
        );
    if let Err(error) = answered.await {
        tracing::debug!(%error, "a connection ended badly");
    }
}
