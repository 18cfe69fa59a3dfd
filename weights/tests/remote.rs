//! Files by URL, from a store of this machine that does as badly as stores do.

#![allow(clippy::unwrap_used)]

// Shared with the tests of others, where all of it is used.
#[allow(unreachable_pub, dead_code)]
mod support;

use std::path::{Path, PathBuf};

use bitfront_model::FileUrl;
use bitfront_weights::remote::{DownloadError, Downloads};
use bitfront_weights::{Remote, RemoteError};
use support::store::Store;
use tempfile::TempDir;

const CONFIG: &str = r#"{"model_type": "llama"}"#;
const WEIGHTS: &str = "the weights of a model";
const TEXT: &str = "what is said";

struct Bench {
    store: Store,
    folder: TempDir,
    downloads: Downloads,
}

impl Bench {
    fn new() -> Self {
        Self::with(&[])
    }

    /// Downloads with what the environment would say.
    fn with(variables: &[(&str, &str)]) -> Self {
        let store = Store::start();
        let mut variables: Vec<_> = variables
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        variables.push(("AWS_ENDPOINT".to_owned(), store.url.clone()));
        variables.push(("AWS_ALLOW_HTTP".to_owned(), "true".to_owned()));
        let folder = tempfile::tempdir().unwrap();
        let downloads = Downloads::new(Remote::new(variables), folder.path().to_owned());
        Self {
            store,
            folder,
            downloads,
        }
    }

    fn url(&self, path: &str) -> FileUrl {
        format!("{}{path}", self.store.url).parse().unwrap()
    }

    async fn file(&self, url: &FileUrl) -> Result<PathBuf, DownloadError> {
        self.downloads.file(url, &|_| {}).await
    }

    async fn model(&self, url: &FileUrl) -> Result<PathBuf, DownloadError> {
        self.downloads.model(url, &|_| {}).await
    }

    /// Names in a folder of the downloads.
    fn names(&self, folder: &str) -> Vec<String> {
        names(&self.folder.path().join(folder))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_model_on_a_web_server_is_read_by_the_names_of_its_files_and_once() {
    let bench = Bench::new();
    bench.store.put("/tiny/config.json", CONFIG);
    bench.store.put("/tiny/model.safetensors", WEIGHTS);
    bench.store.put("/tiny/README.md", "read me");
    let url = bench.url("/tiny");
    let model = bench.model(&url).await.unwrap();
    assert_eq!(names(&model), ["config.json", "model.safetensors"]);
    assert_eq!(read(model.join("model.safetensors")), WEIGHTS);
    let transfers = |seen: Vec<String>| -> Vec<String> {
        seen.into_iter()
            .filter(|line| line.starts_with("GET"))
            .collect()
    };
    let expected = ["GET /tiny/config.json", "GET /tiny/model.safetensors"];
    assert_eq!(transfers(bench.store.seen()), expected);

    assert_eq!(bench.model(&url).await.unwrap(), model);
    assert_eq!(transfers(bench.store.seen()), [] as [&str; 0]);

    // Of what has changed only that is downloaded, and who reads the old one goes on.
    bench.store.put("/tiny/config.json", "{}");
    let changed = bench.model(&url).await.unwrap();
    assert_ne!(changed, model);
    assert_eq!(read(changed.join("config.json")), "{}");
    assert_eq!(read(model.join("config.json")), CONFIG);
    assert_eq!(transfers(bench.store.seen()), ["GET /tiny/config.json"]);
}

#[tokio::test]
async fn weights_in_several_files_are_those_of_the_index() {
    let bench = Bench::new();
    let index = r#"{"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}"#;
    for (name, text) in [
        ("config.json", CONFIG),
        ("model.safetensors.index.json", index),
        ("a.safetensors", "a"),
        ("b.safetensors", "b"),
    ] {
        bench.store.put(&format!("/tiny/{name}"), text);
    }
    let model = bench.model(&bench.url("/tiny")).await.unwrap();
    let all = [
        "a.safetensors",
        "b.safetensors",
        "config.json",
        "model.safetensors.index.json",
    ];
    assert_eq!(names(&model), all);

    let outside = r#"{"weight_map": {"x": "../secret"}}"#;
    bench
        .store
        .put("/tiny/model.safetensors.index.json", outside);
    let error = bench.model(&bench.url("/tiny")).await.unwrap_err();
    assert!(error.to_string().contains("../secret"), "{error}");
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_did() {
    let bench = Bench::new();
    bench.store.put("/texts/a.jsonl", TEXT);
    let url = bench.url("/texts/a.jsonl");
    bench.store.state().cuts = [5, 3].into();
    let path = bench.file(&url).await.unwrap();
    assert!(path.ends_with("a.jsonl"), "{}", path.display());
    assert_eq!(read(path), TEXT);
    let asked = std::mem::take(&mut bench.store.state().seen);
    let transfers = asked.iter().filter(|asked| asked.method == "GET");
    let ranges: Vec<_> = transfers
        .clone()
        .map(|asked| asked.range.as_str())
        .collect();
    assert_eq!(ranges, ["", "bytes=5-", "bytes=8-"]);
    assert!(
        transfers.clone().all(|asked| asked.condition.len() > 60),
        "{asked:#?}"
    );
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again_and_what_is_there_is_passed_over() {
    let bench = Bench::new();
    bench.store.put("/text", TEXT);
    bench.store.state().has_ranges = false;
    bench.store.state().cuts = [5].into();
    let path = bench.file(&bench.url("/text")).await.unwrap();
    assert_eq!(read(path), TEXT);
    let mut bytes = Remote::default()
        .read(&bench.url("/text"), 8, None)
        .await
        .unwrap();
    let mut rest = Vec::new();
    while let Some(chunk) = bytes.next().await.unwrap() {
        rest.extend(chunk);
    }
    assert_eq!(rest, &TEXT.as_bytes()[8..]);
}

#[tokio::test]
async fn without_tags_a_broken_download_begins_anew_and_the_time_tells_what_has_changed() {
    let bench = Bench::new();
    bench.store.put("/text", TEXT);
    bench.store.state().has_tags = false;
    bench.store.state().cuts = [5].into();
    let url = bench.url("/text");
    assert_eq!(read(bench.file(&url).await.unwrap()), TEXT);
    let (head, get) = ("HEAD /text", "GET /text");
    assert_eq!(bench.store.seen(), [head, get, head, get]);
    bench.file(&url).await.unwrap();
    assert_eq!(bench.store.seen(), [head]);
    bench.store.put("/text", "WHAT IS SAID");
    bench.store.state().modified = "Thu, 01 Jan 2026 00:00:01 GMT";
    assert_eq!(read(bench.file(&url).await.unwrap()), "WHAT IS SAID");
}

#[tokio::test]
async fn what_changes_amid_a_download_is_never_half_of_each() {
    for has_conditions in [true, false] {
        let bench = Bench::new();
        bench.store.put("/text", TEXT);
        {
            let mut state = bench.store.state();
            state.has_conditions = has_conditions;
            state.cuts = [5].into();
            state.change = Some(("/text".to_owned(), "WHAT IS SAID".into()));
        }
        let path = bench.file(&bench.url("/text")).await.unwrap();
        assert_eq!(read(path), "WHAT IS SAID", "{has_conditions}");
        assert_eq!(bench.names("blobs").len(), 1, "{has_conditions}");
    }
}

#[tokio::test]
async fn a_download_that_somebody_has_spoiled_is_made_again() {
    let bench = Bench::new();
    bench.store.put("/text", TEXT);
    let url = bench.url("/text");
    let path = bench.file(&url).await.unwrap();
    std::fs::write(&path, "what I say").unwrap();
    assert_eq!(bench.file(&url).await.unwrap(), path);
    assert_eq!(read(path), TEXT);
}

#[tokio::test]
async fn a_model_in_s3_is_listed_and_all_requests_are_signed() {
    let bench = Bench::with(&[
        ("AWS_ACCESS_KEY_ID", "reader"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ("AWS_REGION", "eu-central-1"),
        // What other programs have.
        ("AWS_PROFILE", "work"),
    ]);
    let signature = "AWS4-HMAC-SHA256 Credential=reader/";
    bench.store.state().reader = Some(signature.to_owned());
    bench.store.put("/bucket/models/tiny/config.json", CONFIG);
    bench
        .store
        .put("/bucket/models/tiny/model.safetensors", WEIGHTS);
    bench
        .store
        .put("/bucket/models/tiny/old/model.safetensors", "old");
    bench.store.state().cuts = [10].into();
    let url = "s3://bucket/models/tiny".parse().unwrap();
    let model = bench.model(&url).await.unwrap();
    assert_eq!(names(&model), ["config.json", "model.safetensors"]);
    assert_eq!(read(model.join("model.safetensors")), WEIGHTS);
    let asked = std::mem::take(&mut bench.store.state().seen);
    assert!(
        asked
            .iter()
            .all(|asked| asked.authorization.contains("Signature="))
    );
    assert!(asked.iter().any(|asked| asked.path.contains("list-type=2")));
    assert!(
        asked.iter().any(|asked| asked.range == "bytes=10-"),
        "{asked:#?}"
    );
    let shown = format!("{:?}", bench.downloads);
    assert!(!shown.contains("hidden"), "{shown}");
}

#[tokio::test]
async fn a_tokenizer_comes_with_what_is_read_beside_one() {
    let bench = Bench::new();
    bench.store.put("/t/own.json", "{}");
    bench.store.put("/t/tokenizer_config.json", "{ }");
    let url = bench.url("/t/own.json");
    let path = bench.downloads.tokenizer(&url, &|_| {}).await.unwrap();
    assert_eq!(
        names(path.parent().unwrap()),
        ["own.json", "tokenizer_config.json"]
    );
    assert_eq!(read(path), "{}");
}

#[tokio::test]
async fn what_cannot_be_had_is_said_with_its_url_and_what_to_do() {
    let key = [
        ("AWS_ACCESS_KEY_ID", "stranger"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
    ];
    let bench = Bench::with(&key);
    bench.store.put("/bucket/ggufs/a.gguf", "a");
    bench.store.put("/bucket/half/config.json", CONFIG);
    bench.store.put("/bare/model.safetensors", WEIGHTS);
    let url = |text: &str| -> FileUrl { text.parse().unwrap() };
    let cases = [
        (bench.url("/missing"), "/missing` has no `config.json`"),
        (bench.url("/bare"), "/bare` has no `config.json`"),
        (
            bench.url("/x.gguf"),
            "/x.gguf` is not there: compare the name",
        ),
        (
            url("s3://bucket/missing"),
            "`s3://bucket/missing` is not there",
        ),
        (url("s3://bucket/ggufs"), "has no `config.json`, but a.gguf"),
        (url("s3://bucket/half"), "has no `model.safetensors`"),
        (
            url("s3://bucket/x.gguf"),
            "`s3://bucket/x.gguf` is not there",
        ),
        (url("az://container/x.gguf"), "AZURE_STORAGE_ACCOUNT_NAME"),
    ];
    let mut wrong = Vec::new();
    for (url, expected) in cases {
        let error = bench.model(&url).await.unwrap_err().to_string();
        if !error.contains(expected) || !error.contains(url.as_str()) {
            wrong.push(format!("{url}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    bench.store.state().reader = Some("Credential=reader/".to_owned());
    for (url, file, advice) in [
        (url("s3://bucket/ggufs/a.gguf"), "", "AWS_ACCESS_KEY_ID"),
        (url("s3://bucket/half"), "/config.json", "AWS_ACCESS_KEY_ID"),
        (bench.url("/bucket/ggufs/a.gguf"), "", "give its path"),
    ] {
        let error = bench.model(&url).await.unwrap_err().to_string();
        let said = format!("`{url}{file}` may not be read: ");
        assert!(
            error.starts_with(&said) && error.contains(advice),
            "{error}"
        );
        assert!(!error.contains("hidden"), "{error}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_named_and_what_came_is_kept() {
    let bench = Bench::new();
    bench.store.put("/text", TEXT);
    bench.store.state().cuts = [5, 0, 0, 0, 0].into();
    let error = bench
        .file(&bench.url("/text"))
        .await
        .unwrap_err()
        .to_string();
    let parts = [
        bench.store.url.as_str(),
        "does not come",
        "What came is kept",
    ];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    bench.store.seen();
    let path = bench.file(&bench.url("/text")).await.unwrap();
    assert_eq!(read(path), TEXT);
    assert_eq!(bench.store.seen(), ["HEAD /text", "GET /text bytes=5-"]);

    let nobody: FileUrl = "http://127.0.0.1:1/text".parse().unwrap();
    let error = Remote::default()
        .read(&nobody, 0, None)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, RemoteError::Away { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}
