//! Doors are closed unless somebody says otherwise: who reaches the coordinator from elsewhere must
//! show a token, over TLS.

use std::net::SocketAddr;

use crate::clock::Clock;
use crate::config::{Admission, Config};
use crate::store::Store;
use crate::{Listeners, RunError};

/// Refuses to listen where others than this machine reach it, without TLS and tokens.
pub(crate) fn check(config: &Config, listeners: &Listeners) -> Result<(), RunError> {
    for listener in [&listeners.calls].into_iter().chain(&listeners.web) {
        let address = listener.local_addr();
        let address = address.map_err(|error| RunError::Server(error.to_string()))?;
        check_address(config, address)?;
    }
    Ok(())
}

fn check_address(config: &Config, address: SocketAddr) -> Result<(), RunError> {
    match lacking(config, address) {
        None => Ok(()),
        Some(lacking) if config.insecure_open => {
            tracing::warn!("{address} is open to whoever reaches it, {lacking}");
            Ok(())
        }
        Some(lacking) => Err(RunError::Exposed(format!(
            "{address} can be reached from other machines, {lacking}: serve it with --tls-cert and \
             --tls-key, or on 127.0.0.1, or say --insecure-open where nobody else reaches it"
        ))),
    }
}

/// What an address lacks that others than this machine reach.
fn lacking(config: &Config, address: SocketAddr) -> Option<&'static str> {
    if address.ip().to_canonical().is_loopback() {
        return None;
    }
    match (&config.tls, config.admission) {
        (Some(_), Admission::Tokens) => None,
        (Some(_), Admission::Open) => Some("and callers would need no access token"),
        (None, Admission::Tokens) => Some("and access tokens would be readable on their way"),
        (None, Admission::Open) => Some(
            "and everything would be readable on its way and callers would need no access token",
        ),
    }
}

/// Refuses to serve nobody at all.
pub(crate) async fn check_tokens(
    config: &Config,
    store: &dyn Store,
    clock: &dyn Clock,
) -> Result<(), RunError> {
    if config.admission == Admission::Open {
        return Ok(());
    }
    let now_ms = clock.now_ms();
    let counts = |end: Option<i64>| end.is_none_or(|end| now_ms < end);
    let tokens = store.tokens().await?;
    let mut tokens = tokens.iter().map(|stored| &stored.token);
    match tokens.any(|token| token.revoked_ms.is_none() && counts(token.expires_ms)) {
        true => Ok(()),
        false => Err(RunError::Exposed(
            "callers must show an access token, and the database has none that counts: make the \
             first one with `bitfront token add NAME --role admin`, and --database as here"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::TlsFiles;

    #[test]
    fn only_this_machine_is_let_in_without_tls_and_tokens() {
        let tls = TlsFiles {
            certificate: "cert.pem".into(),
            key: "key.pem".into(),
            client_ca: None,
            client_crl: None,
        };
        let here = [
            "127.0.0.1:1",
            "127.8.0.1:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ];
        let elsewhere = ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "203.0.113.7:1"];
        let mut wrong = Vec::new();
        for tls in [None, Some(tls)] {
            for admission in [Admission::Open, Admission::Tokens] {
                let is_closed = tls.is_some() && admission == Admission::Tokens;
                let config = Config {
                    tls: tls.clone(),
                    admission,
                    ..Config::new(Path::new("unused"))
                };
                let is_lacking =
                    |address: &str| lacking(&config, address.parse().unwrap()).is_some();
                let here = here.into_iter().filter(|address| is_lacking(address));
                let elsewhere = elsewhere.into_iter();
                let elsewhere = elsewhere.filter(|address| is_lacking(address) == is_closed);
                let found = here.chain(elsewhere);
                wrong.extend(found.map(|address| format!("{address} {is_closed}")));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[tokio::test]
    async fn an_open_address_is_refused_before_the_database_is_touched() {
        let folder = crate::testing::folder();
        let file = folder.path().join("test.sqlite");
        let run = async |config: Config| {
            let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
            let clock = std::sync::Arc::new(crate::ManualClock::new());
            let shutdown = tokio_util::sync::CancellationToken::new();
            shutdown.cancel();
            crate::run(config, listener, clock, shutdown).await
        };
        let closed = run(Config::new(&file)).await.unwrap_err().to_string();
        for part in ["0.0.0.0:", "--tls-cert", "127.0.0.1", "--insecure-open"] {
            assert!(closed.contains(part), "{closed}");
        }
        assert!(!file.exists());
        let bind = async |address| TcpListener::bind(address).await.unwrap();
        let listeners = Listeners {
            calls: bind("127.0.0.1:0").await,
            web: Some(bind("0.0.0.0:0").await),
        };
        let clock = std::sync::Arc::new(crate::ManualClock::new());
        let web = crate::Coordinator::open(Config::new(&file), listeners, clock).await;
        let web = web.err().unwrap().to_string();
        assert!(web.contains("0.0.0.0:"), "{web}");
        assert!(!file.exists());

        let open = Config {
            insecure_open: true,
            ..Config::new(&file)
        };
        run(open.clone()).await.unwrap();
        let nobody = Config {
            admission: Admission::Tokens,
            ..open
        };
        let nobody = run(nobody).await.unwrap_err().to_string();
        assert!(
            nobody.contains("bitfront token add NAME --role admin"),
            "{nobody}"
        );
    }
}
