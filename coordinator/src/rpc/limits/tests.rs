//! Hostile and slow peers, as bytes on a connection.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitfront_proto::v1;
use bitfront_proto::v1::searches_client::SearchesClient;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{Bytes, http};

use super::{Counted, HELD_PER_BYTE, Held, Holding, MOST_STREAMS, UNCOUNTED_BYTES};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Bounds, Config};
use crate::testing::folder;

/// A coordinator that ends with the guard.
async fn coordinator(folder: &Path, bounds: Bounds) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config {
        bounds,
        lease_time: Duration::from_secs(1),
        ..Config::new(folder.join("test.sqlite"))
    };
    let shutdown = CancellationToken::new();
    let clock = Arc::new(SystemClock::new());
    tokio::spawn(crate::run(config, listener, clock, shutdown.clone()));
    (address, shutdown.drop_guard())
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (calls, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    calls
}

/// Begins a call and says nothing more.
async fn begin(calls: &mut SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post("http://coordinator/bitfront.v1.Searches/Submit")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let mut ready = calls.clone().ready().await.unwrap();
    ready.send_request(request, false).unwrap()
}

/// What a call came to.
async fn code(answer: ResponseFuture) -> Code {
    let answer = answer.await.unwrap();
    let status = |headers: &http::HeaderMap| {
        let status = headers.get("grpc-status")?.to_str().ok()?;
        Some(Code::from_i32(status.parse().ok()?))
    };
    if let Some(code) = status(answer.headers()) {
        return code;
    }
    let mut body: RecvStream = answer.into_body();
    while body.data().await.is_some() {}
    let trailers = body.trailers().await.unwrap();
    status(&trailers.unwrap()).unwrap()
}

/// How long somebody else waits for an answer.
async fn waits(address: SocketAddr) -> Duration {
    let begun = SystemClock::new();
    let client = SearchesClient::connect(format!("http://{address}")).await;
    client.unwrap().list(v1::ListRequest {}).await.unwrap();
    begun.elapsed()
}

#[test]
fn what_has_begun_to_come_is_bounded_in_all_and_small_calls_go_on() {
    let holding = Holding {
        left: Arc::new(Semaphore::new(100_000 * HELD_PER_BYTE)),
    };
    let counted = || Counted {
        body: Body::empty(),
        uncounted: UNCOUNTED_BYTES,
        left: holding.left.clone(),
        held: Held::default(),
    };
    let (mut large, mut other) = (counted(), counted());
    large.hold(UNCOUNTED_BYTES).unwrap();
    large.hold(60_000).unwrap();
    large.hold(40_000).unwrap();
    other.hold(UNCOUNTED_BYTES).unwrap();
    let refusal = other.hold(1).unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    // The body was read whole, and what it became is still there.
    let until_answered = large.held.clone();
    drop(large);
    assert!(other.hold(1).is_err());
    drop(until_answered);
    other.hold(100_000).unwrap();
}

#[tokio::test]
async fn a_message_of_a_gibibyte_is_refused_at_its_first_bytes() {
    let folder = folder();
    let (address, _guard) = coordinator(folder.path(), Bounds::default()).await;
    let mut calls = connect(address).await;
    let (answer, mut stream) = begin(&mut calls).await;
    let answer = tokio::spawn(code(answer));
    let length = (1_u32 << 30).to_be_bytes();
    let header = [&[0], length.as_slice()].concat();
    stream.send_data(header.into(), false).unwrap();
    let mut sent = 0;
    while !answer.is_finished() {
        stream.reserve_capacity(1 << 16);
        let taken = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(Ok(taken)) = taken else {
            break;
        };
        sent += taken;
        // A stream that was ended meanwhile takes nothing more.
        if stream.send_data(vec![0; taken].into(), false).is_err() {
            break;
        }
        assert!(sent < 4 << 20, "{sent} bytes were taken");
    }
    assert_eq!(answer.await.unwrap(), Code::OutOfRange);
}

#[tokio::test]
async fn calls_that_say_nothing_end_and_hold_nobody_up() {
    let folder = folder();
    let bounds = Bounds {
        call: Duration::from_secs(2),
        ..Bounds::default()
    };
    let (address, _guard) = coordinator(folder.path(), bounds).await;
    let begun = SystemClock::new();
    let (mut connections, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut calls = connect(address).await;
        for _ in 0..MOST_STREAMS {
            idle.push(begin(&mut calls).await);
        }
        connections.push(calls);
    }
    let waited = waits(address).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    for (answer, _stream) in idle {
        assert_eq!(code(answer).await, Code::DeadlineExceeded);
    }
    let lasted = begun.elapsed();
    assert!(lasted < Duration::from_secs(10), "{lasted:?}");
}

#[tokio::test]
async fn a_connection_over_which_nobody_is_let_in_ends() {
    let folder = folder();
    let bounds = Bounds {
        stranger: Duration::from_secs(1),
        ..Bounds::default()
    };
    let (address, _guard) = coordinator(folder.path(), bounds).await;
    waits(address).await;
    // A byte now and then, of what would be a good beginning.
    let slow = async {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if tcp.write_all(&[*byte]).await.is_err() {
                return;
            }
            let mut answer = [0; 64];
            let read = tokio::time::timeout(Duration::from_millis(1), tcp.read(&mut answer));
            if matches!(read.await, Ok(Ok(0) | Err(_))) {
                return;
            }
        }
        panic!("it was listened to for as long as it liked");
    };
    let silent = async {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        // Settings come, and then the end.
        let mut heard = Vec::new();
        let _ = tcp.read_to_end(&mut heard).await;
    };
    let known = SearchesClient::connect(format!("http://{address}")).await;
    let mut known = known.unwrap();
    known.list(v1::ListRequest {}).await.unwrap();
    let begun = SystemClock::new();
    let both = async { tokio::join!(slow, silent) };
    let ended = tokio::time::timeout(Duration::from_secs(5), both).await;
    assert!(ended.is_ok(), "they are still there");
    let lasted = begun.elapsed();
    assert!(lasted > Duration::from_millis(500), "{lasted:?}");
    let waited = waits(address).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    // Who was let in once stays, whatever it says.
    known.list(v1::ListRequest {}).await.unwrap();
}
