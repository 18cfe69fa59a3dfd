//! Agents that have none of the files at the submitter's paths and fetch them by content.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitfront_coordinator::Config;
use bitfront_e2e::agent::Agent;
use bitfront_e2e::coordinator::Coordinator;
use bitfront_e2e::process::{self, Process};
use bitfront_e2e::requests::request;
use bitfront_e2e::scripted::ScriptedRuntime;
use bitfront_e2e::searches::Searches;
use bitfront_model::{Blob, Digest, ManifestFile, Place, SearchState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on, and cuts the first one once so many bytes went over it either way.
struct Cutter {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Cutter {
    async fn start(to: std::net::SocketAddr, after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                let mut to = TcpStream::connect(to).await.unwrap();
                let is_first = counted.fetch_add(1, Ordering::Relaxed) == 0;
                tokio::spawn(async move {
                    if !is_first {
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                        return;
                    }
                    let (from_read, mut from_write) = from.split();
                    let (to_read, mut to_write) = to.split();
                    let (mut forth, mut back) = (from_read.take(after), to_read.take(after));
                    tokio::select! {
                        _ = tokio::io::copy(&mut forth, &mut to_write) => {}
                        _ = tokio::io::copy(&mut back, &mut from_write) => {}
                    }
                    let _ = from_write.shutdown().await;
                });
            }
        });
        Self { url, connections }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_whose_connection_is_cut_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|it| (it % 251) as u8).collect();
    let blob = Blob {
        digest: Digest::of(&bytes),
        size_bytes: bytes.len() as u64,
    };
    let blobs = folder.path().join("blobs");
    std::fs::create_dir(&blobs).unwrap();
    std::fs::write(blobs.join(blob.digest.to_string()), &bytes).unwrap();
    std::fs::write(folder.path().join("evaluation.txt"), "a text").unwrap();
    let coordinator = Coordinator::start(Config::new(folder.path().join("test.sqlite"))).await;
    let cutter = Cutter::start(coordinator.address(), 5_000_000).await;

    let mut request = request(folder.path(), 16);
    let model = request.subject.model.path.clone();
    request.subject.manifest.files = vec![ManifestFile {
        path: model.clone(),
        place: Place::Itself,
        blob,
        url: None,
    }];
    let searches = coordinator.searches().await;
    let search = searches.submit(&request).await.unwrap();
    let cache = folder.path().join("cache");
    let runtime = ScriptedRuntime::obliging();
    let agent = Agent::start_fetching("one", &cutter.url, runtime, &cache);
    let status = searches
        .wait(search, "its end", |status| status.state.has_ended())
        .await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    agent.stop().await;
    assert!(cutter.connections.load(Ordering::Relaxed) > 1, "it was cut");
    let fetched = cache.join("blobs").join(blob.digest.to_string());
    assert_eq!(std::fs::read(fetched).unwrap(), bytes);
    assert!(!Path::new(&model).exists());
}

/// The demo model and its text in a folder of their own.
fn copy_of_the_demo(to: &Path) -> (PathBuf, PathBuf) {
    let demo = process::root().join("demo");
    let model = to.join("model");
    std::fs::create_dir_all(&model).unwrap();
    for file in std::fs::read_dir(demo.join("model")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    let text = to.join("evaluation.txt");
    std::fs::copy(demo.join("evaluation.txt"), &text).unwrap();
    (model, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ends_on_a_device_that_never_saw_the_files() {
    let binary: PathBuf = tokio::task::spawn_blocking(process::binary).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = |name: &str| folder.path().join(name);
    let (model, text) = copy_of_the_demo(&data("submitter"));
    let (model, text) = (model.to_str().unwrap(), text.to_str().unwrap());
    let database = data("bitfront.sqlite");
    let arguments = ["serve", "--listen=127.0.0.1:0", "--database"];
    let arguments = arguments.map(Into::into).into_iter().chain([database]);
    let mut coordinator = Process::start(&binary, &data("coordinator"), arguments);
    let url = coordinator.line("listening on ");

    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    let cutter = Cutter::start(address, 5_000_000).await;
    let listed = {
        let (binary, data) = (binary.clone(), data("submitter"));
        let (model, url) = (model.to_owned(), cutter.url.clone());
        let add = move || {
            let add = [
                "model",
                "add",
                &model,
                "--format=csv",
                "--coordinator",
                &url,
            ];
            process::output(&binary, &data, add)
        };
        tokio::task::spawn_blocking(add).await.unwrap()
    };
    assert!(cutter.connections.load(Ordering::Relaxed) > 1, "it was cut");
    let add = ["model", "add", model, "--format=csv", "--coordinator", &url];
    let rows: Vec<_> = listed.lines().skip(1).collect();
    assert_eq!(rows.len(), 4, "{listed}");
    assert!(rows.iter().all(|row| row.ends_with(",true")), "{listed}");
    let again = process::output(&binary, &data("submitter"), add);
    assert!(
        again.lines().skip(1).all(|row| row.ends_with(",false")),
        "{again}"
    );

    let submit = [
        "submit",
        model,
        "--data",
        text,
        "--coordinator",
        &url,
        "--evaluations=4",
        "--precisions=q8_0,q4_k",
        "--group=kind",
        "--imatrix=none",
        "--context=64",
        "--windows=2",
        "--workloads=prefill@16,decode@8x4",
        "--prior=rounding",
    ];
    let search = process::output(&binary, &data("submitter"), submit);
    let search: i64 = search.trim().parse().unwrap();
    std::fs::remove_dir_all(data("submitter")).unwrap();

    let arguments = ["agent", "--coordinator", &url, "--name=far"];
    let agent = Process::start(&binary, &data("device"), arguments);
    let searches = Searches::connect(&url).await;
    let status = searches
        .wait(search, "the end", |status| status.state.has_ended())
        .await;
    let said = agent.stderr();
    assert_eq!(status.state, SearchState::Done, "{}\n{said}", status.reason);
    assert_eq!((status.evaluated, status.infeasible), (4, 0), "{said}");
    let fetched = std::fs::read_dir(data("device").join("weights/blobs")).unwrap();
    assert_eq!(fetched.count(), 5, "four files of the model and the text");
}
