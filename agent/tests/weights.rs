//! An agent that has none of the files at the submitter's paths: over real TCP, with a scripted
//! runtime and a coordinator that remembers what it was asked for.

#![allow(clippy::unwrap_used)]

// Shared with the whole-system tests, where these items are public; not all are used here.
#[allow(unreachable_pub, dead_code)]
mod support;

#[allow(unreachable_pub, dead_code)]
#[path = "../../weights/tests/support/store.rs"]
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bitfront_agent::Config;
use bitfront_model::{
    Assignment, Blob, Digest, FileName, LeaseToken, ManifestFile, Place, Subject, TaskKind,
};
use bitfront_runtime::RuntimeError;
use bitfront_runtime::error::SourceError;
use store::Store;
use support::bench::{Agent, World, config, tasks_reported};
use support::fake_coordinator::{FakeCoordinator, State};
use support::scripted::ScriptedRuntime;
use tempfile::TempDir;

const WEIGHTS: &str = "the weights of a model";
const CONFIG: &str = "{}";
const TEXT: &str = "what is said";

fn file(path: &str, place: Place, text: &str) -> ManifestFile {
    ManifestFile {
        path: path.to_owned(),
        place,
        blob: Blob {
            digest: Digest::of(text),
            size_bytes: text.len() as u64,
        },
        url: None,
    }
}

/// A model in a folder and a text, at paths that are nowhere.
fn subject(world: &World) -> Subject {
    let mut subject = world.subject();
    subject.model.path = "/nowhere/model".to_owned();
    subject.data.evaluation_path = "/nowhere/text.jsonl".to_owned();
    let inside = |name: &str| Place::Inside(name.parse::<FileName>().unwrap());
    subject.manifest.files = vec![
        file("/nowhere/model", inside("config.json"), CONFIG),
        file("/nowhere/model", inside("model.safetensors"), WEIGHTS),
        file("/nowhere/text.jsonl", Place::Itself, TEXT),
    ];
    subject
}

fn queue(coordinator: &FakeCoordinator, world: &World, task: i64, subject: &Subject) {
    let assignment = Assignment {
        subject: subject.clone(),
        ..world.assignment(task, TaskKind::Quality)
    };
    coordinator.queue(&assignment, &world.spec);
}

fn offer(coordinator: &FakeCoordinator, texts: &[&str]) {
    let mut state = coordinator.state();
    for text in texts {
        state.blobs.insert(Digest::of(text), text.as_bytes().into());
    }
}

fn fetching(coordinator: &FakeCoordinator, cache: &TempDir) -> Config {
    Config {
        weights_cache: Some((cache.path().to_owned(), 1 << 20)),
        ..config(coordinator)
    }
}

/// A runtime that remembers which subjects it opened.
fn remembering() -> (ScriptedRuntime, Arc<Mutex<Vec<Subject>>>) {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let remembered = opened.clone();
    let runtime = ScriptedRuntime::obliging().opening(move |subject: &Subject| {
        remembered.lock().unwrap().push(subject.clone());
        Ok(())
    });
    (runtime, opened)
}

fn partials(cache: &Path) -> Vec<PathBuf> {
    let blobs = std::fs::read_dir(cache.join("blobs")).unwrap();
    let paths = blobs.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "partial"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_here_is_fetched_once_and_a_fetch_that_breaks_goes_on_where_it_did() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let subject = subject(&world);
    offer(&coordinator, &[WEIGHTS, CONFIG, TEXT]);
    // The first file comes in one go, the second in three.
    coordinator.state().cuts = [100, 9, 6].into();
    queue(&coordinator, &world, 1, &subject);
    let cache = tempfile::tempdir().unwrap();
    let (runtime, opened) = remembering();
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("a report", |state| state.reports.len() == 1)
        .await;
    let local = opened.lock().unwrap()[0].clone();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let model = Path::new(&local.model.path);
    assert_eq!(read(&model.join("config.json")), CONFIG);
    assert_eq!(read(&model.join("model.safetensors")), WEIGHTS);
    let text = Path::new(&local.data.evaluation_path);
    assert!(text.ends_with("text.jsonl"), "{}", text.display());
    assert_eq!(read(text), TEXT);
    assert_eq!(partials(cache.path()), [] as [&Path; 0]);
    let [config, weights, text] = [CONFIG, WEIGHTS, TEXT].map(Digest::of);
    let expected = [
        (config, 0),
        (weights, 0),
        (weights, 9),
        (weights, 15),
        (text, 0),
    ];
    assert_eq!(coordinator.state().fetches, expected);

    // Of another model with the same weights only what differs is fetched.
    let mut other = subject.clone();
    other.model.digest = Digest::of("another");
    other.manifest.files[0].blob = file("", Place::Itself, "{ }").blob;
    offer(&coordinator, &["{ }"]);
    queue(&coordinator, &world, 2, &other);
    coordinator
        .wait("another report", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    let fetches = coordinator.state().fetches[expected.len()..].to_vec();
    assert_eq!(fetches, [(Digest::of("{ }"), 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_share_a_cache_fetch_nothing_twice() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let subject = subject(&world);
    offer(&coordinator, &[WEIGHTS, CONFIG, TEXT]);
    let cache = tempfile::tempdir().unwrap();
    let agents = ["one", "two"].map(|name| {
        let config = Config {
            name: Some(name.to_owned()),
            ..fetching(&coordinator, &cache)
        };
        Agent::start_with(config, remembering().0)
    });
    coordinator
        .wait("both agents", |state| state.registrations.len() == 2)
        .await;
    coordinator.state().fetches_wait = true;
    queue(&coordinator, &world, 1, &subject);
    queue(&coordinator, &world, 2, &subject);
    // Each has a task whose files are not here, and neither can have got any.
    let is_held = |state: &State, task: i64| {
        let mut held = state.heartbeats.iter().flat_map(|beat| &beat.held);
        held.any(|token| token.task == task)
    };
    coordinator
        .wait("both tasks to be held and a fetch", |state| {
            is_held(state, 1) && is_held(state, 2) && !state.fetches.is_empty()
        })
        .await;
    coordinator.state().fetches_wait = false;
    coordinator
        .wait("two reports", |state| state.reports.len() == 2)
        .await;
    for agent in agents {
        agent.stop().await.unwrap();
    }
    let mut fetched = coordinator.state().fetches.clone();
    fetched.sort();
    let mut expected = [CONFIG, WEIGHTS, TEXT].map(|text| (Digest::of(text), 0));
    expected.sort();
    assert_eq!(fetched, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_with_another_digest_give_the_task_back_and_are_thrown_away() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let subject = subject(&world);
    offer(&coordinator, &[CONFIG, TEXT]);
    let wrong = "THE WEIGHTS OF A MODEL";
    let weights = Digest::of(WEIGHTS);
    coordinator.state().blobs.insert(weights, wrong.into());
    queue(&coordinator, &world, 1, &subject);
    let cache = tempfile::tempdir().unwrap();
    let (runtime, opened) = remembering();
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("the task to go back", |state| !state.releases.is_empty())
        .await;
    let release = coordinator.state().releases[0].clone();
    assert!(release.failed);
    let url = coordinator.url().to_string();
    for part in [
        "the model came from the coordinator at",
        &url,
        &weights.to_string(),
        &Digest::of(wrong).to_string(),
    ] {
        assert!(release.reason.contains(part), "{}", release.reason);
    }
    assert!(opened.lock().unwrap().is_empty());
    assert_eq!(partials(cache.path()), [] as [&Path; 0]);

    // Put right, it is fetched from its beginning.
    offer(&coordinator, &[WEIGHTS]);
    queue(&coordinator, &world, 2, &subject);
    coordinator
        .wait("a report", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    assert_eq!(tasks_reported(&coordinator.state()), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_coordinator_does_not_hold_is_named_with_what_to_do() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    queue(&coordinator, &world, 1, &subject(&world));
    let cache = tempfile::tempdir().unwrap();
    let (runtime, _) = remembering();
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("the task to go back", |state| !state.releases.is_empty())
        .await;
    agent.stop().await.unwrap();
    let release = coordinator.state().releases[0].clone();
    for part in ["/nowhere/model", "no such blob", "bitfront model add"] {
        assert!(release.reason.contains(part), "{}", release.reason);
    }
}

/// A runtime that reads what lies under a model's path, remembers where that was, and refuses all but
/// one content.
fn reading(
    right: &'static str,
    refuse: fn(&Subject) -> RuntimeError,
) -> (ScriptedRuntime, Arc<Mutex<Vec<PathBuf>>>) {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let remembered = opened.clone();
    let runtime = ScriptedRuntime::obliging().opening(move |subject: &Subject| {
        let path = PathBuf::from(&subject.model.path);
        let content = std::fs::read(&path).unwrap();
        remembered.lock().unwrap().push(path);
        match content == right.as_bytes() {
            true => Ok(()),
            false => Err(refuse(subject)),
        }
    });
    (runtime, opened)
}

/// It was understood, and is another model.
fn other_model(subject: &Subject) -> RuntimeError {
    RuntimeError::OtherModel {
        path: PathBuf::from(&subject.model.path),
        expected: subject.model.digest,
        found: Digest::of("another"),
    }
}

/// It was not understood.
fn not_a_model(subject: &Subject) -> RuntimeError {
    RuntimeError::Source(SourceError::NotAModel {
        path: PathBuf::from(&subject.model.path),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_under_the_paths_of_the_search_are_passed_over() {
    for refuse in [other_model, not_a_model] {
        let (world, coordinator) = (World::new(), FakeCoordinator::start());
        let mut subject = world.subject();
        let path = subject.model.path.clone();
        // It is as long as the right one, so that only its reader tells them apart.
        subject.manifest.files = vec![file(&path, Place::Itself, "MODEL.GGUF")];
        offer(&coordinator, &["MODEL.GGUF"]);
        queue(&coordinator, &world, 1, &subject);
        let cache = tempfile::tempdir().unwrap();
        let (runtime, opened) = reading("MODEL.GGUF", refuse);
        let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
        coordinator
            .wait("a report", |state| state.reports.len() == 1)
            .await;
        agent.stop().await.unwrap();
        assert!(coordinator.state().releases.is_empty());
        let opened = opened.lock().unwrap();
        assert_eq!(opened[0], Path::new(&path));
        assert!(opened[1].starts_with(cache.path()), "{opened:?}");
        assert!(opened[1].ends_with("model.gguf"), "{opened:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_files_that_cannot_be_read_give_the_task_back_with_the_reason() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let mut subject = world.subject();
    let path = subject.model.path.clone();
    subject.manifest.files = vec![file(&path, Place::Itself, "model.gguf")];
    queue(&coordinator, &world, 1, &subject);
    // Nothing else can be had of those that are others.
    let mut others = subject.clone();
    others.manifest.files = vec![file(&path, Place::Itself, "MODEL.GGUF")];
    queue(&coordinator, &world, 2, &others);
    let cache = tempfile::tempdir().unwrap();
    let (runtime, _) = reading("something else", not_a_model);
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("both tasks to go back", |state| state.releases.len() == 2)
        .await;
    agent.stop().await.unwrap();
    let state = coordinator.state();
    let [right, other] = state.releases.as_slice() else {
        panic!("{:?}", state.releases);
    };
    assert!(right.reason.ends_with("or a GGUF file"), "{}", right.reason);
    for part in ["is not a model", "no such blob", "bitfront model add"] {
        assert!(other.reason.contains(part), "{}", other.reason);
    }
    assert_eq!(state.fetches, [(Digest::of("MODEL.GGUF"), 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_since_it_was_fetched_is_fetched_again() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let mut subject = world.subject();
    subject.model.path = "/nowhere/tiny.gguf".to_owned();
    subject.manifest.files = vec![file("/nowhere/tiny.gguf", Place::Itself, WEIGHTS)];
    offer(&coordinator, &[WEIGHTS]);
    let cache = tempfile::tempdir().unwrap();
    for (task, fetches) in [(1, 1), (2, 2)] {
        queue(&coordinator, &world, task, &subject);
        let (runtime, opened) = reading(WEIGHTS, other_model);
        let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
        coordinator
            .wait("a report", |state| state.reports.len() == task as usize)
            .await;
        agent.stop().await.unwrap();
        assert_eq!(coordinator.state().fetches.len(), fetches);
        let here = opened.lock().unwrap()[0].clone();
        std::fs::write(here, WEIGHTS.to_uppercase()).unwrap();
    }
    assert!(coordinator.state().releases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_for_a_lease_that_was_lost() {
    let (world, coordinator) = (World::new(), FakeCoordinator::start());
    let elsewhere = subject(&world);
    offer(&coordinator, &[WEIGHTS, CONFIG, TEXT]);
    coordinator.state().fetches_wait = true;
    queue(&coordinator, &world, 1, &elsewhere);
    let cache = tempfile::tempdir().unwrap();
    let (runtime, _) = remembering();
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("a fetch", |state| !state.fetches.is_empty())
        .await;
    coordinator.state().lost = vec![LeaseToken { task: 1, epoch: 1 }];
    world.queue(&coordinator, 2, TaskKind::Quality);
    coordinator
        .wait("the next task", |state| state.reports.len() == 1)
        .await;
    coordinator.state().fetches_wait = false;
    // The files are fetched once they are of use.
    queue(&coordinator, &world, 3, &elsewhere);
    coordinator
        .wait("the one after it", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    assert_eq!(tasks_reported(&coordinator.state()), [2, 3]);
    assert!(coordinator.state().releases.is_empty());
}

/// The same subject, whose model can be read from a store.
fn subject_at(store: &Store, world: &World) -> Subject {
    let mut subject = subject(world);
    for file in &mut subject.manifest.files {
        if file.path == "/nowhere/model" {
            let url = format!("{}/tiny", store.url).parse().unwrap();
            file.url = Some(file.url_from(&url));
        }
    }
    subject
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_by_url_is_and_a_coordinator_is_asked_for_the_rest() {
    let (world, coordinator, store) = (World::new(), FakeCoordinator::start(), Store::start());
    offer(&coordinator, &[TEXT]);
    store.put("/tiny/config.json", CONFIG);
    store.put("/tiny/model.safetensors", WEIGHTS);
    // The first file comes in one go, the second in three.
    store.state().cuts = [100, 9, 6].into();
    queue(&coordinator, &world, 1, &subject_at(&store, &world));
    let cache = tempfile::tempdir().unwrap();
    let (runtime, opened) = remembering();
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("a report", |state| state.reports.len() == 1)
        .await;
    agent.stop().await.unwrap();
    let model = PathBuf::from(&opened.lock().unwrap()[0].model.path);
    let weights = std::fs::read_to_string(model.join("model.safetensors")).unwrap();
    assert_eq!(weights, WEIGHTS);
    let seen = [
        "GET /tiny/config.json",
        "GET /tiny/model.safetensors",
        "GET /tiny/model.safetensors bytes=9-",
        "GET /tiny/model.safetensors bytes=15-",
    ];
    assert_eq!(store.seen(), seen);
    assert_eq!(coordinator.state().fetches, [(Digest::of(TEXT), 0)]);
    assert_eq!(partials(cache.path()), [] as [&Path; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_url_does_not_give_comes_from_the_coordinator() {
    let (world, coordinator, store) = (World::new(), FakeCoordinator::start(), Store::start());
    offer(&coordinator, &[WEIGHTS, CONFIG, TEXT]);
    // One file is not there. The other was changed after the search was submitted, and its bytes break
    // off amid it for good.
    store.put("/tiny/model.safetensors", "THE WEIGHTS OF A MODEL");
    store.state().cuts = [9, 0, 0, 0, 0, 0].into();
    queue(&coordinator, &world, 1, &subject_at(&store, &world));
    let cache = tempfile::tempdir().unwrap();
    let (runtime, opened) = remembering();
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("a report", |state| state.reports.len() == 1)
        .await;
    let model = PathBuf::from(&opened.lock().unwrap()[0].model.path);
    let weights = std::fs::read_to_string(model.join("model.safetensors")).unwrap();
    assert_eq!(weights, WEIGHTS);
    // What was there of the other bytes was found out by the digest.
    let [config, weights, text] = [CONFIG, WEIGHTS, TEXT].map(Digest::of);
    let expected = [(config, 0), (weights, 9), (weights, 0), (text, 0)];
    assert_eq!(coordinator.state().fetches, expected);

    // A host that is not there is asked for one file of a path, and not for every one.
    let mut other = subject_at(&store, &world);
    other.model.digest = Digest::of("another");
    for (index, file) in other.manifest.files.iter_mut().enumerate().take(2) {
        let text = format!("another {index}");
        file.blob = self::file("", Place::Itself, &text).blob;
        file.url = Some("http://127.0.0.1:1/any".parse().unwrap());
        offer(&coordinator, &[&text]);
    }
    queue(&coordinator, &world, 2, &other);
    coordinator
        .wait("another report", |state| state.reports.len() == 2)
        .await;
    agent.stop().await.unwrap();
    assert!(coordinator.state().releases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_tried_is_told_of_what_nobody_has() {
    let (world, coordinator, store) = (World::new(), FakeCoordinator::start(), Store::start());
    store.put("/tiny/config.json", "[]");
    queue(&coordinator, &world, 1, &subject_at(&store, &world));
    let cache = tempfile::tempdir().unwrap();
    let (runtime, _) = remembering();
    let agent = Agent::start_with(fetching(&coordinator, &cache), runtime);
    coordinator
        .wait("the task to go back", |state| !state.releases.is_empty())
        .await;
    agent.stop().await.unwrap();
    let release = coordinator.state().releases[0].clone();
    for part in [
        "/nowhere/model",
        "no such blob",
        &format!("it came from `{}/tiny/config.json`", store.url),
        &Digest::of(CONFIG).to_string(),
        &Digest::of("[]").to_string(),
        "bitfront model add",
    ] {
        assert!(release.reason.contains(part), "{part}: {}", release.reason);
    }
}
