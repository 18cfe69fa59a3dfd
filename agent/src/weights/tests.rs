#![allow(clippy::unwrap_used)]

use bitfront_model::{DataSpec, HeldBack, Manifest, ModelSource};

use super::*;
use crate::client::Access;

/// A subject whose files lie in a folder, without a manifest.
fn subject(folder: &Path) -> Subject {
    let path = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, name).unwrap();
        path.to_str().unwrap().to_owned()
    };
    Subject {
        model: ModelSource {
            path: path("model.gguf"),
            tokenizer_path: Some(path("tokenizer.json")),
            digest: Digest::of("the model"),
        },
        data: DataSpec {
            evaluation_path: path("evaluation.txt"),
            calibration_path: Some(path("calibration.txt")),
            context: 64,
            evaluation_windows: 2,
            calibration_windows: 2,
            evaluation_digest: Digest::of("evaluation"),
            calibration_digest: Digest::of("calibration"),
            held_back: Some(HeldBack {
                windows: 2,
                digest: Digest::of("held back"),
            }),
        },
        imatrix: ImatrixSource::File {
            path: path("model.imatrix"),
            digest: Digest::of("model.imatrix"),
        },
        manifest: Manifest::default(),
    }
}

/// Finds files without ever asking a coordinator.
async fn weights(cache: Option<(PathBuf, u64)>) -> Weights {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    let patience = Patience::default();
    // Connections are accepted by the system; what is asked over one is never answered.
    let urls = [url.parse().unwrap()];
    let open = Access::default();
    let client = Client::connect(&urls, 0, &open, &patience).await.unwrap();
    let weights = Weights::new(client, patience, cache);
    drop(nobody);
    weights
}

#[tokio::test]
async fn a_missing_file_is_named_with_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let subject = subject(folder.path());
    let mut weights = weights(None).await;
    assert_eq!(weights.resolve(&subject).await.unwrap(), subject);
    for (name, what, digest) in [
        (
            "model.gguf",
            "model",
            Some(Digest::of("the model").to_string()),
        ),
        ("tokenizer.json", "tokenizer", None),
        ("evaluation.txt", "evaluation text", None),
        ("calibration.txt", "calibration text", None),
        ("model.imatrix", "imatrix", None),
    ] {
        let path = folder.path().join(name);
        let aside = folder.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        weights.forget();
        let message = weights.resolve(&subject).await.unwrap_err().to_string();
        std::fs::rename(&aside, &path).unwrap();
        let named = message.contains(&format!("no {what} at `{}`", path.display()));
        assert!(named, "{name}: {message}");
        if let Some(digest) = digest {
            assert!(message.contains(&digest), "{name}: {message}");
        }
    }
}

#[tokio::test]
async fn a_file_of_another_size_is_passed_over_and_needs_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    let blob = Blob {
        digest: Digest::of("another model"),
        size_bytes: 13,
    };
    subject.manifest.files = vec![ManifestFile {
        path: subject.model.path.clone(),
        place: Place::Itself,
        blob,
    }];
    let error = weights(None).await.resolve(&subject).await.unwrap_err();
    assert!(matches!(error, WeightsError::NoCache { .. }), "{error}");

    std::fs::write(&subject.model.path, "another model").unwrap();
    let mut weights = weights(None).await;
    assert_eq!(weights.resolve(&subject).await.unwrap(), subject);
    // It has the size and turns out to hold something else.
    assert!(weights.distrust(&subject));
    let error = weights.resolve(&subject).await.unwrap_err();
    assert!(matches!(error, WeightsError::NoCache { .. }), "{error}");
    assert!(!weights.distrust(&subject), "there is nothing else to try");
}

#[test]
fn a_fetched_file_keeps_a_plain_name_and_the_end_of_any_other() {
    let cases = [
        ("/models/tiny.gguf", "tiny.gguf"),
        ("C:\\models\\tiny.gguf", "tiny.gguf"),
        ("/texts/größe.jsonl", "file.jsonl"),
        ("/texts/größe", "file.bin"),
        ("/texts/a.größe", "file"),
        ("/texts/..", "file.bin"),
        ("", "file.bin"),
    ];
    for (path, name) in cases {
        assert_eq!(own_name(path).as_str(), name, "{path}");
    }
}
