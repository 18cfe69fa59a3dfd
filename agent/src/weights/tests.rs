#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bitfront_model::{Blob, DataSpec, HeldBack, Manifest, ModelSource};
use tokio::time::sleep;

use super::fetch::BETWEEN_LOOKS;
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
    let weights = Weights::new(client, Remote::default(), patience, cache);
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
        url: None,
    }];
    let error = weights(None).await.resolve(&subject).await.unwrap_err();
    assert!(matches!(error, WeightsError::NoCache { .. }), "{error}");

    std::fs::write(&subject.model.path, "another model").unwrap();
    let resolved = weights(None).await.resolve(&subject).await;
    assert_eq!(resolved.unwrap(), subject);
}

#[tokio::test]
async fn what_holds_something_else_is_passed_over_until_it_is_changed_and_the_rest_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    let texts = ["a model", "an evaluation"];
    let paths = [&subject.model.path, &subject.data.evaluation_path].map(String::clone);
    let file = |path: &String, text: &str| ManifestFile {
        path: path.clone(),
        place: Place::Itself,
        blob: Blob {
            digest: Digest::of(text),
            size_bytes: text.len() as u64,
        },
        url: None,
    };
    subject.manifest.files = vec![file(&paths[0], texts[0]), file(&paths[1], texts[1])];
    std::fs::write(&paths[0], "A MODEL").unwrap();
    std::fs::write(&paths[1], texts[1]).unwrap();
    let mut weights = weights(None).await;
    assert_eq!(weights.resolve(&subject).await.unwrap(), subject);
    assert!(weights.pass_over_others().await);
    for _ in 0..2 {
        let error = weights.resolve(&subject).await.unwrap_err();
        let is_model = |what| what == "model";
        assert!(
            matches!(error, WeightsError::NoCache { what, .. } if is_model(what)),
            "{error}"
        );
    }
    assert!(!weights.pass_over_others().await, "nothing is used");

    let before = std::fs::metadata(&paths[0]).unwrap().modified().unwrap();
    std::fs::write(&paths[0], texts[0]).unwrap();
    // Times of files are not told apart within a moment on every system.
    let right = std::fs::File::options().write(true).open(&paths[0]);
    let later = before + Duration::from_secs(10);
    right.unwrap().set_modified(later).unwrap();
    assert_eq!(weights.resolve(&subject).await.unwrap(), subject);
    assert!(!weights.pass_over_others().await, "all of it is right");
}

#[tokio::test]
async fn a_blob_that_another_agent_is_fetching_is_waited_for() {
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
        url: None,
    }];
    let place = folder.path().join("cache");
    let others = Cache::new(place.clone(), 100);
    let mut fetching = others.blobs.receive(blob).await.unwrap().unwrap();
    // Whatever it asked a coordinator for would not come.
    let mut waiting = weights(Some((place, 100))).await;
    let waiting = tokio::spawn(async move { waiting.resolve(&subject).await });
    sleep(BETWEEN_LOOKS * 3 / 2).await;
    assert!(!waiting.is_finished());
    fetching.add(b"another model").await.unwrap();
    fetching.finish().await.unwrap();
    let local = waiting.await.unwrap().unwrap();
    assert_eq!(std::fs::read(local.model.path).unwrap(), b"another model");
}
