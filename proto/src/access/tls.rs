//! Connections over TLS, and what is said of those that fail.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore, version,
};
use tonic::codegen::Service;
use tonic::transport::Uri;

use super::{Access, pem};

/// Says what is wrong with the trust between two ends, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Untrusted(String);

type Io = TokioIo<BufReader<TlsStream<TcpStream>>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long the first bytes of a coordinator are waited for before the client speaks.
///
/// A coordinator looks at a client's certificate after the client holds the handshake for finished,
/// and sends its settings where it likes it. One that does not would otherwise be heard amid the
/// first call, in words that name no certificate. What sends nothing of itself loses this time.
const FIRST_BYTES: Duration = Duration::from_millis(500);

/// Makes a connection for each URI that it is called with.
pub(super) fn connector(
    access: Access,
) -> impl Service<
    Uri,
    Response = Io,
    Error = Failure,
    Future = impl Future<Output = Result<Io, Failure>> + Send,
> + Send
+ 'static {
    tower::service_fn(move |url: Uri| connect(access.clone(), url))
}

async fn connect(access: Access, url: Uri) -> Result<Io, Failure> {
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        Untrusted(format!(
            "`{host}` is not a name that a certificate can have"
        ))
    })?;
    let config = config(&access)?;
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let explained = |error: io::Error| -> Failure {
        match explain(&error, &format!("{host}:{port}"), &access) {
            Some(text) => Untrusted(text).into(),
            None => error.into(),
        }
    };
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let mut stream = BufReader::new(connecting.await.map_err(explained)?);
    if let Ok(first) = timeout(FIRST_BYTES, stream.fill_buf()).await {
        first.map_err(explained)?;
    }
    Ok(TokioIo::new(stream))
}

fn config(access: &Access) -> Result<ClientConfig, Untrusted> {
    let of_file = |error: pem::PemError| Untrusted(error.to_string());
    let roots = match &access.ca {
        Some(file) => pem::authorities(file).map_err(of_file)?,
        None => system()?,
    };
    let builder = ClientConfig::builder_with_provider(pem::provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| Untrusted(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match &access.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = pem::certificates(&identity.certificate).map_err(of_file)?;
            let key = pem::key(&identity.key).map_err(of_file)?;
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|error| {
                Untrusted(format!(
                    "the certificate `{}` and the key `{}` cannot be used together: {error}",
                    identity.certificate.display(),
                    identity.key.display()
                ))
            })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Those that the system trusts.
fn system() -> Result<RootCertStore, Untrusted> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    match usable {
        0 => Err(Untrusted(
            "this system trusts no authority of certificates: name the coordinator's with --ca FILE"
                .to_owned(),
        )),
        _ => Ok(roots),
    }
}

/// What a handshake failed of, where it is not the network.
fn explain(error: &io::Error, host: &str, access: &Access) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    Some(match error {
        TlsError::InvalidCertificate(error) => of_the_coordinator(error, host, access),
        TlsError::AlertReceived(alert) => of_the_client(*alert, host, access),
        TlsError::InvalidMessage(_) => format!(
            "{host} does not speak TLS: start the coordinator with --tls-cert and --tls-key, or \
             use http://"
        ),
        other => format!("TLS with {host} failed: {other}"),
    })
}

fn of_the_coordinator(error: &CertificateError, host: &str, access: &Access) -> String {
    match error {
        CertificateError::Expired => format!("the certificate of {host} has expired: {RENEW}"),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {host} has expired {} days ago: {RENEW}",
            time.as_secs().saturating_sub(not_after.as_secs()) / 86_400
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {host} is not valid yet: correct the clock of this machine")
        }
        CertificateError::NotValidForName => {
            format!("the certificate of {host} is for another name: {RENAME}")
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the certificate of {host} is for another name ({}): {RENAME}",
            presented
                .iter()
                .map(|name| bare(name))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let asked = match &access.ca {
                Some(file) => format!("`{}` does not hold", file.display()),
                None => "this system does not trust".to_owned(),
            };
            format!(
                "the certificate of {host} is of an authority that {asked}: name a file with the \
                 authority's certificate with --ca"
            )
        }
        other => format!(
            "the certificate of {host} cannot be used: {other}; have one issued for servers, by an \
             authority of its own"
        ),
    }
}

const RENEW: &str = "renew it there, where a new one counts at once, or correct the clock of this \
                     machine";
const RENAME: &str = "use the name that it is for, or have one issued that names this host";

/// A name without the kind that stands around it (`DnsName("host")`).
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// The coordinator refuses what this client shows of itself.
fn of_the_client(alert: AlertDescription, host: &str, access: &Access) -> String {
    let Some(identity) = &access.identity else {
        return match alert {
            AlertDescription::CertificateRequired => format!(
                "the coordinator at {host} asks for a certificate of this client: name one with \
                 --client-cert and --client-key"
            ),
            other => format!("{host} refuses TLS with this client ({other:?})"),
        };
    };
    let file = identity.certificate.display();
    match alert {
        AlertDescription::CertificateExpired => format!(
            "the coordinator at {host} refuses the certificate `{file}`, which has expired: renew it"
        ),
        AlertDescription::CertificateRevoked => format!(
            "the coordinator at {host} refuses the certificate `{file}`, which is revoked: have \
             another one issued"
        ),
        other => format!(
            "the coordinator at {host} refuses the certificate `{file}` ({other:?}): it must be one \
             for clients, of an authority in the file that `bitfront serve --client-ca` names, and \
             where --client-crl is given of issuers that have a list there"
        ),
    }
}
