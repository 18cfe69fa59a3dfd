//! What hostile and slow peers take of a coordinator, and of those who call it meanwhile.
//!
//! ```text
//! cargo bench -p bitfront-coordinator --bench hostile
//! ```
//!
//! The coordinator is a process of its own with its usual bounds, over a new SQLite file. A row a
//! kind of peer, all of which go on for ten seconds and leave then: how many there were, how many
//! of them the coordinator itself had ended by then, and what it said to most of those; its
//! resident size before, at most meanwhile, and ten seconds after; and how long somebody else
//! waited for an answer, over an old connection and over a new one, at the median and at most.
//! Connections without a call end after half a minute, so what they keep is seen whole. Needs about
//! 11,000 open files (`ulimit -n`).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bitfront_proto::v1;
use bitfront_proto::v1::searches_client::SearchesClient;
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::codegen::{Bytes, http};

mod support;

use support::Coordinator;

/// How long peers of a kind go on.
const WINDOW: Duration = Duration::from_secs(10);

/// Bytes.
const MIB: u32 = 1 << 20;

/// How a peer was ended by the coordinator.
type End = String;

fn main() {
    if support::arguments().is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(measure());
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("hostile.sqlite");
    let coordinator = Coordinator::start(database.to_str().unwrap());
    println!(
        "{:<46} {:>6} {:>6}  {:<18} {:>7} {:>7} {:>7} {:>15} {:>15}",
        "peers",
        "number",
        "ended",
        "most often",
        "before",
        "most",
        "after",
        "old p50, most",
        "new p50, most"
    );
    let address = coordinator.address.clone();
    row(&coordinator, "nobody", JoinSet::new()).await;
    let mut peers = JoinSet::new();
    for _ in 0..1000 {
        peers.spawn(drip(address.clone()));
    }
    row(&coordinator, "beginnings, a byte a second", peers).await;
    let mut peers = JoinSet::new();
    for _ in 0..5000 {
        peers.spawn(keep_silent(address.clone()));
    }
    row(&coordinator, "connections without a word", peers).await;
    let mut peers = JoinSet::new();
    for _ in 0..40 {
        let calls = connect(&address).await;
        for _ in 0..256 {
            peers.spawn(call(calls.clone(), MIB, 0));
        }
    }
    row(
        &coordinator,
        "calls of which nothing comes, 40 connections",
        peers,
    )
    .await;
    let mut peers = JoinSet::new();
    for _ in 0..64 {
        peers.spawn(call(connect(&address).await, 1024 * MIB, 1024 * MIB));
    }
    row(&coordinator, "messages of 1 GiB", peers).await;
    let mut peers = JoinSet::new();
    for _ in 0..2 {
        let calls = connect(&address).await;
        for _ in 0..256 {
            peers.spawn(call(calls.clone(), 4 * MIB, 3 * MIB));
        }
    }
    row(
        &coordinator,
        "3 MiB of messages of 4 MiB, 2 connections",
        peers,
    )
    .await;
}

/// Waits beside the peers for a window, and prints how it went.
async fn row(coordinator: &Coordinator, name: &str, mut peers: JoinSet<End>) {
    let number = peers.len();
    let before = coordinator.memory();
    let begun = Instant::now();
    let known = coordinator.connect().await;
    let (mut old, mut new, mut most) = (Vec::new(), Vec::new(), before);
    let mut ends: BTreeMap<End, usize> = BTreeMap::new();
    while begun.elapsed() < WINDOW {
        old.push(ask(known.clone()).await);
        let at = Instant::now();
        ask(coordinator.connect().await).await;
        new.push(at.elapsed());
        while let Some(ended) = peers.try_join_next() {
            *ends.entry(ended.unwrap()).or_default() += 1;
        }
        most = most.max(coordinator.memory());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended: usize = ends.values().sum();
    let most_often = ends.into_iter().max_by_key(|&(_, count)| count);
    peers.shutdown().await;
    tokio::time::sleep(WINDOW).await;
    println!(
        "{name:<46} {number:>6} {ended:>6}  {:<18} {before:>7.0} {most:>7.0} {:>7.0} {:>15} {:>15}",
        most_often.map_or_else(String::new, |(end, _)| end),
        coordinator.memory(),
        waits(&mut old),
        waits(&mut new)
    );
}

/// How long an answer takes.
async fn ask(channel: tonic::transport::Channel) -> Duration {
    let at = Instant::now();
    let answer = SearchesClient::new(channel).list(v1::ListRequest {}).await;
    answer.unwrap();
    at.elapsed()
}

/// The median and the most, in milliseconds.
fn waits(waited: &mut [Duration]) -> String {
    waited.sort();
    let ms = |at: usize| waited[at].as_secs_f64() * 1e3;
    format!("{:.1}, {:.0}", ms(waited.len() / 2), ms(waited.len() - 1))
}

/// A byte a second of what would be a good beginning.
async fn drip(address: String) -> End {
    let Ok(mut tcp) = TcpStream::connect(address).await else {
        return "refused".to_owned();
    };
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        if tcp.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    "closed".to_owned()
}

async fn keep_silent(address: String) -> End {
    let Ok(mut tcp) = TcpStream::connect(address).await else {
        return "refused".to_owned();
    };
    let mut heard = Vec::new();
    let _ = tcp.read_to_end(&mut heard).await;
    "closed".to_owned()
}

async fn connect(address: &str) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (calls, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    calls
}

/// Begins a call with a message of so many bytes, sends so many of them and then nothing more; says
/// what it came to.
async fn call(calls: SendRequest<Bytes>, length: u32, sent: u32) -> End {
    let request = http::Request::post("http://coordinator/bitfront.v1.Searches/Submit")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let Ok(mut calls) = calls.ready().await else {
        return "connection ended".to_owned();
    };
    let Ok((answer, mut stream)) = calls.send_request(request, false) else {
        return "connection ended".to_owned();
    };
    let send = async {
        if sent > 0 {
            let header = [&[0], length.to_be_bytes().as_slice()].concat();
            stream.send_data(header.into(), false)?;
        }
        let mut left = sent as usize;
        while left > 0 {
            stream.reserve_capacity(left.min(1 << 16));
            let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
            let Some(room) = room else {
                break;
            };
            let part = room?.min(left);
            stream.send_data(vec![0; part].into(), false)?;
            left -= part;
        }
        // Keeps the call open.
        std::future::pending::<Result<(), h2::Error>>().await
    };
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        _ = send => answer.await,
    };
    let Ok(answer) = answer else {
        return "call reset".to_owned();
    };
    let status = answer.headers().get("grpc-status");
    let status = status.and_then(|status| status.to_str().ok()?.parse().ok());
    status.map_or_else(
        || "answered".to_owned(),
        |code| format!("{:?}", Code::from_i32(code)),
    )
}
