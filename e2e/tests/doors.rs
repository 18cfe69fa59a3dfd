//! Access tokens, from the first one on: what opens which door, and that they are replaced while
//! everybody goes on.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bitfront_coordinator::{Admission, Config, Database, SystemClock, add_token};
use bitfront_e2e::agent::Agent;
use bitfront_e2e::coordinator::Coordinator;
use bitfront_e2e::process::{self, Process};
use bitfront_e2e::requests;
use bitfront_e2e::scripted::ScriptedRuntime;
use bitfront_e2e::searches::Searches;
use bitfront_model::{AccessRole, SearchState};
use bitfront_proto::access::Access;
use bitfront_proto::access::token::{Secret, TokenSource};
use bitfront_proto::v1;
use bitfront_proto::v1::tokens_client::TokensClient;
use tonic::Code;
use tonic::transport::Endpoint;

/// Writes a secret where nobody else may read it.
fn keep(folder: &Path, name: &str, secret: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, secret).unwrap();
    restrict(&file, "600");
    file
}

fn restrict(file: &Path, mode: &str) {
    let changed = std::process::Command::new("chmod")
        .arg(mode)
        .arg(file)
        .status();
    assert!(changed.unwrap().success());
}

fn showing(secret: &str) -> Access {
    Access {
        token: Some(TokenSource::Told(Secret::new(secret).unwrap())),
        ..Access::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_on_with_a_new_token_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bitfront.sqlite");
    let database = Database::File(file.clone());
    let add = async |name: &str, role| add_token(&database, name, role, None).await.unwrap();
    let admin = add("admin", AccessRole::Admin).await;
    let submit = add("submit", AccessRole::Submit).await;
    let first = add("board-1", AccessRole::Agent).await;
    let second = add("board-2", AccessRole::Agent).await;
    let config = Config {
        admission: Admission::Tokens,
        ..Config::new(&file)
    };
    let clock = Arc::new(SystemClock::new());
    let coordinator = Coordinator::start_guarded(config, &showing(&submit), clock).await;
    let url = coordinator.url();

    // Others may not do it, and are told what it takes.
    let files = requests::files();
    let request = requests::request(files.path(), 30);
    let agents_own = Searches::connect_with(&url, &showing(&first));
    let denied = agents_own.submit(&request).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let told =
        "the access token `board-1` is for `agent`, and this takes one for `submit` or `admin`";
    assert_eq!(denied.message(), told);
    let nothing = Searches::connect(&url).await.list().await.unwrap_err();
    assert_eq!(nothing.code(), Code::Unauthenticated);
    assert!(nothing.message().contains("--token-file"), "{nothing}");
    let scripted = || ScriptedRuntime::obliging().pausing(Duration::from_millis(40));
    let unknown = Agent::start("unknown", &url, scripted()).failure().await;
    assert!(unknown.contains("asks for an access token"), "{unknown}");

    let searches = Searches::connect_with(&url, &showing(&submit));
    let search = searches.submit(&request).await.unwrap();
    let access = Access {
        token: Some(TokenSource::File(keep(folder.path(), "token", &first))),
        ..Access::default()
    };
    let agent = Agent::start_guarded("board", &url, access, scripted());
    let some = |status: &bitfront_model::SearchStatus| status.evaluated >= 3;
    searches.wait(search, "some evaluations", some).await;

    // What it measures meanwhile waits for a token that counts.
    let endpoint = Endpoint::from_shared(url.clone()).unwrap();
    let mut tokens = TokensClient::new(showing(&admin).connect(endpoint).await.unwrap());
    let revoke = v1::RevokeTokenRequest {
        name: "board-1".to_owned(),
    };
    tokens.revoke(revoke).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stands = searches.get(search).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let still = searches.get(search).await.unwrap();
    assert_eq!(still.evaluated, stands.evaluated, "a revoked token counts");
    keep(folder.path(), "token", &second);
    let ended = |status: &bitfront_model::SearchStatus| status.state.has_ended();
    let status = searches.wait(search, "the end", ended).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    assert_eq!(status.infeasible, 0);
    agent.stop().await;

    // Whoever watches when the token is revoked hears no more.
    let search = searches.submit(&request).await.unwrap();
    let watching = searches.clone();
    let watching = tokio::spawn(async move { watching.watch(search).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let revoke = v1::RevokeTokenRequest {
        name: "submit".to_owned(),
    };
    tokens.revoke(revoke).await.unwrap();
    let watched = tokio::time::timeout(Duration::from_secs(5), watching).await;
    let watched = watched
        .expect("the stream does not end")
        .unwrap()
        .unwrap_err();
    assert_eq!(watched.code(), Code::Unauthenticated);
    assert!(
        watched.message().contains("`submit` is revoked"),
        "{watched}"
    );
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_made_in_the_database_and_makes_the_others() {
    let binary = tokio::task::spawn_blocking(process::binary).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = |arguments: &[&str]| process::output(&binary, folder, arguments);
    let refused = |arguments: &[&str]| process::refusal(&binary, folder, arguments);
    let serve = |more: &[&str]| {
        let arguments = ["serve", "--listen=127.0.0.1:0"];
        Process::start(&binary, folder, arguments.iter().chain(more))
    };

    // Doors that nobody could open are not put up, and open ones not towards others.
    let mut closed = serve(&["--require-tokens"]);
    let said = closed.line("error: ");
    assert!(
        said.contains("`bitfront token add NAME --role admin`"),
        "{said}"
    );
    let open = refused(&["serve", "--listen=0.0.0.0:0"]);
    assert!(open.contains("--insecure-open"), "{open}");

    let admin = run(&["token", "add", "root", "--role=admin"]);
    assert!(admin.starts_with("bitfront_admin_"), "{admin}");
    let admin = keep(folder, "admin", &admin);
    let by_admin = format!("--token-file={}", admin.display());
    let mut coordinator = serve(&["--require-tokens"]);
    let url = format!("--coordinator={}", coordinator.line("listening on "));

    // With the file in use, the database is asked through the coordinator.
    let in_use = refused(&["token", "add", "other", "--role=read"]);
    assert!(
        in_use.contains("is served by another coordinator"),
        "{in_use}"
    );
    let added = run(&[
        "token",
        "add",
        "eyes",
        "--role=read",
        "--expires=90d",
        &url,
        &by_admin,
    ]);
    let reader = keep(folder, "reader", &added);
    let by_reader = format!("--token-file={}", reader.display());
    let cases: &[(&[&str], &str)] = &[
        (
            &["searches", &url],
            "this coordinator asks for an access token",
        ),
        (
            &["token", "list", &url, &by_reader],
            "this takes one for `admin`",
        ),
        (
            &["cancel", "1", &url, &by_reader],
            "this takes one for `submit` or `admin`",
        ),
        (
            &["token", "add", "eyes", "--role=read", &url, &by_admin],
            "there is an access token `eyes`",
        ),
        (
            &["token", "add", "a b", "--role=read", &url, &by_admin],
            "cannot name an access token",
        ),
        (
            &["token", "add", "x", "--role=boss", &url, &by_admin],
            "--role: unknown role `boss`",
        ),
        (
            &["token", "revoke", "nobody", &url, &by_admin],
            "no access token `nobody`",
        ),
        (
            &["searches", "--coordinator=http://192.0.2.1:1", &by_reader],
            "sent over https://",
        ),
        (
            &["searches", &url, "--token-file=/nowhere"],
            "cannot read the access token in `/nowhere`",
        ),
    ];
    let mut wrong = Vec::new();
    for (arguments, expected) in cases {
        let said = refused(arguments);
        if !said.contains(expected) {
            wrong.push(format!("{arguments:?}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(run(&["searches", "--format=csv", &url, &by_reader]).starts_with("search"));
    restrict(&reader, "644");
    let exposed = refused(&["searches", &url, &by_reader]);
    assert!(
        exposed.contains(&format!("chmod 600 {}", reader.display())),
        "{exposed}"
    );
    restrict(&reader, "600");

    run(&["token", "revoke", "eyes", &url, &by_admin]);
    let revoked = refused(&["searches", &url, &by_reader]);
    assert!(
        revoked.contains("the access token `eyes` is revoked"),
        "{revoked}"
    );
    let listed = run(&["token", "list", "--format=csv", &url, &by_admin]);
    let rows: Vec<_> = listed
        .lines()
        .map(|row| row.split(',').take(3).collect::<Vec<_>>())
        .collect();
    let expected = [
        ["name", "role", "state"],
        ["root", "admin", "valid"],
        ["eyes", "read", "revoked"],
    ];
    assert_eq!(rows, expected);
    let audit = run(&["audit", "--since=1h", "--format=csv", &url, &by_admin]);
    let deeds: Vec<_> = audit
        .lines()
        .skip(1)
        .filter_map(|row| row.split_once(','))
        .collect();
    let deeds: Vec<_> = deeds.into_iter().map(|(_at, deed)| deed).collect();
    let expected = [
        "local,add token,root,done",
        "root,add token,eyes,done",
        "root,add token,eyes,nothing",
        "root,add token,a b,nothing",
        "root,revoke token,nobody,nothing",
        "root,revoke token,eyes,done",
    ];
    assert_eq!(deeds, expected);
    // No part of a secret is in what was logged, or in what is stored.
    let random = added.trim().rsplit('_').next().unwrap();
    assert!(!coordinator.stderr().contains(random));
    coordinator.end();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path != reader {
            let bytes = std::fs::read(&path).unwrap();
            let random = random.as_bytes();
            let holds = bytes.windows(random.len()).any(|window| window == random);
            assert!(!holds, "{}", path.display());
        }
    }
}
