//! Every call of every service, by every kind of caller, over real TCP.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::clock::{Clock as _, ManualClock};
use crate::config::{Admission, Config};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::testing::folder;
use crate::tokens;

use super::*;

fn admitting(admission: Admission) -> Config {
    Config {
        admission,
        ..Config::new(std::path::Path::new("unused"))
    }
}

/// What a call with an empty message comes to.
async fn call(channel: &Channel, path: &'static str, secret: Option<&str>) -> Code {
    let mut request = Request::new(());
    request.set_timeout(Duration::from_secs(10));
    if let Some(secret) = secret {
        let value = format!("Bearer {secret}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    // Every call understands an empty message as its own without any field.
    match client
        .unary(request, path, ProstCodec::<(), ()>::default())
        .await
    {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The call is looked at, whatever comes of an empty one.
    In,
    /// It takes another role.
    Denied,
    /// It is not known who calls.
    Unknown,
}

impl Expected {
    fn of(code: Code) -> Self {
        match code {
            Code::PermissionDenied => Self::Denied,
            Code::Unauthenticated => Self::Unknown,
            _ => Self::In,
        }
    }
}

#[tokio::test]
async fn every_call_lets_in_whom_the_table_says_and_nobody_else() {
    let folder = folder();
    let file = folder.path().join("test.sqlite");
    let clock = Arc::new(ManualClock::new());
    let store = SqliteStore::open(&file).await.unwrap();
    let add = async |name: &str, role: AccessRole, lasts: Option<Duration>| {
        tokens::add(&store, &*clock, name, role, lasts)
            .await
            .unwrap()
    };
    let mut callers: Vec<(String, Option<String>, Option<AccessRole>)> =
        vec![("none".to_owned(), None, None)];
    for role in AccessRole::ALL {
        let secret = add(role.name(), role, None).await;
        callers.push((role.to_string(), Some(secret), Some(role)));
    }
    for role in AccessRole::ALL {
        let name = format!("expired-{role}");
        let secret = add(&name, role, Some(Duration::from_secs(1))).await;
        callers.push((name, Some(secret), None));
        let name = format!("revoked-{role}");
        let secret = add(&name, role, None).await;
        assert!(store.revoke_token(&name, clock.now_ms()).await.unwrap());
        callers.push((name, Some(secret), None));
    }
    let forged = format!("bitfront_admin_{}", "0".repeat(64));
    callers.push(("forged".to_owned(), Some(forged), None));
    clock.advance(Duration::from_secs(1));
    store.close().await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let config = Config {
        admission: Admission::Tokens,
        ..Config::new(&file)
    };
    let running = tokio::spawn(crate::run(config, listener, clock, shutdown.clone()));
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();

    let mut wrong = Vec::new();
    for &path in bitfront_proto::CALLS {
        let mut row = format!("{path:44}");
        for (name, secret, role) in &callers {
            let expected = match role {
                None => Expected::Unknown,
                Some(role) if roles(path).unwrap().contains(role) => Expected::In,
                Some(_) => Expected::Denied,
            };
            let code = call(&channel, path, secret.as_deref()).await;
            let found = Expected::of(code);
            if found != expected {
                wrong.push(format!("{path} by {name}: {code:?}, {expected:?} is right"));
            }
            row += &format!(" {found:?}");
        }
        // The table, for whoever asks for it with `--nocapture`.
        println!("{row}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let absent = call(
        &channel,
        "/bitfront.v1.Tokens/Steal",
        callers[4].1.as_deref(),
    )
    .await;
    assert_eq!(absent, Code::Unimplemented);
    let unknown = call(&channel, "/bitfront.v1.Tokens/Steal", None).await;
    assert_eq!(unknown, Code::Unauthenticated);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// A service that takes calls and never answers.
#[derive(Clone)]
struct Silent;

impl Service<http::Request<Body>> for Silent {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        std::future::pending()
    }
}

#[tokio::test]
async fn a_call_that_is_still_coming_when_its_token_is_revoked_is_refused() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let clock = Arc::new(ManualClock::new());
    let secret = tokens::add(&*store, &*clock, "root", AccessRole::Admin, None).await;
    let gate = Gate::new(store.clone(), clock.clone(), &admitting(Admission::Tokens));
    let mut admission =
        super::Admission::new(Silent, Arc::new(gate), Duration::MAX, Holding::new());
    let request = http::Request::post("/bitfront.v1.Tokens/Add")
        .header("authorization", format!("Bearer {}", secret.unwrap()));
    let call = admission.call(request.body(Body::empty()).unwrap());
    let revoked = async {
        tokio::task::yield_now().await;
        assert!(store.revoke_token("root", clock.now_ms()).await.unwrap());
        loop {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let answer = tokio::select! {
        answer = call => answer.unwrap(),
        () = revoked => unreachable!(),
    };
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("`root` is revoked"), "{status}");
}

#[tokio::test]
async fn whoever_needs_no_token_has_none_made_where_there_are_some() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let clock = Arc::new(ManualClock::new());
    let gate = Gate::new(store.clone(), clock.clone(), &admitting(Admission::Open));
    let may = async |path| match admit(&gate, path, None).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    };
    let (add, submit) = ("/bitfront.v1.Tokens/Add", "/bitfront.v1.Searches/Submit");
    assert_eq!(may(add).await, Code::Ok, "the first one");
    let made = tokens::add(&*store, &*clock, "root", AccessRole::Admin, None).await;
    made.unwrap();
    gate.recheck().await;
    for guarded in [add, "/bitfront.v1.Tokens/Revoke", "/bitfront.v1.Audit/List"] {
        assert_eq!(may(guarded).await, Code::PermissionDenied, "{guarded}");
    }
    assert_eq!(may(submit).await, Code::Ok);
    assert!(store.revoke_token("root", clock.now_ms()).await.unwrap());
    gate.recheck().await;
    assert_eq!(may(add).await, Code::Ok, "nobody else is left to ask");
}
