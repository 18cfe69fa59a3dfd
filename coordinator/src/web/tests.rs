//! The pages, over real TCP.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bitfront_model::AccessRole;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use super::pages::PAGES;
use super::*;
use crate::clock::{Clock as _, ManualClock, SystemClock};
use crate::config::{Admission, Config, TlsFiles};
use crate::fixtures;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::store::unreliable::{Fate, LateCall, ScheduleWitness, Unreliable, Weather, Witness};
use crate::testing::{Bench, folder};
use crate::tokens;

/// A page as it is told: the status, and the rest of it.
async fn ask(address: SocketAddr, head: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}\r\nHost: coordinator\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

async fn get(address: SocketAddr, path: &str, secret: Option<&str>) -> (u16, String) {
    let shown = secret.map(|secret| format!("\r\nAuthorization: Bearer {secret}"));
    let head = format!("GET {path} HTTP/1.1{}", shown.unwrap_or_default());
    ask(address, &head).await
}

/// The pages of a bench, at an address.
async fn serving(bench: &Bench) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pages = Pages::new(
        bench.world.clone(),
        bench.leasing.clone(),
        bench.shutdown.clone(),
    );
    tokio::spawn(serve(Arc::new(pages), listener, None));
    address
}

#[tokio::test]
async fn every_page_is_read_by_whom_the_table_says_and_nobody_else() {
    let folder = folder();
    let file = folder.path().join("test.sqlite");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file).await.unwrap());
    let bench = Bench::over(store.clone(), |config| config.admission = Admission::Tokens).await;
    let address = serving(&bench).await;
    let add = async |name: &str, role: AccessRole| {
        let added = tokens::add(&*store, &*bench.clock, name, role, None).await;
        added.unwrap()
    };
    let mut callers = vec![("none".to_owned(), None, None)];
    for role in AccessRole::ALL {
        callers.push((
            role.to_string(),
            Some(add(role.name(), role).await),
            Some(role),
        ));
    }
    let revoked = add("revoked", AccessRole::Admin).await;
    store.revoke_token("revoked", 1).await.unwrap();
    callers.push(("revoked".to_owned(), Some(revoked), None));
    let forged = format!("bitfront_admin_{}", "0".repeat(64));
    callers.push(("forged".to_owned(), Some(forged), None));
    bench.world.gate.recheck().await;

    let mut wrong = Vec::new();
    for &(path, may) in PAGES {
        for (name, secret, role) in &callers {
            let expected = match (may, role) {
                (None, _) => [200, 503],
                (Some(_), None) => [401, 401],
                (Some(may), Some(role)) if may.contains(role) => [200, 200],
                (Some(_), Some(_)) => [403, 403],
            };
            let (status, answer) = get(address, path, secret.as_deref()).await;
            if !expected.contains(&status) {
                wrong.push(format!("{path} by {name}: {status}, {expected:?} is right"));
            }
            let secret = secret.as_deref();
            if secret.is_some_and(|secret| answer.contains(secret)) {
                wrong.push(format!("{path} by {name}: the secret is told"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (status, answer) = ask(address, "POST /metrics HTTP/1.1").await;
    assert_eq!(status, 405, "{answer}");
    assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    let (status, answer) = get(address, "/debug", None).await;
    assert_eq!(status, 404, "{answer}");
    assert!(answer.contains("/healthz, /readyz, /metrics"), "{answer}");
    bench.stop().await;
}

/// Lets calls pass, or answers none of them.
#[derive(Default)]
struct Away {
    is_away: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Weather for Away {
    async fn fate(&self, _call: &'static str) -> (Fate, Box<dyn Send>) {
        if self.is_away.load(std::sync::atomic::Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        (Fate::Passes, Box::new(()))
    }

    fn keep(&self, _call: &'static str, _late: LateCall) {}
}

struct Nobody;

impl ScheduleWitness for Nobody {}
impl Witness for Nobody {}

#[tokio::test]
async fn it_is_ready_while_the_database_answers_and_nobody_has_replaced_it() {
    let folder = folder();
    let file = folder.path().join("test.sqlite");
    let inner: Arc<dyn Store> = Arc::new(SqliteStore::open(&file).await.unwrap());
    let away = Arc::new(Away::default());
    let store = Arc::new(Unreliable::under(
        inner.clone(),
        away.clone(),
        Arc::new(Nobody),
        true,
    ));
    let bench = Bench::over(store.clone(), |_| {}).await;
    let address = serving(&bench).await;
    let ready = async || {
        bench.clock.advance(Duration::from_secs(1));
        let (status, answer) = get(address, "/readyz", None).await;
        let why = answer.lines().last().unwrap().to_owned();
        (status, why)
    };
    let replaced = "another coordinator has taken this one's work over";
    assert_eq!(
        ready().await,
        (503, replaced.to_owned()),
        "it has not begun"
    );
    let term = inner.join("one:1", 1).await.unwrap();
    assert_eq!(ready().await, (200, "ready".to_owned()));

    // However often it is asked, the database is asked once a second.
    let before = store.calls();
    for _ in 0..20 {
        assert_eq!(get(address, "/readyz", None).await.0, 200);
    }
    assert_eq!(store.calls(), before);

    inner.retire(term, None).await.unwrap();
    assert_eq!(ready().await, (503, replaced.to_owned()));
    inner.join("one:1", 1).await.unwrap();
    away.is_away
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let silent = "the database does not answer within 2 seconds";
    assert_eq!(ready().await, (503, silent.to_owned()));
    let (status, page) = get(address, "/metrics", None).await;
    assert_eq!(status, 200, "the rest is told");
    assert!(page.contains("\nbitfront_database_answers 0\n"), "{page}");
    assert_eq!(get(address, "/healthz", None).await.0, 200, "it lives");
    away.is_away
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(ready().await.0, 200);
    bench.shutdown.cancel();
    assert_eq!(
        ready().await,
        (503, "the coordinator is stopping".to_owned())
    );
    bench.stop().await;
}

#[tokio::test]
async fn what_happens_is_counted_and_names_nobody() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    bench.world.store.join("one:1", 1).await.unwrap();
    let address = serving(&bench).await;
    let device = bench.register("the-board").await;
    bench.submit(fixtures::request()).await;
    let hand_out = bench.lease_one(device).await;
    let (_, page) = get(address, "/metrics", None).await;
    assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    let told = |page: &str, line: &str| {
        assert!(
            page.lines().any(|told| told == line),
            "no `{line}` in:\n{page}"
        );
    };
    for line in [
        "bitfront_leases 1",
        "bitfront_database_answers 1",
        "bitfront_devices{presence=\"present\"} 1",
        "bitfront_devices{presence=\"silent\"} 0",
        "bitfront_searches{state=\"running\"} 1",
    ] {
        told(&page, line);
    }
    let profile = fixtures::registration("any").hardware_profile.digest();
    let queued = format!("bitfront_queued_tasks{{target=\"{}\"", profile.short());
    assert!(page.contains(&queued), "{page}");

    bench.clock.advance(Duration::from_secs(7));
    bench.report(&hand_out).await.unwrap();
    bench.report(&hand_out).await.unwrap();
    let mut unknown = hand_out.clone();
    unknown.assignment.token.epoch = 99;
    bench.report(&unknown).await.unwrap_err();
    bench.world.metrics.sent(100);
    bench.world.metrics.received(10);
    bench.world.gate.note_refusal("revoked");
    bench
        .world
        .metrics
        .call("other", "UNIMPLEMENTED", Duration::ZERO);
    let (_, page) = get(address, "/metrics", None).await;
    let kind = hand_out.assignment.kind;
    for line in [
        "bitfront_reports_total{result=\"accepted\"} 1",
        "bitfront_reports_total{result=\"known\"} 1",
        "bitfront_reports_total{result=\"unknown_lease\"} 1",
        &format!("bitfront_task_seconds_sum{{kind=\"{kind}\"}} 7.0"),
        "bitfront_commit_reports_sum 2.0",
        "bitfront_blob_bytes_total{direction=\"sent\"} 100",
        "bitfront_blob_bytes_total{direction=\"received\"} 10",
        "bitfront_calls_refused_total{cause=\"revoked\"} 1",
        &format!(
            "bitfront_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
    ] {
        told(&page, line);
    }
    assert!(!page.contains("the-board"), "{page}");

    // Whoever reads of a metric finds it, and the other way round.
    let documented = include_str!("../../../docs/operating.md").lines();
    let documented = documented.filter_map(|line| line.strip_prefix("| `bitfront_"));
    let documented: BTreeSet<_> = documented
        .map(|line| line.split('`').next().unwrap())
        .collect();
    let told = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE bitfront_"));
    let told: BTreeSet<_> = told.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(documented, told);
    bench.stop().await;
}

#[tokio::test]
async fn whoever_is_slow_or_says_too_much_holds_nobody_up() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let address = serving(&bench).await;
    let mut idle = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    // As many as there may be stand and say nothing, and others are answered all the same.
    let asked = SystemClock::new();
    for _ in 0..3 {
        assert_eq!(get(address, "/healthz", None).await.0, 200);
    }
    assert!(asked.elapsed() < LONGEST, "it waited for those to end");
    let mut nothing = Vec::new();
    for mut idle in idle {
        let ended = timeout(
            LONGEST + Duration::from_secs(5),
            idle.read_to_end(&mut nothing),
        );
        let _ = ended.await.unwrap();
    }
    assert_eq!(get(address, "/healthz", None).await.0, 200);
    let long = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // It need not take all of it to refuse it, nor can the refusal be heard then.
    let _ = tcp.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("alive"));
    assert_eq!(get(address, "/healthz", None).await.0, 200);
    bench.stop().await;
}

#[tokio::test]
async fn calls_are_counted_by_what_came_of_them() {
    let folder = folder();
    let config = Config::new(folder.path().join("test.sqlite"));
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (calls, web) = (bind().await, bind().await);
    let [url, page] = [&calls, &web].map(|it| it.local_addr().unwrap());
    let listeners = crate::Listeners {
        calls,
        web: Some(web),
    };
    let clock = Arc::new(ManualClock::new());
    let shutdown = CancellationToken::new();
    let coordinator = crate::Coordinator::open(config, listeners, clock.clone()).await;
    let running = tokio::spawn(coordinator.unwrap().serve(shutdown.clone()));

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{url}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let call = async |path: &'static str| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = hyper::http::uri::PathAndQuery::from_static(path);
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let answer = client.unary(tonic::Request::new(()), path, codec).await;
        answer.map_or_else(|status| status.code(), |_| tonic::Code::Ok)
    };
    assert_eq!(call("/bitfront.v1.Searches/List").await, tonic::Code::Ok);
    assert_eq!(
        call("/bitfront.v1.Searches/Get").await,
        tonic::Code::NotFound
    );
    let unknown = call("/bitfront.v1.Searches/Guess").await;
    assert_eq!(unknown, tonic::Code::Unimplemented);
    // The server counts a call when all of it is sent, which its caller may hear before.
    let counted = async {
        loop {
            let (_, page) = get(page, "/metrics", None).await;
            let told = |line: &str| page.lines().any(|told| told.starts_with(line));
            let calls = "bitfront_calls_total{method=";
            if told(&format!(
                "{calls}\"/bitfront.v1.Searches/List\",code=\"OK\"}} 1"
            )) && told(&format!(
                "{calls}\"/bitfront.v1.Searches/Get\",code=\"NOT_FOUND\"}} 1"
            )) && told(&format!("{calls}\"other\",code=\"UNIMPLEMENTED\"}} 1"))
                && told("bitfront_call_seconds_count{method=\"other\"} 1")
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(10), counted).await;
    assert!(in_time.is_ok(), "{}", get(page, "/metrics", None).await.1);
    assert!(clock.elapsed() < Duration::from_secs(1), "nobody moved it");
    assert_eq!(get(page, "/readyz", None).await.0, 200);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn over_tls_whoever_probes_needs_no_certificate() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let names = vec!["localhost".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: Some(folder.path().join("cert.pem")),
        client_crl: None,
    };
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate.der().clone()).unwrap();
    let tls = Arc::new(Tls::open(files, bench.clock.clone()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (world, leasing) = (bench.world.clone(), bench.leasing.clone());
    let pages = Pages::new(world, leasing, bench.shutdown.clone());
    tokio::spawn(serve(Arc::new(pages), listener, Some(tls)));

    let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    // As a browser and a kubelet do.
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let host = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut tls = connector.connect(host, tcp).await.unwrap();
    let head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tls.write_all(head).await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    bench.stop().await;
}
