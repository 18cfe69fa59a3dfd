//! TLS between a coordinator and its clients: who trusts whom, what is said where somebody does not,
//! and that a certificate is replaced while everybody goes on.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitfront_coordinator::{Config, ManualClock, SystemClock, TlsFiles};
use bitfront_e2e::agent::Agent;
use bitfront_e2e::authority::Authority;
use bitfront_e2e::coordinator::Coordinator;
use bitfront_e2e::process::{self, Process};
use bitfront_e2e::requests;
use bitfront_e2e::scripted::ScriptedRuntime;
use bitfront_e2e::searches::Searches;
use bitfront_model::SearchState;
use bitfront_proto::access::{Access, AccessError, Identity};
use tonic::transport::Endpoint;

fn trusting(authority: &Authority) -> Access {
    Access {
        ca: Some(authority.file()),
        ..Access::default()
    }
}

fn tls(identity: Identity, client_ca: Option<&Authority>) -> Option<TlsFiles> {
    Some(TlsFiles {
        certificate: identity.certificate,
        key: identity.key,
        client_ca: client_ca.map(Authority::file),
        client_crl: None,
    })
}

fn config(folder: &Path, name: &str, tls: Option<TlsFiles>) -> Config {
    Config {
        tls,
        ..Config::new(folder.join(name).join("bitfront.sqlite"))
    }
}

/// What somebody is told who connects like this; nothing where a call goes through.
async fn told(url: &str, access: &Access) -> Option<String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5));
    match access.connect(endpoint).await {
        Ok(_) => {
            let called = Searches::connect_with(url, access).list().await;
            called.err().map(|status| status.message().to_owned())
        }
        Err(AccessError::Refused(reason) | AccessError::Away(reason)) => Some(reason),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lack_of_trust_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = Authority::new(folder, "ours");
    let theirs = Authority::new(folder, "theirs");
    let good = ours.issue("good", "127.0.0.1", 2100);
    let elsewhere = ours.issue("elsewhere", "board.example", 2100);
    let old = ours.issue("old", "127.0.0.1", 2020);
    let access = trusting(&ours);
    let shown = |identity: &Identity| Access {
        identity: Some(identity.clone()),
        ..access.clone()
    };
    // By this clock, which shows 1970, no certificate has expired.
    let begin = |name: &str, tls: Option<TlsFiles>| {
        Coordinator::begin(config(folder, name, tls), Arc::new(ManualClock::new()))
    };
    let plain = begin("plain", None);
    let guarded = begin("guarded", tls(good.clone(), None));
    let renamed = begin("renamed", tls(elsewhere, None));
    let expired = begin("expired", tls(old.clone(), None));
    let mutual = begin("mutual", tls(good.clone(), Some(&ours)));
    let stranger = theirs.issue("stranger", "client", 2100);
    let missing = Access {
        ca: Some(folder.join("nowhere.pem")),
        ..Access::default()
    };
    let no_certificate = Access {
        ca: Some(good.key.clone()),
        ..Access::default()
    };
    let mixed = Identity {
        certificate: good.certificate.clone(),
        key: stranger.key.clone(),
    };

    let cases = [
        ("all is well", guarded.url(), access.clone(), None),
        ("both show themselves", mutual.url(), shown(&good), None),
        (
            "another authority",
            guarded.url(),
            trusting(&theirs),
            Some(
                "theirs.pem` does not hold: name a file with the authority's certificate with --ca",
            ),
        ),
        (
            "the system's authorities",
            guarded.url(),
            Access::default(),
            Some("--ca"),
        ),
        (
            "another name",
            renamed.url(),
            access.clone(),
            Some("is for another name (board.example): use the name that it is for"),
        ),
        (
            "expired",
            expired.url(),
            access.clone(),
            Some("days ago: renew it there"),
        ),
        (
            "no certificate shown",
            mutual.url(),
            access.clone(),
            Some("asks for a certificate of this client: name one with --client-cert"),
        ),
        (
            "a certificate of nobody they know",
            mutual.url(),
            shown(&stranger),
            Some("refuses the certificate `"),
        ),
        (
            "an expired certificate shown",
            mutual.url(),
            shown(&old),
            Some("old.cert.pem`, which has expired: renew it"),
        ),
        (
            "a key of another certificate",
            guarded.url(),
            shown(&mixed),
            Some("cannot be used together"),
        ),
        (
            "no TLS there",
            plain.url().replace("http:", "https:"),
            access.clone(),
            Some("does not speak TLS: start the coordinator with --tls-cert"),
        ),
        (
            "a file that is missing",
            guarded.url(),
            missing,
            Some("cannot read `"),
        ),
        (
            "a file without certificates",
            guarded.url(),
            no_certificate,
            Some("good.key.pem` holds no certificate in PEM"),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, url, access, expected) in cases {
        let told = told(&url, &access).await;
        let right = match (&told, expected) {
            (None, None) => true,
            (Some(told), Some(expected)) => told.contains(expected),
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: {told:?}"));
        }
    }
    // In the clear to who speaks TLS: no words of ours reach the client, but nothing else does either.
    let unheard = told(
        &guarded.url().replace("https:", "http:"),
        &Access::default(),
    )
    .await;
    if unheard.is_none() {
        wrong.push("a call in the clear was answered".to_owned());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_runs_where_both_sides_show_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let server = authority.issue("server", "127.0.0.1", 2100);
    let access = Access {
        identity: Some(authority.issue("client", "client", 2100)),
        ..trusting(&authority)
    };
    let config = config(folder.path(), "database", tls(server, Some(&authority)));
    let clock = Arc::new(SystemClock::new());
    let coordinator = Coordinator::start_guarded(config, &access, clock).await;
    let url = coordinator.url();
    let obliging = ScriptedRuntime::obliging;
    let agent = Agent::start_guarded("one", &url, access.clone(), obliging());
    let files = requests::files();
    let searches = Searches::connect_with(&url, &access);
    let search = searches.submit(&requests::request(files.path(), 14)).await;
    let ended = |status: &bitfront_model::SearchStatus| status.state.has_ended();
    let status = searches.wait(search.unwrap(), "the end", ended).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    agent.stop().await;

    // One that is not let in ends at once and says why.
    let begun = Instant::now();
    let unknown = trusting(&authority);
    let refused = Agent::start_guarded("two", &url, unknown, obliging());
    let reason = refused.failure().await;
    assert!(
        reason.starts_with("cannot serve the coordinator at https://"),
        "{reason}"
    );
    assert!(reason.contains("--client-cert"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(5), "it waits in vain");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_counts_for_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let first = Authority::new(folder.path(), "first");
    let second = Authority::new(folder.path(), "second");
    let server = first.issue("server", "127.0.0.1", 2100);
    let files = tls(server.clone(), None);
    let clock = Arc::new(ManualClock::new());
    let config = config(folder.path(), "database", files);
    let access = trusting(&first);
    let coordinator = Coordinator::start_guarded(config, &access, clock.clone()).await;
    let url = coordinator.url();
    let long_lived = Searches::connect_with(&url, &access);
    long_lived.list().await.unwrap();
    let looks = async || {
        for _ in 0..20 {
            clock.advance(Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };

    // Half of it is replaced: what was there is still shown.
    let key = std::fs::read(&server.key).unwrap();
    second.issue("server", "127.0.0.1", 2100);
    let new_key = std::fs::read(&server.key).unwrap();
    std::fs::write(&server.key, &key).unwrap();
    looks().await;
    assert_eq!(told(&url, &trusting(&first)).await, None);

    std::fs::write(&server.key, &new_key).unwrap();
    looks().await;
    assert_eq!(told(&url, &trusting(&second)).await, None);
    let refused = told(&url, &trusting(&first)).await;
    assert!(refused.is_some(), "the old certificate is still shown");
    // Connections that were made before go on.
    long_lived.list().await.unwrap();
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_certificate_is_revoked_is_refused_and_its_connections_end() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let server = authority.issue("server", "127.0.0.1", 2100);
    let [kept, lost] = ["kept", "lost"].map(|name| Access {
        identity: Some(authority.issue(name, name, 2100)),
        ..trusting(&authority)
    });
    let unlisted = Access {
        identity: Some(other.issue("unlisted", "unlisted", 2100)),
        ..trusting(&authority)
    };
    let both = std::fs::read_to_string(authority.file()).unwrap()
        + &std::fs::read_to_string(other.file()).unwrap();
    std::fs::write(folder.path().join("both.pem"), both).unwrap();
    let list = authority.revoke(&[]);
    let files = TlsFiles {
        client_ca: Some(folder.path().join("both.pem")),
        client_crl: Some(list.clone()),
        ..tls(server, None).unwrap()
    };
    let clock = Arc::new(ManualClock::new());
    let config = config(folder.path(), "database", Some(files));
    let coordinator = Coordinator::start_guarded(config, &kept, clock.clone()).await;
    let url = coordinator.url();
    let looks = async || {
        for _ in 0..20 {
            clock.advance(Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    for access in [&kept, &lost] {
        assert_eq!(told(&url, access).await, None);
    }
    // An authority without a list says of none of its certificates that it still counts.
    let said = told(&url, &unlisted).await.unwrap();
    assert!(said.contains("--client-crl"), "{said}");
    let long_lived = [&lost, &kept].map(|access| Searches::connect_with(&url, access));
    for searches in &long_lived {
        searches.list().await.unwrap();
    }

    authority.revoke(&["lost"]);
    let begun = Instant::now();
    let said = loop {
        looks().await;
        match told(&url, &lost).await {
            Some(said) => break said,
            None => assert!(begun.elapsed() < Duration::from_secs(30), "it is let in"),
        }
    };
    assert!(
        said.contains("which is revoked: have another one issued"),
        "{said}"
    );
    let [of_lost, of_kept] = &long_lived;
    assert!(of_lost.list().await.is_err(), "its connection goes on");
    // The connection of whoever is still trusted ended too, and the next call makes another one.
    of_kept.list().await.unwrap();
    assert_eq!(told(&url, &kept).await, None);

    // Half a list changes nothing.
    std::fs::write(&list, "-----BEGIN X509 CRL-----").unwrap();
    looks().await;
    assert_eq!(told(&url, &kept).await, None);
    assert!(told(&url, &lost).await.is_some());
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_serves_and_asks_over_tls() {
    let binary = tokio::task::spawn_blocking(process::binary).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new(folder, "authority");
    let server = authority.issue("server", "127.0.0.1", 2100);
    let old = authority.issue("old", "127.0.0.1", 2020);
    let other = authority.issue("other", "127.0.0.1", 2100);
    let serve = |certificate: &Path, key: &Path, ca: Option<&Path>| {
        let mut arguments = vec!["serve".to_owned(), "--listen=127.0.0.1:0".to_owned()];
        arguments.push(format!("--tls-cert={}", certificate.display()));
        arguments.push(format!("--tls-key={}", key.display()));
        arguments.extend(ca.map(|ca| format!("--client-ca={}", ca.display())));
        Process::start(&binary, folder, arguments)
    };

    // What cannot be served is refused before anything starts, with the file.
    let missing = folder.join("nowhere.pem");
    let cases = [
        (&missing, &server.key, None, "cannot read `"),
        (
            &server.key,
            &server.key,
            None,
            "server.key.pem` holds no certificate",
        ),
        (
            &server.certificate,
            &server.certificate,
            None,
            "holds no private key",
        ),
        (
            &server.certificate,
            &other.key,
            None,
            "cannot be used together",
        ),
        (
            &old.certificate,
            &old.key,
            None,
            "has expired (2020-01-01T00:00:00Z)",
        ),
        (
            &server.certificate,
            &server.key,
            Some(&server.key),
            "holds no certificate",
        ),
    ];
    let mut wrong = Vec::new();
    for (certificate, key, ca, expected) in cases {
        let mut process = serve(certificate, key, ca.map(|ca| ca.as_path()));
        let said = process.line("error: ");
        if !said.contains(expected) {
            wrong.push(format!("{expected}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let mut process = serve(&server.certificate, &server.key, None);
    let url = process.line("listening on ");
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let ca = authority.file();
    let arguments = ["searches", "--format=csv", "--coordinator", &url, "--ca"];
    let arguments = arguments.map(Into::into).into_iter().chain([ca]);
    let listed = process::output(&binary, folder, arguments);
    assert!(listed.starts_with("search"), "{listed}");
}
