//! Models and texts by URL, from a store of this machine.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

#[allow(unreachable_pub, dead_code)]
#[path = "../../weights/tests/support/store.rs"]
mod store;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use store::Store;
use support::{Run, bitfront, demo};
use tempfile::TempDir;

/// A store with the demo model, under `/bucket/models/tiny`, and its text.
fn store() -> Store {
    let store = Store::start();
    for file in std::fs::read_dir(demo().join("model")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        store.put(&format!("/bucket/models/tiny/{name}"), bytes);
    }
    let text = std::fs::read(demo().join("evaluation.txt")).unwrap();
    store.put("/bucket/text.txt", text);
    store
}

/// A coordinator, which ends with the test.
struct Coordinator {
    child: Child,
    url: String,
    data: TempDir,
}

impl Coordinator {
    fn start() -> Self {
        let (mut command, data) = bitfront(["serve", "--listen", "127.0.0.1:0"]).command();
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url, data }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a text stands in any file of a folder.
fn is_in(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_in(&path, text),
            false => {
                let bytes = std::fs::read(&path).unwrap();
                bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            }
        }
    })
}

/// Runs the binary as somebody who may read the store.
fn run(store: &Store, home: &Path, arguments: &[&str]) -> Run {
    bitfront(arguments)
        .in_data_dir(home)
        .env("BITFRONT_LOG", "debug")
        .env("AWS_ENDPOINT", &store.url)
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", "reader")
        .env("AWS_SECRET_ACCESS_KEY", "hidden-secret")
        .finish()
}

#[test]
fn a_search_by_url_says_where_its_files_are_and_no_secret_is_shown_or_stored() {
    let (store, home, coordinator) = (store(), tempfile::tempdir().unwrap(), Coordinator::start());
    store.state().reader = Some("Credential=reader/".to_owned());
    let submit = [
        "submit",
        "s3://bucket/models/tiny",
        "--data=s3://bucket/text.txt",
        "--coordinator",
        &coordinator.url,
        "--context=64",
        "--windows=2",
    ];
    let submitted = run(&store, home.path(), &submit);
    assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
    // Devices read the model themselves; the text is small.
    let blobs = std::fs::read_dir(coordinator.data.path().join("blobs")).unwrap();
    assert_eq!(blobs.count(), 1);
    for url in [
        "s3://bucket/models/tiny/model.safetensors",
        "s3://bucket/text.txt",
    ] {
        assert!(is_in(coordinator.data.path(), url), "{url}");
    }
    let arguments = [
        "searches",
        "--format=csv",
        "--coordinator",
        &coordinator.url,
    ];
    let searches = bitfront(arguments).finish().stdout;
    assert!(searches.contains("tiny"), "{searches}");

    // For devices that cannot read them they are handed in.
    let add = [
        "model",
        "add",
        "s3://bucket/models/tiny",
        "--format=csv",
        "--coordinator",
        &coordinator.url,
    ];
    store.seen();
    let added = run(&store, home.path(), &add);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    assert_eq!(added.stdout.matches(",true").count(), 4, "{}", added.stdout);
    let seen = store.seen();
    let is_transfer = |line: &String| line.starts_with("GET") && !line.contains('?');
    assert!(!seen.iter().any(is_transfer), "{seen:#?}");

    for run in [&submitted, &added] {
        let shown = format!("{}{}", run.stdout, run.stderr);
        assert!(!shown.contains("hidden-secret"), "{shown}");
    }
    for folder in [home.path(), coordinator.data.path()] {
        assert!(!is_in(folder, "hidden-secret"));
    }
}

#[test]
fn a_file_url_is_the_path_that_it_names() {
    let model = format!("file://{}", demo().join("model").display());
    let inspected = bitfront(["inspect", &model]).finish();
    assert_eq!(inspected.code, Some(0), "{}", inspected.stderr);
    let nowhere = bitfront(["inspect", "file:///nowhere/model"]).finish();
    assert_eq!(nowhere.code, Some(1));
    assert!(
        nowhere.stderr.contains("/nowhere/model"),
        "{}",
        nowhere.stderr
    );
}

#[test]
fn a_model_of_a_url_is_called_as_its_last_part() {
    let (store, home) = (store(), tempfile::tempdir().unwrap());
    let url = format!("{}/bucket/models/tiny/", store.url);
    let inspected = run(&store, home.path(), &["inspect", &url]);
    assert_eq!(inspected.code, Some(0), "{}", inspected.stderr);
    assert!(
        inspected.stdout.starts_with("tiny: "),
        "{}",
        inspected.stdout
    );
}

#[test]
fn what_cannot_be_read_by_url_is_refused_with_what_to_do() {
    let (store, home) = (store(), tempfile::tempdir().unwrap());
    store.put("/bucket/half/tokenizer.json", "{}");
    let at = |path: &str| format!("{}{path}", store.url);
    let cases: [(&str, i32, &[&str]); 8] = [
        (
            "ftp://host/model",
            2,
            &["`ftp://host/model`", "s3, s3a, gs", "`ftp`"],
        ),
        (
            "https://me:hidden-secret@host/x.gguf",
            2,
            &["`https://host/x.gguf`", "in the environment"],
        ),
        (
            "https://host/x.gguf?X-Amz-Signature=hidden-secret",
            2,
            &[
                "`https://host/x.gguf`",
                "download the file and give its path",
            ],
        ),
        ("s3://bucket", 2, &["`s3://bucket/`", "SCHEME://PLACE/NAME"]),
        (
            &at("/bucket/half"),
            1,
            &["/bucket/half` has no `config.json`", "FILE.gguf"],
        ),
        (&at("/bucket/x.gguf"), 1, &["/bucket/x.gguf` is not there"]),
        (
            "s3://bucket/models/x",
            1,
            &["`s3://bucket/models/x` is not there"],
        ),
        (
            "http://127.0.0.1:1/x.gguf",
            1,
            &[
                "`http://127.0.0.1:1/x.gguf` does not come",
                "goes on with it",
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (model, code, parts) in cases {
        let run = run(&store, home.path(), &["inspect", model]);
        let told = parts.iter().all(|part| run.stderr.contains(part));
        let is_secret = run.stderr.contains("hidden-secret");
        if run.code != Some(code) || !told || is_secret || !run.stdout.is_empty() {
            wrong.push(format!("{model}: {:?}\n{}", run.code, run.stderr));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    store.state().reader = Some("Credential=another/".to_owned());
    let run = run(&store, home.path(), &["inspect", "s3://bucket/models/tiny"]);
    assert_eq!(run.code, Some(1));
    let denied = "`s3://bucket/models/tiny/config.json` may not be read: set AWS_ACCESS_KEY_ID";
    assert!(run.stderr.contains(denied), "{}", run.stderr);
}
