//! Connections, from their first byte to where calls go over them.

use std::io;
use std::io::ErrorKind::{ConnectionReset, TimedOut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::tls::Tls;

/// Pause after a connection could not be accepted: most often there are too many open files, and
/// some are closed soon.
const AFTER_AN_ERROR: Duration = Duration::from_millis(100);

/// Connections that calls can go over and that nobody has taken yet.
const READY: usize = 64;

/// A connection that calls can go over.
pub(super) struct Connection {
    io: Either<TcpStream, TlsStream<TcpStream>>,
    peer: Peer,
    /// When it ends, unless somebody was let in by then.
    end: Option<Pin<Box<Sleep>>>,
    /// Ends it when its client might not be trusted any more; none without TLS.
    era: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Who is at the other end of a connection; comes with every request.
#[derive(Clone)]
pub(super) struct Peer {
    is_known: Arc<AtomicBool>,
}

impl Peer {
    /// Somebody was let in: the connection may stand for as long as it likes.
    pub(super) fn let_in(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }
}

/// Accepts connections until the shutdown. Each shakes hands by itself, so that a slow one holds
/// nobody else up.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    stranger: Duration,
    shutdown: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(READY);
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = accept(listener, tls, stranger, ready) => {}
        }
    });
    ReceiverStream::new(connections)
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    stranger: Duration,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    loop {
        let (tcp, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(AFTER_AN_ERROR).await;
                continue;
            }
        };
        let (acceptor, era) = tls.as_ref().map(|tls| tls.acceptor()).unzip();
        let ready = ready.clone();
        tokio::spawn(async move {
            let mut end = Box::pin(sleep(stranger));
            let shaken = tokio::select! {
                shaken = shake_hands(tcp, acceptor) => shaken,
                () = &mut end => Err(io::Error::new(TimedOut, "no TLS in time")),
            };
            match shaken {
                Ok(io) => {
                    let peer = Peer {
                        is_known: Arc::default(),
                    };
                    let connection = Connection {
                        io,
                        peer,
                        end: Some(end),
                        era: era.map(|era| Box::pin(era.cancelled_owned())),
                    };
                    // Nobody takes it where the server has ended.
                    let _ = ready.send(Ok(connection)).await;
                }
                Err(error) => tracing::info!(%address, "a connection is refused: {error}"),
            }
        });
    }
}

async fn shake_hands(
    tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
) -> io::Result<Either<TcpStream, TlsStream<TcpStream>>> {
    // Without it every answer waits for the other end's delayed acknowledgement, 40 ms a call.
    tcp.set_nodelay(true)?;
    Ok(match acceptor {
        None => Either::Left(tcp),
        Some(acceptor) => Either::Right(acceptor.accept(tcp).await?),
    })
}

impl Connection {
    /// Fails once the client might not be trusted any more; the task is woken then.
    fn check_era(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let era = self.era.as_mut();
        match era.is_some_and(|era| era.as_mut().poll(context).is_ready()) {
            true => Err(io::Error::new(
                ConnectionReset,
                "other clients are trusted now",
            )),
            false => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_era(context)?;
        if let Some(end) = &mut self.end {
            let is_over = end.as_mut().poll(context).is_ready();
            if self.peer.is_known.load(Ordering::Relaxed) {
                self.end = None;
            } else if is_over {
                let error = io::Error::new(TimedOut, "nobody was let in over the connection");
                return Poll::Ready(Err(error));
            }
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_era(context)?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_era(context)?;
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
