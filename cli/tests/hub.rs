//! Models of the Hugging Face Hub by name, from a server of this machine that speaks its protocol.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use support::{Run, bitfront, demo};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

const WEIGHTS: &str = "model.safetensors";

/// The Hub, as far as a download needs it: what a repository has, and ranges of its files.
#[derive(Clone)]
struct Hub {
    url: String,
    /// Path and range of every request.
    seen: Arc<Mutex<Vec<String>>>,
    /// The token of every request.
    tokens: Arc<Mutex<Vec<String>>>,
    /// The next transfer of weights breaks half way.
    cuts: Arc<AtomicBool>,
    /// Where it sends on to for the weights of `acme/elsewhere`.
    store: Option<String>,
}

struct Asked {
    path: String,
    range: String,
    token: String,
}

impl Hub {
    fn start() -> Self {
        Self::before(None)
    }

    fn before(store: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
            tokens: Arc::default(),
            cuts: Arc::default(),
            store,
        };
        let served = hub.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // Whoever asked may have gone away.
                let _ = served.answer(connection);
            }
        });
        hub
    }

    fn answer(&self, mut connection: TcpStream) -> std::io::Result<()> {
        let asked = read(&connection)?;
        let line = format!("{} {}", asked.path, asked.range);
        self.seen.lock().unwrap().push(line);
        self.tokens.lock().unwrap().push(asked.token.clone());
        let parts: Vec<_> = asked.path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["api", "models", "acme", "secret", ..] if asked.token != "Bearer open" => {
                say(&mut connection, "403 Forbidden", "", b"ask for access")
            }
            ["api", "models", "acme", "missing", ..] => {
                say(&mut connection, "404 Not Found", "", b"no such repository")
            }
            ["api", "models", "acme", "empty", ..] => {
                let body =
                    format!(r#"{{"siblings": [{{"rfilename": "a.gguf"}}], "sha": "{COMMIT}"}}"#);
                say(&mut connection, "200 OK", "", body.as_bytes())
            }
            ["api", "models", "acme", _, "revision", "main"] => {
                let names = std::fs::read_dir(demo().join("model")).unwrap();
                let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
                let names = names.map(|name| format!(r#"{{"rfilename": "{name}"}}"#));
                let names: Vec<_> = names.collect();
                let names = names.join(", ");
                let body = format!(r#"{{"siblings": [{names}], "sha": "{COMMIT}"}}"#);
                say(&mut connection, "200 OK", "", body.as_bytes())
            }
            ["acme", "elsewhere", "resolve", COMMIT, WEIGHTS] => {
                let store = self.store.as_ref().unwrap();
                let bytes = std::fs::read(demo().join("model").join(WEIGHTS)).unwrap();
                let headers = format!(
                    "X-Linked-ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
                     Location: {store}/acme/tiny/resolve/{COMMIT}/{WEIGHTS}\r\n",
                    bitfront_model::Digest::of(&bytes)
                );
                say(&mut connection, "302 Found", &headers, b"")
            }
            ["acme", repository, "resolve", COMMIT, name] => {
                self.send(&mut connection, repository, name, &asked.range)
            }
            _ => say(&mut connection, "404 Not Found", "", b""),
        }
    }

    /// Sends a range of a file of the demo model.
    fn send(
        &self,
        connection: &mut TcpStream,
        repository: &str,
        name: &str,
        range: &str,
    ) -> std::io::Result<()> {
        let bytes = std::fs::read(demo().join("model").join(name)).unwrap();
        let (first, last) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let first: usize = first.parse().unwrap();
        let end = last.parse::<usize>().map_or(bytes.len(), |last| last + 1);
        let etag = match (name, repository) {
            (WEIGHTS, "damaged") => bitfront_model::Digest::of("other weights").to_string(),
            (WEIGHTS, _) => bitfront_model::Digest::of(&bytes).to_string(),
            _ => name.bytes().map(|byte| format!("{byte:02x}")).collect(),
        };
        let headers = format!(
            "ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {first}-{}/{}\r\n",
            end.saturating_sub(1),
            bytes.len()
        );
        let body = &bytes[first..end];
        let whole = last.is_empty() && name == WEIGHTS;
        if whole && self.cuts.swap(false, Ordering::Relaxed) {
            let head = head("206 Partial Content", &headers, body.len());
            connection.write_all(head.as_bytes())?;
            return connection.write_all(&body[..body.len() / 2]);
        }
        say(connection, "206 Partial Content", &headers, body)
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Runs the binary with this Hub as the Hub.
    fn run(&self, home: &Path, arguments: &[&str]) -> Run {
        bitfront(arguments)
            .in_data_dir(&home.join("data"))
            .env("HF_ENDPOINT", &self.url)
            .env("HF_HOME", home.join("hf"))
            .env("HF_TOKEN", "")
            .finish()
    }
}

fn read(connection: &TcpStream) -> std::io::Result<Asked> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut asked = Asked {
        path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        range: String::new(),
        token: String::new(),
    };
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => asked.range = value.into(),
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                asked.token = value.into();
            }
            Some(_) => {}
            None => break,
        }
    }
    Ok(asked)
}

fn head(status: &str, headers: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn say(
    connection: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    connection.write_all(head(status, headers, body.len()).as_bytes())?;
    connection.write_all(body)
}

#[test]
fn a_model_is_handed_in_by_name_and_a_download_that_breaks_goes_on_where_it_did() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start();
    hub.cuts.store(true, Ordering::Relaxed);
    let add = ["model", "add", "hf://acme/tiny", "--format=csv"];
    let run = hub.run(home.path(), &add);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let rows: Vec<_> = run.stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), 4, "{}", run.stdout);
    assert!(
        rows.iter().all(|row| row.ends_with(",true")),
        "{}",
        run.stdout
    );
    let whole = std::fs::metadata(demo().join("model").join(WEIGHTS)).unwrap();
    let rest = format!("{}-", whole.len() / 2);
    let weights = format!("/acme/tiny/resolve/{COMMIT}/{WEIGHTS} bytes=");
    let seen = hub.seen();
    let ranges = seen.iter().filter_map(|line| line.strip_prefix(&weights));
    // The first byte alone is asked for what the Hub says of the file.
    let transfers: Vec<_> = ranges.filter(|&range| range != "0-0").collect();
    assert_eq!(transfers, ["0-", &rest], "{seen:#?}");
    let blobs = std::fs::read_dir(home.path().join("data/blobs")).unwrap();
    assert_eq!(blobs.count(), 4);

    // What is there is neither downloaded nor handed in again.
    let again = hub.run(home.path(), &add);
    assert!(
        again
            .stdout
            .lines()
            .skip(1)
            .all(|row| row.ends_with(",false"))
    );
    assert_eq!(hub.seen().len(), 1, "only what it has is asked for");

    let inspect = hub.run(home.path(), &["inspect", "hf://acme/tiny"]);
    assert!(inspect.stdout.starts_with("tiny: "), "{}", inspect.stdout);
}

#[test]
fn a_token_goes_to_the_hub_and_to_no_host_that_it_sends_on_to() {
    let home = tempfile::tempdir().unwrap();
    let store = Hub::start();
    let hub = Hub::before(Some(store.url.clone()));
    let run = bitfront(["inspect", "hf://acme/elsewhere"])
        .env("HF_ENDPOINT", &hub.url)
        .env("HF_HOME", home.path().join("hf"))
        .env("HF_TOKEN", "open")
        .finish();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let tokens = |hub: &Hub| std::mem::take(&mut *hub.tokens.lock().unwrap());
    let (hubs, stores) = (tokens(&hub), tokens(&store));
    assert!(hubs.iter().all(|token| token == "Bearer open"), "{hubs:?}");
    assert_eq!(stores, ["", ""], "what it is, and its bytes");
}

#[test]
fn what_others_have_downloaded_is_used_where_it_is_what_its_name_says() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start();
    let inspect = ["inspect", "hf://acme/tiny"];
    assert_eq!(hub.run(home.path(), &inspect).code, Some(0));
    let repository = home.path().join("hf/hub/models--acme--tiny");
    // The Hub's own programs note the commit of a branch, and of no commit.
    let _ = std::fs::remove_dir_all(repository.join("refs"));
    hub.seen();
    assert_eq!(hub.run(home.path(), &inspect).code, Some(0));
    assert_eq!(hub.seen().len(), 1, "only what it has is asked for");

    let weights = repository.join("snapshots").join(COMMIT).join(WEIGHTS);
    let blob = weights.canonicalize().unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    assert_eq!(hub.run(home.path(), &inspect).code, Some(0));
    let seen = hub.seen();
    let path = format!("/acme/tiny/resolve/{COMMIT}/{WEIGHTS} bytes=0-");
    assert!(seen.contains(&path), "{seen:#?}");
    let whole = std::fs::read(demo().join("model").join(WEIGHTS)).unwrap();
    assert_eq!(std::fs::read(&weights).unwrap(), whole);
}

/// A coordinator, which ends with the test.
struct Coordinator(Child);

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_search_of_a_named_model_hands_in_all_that_devices_lack() {
    let (mut command, data) = bitfront(["serve", "--listen", "127.0.0.1:0"]).command();
    let mut coordinator = Coordinator(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(coordinator.0.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let url = line.strip_prefix("listening on ").unwrap();
    let (home, hub) = (tempfile::tempdir().unwrap(), Hub::start());
    let text = demo().join("evaluation.txt");
    let run = hub.run(
        home.path(),
        &[
            "submit",
            "hf://acme/tiny",
            "--data",
            text.to_str().unwrap(),
            "--coordinator",
            url,
            "--context=64",
            "--windows=2",
        ],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let blobs = std::fs::read_dir(data.path().join("blobs")).unwrap();
    assert_eq!(blobs.count(), 5, "four files of the model and the text");
    let arguments = ["searches", "--format=csv", "--coordinator", url];
    let searches = bitfront(arguments).finish().stdout;
    assert!(searches.contains("tiny"), "{searches}");
}

#[test]
fn what_the_hub_refuses_is_said_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start();
    let nowhere = Hub {
        url: "http://127.0.0.1:1".to_owned(),
        ..hub.clone()
    };
    let cases: [(&Hub, &str, i32, &[&str]); 6] = [
        (
            &hub,
            "hf://acme",
            2,
            &["`hf://acme`", "hf://organisation/name"],
        ),
        (
            &hub,
            "hf://acme/missing",
            1,
            &["`acme/missing` is not at", "HF_TOKEN"],
        ),
        (
            &hub,
            "hf://acme/secret",
            1,
            &["`acme/secret` is gated", "HF_TOKEN"],
        ),
        (
            &hub,
            "hf://acme/empty",
            1,
            &["no `model.safetensors`", "FILE.gguf"],
        ),
        (
            &hub,
            "hf://acme/damaged",
            1,
            &["`model.safetensors` of `acme/damaged`", "it is thrown away"],
        ),
        (
            &nowhere,
            "hf://acme/tiny",
            1,
            &["http://127.0.0.1:1 does not answer", "HF_ENDPOINT"],
        ),
    ];
    let mut wrong = Vec::new();
    for (hub, model, code, parts) in cases {
        let run = hub.run(home.path(), &["model", "add", model]);
        let told = parts.iter().all(|part| run.stderr.contains(part));
        if run.code != Some(code) || !told || !run.stdout.is_empty() {
            wrong.push(format!("{model}: {:?}\n{}", run.code, run.stderr));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // With a token that may read it, it is read.
    let run = bitfront(["inspect", "hf://acme/secret"])
        .env("HF_ENDPOINT", &hub.url)
        .env("HF_HOME", home.path().join("hf"))
        .env("HF_TOKEN", "open")
        .finish();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}
