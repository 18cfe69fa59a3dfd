//! The service over real TCP.

#![allow(clippy::unwrap_used)]

use bitfront_proto::v1::blobs_client::BlobsClient;
use bitfront_proto::v1::blobs_server::BlobsServer;
use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;
use tonic::Code;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;

use std::path::PathBuf;

use super::*;
use crate::store::sqlite::SqliteStore;
use crate::testing::Bench;

/// A client of a service over a folder; the service ends with the guard.
async fn service(folder: Option<PathBuf>) -> (BlobsClient<Channel>, DropGuard) {
    let shutdown = CancellationToken::new();
    let database = crate::testing::folder();
    let store = SqliteStore::open(&database.path().join("test.sqlite")).await;
    let bench = Bench::over(Arc::new(store.unwrap()), |config| config.blobs = folder).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(BlobsServer::new(BlobsService::new(
            bench.world.clone(),
            shutdown.clone(),
        )))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener),
            shutdown.clone().cancelled_owned(),
        );
    tokio::spawn(server);
    let client = BlobsClient::connect(url).await.unwrap();
    (client, shutdown.drop_guard())
}

fn blob(bytes: &[u8]) -> Blob {
    Blob {
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
    }
}

fn begin(blob: Blob, offset: u64) -> v1::PutRequest {
    v1::PutRequest {
        part: Some(Part::Begin(v1::PutBegin {
            blob: Some(blob.into()),
            offset,
        })),
    }
}

fn chunk(bytes: &[u8]) -> v1::PutRequest {
    v1::PutRequest {
        part: Some(Part::Chunk(bytes.to_vec())),
    }
}

async fn put(client: &mut BlobsClient<Channel>, parts: Vec<v1::PutRequest>) -> Result<(), Status> {
    let answer = client.put(tokio_stream::iter(parts)).await;
    answer.map(drop)
}

async fn find(client: &mut BlobsClient<Channel>, blob: Blob) -> (bool, u64) {
    let request = v1::FindRequest {
        blobs: vec![blob.into()],
    };
    let answer = client.find(request).await.unwrap().into_inner();
    (answer.holdings[0].whole, answer.holdings[0].held_bytes)
}

async fn fetch(
    client: &mut BlobsClient<Channel>,
    digest: String,
    offset: u64,
) -> Result<Vec<u8>, Status> {
    let request = v1::FetchRequest { digest, offset };
    let mut stream = client.fetch(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = stream.message().await? {
        assert!(message.chunk.len() <= CHUNK_BYTES);
        bytes.extend(message.chunk);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_blob_that_stops_coming_is_gone_on_with_and_then_given_out_from_anywhere() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("blobs");
    let (mut client, _service) = service(Some(folder.clone())).await;
    let bytes: Vec<u8> = (0..3 * CHUNK_BYTES).map(|it| (it % 253) as u8).collect();
    let blob = blob(&bytes);
    let name = blob.digest.to_string();
    assert_eq!(find(&mut client, blob).await, (false, 0));
    let missing = fetch(&mut client, name.clone(), 0).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(
        missing.message().contains("bitfront model add"),
        "{missing}"
    );

    let (half, rest) = bytes.split_at(CHUNK_BYTES);
    let stopped = put(&mut client, vec![begin(blob, 0), chunk(half)]).await;
    assert!(stopped.unwrap_err().message().contains("ended after"));
    let held = CHUNK_BYTES as u64;
    assert_eq!(find(&mut client, blob).await, (false, held));
    let elsewhere = put(&mut client, vec![begin(blob, 5)]).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::Aborted, "{elsewhere}");

    let mut parts = vec![begin(blob, held)];
    parts.extend(rest.chunks(CHUNK_BYTES).map(chunk));
    put(&mut client, parts).await.unwrap();
    assert_eq!(find(&mut client, blob).await, (true, blob.size_bytes));
    let again = put(&mut client, vec![begin(blob, 0)]).await;
    again.unwrap();
    assert_eq!(fetch(&mut client, name.clone(), 0).await.unwrap(), bytes);
    let offset = held + 1;
    let end = fetch(&mut client, name.clone(), offset).await.unwrap();
    assert_eq!(end, bytes[offset as usize..]);
    let beyond = fetch(&mut client, name, u64::MAX >> 1).await.unwrap();
    assert_eq!(beyond, [0_u8; 0]);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("blobs");
    let (mut client, _service) = service(Some(folder.clone())).await;
    let blob = blob(b"right");
    let wrong = put(&mut client, vec![begin(blob, 0), chunk(b"wrong")]).await;
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    for digest in [blob.digest, Digest::of("wrong")] {
        assert!(wrong.message().contains(&digest.to_string()), "{wrong}");
    }
    assert_eq!(find(&mut client, blob).await, (false, 0));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);

    let long = put(&mut client, vec![begin(blob, 0), chunk(b"right and more")]).await;
    assert_eq!(long.unwrap_err().code(), Code::InvalidArgument);
    for parts in [vec![], vec![chunk(b"right")], vec![begin(blob, 0); 2]] {
        let refused = put(&mut client, parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    for digest in ["", "../secret", &"é".repeat(32)] {
        let refused = fetch(&mut client, digest.to_owned(), 0).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn a_coordinator_without_a_folder_says_how_to_give_it_one() {
    let (mut client, _service) = service(None).await;
    let blob = blob(b"bytes");
    assert_eq!(find(&mut client, blob).await, (false, 0));
    let refused = put(&mut client, vec![begin(blob, 0), chunk(b"bytes")]).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--blobs"), "{refused}");
}
